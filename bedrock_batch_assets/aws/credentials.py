"""Credentials that are found anew when AWS does not accept them any more.

boto3 reads keys from ~/.aws once, and gives up when a role, a sign-in or a program gives out none. Here a connection
looks for them again: in the files, from the program, from the sign-in, in a session of its own. Environment variables
of a process cannot change: for them, only a new process helps.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError

from bedrock_batch_assets.aws.credential_errors import Profile, not_loaded, refused, refused_without_reason
from bedrock_batch_assets.aws.head_reasons import find_reason, note_parameters
from bedrock_batch_assets.aws.renewal import SOURCE, current_wait
from bedrock_batch_assets.error_codes import DENIED, is_lapsed, passes_by_itself, plain
from bedrock_batch_assets.errors import LapsedCredentialsError
from bedrock_batch_assets.internals.botocore_internals import look_at_answers

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from botocore.model import OperationModel

_RESTART = (
    "They are environment variables, and a running process gets no new ones: start it again with new ones; jobs go on "
    "meanwhile."
)
# The context of a request is a dictionary that botocore hands from event to event.
_TRIED = "bedrock_batch_assets.tried_other_credentials"


class RenewableCredentials(Credentials):
    """The credentials of one connection to AWS. For any number of clients and threads.

    botocore asks for them each time that it signs a request. So they can be others when one request is tried again.
    """

    def __init__(self, load: Callable[[], Credentials | None], profile: Callable[[], Profile], owner: str) -> None:
        """Create credentials that are loaded when they are first asked for.

        Args:
            load: Looks for credentials anew.
            profile: Where it looks, for messages.
            owner: Whose they are, in one word.
        """
        self._load = load
        self._profile = profile
        self._owner = owner
        self._lock = threading.Lock()
        self._found: Credentials | None = None
        # Counts how often they were forgotten, so that a thread knows whether another one has renewed them already.
        self._generation = 0
        self._signed_with = threading.local()
        self._worked = False
        # botocore's own name for where they come from, as soon as it is known.
        self.method = "renewable"
        self.account_id = None

    def get_frozen_credentials(self) -> "ReadOnlyCredentials":
        """The credentials to sign one request with. A run that waits for credentials waits here, too.

        Raises:
            CredentialsError: There are none that can be used.
            AccessDeniedError: They are those of a role that cannot be assumed.
        """
        while True:
            generation = self._generation
            try:
                frozen = self._loaded().get_frozen_credentials()
            except Exception as error:
                problem = not_loaded(error, self._profile())
                wait = current_wait()
                if wait is None or not wait.is_worth_it(problem, worked_before=self._worked):
                    raise problem from error
                wait.pause(self._owner, SOURCE, str(problem))
                self._forget(generation)
            else:
                self._signed_with.generation, self._signed_with.frozen = generation, frozen
                return frozen

    def watch(self, client: Any) -> None:
        """Watch all answers to a client's requests. A run that waits for credentials waits out a refusal."""
        if client.meta.service_model.service_name == "s3":
            note_parameters(client)
        look_at_answers(client, partial(self._look_at, client))

    def _look_at(
        self, client: Any, answer: dict[str, Any], operation: "OperationModel", context: dict[str, Any]
    ) -> bool:
        """Look at an answer of AWS, and return whether to send the request again.

        Raises:
            LapsedCredentialsError: AWS does not accept the credentials, there are no others, and nobody waits.
        """
        error = answer.get("Error") or {}
        if error:
            reason = find_reason(client, operation.name, str(error.get("Code", "")), context)
            if reason is None:
                return True
            error.update(reason)
        code, message = str(error.get("Code", "")), str(error.get("Message", ""))
        service = operation.service_model.service_id
        what = f"{service} {operation.name}"
        if is_lapsed(code, message):
            self._renew(refused(code, message, what), code, service, context)
            return True
        if code == "400" and operation.name.startswith("Head"):
            self._renew(refused_without_reason(what), code, service, context)
            return True
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if not passes_by_itself(code, status):
            self._worked = True
            wait = current_wait()
            if wait is not None:
                wait.accepted(self._owner, service)
        return False

    def _renew(self, problem: LapsedCredentialsError, code: str, service: str, context: dict[str, Any]) -> None:
        generation = getattr(self._signed_with, "generation", self._generation)
        if generation < self._generation:
            # Another thread has renewed them meanwhile.
            return
        # A credential_process gives out new ones each time, which may all be refused: only the first try has no pause.
        if not context.get(_TRIED):
            context[_TRIED] = True
            self._forget(generation)
            if self._has_others():
                return
        # Codes of denial are those of a Bedrock API key.
        is_fixed = self.method == "env" or plain(code) in DENIED
        text = f"{problem} {_RESTART}" if is_fixed else str(problem)
        wait = current_wait()
        if wait is None or not wait.is_worth_it(problem, worked_before=self._worked):
            raise LapsedCredentialsError(text)
        generation = self._generation
        wait.pause(self._owner, service, text)
        self._forget(generation)

    def _has_others(self) -> bool:
        """Whether the source of the credentials gives out others than those of the last request of this thread."""
        try:
            return self._loaded().get_frozen_credentials() != getattr(self._signed_with, "frozen", None)
        except Exception:  # noqa: BLE001  # it is found out again, and explained, when a request is signed
            return False

    def _loaded(self) -> Credentials:
        with self._lock:
            if self._found is None:
                found = self._load()
                if found is None:
                    raise NoCredentialsError
                self._found = found
                self.method = found.method
            return self._found

    def _forget(self, generation: int) -> None:
        """Forget the credentials of a generation, if another thread has not done so."""
        with self._lock:
            if generation == self._generation:
                self._found = None
                self._generation += 1
