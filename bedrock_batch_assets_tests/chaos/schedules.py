"""Random schedules of what goes wrong, each drawn from one number, so that it can be drawn again."""

import random
from dataclasses import dataclass
from typing import Any, Literal

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "amazon.nova-lite-v1:0"

# Operations whose neighbourhood is worth dying in: each of them leaves something behind.
_WRITES = ("CreateModelInvocationJob", "PutObject", "PutObject", "DeleteObjects")
_READS = ("ListModelInvocationJobs", "GetModelInvocationJob", "ListObjectsV2", "GetObject", "HeadObject")
_S3 = ("PutObject", "GetObject", "ListObjectsV2", "HeadObject", "DeleteObjects")
_BEDROCK = ("CreateModelInvocationJob", "GetModelInvocationJob", "ListModelInvocationJobs")


@dataclass(frozen=True, slots=True)
class Crash:
    """A process dies at its `nth` request of an operation (`*`: of any), before it is sent or after its answer."""

    operation: str
    nth: int
    when: Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Launch:
    """One chunk (by index) is worked on, from `delay` seconds on, by one process after the other.

    Attributes:
        chunk: Index of the chunk.
        delay: Seconds of real time.
        crashes: How the first, the second, … process dies; those after them live.
        afresh: Whether the process after each crash begins with the first asset again, as after a click on
            "Re-execute all", or goes on with the asset that was not finished, as a retry does.
    """

    chunk: int
    delay: float = 0.0
    crashes: tuple[Crash, ...] = ()
    afresh: bool = False


@dataclass(frozen=True, slots=True)
class Expiry:
    """The credentials of all processes expire, `after` seconds of real time, and new ones come `seconds` later."""

    phase: Literal["input", "chunks", "table"]
    after: float
    seconds: float


@dataclass(frozen=True)
class Schedule:
    """One scenario: a batch, what the service does to it, and what happens to the processes.

    Attributes:
        seed: What it was drawn from.
        model_id: The batch's model.
        row_count: Rows of its table.
        empty_rows: Those without a text, which are not sent.
        records_per_job: The request's `max_records_per_job`.
        settings: Settings of local AWS.
        launches: Who works on its chunks, side by side.
        again: Whether all chunks are materialized once more at the end.
        input_crashes: How processes that read the input die.
        table_crashes: How processes that build the table die.
        expiries: When credentials expire.
    """

    seed: int
    model_id: str
    row_count: int
    empty_rows: frozenset[int]
    records_per_job: int
    chunk_count: int
    settings: dict[str, Any]
    launches: tuple[Launch, ...]
    again: bool
    input_crashes: tuple[Crash, ...] = ()
    table_crashes: tuple[Crash, ...] = ()
    expiries: tuple[Expiry, ...] = ()

    @property
    def crash_count(self) -> int:
        """Processes that are killed, at most."""
        crashes = [launch.crashes for launch in self.launches]
        return sum(map(len, crashes)) + len(self.input_crashes) + len(self.table_crashes)

    @property
    def lost_on_demand_answers(self) -> int:
        """On-demand answers that connections lose, at most."""
        return sum(
            fault["count"]
            for fault in self.settings["api_faults"]
            if fault["operation"] in {"InvokeModel", "Converse", "*"} and fault.get("code") == "drop"
        )

    def describe(self) -> str:
        """One line for people."""
        faults = [f"{fault['operation']}:{fault.get('code')}" for fault in self.settings["api_faults"]]
        endings = [f"{ending['count']}x{ending['status']}" for ending in self.settings["job_endings"]]
        return (
            f"{self.row_count} rows, {len(self.launches)} launches of {self.chunk_count} chunks, "
            f"{self.crash_count} crashes, API faults {faults}, endings {endings}, "
            f"records {self.settings['record_faults']}, "
            f"credentials expire {[f'{expiry.phase} {expiry.after:g}+{expiry.seconds:g}' for expiry in self.expiries]}"
        )


