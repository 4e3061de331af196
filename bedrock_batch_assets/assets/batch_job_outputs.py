"""The chunk's job, and the answers that the service wrote for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster import DagsterExecutionInterruptedError
from pydantic import Field

from bedrock_batch_assets.assets.reporting import RunStopped, asset_run
from bedrock_batch_assets.chunks.answered_chunk import answers_of, collect_answers
from bedrock_batch_assets.chunks.chunk import Chunk
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.jobs.chunk_answers import ChunkAnswers
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.naming import JobName
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs, BedrockOnDemand
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.jobs.waiting import wait_until_finished
from bedrock_batch_assets.parking.parked import Parked, park_after_seconds
from bedrock_batch_assets.partitions import chunks
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.records.durations import duration
from bedrock_batch_assets.runs.database import is_outage
from bedrock_batch_assets.runs.job_notices import has_finished_notice
from bedrock_batch_assets.runs.memory import give_back_memory
from bedrock_batch_assets.runs.superseded import families_left_behind
from bedrock_batch_assets.runs.terminations import EndedBy, ended_by
from bedrock_batch_assets.storage.manifests import ChunkManifest, JobOutput
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import JOB_ARN_TAG, JOB_TAG


class JobConfig(dg.Config):
    """Options that apply to one launch."""

    resubmit: bool = Field(
        default=False,
        description="Pay for the chunk again: ask for all of its records anew, whatever is there already.",
    )


@dg.asset(
    partitions_def=chunks,
    deps=["jsonl_chunks"],
    group_name="batch_inference",
    kinds={"bedrock", "s3"},
    owners=["team:data-platform"],
)
def batch_job_outputs(
    context: dg.AssetExecutionContext,
    config: JobConfig,
    storage: BatchStorage,
    jobs: BedrockBatchJobs,
    on_demand: BedrockOnDemand,
    processors: Processors,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The model's answers to the chunk, as the Bedrock batch job wrote them.

    The run owns the job for the job's whole life: it finds the job or asks for it, waits, and ends when the job
    does. Terminate the run to stop the job. Run it again, after a crash or on purpose, and it finds the same job.
    """
    with asset_run(context) as key:
        chunk = Chunk.load(key, storage, processors)
        records = storage.chunk_manifest(chunk.key)
        if records.version != chunk.version:
            raise BatchError(
                f"The records of chunk {chunk.key} were rendered from an earlier input: materialize jsonl_chunks "
                "of this chunk first."
            )
        owner = _JobOwner(context, jobs, chunk.key)
        answers = answers_of(
            chunk,
            records,
            jobs=jobs,
            on_demand=on_demand,
            wait=owner.wait,
            log=context.log.info,
            clock=owner.clock,
        )
        if config.resubmit:
            context.log.warning("resubmit: all records of this chunk are asked for, and paid for, again.")
        # Retries of a run share the id of the first.
        payer = context.run.root_run_id or context.run.run_id if config.resubmit else None
        context.instance.add_run_tags(context.run.run_id, {JOB_TAG: answers.family})
        owner.stop_jobs_of_earlier_inputs(answers.family)
        with owner.stopping_with_the_run(answers):
            outputs = collect_answers(answers, payer=payer).outputs
        state = answers.last_state(outputs, owner.last_state)
        metadata = _metadata(records, outputs, state, storage, jobs)
    return dg.MaterializeResult(data_version=dg.DataVersion(records.version), metadata=metadata)


