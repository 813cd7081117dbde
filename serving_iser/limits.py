"""What a client may cost before it is understood: bytes and seconds of a request's head and body."""

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
    An application that sees a request when its whole body is there: 413 for one that is too large, 408 for one that
    comes too slowly. Neither is kept, and the connection is closed.

    Args:
        most_bytes: of a body, whether or not its length is announced.
        seconds: from the request's head to the end of its body.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, seconds: float) -> None:
        self.app, self.most_bytes, self.seconds = app, most_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = int(dict(scope["headers"]).get(b"content-length", b"0"))
        try:
            async with asyncio.timeout(self.seconds):
                body = None if announced > self.most_bytes else await self._read(receive)
        except TimeoutError:
            message = f"The body of the request did not arrive within {self.seconds:g} seconds."
            await _refuse(408, message, send)
            return
        except _Gone:
            return
        if body is None:
            message = f"The body of a request has {self.most_bytes} bytes at most."
            await _refuse(413, message, send, receive)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            # After the body, the server says when the client goes away.
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while len(body) <= self.most_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            body += message.get("body", b"")
            if not message.get("more_body"):
                return bytes(body) if len(body) <= self.most_bytes else None
        return None


class _Gone(Exception):  # noqa: N818
    """The client went away."""


async def _refuse(status: int, message: str, send: Send, receive: Receive | None = None) -> None:
    """
    Say so and close the connection; with `receive`, after what the client sends for a moment more. Most clients read a
    response when they have sent their request, and would find the connection broken in its place.
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


async def _discard(receive: Receive, most_bytes: int) -> None:
    more = True
    while more and most_bytes > 0:
        message = await receive()
        most_bytes -= len(message.get("body", b""))
        more = message.get("more_body", False)


def impatient(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP, closing connections on which a request's head takes too long; uvicorn itself waits forever."""

    class ImpatientProtocol(H11Protocol):
        head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.head = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # The client's side is idle until a head is complete, and again once its response is sent.
            if self.conn.their_state is not h11.IDLE:
                self._stop()
            elif self.head is None and data:
                self.head = self.loop.call_later(seconds, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _stop(self) -> None:
            if self.head is not None:
                self.head.cancel()
                self.head = None

    return ImpatientProtocol
