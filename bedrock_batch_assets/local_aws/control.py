"""The control endpoint, under `/_local/` (no bucket can have that name). All bodies are JSON.

| request | what it does |
| --- | --- |
| `GET /_local/health` | `{"status": "ok"}` as soon as requests are answered |
| `GET /_local/jobs` | `jobs`: name, arn, modelId (base), modelArn, region, status, message, submitTime, endTime, |
|  | counts, and `transitions` as `[[status, seconds since the epoch], …]`; `max_in_flight`: by base model id |
| `GET /_local/ledger` | `records`: each billed one with jobArn, jobName, recordId, digest (SHA-256 of the |
|  | modelInput as JSON with sorted keys), modelId, mode (`batch` or `on-demand`), inputTokens, |
|  | outputTokens. With `?jobArn=…` those of one job |
| `GET /_local/ledger?summary=1` | totals, and `billedMoreThanOnce`: digest to number of times |
| `GET /_local/calls` | API calls by operation since the last reset, of all services |
| `GET /_local/settings` | all settings, see settings.py |
| `PUT /_local/settings` | change some of them; answers with all. 400 for what does not fit |
| `POST /_local/advance` | `{"seconds": n}`: with `"clock": "manual"`, move time, doing all that falls due |
| `POST /_local/reset` | forget jobs, ledger, calls, objects, roles, queues, rules; settings as at the start |

Errors are `{"message": "…"}` with status 400, 404 or 405.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from bedrock_batch_assets.local_aws.calls import CallCounter
from bedrock_batch_assets.local_aws.errors import ServiceError
from bedrock_batch_assets.local_aws.http_messages import Answer, Request, json_answer
from bedrock_batch_assets.local_aws.jobs import Job, JobBook
from bedrock_batch_assets.local_aws.ledger import Ledger
from bedrock_batch_assets.local_aws.lifecycle import Lifecycle
from bedrock_batch_assets.local_aws.settings import Settings, SettingsError

PREFIX = "/_local/"


class Controlled(Protocol):
    """What the endpoint shows and changes: the stand-in as a whole."""

    settings: Settings
    book: JobBook
    ledger: Ledger
    calls: CallCounter
    lifecycle: Lifecycle

    def change_settings(self, change: Any) -> None:
        """Change some settings, or raise SettingsError and change nothing."""

    def reset(self) -> None:
        """Forget everything that happened."""


def answer(service: Controlled, request: Request) -> Answer:
    """Answer a request to the control endpoint."""
    name = request.raw_path.removeprefix(PREFIX).rstrip("/")
    routes = _ROUTES.get(name)
    if routes is None:
        return json_answer({"message": f"there is no {PREFIX}{name}: there are {', '.join(_ROUTES)}"}, 404)
    handler = routes.get(request.method)
    if handler is None:
        return json_answer({"message": f"{PREFIX}{name} takes {', '.join(routes)}"}, 405)
    try:
        return json_answer(handler(service, request))
    except (SettingsError, ServiceError) as error:
        return json_answer({"message": str(error)}, 400)


def _health(service: Controlled, request: Request) -> Any:
    del service, request
    return {"status": "ok"}


def _jobs(service: Controlled, request: Request) -> Any:
    del request
    with service.book.lock:
        jobs = [_job(job) for job in service.book.jobs()]
    return {"jobs": jobs, "max_in_flight": service.book.max_in_flight()}


def _job(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "arn": job.arn,
        "modelId": job.model.id,
        "modelArn": job.model_arn,
        "region": job.region,
        "status": job.status,
        "message": job.message,
        "submitTime": job.submit_time,
        "endTime": job.end_time,
        "transitions": [[status, when] for status, when in job.transitions],
        "totalRecordCount": job.total,
        "processedRecordCount": job.processed,
        "successRecordCount": job.success,
        "errorRecordCount": job.error,
        "clientRequestToken": job.request.get("clientRequestToken"),
    }


def _ledger(service: Controlled, request: Request) -> Any:
    if request.query.get("summary") not in {None, "", "0"}:
        return service.ledger.summary()
    return {"records": service.ledger.entries(request.query.get("jobArn"))}


def _calls(service: Controlled, request: Request) -> Any:
    del request
    return service.calls.counts()


def _settings(service: Controlled, request: Request) -> Any:
    del request
    return msgspec.to_builtins(service.settings)


def _change_settings(service: Controlled, request: Request) -> Any:
    service.change_settings(request.json())
    return msgspec.to_builtins(service.settings)


def _advance(service: Controlled, request: Request) -> Any:
    body = request.json()
    seconds = body.get("seconds") if isinstance(body, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise SettingsError("seconds must be a number of at least 0")
    if not service.lifecycle.clock.manual:
        raise SettingsError('time can be moved only with the setting "clock": "manual"')
    service.lifecycle.advance(float(seconds))
    return {"now": service.lifecycle.clock.now()}


def _reset(service: Controlled, request: Request) -> Any:
    del request
    service.reset()
    return {"status": "ok"}


_Handler = Callable[[Controlled, Request], Any]
_ROUTES: dict[str, dict[str, _Handler]] = {
    "health": {"GET": _health},
    "jobs": {"GET": _jobs},
    "ledger": {"GET": _ledger},
    "calls": {"GET": _calls},
    "settings": {"GET": _settings, "PUT": _change_settings},
    "advance": {"POST": _advance},
    "reset": {"POST": _reset},
}
