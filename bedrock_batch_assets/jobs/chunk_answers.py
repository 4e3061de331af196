"""Getting a chunk answered: a job, and then waves for the records that it left unanswered.

Every wave is found again by its number and the content's digest, and what it sends follows from the outputs of the
waves before it. So a process that takes over from a dead one, at any point, repeats its steps and pays for nothing
twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.naming import JobName
from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.on_demand_pass import OnDemandPass
from bedrock_batch_assets.jobs.ownership import JobOrder, find_or_create
from bedrock_batch_assets.jobs.record_sender import RecordSender
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.jobs.waves import Wave, find_waves, has_answers
from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets.storage.manifests import ChunkManifest, JobOutput

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.base import BaseProcessor


@dataclass(frozen=True, slots=True)
class _NextWave:
    """The records to ask for now.

    Attributes:
        number: The wave's number.
        count: How many records it has.
        lines: The records, to be emptied before a wait; None for all of the chunk, which nobody has read.
    """

    number: int
    count: int
    lines: list[bytes] | None


@dataclass(frozen=True)
class ChunkAnswers:
    """Everything that was and will be asked of the service for one content of one chunk.

    Attributes:
        wait: Waits for a job, given its ARN, and returns its last state. The caller deals with interruptions in it.
        log: Takes one line for people.
        first_wave: Waves before it are ignored, since a person chose to pay again.
    """

    records: ChunkManifest
    model_id: str
    processor: "BaseProcessor"
    storage: BatchBucket
    jobs: BatchJobs
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
                was_stopped = self._wait_for_last(waves[-1])
            else:
                wave = self._next_wave(waves)
                if wave is None:
                    return _outputs(waves)
                was_stopped = self._ask(wave)
            if was_stopped:
                # If a person stops a job, no other job takes its place.
                return _outputs(self.past_waves())

    def stop(self) -> list[str]:
        """Stop the chunk's jobs that go on, and return their ARNs.

        They are looked up and not remembered, since an interruption may come between a Create and its answer.
        """
        arns = [wave.output.arn for wave in self.past_waves() if not wave.finished]
        return [arn for arn in arns if arn is not None and self.jobs.stop(arn)]

    @property
    def family(self) -> str:
        """What the names of all the content's jobs begin with."""
        return self._name(0).family

    def past_waves(self) -> list[Wave]:
        """The waves that the service and the bucket know of, first to last; only the last can be unfinished."""
        waves = find_waves(self._name(0), self.jobs, self.storage)
        return [wave for wave in waves if wave.number >= self.first_wave]

    def last_state(self, outputs: Sequence[JobOutput], waited_for: JobState | None) -> JobState | None:
        """The service's state of the job behind the last of `outputs`; None if that is not a job's.

        Looked up in the list if this process did not wait for it: Get may not know a young job yet that List does.
        """
        if not outputs or outputs[-1].arn is None:
            return None
        arn = outputs[-1].arn
        if waited_for is not None and waited_for.arn == arn:
            return waited_for
        return next((state for state in self.jobs.find_family(self._name(0)).values() if state.arn == arn), None)

    def _wait_for_last(self, wave: Wave) -> bool:
        """Wait for a job that goes on. Returns whether a person stopped it meanwhile."""
        assert wave.output.arn is not None
        self.log(f"Attached to job {wave.output.name}: {wave.output.arn}")
        state = self._outcome(wave.output.arn)
        # A job that was stopping when it was found was stopped before this run was asked for: go on after it.
        return state.status == "Stopped" and wave.output.status != "Stopping"

    def _next_wave(self, waves: Sequence[Wave]) -> _NextWave | None:
        """The wave that follows finished ones; None if no record is left, or if there were waves enough."""
        if sum(wave.uses_a_repair for wave in waves) > self.jobs.repair_waves:
            return None
        number = waves[-1].number + 1 if waves else self.first_wave
        outputs = _outputs(waves)
        if not outputs and self.records.records >= self.jobs.minimum_records:
            # Nothing is answered yet: all records go into a job unread, so the run waits in little memory.
            return _NextWave(number, self.records.records, lines=None)
        lines = self._unanswered(outputs)
        if lines and outputs:
            total = self.records.records
            self.log(f"{len(lines)} of {total} records have no answer yet; wave {number} asks again.")
        return _NextWave(number, len(lines), lines) if lines else None

    def _ask(self, wave: _NextWave) -> bool:
        """Ask for a wave's records, and wait. Returns whether a person stopped its job meanwhile."""
        if wave.lines is not None and wave.count < self.jobs.minimum_records:
            self._ask_on_demand(wave.number, wave.lines)
            return False
        return self._ask_job(wave).status == "Stopped"

    def _ask_job(self, wave: _NextWave) -> JobState:
        name = self._name(wave.number)
        layout = self.storage.layout
        # All of the chunk's records are there as a job's input, whichever wave asks for them.
        is_everything = wave.count == self.records.records
        folder = layout.job_folder(name.chunk, name.digest, 0 if is_everything else wave.number)
        if wave.lines is not None:
            if not is_everything:
                key = layout.job_records(name.chunk, name.digest, wave.number)
                self.storage.objects.put_bytes(key, b"".join(wave.lines), content_type="application/jsonl")
            wave.lines.clear()
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
        if not has_answers(state.status):
            raise BatchError(f"Job {state.name} ended as {state.describe()} ({arn})")
        return state

    def _ask_on_demand(self, number: int, lines: list[bytes]) -> None:
        name = self._name(number)
        layout = self.storage.layout
        self.log(
            f"{len(lines)} records are fewer than the {self.jobs.minimum_records} that a job needs: asking on demand, "
            "at the price of the flex tier if the model has it, else at the on-demand price."
        )
        tenth = max(1, len(lines) // 10)
        OnDemandPass(
            RecordSender(self.on_demand, self.model_id, self.processor.model_invocation_type, self.clock),
            self.on_demand.concurrency,
            self.storage.objects,
            folder=layout.on_demand_claims(name.chunk, name.digest, number),
            output_key=layout.on_demand_outputs(name.chunk, name.digest, number),
        ).run(lines, lambda done, total: self.log(f"{done} of {total} records answered") if done % tenth == 0 else None)

    def _unanswered(self, outputs: Sequence[JobOutput]) -> list[bytes]:
        """The records that no output has settled, as lines."""
        from bedrock_batch_assets.records.answered_records import records_without, settled_rows

        settled: set[int] = set()
        for output in outputs:
            for key in self.storage.output_files(output.prefix):
                settled.update(settled_rows(self.storage.objects.blocks(key), self.processor))
        if outputs and len(settled) >= self.records.records:
            return []
        assert self.records.key is not None
        return records_without(self.storage.objects.blocks(self.records.key), settled)

    def _name(self, number: int) -> JobName:
        return JobName(self.records.chunk, self.records.digest, number)


def _outputs(waves: Sequence[Wave]) -> list[JobOutput]:
    """Where the answers of some waves are."""
    return [wave.output for wave in waves if has_answers(wave.output.status)]
