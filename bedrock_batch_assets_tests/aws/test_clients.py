"""Clients of AWS, and what they share."""

import pytest

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.internals.botocore_internals import load_service_models


def test_the_descriptions_of_services_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of another resource reads no file that was read for a first one, or ahead of it."""
    from botocore.loaders import JSONFileLoader

    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    load_service_models(("s3", "bedrock"))
    read: list[str] = []
    load = JSONFileLoader.load_file

    def counted(self: JSONFileLoader, path: str) -> object:
        found = load(self, path)
        if found is not None:
            read.append(path)
        return found

    monkeypatch.setattr(JSONFileLoader, "load_file", counted)
    for _ in range(2):
        AwsClients().client("s3")
        AwsClients().client("bedrock")
    assert read == []
