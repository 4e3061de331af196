"""A pilot: some rows of a batch, asked on demand before all of them are paid for."""

import hashlib
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bedrock_batch_assets.cost.forecast import CostForecast, forecast_cost
from bedrock_batch_assets.cost.measurements import Measurement, keep_measurement
from bedrock_batch_assets.cost.prices import Kind, PriceQuote, UnknownPriceError
from bedrock_batch_assets.ingest.resolved_request import ResolvedRequest
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.kept_answers import KeptAnswers
from bedrock_batch_assets.jobs.on_demand import FLEX, OnDemand
from bedrock_batch_assets.jobs.record_claims import RecordClaims
from bedrock_batch_assets.jobs.record_sender import RecordSender
from bedrock_batch_assets.storage.bucket import BatchBucket

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.sources.source import Source
    from bedrock_batch_assets.pilots.sample import SampleRow
    from bedrock_batch_assets.records.parsing import OutputParser, OutputRecord


class PilotRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row and its answer. `row` counts from 1. `answer` is the text; for an embedding, what the vector is like."""

    row: int
    record_status: str
    prompt: str
    answer: str | None
    record_error: str | None
    input_tokens: int | None
    output_tokens: int | None


class PilotReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a pilot showed, and what the whole batch will take by that.

    Attributes:
        batch: The batch key.
        model_id: The model.
        at: When, in seconds since the epoch.
        run_id: The run of Dagster that made it.
        rows: The rows, in the table's order.
        sent: How many of them were sent now; the others' answers were there from earlier pilots.
        row_count: Rows of the whole table.
        records: Rows of it that a batch sends.
        lengths: Characters of the answers (of the texts, for an embedding model): shortest, median, longest.
        cost_usd: What the rows that were sent now cost; None if the price is not known.
        estimate: What the whole batch will cost, in words.
        estimate_usd: That in USD: most likely, and the range; None if the price or an answer is not known.
        at_most_usd: The same if every answer is as long as max_tokens; None if that, or the price, is not known.
        measured: The measurement; None if no row was answered.
    """

    batch: str
    model_id: str
    at: float
    run_id: str
    rows: list[PilotRow]
    sent: int
    row_count: int
    records: int
    lengths: tuple[int, int, int] | None
    cost_usd: float | None
    estimate: str
    estimate_usd: tuple[float, float, float] | None
    at_most_usd: float | None
    measured: Measurement | None

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def statuses(self) -> dict[str, int]:
        """Rows by `record_status`."""
        return dict(Counter(row.record_status for row in self.rows))


# What a line of the run's log ends with after each answer.
ROWS_ANSWERED = "rows answered"


def run_pilot(
    request: ResolvedRequest,
    source: "Source",
    storage: BatchBucket,
    on_demand: OnDemand,
    *,
    rows: int,
    seed: int | None,
    run_id: str,
    log: Callable[[str], None],
    clock: Clock,
) -> PilotReport:
    """Read a batch's table, ask the model about some of its rows, and store what that shows.

    The whole table is read and checked, as a batch does: so the number of its records is known, and whatever a batch
    would be refused for is found. Nothing of it is stored, and no batch is started.

    Args:
        request: The batch's request.
        source: Its table.
        storage: The bucket.
        on_demand: Asks for the rows.
        rows: How many rows.
        seed: Which random rows; None for the first ones.
        run_id: The run of Dagster.
        log: Takes one line for people.
        clock: Time between tries.

    Raises:
        RequestError: The table cannot be used, see `ingest`.
        ConfigurationError: Access to the model or to the bucket is denied.
    """
    import numpy as np

    from bedrock_batch_assets.ingest.ingestion import ingest
    from bedrock_batch_assets.pilots.reusable_answers import keep_for_batches
    from bedrock_batch_assets.pilots.sample import choose_rows, sample
    from bedrock_batch_assets.records.parsing import OutputParser
    from bedrock_batch_assets.records.record_digests import DIGEST
    from bedrock_batch_assets.records.rendering import RecordRenderer

    renderer = RecordRenderer(request.processor, request.template, source.schema)
    with tempfile.TemporaryDirectory() as folder:
        table = ingest(request, source=source, renderer=renderer, directory=Path(folder))
        places = choose_rows(table.sizes, rows, seed=seed)
        chosen = sample(table.parquet_path, places, renderer)
        digests = np.fromfile(table.digests_path, DIGEST)[places]
    lines, sent = _kept_answers(request, storage, on_demand, clock).ask(
        [row.body for row in chosen], lambda done, total: log(f"{done} of {total} {ROWS_ANSWERED}")
    )
    keep_for_batches(request, storage, renderer, digests, lines)
    parser = OutputParser(request.processor)
    answers = [next(iter(parser.parse([msgspec.json.encode(line)]))) for line in lines]
    now = datetime.now(UTC)
    measured = Measurement.of(request.batch, now.date().isoformat(), _samples(chosen, answers))
    if measured is not None:
        keep_measurement(storage, request.recipe, measured)
    forecast = forecast_cost(table.chunks, request.processor, request.prices, request.minimum_records, measured)
    report = PilotReport(
        batch=request.batch,
        model_id=request.given.model_id,
        at=now.timestamp(),
        run_id=run_id,
        rows=[_row(row, answer) for row, answer in zip(chosen, answers, strict=True)],
        sent=len(sent),
        row_count=table.row_count,
        records=table.records_to_send,
        lengths=_lengths(chosen, answers, is_text=request.template is not None),
        cost_usd=_cost(sent, parser, request.prices),
        estimate=_estimate(forecast),
        estimate_usd=_range(forecast),
        at_most_usd=forecast.at_most_usd,
        measured=measured,
    )
    storage.write_manifest(storage.layout.pilot_report(request.batch), report)
    return report


