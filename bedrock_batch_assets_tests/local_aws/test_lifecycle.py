import json
from typing import Any

import pytest

from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, TITAN, Ready, messages_body, records
from bedrock_batch_assets_tests.local_aws_fixture import refused


def output_lines(ready: Ready, name: str = "rows.jsonl.out") -> list[dict[str, Any]]:
    """The lines of the only job's output file of this name."""
    files = ready.aws.read_outputs("s3://data/out/")
    (text,) = [body for key, body in files.items() if key.partition("/")[2] == name]
    return [json.loads(line) for line in text.split(b"\n") if line]


def manifest(ready: Ready) -> dict[str, int]:
    """The only job's manifest."""
    files = ready.aws.read_outputs("s3://data/out/")
    (text,) = [body for key, body in files.items() if key.endswith("manifest.json.out")]
    result: dict[str, int] = json.loads(text)
    return result


def statuses(ready: Ready) -> list[str]:
    """The statuses that the only job has been in."""
    (job,) = ready.aws.jobs()
    return [status for status, _ in job["transitions"]]


def test_a_job_goes_through_every_status_at_its_time(slow: Ready) -> None:
    """Each status lasts as long as is set, and counts stay 0 until the job is in progress, then grow."""
    arn = slow.submit()
    seen = []
    for _ in range(8):
        job = slow.aws.job(arn)
        seen.append((job["status"], job["totalRecordCount"], job["processedRecordCount"]))
        slow.aws.advance(5)
    assert seen == [
        ("Submitted", 0, 0),
        ("Submitted", 0, 0),
        ("Validating", 0, 0),
        ("Validating", 0, 0),
        ("Scheduled", 0, 0),
        ("Scheduled", 0, 0),
        ("InProgress", 100, 0),
        ("InProgress", 100, 50),
    ]
    job = slow.aws.job(arn)
    assert job["status"] == "Completed"
    assert (job["processedRecordCount"], job["successRecordCount"], job["errorRecordCount"]) == (100, 100, 0)
    assert (job["endTime"] - job["submitTime"]).total_seconds() == pytest.approx(40, abs=0.01)


def test_jobs_move_on_without_being_asked_for(ready: Ready) -> None:
    """On the system's clock a job ends by itself: nobody calls Get."""
    ready.submit()
    ready.aws.wait_for_status("Completed")
    assert len(output_lines(ready)) == 100


def test_output_is_complete_and_shuffled(ready: Ready) -> None:
    """Every record comes back once, with its input, but not in the order it was given in."""
    ready.aws.wait_for_job(ready.submit())
    lines = output_lines(ready)
    given = records(100)
    assert [line["recordId"] for line in lines] != [record["recordId"] for record in given]
    assert {line["recordId"]: line["modelInput"] for line in lines} == {r["recordId"]: r["modelInput"] for r in given}
    assert all(line.keys() == {"recordId", "modelInput", "modelOutput"} for line in lines)


def test_output_lies_under_the_job_id(ready: Ready) -> None:
    """Outputs are in a folder named by the ARN's last part, one file per input file, and a manifest."""
    arn = ready.submit()
    ready.aws.wait_for_job(arn)
    folder = arn.rpartition("/")[2]
    assert sorted(ready.aws.read_outputs("s3://data/out/")) == [
        f"{folder}/manifest.json.out",
        f"{folder}/rows.jsonl.out",
    ]


def test_the_manifest_sums_up_the_ledger(ready: Ready) -> None:
    """Counts and tokens of the manifest are those of the lines and of what was billed."""
    ready.aws.put_records("data", "in/rows.jsonl", [*records(99), {"recordId": "bad", "modelInput": {"x": 1}}])
    ready.aws.wait_for_job(ready.submit())
    billed = ready.aws.ledger()
    assert manifest(ready) == {
        "totalRecordCount": 100,
        "processedRecordCount": 100,
        "successRecordCount": 99,
        "errorRecordCount": 1,
        "inputTokenCount": sum(entry["inputTokens"] for entry in billed),
        "outputTokenCount": sum(entry["outputTokens"] for entry in billed),
    }
    usage = [line["modelOutput"]["usage"] for line in output_lines(ready) if "modelOutput" in line]
    assert sum(item["input_tokens"] for item in usage) == manifest(ready)["inputTokenCount"]


