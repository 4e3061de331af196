"""What is used of botocore that is not documented."""

import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import ClientError

from bedrock_batch_assets.internals import botocore_internals
from bedrock_batch_assets_tests.contract.registry import checks


@checks("botocore", "data_loader")
def _data_loader() -> None:
    one, other = (botocore_internals.new_session(None, "us-east-1") for _ in range(2))
    loaders = {id(session._session.get_component("data_loader")) for session in (one, other)}
    assert len(loaders) == 1


@checks("botocore", "service descriptions")
def _service_descriptions() -> None:
    from botocore.loaders import JSONFileLoader

    read: list[str] = []
    load = JSONFileLoader.load_file

    def counted(self: JSONFileLoader, path: str) -> object:
        found = load(self, path)
        read.extend([path] if found is not None else [])
        return found

    botocore_internals.load_service_models(("s3", "bedrock"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", counted)
        for service in ("s3", "bedrock"):
            session: Any = botocore_internals.new_session(None, "us-east-1")
            session.client(service, aws_access_key_id="a", aws_secret_access_key="b")
    assert read == []


class _Keys(Credentials):
    """Credentials that are others each time that they are asked for."""

    def __init__(self) -> None:
        super().__init__("none", "secret")
        self.asked = 0

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.asked += 1
        return ReadOnlyCredentials(f"key{self.asked}", "secret", None, None)


def _refused_twice(keys: Credentials) -> tuple[Any, list[str]]:
    """An S3 client whose first two requests are refused without any network, and the keys that signed its requests."""
    session: Any = botocore_internals.new_session(None, "us-east-1", keys)
    client = session.client("s3")
    signed: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        signed.append(re.findall(r"Credential=(\w+)", str(request.headers["Authorization"]))[0])
        body = b"<Error><Code>ExpiredToken</Code></Error>" if len(signed) <= 2 else b"<ListBucketResult/>"
        raw = SimpleNamespace(stream=lambda: iter([body]))
        headers: Any = HeadersDict()
        return AWSResponse(request.url, 400 if len(signed) <= 2 else 200, headers, raw)

    client.meta.events.register("before-send", answer)
    return client, signed


@checks("botocore", "credential_provider")
def _credential_provider() -> None:
    keys = _Keys()
    client, signed = _refused_twice(keys)
    with pytest.raises(ClientError):
        client.list_objects_v2(Bucket="data")
    assert signed == ["key1"]


@checks("botocore", "profiles")
def _profiles() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        config = Path(folder) / "config"
        config.write_text("[profile one]\nrole_arn = some-role\n[profile two]\n")
        patch.setenv("AWS_CONFIG_FILE", str(config))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(Path(folder) / "credentials"))
        assert botocore_internals.profile_names() == ["one", "two"]
        assert botocore_internals.profile_settings("one") == {"role_arn": "some-role"}


@checks("botocore", "ResponseParserError")
def _response_parser_error() -> None:
    import botocore.session
    from botocore.parsers import create_parser

    shape: Any = botocore.session.get_session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
    page = {"status_code": 200, "headers": {}, "body": b"<html>A proxy's page", "context": {}}
    with pytest.raises(Exception, match="invalid XML") as error:
        create_parser("rest-xml").parse(page, shape)
    assert botocore_internals.is_unreadable_answer(error.value)


@checks("botocore", "needs-retry")
def _needs_retry() -> None:
    client, signed = _refused_twice(_Keys())
    seen: list[tuple[str, str]] = []

    def look(answer: dict[str, Any], operation: Any, context: dict[str, Any]) -> bool:
        code = answer.get("Error", {}).get("Code", "")
        context["count"] = context.get("count", 0) + 1
        seen.append((operation.name, code))
        assert context["count"] == len(seen)
        return bool(code == "ExpiredToken")

    botocore_internals.look_at_answers(client, look)
    client.list_objects_v2(Bucket="data")
    assert signed == ["key1", "key2", "key3"]
    assert seen == [("ListObjectsV2", "ExpiredToken"), ("ListObjectsV2", "ExpiredToken"), ("ListObjectsV2", "")]
