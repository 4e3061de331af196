"""Start the stand-in: `python -m bedrock_batch_assets.local_aws --port 4566`."""

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from bedrock_batch_assets.local_aws.errors import StartError
from bedrock_batch_assets.local_aws.listening import endpoint_url, listen
from bedrock_batch_assets.local_aws.settings import Settings, SettingsError, changed

_SWITCH_SECONDS = 0.001


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    # The thread that works on jobs would otherwise make each request wait 5 ms for the interpreter, several times.
    sys.setswitchinterval(_SWITCH_SECONDS)
    ended = threading.Event()
    # A shell starts background programs with SIGINT ignored, and that is inherited.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        _run(options, ended)
    except StartError as error:
        sys.stderr.write(f"local AWS: {error}\n")
        return 1
    return 0


def _run(options: argparse.Namespace, ended: threading.Event) -> None:
    settings = _read_settings(options.settings)
    listening = listen(options.host, options.port)
    # moto is slow to import, so wrong arguments are reported first.
    try:
        from bedrock_batch_assets.local_aws.persistence import load, save
        from bedrock_batch_assets.local_aws.server import Server
        from bedrock_batch_assets.local_aws.service import Service
    except ImportError as error:
        raise StartError(
            f"moto is not installed as it is needed here ({error}): pip install 'bedrock-batch-assets[local]'"
        ) from error

    service = Service(settings)
    server = Server(service, listening)
    for name in options.bucket:
        service.account.create_bucket(name, options.region)
    for name in options.role:
        service.account.create_role(name)
    if options.data is not None:
        load(service, options.data)
    server.start()
    sys.stdout.write(f"local AWS at {endpoint_url(listening)}\n")
    sys.stdout.flush()
    ended.wait()
    server.end()
    if options.data is not None:
        save(service, options.data)


def _read_settings(path: Path | None) -> Settings:
    if path is None:
        return Settings()
    try:
        return changed(Settings(), msgspec.json.decode(path.read_bytes()))
    except OSError as error:
        raise StartError(f"Cannot read the settings {path}: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StartError(f"The settings {path} are not valid JSON: {error}.") from error
    except SettingsError as error:
        raise StartError(f"The settings {path} do not fit: {error}.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bedrock_batch_assets.local_aws",
        description="A stand-in for S3, Bedrock, SQS, EventBridge, IAM and STS on this machine. Reach it with "
        "AWS_ENDPOINT_URL=http://HOST:PORT, AWS_REGION, and any credentials.",
    )
    parser.add_argument("--port", type=int, default=4566, help="port to listen on, 0 for a free one (default: 4566)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings to start with and to reset to, as JSON")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="keep objects and jobs here between runs")
    parser.add_argument("--bucket", action="append", default=[], metavar="NAME", help="make this S3 bucket; repeatable")
    parser.add_argument("--role", action="append", default=[], metavar="NAME", help="make this IAM role; repeatable")
    parser.add_argument(
        "--region",
        default=os.environ.get("AWS_REGION") or "us-east-1",
        help="Region of the buckets (default: AWS_REGION, else us-east-1)",
    )
    return parser


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to save, and taking thousands of objects apart one by one takes seconds.
    os._exit(exit_code)
