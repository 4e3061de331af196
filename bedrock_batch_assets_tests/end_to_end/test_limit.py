"""The run queue is the job queue: jobs in flight stay within the limit, whoever launches the runs."""

from collections import Counter

from bedrock_batch_assets_tests.end_to_end.scenario import (
    CHUNK_ASSETS,
    HUNDREDS_CHUNKS,
    MODEL_LIMIT,
    SHARED,
    Finished,
    Interrupted,
    Jobs,
)
from bedrock_batch_assets_tests.end_to_end.ui import Ui


def test_backfill_of_the_person(finished: Finished) -> None:
    """A person's backfill of some chunks, at the same time as the sensor's, makes one run for each of them."""
    page = finished.of_person
    assert page.status == "COMPLETED_SUCCESS"
    assert sorted(run.partition or "" for run in page.runs) == SHARED
    assert {run.assets for run in page.runs} == {frozenset(CHUNK_ASSETS)}


def test_jobs_in_flight(finished: Finished) -> None:
    """Twelve chunks and two backfills of them never have more jobs in flight than the limit of their model."""
    assert len(finished.jobs) == len(HUNDREDS_CHUNKS)
    assert 1 < finished.max_in_flight <= MODEL_LIMIT
    assert most_at_once(finished.jobs) == finished.max_in_flight


def test_limit_is_per_model(finished: Finished, interrupted: Interrupted) -> None:
    """Jobs of another model are in flight beside those that the limit holds for."""
    assert most_at_once([*finished.jobs, *interrupted.jobs.values()]) > finished.max_in_flight


def test_one_job_per_chunk(finished: Finished) -> None:
    """No chunk gets two jobs, although two backfills have a run for some."""
    jobs = Counter(job["name"].rpartition("-")[0] for job in finished.jobs)
    assert jobs == dict.fromkeys(HUNDREDS_CHUNKS, 1)


def test_one_run_per_chunk_at_a_time(ui: Ui, finished: Finished) -> None:
    """The two runs of one chunk never overlap."""
    runs = [*finished.of_sensor.runs, *finished.of_person.runs]
    times = ui.run_times([run.id for run in runs])
    for chunk in SHARED:
        (_, first_end), (second_start, _) = sorted(times[run.id] for run in runs if run.partition == chunk)
        assert first_end <= second_start


def most_at_once(jobs: Jobs) -> int:
    """The most of these jobs that were in flight at once. One that has not ended is in flight to the end of time."""
    changes = [(job["submitTime"], 1) for job in jobs]
    changes += [(job["endTime"], -1) for job in jobs if job["endTime"] is not None]
    # Where one ends as another begins, the end counts first.
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most
