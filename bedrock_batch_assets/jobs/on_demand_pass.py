"""Records that are too few for a job, sent on demand: one call each.

The service refuses jobs of under 100 records, and InvokeModel has no idempotency token. So each record is claimed on
S3 before it is sent and its answer is stored as soon as it is there. A record that was claimed by a process that died
before the answer came may have been paid for, and is therefore not sent again; its row says so.

Two processes can be at it at once, each sending what it claimed. The first that is done writes the output file and
then takes the claims away; so who gets a claim looks for that file before sending. The other one adds its answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.jobs.record_claims import RecordClaims
from bedrock_batch_assets.jobs.record_sender import RecordSender, is_unknown, unknown_line

if TYPE_CHECKING:
    from bedrock_batch_assets.storage.objects import ObjectStore


@dataclass(frozen=True)
class OnDemandPass:
    """One pass over some records: their claims are its own, and its output file is the result."""

    sender: RecordSender
    concurrency: int
    objects: "ObjectStore"
    folder: str
    output_key: str

    @cached_property
    def _claims(self) -> RecordClaims:
        return RecordClaims(self.objects, self.folder)

    def run(self, records: Iterable[bytes], on_progress: Callable[[int, int], None]) -> None:
        """Answer the records and write the output file, unless it is there already.

        Args:
            records: JSON lines with `recordId` and `modelInput`; kept in memory, so they should be few.
            on_progress: Told (answered, total) after each record.
        """
        from bedrock_batch_assets.storage.objects import ObjectNotFoundError

        if self.objects.exists(self.output_key):
            return
        lines = [msgspec.json.decode(record) for record in records]
        try:
            answered = self._claims.all_answers()
        except ObjectNotFoundError:
            if self.objects.exists(self.output_key):
                # Another process has finished meanwhile, and has deleted its claims and answers.
                return
            raise
        todo = [line for line in lines if line["recordId"] not in answered]
        for answer in answer_all(todo, self._answer, self.sender, self.concurrency):
            if answer is not None:
                answered[answer["recordId"]] = answer
                on_progress(len(answered), len(lines))
        self._write_output([line["recordId"] for line in lines], answered)
        self._claims.delete_all()

    def _write_output(self, order: list[str], answered: dict[str, dict[str, Any]]) -> None:
        """Write the output file, or add to it the answers that another process did not have when it wrote it."""
        for record_id in [name for name in order if is_unknown(answered.get(name))]:
            stored = self._claims.answer(record_id)
            if stored is not None:
                answered[record_id] = stored
        if all(name in answered for name in order) and self.objects.put_new(
            self.output_key, _lines(answered, order), content_type="application/jsonl"
        ):
            return
        while True:
            before, etag = self.objects.get_version(self.output_key)
            known = {line["recordId"]: line for line in map(msgspec.json.decode, before.splitlines())}
            known |= {name: line for name, line in answered.items() if name in order and is_unknown(known.get(name))}
            after = _lines(known, order)
            # Only over what was read: a third process may have added paid answers of its own since.
            if after == before or self.objects.put_over(self.output_key, after, etag, content_type="application/jsonl"):
                return

    def _answer(self, line: Mapping[str, Any]) -> dict[str, Any] | None:
        """Claim a record, send it, and store the answer. None if another process has ended the pass."""
        record_id = line["recordId"]
        if not self._claims.claim(record_id):
            return unknown_line(record_id)
        if self.objects.exists(self.output_key):
            # The claim was free only because all claims were deleted.
            return None
        try:
            answer = self.sender.send(line)
        except (ConfigurationError, InterruptedError):
            # The service refused before the model ran: nothing was paid, and the next pass sends the record again.
            self._claims.release(record_id)
            raise
        self._claims.store(record_id, answer)
        return answer


def answer_all(
    lines: Iterable[Mapping[str, Any]],
    answer: Callable[[Mapping[str, Any]], dict[str, Any] | None],
    sender: RecordSender,
    concurrency: int,
) -> Iterator[dict[str, Any] | None]:
    """The answers to records, as they come in, a few records at a time and at the sender's pace."""

    def paced(line: Mapping[str, Any]) -> dict[str, Any] | None:
        sender.pace.wait()
        return answer(line)

    pool = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="on-demand")
    try:
        for future in as_completed([pool.submit(paced, line) for line in lines]):
            yield future.result()
    finally:
        # Calls in flight are paid for, so their answers are awaited and stored. No further calls begin.
        sender.pace.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _lines(answers: Mapping[str, Mapping[str, Any]], order: Iterable[str]) -> bytes:
    return b"".join(msgspec.json.encode(answers[name]) + b"\n" for name in order)
