"""Answers on demand: each record claimed, sent once, and stored, whoever dies in between."""

import json
import threading
from typing import Any

import msgspec
import pytest

from bedrock_batch_assets.errors import ConfigurationError, LapsedCredentialsError, UnreachableServiceError
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.on_demand_pass import OnDemandPass
from bedrock_batch_assets.jobs.record_sender import Pace, RecordSender
from bedrock_batch_assets.storage.objects import ObjectStore
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU

FOLDER = "claims/demo-00000/"
OUTPUT = "out/demo-00000/on-demand/demo-00000.jsonl.out"


def record(index: int, **changes: Any) -> bytes:
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": f"Tell me a joke about number {index}."}],
    }
    return json.dumps({"recordId": f"r{index:010d}", "modelInput": body | changes}).encode() + b"\n"


@pytest.fixture
def objects(local_aws: LocalAws) -> ObjectStore:
    return ObjectStore(local_aws.client("s3"), local_aws.create_bucket())


def new_pass(objects: ObjectStore, service: OnDemand | None = None) -> OnDemandPass:
    service = service or OnDemand(requests_per_second=500, tries=4, flex=False)
    clock = Clock(sleep=lambda _: None, random=lambda: 0.5)
    sender = RecordSender(service, HAIKU, "InvokeModel", clock)
    return OnDemandPass(sender, service.concurrency, objects, FOLDER, OUTPUT)


def run(objects: ObjectStore, records: list[bytes]) -> dict[str, dict[str, Any]]:
    new_pass(objects).run(records, lambda *_: None)
    return written(objects)


def written(objects: ObjectStore) -> dict[str, dict[str, Any]]:
    lines = [msgspec.json.decode(line) for line in objects.get_bytes(OUTPUT).splitlines()]
    return {line["recordId"]: line for line in lines}


def test_every_record_is_answered_and_billed_once(local_aws: LocalAws, objects: ObjectStore) -> None:
    """Each record has an answer in the output file, and the ledger one entry for it; claims are gone."""
    answers = run(objects, [record(index) for index in range(20)])
    assert len(answers) == 20
    assert all("modelOutput" in answer for answer in answers.values())
    assert local_aws.ledger_summary()["records"] == 20
    assert list(objects.list(FOLDER)) == []


def test_a_finished_pass_is_not_repeated(local_aws: LocalAws, objects: ObjectStore) -> None:
    """Running the same pass again sends nothing."""
    run(objects, [record(index) for index in range(5)])
    run(objects, [record(index) for index in range(5)])
    assert local_aws.ledger_summary()["records"] == 5


def test_stored_answers_are_used_and_claims_without_one_are_not_sent_again(
    local_aws: LocalAws, objects: ObjectStore
) -> None:
    """After a crash: a stored answer is kept, a claimed record is reported as unknown, the rest is sent."""
    stored = {"recordId": "r0000000000", "modelOutput": {"stored": True}}
    objects.put_bytes(f"{FOLDER}claims/r0000000000", b"")
    objects.put_json(f"{FOLDER}answers/r0000000000", stored)
    objects.put_bytes(f"{FOLDER}claims/r0000000001", b"")
    answers = run(objects, [record(index) for index in range(3)])
    assert answers["r0000000000"] == stored
    assert "may have been paid" in answers["r0000000001"]["error"]["errorMessage"]
    assert "modelOutput" in answers["r0000000002"]
    assert local_aws.ledger_summary()["records"] == 1


def test_a_broken_connection_is_never_repeated(local_aws: LocalAws, objects: ObjectStore) -> None:
    """The model ran and the answer was lost: the record is billed once, and its line says that nobody knows."""
    local_aws.put_settings({"api_faults": [{"operation": "InvokeModel", "code": "drop", "when": "after", "count": 1}]})
    (answer,) = run(objects, [record(0)]).values()
    assert "may have been paid" in answer["error"]["errorMessage"]
    assert local_aws.ledger_summary()["records"] == 1


