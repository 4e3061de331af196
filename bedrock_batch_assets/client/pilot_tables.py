"""A pilot as a table for a terminal."""

from typing import TYPE_CHECKING

from bedrock_batch_assets.pilots.facts import pilot_facts
from bedrock_batch_assets.pilots.pilot import PilotReport
from bedrock_batch_assets.records.reasons import shortened

if TYPE_CHECKING:
    from rich.console import Group

_CHARACTERS = 400


def pilot_table(report: PilotReport) -> "Group":
    """Prompts and answers, one row each, and what they say of the whole batch."""
    from rich import box
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    answers = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
    answers.add_column("row", justify="right")
    answers.add_column("status")
    answers.add_column("prompt", overflow="fold", ratio=1)
    answers.add_column("answer", overflow="fold", ratio=1)
    styles = {"ok": "green", "truncated": "yellow", "error": "red"}
    for row in report.rows:
        answers.add_row(
            f"{row.row:,}",
            f"[{styles[row.record_status]}]{row.record_status}[/]",
            escape(_one_line(row.prompt)),
            escape(_one_line(row.answer or row.record_error or "")),
        )
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, text in pilot_facts(report):
        facts.add_row(name, escape(text))
    return Group(answers, facts)


def _one_line(text: str) -> str:
    return " ".join(shortened(text, _CHARACTERS).split())
