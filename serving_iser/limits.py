"""Limits on the size and duration of a request before it is parsed."""

from __future__ import annotations

import asyncio
import contextlib
import json

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


_LINGER_SECONDS = 1.0
_LINGER_BYTES = 16_000_000


class BodyLimits:
    """
    ASGI middleware that passes on requests whose whole body has arrived. It answers 413 to a body that is too large
    and 408 to one that arrives too slowly, and then closes the connection.

    Args:
        max_bytes: limit of a body, with or without a Content-Length.
        seconds: time from the end of the headers to the end of the body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app, self.max_bytes, self.seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        content_length = int(dict(scope["headers"]).get(b"content-length", b"0"))
        try:
            async with asyncio.timeout(self.seconds):
                body = None if content_length > self.max_bytes else await self._read(receive)
        except TimeoutError:
            message = f"The body of the request did not arrive within {self.seconds:g} seconds."
            await _refuse(408, message, send)
            return
        except _Disconnected:
            return
        if body is None:
            message = f"The body of a request must not exceed {self.max_bytes} bytes."
            await _refuse(413, message, send, receive)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            # After the body, the server reports when the client disconnects.
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while len(body) <= self.max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Disconnected
            body += message.get("body", b"")
            if not message.get("more_body"):
                return bytes(body) if len(body) <= self.max_bytes else None
        return None


class _Disconnected(Exception):  # noqa: N818
    """The client disconnected."""


async def _refuse(status: int, message: str, send: Send, receive: Receive | None = None) -> None:
    """
    Send an error and close the connection.

    With `receive`, what the client still sends is discarded for a moment before closing: most clients read the response
    only after sending the whole request, and would see a broken connection instead.
    """
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if receive is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await _discard(receive, _LINGER_BYTES)
    await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive, max_bytes: int) -> None:
    more = True
    while more and max_bytes > 0:
        message = await receive()
        max_bytes -= len(message.get("body", b""))
        more = message.get("more_body", False)


def impatient(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP protocol with a time limit on the headers of a request, for which uvicorn would wait forever."""

    class ImpatientProtocol(H11Protocol):
        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.timer = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # The client is idle until its headers are complete, and again after the response is sent.
            if self.conn.their_state is not h11.IDLE:
                self._stop_timer()
            elif self.timer is None and data:
                self.timer = self.loop.call_later(seconds, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _stop_timer(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    return ImpatientProtocol