def test_throttling_is_waited_out(local_aws: LocalAws, objects: ObjectStore) -> None:
    """Throttled requests, which ran no model, are sent again until they are answered."""
    local_aws.put_settings({"api_faults": [{"operation": "InvokeModel", "code": "ThrottlingException", "count": 3}]})
    answers = run(objects, [record(index) for index in range(4)])
    assert all("modelOutput" in answer for answer in answers.values())
    assert local_aws.ledger_summary()["records"] == 4


def test_a_refused_record_is_an_error_line_and_stops_nobody(local_aws: LocalAws, objects: ObjectStore) -> None:
    """A body that the model refuses gives the service's reason on its own line, as in a job's output."""
    answers = run(objects, [record(0), record(1, max_tokens="many"), record(2)])
    assert answers["r0000000001"]["error"]["errorCode"] == 400
    assert answers["r0000000001"]["error"]["errorMessage"]
    assert "modelOutput" in answers["r0000000002"]


class Interrupting(OnDemand):
    """Lets another pass over the same records go through, from start to end, while this one has one call in flight."""

    concurrency: int = 1

    def invoke(self, model_id: str, invocation_type: Any, body: dict[str, Any], *, tier: str | None = None) -> Any:
        content = body["messages"][0]["content"]
        if content.endswith("number 0."):
            store = ObjectStore(self.client("s3"), "data")
            run(store, [record(index) for index in range(6)])
        return super().invoke(model_id, invocation_type, body, tier=tier)


def test_a_pass_that_another_one_overtakes_pays_for_nothing_again(local_aws: LocalAws, objects: ObjectStore) -> None:
    """Another process answers the rest, ends, and takes the claims away: nothing is sent twice, no answer is lost."""
    new_pass(objects, Interrupting(requests_per_second=500)).run([record(index) for index in range(6)], lambda *_: None)
    answers = written(objects)
    assert len(answers) == 6
    assert all("modelOutput" in answer for answer in answers.values())
    assert local_aws.ledger_summary()["records"] == 6


def test_processes_that_add_to_one_output_at_once_lose_no_answer(local_aws: LocalAws, objects: ObjectStore) -> None:
    """Two passes have answers that the output lacks: all are in it, if one writes after the other has read."""
    lines = {name: {"recordId": name, "modelOutput": {"by": name}} for name in ("r0", "r1", "r2")}
    unknown = {name: {"recordId": name, "error": {"errorCode": "Unknown", "errorMessage": ""}} for name in lines}
    objects.put_bytes(OUTPUT, b"".join(msgspec.json.encode(line) + b"\n" for line in unknown.values()))
    order = list(lines)
    pause = iter([True])

    def let_another_write_first(params: dict[str, Any], **_: Any) -> None:
        # Not before the write that finds the output there: what was read by then counts.
        if "If-None-Match" not in params["headers"] and next(pause, False):
            new_pass(objects)._write_output(order, unknown | {"r1": lines["r1"], "r2": lines["r2"]})

    client = objects.client
    client.meta.events.register("before-call.s3.PutObject", let_another_write_first)
    try:
        new_pass(objects)._write_output(order, unknown | {"r0": lines["r0"]})
    finally:
        client.meta.events.unregister("before-call.s3.PutObject", let_another_write_first)
    assert written(objects) == lines


def test_a_claim_whose_confirmation_was_lost_is_ones_own(local_aws: LocalAws, objects: ObjectStore) -> None:
    """S3 wrote the claims and the connections broke: boto3's second try is refused, and the records are sent anyway."""
    fault = {"operation": "PutObject", "code": "drop", "when": "after", "count": 3}
    local_aws.put_settings({"api_faults": [fault]})
    answers = run(objects, [record(index) for index in range(3)])
    assert all("modelOutput" in answer for answer in answers.values())
    assert local_aws.ledger_summary()["records"] == 3


class Claiming(OnDemand):
    """Lets another process claim the last record while this one has its first call in flight."""

    concurrency: int = 1

    def invoke(self, model_id: str, invocation_type: Any, body: dict[str, Any], *, tier: str | None = None) -> Any:
        if body["messages"][0]["content"].endswith("number 0."):
            ObjectStore(self.client("s3"), "data").put_bytes(f"{FOLDER}claims/r0000000002", b"another")
        return super().invoke(model_id, invocation_type, body, tier=tier)


