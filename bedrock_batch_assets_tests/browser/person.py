"""A person at Dagster's pages, in a real browser: Chromium from the system, without a window."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as NotShownError

# What Debian, and others, call it.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# It is not to look for updates, nor to speak to anybody but the page.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# A page that is looked at again and again shows what is new on it.
_LOOKS = 40
_LOOK_MILLISECONDS = 10_000


def find_chromium() -> str | None:
    """The browser's program; None if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name)) is not None), None)


class Person:
    """Opens pages, reads them, and fills in the launchpad.

    Args:
        page: The browser's page.
        url: The webserver's address.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url

    def open(self, path: str) -> None:
        """Go to a page of the UI."""
        self.page.goto(f"{self._url}{path}", wait_until="domcontentloaded")

    def open_launchpad(self, asset: str, batch: str, *, is_new: bool) -> None:
        """Press "Materialize" on an asset, and choose a batch, or add it."""
        self.open(f"/assets/{asset}")
        self.page.get_by_role("button", name="Materialize").first.click()
        if is_new:
            self.page.get_by_role("button", name="Add new partition").click()
            self.page.get_by_placeholder("name").last.fill(batch)
            self.page.get_by_role("button", name="Save").click()
        else:
            self.page.get_by_placeholder("Partition").click()
            self.page.get_by_role("menuitem", name=batch, exact=True).click()
        self.page.get_by_text(f"partition: {batch}").wait_for()

    def fill_in(self, text: str) -> None:
        """Replace what the launchpad's editor has."""
        self.page.locator(".CodeMirror").first.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def errors(self) -> str:
        """What the launchpad shows in red, once it has looked at what was filled in."""
        found = self.page.get_by_text("Value at path")
        found.wait_for()
        return found.inner_text()

    def materialize(self) -> str:
        """Press the launchpad's button, and return the id of the run that it leads to."""
        button = self.page.get_by_role("dialog").get_by_role("button", name="Materialize").last
        self.page.wait_for_function("button => !button.disabled", arg=button.element_handle())
        button.click()
        self.page.wait_for_url("**/runs/*")
        return self.page.url.rpartition("/")[2]

    def read(self, path: str, text: str) -> str:
        """Look at a page until it shows a text, and return all of it, with single spaces."""
        for _ in range(_LOOKS):
            self.open(path)
            try:
                self.page.get_by_text(text).first.wait_for(timeout=_LOOK_MILLISECONDS)
            except NotShownError:
                # The page does not show by itself what is new.
                continue
            else:
                self.page.wait_for_timeout(1_000)
                return " ".join(self.page.inner_text("body").split())
        raise AssertionError(f"{path} does not show {text!r}:\n{self.page.inner_text('body')}")

    def picture(self, path: Path) -> None:
        """What is on the screen, as a PNG file."""
        self.page.screenshot(path=path)


@contextmanager
def person_at(url: str, *, width: int = 1_400, height: int = 900) -> Iterator[Person]:
    """Somebody with a browser window of so many pixels.

    Raises:
        FileNotFoundError: There is no browser.
    """
    program = find_chromium()
    if program is None:
        raise FileNotFoundError(f"None of {', '.join(_NAMES)} is installed.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            yield Person(page, url)
        finally:
            browser.close()
