"""The waves of a chunk: every attempt at some of its records, found again by the service's list and the bucket."""

from collections.abc import Iterator
from dataclasses import dataclass

from bedrock_batch_assets.jobs.naming import JobName
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.storage.bucket import BatchBucket, NotMaterializedError
from bedrock_batch_assets.storage.manifests import JobOutput

ON_DEMAND_STATUS = "OnDemand"
# A Failed job has processed nothing: the service fails it at validation.
_WITH_ANSWERS = frozenset({"Completed", "PartiallyCompleted", "Stopped", "Expired", ON_DEMAND_STATUS})


@dataclass(frozen=True, slots=True)
class Wave:
    """One attempt at some records of the chunk: a job, or an on-demand pass that is over."""

    number: int
    output: JobOutput
    finished: bool

    @property
    def uses_a_repair(self) -> bool:
        """Whether it counts towards the waves that a chunk may have.

        A stopped job does not count: a person cut it short, who may ask again.
        """
        return has_answers(self.output.status) and self.output.status != "Stopped"


def has_answers(status: str) -> bool:
    """Whether a wave with this final status leaves answers, to all or to some of its records."""
    return status in _WITH_ANSWERS


def find_waves(name: JobName, jobs: BatchJobs, storage: BatchBucket) -> list[Wave]:
    """The waves over a content that the service and the bucket know of, first to last; only the last can be unfinished.

    Args:
        name: The content's first job.
        jobs: Lists jobs.
        storage: Has the answers of on-demand passes, and what the chunk's last collection noted.
    """
    waves = [Wave(found.wave, job_output(state), state.finished) for found, state in jobs.find_family(name).items()]
    waves += _on_demand_waves(name, storage)
    known = {wave.number for wave in waves}
    waves += [wave for wave in _noted_waves(name, storage) if wave.number not in known]
    return sorted(waves, key=lambda wave: wave.number)


def job_output(state: JobState) -> JobOutput:
    """A job, as an entry of the chunk's manifest of outputs."""
    return JobOutput(
        name=state.name, prefix=state.output_prefix, status=state.status, arn=state.arn, message=state.message
    )


def _on_demand_waves(name: JobName, storage: BatchBucket) -> Iterator[Wave]:
    """The on-demand passes that are over: their output file is written last."""
    layout = storage.layout
    prefix = layout.on_demand_prefix(name.chunk, name.digest)
    for info in storage.objects.list(prefix):
        number = int(info.key.removeprefix(prefix).partition("/")[0])
        folder = layout.on_demand_outputs(name.chunk, name.digest, number).rpartition("/")[0] + "/"
        wave_name = JobName(name.chunk, name.digest, number)
        output = JobOutput(name=str(wave_name), prefix=storage.uri(folder), status=ON_DEMAND_STATUS)
        yield Wave(number, output, finished=True)


def _noted_waves(name: JobName, storage: BatchBucket) -> Iterator[Wave]:
    """The waves of this content that its last collection noted.

    It is not documented for how long Bedrock lists a job. A job that it no longer lists must not be paid for again.
    """
    try:
        noted = storage.outputs_manifest(name.chunk)
    except NotMaterializedError:
        return
    for output in noted.outputs:
        parsed = JobName.parse(output.name)
        if parsed is not None and parsed.family == name.family:
            yield Wave(parsed.wave, output, finished=True)
