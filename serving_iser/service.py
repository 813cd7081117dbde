"""The application: settings, endpoints and error responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as StarletteHTTPException

from modeling_iser import DEFAULT_MODEL
from modeling_iser.handler import MAX_CHARACTERS, MAX_TEXTS, EndpointHandler

from .batching import Extractor, Worker
from .limits import BodyLimits
from .metrics import NOTICE, Measured, Metrics
from .schemas import EXAMPLES, Answer, ExtractionRequest, Parameters, Problem


_DESCRIPTION = f"""Entities and relations of Chinese drug leaflets.

**{NOTICE}** Results must be checked by a person; every response has this notice in its header `X-Notice`.

A request may have up to {MAX_TEXTS} texts and {MAX_CHARACTERS:,} characters."""

_LANDING = f"""ISER: entities and relations of Chinese drug leaflets. {NOTICE}

POST /extract      {{"inputs": "与阿司匹林合用,出血的危险增加", "parameters": {{"drug": "华法林钠片"}}}}
GET  /docs         interactive documentation (its page loads scripts from cdn.jsdelivr.net)
GET  /openapi.json OpenAPI description
GET  /healthz      whether the process is alive
GET  /readyz       whether requests are answered
GET  /metrics      metrics for Prometheus
"""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the body is not JSON"},
    408: {"model": Problem, "description": "the body arrived too slowly"},
    413: {"model": Problem, "description": "the body is too large"},
    422: {"model": Problem, "description": "the request is invalid or too large"},
    500: {"model": Problem, "description": "an error, with the id under which it is logged"},
    503: {"model": Problem, "description": "not ready, or too many requests are waiting; see Retry-After"},
    504: {"model": Problem, "description": "the answer took too long"},
}


@dataclass(frozen=True)
class Settings:
    """Settings of the service, set by the options of `iser-serve`. Times are in seconds."""

    model: Path = DEFAULT_MODEL
    device: str = "cpu"
    backend: str = "torch"
    max_batch: int = 32
    max_wait: float = 0.01
    timeout: float = 30.0
    body_timeout: float = 10.0
    max_body: int = 1_000_000
    max_characters: int = 20_000
    """Limit for one text, because later requests wait until the model has finished its batch."""
    queue: int = 256


def load_extractor(settings: Settings) -> Extractor:
    """
    Load the pipeline as the handler for Inference Endpoints does, with the device and backend of the settings.

    Raises:
        OSError, ValueError, RuntimeError: if the checkpoint, backend or device is not available.
    """
    handler = EndpointHandler(str(settings.model), device=settings.device, backend=settings.backend)
    pipeline: Extractor = handler.extractor
    return pipeline


def create_app(
    settings: Settings,
    load: Callable[[], Extractor] | None = None,
    on_death: Callable[[], None] = lambda: None,
) -> FastAPI:
    """
    Make the application. It loads the model after it has started, and is not ready until then.

    Args:
        load: loads the model, instead of `load_extractor`.
        on_death: called if the model's thread has died; the service cannot recover from that.
    """
    metrics = Metrics()
    worker = Worker(
        load or (lambda: load_extractor(settings)),
        max_texts=settings.max_batch,
        max_characters=settings.max_characters,
        wait_seconds=settings.max_wait,
        max_requests=settings.queue,
        metrics=metrics,
        on_death=on_death,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await worker.start()
        yield
        await worker.stop()

    app = FastAPI(title="ISER", description=_DESCRIPTION, version=version("iser"), lifespan=lifespan)
    app.add_middleware(BodyLimits, max_bytes=settings.max_body, seconds=settings.body_timeout)
    app.add_middleware(Measured, metrics=metrics)
    app.add_exception_handler(StarletteHTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)

    @app.post("/extract", response_model=Answer, responses=_PROBLEMS, summary="Extract entities and relations")
    async def extract(
        request: Request, body: Annotated[ExtractionRequest, Body(openapi_examples=EXAMPLES)]
    ) -> JSONResponse:
        """
        The pipeline's answer: an object for a text, a list for a list. `triples` gives a list of triples for each text.
        """
        for number, text in enumerate(body.inputs, 1):
            if len(text.text) > settings.max_characters:
                raise HTTPException(422, f"Text {number} has more than {settings.max_characters} characters.")
        work = worker.answers(body.items(), body.shared())
        answers = await _unless_abandoned(work, request, settings.timeout)
        return JSONResponse(answers if body.is_list else answers[0])

    @app.get("/healthz", summary="Whether the process is alive")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": Problem}}, summary="Whether requests are answered")
    async def ready() -> dict[str, str]:
        worker.require_ready()
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse, summary="Metrics in Prometheus' format")
    async def figures() -> Response:
        return Response(metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.get("/", response_class=PlainTextResponse, include_in_schema=False)
    async def landing() -> str:
        return _LANDING

    return app


async def _unless_abandoned(work: Any, request: Request, seconds: float) -> list[Any]:
    """The result of the work, which is cancelled if the client disconnects or time runs out."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_client_gone(request))
    try:
        await asyncio.wait({working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            answers: list[Any] = working.result()
            return answers
        if leaving.done():
            raise HTTPException(499, "The client disconnected.")
        raise HTTPException(504, f"There was no answer within {seconds:g} seconds.")
    finally:
        working.cancel()
        leaving.cancel()


async def _client_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _http_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    # FastAPI raises 400 only for JSON with too long numbers or too deep nesting, and for bytes that are not UTF-8.
    message = "The body cannot be read as JSON." if error.status_code == 400 else str(error.detail)
    return _problem(error.status_code, message, dict(error.headers or {}))


async def _validation_problem(_: Request, error: Exception) -> JSONResponse:
    """Describe the first error of a request, with status 400 if it is not JSON, else 422."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _problem(400, f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}.")
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return _problem(422, "The request has no body.")
    place = ".".join(map(str, first["loc"][1:]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "Unknown name."
        if first["loc"][1:2] == ("parameters",):
            message += f" Choose from: {', '.join(Parameters.model_fields)}. Give entities with their text."
    return _problem(422, f"{place}: {message}" if place else message)


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    # The message may quote the request, which need not be valid Unicode.
    message = message.encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": message}, status, headers)
