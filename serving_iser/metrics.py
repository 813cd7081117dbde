"""What the service counts, for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send


NOTICE = "Not for clinical decisions."

COUNTED = "/extract"
"""The path whose requests are counted: those of monitors would blur the figures."""

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Figures of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("iser_requests", "Requests to /extract, by status", ["status"], registry=self.registry)
        self.seconds = Histogram(
            "iser_request_seconds", "From headers to answer", buckets=_SECONDS, registry=self.registry
        )
        self.batches = Histogram(
            "iser_batch_texts", "Texts that were read at once", buckets=_TEXTS, registry=self.registry
        )
        self.texts = Counter("iser_texts", "Texts that were read", registry=self.registry)
        self.queue = Gauge("iser_queue_depth", "Requests that wait", registry=self.registry)
        self.ready = Gauge("iser_ready", "1 when the service answers requests", registry=self.registry)

    def page(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """An application whose requests are counted, and whose responses all bear the notice."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 499  # the client went away before there was a response

        async def send_with_notice(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-notice", NOTICE.encode())]
            await send(message)

        start = time.perf_counter()
        try:
            await self.app(scope, receive, send_with_notice)
        finally:
            if scope["path"] == COUNTED:
                self.metrics.requests.labels(str(status)).inc()
                self.metrics.seconds.observe(time.perf_counter() - start)
