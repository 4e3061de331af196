"""Claims on records that are sent on demand, and their answers: one small object on S3 for each."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from bedrock_batch_assets.jobs.record_sender import unknown_line

if TYPE_CHECKING:
    from bedrock_batch_assets.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class RecordClaims:
    """The claims and answers below `folder`, an S3 key that ends in a slash.

    A record is claimed before it is sent, by whoever makes its claim first. If its claim is there and its answer is
    not, some process has sent it or is about to: whether it was paid for is not known.
    """

    objects: "ObjectStore"
    folder: str
    # This id is written into the claims, to tell them from those of another process.
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)

    def claim(self, record_id: str) -> bool:
        """Claim a record. False if another process has claimed it."""
        from bedrock_batch_assets.storage.objects import ObjectNotFoundError

        key = self._claim_key(record_id)
        if self.objects.put_new(key, self.owner.encode()):
            return True
        # boto3 repeats a write whose answer was lost. S3 then refuses it, since the first try has written the object.
        try:
            return self.objects.get_bytes(key) == self.owner.encode()
        except ObjectNotFoundError:
            return False

    def release(self, record_id: str) -> None:
        """Give a claim back: the record has not been paid for."""
        self.objects.delete([self._claim_key(record_id)])

    def store(self, record_id: str, line: Mapping[str, Any]) -> None:
        """Store a record's answer."""
        self.objects.put_bytes(self._answer_key(record_id), msgspec.json.encode(line))

    def answer(self, record_id: str) -> dict[str, Any] | None:
        """A record's answer; None if there is none."""
        from bedrock_batch_assets.storage.objects import ObjectNotFoundError

        try:
            stored: dict[str, Any] = msgspec.json.decode(self.objects.get_bytes(self._answer_key(record_id)))
        except ObjectNotFoundError:
            return None
        return stored

    def all_answers(self) -> dict[str, dict[str, Any]]:
        """The stored answers by record id, and a line of error "outcome unknown" for each claim without one.

        Raises:
            ObjectNotFoundError: Another process deletes them meanwhile.
        """
        answers: dict[str, dict[str, Any]] = {}
        claims: set[str] = set()
        for info in self.objects.list(self.folder):
            name = info.key.removeprefix(self.folder)
            kind, _, record_id = name.partition("/")
            if kind == "answers":
                answers[record_id] = msgspec.json.decode(self.objects.get_bytes(info.key))
            elif kind == "claims":
                claims.add(record_id)
        for record_id in claims - set(answers):
            answers[record_id] = unknown_line(record_id)
        return answers

    def delete_all(self) -> None:
        """Delete all claims and answers."""
        self.objects.delete_prefix(self.folder)

    def _claim_key(self, record_id: str) -> str:
        return f"{self.folder}claims/{record_id}"

    def _answer_key(self, record_id: str) -> str:
        return f"{self.folder}answers/{record_id}"
