"""The chunk's job, and what the service wrote for it."""

import dagster as dg
from dagster import DagsterExecutionInterruptedError

from bedrock_batch_assets.assets.reporting import person_can_act, single_partition
from bedrock_batch_assets.chunk import Chunk
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.jobs.naming import JobName
from bedrock_batch_assets.jobs.ownership import JobOrder, find_or_create, latest
from bedrock_batch_assets.jobs.service import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.jobs.waiting import Clock, wait_until_finished
from bedrock_batch_assets.partitions import chunks
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.storage.manifests import ChunkManifest, JobOutput, OutputsManifest
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import JOB_ARN_TAG

# Ended with outputs worth joining. A Failed job has none.
_HARVESTABLE = frozenset({"Completed", "PartiallyCompleted", "Stopped", "Expired"})


@dg.asset(
    partitions_def=chunks,
    deps=["jsonl_chunks"],
    group_name="batch_inference",
    kinds={"bedrock", "s3"},
    owners=["team:data-platform"],
)
def batch_job_outputs(
    context: dg.AssetExecutionContext,
    storage: BatchStorage,
    jobs: BedrockBatchJobs,
    processors: Processors,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The model's answers to the chunk, as the Bedrock batch job wrote them.

    The run owns the job for the job's whole life: it finds the job or asks for it, waits, and ends when the job
    does. Terminate the run to stop the job. Run it again, after a crash or on purpose, and it finds the same job.
    """
    with person_can_act():
        chunk = Chunk.load(single_partition(context), storage, processors)
        records = storage.chunk_manifest(chunk.key)
        if records.version != chunk.entry.version:
            raise BatchError(
                f"The records of chunk {chunk.key} were rendered from an earlier input: materialize jsonl_chunks "
                "of this chunk first."
            )
        state = _own_job(context, chunk, records, jobs) if records.records else None
        outputs = [] if state is None else [_job_output(state)]
        storage.write_manifest(
            storage.layout.outputs_manifest(chunk.key),
            OutputsManifest(chunk=chunk.key, version=records.version, digest=records.digest, outputs=outputs),
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(records.version),
        metadata=_metadata(state, jobs),
    )


def _own_job(
    context: dg.AssetExecutionContext, chunk: Chunk, records: ChunkManifest, jobs: BedrockBatchJobs
) -> JobState:
    clock = Clock()
    storage = chunk.storage
    base = JobName(chunk.key, records.digest)
    last = latest(jobs.find_family(base))
    name = base
    if last is not None:
        parsed = JobName.parse(last.name)
        assert parsed is not None
        name = (
            parsed
            if not last.finished or last.status in _HARVESTABLE
            else JobName(base.chunk, base.digest, parsed.wave + 1)
        )
    order = JobOrder(
        name=name,
        model_id=chunk.batch.model_id,
        invocation_type=chunk.processor.model_invocation_type,
        input_uri=storage.uri(storage.layout.job_folder(chunk.key, records.digest)),
        output_uri=storage.uri(storage.layout.chunk_outputs_folder(chunk.key)),
    )
    arn, created = find_or_create(jobs, order, on_trouble=context.log.warning, clock=clock)
    context.instance.add_run_tags(context.run_id, {JOB_ARN_TAG: arn})
    context.log.info(f"{'Submitted' if created else 'Attached to'} job {name}: {arn}")
    try:
        state = wait_until_finished(
            jobs,
            arn,
            on_change=lambda state: context.log.info(f"Job {state.name}: {state.describe()}"),
            on_trouble=context.log.warning,
            clock=clock,
        )
    except DagsterExecutionInterruptedError:
        if _person_asked_to_stop(context):
            stopped = jobs.stop(arn)
            context.log.warning(f"Terminated: {'stopping' if stopped else 'already ended'}: job {arn}")
        else:
            context.log.warning(f"This process is going down; job {arn} goes on, and the retry attaches to it.")
        raise
    if state.status not in _HARVESTABLE:
        raise BatchError(f"Job {state.name} ended as {state.describe()} ({arn})")
    return state


def _person_asked_to_stop(context: dg.AssetExecutionContext) -> bool:
    # The run's own object is a stale snapshot, so its status is read fresh.
    run = context.instance.get_run_by_id(context.run_id)
    return run is not None and run.status in {dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED}


def _job_output(state: JobState) -> JobOutput:
    return JobOutput(
        name=state.name, prefix=state.output_prefix, status=state.status, arn=state.arn, message=state.message
    )


def _metadata(state: JobState | None, jobs: BedrockBatchJobs) -> dict[str, dg.MetadataValue | str | int | float]:
    if state is None:
        return {"status": "no job: every row of the chunk is skipped"}
    metadata: dict[str, dg.MetadataValue | str | int | float] = {
        "status": state.status,
        "job_name": state.name,
        "job_arn": state.arn,
        "console": dg.MetadataValue.url(jobs.console_url),
        "outputs": state.output_prefix,
        "model": state.model_id,
    }
    if state.submitted_at is not None:
        metadata["submitted_at"] = dg.MetadataValue.timestamp(state.submitted_at)
        if state.ended_at is not None:
            metadata["ended_at"] = dg.MetadataValue.timestamp(state.ended_at)
            metadata["duration_seconds"] = (state.ended_at - state.submitted_at).total_seconds()
    for name, count in (
        ("records_total", state.total),
        ("records_processed", state.processed),
        ("records_succeeded", state.succeeded),
        ("records_failed", state.failed),
    ):
        if count is not None:
            metadata[name] = count
    if state.message:
        metadata["message"] = state.message
    return metadata
