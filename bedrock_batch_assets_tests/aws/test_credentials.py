"""Credentials that are renewed while work goes on: in files, by programs, sign-ins and roles, over HTTP."""

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from dagster import DagsterExecutionInterruptedError
from dagster._core.errors import raise_execution_interrupts

from bedrock_batch_assets.aws.renewal import LONGEST_PAUSE_SECONDS, RenewalWait, current_wait, waiting_for_renewal
from bedrock_batch_assets.errors import AccessDeniedError, ConfigurationError, CredentialsError, LapsedCredentialsError
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.storage.objects import ObjectStore
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.aws_files import AwsFiles
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


class Desk:
    """A bucket, keys in a file, and a person who renews them at some moment of a wait."""

    def __init__(self, aws: LocalAws, files: AwsFiles) -> None:
        self.aws = aws
        self.files = files
        aws.create_bucket("data")
        files.write_keys("old")
        self.storage = BatchStorage(bucket="data")
        self.jobs = BedrockBatchJobs()
        self.said: list[str] = []
        self.slept = 0.0
        self._lock = threading.Lock()

    @property
    def objects(self) -> ObjectStore:
        return self.storage.objects

    def expire(self, *keys: str) -> None:
        self.aws.put_settings({"expired_access_keys": list(keys)})

    def waiting(self, renew: Callable[[], object], *, after: float = 3.0, from_start: bool = True) -> Any:
        """Wait as a run does, without any time passing; the person acts after so many seconds of waiting."""
        acted = threading.Event()

        def sleep(seconds: float) -> None:
            with self._lock:
                self.slept += seconds
                if self.slept >= after and not acted.is_set():
                    acted.set()
                    renew()
            assert self.slept < 100_000, f"nothing ends the wait: {self.said}"

        return waiting_for_renewal(self.said.append, from_start=from_start, sleep=sleep)

    def assert_waited_once(self) -> None:
        """People were told once that it waits, and once that it goes on."""
        assert len(self.said) == 2, self.said
        assert "This run waits for that, and then goes on." in self.said[0]
        assert "going on" in self.said[1]
        assert self.slept > 0


@pytest.fixture
def desk(local_aws: LocalAws, aws_files: AwsFiles) -> Desk:
    return Desk(local_aws, aws_files)


CALLS: dict[str, Callable[[Desk], object]] = {
    "PutObject": lambda desk: desk.objects.put_bytes("new", b"x"),
    "PutObject if new": lambda desk: desk.objects.put_new("if-new", b"x"),
    "GetObject": lambda desk: desk.objects.get_bytes("key"),
    "HeadObject": lambda desk: desk.objects.head("key"),
    "HeadBucket": lambda desk: desk.objects.check_bucket(),
    "ListObjectsV2": lambda desk: list(desk.objects.list()),
    "a range": lambda desk: desk.objects.open_reader("key").read(),
    "blocks": lambda desk: list(desk.objects.blocks("key")),
    "CopyObject": lambda desk: desk.objects.copy("key", "copy"),
    "DeleteObjects": lambda desk: desk.objects.delete(["nothing"]),
    "ListModelInvocationJobs": lambda desk: list(desk.jobs.list()),
}


def test_renewed_keys_are_found_without_a_wait(desk: Desk) -> None:
    """Keys that were written to the file before the old ones were refused are used at once, by clients that exist."""
    desk.objects.put_bytes("key", b"content")
    for number, (name, call) in enumerate(CALLS.items()):
        desk.expire("old", *(f"new{known}" for known in range(number)))
        desk.files.write_keys(f"new{number}")
        call(desk)
        assert desk.said == [], name


def test_every_call_waits_for_renewed_keys(desk: Desk) -> None:
    """A run whose keys are refused waits inside the call, says so once, and the call succeeds with new keys."""
    desk.objects.put_bytes("key", b"content")
    for number, (name, call) in enumerate(CALLS.items()):
        desk.said, desk.slept = [], 0.0
        desk.expire("old", *(f"new{known}" for known in range(number)))
        with desk.waiting(partial(desk.files.write_keys, f"new{number}"), after=100.0):
            call(desk)
        assert "have expired" in desk.said[0], name
        desk.assert_waited_once()