def find_report(storage: BatchBucket, batch: str) -> PilotReport | None:
    """What the batch's last pilot showed; None if there was none that can be read."""
    from bedrock_batch_assets.storage.objects import ObjectNotFoundError

    try:
        return msgspec.json.decode(storage.objects.get_bytes(storage.layout.pilot_report(batch)), type=PilotReport)
    except (ObjectNotFoundError, msgspec.DecodeError):
        return None


def _kept_answers(request: ResolvedRequest, storage: BatchBucket, on_demand: OnDemand, clock: Clock) -> KeptAnswers:
    model, kind = request.given.model_id, request.processor.model_invocation_type
    digest = hashlib.sha256(f"{model} {kind}".encode()).hexdigest()[:16]
    claims = RecordClaims(storage.objects, storage.layout.pilot_answers(digest))
    return KeptAnswers(RecordSender(on_demand, model, kind, clock), on_demand.concurrency, claims)


def _samples(chosen: "Sequence[SampleRow]", answers: "Sequence[OutputRecord]") -> list[tuple[int, int, int]]:
    return [
        (row.size, found.answer.input_tokens, found.answer.output_tokens or 0)
        for row, found in zip(chosen, answers, strict=True)
        if found.answer is not None and found.answer.input_tokens is not None
    ]


def _row(row: "SampleRow", found: "OutputRecord") -> PilotRow:
    answer = found.answer
    status = "error" if answer is None else "truncated" if answer.truncated else "ok"
    text = None if answer is None else answer.response
    if answer is not None and answer.embedding is not None:
        text = f"{len(answer.embedding):,} numbers: {', '.join(f'{number:.4f}' for number in answer.embedding[:3])}, …"
    return PilotRow(
        row=row.row + 1,
        record_status=status,
        prompt=row.prompt,
        answer=text,
        record_error=found.error,
        input_tokens=answer.input_tokens if answer else None,
        output_tokens=answer.output_tokens if answer else None,
    )


def _lengths(
    chosen: "Sequence[SampleRow]", answers: "Sequence[OutputRecord]", *, is_text: bool
) -> tuple[int, int, int] | None:
    if is_text:
        found = [len(answer.answer.response) for answer in answers if answer.answer and answer.answer.response]
    else:
        found = [row.characters for row in chosen]
    return (min(found), round(statistics.median(found)), max(found)) if found else None


def _cost(lines: Sequence[dict[str, Any]], parser: "OutputParser", prices: PriceQuote) -> float | None:
    """What some answers cost, by the tokens that were used and the tier of each; None if a price is not known."""
    cost = 0.0
    for line in lines:
        answer = next(iter(parser.parse([msgspec.json.encode(line)]))).answer
        kind: Kind = "flex" if line.get("serviceTier") == FLEX else "on_demand"
        try:
            price = prices.price(kind)
        except UnknownPriceError:
            return None
        if answer is not None:
            cost += price.cost(answer.input_tokens or 0, answer.output_tokens or 0)
    return cost


def _estimate(forecast: CostForecast) -> str:
    if forecast.unknown:
        return f"not known: {forecast.unknown}"
    return "not known: no row was answered" if forecast.measured is None else forecast.measured.in_words()


def _range(forecast: CostForecast) -> tuple[float, float, float] | None:
    found = forecast.measured
    return None if found is None else (found.usd, found.low, found.high)
