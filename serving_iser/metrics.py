"""Metrics of the service, for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send


NOTICE = "Not for clinical decisions."

COUNTED = "/extract"
"""The only path whose requests are counted, so that monitoring does not distort the metrics."""

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Metrics of one service, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("iser_requests", "Requests to /extract, by status", ["status"], registry=self.registry)
        self.seconds = Histogram(
            "iser_request_seconds",
            "Seconds from the headers of a request to its answer",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram("iser_batch_texts", "Texts in a batch", buckets=_TEXTS, registry=self.registry)
        self.texts = Counter("iser_texts", "Texts processed", registry=self.registry)
        self.queue = Gauge("iser_queue_depth", "Requests in the queue", registry=self.registry)
        self.ready = Gauge("iser_ready", "1 when the service answers requests", registry=self.registry)

    def page(self) -> bytes:
        """The metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware that counts requests and adds the notice to all responses."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 499  # the client disconnected before the response

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