@dataclass
class _Draw:
    random: random.Random
    on_demand: bool

    def crash(self) -> Crash:
        pick = self.random
        when: Literal["before", "after"] = pick.choice(("before", "after"))
        if pick.random() < 0.45:
            return Crash("*", pick.randint(1, 80 if self.on_demand else 40), when)
        if self.on_demand and pick.random() < 0.7:
            operation = pick.choice(("InvokeModel", "Converse", "PutObject", "DeleteObjects"))
            return Crash(operation, pick.randint(1, 60 if operation == "PutObject" else 40), when)
        return Crash(pick.choice(_WRITES + _READS), pick.choice((1, 1, 1, 2, 2, 3, 4, 6)), when)

    def crashes(self, most: int) -> tuple[Crash, ...]:
        return tuple(self.crash() for _ in range(self.random.randint(0, most)))

    def api_fault(self) -> dict[str, Any]:
        pick = self.random
        kind = pick.choice(("throttle", "error", "drop", "drop", "slow", "outage"))
        bedrock = pick.random() < 0.7
        operation = pick.choice(_BEDROCK if bedrock else _S3)
        if self.on_demand and bedrock and pick.random() < 0.6:
            operation = pick.choice(("InvokeModel", "Converse"))
        runtime = operation in {"InvokeModel", "Converse"}
        fault: dict[str, Any] = {"operation": operation, "count": pick.randint(1, 4)}
        if kind == "throttle":
            fault["code"] = "ThrottlingException" if bedrock else "SlowDown"
            fault["count"] = pick.randint(1, 14)
            if not bedrock:
                fault["status"] = 503
        elif kind == "drop":
            fault |= {"code": "drop", "when": pick.choice(("before", "after"))}
        elif kind == "slow":
            fault["delay_seconds"] = pick.choice((0.05, 0.2, 0.5))
        else:
            fault |= {"code": "InternalServerException" if bedrock else "InternalError", "status": 500}
            # A model's own error is not billed, so it never comes after the call took effect.
            fault["when"] = "before" if runtime else pick.choice(("before", "after"))
            # Longer than boto3 tries, shorter than the product and Dagster's retry of a step do.
            fault["count"] = pick.randint(9, 20) if kind == "outage" else pick.randint(1, 4)
        return fault

    def record_faults(self) -> dict[str, Any]:
        pick = self.random
        shares = {
            name: round(pick.uniform(0, most), 3) if pick.random() < 0.4 else 0.0
            for name, most in (("error", 0.4), ("truncate", 0.1), ("missing", 0.2), ("twice", 0.2), ("corrupt", 0.08))
        }
        return {
            **shares,
            "error_code": pick.choice((500, 429, 400, 503, "ThrottlingException", "ValidationException", "500")),
            "error_retryable": pick.choice((None, None, True, False)),
            "permanent": pick.random() < 0.3,
        }

    def job_ending(self) -> dict[str, Any]:
        pick = self.random
        status = pick.choice(("Failed", "Expired", "Expired", "PartiallyCompleted", "PartiallyCompleted", "Stopped"))
        ending: dict[str, Any] = {"status": status, "count": pick.randint(1, 2)}
        if status != "Failed" and pick.random() < 0.7:
            ending["processed_share"] = round(pick.uniform(0, 1), 2)
        return ending


def draw_expiries(seed: int) -> tuple[Expiry, ...]:
    """When credentials expire in the scenario of this number: they do in two of five, up to three times in a phase."""
    pick = random.Random(f"expiries {seed}")
    if pick.random() < 0.6:
        return ()
    found: list[Expiry] = []
    for phase, longest, share in (("input", 0.3, 0.2), ("chunks", 1.0, 0.9), ("table", 0.15, 0.4)):
        if pick.random() < share:
            times = sorted(round(pick.uniform(0.0, longest), 3) for _ in range(pick.choice((1, 1, 2, 3))))
            found += [Expiry(phase, after, round(pick.uniform(0.0, 0.6), 3)) for after in times]  # type: ignore[arg-type]
    return tuple(found)


def draw_refusals(seed: int, operations: tuple[str, ...]) -> list[dict[str, Any]]:
    """Single calls that are refused for expired credentials although these have not changed, as a wrong clock does."""
    pick = random.Random(f"refusals {seed}")
    if pick.random() < 0.75:
        return []
    return [
        {"operation": pick.choice(operations), "code": "expired", "count": pick.randint(1, 8)}
        for _ in range(pick.choice((1, 1, 2)))
    ]


def draw(seed: int) -> Schedule:
    """The schedule of this number."""
    pick = random.Random(f"protocol {seed}")
    on_demand = pick.random() < 0.25
    two_chunks = not on_demand and pick.random() < 0.4
    row_count = pick.randint(10, 40) if on_demand else pick.randint(200, 230) if two_chunks else pick.randint(100, 160)
    chunk_count = 2 if two_chunks else 1
    drawing = _Draw(pick, on_demand)
    empty = frozenset(pick.sample(range(row_count), pick.choice((0, 0, 1, 5)) if row_count > 105 or on_demand else 0))
    launches = [Launch(chunk, crashes=drawing.crashes(4), afresh=pick.random() < 0.3) for chunk in range(chunk_count)]
    if pick.random() < 0.3:
        # A second launch of a chunk while the first one is at work.
        launches.append(
            Launch(pick.randrange(chunk_count), round(pick.uniform(0, 0.5), 3), drawing.crashes(2), pick.random() < 0.5)
        )
    seconds = {
        "Submitted": pick.choice((0.0, 0.02, 0.1)),
        "Validating": 0.02,
        "Scheduled": pick.choice((0.0, 0.02, 0.2)),
        "InProgress": pick.choice((0.0, 0.05, 0.3)),
        "Stopping": 0.05,
    }
    operations = (*_BEDROCK, *_S3, *(("InvokeModel", "Converse") if on_demand else ()))
    settings = {
        "seed": seed,
        "seconds": seconds,
        "read_after_create_seconds": pick.choice((0.0, 0.0, 0.1, 0.4)),
        "repeated_token": pick.choice(("return", "conflict")),
        "max_jobs_in_flight": pick.choice((100, 100, 1)),
        "record_faults": drawing.record_faults() if pick.random() < 0.7 else {},
        "job_endings": [drawing.job_ending() for _ in range(pick.choice((0, 0, 0, 1, 1, 2)))],
        "api_faults": [drawing.api_fault() for _ in range(pick.choice((0, 0, 1, 1, 2, 3)))]
        + draw_refusals(seed, operations),
    }
    return Schedule(
        seed=seed,
        model_id=pick.choice((HAIKU, HAIKU, NOVA)),
        row_count=row_count,
        empty_rows=empty,
        records_per_job=-(-row_count // chunk_count),
        chunk_count=chunk_count,
        settings=settings,
        launches=tuple(launches),
        again=pick.random() < 0.25,
        input_crashes=drawing.crashes(1) if pick.random() < 0.2 else (),
        table_crashes=drawing.crashes(1) if pick.random() < 0.2 else (),
        expiries=draw_expiries(seed),
    )