def test_all_jsonl_files_of_a_folder_are_read(ready: Ready) -> None:
    """Sub-folders are read, too, other files are not, and each file has an output of its own."""
    ready.aws.put_records("data", "many/a.jsonl", records(60))
    ready.aws.put_records("data", "many/sub/b.jsonl", records(60, start=60))
    ready.aws.put_records("data", "many/c.json", records(60, start=120))
    ready.aws.put_records("data", "many-more/d.jsonl", records(60, start=180))
    arn = ready.submit(uri="s3://data/many")
    assert ready.aws.wait_for_job(arn)["totalRecordCount"] == 120
    ids = {
        name: {line["recordId"] for line in output_lines(ready, name)} for name in ("a.jsonl.out", "sub/b.jsonl.out")
    }
    assert ids["a.jsonl.out"] == {record["recordId"] for record in records(60)}
    assert ids["sub/b.jsonl.out"] == {record["recordId"] for record in records(60, start=60)}


def test_a_missing_record_id_is_added(ready: Ready) -> None:
    """Records without recordId get one each; line separators inside strings do not end a line."""
    inputs = [{"modelInput": messages_body(f"line\u2028one\u0085two {i}")} for i in range(100)]
    body = "\n".join(json.dumps(record, ensure_ascii=False) for record in inputs)
    ready.aws.client("s3").put_object(Bucket="data", Key="in/rows.jsonl", Body=body.encode())
    ready.aws.wait_for_job(ready.submit())
    assert len({line["recordId"] for line in output_lines(ready)}) == 100


@pytest.mark.parametrize(
    ("settings", "body", "message"),
    [
        ({"min_records": 101}, None, "contains less records (100) than the required minimum of: 101"),
        ({"max_records": 99}, None, "contains more records (100) than the allowed maximum of: 99"),
        ({"max_records_per_file": 99}, None, "in the file in/rows.jsonl than the allowed maximum of: 99"),
        ({"max_file_bytes": 100}, None, "more than the allowed maximum of: 100"),
        ({"max_job_bytes": 100}, None, "more than the allowed maximum of: 100"),
        ({}, b"not json\n" * 100, "malformed record 1"),
        ({}, b'{"recordId":"a"}\n' * 100, "malformed record 1"),
        ({}, b'{"modelInput":"text"}\n' * 100, "malformed record 1"),
        ({}, b'{"recordId":7,"modelInput":{}}\n' * 100, "malformed record 1"),
        ({}, b"", "contains less records (0) than the required minimum of: 100"),
    ],
)
def test_input_is_checked_after_the_job_was_accepted(
    ready: Ready, settings: dict[str, Any], body: bytes | None, message: str
) -> None:
    """Too few, too many, too large, or malformed: Create accepts, then the job fails, unbilled and without output."""
    ready.aws.put_settings(settings)
    if body is not None:
        ready.aws.client("s3").put_object(Bucket="data", Key="in/rows.jsonl", Body=body)
    arn = ready.submit()
    job = ready.aws.wait_for_job(arn)
    assert job["status"] == "Failed"
    assert message in job["message"]
    assert f"Batch job {arn} " in job["message"]
    assert job["totalRecordCount"] == 0
    assert ready.aws.ledger() == []
    assert ready.aws.read_outputs("s3://data/out/") == {}
    assert statuses(ready) == ["Submitted", "Validating", "Failed"]


def test_a_file_that_does_not_end_with_jsonl_fails_the_job(ready: Ready) -> None:
    """An input of another suffix is refused when it is validated."""
    uri = ready.aws.put_records("data", "in/rows.json", records(100))
    job = ready.aws.wait_for_job(ready.submit(uri=uri))
    assert (job["status"], "no file that ends with .jsonl" in job["message"]) == ("Failed", True)