def test_without_a_wait_a_refusal_is_an_error_at_once(desk: Desk) -> None:
    """Sensors and the command line do not wait: the same calls are one error each."""
    desk.objects.put_bytes("key", b"content")
    desk.expire("old")
    for call in CALLS.values():
        with pytest.raises(LapsedCredentialsError, match="have expired"):
            call(desk)


def test_many_threads_wait_together(desk: Desk) -> None:
    """Threads that are refused at the same time say so once, and the file is read a few times and not by each."""
    for number in range(40):
        desk.objects.put_bytes(f"key{number}", b"%d" % number)
    desk.expire("old")
    with desk.waiting(lambda: desk.files.write_keys("new"), after=20.0), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: desk.objects.get_bytes(f"key{number}"), range(40)))
    assert found == [b"%d" % number for number in range(40)]
    desk.assert_waited_once()


def test_a_large_upload_waits_in_boto3s_own_threads(desk: Desk, tmp_path: Path) -> None:
    """Parts of an upload that were refused are sent again with new keys, and the object is whole."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(20 << 20))
    desk.aws.put_settings({"api_faults": [{"operation": "UploadPart", "code": "expired", "count": 6}]})
    with desk.waiting(lambda: None):
        desk.objects.upload_file(path, "large")
    assert desk.objects.get_bytes("large") == path.read_bytes()
    assert len(desk.said) == 2


def test_a_program_is_asked_again(desk: Desk) -> None:
    """A credential_process that failed is run again, and its keys are used."""
    desk.files.credentials.write_text("")
    desk.files.write_program("import sys; sys.exit('sign in first')")
    keys = json.dumps({"Version": 1, "AccessKeyId": "new", "SecretAccessKey": "secret", "SessionToken": "token"})
    with desk.waiting(lambda: desk.files.write_program(f"print({keys!r})")):
        desk.objects.put_bytes("key", b"")
    desk.assert_waited_once()
    assert "(sign in first)" in desk.said[0]


def test_a_program_that_gives_out_expired_keys_first_is_one_wait(desk: Desk) -> None:
    """Nobody is told that all is well before AWS says so: keys that come and are refused belong to the same wait."""
    code = """
import json, pathlib, sys
calls = pathlib.Path({calls!r})
number = len(calls.read_text()) if calls.exists() else 0
calls.write_text("x" * (number + 1))
if number < 2:
    sys.exit("sign in first")
key = "old" if number < 5 else "new"
print(json.dumps({{"Version": 1, "AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t"}}))
"""
    desk.files.credentials.write_text("")
    desk.files.write_program(code.format(calls=str(desk.files.folder / "calls")))
    desk.expire("old")
    with desk.waiting(lambda: None):
        desk.objects.put_bytes("key", b"")
    desk.assert_waited_once()


def test_a_program_whose_keys_are_all_refused_is_not_asked_for_ever(desk: Desk) -> None:
    """Other keys each time, all of them refused: one more try, and then an error, or a wait."""
    calls = desk.files.folder / "calls"
    code = f"""
