"""The Spaces, started as on the Hub and operated in a browser."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modeling_iser import DEFAULT_MODEL, Extraction

from .conftest import REPOSITORY


if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

pytest.importorskip("gradio", reason="needs gradio")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium"),
    pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled"),
]
EXTRACTION = REPOSITORY / "serving_iser" / "space"
SENTENCE, DRUG = "与阿司匹林合用,出血的危险增加。", "华法林钠片"
EVIL = "<img src=x onerror=alert(1)></text><script>alert(2)</script>${alert(3)}{{alert(4)}}"
WAIT = 60_000  # milliseconds


@contextmanager
def served(script: Path, folder: Path, **environment: str) -> Iterator[Callable[[], str]]:
    """Start the script of a Space; the yielded function waits until it is up and returns its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    log = folder / "log.txt"
    environment = {
        **os.environ, "GRADIO_SERVER_PORT": port, "GRADIO_TEMP_DIR": str(folder), "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False", **environment,
    }  # fmt: skip
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, script], stdout=stream, stderr=subprocess.STDOUT, env=environment)

    def address() -> str:
        while process.poll() is None and "Running on" not in log.read_text("utf-8"):
            time.sleep(0.1)
        assert process.poll() is None, log.read_text("utf-8")
        return f"http://127.0.0.1:{port}/"

    try:
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of the extraction Space, started from the files that go to the Hub, and of the metric Space."""
    folder, other_folder = tmp_path_factory.mktemp("extraction"), tmp_path_factory.mktemp("metric")
    shutil.copytree(EXTRACTION, folder, dirs_exist_ok=True)
    shutil.copytree(REPOSITORY / "modeling_iser", folder / "modeling_iser")
    model = str(folder / "modeling_iser" / "default_model")
    metric = REPOSITORY / "evaluate_iser" / "app.py"
    with served(folder / "app.py", folder, ISER_MODEL=model) as first, served(metric, other_folder) as second:
        yield {"extraction": first(), "metric": second()}


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Opens a page, which must load nothing from other hosts and run nothing that was typed."""
    complaints: list[str] = []
    page = browser.new_page()
    page.set_default_timeout(WAIT)

    def refuse(dialog: Dialog) -> None:
        complaints.append(dialog.message)
        dialog.dismiss()

    def open_space(address: str) -> Page:
        own = (address, "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(own) else complaints.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", refuse)
        page.goto(address)
        return page

    yield open_space
    assert page.locator("img[src=x], [onerror]").count() == 0
    page.close()
    assert complaints == []


def extract(page: Page, text: str, drug: str, min_confidence: str | None = None) -> None:
    page.get_by_label("Sentences of a leaflet").fill(text)
    page.get_by_label("Drug of the leaflet").fill(drug)
    if min_confidence is not None:
        page.get_by_label("number input for Minimum confidence").fill(min_confidence)
    page.get_by_role("button", name="Extract").click()


def picture_of(page: Page) -> str:
    """The text of the picture, without spaces."""
    return "".join(page.locator("svg[font-family] text").all_text_contents())


def in_table(page: Page, text: str) -> None:
    """Wait for a cell with the text in the table of triples."""
    page.get_by_role("gridcell", name=text, exact=True).first.wait_for()


def toast(page: Page) -> str:
    """The text of the pop-up message, which is then closed."""
    message = page.get_by_test_id("toast-body").first
    message.wait_for()
    text = message.inner_text()
    message.get_by_role("button").last.click()
    return text


def test_extraction_gives_picture_table_and_file(opened: Callable[[str], Page], spaces: dict[str, str]) -> None:
    page = opened(spaces["extraction"])
    page.get_by_role("heading", name="Not for clinical decisions. 不得用于临床决策。").wait_for()
    extract(page, SENTENCE, DRUG)
    for text in ("阿司匹林", "协同", DRUG):
        in_table(page, text)
    assert picture_of(page) == f"{DRUG}│{SENTENCE}协同"
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    assert waiting.value.suggested_filename == "iser.jsonl"
    (record,) = map(json.loads, waiting.value.path().read_text("utf-8").splitlines())
    assert (record["text"], record["drug"]["text"]) == (SENTENCE, DRUG)
    assert [(one["head"]["text"], one["type"]) for one in record["relations"]] == [("阿司匹林", "协同")]


def test_hostile_text_is_text(opened: Callable[[str], Page], spaces: dict[str, str]) -> None:
    page = opened(spaces["extraction"])
    extract(page, f"{EVIL}{SENTENCE}", f"{DRUG}{EVIL}", min_confidence="0")
    page.get_by_text("That says nothing about safety").wait_for()
    assert f"{DRUG}{EVIL}│{EVIL}".replace(" ", "") in picture_of(page)


def test_hostile_names_and_messages_are_text(
    opened: Callable[[str], Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundled model does not find such entities, but another model may."""

    class Extractor:
        model = SimpleNamespace(config=SimpleNamespace(relation_threshold=0.5))

        def __call__(self, text: str, drug: str | None, **options: Any) -> Extraction:
            if drug is None:
                raise ValueError(text)
            evil = {"text": text, "type": EVIL, "start": 0, "end": len(text), "score": 0.9}
            relation = {"type": EVIL, "head": evil, "tail": evil, "score": 0.9}
            return Extraction(text=text, drug=None, entities=[evil], relations=[relation])

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    blocks = runpy.run_path(str(EXTRACTION / "app.py"))["page"](Extractor())
    try:
        page = opened(blocks.launch(prevent_thread_lock=True, quiet=True)[1])
        extract(page, EVIL, DRUG)
        in_table(page, EVIL)
        assert EVIL.replace(" ", "") in picture_of(page)
        extract(page, EVIL, "")
        assert EVIL in toast(page)
    finally:
        blocks.close()


def test_examples_and_texts_without_relations(opened: Callable[[str], Page], spaces: dict[str, str]) -> None:
    page = opened(spaces["extraction"])
    page.get_by_role("cell", name="茶碱缓释片").or_(page.get_by_role("gridcell", name="茶碱缓释片")).first.click()
    page.get_by_role("button", name="Extract").click()
    in_table(page, "西咪替丁")
    extract(page, "密封,置阴凉处。", DRUG, min_confidence="1")
    page.get_by_text("That says nothing about safety").wait_for()


def test_error_messages(opened: Callable[[str], Page], spaces: dict[str, str]) -> None:
    page = opened(spaces["extraction"])
    extract(page, "  ", DRUG)
    assert "Please enter a text. 请输入说明书语句。" in toast(page)
    # The page limits the length of its input; programs may exceed it.
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(spaces["extraction"], verbose=False)
    for times, message in ((4000, "20000 characters"), (400, "leaves too little")):
        with pytest.raises(AppError, match=message):
            client.predict(SENTENCE, DRUG * times, 0.5, api_name="/extract")


def test_metric_gives_scores_and_error_messages(opened: Callable[[str], Page], spaces: dict[str, str]) -> None:
    page = opened(spaces["metric"])
    page.get_by_role("button", name="Submit").click()
    page.get_by_text('"entity_micro_f1"').first.wait_for()
    page.get_by_text("0.3333333333333333").first.wait_for()
    lost = [{"id": EVIL, "entities": [], "relations": [{"head": 0, "tail": 1, "type": "a"}]}]
    page.locator(".cm-content").first.fill(json.dumps(lost))
    page.get_by_role("button", name="Submit").click()
    message = toast(page)
    assert EVIL in message and "needs entity 0" in message