def test_input_that_goes_away_fails_its_job_only(slow: Ready) -> None:
    """A job whose output bucket is deleted fails, and others go on."""
    slow.aws.create_bucket("gone")
    failing = slow.submit(outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://gone/out/"}})
    slow.aws.client("s3").delete_bucket(Bucket="gone")
    fine = slow.submit()
    slow.aws.advance(100)
    assert slow.aws.job(failing)["status"] == "Failed"
    assert slow.aws.job(fine)["status"] == "Completed"


def test_stop_in_progress_keeps_and_bills_what_was_done(slow: Ready) -> None:
    """A stopped job goes through Stopping, and has output and bill for exactly the records processed by then."""
    arn = slow.submit()
    slow.aws.advance(35)
    slow.aws.client("bedrock").stop_model_invocation_job(jobIdentifier=arn)
    assert slow.aws.job(arn)["status"] == "Stopping"
    slow.aws.client("bedrock").stop_model_invocation_job(jobIdentifier=arn)
    slow.aws.advance(10)
    job = slow.aws.job(arn)
    assert job["status"] == "Stopped"
    assert (job["totalRecordCount"], job["processedRecordCount"]) == (100, 50)
    assert len(output_lines(slow)) == len(slow.aws.ledger()) == manifest(slow)["processedRecordCount"] == 50
    assert statuses(slow)[-3:] == ["InProgress", "Stopping", "Stopped"]


def test_stop_before_progress_bills_nothing(slow: Ready) -> None:
    """A job stopped in the queue has no output and no bill."""
    arn = slow.submit()
    slow.aws.advance(5)
    slow.aws.client("bedrock").stop_model_invocation_job(jobIdentifier=arn)
    slow.aws.advance(100)
    assert statuses(slow) == ["Submitted", "Stopping", "Stopped"]
    assert slow.aws.ledger() == []
    assert slow.aws.read_outputs("s3://data/out/") == {}


def test_a_job_that_does_not_begin_in_time_expires(slow: Ready) -> None:
    """When the timeout passes in the queue the job is Expired, at that time."""
    slow.aws.put_settings({"seconds_per_timeout_hour": 1, "seconds": {"Scheduled": 1000}})
    arn = slow.submit(timeoutDurationInHours=24)
    slow.aws.advance(1000)
    job = slow.aws.job(arn)
    assert job["status"] == "Expired"
    assert "didn't begin before" in job["message"]
    assert (job["endTime"] - job["submitTime"]).total_seconds() == pytest.approx(24, abs=0.01)


def test_a_job_that_does_not_end_in_time_is_partially_completed(slow: Ready) -> None:
    """When the timeout passes in progress, what was done by then is kept."""
    slow.aws.put_settings({"seconds_per_timeout_hour": 1, "seconds": {"Scheduled": 0, "InProgress": 16}})
    arn = slow.submit(timeoutDurationInHours=24)
    slow.aws.advance(1000)
    job = slow.aws.job(arn)
    assert job["status"] == "PartiallyCompleted"
    assert job["processedRecordCount"] == len(output_lines(slow)) == len(slow.aws.ledger()) == 25


@pytest.mark.parametrize(
    ("ending", "status", "processed"),
    [
        ({"status": "PartiallyCompleted"}, "PartiallyCompleted", 50),
        ({"status": "PartiallyCompleted", "processed_share": 0.9}, "PartiallyCompleted", 90),
        ({"status": "Failed"}, "Failed", 0),
        ({"status": "Failed", "processed_share": 0.3}, "Failed", 30),
        ({"status": "Expired"}, "Expired", 0),
        ({"status": "Expired", "processed_share": 0.1}, "Expired", 10),
        ({"status": "Stopped"}, "Stopped", 50),
    ],
)
def test_jobs_end_as_set(ready: Ready, ending: dict[str, Any], status: str, processed: int) -> None:
    """A job ends in the status that is set, with the share of its records done, written and billed."""
    ready.aws.put_settings({"job_endings": [ending | {"message": "as set"}]})
    job = ready.aws.wait_for_job(ready.submit())
    assert (job["status"], job["processedRecordCount"]) == (status, processed)
    assert len(ready.aws.ledger()) == processed
    assert len(output_lines(ready) if processed else []) == processed
    if status != "Stopped":
        assert job["message"] == "as set"


def test_endings_strike_the_jobs_named_and_only_so_many(ready: Ready) -> None:
    """The ending's name pattern and count choose the jobs."""
    ready.aws.put_settings({"job_endings": [{"status": "Failed", "name": "bad-*", "count": 2}]})
    names = ["good-1", "bad-1", "bad-2", "bad-3"]
    got = [ready.aws.wait_for_job(ready.submit(jobName=name))["status"] for name in names]
    assert got == ["Completed", "Failed", "Failed", "Completed"]


def test_new_settings_hold_for_the_step_a_job_is_in(slow: Ready) -> None:
    """A job that waits for long is let go by a change of settings, and so is a stopped clock."""
    slow.aws.put_settings({"clock": "system", "seconds": {"Submitted": 10_000}})
    arn = slow.submit()
    zero = dict.fromkeys(["Submitted", "Validating", "Scheduled", "InProgress", "Stopping"], 0)
    slow.aws.put_settings({"seconds": zero})
    assert slow.aws.wait_for_job(arn)["status"] == "Completed"


def test_records_take_time_each(slow: Ready) -> None:
    """`per_record` makes the time in progress grow with the job."""
    slow.aws.put_settings({"seconds": {"InProgress": 0, "per_record": 1}})
    arn = slow.submit()
    slow.aws.advance(30 + 42)
    assert slow.aws.job(arn)["processedRecordCount"] == 42


def test_the_most_jobs_in_flight(slow: Ready) -> None:
    """The highest number of unended jobs is kept by base model, whatever id reached it."""
    for model in (HAIKU, f"us.{HAIKU}", TITAN):
        slow.submit(model)
    slow.aws.advance(100)
    slow.submit()
    assert slow.aws.max_in_flight() == {HAIKU: 2, TITAN: 1}


def test_wrong_bodies_are_errors_of_their_records(ready: Ready) -> None:
    """A job of bodies that the model refuses is Completed with an error line for each, unbilled."""
    bad = [{"recordId": f"r{i}", "modelInput": messages_body("hi", modelId=HAIKU)} for i in range(100)]
    ready.aws.put_records("data", "in/rows.jsonl", bad)
    job = ready.aws.wait_for_job(ready.submit())
    assert (job["status"], job["successRecordCount"], job["errorRecordCount"]) == ("Completed", 0, 100)
    line = output_lines(ready)[0]
    assert line["error"] == {"errorCode": 400, "errorMessage": "modelId: Extra inputs are not permitted"}
    assert "modelOutput" not in line
    assert ready.aws.ledger() == []


def test_create_with_no_time_at_all(ready: Ready) -> None:
    """With all steps at zero seconds a job still goes through each of them."""
    ready.aws.put_settings({"seconds": dict.fromkeys(["Submitted", "Validating", "Scheduled", "InProgress"], 0)})
    ready.aws.wait_for_job(ready.submit())
    assert statuses(ready) == ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]
    with refused("ConflictException"):
        ready.aws.client("bedrock").stop_model_invocation_job(jobIdentifier=ready.aws.jobs()[0]["arn"])


@pytest.mark.parametrize("step", [0.05, 0.1, 0.7])
def test_a_manual_clock_gets_over_every_moment(ready: Ready, step: float) -> None:
    """Steps that no floating-point number holds exactly end a job in progress, and advancing always comes back."""
    seconds = dict.fromkeys(["Submitted", "Validating", "Scheduled", "InProgress", "Stopping"], 0.05)
    ready.aws.put_settings({"clock": "manual", "seconds": seconds})
    for _ in range(8):
        ready.submit()
        ready.aws.advance(step)
    ready.aws.advance(1)
    assert {job["status"] for job in ready.aws.jobs()} == {"Completed"}
