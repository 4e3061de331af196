"""The HTTP server: threads, connections that stay open, loopback."""

import io
import logging
import socket
import threading
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from werkzeug.serving import ThreadedWSGIServer

from bedrock_batch_assets.local_aws.errors import DroppedConnectionError
from bedrock_batch_assets.local_aws.moto_internals import RequestHandler as BaseRequestHandler
from bedrock_batch_assets.local_aws.service import Service

logger = logging.getLogger(__name__)

# How often the accepting thread looks whether it is to end, in seconds.
_POLL_SECONDS = 0.1


class RequestHandler(BaseRequestHandler):
    """Answers one connection's requests.

    werkzeug's own handler closes the connection after each answer, since an application may leave a body unread.
    Here the body is always read first, so that connections can stay open: several times the requests a second.
    """

    protocol_version = "HTTP/1.1"
    # Headers and body go out in two writes. Without this the second would wait for the client's delayed
    # acknowledgement of the first, 40 ms.
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        """Answer one request."""
        environ = self.make_environ()
        if environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read()
        else:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = self.rfile.read(length)
            if len(body) < length:
                # The client died while it was sending: it has asked for nothing.
                self.close_connection = True
                return
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            started.append((status, headers))

        try:
            parts: Iterable[bytes] = self.server.app(environ, start_response)  # type: ignore[arg-type]
        except DroppedConnectionError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        except Exception:
            # A fault of the stand-in itself, outside of any operation. The log has the trace.
            logger.exception("%s %s", self.command, self.path)
            text = b"The local AWS failed. Its log says why."
            started.append(("500 Internal Server Error", [("Content-Length", str(len(text)))]))
            parts = [text]
        status, headers = started[-1]
        try:
            self._send(status, headers, parts)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _send(self, status: str, headers: list[tuple[str, str]], parts: Iterable[bytes]) -> None:
        code = int(status[:3])
        self.send_response(code, status[4:] or HTTPStatus(code).phrase)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and code not in {204, 304}:
            for part in parts:
                self.wfile.write(part)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """No line per request: there are thousands."""
        del code, size


class Server:
    """The stand-in answering on a socket that listens."""

    def __init__(self, service: Service, listening: socket.socket) -> None:
        self._service = service
        self._listening = listening
        host, port = listening.getsockname()[:2]
        app: Any = service
        self._server = ThreadedWSGIServer(host, port, app, RequestHandler, fd=listening.fileno())
        self._server.daemon_threads = True

    def start(self) -> None:
        """Answer requests, in threads of its own."""
        self._service.lifecycle.start()
        threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), name="accept", daemon=True).start()

    def end(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._service.lifecycle.end()
        self._server.server_close()
        self._listening.close()
