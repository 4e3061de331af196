"""The checks of private parts, by library and part."""

from collections.abc import Callable

CHECKS: dict[tuple[str, str], Callable[[], None]] = {}


def checks(library: str, part: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Make a function the check of one part."""

    def add(check: Callable[[], None]) -> Callable[[], None]:
        CHECKS[library, part] = check
        return check

    return add
