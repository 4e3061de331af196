"""The stand-in as a whole: its parts, and which of them answers a request."""

import io
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from bedrock_batch_assets.local_aws import catalog_api, control, moto_internals, price_list_api
from bedrock_batch_assets.local_aws.account import Account
from bedrock_batch_assets.local_aws.batch_api import BatchApi
from bedrock_batch_assets.local_aws.calls import (
    CallCounter,
    RequestRates,
    broken,
    expired_credentials,
    fault_answer,
    unimplemented,
)
from bedrock_batch_assets.local_aws.errors import DroppedConnectionError, ServiceError
from bedrock_batch_assets.local_aws.events import EventBus
from bedrock_batch_assets.local_aws.faults import Faults
from bedrock_batch_assets.local_aws.http_messages import (
    Answer,
    Environ,
    Request,
    StartResponse,
    error_answer,
    json_answer,
    read_request,
)
from bedrock_batch_assets.local_aws.jobs import JobBook
from bedrock_batch_assets.local_aws.ledger import Ledger
from bedrock_batch_assets.local_aws.lifecycle import Lifecycle
from bedrock_batch_assets.local_aws.operations import operation_of, service_of
from bedrock_batch_assets.local_aws.runtime_api import RuntimeApi
from bedrock_batch_assets.local_aws.settings import ApiFault, Settings, changed

logger = logging.getLogger(__name__)

_DIRECT = {"s3", "sqs", "events", "iam", "sts"}


