"""Getting a chunk answered: a job, and then waves for the records that it left unanswered.

Every wave is found again by its number and the content's digest, and what it sends follows from the outputs of the
waves before it. So a process that takes over from a dead one, at any point, repeats its steps and pays for nothing
twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.naming import JobName
from bedrock_batch_assets.jobs.on_demand import OnDemand, OnDemandPass
from bedrock_batch_assets.jobs.ownership import JobOrder, find_or_create
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.storage.manifests import ChunkManifest, JobOutput
from bedrock_batch_assets.storage.resource import BatchStorage, NotMaterializedError

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.base import BaseProcessor
    from bedrock_batch_assets.storage.objects import ObjectStore

ON_DEMAND_STATUS = "OnDemand"
# A Failed job has processed nothing: the service fails it at validation.
_HARVESTABLE = frozenset({"Completed", "PartiallyCompleted", "Stopped", "Expired", ON_DEMAND_STATUS})
# A stopped job was cut short by a person, who may ask again; it does not use up a repair wave.
_USES_A_WAVE = _HARVESTABLE - {"Stopped"}


@dataclass(frozen=True, slots=True)
class Wave:
    """One attempt at some records of the chunk: a job, or an on-demand pass that is over."""

    number: int
    output: JobOutput
    finished: bool


@dataclass(frozen=True)
class ChunkAnswers:
    """All that was and will be asked of the service for one content of one chunk.

    Attributes:
        wait: Waits for a job, given its ARN, and returns its last state. The caller deals with interruptions in it.
        log: Takes one line for people.
        first_wave: Waves before it are not looked at: somebody chose to pay again.
    """

    records: ChunkManifest
    model_id: str
    processor: "BaseProcessor"
    storage: BatchStorage
    jobs: BedrockBatchJobs
    on_demand: OnDemand
    wait: Callable[[str], JobState]
    log: Callable[[str], None]
    clock: Clock
    first_wave: int = 0

    def collect(self) -> list[JobOutput]:
        """Ask for all records, and again for those that are left, as long as that is allowed.

        Returns:
            Where the answers are, in the order in which they were asked for. Records that none of them holds stayed
            unanswered.

        Raises:
            BatchError: The service refused or failed the job, or access is denied.
        """
        while True:
            waves = self.past_waves()
            if waves and not waves[-1].finished:
                stopping = waves[-1].output.status == "Stopping"
                state = self._own(waves[-1])
                # One that was stopping when it was found was stopped before this run was asked for: go on after it.
                if state.status == "Stopped" and not stopping:
                    return [wave.output for wave in self.past_waves() if wave.output.status in _HARVESTABLE]
                continue
            outputs = [wave.output for wave in waves if wave.output.status in _HARVESTABLE]
            # Nothing has come back: all records go into a job as they are, unread. The run is to wait in little memory.
            is_first_job = not outputs and self.records.records >= self.jobs.minimum_records
            left = [] if is_first_job else self._unanswered(outputs)
            count = self.records.records if is_first_job else len(left)
            used = sum(wave.output.status in _USES_A_WAVE for wave in waves)
            if not count or used > self.jobs.repair_waves:
                return outputs
            number = waves[-1].number + 1 if waves else self.first_wave
            if outputs:
                self.log(f"{count} of {self.records.records} records have no answer yet; wave {number} asks again.")
            if count < self.jobs.minimum_records:
                self._ask_on_demand(number, left)
                continue
            state = self._ask_job(number, left, everything=count == self.records.records)
            if state.status == "Stopped":
                return [wave.output for wave in self.past_waves() if wave.output.status in _HARVESTABLE]

    @property
    def family(self) -> str:
        """What the names of all the content's jobs begin with."""
        return self._name(0).family

    def past_waves(self) -> list[Wave]:
        """The waves that the service and the bucket know of, first to last; only the last can be unfinished."""
        name = self._name(0)
        waves = [
            Wave(found.wave, job_output(state), state.finished) for found, state in self.jobs.find_family(name).items()
        ]
        prefix = self.storage.layout.on_demand_prefix(name.chunk, name.digest)
        for info in self.storage.objects.list(prefix):
            number = int(info.key.removeprefix(prefix).partition("/")[0])
            waves.append(self._on_demand_wave(number))
        known = {wave.number for wave in waves}
        waves += [wave for wave in self._noted_waves() if wave.number not in known]
        return sorted((wave for wave in waves if wave.number >= self.first_wave), key=lambda wave: wave.number)

    def _noted_waves(self) -> Iterator[Wave]:
        """The waves of this content that its last collection noted.

        Nothing says for how long Bedrock lists a job: one that it has forgotten is not to be paid for again.
        """
        try:
            noted = self.storage.outputs_manifest(self.records.chunk)
        except NotMaterializedError:
            return
        for output in noted.outputs:
            name = JobName.parse(output.name)
            if name is not None and name.family == self.family:
                yield Wave(name.wave, output, finished=True)

    def last_state(self, outputs: list[JobOutput], waited_for: JobState | None) -> JobState | None:
        """What the service says of the last of `outputs`; None if it is no job's.

        Looked up in the list, where this process did not wait for it: Get may not know a young job yet that List does.
        """
        if not outputs or outputs[-1].arn is None:
            return None
        arn = outputs[-1].arn
        if waited_for is not None and waited_for.arn == arn:
            return waited_for
        return next((state for state in self.jobs.find_family(self._name(0)).values() if state.arn == arn), None)

    def _own(self, wave: Wave) -> JobState:
        assert wave.output.arn is not None
        self.log(f"Attached to job {wave.output.name}: {wave.output.arn}")
        return self._outcome(wave.output.arn)

    def _ask_job(self, number: int, left: list[bytes], *, everything: bool) -> JobState:
        name = self._name(number)
        layout = self.storage.layout
        folder = layout.job_folder(name.chunk, name.digest, 0 if everything else number)
        if not everything:
            key = layout.job_records(name.chunk, name.digest, number)
            self.storage.objects.put_bytes(key, b"".join(left), content_type="application/jsonl")
        left.clear()
        order = JobOrder(
            name=name,
            model_id=self.model_id,
            invocation_type=self.processor.model_invocation_type,
            input_uri=self.storage.uri(folder),
            output_uri=self.storage.uri(layout.chunk_outputs_folder(name.chunk)),
        )
        arn, created = find_or_create(self.jobs, order, on_trouble=self.log, clock=self.clock)
        self.log(f"{'Submitted' if created else 'Attached to'} job {name}: {arn}")
        return self._outcome(arn)

    def _outcome(self, arn: str) -> JobState:
        state = self.wait(arn)
        if state.status not in _HARVESTABLE:
            raise BatchError(f"Job {state.name} ended as {state.describe()} ({arn})")
        return state

    def _ask_on_demand(self, number: int, left: list[bytes]) -> None:
        name = self._name(number)
        layout = self.storage.layout
        self.log(
            f"{len(left)} records are fewer than the {self.jobs.minimum_records} that a job needs: asking on demand, "
            "at the on-demand price."
        )
        tenth = max(1, len(left) // 10)
        OnDemandPass(
            service=self.on_demand,
            objects=self.storage.objects,
            model_id=self.model_id,
            invocation_type=self.processor.model_invocation_type,
            folder=layout.on_demand_claims(name.chunk, name.digest, number),
            output_key=layout.on_demand_outputs(name.chunk, name.digest, number),
            clock=self.clock,
        ).run(left, lambda done, total: self.log(f"{done} of {total} records answered") if done % tenth == 0 else None)

    def _unanswered(self, outputs: list[JobOutput]) -> list[bytes]:
        from bedrock_batch_assets.records.answered_records import records_without, settled_rows

        settled: set[int] = set()
        for output in outputs:
            for key in self.storage.output_files(output.prefix):
                settled.update(settled_rows(self.storage.objects.blocks(key), self.processor))
        if outputs and len(settled) >= self.records.records:
            return []
        assert self.records.key is not None
        return records_without(self.storage.objects.blocks(self.records.key), settled)

    def _on_demand_wave(self, number: int) -> Wave:
        name = self._name(number)
        key = self.storage.layout.on_demand_outputs(name.chunk, name.digest, number)
        prefix = self.storage.uri(key.rpartition("/")[0] + "/")
        return Wave(number, JobOutput(name=str(name), prefix=prefix, status=ON_DEMAND_STATUS), finished=True)

    def _name(self, number: int) -> JobName:
        return JobName(self.records.chunk, self.records.digest, number)


def job_output(state: JobState) -> JobOutput:
    """A job as the chunk's manifest of outputs names it."""
    return JobOutput(
        name=state.name, prefix=state.output_prefix, status=state.status, arn=state.arn, message=state.message
    )


def first_wave(
    storage: BatchStorage, records: ChunkManifest, waves: Callable[[], list[Wave]], payer: str | None
) -> int:
    """The wave that the chunk's answers begin with: 0, unless somebody chose to pay for them again.

    Args:
        storage: The bucket; it remembers who chose.
        records: The chunk's content.
        waves: All waves so far, asked for only where a new choice is to be remembered.
        payer: The run that is told to pay again, by the id that its retries share; None where it is not told to.
    """
    key = storage.layout.resubmissions(records.chunk, records.digest)
    known: dict[str, int] = _read_json(storage.objects, key)
    if payer is not None and payer not in known:
        past = waves()
        known[payer] = past[-1].number + 1 if past else 0
        storage.objects.put_json(key, known)
    return max(known.values(), default=0)


def _read_json(objects: "ObjectStore", key: str) -> dict[str, int]:
    from bedrock_batch_assets.storage.objects import ObjectNotFoundError

    try:
        found: dict[str, int] = objects.get_json(key)
    except ObjectNotFoundError:
        return {}
    return found