def test_a_record_that_another_process_has_just_claimed_is_not_sent(local_aws: LocalAws, objects: ObjectStore) -> None:
    """A claim that was not there when this pass began keeps it from paying for the record a second time."""
    new_pass(objects, Claiming(requests_per_second=500)).run([record(index) for index in range(3)], lambda *_: None)
    assert "may have been paid" in written(objects)["r0000000002"]["error"]["errorMessage"]
    assert local_aws.ledger_summary()["records"] == 2


def test_a_denied_permission_is_one_call_and_costs_no_record_its_answer(
    local_aws: LocalAws, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names action and model after one call; with the permission granted every record is answered once."""
    local_aws.put_settings({"api_faults": [{"operation": "InvokeModel", "code": "AccessDeniedException", "count": 1}]})
    stopped = threading.Event()
    stop = Pace.stop

    def told_stop(pace: Pace) -> None:
        stop(pace)
        stopped.set()

    monkeypatch.setattr(Pace, "stop", told_stop)
    # All but the first wait for their turn, until the pass is stopped.

    def sleep(_: float) -> None:
        stopped.wait(20)

    records = [record(index) for index in range(20)]
    sender = RecordSender(OnDemand(requests_per_second=1, flex=False), HAIKU, "InvokeModel", Clock(sleep=sleep))
    denied = OnDemandPass(sender, 8, objects, FOLDER, OUTPUT)
    with pytest.raises(ConfigurationError, match=f"bedrock:InvokeModel.*{HAIKU}"):
        denied.run(records, lambda *_: None)
    assert local_aws.calls()["InvokeModel"] == 1
    answers = run(objects, records)
    assert all("modelOutput" in answer for answer in answers.values())
    assert local_aws.ledger_summary()["records"] == 20


@pytest.mark.parametrize("code", ["expired", "UnrecognizedClientException", "InvalidSignatureException"])
def test_a_record_refused_for_expired_credentials_can_be_sent_again(
    local_aws: LocalAws, objects: ObjectStore, code: str
) -> None:
    """If nobody waits, the pass fails with one line; no record counts as answered, refused or possibly paid."""
    local_aws.put_settings({"api_faults": [{"operation": "InvokeModel", "code": code, "count": 8}]})
    records = [record(index) for index in range(12)]
    with pytest.raises(LapsedCredentialsError):
        new_pass(objects).run(records, lambda *_: None)
    assert not [info.key for info in objects.list(f"{FOLDER}claims/") if not objects.exists(answer_of(info.key))]
    answers = run(objects, records)
    assert all("modelOutput" in answer for answer in answers.values())
    assert local_aws.ledger_summary()["records"] == 12


def answer_of(claim: str) -> str:
    return claim.replace("/claims/", "/answers/")


@pytest.mark.parametrize(
    ("code", "status"), [("Throttling", 400), ("throttlingException", 400), ("Strange", 429), ("Strange", 503)]
)
def test_what_is_refused_before_the_model_ran_is_sent_again(
    local_aws: LocalAws, objects: ObjectStore, code: str, status: int
) -> None:
    """Throttling in any spelling, and any answer with its status, costs a wait and no record its answer."""
    fault = {"operation": "InvokeModel", "code": code, "status": status, "count": 3}
    local_aws.put_settings({"api_faults": [fault]})
    answers = run(objects, [record(index) for index in range(4)])
    assert all("modelOutput" in answer for answer in answers.values())
    assert local_aws.ledger_summary()["records"] == 4


def test_a_service_that_cannot_be_reached_has_received_nothing(local_aws: LocalAws, objects: ObjectStore) -> None:
    """Without a connection nothing was sent: the pass fails, no record is unknown, and all are sent later."""
    nowhere = OnDemand(requests_per_second=500, tries=2, endpoint_url="http://127.0.0.1:9")
    records = [record(index) for index in range(4)]
    with pytest.raises(UnreachableServiceError):
        new_pass(objects, nowhere).run(records, lambda *_: None)
    answers = run(objects, records)
    assert all("modelOutput" in answer for answer in answers.values())


def test_requests_are_spaced_over_all_threads() -> None:
    """At ten a second, five requests asked for at one moment go out over four tenths of a second."""
    sleeps: list[float] = []
    pace = Pace(10.0, Clock(now=lambda: 0.0, sleep=sleeps.append))
    for _ in range(5):
        pace.wait()
    assert sleeps == pytest.approx([0.1, 0.2, 0.3, 0.4])


NOVA = "amazon.nova-lite-v1:0"


def converse_record(index: int, **changes: Any) -> bytes:
    body = {"messages": [{"role": "user", "content": [{"text": f"Number {index}?"}]}]}
    return json.dumps({"recordId": f"r{index:010d}", "modelInput": body | changes}).encode() + b"\n"


def run_nova(objects: ObjectStore, records: list[bytes], **settings: Any) -> dict[str, dict[str, Any]]:
    service = OnDemand(requests_per_second=500, **{"tries": 4, **settings})
    sender = RecordSender(service, NOVA, "Converse", Clock(sleep=lambda _: None, random=lambda: 0.5))
    OnDemandPass(sender, 1, objects, FOLDER, OUTPUT).run(records, lambda *_: None)
    return written(objects)


def test_records_are_answered_in_the_flex_tier_if_the_model_has_it(local_aws: LocalAws, objects: ObjectStore) -> None:
    """Every answer was made in the tier that costs what a batch does, and its line says so, behind the id."""
    answers = run_nova(objects, [converse_record(index) for index in range(4)])
    assert [list(answer)[:2] for answer in answers.values()] == [["recordId", "serviceTier"]] * 4
    assert local_aws.ledger_summary()["flexRecords"] == 4
    assert "serviceTier" not in next(iter(answers.values()))["modelOutput"]


def test_a_model_without_a_flex_tier_is_asked_in_its_own(local_aws: LocalAws, objects: ObjectStore) -> None:
    """Claude has none: one refused call, which costs nothing; then each record is sent once, in the default tier."""
    service = OnDemand(requests_per_second=500, tries=4)
    sender = RecordSender(service, HAIKU, "InvokeModel", Clock(sleep=lambda _: None, random=lambda: 0.5))
    OnDemandPass(sender, 1, objects, FOLDER, OUTPUT).run([record(index) for index in range(4)], lambda *_: None)
    assert all("modelOutput" in answer and "serviceTier" not in answer for answer in written(objects).values())
    assert (local_aws.ledger_summary()["records"], local_aws.ledger_summary()["flexRecords"]) == (4, 0)
    assert local_aws.calls()["InvokeModel"] == 5


def test_a_refused_record_does_not_cost_the_others_the_flex_tier(local_aws: LocalAws, objects: ObjectStore) -> None:
    """A record that is refused in any tier says nothing about the model: the next ones are sent in flex, too."""
    wrong = converse_record(0, inferenceConfig={"maxTokens": 10_000_000})
    answers = run_nova(objects, [wrong, *(converse_record(index) for index in range(1, 4))])
    assert "error" in answers["r0000000000"]
    assert local_aws.ledger_summary()["flexRecords"] == 3


def test_a_flex_tier_without_capacity_is_left_after_some_tries(local_aws: LocalAws, objects: ObjectStore) -> None:
    """The first half of the tries is throttled: the record is answered in the default tier."""
    local_aws.put_settings({"api_faults": [{"operation": "Converse", "code": "ThrottlingException", "count": 2}]})
    answers = run_nova(objects, [converse_record(0)])
    assert "modelOutput" in answers["r0000000000"]
    assert (local_aws.ledger_summary()["records"], local_aws.ledger_summary()["flexRecords"]) == (1, 0)


def test_flex_can_be_turned_off(local_aws: LocalAws, objects: ObjectStore) -> None:
    """With `flex: false` nothing is asked for in that tier."""
    run_nova(objects, [converse_record(0)], flex=False)
    assert (local_aws.ledger_summary()["records"], local_aws.ledger_summary()["flexRecords"]) == (1, 0)
