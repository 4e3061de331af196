"""A Hugging Face Hub on loopback that serves a few datasets from memory.

It answers the requests that the hub's client (huggingface_hub's HfApi and HfFileSystem) makes to stream a dataset.
"""

import hashlib
import http.server
import json
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class DatasetHub:
    """Serves `datasets`: dataset id → file path → bytes. `denied` ids answer 403, as gated ones do."""

    def __init__(self, datasets: Mapping[str, Mapping[str, bytes]], denied: frozenset[str] = frozenset()) -> None:
        self.requests: list[str] = []
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.requests.append(f"HEAD {self.path}")
                self._answer(*hub._find(datasets, denied, self.path), with_body=False)

            def do_GET(self) -> None:
                hub.requests.append(f"GET {self.path}")
                self._answer(*hub._find(datasets, denied, self.path))

            def log_message(self, *args: object) -> None:
                """Quiet."""

            def _answer(self, status: int, headers: dict[str, str], body: bytes, with_body: bool = True) -> None:
                wanted = self.headers.get("Range", "")
                if status == 200 and wanted.startswith("bytes="):
                    low, _, high = wanted.removeprefix("bytes=").partition("-")
                    start, stop = int(low), min(int(high or len(body)) + 1, len(body))
                    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
                    status, body = 206, body[start:stop]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def _find(
        datasets: Mapping[str, Mapping[str, bytes]], denied: frozenset[str], target: str
    ) -> tuple[int, dict[str, str], bytes]:
        path = unquote(urlsplit(target).path)
        dataset = next((name for name in (*datasets, *denied) if f"datasets/{name}/" in path + "/"), None)
        if dataset is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if dataset in denied:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        files = datasets[dataset]
        rest = path.split(f"datasets/{dataset}", 1)[1].strip("/").split("/")
        if not path.startswith("/api/"):
            # <dataset>/resolve/<revision>/<file>
            content = files.get("/".join(rest[2:]))
            if content is None:
                return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
            headers = {
                "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
                "Content-Type": "application/octet-stream",
            }
            return 200, headers, content
        if rest[0] in {"", "revision"}:
            siblings = [{"rfilename": name} for name in files]
            return _json({"_id": "1", "id": dataset, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})
        if rest[0] == "tree":
            return _json(_tree(files, "/".join(rest[2:])))
        return 404, {"X-Error-Code": "EntryNotFound"}, b""


def _json(value: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _entry(path: str, files: Mapping[str, bytes]) -> dict[str, object]:
    oid = hashlib.sha1(path.encode()).hexdigest()
    if path in files:
        return {"type": "file", "oid": oid, "size": len(files[path]), "path": path}
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def _tree(files: Mapping[str, bytes], folder: str) -> list[dict[str, object]]:
    below = folder + "/" if folder else ""
    children = {below + name[len(below) :].split("/")[0] for name in files if name.startswith(below)}
    return [_entry(child, files) for child in sorted(children)]
