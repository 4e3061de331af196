"""Batches on their way, on a terminal as bars and anywhere else as lines."""

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bedrock_batch_assets.client.batch_status import BatchStatus, ChunkState, TableState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


def describe(status: BatchStatus) -> str:
    """One line: `running; chunks 1 of 2 (1 running); records 130 of 260; jobs 1 InProgress`."""
    parts = [status.state.value]
    total = sum(status.chunks.values())
    if total:
        done = status.chunks.get(ChunkState.succeeded, 0)
        others = in_words(status)
        parts.append(f"chunks {done} of {total}" + (f" ({others})" if others else ""))
        parts.append(f"records {status.rows_done:,} of {status.rows:,}")
    if status.jobs:
        parts.append("jobs " + ", ".join(f"{count} {name}" for name, count in sorted(status.jobs.items())))
    if status.table is TableState.earlier:
        parts.append("result table is of an earlier input")
    return "; ".join(parts)


def in_words(status: BatchStatus) -> str:
    """The chunks that are not done, by state: `1 running, 3 queued`."""
    order = (ChunkState.failed, ChunkState.canceled, ChunkState.running, ChunkState.queued, ChunkState.waiting)
    return ", ".join(f"{status.chunks[state]} {state.value}" for state in order if status.chunks.get(state))


class BatchProgress:
    """Shows some batches while the block runs; `show` may be called from several threads."""

    def __init__(self, console: "Console", batches: Sequence[str]) -> None:
        self._console = console
        self._width = max((len(batch) for batch in batches), default=0)
        self._lock = threading.Lock()
        self._last: dict[str, str] = {}
        self._progress: Progress | None = None
        self._tasks: dict[str, tuple[TaskID, TaskID]] = {}
        if console.is_terminal:
            self._progress = self._bars(batches)

    def _bars(self, batches: Sequence[str]) -> "Progress":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        progress = Progress(
            TextColumn("{task.fields[batch]}", style="bold"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self._console,
        )
        for batch in batches:
            self._tasks[batch] = (
                progress.add_task("chunks", total=None, batch=batch, note="starting"),
                progress.add_task("records", total=None, batch=" " * self._width, note=""),
            )
        return progress

    def __enter__(self) -> Self:
        """Start drawing."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop drawing; the last state stays on the screen."""
        if self._progress is not None:
            self._progress.stop()

    def show(self, status: BatchStatus) -> None:
        """Show a batch's state, if it is news."""
        line = describe(status)
        with self._lock:
            if self._last.get(status.batch) == line:
                return
            self._last[status.batch] = line
            if self._progress is None:
                self._console.print(f"{status.batch:<{self._width}}  {line}", highlight=False, soft_wrap=True)
                return
        chunks, records = self._tasks[status.batch]
        total = sum(status.chunks.values())
        words = in_words(status)
        note = f"{status.state.value}: {words}" if words else status.state.value
        self._progress.update(
            chunks, total=total or None, completed=status.chunks.get(ChunkState.succeeded, 0), note=note
        )
        jobs = ", ".join(f"{count} {name}" for name, count in sorted(status.jobs.items()))
        self._progress.update(records, total=status.rows or None, completed=status.rows_done, note=jobs)
