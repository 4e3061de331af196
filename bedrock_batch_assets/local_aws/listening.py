"""The port that the stand-in listens on, apart from the server: it is bound before the slow imports."""

import errno
import socket

from bedrock_batch_assets.local_aws.errors import StartError

# Connections that may wait to be accepted.
_BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        StartError: The port is taken, or the address cannot be bound.
    """
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise StartError(f"Port {port} of {host} is taken by another program: choose another --port.") from error
        raise StartError(f"Cannot listen on port {port} of {host}: {error}.") from error


def endpoint_url(listening: socket.socket) -> str:
    """Where a listening socket can be reached."""
    host, port = listening.getsockname()[:2]
    return f"http://{host}:{port}"
