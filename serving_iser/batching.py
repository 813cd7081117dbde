"""
One thread owns the model; texts of waiting requests share batches.

Requests wait in a bounded queue. The queue fills while the model processes a batch, so batches grow with the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import queue
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from .metrics import Metrics


log = logging.getLogger("serving_iser")

Extractor = Callable[..., Any]
"""Called like the pipeline with a list of texts; returns a list of answers."""

_WARM_UP = "与阿司匹林合用,出血的危险增加"
_RETRY_LATER = {"Retry-After": "1"}
_END_SECONDS = 10.0


@dataclass(eq=False)
class _Waiting:
    """A text, and the future of its answer. Texts of the same group may share a batch."""

    item: dict[str, Any]
    parameters: dict[str, Any]
    group: str
    answer: asyncio.Future[Any]
    arrived: float


class Worker:
    """
    Answers texts with a model that it loads and runs in its own thread.

    Args:
        load: loads the model; called in the thread.
        max_texts, max_characters: limits of a batch. A text with more characters is a batch by itself.
        wait_seconds: the longest time that the first text of a batch waits for others.
        max_requests: size of the queue; further requests are refused.
        metrics: counts batches.
        on_death: called if the model cannot be loaded, or the thread ends without having been told to stop. A worker
            cannot be restarted.
    """

    def __init__(
        self,
        load: Callable[[], Extractor],
        *,
        max_texts: int,
        max_characters: int,
        wait_seconds: float,
        max_requests: int,
        metrics: Metrics,
        on_death: Callable[[], None],
    ) -> None:
        self._load, self._on_death, self._metrics = load, on_death, metrics
        self._max_texts, self._max_characters, self._wait_seconds = max_texts, max_characters, wait_seconds
        self._requests: asyncio.Queue[list[_Waiting]] = asyncio.Queue(max_requests)
        self._waiting: deque[_Waiting] = deque()
        self._batches: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._batch_done = asyncio.Event()
        self._in_progress: list[_Waiting] = []
        self._loaded = self._stopping = self._dead = False
        metrics.queue.set_function(self._requests.qsize)
        metrics.ready.set_function(lambda: self.ready)

    @property
    def ready(self) -> bool:
        """Whether requests are answered: the model is loaded and warmed up, and its thread is alive."""
        return self._loaded and not self._dead

    async def start(self) -> None:
        """Start loading the model, without waiting until it is loaded."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()
        self._batcher = asyncio.create_task(self._make_batches())
        self._batcher.add_done_callback(self._batcher_ended)

    async def stop(self) -> None:
        """End the thread after its current batch."""
        self._stopping = True
        self._batcher.cancel()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join, _END_SECONDS)

    async def answers(self, items: list[dict[str, Any]], parameters: dict[str, Any]) -> list[Any]:
        """
        The pipeline's answers to the texts. If the caller is cancelled, texts still waiting are dropped.

        Raises:
            HTTPException: 503 before the model is loaded, after its thread has died, or if the queue is full; 422 if
                the pipeline rejects a text; 500 for any other error, with an id under which it is logged.
        """
        self.require_ready()
        group = json.dumps(parameters, sort_keys=True)
        now = self._loop.time()
        texts = [_Waiting(item, parameters, group, self._loop.create_future(), now) for item in items]
        try:
            self._requests.put_nowait(texts)
        except asyncio.QueueFull:
            raise HTTPException(503, "Too many requests are waiting. Try again later.", _RETRY_LATER) from None
        answers = await asyncio.gather(*(text.answer for text in texts), return_exceptions=True)
        for number, answer in enumerate(answers, 1):
            if isinstance(answer, HTTPException):
                raise answer
            if isinstance(answer, Exception):
                place = f"Text {number}: " if len(texts) > 1 else ""
                raise HTTPException(422, f"{place}{answer}")
        return answers

    def require_ready(self) -> None:
        if self._dead:
            raise HTTPException(503, "The model's thread has died; the service is shutting down.", _RETRY_LATER)
        if not self._loaded:
            raise HTTPException(503, "The model is not loaded yet. Try again later.", _RETRY_LATER)

    # ------------------------------------------------------------------------------------- in the event loop

    async def _make_batches(self) -> None:
        while True:
            while not self._waiting:
                self._waiting.extend(await self._requests.get())
            await self._gather()
            if batch := self._take():
                self._metrics.batches.observe(len(batch))
                self._metrics.texts.inc(len(batch))
                self._in_progress = batch
                self._batch_done.clear()
                self._batches.put(batch)
                await self._batch_done.wait()

    async def _gather(self) -> None:
        """Wait for more requests, until the batch is full or its first text has waited long enough."""
        until = self._waiting[0].arrived + self._wait_seconds
        while len(self._waiting) < self._max_texts:
            if not self._requests.empty():
                self._waiting.extend(self._requests.get_nowait())
                continue
            try:
                async with asyncio.timeout_at(until):
                    self._waiting.extend(await self._requests.get())
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting]:
        """Take a batch: the first texts of the first group. Abandoned texts are dropped."""
        wanted = [text for text in self._waiting if not text.answer.done()]
        batch: list[_Waiting] = []
        characters = 0
        for text in (text for text in wanted if text.group == wanted[0].group):
            characters += len(text.item["text"])
            # The limit keeps a batch from taking much longer than the longest permitted text.
            if len(batch) == self._max_texts or (batch and characters > self._max_characters):
                break
            batch.append(text)
        taken = set(map(id, batch))
        self._waiting = deque(text for text in wanted if id(text) not in taken)
        return batch

    def _answer(self, batch: list[_Waiting], answers: list[Any]) -> None:
        self._batch_done.set()
        for text, answer in zip(batch, answers, strict=True):
            if text.answer.done():
                continue
            if not isinstance(answer, Exception):
                text.answer.set_result(answer)
            elif isinstance(answer, ValueError | TypeError):  # the pipeline rejects the text
                text.answer.set_exception(answer)
            else:
                name = uuid.uuid4().hex[:12]
                log.error("Error %s: extraction failed", name, exc_info=answer)
                text.answer.set_exception(
                    HTTPException(500, f"Extraction failed. The log has details of error {name}.")
                )

    def _batcher_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.critical("Batching failed", exc_info=task.exception())
            self._die()

    def _die(self) -> None:
        if self._dead or self._stopping:
            return
        self._dead = True
        while not self._requests.empty():
            self._waiting.extend(self._requests.get_nowait())
        for text in [*self._waiting, *self._in_progress]:
            if not text.answer.done():
                text.answer.set_exception(
                    HTTPException(503, "The model's thread has died; the service is shutting down.", _RETRY_LATER)
                )
        self._on_death()

    # ------------------------------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        try:
            extractor = self._load()
            extractor([_WARM_UP])
        except BaseException as error:
            log.critical("The model cannot be loaded: %s: %s", type(error).__name__, error)
            self._in_loop(self._die)
            return
        try:
            self._in_loop(self._has_loaded)
            while (batch := self._batches.get()) is not None:
                self._in_loop(self._answer, batch, _extract(extractor, batch, self._max_texts))
        except BaseException:  # The service must know whatever ends the thread.
            log.critical("The model's thread died", exc_info=True)
        self._in_loop(self._die)

    def _has_loaded(self) -> None:
        self._loaded = True

    def _in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # The event loop may close before a long batch ends.
            self._loop.call_soon_threadsafe(function, *arguments)


def _extract(extractor: Extractor, texts: list[_Waiting], batch_size: int) -> list[Any]:
    """The answer to each text, or its exception. One bad text does not affect the others of its batch."""
    try:
        answers: list[Any] = extractor([text.item for text in texts], batch_size=batch_size, **texts[0].parameters)
        return answers
    except Exception as error:
        if len(texts) == 1:
            return [error]
        return [answer for text in texts for answer in _extract(extractor, [text], batch_size)]
