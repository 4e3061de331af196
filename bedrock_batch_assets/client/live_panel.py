"""One batch on its way: a panel on a terminal, and a line for each change anywhere else."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from bedrock_batch_assets.client.batch_view import BatchView
from bedrock_batch_assets.client.progress import describe, in_words
from bedrock_batch_assets.cost.amounts import usd
from bedrock_batch_assets.records.durations import duration

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live


def described(view: BatchView) -> str:
    """One line: `running; chunks 1 of 2; records 130 of 260; cost 0.002 USD; 3 min left; 4 errors`."""
    parts = [describe(view.status)]
    if view.cost_usd is not None:
        parts.append(f"cost {usd(view.cost_usd)}")
    if view.seconds_left is not None:
        parts.append(f"about {duration(view.seconds_left, short=True)} left")
    parts += [f"{rows:,} rows: {reason}" for reason, rows in view.errors.items()]
    return "; ".join(parts)


class LivePanel:
    """Shows one batch while the block runs."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._last = ""
        self._live: Live | None = _live(console) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Start drawing."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop drawing; the last state stays on the screen."""
        if self._live is not None:
            self._live.stop()

    def show(self, view: BatchView) -> None:
        """Show the batch as it is now."""
        if self._live is not None:
            self._live.update(_panel(view), refresh=True)
            return
        line = described(view)
        if line != self._last:
            self._last = line
            self._console.print(f"{view.status.batch}  {line}", highlight=False, soft_wrap=True)


def _live(console: "Console") -> "Live":
    from rich.live import Live

    return Live(console=console, auto_refresh=False)


def _panel(view: BatchView) -> "Group":
    from rich.console import Group
    from rich.markup import escape
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    status = view.status
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("batch", f"{status.batch}  {status.state.value}")
    share = status.rows_done / status.rows if status.rows else 0.0
    facts.add_row("records", f"{status.rows_done:,} of {status.rows:,} ({share:.0%})")
    facts.add_row("chunks", in_words(status) or f"{sum(status.chunks.values())} done")
    if status.jobs:
        facts.add_row("jobs in flight", ", ".join(f"{count} {name}" for name, count in sorted(status.jobs.items())))
    facts.add_row("cost so far", "not known yet" if view.cost_usd is None else usd(view.cost_usd))
    if view.seconds_left is not None:
        facts.add_row("time left", f"about {duration(view.seconds_left)}, at the pace so far")
    for reason, rows in view.errors.items():
        facts.add_row("[red]errors[/]", escape(f"{rows:,} rows: {reason}"))
    for name, link in view.links.items():
        facts.add_row(name, link)
    return Group(facts, ProgressBar(total=max(1, status.rows), completed=status.rows_done, width=60))
