"""On-demand answers that are kept by what was asked: the same record is paid for once, whoever asks for it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.jobs.on_demand_pass import answer_all
from bedrock_batch_assets.jobs.record_claims import RecordClaims
from bedrock_batch_assets.jobs.record_sender import RecordSender, is_unknown, unknown_line


@dataclass(frozen=True)
class KeptAnswers:
    """Answers of one model below a folder of S3. They stay there."""

    sender: RecordSender
    concurrency: int
    claims: RecordClaims

    def ask(
        self, bodies: Sequence[Mapping[str, Any]], on_progress: Callable[[int, int], None]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Answer some `modelInput`s, each different one at most once.

        Args:
            bodies: The `modelInput`s.
            on_progress: Told (answered, total) after each call.

        Returns:
            For each body its line of output, and the lines of the answers that were paid for now. A refusal is a line
            with an error; it cost nothing and is not kept.

        Raises:
            ConfigurationError: The service refused before the model ran: nothing was paid for that record.
        """
        names = [_name(body) for body in bodies]
        wanted = dict(zip(names, bodies, strict=True))
        found = {name: self.claims.answer(name) for name in wanted}
        answers = {name: line for name, line in found.items() if line is not None}
        todo = [{"recordId": name, "modelInput": body} for name, body in wanted.items() if name not in answers]
        sent: list[dict[str, Any]] = []

        def answer(line: Mapping[str, Any]) -> dict[str, Any]:
            return self._answer(line, sent)

        for done, line in enumerate(answer_all(todo, answer, self.sender, self.concurrency), 1):
            assert line is not None
            answers[line["recordId"]] = line
            on_progress(done, len(todo))
        for name in [name for name, line in answers.items() if is_unknown(line)]:
            # Another process may have had it in flight.
            answers[name] = self.claims.answer(name) or answers[name]
        return [answers[name] for name in names], sent

    def _answer(self, line: Mapping[str, Any], sent: list[dict[str, Any]]) -> dict[str, Any]:
        name = line["recordId"]
        if not self.claims.claim(name):
            return self.claims.answer(name) or unknown_line(name)
        # Between the look at the answers and the claim another process may have stored one and gone.
        known = self.claims.answer(name)
        if known is not None:
            return known
        try:
            answer = self.sender.send(line)
        except (ConfigurationError, InterruptedError):
            self.claims.release(name)
            raise
        if "modelOutput" in answer:
            self.claims.store(name, answer)
            sent.append(answer)
        elif not is_unknown(answer):
            # The service refused it, so it may be asked for again.
            self.claims.release(name)
        return answer


def _name(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()[:40]
