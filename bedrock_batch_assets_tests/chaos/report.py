"""What came of scenarios, and the figures that they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

_SHOWN = 5


@dataclass
class Account:
    """What is wrong with a batch; nothing, if all are empty.

    Attributes:
        billed_twice: Records that were billed although an earlier ask had answered them, or was still on its way.
        rows_lost: Rows of the input that the table lacks.
        rows_doubled: Rows that the table has too often.
        wrong: Anything else: order, columns, a status that the ledger contradicts, an answer that did not arrive.
        unasked: Runs and backfills of the sensors that nobody asked for: the same work a second time, or after a person
            cancelled it.
        unknown: Rows whose on-demand answer was lost with its process or connection. Not wrong by itself.
    """

    billed_twice: list[str] = field(default_factory=list)
    rows_lost: list[str] = field(default_factory=list)
    rows_doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What came of one scenario.

    Attributes:
        seed: The number that it was drawn from.
        description: What was done to it, in one line.
        account: What is wrong with its bill and its rows.
        stuck: Why it did not come to its end by itself.
        crashes: Processes that were killed.
        seconds: How long it took.
        log: What its processes said.
    """

    seed: int
    description: str
    account: Account = field(default_factory=Account)
    stuck: list[str] = field(default_factory=list)
    crashes: int = 0
    seconds: float = 0.0
    log: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        account = self.account
        found = (account.billed_twice, account.rows_lost, account.rows_doubled, account.wrong, account.unasked)
        return bool(self.stuck) or any(found)

    def explain(self, suite: str, seeds: Sequence[int]) -> str:
        """What is wrong, for people, and how to see it again, alone or with the scenarios that ran beside it."""
        account = self.account
        found = {
            "billed twice": account.billed_twice,
            "rows lost": account.rows_lost,
            "rows doubled": account.rows_doubled,
            "stuck": self.stuck,
            "other": account.wrong,
            "nobody asked for": account.unasked,
        }
        lines = [f"FAILED scenario {self.seed}: {self.description}", *self.log.splitlines()[-60:]]
        for name, items in found.items():
            lines += [f"  {name}: {item}" for item in items[:_SHOWN]]
            lines += [f"  {name}: and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
        lines.append(f"  again: {command(suite, self.seed, 1)}")
        if suite == "dagster":
            lines.append(f"  with those beside it: {command(suite, seeds[0], len(seeds))}")
        return "\n".join(lines)


def command(suite: str, seed: int, scenarios: int) -> str:
    """The command that runs these scenarios."""
    return f"python -m bedrock_batch_assets_tests.chaos --suite {suite} --seed {seed} --scenarios {scenarios}"


def figures(suite: str, reports: Sequence[Report], seconds: float) -> str:
    """The last line of a suite."""
    accounts = [report.account for report in reports]
    return (
        f"{suite}: {len(reports)} scenarios, {sum(report.crashes for report in reports)} crashes, {seconds:.0f} s: "
        f"records billed twice {sum(len(account.billed_twice) for account in accounts)}, "
        f"rows lost {sum(len(account.rows_lost) for account in accounts)}, "
        f"rows doubled {sum(len(account.rows_doubled) for account in accounts)}, "
        f"stuck {sum(bool(report.stuck) for report in reports)}, "
        f"other {sum(len(account.wrong) for account in accounts)}, "
        f"runs nobody asked for {sum(len(account.unasked) for account in accounts)}"
    )