class Service:
    """A WSGI application: Bedrock's operations and the control endpoint here, all else through moto."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = self._first_settings = settings or Settings()
        self.account = Account()
        self.faults = Faults(self.settings)
        self.ledger = Ledger()
        self.calls = CallCounter()
        self.rates = RequestRates()
        self.book = JobBook()
        self.lifecycle = Lifecycle(
            book=self.book,
            account=self.account,
            faults=self.faults,
            ledger=self.ledger,
            bus=EventBus(self.account, self.faults),
            settings=self.settings,
        )
        self.batch = BatchApi(self.book, self.lifecycle, self.account, self.faults, lambda: self.settings)
        self._runtime = RuntimeApi(self.ledger, lambda: self.settings)
        self._moto_lock = threading.Lock()
        self._moto_apps: dict[str, moto_internals.Application] = {}
        self._moto = moto_internals.application_for_all()
        self.rates.set(self.settings.request_rates)

    def change_settings(self, change: Any) -> None:
        """Change some settings.

        Raises:
            SettingsError: Something does not fit; then nothing is changed.
        """
        self._follow(changed(self.settings, change))

    def _follow(self, settings: Settings) -> None:
        self.settings = settings
        self.faults.set(settings)
        self.rates.set(settings.request_rates)
        self.lifecycle.set(settings)

    def reset(self) -> None:
        """Forget everything that happened, and set the settings as at the start."""
        self.lifecycle.clear()
        self.account.reset()
        self.ledger.clear()
        self.calls.clear()
        self._follow(self._first_settings)
        self.faults.reset(self._first_settings)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        body = environ["wsgi.input"].read()
        request = read_request(environ, body)
        if request.raw_path.startswith(control.PREFIX):
            return control.answer(self, request).send(start_response)
        service = service_of(request)
        operation, labels = operation_of(service, request)
        self.calls.add(operation)
        if request.access_key in self.settings.expired_access_keys:
            return fault_answer(service, expired_credentials(service), request).send(start_response)
        fault = self.faults.api(operation)
        if fault is not None:
            time.sleep(fault.delay_seconds)
            if fault.code is not None and fault.when == "before":
                return _struck(fault, service, request).send(start_response)
        try:
            answer = self._answer(environ, request, service, operation, labels)
        except NotImplementedError:
            # The exception that moto raises.
            name = operation if operation != "Unknown" else f"{request.method} {request.raw_path}"
            answer = fault_answer(service, unimplemented(service, name), request)
        except ServiceError as error:
            answer = fault_answer(service, error, request)
        except Exception:
            # A fault of the stand-in itself: its log has the trace, the client an error like any other.
            logger.exception("%s:%s failed", service, operation)
            answer = fault_answer(service, broken(service, operation), request)
        if fault is not None and fault.code is not None:
            answer = _struck(fault, service, request)
        return answer.send(start_response)

    def _answer(
        self, environ: Environ, request: Request, service: str, operation: str, labels: dict[str, str]
    ) -> Answer:
        if service in {"bedrock", "bedrock-runtime"}:
            return self._bedrock(environ, request, operation, labels)
        if service == "pricing" and operation == "GetProducts":
            return json_answer(price_list_api.get_products(request.json()))
        found = self.account.list_objects(labels["Bucket"], request.query) if operation == "ListObjectsV2" else None
        return found or self._through_moto(environ, request.body, service)

    def _bedrock(self, environ: Environ, request: Request, operation: str, labels: dict[str, str]) -> Answer:
        region, query = request.region, dict(request.query)
        try:
            self.rates.check(operation)
            match operation:
                case "CreateModelInvocationJob":
                    return json_answer(self.batch.create(region, request.json()))
                case "GetModelInvocationJob":
                    return json_answer(self.batch.get(region, labels["jobIdentifier"]))
                case "ListModelInvocationJobs":
                    return json_answer(self.batch.list_jobs(region, query))
                case "StopModelInvocationJob":
                    return json_answer(self.batch.stop(region, labels["jobIdentifier"]))
                case "InvokeModel":
                    return self._runtime.invoke(request, labels["modelId"])
                case "InvokeModelWithResponseStream":
                    return self._runtime.invoke(request, labels["modelId"], stream=True)
                case "Converse":
                    return self._runtime.converse(request, labels["modelId"])
                case "ConverseStream":
                    return self._runtime.converse(request, labels["modelId"], stream=True)
                case "CountTokens":
                    return self._runtime.count_tokens(request, labels["modelId"])
                case "ListFoundationModels":
                    return json_answer(catalog_api.list_foundation_models(region, query))
                case "GetFoundationModel":
                    return json_answer(catalog_api.get_foundation_model(region, labels["modelIdentifier"]))
                case "GetFoundationModelAvailability":
                    return json_answer(catalog_api.get_foundation_model_availability(labels["modelId"]))
                case "ListInferenceProfiles":
                    return json_answer(catalog_api.list_inference_profiles(region, query))
                case "GetInferenceProfile":
                    identifier = labels["inferenceProfileIdentifier"]
                    return json_answer(catalog_api.get_inference_profile(region, identifier))
                case "ListTagsForResource" | "TagResource" | "UntagResource":
                    tagged = self.batch.tagging(operation, request.json())
                    if tagged is not None:
                        return json_answer(tagged)
                case "Unknown":
                    raise NotImplementedError
                case _:
                    pass
        except ServiceError as error:
            return error_answer(error)
        return self._through_moto(environ, request.body, "bedrock")

    def _through_moto(self, environ: Environ, body: bytes, service: str) -> Answer:
        """The answer of moto, made whole before it is sent: a slow client must not hold the lock."""
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        # Long polls of a queue wait inside moto, and its queues are made for threads.
        if service == "sqs":
            return self._call_moto(environ, service)
        with self.account.lock:
            return self._call_moto(environ, service)

    def _call_moto(self, environ: Environ, service: str) -> Answer:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            started.append((status, headers))

        parts = self._moto_application(service)(environ, start_response)
        try:
            body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        status, headers = started[-1]
        if body[:15].lower() == b"<!doctype html>":
            # The page of a web framework that has no such route.
            raise NotImplementedError
        # The answer to a HEAD has no body and still says how long it would be.
        dropped = {"connection"} if environ["REQUEST_METHOD"] == "HEAD" else {"content-length", "connection"}
        kept = [(name, value) for name, value in headers if name.lower() not in dropped]
        return Answer(int(status[:3]), body, kept)

    def _moto_application(self, service: str) -> moto_internals.Application:
        """The application in moto for a service. For those in daily use without asking moto, which takes 3 ms."""
        if service not in _DIRECT:
            return self._moto
        with self._moto_lock:
            if service not in self._moto_apps:
                self._moto_apps[service] = moto_internals.application(service)
            return self._moto_apps[service]


def _struck(fault: ApiFault, service: str, request: Request) -> Answer:
    if fault.code == "drop":
        raise DroppedConnectionError
    if fault.code == "expired":
        return fault_answer(service, expired_credentials(service), request)
    code = fault.code or "InternalServerException"
    error = ServiceError(code, fault.message or f"{code} set by the settings.", fault.status)
    return fault_answer(service, error, request)