class _JobOwner:
    """Waits for jobs on behalf of a run."""

    def __init__(self, context: dg.AssetExecutionContext, jobs: BedrockBatchJobs, chunk: str) -> None:
        self._context = context
        self._jobs = jobs
        self._chunk = chunk
        self.clock = Clock()
        self.last_state: JobState | None = None

    def wait(self, arn: str) -> JobState:
        """Wait until the job has finished."""
        context = self._context
        give_back_memory()
        context.instance.add_run_tags(context.run.run_id, {JOB_ARN_TAG: arn})
        context.log.info(f"Waiting for job {arn}. In the AWS console: {self._jobs.console_url}")
        park_after = park_after_seconds(context.instance, context.run)
        self.last_state = wait_until_finished(
            self._jobs,
            arn,
            on_change=self._show,
            on_trouble=context.log.warning,
            clock=self.clock,
            has_finished_notice=lambda: has_finished_notice(context.instance, arn),
            on_wait=lambda seconds: self._park(arn, seconds, park_after),
        )
        return self.last_state

    def _park(self, arn: str, waited: float, park_after: float | None) -> None:
        """Let this process go if the job takes long, and the instance's launcher brings the run back when it ends."""
        if park_after is not None and waited >= park_after:
            self._context.log.info("The job takes longer: this run lets its task go until the job has ended.")
            raise Parked(self._context.instance, self._context.run.run_id, arn)

    def _show(self, state: JobState, seconds_left: float | None) -> None:
        """A line in the run's log."""
        share = f", {state.processed / state.total:.0%}" if state.processed and state.total else ""
        left = f", about {duration(seconds_left)} left" if seconds_left is not None else ""
        self._context.log.info(f"Job {state.name}: {state.describe()}{share}{left}")

    def stop_jobs_of_earlier_inputs(self, family: str) -> None:
        """Stop the jobs that earlier runs of the chunk left going, if they send other records than this run does."""
        for earlier in families_left_behind(self._context.instance, self._chunk, family):
            name = JobName.parse(earlier)
            for state in self._jobs.find_family(name).values() if name is not None else ():
                if not state.finished and state.status != "Stopping" and self._jobs.stop(state.arn):
                    self._context.log.warning(f"The chunk has changed: stopping job {state.arn} of its earlier rows.")

    @contextmanager
    def stopping_with_the_run(self, answers: ChunkAnswers) -> Iterator[None]:
        """Stop the chunk's job if a person ends the run inside the block."""
        log = self._context.log
        try:
            yield
        except DagsterExecutionInterruptedError:
            # To be raised again as it is unless Dagster knows of the end: any other would be a step failure, which is
            # not retried.
            by, is_canceling = self._ended_by()
            assert chunks.name is not None
            is_gone = by is EndedBy.newer_input and not self._context.instance.has_dynamic_partition(
                chunks.name, self._chunk
            )
            if by is EndedBy.person or is_gone:
                why = "The batch has no such chunk any more" if is_gone else "Terminated"
                self._stop_jobs(answers, why)
                if is_canceling:
                    raise RunStopped(
                        f"{why}: the run ends, and its job is stopped. What was processed is kept; launch the batch "
                        "again to go on."
                    ) from None
            elif by is EndedBy.newer_input:
                log.warning("The batch has a newer input; the job goes on, and the chunk's next run takes it over.")
            else:
                log.warning("This process is going down; the job goes on, and the run's retry attaches to it.")
            raise

    def _stop_jobs(self, answers: ChunkAnswers, why: str) -> None:
        """Stop the jobs of the chunk. If AWS refuses that now, job_status_sensor does it when AWS allows it again."""
        log = self._context.log
        try:
            for arn in answers.stop():
                log.warning(f"{why}: stopping job {arn}")
        except Exception as error:  # noqa: BLE001  # the run is to end as cancelled, not as failed
            log.error(f"The chunk's jobs cannot be stopped now, job_status_sensor will stop them: {error}")

    def _ended_by(self) -> tuple[EndedBy, bool]:
        """Who ended the run, and whether Dagster is about to mark it as cancelled."""
        instance = self._context.instance
        try:
            # The run object is a snapshot from its start, so its status is read again.
            run = instance.get_run_by_id(self._context.run.run_id)
            return ended_by(instance, run), run is not None and run.status is dg.DagsterRunStatus.CANCELING
        except Exception as error:
            if not is_outage(error):
                raise
            # The job goes on. If a person ended the run, job_status_sensor stops the job when the database is back.
            return EndedBy.nobody, False


def _metadata(
    records: ChunkManifest,
    outputs: list[JobOutput],
    state: JobState | None,
    storage: BatchStorage,
    jobs: BedrockBatchJobs,
) -> dict[str, Any]:
    """Metadata about the chunk's job; about the last one, if there were several waves."""
    metadata: dict[str, Any] = {"records": records.records, "waves": len(outputs)}
    if not outputs:
        return {**metadata, "status": "no job: every row of the chunk is skipped"}
    last = outputs[-1]
    metadata |= {"status": last.status, "job_name": last.name, "outputs": last.prefix}
    if last.arn is not None:
        metadata |= {"job_arn": last.arn, "console": dg.MetadataValue.url(jobs.console_url)}
    if state is not None:
        metadata |= _measurements(state)
    for name, tokens in storage.job_tokens(outputs).items():
        metadata[name] = tokens
    return metadata


def _measurements(state: JobState) -> dict[str, Any]:
    found: dict[str, Any] = {"model": state.model_id}
    if state.submitted_at is not None:
        found["submitted_at"] = dg.MetadataValue.timestamp(state.submitted_at)
        if state.ended_at is not None:
            found["ended_at"] = dg.MetadataValue.timestamp(state.ended_at)
            found["duration_seconds"] = (state.ended_at - state.submitted_at).total_seconds()
    counts = {
        "records_total": state.total,
        "records_processed": state.processed,
        "records_succeeded": state.succeeded,
        "records_failed": state.failed,
    }
    found |= {name: count for name, count in counts.items() if count is not None}
    if state.message:
        found["message"] = state.message
    return found
