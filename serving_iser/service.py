"""The application: its settings, its addresses, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as StarletteHTTPException

from modeling_iser import DEFAULT_MODEL
from modeling_iser.handler import MOST_CHARACTERS, MOST_TEXTS, EndpointHandler

from .batching import Extractor, Worker
from .limits import BodyLimits
from .metrics import NOTICE, Measured, Metrics
from .schemas import EXAMPLES, Answer, ExtractionRequest, Parameters, Problem


_DESCRIPTION = f"""Entities and relations of Chinese drug leaflets.

**{NOTICE}** What is found must be checked by a person; every response says so in its header `X-Notice`.

A request has {MOST_TEXTS} texts and {MOST_CHARACTERS:,} characters at most."""

_LANDING = f"""ISER: entities and relations of Chinese drug leaflets. {NOTICE}

POST /extract      {{"inputs": "与阿司匹林合用,出血的危险增加", "parameters": {{"drug": "华法林钠片"}}}}
GET  /docs         the interface, to try out (its page loads scripts from cdn.jsdelivr.net)
GET  /openapi.json the interface, for programs
GET  /healthz      alive
GET  /readyz       ready to answer
GET  /metrics      figures for Prometheus
"""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the body is not JSON"},
    408: {"model": Problem, "description": "the body came too slowly"},
    413: {"model": Problem, "description": "the body is too large"},
    422: {"model": Problem, "description": "the request cannot be understood, or is too large"},
    500: {"model": Problem, "description": "an error, with the id under which the log has it"},
    503: {"model": Problem, "description": "not ready, or too many requests wait; see Retry-After"},
    504: {"model": Problem, "description": "the answer took too long"},
}


@dataclass(frozen=True)
class Settings:
    """What the options of `iser-serve` set. Times are in seconds."""

    model: Path = DEFAULT_MODEL
    device: str = "cpu"
    backend: str = "torch"
    max_batch: int = 32
    max_wait: float = 0.01
    timeout: float = 30.0
    body_timeout: float = 10.0
    max_body: int = 1_000_000
    max_characters: int = 20_000
    """Of one text: the model reads a batch to its end, and whoever comes after a long text waits for it."""
    queue: int = 256


def load_extractor(settings: Settings) -> Extractor:
    """
    The pipeline that Inference Endpoints' handler loads, on the device and backend of the settings.

    Raises:
        OSError, ValueError, RuntimeError: for a checkpoint, a backend or a device that is not there.
    """
    handler = EndpointHandler(str(settings.model), device=settings.device, backend=settings.backend)
    pipeline: Extractor = handler.extractor
    return pipeline if "drug" in handler.extractor.BESIDE else partial(_without_drug, pipeline)


def _without_drug(pipeline: Extractor, texts: list[Any], **arguments: Any) -> Any:
    """The general pipeline, which would pass over a drug in silence."""
    if any("drug" in text for text in texts):
        raise ValueError("This model does not read leaflets: it takes no drug.")
    return pipeline(texts, **arguments)


def create_app(
    settings: Settings,
    load: Callable[[], Extractor] | None = None,
    on_death: Callable[[], None] = lambda: None,
) -> FastAPI:
    """
    The application. It loads the model when it starts, and is not ready until then.

    Args:
        load: loads the model in place of `load_extractor`.
        on_death: called when the model's thread has died: the service will not be ready again.
    """
    metrics = Metrics()
    worker = Worker(
        load or (lambda: load_extractor(settings)),
        most_texts=settings.max_batch,
        most_characters=settings.max_characters,
        wait_seconds=settings.max_wait,
        most_requests=settings.queue,
        metrics=metrics,
        on_death=on_death,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await worker.start()
        yield
        await worker.stop()

    app = FastAPI(title="ISER", description=_DESCRIPTION, version=version("iser"), lifespan=lifespan)
    app.add_middleware(BodyLimits, most_bytes=settings.max_body, seconds=settings.body_timeout)
    app.add_middleware(Measured, metrics=metrics)
    app.add_exception_handler(StarletteHTTPException, _say)
    app.add_exception_handler(RequestValidationError, _explain)

    @app.post("/extract", response_model=Answer, responses=_PROBLEMS, summary="Extract entities and relations")
    async def extract(
        request: Request, body: Annotated[ExtractionRequest, Body(openapi_examples=EXAMPLES)]
    ) -> JSONResponse:
        """
        The pipeline's answer: an object for a text, a list for a list; with `triples`, a list of triples for each text.
        """
        for number, text in enumerate(body.inputs, 1):
            if len(text.text) > settings.max_characters:
                raise HTTPException(422, f"Text {number} has more than {settings.max_characters} characters.")
        work = worker.answers(body.items(), body.shared())
        answers = await _while_wanted(work, request, settings.timeout)
        return JSONResponse(answers if body.is_list else answers[0])

    @app.get("/healthz", summary="Whether the process is alive")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": Problem}}, summary="Whether requests are answered")
    async def ready() -> dict[str, str]:
        worker.require_ready()
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse, summary="Figures in Prometheus' format")
    async def figures() -> Response:
        return Response(metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.get("/", response_class=PlainTextResponse, include_in_schema=False)
    async def landing() -> str:
        return _LANDING

    return app


async def _while_wanted(work: Any, request: Request, seconds: float) -> list[Any]:
    """The result of the work, unless the client goes away or it takes too long: the work is cancelled then."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_client_gone(request))
    try:
        await asyncio.wait({working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            answers: list[Any] = working.result()
            return answers
        if leaving.done():
            raise HTTPException(499, "The client went away.")
        raise HTTPException(504, f"There was no answer within {seconds:g} seconds.")
    finally:
        working.cancel()
        leaving.cancel()


async def _client_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _say(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    # The one 400 is FastAPI's, for numbers and depths that Python's JSON does not read, and bytes that are not UTF-8.
    message = "The body cannot be read as JSON." if error.status_code == 400 else str(error.detail)
    return _problem(error.status_code, message, dict(error.headers or {}))


async def _explain(_: Request, error: Exception) -> JSONResponse:
    """A sentence about the first thing that is wrong with a request: 400 where it is not JSON, else 422."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _problem(400, f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}.")
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return _problem(422, "The request has no body.")
    place = ".".join(map(str, first["loc"][1:]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "This is not known."
        if first["loc"][1:2] == ("parameters",):
            message += f" Known: {', '.join(Parameters.model_fields)}. Entities belong to their text."
    return _problem(422, f"{place}: {message}" if place else message)


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    # What a client sent may be quoted, and need not be Unicode.
    message = message.encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": message}, status, headers)
