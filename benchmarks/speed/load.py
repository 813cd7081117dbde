"""
The service under load: many clients at once, joined by hostile ones in the second half of the time.

    python -m benchmarks.speed.load --clients 64 --seconds 60 [--url http://127.0.0.1:8000]

Each client posts a sentence of CH-DDI-Open's test split with its drug, waits for the answer, and posts the next. The
hostile ones send garbage, bodies of 10 MB, and requests that arrive one byte per second. Exit code: 0 if all requests
were answered and the hostile ones refused with the right status, otherwise 1.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


TEST = Path(__file__).resolve().parents[2] / "datasets_scripts" / "ch_ddi" / "data" / "test.jsonl"
JSON = {"Content-Type": "application/json"}
SLOW_CLIENTS = 32
PATIENCE = 60.0
"""Seconds after which a client considers the service dead."""


@dataclass
class Figures:
    """Latencies of successful answers in seconds, and counts of errors."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def row(self, name: str, duration: float) -> str:
        cuts = statistics.quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [float("nan")] * 99
        times = " | ".join(f"{1000 * cuts[share - 1]:.0f}" for share in (50, 95, 99))
        errors = ", ".join(f"{count} × {error}" for error, count in self.errors.items()) or "0"
        return f"| {name} | {len(self.seconds)} | {len(self.seconds) / duration:.1f} | {times} | {errors} |"


def sentences() -> list[bytes]:
    """Request bodies: the sentences of the test split, each with its drug."""
    bodies = []
    for line in TEST.read_text(encoding="utf-8").splitlines():
        drug, _, text = json.loads(line)["text"].rpartition("@")
        bodies.append(json.dumps({"inputs": {"text": text, **({"drug": drug} if drug else {})}}).encode())
    return bodies


def post(address: tuple[str, int], body: bytes, connection: http.client.HTTPConnection | None = None) -> int:
    """Post a body and return the status of the response, which must be JSON."""
    connection = connection or http.client.HTTPConnection(*address, timeout=PATIENCE)
    connection.request("POST", "/extract", body, JSON)
    response = connection.getresponse()
    json.loads(response.read())
    return response.status


def client(
    address: tuple[str, int], bodies: Iterator[bytes], halves: tuple[Figures, Figures], ends: list[float]
) -> None:
    """Post until the second half ends; an answer counts for the half in which its request began."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    while (start := time.monotonic()) < ends[1]:
        figures = halves[start >= ends[0]]
        try:
            status = post(address, next(bodies), connection)
        except (OSError, http.client.HTTPException, ValueError) as error:
            figures.errors[type(error).__name__] += 1
            connection.close()
            continue
        if status == 200:
            figures.seconds.append(time.monotonic() - start)
        else:
            figures.errors[str(status)] += 1
            time.sleep(1)  # as Retry-After says


def attacks(address: tuple[str, int], end: float) -> Counter[str]:
    """Send hostile requests until `end`, and count what comes back."""
    seen: Counter[str] = Counter()
    slow = [threading.Thread(target=send_slowly, args=(address, seen)) for _ in range(SLOW_CLIENTS)]
    for thread in slow:
        thread.start()
    garbage = [
        b"",
        b"{",
        b"\xff\x00" * 100,
        b"[" * 100_000,
        b'{"inputs": 5}',
        b'{"inputs": "a", "parameters": {"x": 1}}',
    ]
    while time.monotonic() < end:
        for body in garbage:
            seen[f"garbage → {post(address, body)}"] += 1
        seen[f"10 MB → {post_large(address)}"] += 1
        time.sleep(0.5)
    for thread in slow:
        thread.join()
    return seen


def post_large(address: tuple[str, int]) -> str:
    try:
        return str(post(address, b" " * 10_000_000))
    except OSError:  # refused and closed while it was still being sent
        return "closed"


def send_slowly(address: tuple[str, int], seen: Counter[str]) -> None:
    """Send a body at one byte per second, and count the status of the response in `seen`."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(b"POST /extract HTTP/1.1\r\nHost: load\r\nContent-Length: 1000\r\n\r\n")
        connection.settimeout(1)
        answer = b""
        end = time.monotonic() + PATIENCE
        while not answer and time.monotonic() < end:
            try:
                connection.sendall(b" ")
                answer = connection.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                break
        status = re.match(rb"HTTP/1.1 (\d+)", answer)
        seen[f"slow → {status[1].decode() if status else 'closed'}"] += 1


def is_expected(outcome: str) -> bool:
    """Whether a hostile request was refused."""
    kind, _, status = outcome.partition(" → ")
    return status in {"garbage": ("400", "422"), "10 MB": ("413", "closed"), "slow": ("408", "closed")}[kind]


@contextmanager
def service(url: str | None) -> Iterator[tuple[str, int]]:
    """The address of the service at `url`, or of one that is started here, ready, and stopped at the end."""
    if url is not None:
        parts = urlsplit(url)
        yield parts.hostname or "127.0.0.1", parts.port or 80
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = ("127.0.0.1", free.getsockname()[1])
    with subprocess.Popen([sys.executable, "-m", "serving_iser.command_line", "--port", str(address[1])]) as process:
        try:
            while not is_ready(address):
                if process.poll() is not None:
                    raise RuntimeError(f"the service did not start: exit code {process.returncode}")
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
    if process.returncode != 0:
        raise RuntimeError(f"the service ended with exit code {process.returncode}")


def is_ready(address: tuple[str, int]) -> bool:
    try:
        connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False


class _Endless:
    """An endless cycle of the items, shared by threads."""

    def __init__(self, items: list[bytes]) -> None:
        self._items, self._next, self._lock = items, 0, threading.Lock()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._lock:
            self._next += 1
            return self._items[self._next % len(self._items)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--url", help="URL of a running service; default: one is started")
    arguments = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before the test, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}\n"
    )
    with service(arguments.url) as address:
        halves = (Figures(), Figures())
        start = time.monotonic()
        ends = [start + arguments.seconds / 2, start + arguments.seconds]
        bodies = _Endless(sentences())
        threads = [
            threading.Thread(target=client, args=(address, bodies, halves, ends)) for _ in range(arguments.clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, ends[0] - time.monotonic()))
        seen = attacks(address, ends[1])
        for thread in threads:
            thread.join()
        answers = is_ready(address) and post(address, next(bodies)) == 200
    print("| clients | answers | a second | p50 ms | p95 ms | p99 ms | errors |\n|---|---|---|---|---|---|---|")
    print(halves[0].row(f"{arguments.clients}", arguments.seconds / 2))
    print(halves[1].row(f"{arguments.clients}, and hostile ones", arguments.seconds / 2))
    print("\nHostile requests: " + ", ".join(f"{outcome}: {count}" for outcome, count in sorted(seen.items())) + ".")
    print(f"The service {'answers' if answers else 'does not answer'} afterwards.")
    right = (
        all(map(is_expected, seen)) and not any(half.errors for half in halves) and all(half.seconds for half in halves)
    )
    return 0 if answers and right else 1


if __name__ == "__main__":
    sys.exit(main())
