"""What settles a record, and what leaves it to be asked for again."""

import json
from typing import Any

import pytest

from bedrock_batch_assets.records.answered_records import records_without, settled_records


def line(**content: Any) -> bytes:
    return json.dumps({"recordId": "r0000000001", "modelInput": {"x": 1}} | content).encode() + b"\n"


@pytest.mark.parametrize(
    "settling",
    [
        line(modelOutput={"content": []}),
        line(modelOutput={"content": []}, error=None),
        line(error={"errorCode": 400, "errorMessage": "bad request"}),
        line(error={"errorCode": "400", "errorMessage": "bad request"}),
        line(error={"errorCode": 500, "errorMessage": "no", "retryable": False}),
        line(error={"errorMessage": "no reason"}),
    ],
)
def test_answers_and_final_errors_settle_a_record(settling: bytes) -> None:
    """A record with an answer, or with an error that trying again does not change, is not sent again."""
    assert list(settled_records([settling])) == ["r0000000001"]


@pytest.mark.parametrize(
    "passing",
    [
        line(error={"errorCode": 500, "errorMessage": "server"}),
        line(error={"errorCode": "429", "errorMessage": "slow down"}),
        line(error={"errorCode": "ThrottlingException", "errorMessage": "slow down"}),
        line(error={"errorCode": 400, "errorMessage": "hm", "retryable": True}),
        line(error={"errorCode": 400, "errorMessage": "too late", "expired": True}),
        line(modelOutput=None),
        line(),
        b'{"recordId":"r0000000001","modelInput":{"x":1},"modelOut\n',
        b"\xff\xfe\n",
        b'{"modelOutput":{}}\n',
    ],
)
def test_passing_faults_and_broken_lines_settle_nothing(passing: bytes) -> None:
    """A record whose answer was lost, or that failed for the moment, is left to be asked for again."""
    assert list(settled_records([passing])) == []


def test_the_records_left_are_those_not_settled_in_their_order() -> None:
    """The lines of unsettled records come back unchanged and in order."""
    lines = [f'{{"recordId":"r{index:010d}","modelInput":{{"a":"\u2028"}}}}\n'.encode() for index in range(5)]
    assert records_without([b"".join(lines)], {"r0000000001", "r0000000003"}) == [lines[0], lines[2], lines[4]]
