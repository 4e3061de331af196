import dagster as dg
import pytest
from sqlalchemy.exc import OperationalError

from bedrock_batch_assets.runs.job_notices import has_finished_notice, post_finished_notices

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl"


def test_word_is_of_one_job_and_may_be_left_twice() -> None:
    """Only the job that was told of counts as finished; nothing told is nothing written."""
    with dg.DagsterInstance.ephemeral() as instance:
        post_finished_notices(instance, [])
        assert not has_finished_notice(instance, ARN)
        post_finished_notices(instance, [ARN])
        post_finished_notices(instance, [ARN])
        assert has_finished_notice(instance, ARN)
        assert not has_finished_notice(instance, ARN.replace("abc", "xyz"))


def test_a_database_that_does_not_answer_is_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy or broken database ends no wait: the run goes on with its own polling."""

    def locked(_: object) -> dict[str, str]:
        raise OperationalError("select", {}, Exception("database is locked"))

    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setattr(instance.run_storage, "get_cursor_values", locked)
        assert not has_finished_notice(instance, ARN)
