"""A chunk's answers: asking for them, and noting where they are."""

from collections.abc import Callable
from dataclasses import replace

from bedrock_batch_assets.chunks.chunk import Chunk
from bedrock_batch_assets.jobs.chunk_answers import ChunkAnswers
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.resubmissions import first_wave
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.storage.manifests import ChunkManifest, OutputsManifest


def answers_of(
    chunk: Chunk,
    records: ChunkManifest,
    *,
    jobs: BatchJobs,
    on_demand: OnDemand,
    wait: Callable[[str], JobState],
    log: Callable[[str], None],
    clock: Clock,
) -> ChunkAnswers:
    """Everything that was and will be asked of the service for a chunk.

    Args:
        chunk: The chunk.
        records: What was rendered for it.
        jobs: Asks for jobs.
        on_demand: Asks for the records that are too few for a job.
        wait: Waits for a job, given its ARN, and returns its last state.
        log: Takes one line for people.
        clock: Time between tries.
    """
    return ChunkAnswers(
        records=records,
        model_id=chunk.model_id,
        processor=chunk.processor,
        storage=chunk.storage,
        jobs=jobs,
        on_demand=on_demand,
        wait=wait,
        log=log,
        clock=clock,
    )


def collect_answers(answers: ChunkAnswers, *, payer: str | None = None) -> OutputsManifest:
    """Get a chunk's records answered, whatever part of that has been done already, and store where the answers are.

    Args:
        answers: See `answers_of`.
        payer: The run that asks for all of the records anew, and pays again, by an id that its retries share. None to
            pay for nothing that was paid for.

    Raises:
        BatchError: The service refused or failed a job, or access is denied.
    """
    storage, records = answers.storage, answers.records
    start = first_wave(storage, records, answers.past_waves, payer)
    outputs = replace(answers, first_wave=start).collect() if records.records else []
    manifest = OutputsManifest(chunk=records.chunk, version=records.version, digest=records.digest, outputs=outputs)
    storage.write_manifest(storage.layout.outputs_manifest(records.chunk), manifest)
    return manifest