import json, pathlib
calls = pathlib.Path({str(calls)!r})
number = len(calls.read_text()) if calls.exists() else 0
calls.write_text("x" * (number + 1))
print(json.dumps({{"Version": 1, "AccessKeyId": f"key{{number}}", "SecretAccessKey": "s", "SessionToken": "t"}}))
"""
    desk.files.credentials.write_text("")
    desk.files.write_program(code)
    desk.expire(*(f"key{number}" for number in range(6)))
    with pytest.raises(LapsedCredentialsError):
        desk.objects.put_bytes("key", b"")
    assert len(calls.read_text()) == 2
    with desk.waiting(lambda: None):
        desk.objects.put_bytes("key", b"")
    desk.assert_waited_once()


def test_a_role_is_assumed_with_renewed_keys(desk: Desk) -> None:
    """The keys behind a role have expired: new ones assume it again."""
    desk.files.config.write_text(
        "[profile base]\n[default]\nrole_arn = arn:aws:iam::123456789012:role/Batch\nsource_profile = base\n"
    )
    desk.files.write_keys("old", "base")
    desk.expire("old")
    with desk.waiting(lambda: desk.files.write_keys("new", "base")):
        desk.objects.put_bytes("key", b"")
    desk.assert_waited_once()
    assert "assuming the role arn:aws:iam::123456789012:role/Batch" in desk.said[0]


class _SignIn(BaseHTTPRequestHandler):
    """IAM Identity Center's answer to GetRoleCredentials."""

    def do_GET(self) -> None:
        in_an_hour = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)
        keys = {"accessKeyId": "new", "secretAccessKey": "s", "sessionToken": "t", "expiration": in_an_hour}
        body = json.dumps({"roleCredentials": keys}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def identity_center(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _SignIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", f"http://127.0.0.1:{server.server_address[1]}")
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("expires_at", [None, "2020-01-01T00:00:00Z"])
def test_a_sign_in_is_waited_for(desk: Desk, identity_center: None, expires_at: str | None) -> None:
    """Nobody has signed in, or too long ago: `aws sso login` ends the wait of a run that is waiting already."""
    desk.files.credentials.write_text("")
    desk.files.write_sso_profile()
    if expires_at is not None:
        desk.files.sign_in(expires_at)
    with desk.waiting(lambda: desk.files.sign_in("2099-01-01T00:00:00Z")):
        desk.objects.put_bytes("key", b"")
    desk.assert_waited_once()
    assert "run `aws sso login`" in desk.said[0]


def test_a_wrong_clock_is_waited_for(desk: Desk) -> None:
    """The same keys are accepted again when the clock is right."""
    fault = {"operation": "PutObject", "code": "RequestTimeTooSkewed", "count": 5}
    desk.aws.put_settings({"api_faults": [fault]})
    with desk.waiting(lambda: None):
        desk.objects.put_bytes("key", b"")
    desk.assert_waited_once()
    assert "clock of this machine" in desk.said[0]


def test_keys_in_the_environment_need_a_new_process(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run cannot get other environment variables: it says that Dagster has to be started again."""
    local_aws.create_bucket("data")
    local_aws.put_settings({"api_faults": [{"operation": "PutObject", "code": "expired", "count": 3}]})
    said: list[str] = []
    with waiting_for_renewal(said.append, from_start=True, sleep=lambda _: None):
        BatchStorage(bucket="data").objects.put_bytes("key", b"")
    assert "environment variables, and a running process gets no new ones: start it again" in said[0]


def test_an_api_key_of_bedrock_is_waited_for_as_well(
    local_aws: LocalAws, aws_files: AwsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired API key looks like a denial to boto3; a run waits, and says that it needs a new process."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "key")
    # boto3 sends API keys over HTTPS alone, so the answers come from here.
    jobs = BedrockBatchJobs(endpoint_url="https://bedrock.invalid")
    bodies = [b'{"message": "Bearer Token has expired", "__type": "AccessDeniedException"}'] * 3 + [b"{}"]

    def answer(request: Any, **_: Any) -> AWSResponse:
        assert request.headers["Authorization"] == b"Bearer key"
        body = bodies.pop(0)
        headers: Any = HeadersDict({"Content-Type": "application/json"})
        return AWSResponse(request.url, 403 if bodies else 200, headers, SimpleNamespace(stream=lambda: iter([body])))

    events: Any = jobs.bedrock.meta.events
    events.register("before-send", answer)
    said: list[str] = []
    with waiting_for_renewal(said.append, from_start=True, sleep=lambda _: None):
        assert list(jobs.list()) == []
    assert "Bearer Token has expired" in said[0]
    assert "start it again with new ones" in said[0]
    assert bodies == []


def test_what_never_worked_is_not_waited_for(desk: Desk) -> None:
    """Credentials that are set up wrong fail at once, in a run as well: nothing says that they will be right."""
    desk.files.credentials.write_text("")
    with desk.waiting(lambda: None), pytest.raises(CredentialsError, match="There are no AWS credentials"):
        desk.objects.put_bytes("key", b"")
    assert desk.slept == 0


def test_what_worked_before_is_waited_for(desk: Desk) -> None:
    """A file that is being written anew, and is empty for a moment, does not fail a run that was using it."""
    desk.objects.put_bytes("key", b"content")
    desk.files.credentials.write_text("")
    desk.expire("old")
    with desk.waiting(lambda: desk.files.write_keys("new")):
        assert desk.objects.get_bytes("key") == b"content"
    assert len(desk.said) == 2


def test_a_person_who_is_there_is_told_at_once(desk: Desk) -> None:
    """Keys that are refused from the start fail what a person has just launched; later ones are waited for."""
    desk.expire("old")
    with desk.waiting(lambda: None, from_start=False), pytest.raises(LapsedCredentialsError):
        desk.objects.put_bytes("key", b"")
    assert desk.slept == 0
    desk.expire()
    with desk.waiting(lambda: desk.files.write_keys("new"), from_start=False):
        desk.objects.put_bytes("key", b"")
        desk.expire("old")
        desk.objects.put_bytes("key", b"")
    desk.assert_waited_once()


def test_a_role_that_may_not_be_assumed_is_not_waited_for(desk: Desk) -> None:
    """A denial is a person's decision: it fails a run at once."""
    desk.files.config.write_text("[profile base]\n[default]\nrole_arn = arn:aws:iam::1:role/B\nsource_profile = base\n")
    desk.files.write_keys("key", "base")
    desk.aws.put_settings({"api_faults": [{"operation": "AssumeRole", "code": "AccessDenied"}]})
    with desk.waiting(lambda: None), pytest.raises(AccessDeniedError, match="sts:AssumeRole"):
        desk.objects.put_bytes("key", b"")
    assert desk.slept == 0


REASONS = {
    "with an explicit deny in a service control policy": "An administrator of the AWS organization",
    "with an explicit deny in a resource control policy": "An administrator of the AWS organization",
    "because no VPC endpoint policy allows the s3:GetObject action": "policy of the VPC endpoint",
    "with an explicit deny in a resource-based policy": "policy of the bucket or key",
    "with an explicit deny in an identity-based policy": "Remove that deny",
    "because no permissions boundary allows the s3:GetObject action": "permissions boundary",
    "because no session policy allows the s3:GetObject action": "session policy",
    "because no identity-based policy allows the s3:GetObject action": "So allow s3:",
}


def test_a_denial_quotes_aws(desk: Desk) -> None:
    """A denied call gives AWS's own reason, and what to do about that; a HEAD, which has none, asks for it by a GET."""
    desk.objects.put_bytes("key", b"content")
    others = itertools.cycle(["GetObject", "PutObject", "ListObjectsV2"])
    for reason, remedy in REASONS.items():
        message = f"User: arn:aws:iam::1:user/me is not authorized to perform: s3:X on resource: data {reason}"
        for operation in ("HeadObject", next(others)):
            denied = {"HeadObject", "GetObject"} if operation == "HeadObject" else {operation}
            desk.aws.put_settings(
                {"api_faults": [{"operation": name, "code": "AccessDenied", "message": message} for name in denied]}
            )
            with desk.waiting(lambda: None), pytest.raises(AccessDeniedError) as raised:
                CALLS[operation](desk)
            assert f"AWS says: {message}." in str(raised.value)
            assert remedy in str(raised.value)
            assert desk.slept == 0


def test_a_denied_kms_key_is_named(desk: Desk) -> None:
    """S3's denial about the key of an object says which action on which key, and to look at the key's policy."""
    message = "User: me is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:1:key/2"
    desk.aws.put_settings({"api_faults": [{"operation": "GetObject", "code": "AccessDenied", "message": message}]})
    with pytest.raises(AccessDeniedError, match=r"kms:Decrypt on resource.*Allow the use of the KMS key"):
        desk.objects.get_bytes("key")


def test_a_head_that_is_bad_for_another_reason_is_no_wait(desk: Desk) -> None:
    """A bare 400 that the GET explains otherwise is an error with that explanation, and nobody waits for new keys."""
    desk.objects.put_bytes("key", b"content")
    faults = [
        {"operation": "HeadObject", "code": "InvalidRequest", "status": 400},
        {"operation": "GetObject", "code": "InvalidRequest", "status": 400, "message": "stored using SSE-C"},
    ]
    desk.aws.put_settings({"api_faults": faults})
    with desk.waiting(lambda: None), pytest.raises(Exception, match="stored using SSE-C"):
        desk.objects.head("key")
    assert desk.slept == 0


def test_a_head_is_tried_again_if_the_get_is_answered(desk: Desk) -> None:
    """A refusal that is gone when its reason is asked for is gone for the HEAD, too; also for an empty object."""
    desk.objects.put_bytes("empty", b"")
    desk.aws.put_settings({"api_faults": [{"operation": "HeadObject", "code": "AccessDenied", "count": 1}]})
    info = desk.objects.head("empty")
    assert info is not None
    assert info.size == 0


def test_the_end_of_the_run_ends_the_wait_in_every_thread(desk: Desk) -> None:
    """Dagster interrupts the main thread alone: threads that wait for new keys give up, so that the run can end."""
    assert threading.current_thread() is threading.main_thread()
    desk.expire("old")
    pauses = threading.Semaphore(0)
    outcomes: list[Exception] = []

    def sleep(_: float) -> None:
        pauses.release()
        time.sleep(0.01)

    def work() -> None:
        try:
            desk.objects.put_bytes("key", b"")
        except ConfigurationError as error:
            outcomes.append(error)

    def run_that_is_interrupted() -> None:
        with waiting_for_renewal(desk.said.append, from_start=True, sleep=sleep), ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(work)
            for _ in range(40):
                assert pauses.acquire(timeout=20)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)

    with raise_execution_interrupts():
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(DagsterExecutionInterruptedError):
            run_that_is_interrupted()
        assert signal.getsignal(signal.SIGTERM) is before
    assert len(outcomes) == 4
    assert all(isinstance(error, LapsedCredentialsError) for error in outcomes)
    assert current_wait() is None


def test_pauses_get_longer_and_stay_short() -> None:
    """Keys are looked for after a second, then less often, and at least twice a minute; another service starts anew."""
    slept: list[float] = []
    wait = RenewalWait(lambda _: None, from_start=True, sleep=slept.append)

    def pause(service: str) -> float:
        slept.clear()
        wait.pause("default", service, "expired")
        return sum(slept)

    pauses = [pause("S3") for _ in range(12)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (1.0, LONGEST_PAUSE_SECONDS)
    assert pause("Bedrock") == 1.0
    wait.accepted("default", "S3")
    assert pause("S3") == 1.0


def test_a_wait_goes_on_if_people_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    """Dagster's database may be away when a wait begins: the call that waits does not fail for that."""

    def fail(_: str) -> None:
        raise OSError("the database is away")

    wait = RenewalWait(fail, from_start=True, sleep=lambda _: None)
    wait.pause("default", "S3", "The credentials have expired.")
    wait.accepted("default", "S3")
    assert "The credentials have expired." in caplog.text


def test_services_that_wait_together_are_one_message() -> None:
    """A service that accepts the keys while another one still refuses them does not end the wait for people."""
    said: list[str] = []
    wait = RenewalWait(said.append, from_start=True, sleep=lambda _: None)
    for service in itertools.chain(["S3", "Bedrock"], ["S3"] * 5):
        wait.pause("default", service, "expired.")
        wait.accepted("default", "SQS")
        wait.accepted("default", "Bedrock")
    assert len(said) == 1
    wait.accepted("default", "S3")
    assert len(said) == 2
