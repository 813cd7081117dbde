"""
`iser-serve`: the pipeline as an HTTP service.

    iser-serve --port 8000
    curl -H "Content-Type: application/json" -d '{"inputs": "与阿司匹林合用,出血的危险增加"}' http://127.0.0.1:8000/extract

Not for clinical decisions.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


_UNITS = {"": 1, "kb": 1_000, "mb": 1_000_000}


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Serve until SIGTERM or Ctrl+C.

    Returns:
        The exit code: 0 stopped, 1 could not start or the model's thread died, 2 wrong usage or a missing package.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    try:
        return _serve(options)
    except (OSError, ValueError) as error:
        print(f"iser-serve: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iser-serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="an ISER checkpoint; default: the bundled model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0 chooses a free one (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda:0, … (default: %(default)s)")
    parser.add_argument(
        "--backend",
        choices=("torch", "int8", "onnx"),
        default="torch",
        help="how the model is run (default: %(default)s)",
    )
    parser.add_argument("--max-batch", type=_count, default=32, help="most texts in a batch (default: %(default)s)")
    parser.add_argument(
        "--max-wait-ms",
        type=_duration,
        default=10.0,
        help="milliseconds that a text waits for others to share its batch (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout", type=_duration, default=30.0, help="seconds until an answer (default: %(default)s)"
    )
    parser.add_argument(
        "--body-timeout", type=_duration, default=10.0, help="seconds for a request to arrive (default: %(default)s)"
    )
    parser.add_argument(
        "--max-body", type=_size, default="1MB", help="largest body of a request (default: %(default)s)"
    )
    parser.add_argument(
        "--max-characters", type=_count, default=20_000, help="most characters in a text (default: %(default)s)"
    )
    parser.add_argument("--queue", type=_count, default=256, help="most requests that wait (default: %(default)s)")
    return parser


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def _duration(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 0.5 or 30")
    return float(text)


def _size(text: str) -> int:
    match = re.fullmatch(r"([1-9]\d{0,8})\s*(|kB|MB)", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500kB or 1MB")
    return int(match[1]) * _UNITS[match[2].lower()]


def _serve(options: argparse.Namespace) -> int:
    from modeling_iser.commands import extra

    with extra("serve", "iser-serve"):
        import uvicorn

        from .limits import impatient
        from .service import Settings, create_app

    settings = Settings(
        device=options.device,
        backend=options.backend,
        max_batch=options.max_batch,
        max_wait=options.max_wait_ms / 1000,
        timeout=options.timeout,
        body_timeout=options.body_timeout,
        max_body=options.max_body,
        max_characters=options.max_characters,
        queue=options.queue,
        **({"model": options.model} if options.model else {}),
    )
    if not (settings.model / "config.json").is_file():
        raise ValueError(f"{settings.model} is not a checkpoint: it has no config.json")
    if not _is_local(options.host):
        print(
            f"iser-serve: {options.host} may be reachable from other machines, and the service has no authentication. "
            "Put a server with authentication and TLS in front of it.",
            file=sys.stderr,
        )
    died: list[Any] = []

    def end() -> None:
        died.append(True)
        server.should_exit = True

    config = uvicorn.Config(
        create_app(settings, on_death=end),
        host=options.host,
        port=options.port,
        http=impatient(options.body_timeout),
        ws="none",
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        # On shutdown, waiting requests have this time to finish.
        timeout_graceful_shutdown=int(options.timeout + options.body_timeout) + 1,
    )
    server = uvicorn.Server(config)
    # After a graceful shutdown, uvicorn sends itself the signal again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.run()
    except KeyboardInterrupt:
        return 0
    # A failure code makes the supervisor restart the service.
    return 1 if died else 0


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
