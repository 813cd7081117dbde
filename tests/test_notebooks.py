"""The notebooks run from top to bottom, and the outputs stored in them are those of a run."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from modeling_iser import DEFAULT_MODEL

from .conftest import REPOSITORY
from .test_documentation import assert_alike


NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))
MAX_BYTES = 300_000


@functools.cache
def script(name: str) -> ModuleType:
    """A script that lies beside the notebooks."""
    spec = importlib.util.spec_from_file_location(f"notebooks_{name}", NOTEBOOKS[0].with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(name: str) -> NotebookNode:
    return nbformat.read(REPOSITORY / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells that run, by id."""
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def shown(cell: NotebookNode, *kinds: str) -> list[str]:
    """The outputs of a cell that are of some media types; a stream is plain text."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {"text/plain": output.get("text", "")})
        found += [data[kind] for kind in kinds if kind in data]
    return found


def printed(notebook: NotebookNode, cell: str) -> str:
    return "\n".join(shown(code_cells(notebook)[cell], "text/plain"))


def run(name: str, directory: Path) -> NotebookNode:
    """The notebook as a run shows it, which is what it stores, except in cells tagged `varies`."""
    before = stored(name)
    after = script("execute").execute(REPOSITORY / "docs" / "notebooks" / f"{name}.ipynb", directory)
    for key, cell in code_cells(after).items():
        old = code_cells(before)[key]
        assert [sorted(output.get("data", ())) for output in cell.outputs] == [
            sorted(output.get("data", ())) for output in old.outputs
        ], key
        if "varies" not in cell.metadata.get("tags", ()):
            kinds = ("text/plain", "text/markdown", "image/svg+xml")
            assert_alike("\n".join(shown(cell, *kinds)), "\n".join(shown(old, *kinds)))
    return after


needs_model = pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled")


@needs_model
def test_quickstart(tmp_path: Path) -> None:
    notebook = run("quickstart", tmp_path)
    for triple in ("利福平 —抑制→ 硝苯地平片", "硝苯地平片 —促进→ 地高辛", "布洛芬 —拮抗→ 硝苯地平片"):
        assert triple in printed(notebook, "table")
    assert printed(notebook, "no-drug") == "[]"
    (picture,) = shown(code_cells(notebook)["picture"], "image/svg+xml")
    # Each character is an element of its own.
    assert "硝苯地平片│" in re.sub(r"<[^>]*>|\s", "", picture)
    assert "硝苯地平片" in (tmp_path / "interactions.html").read_text(encoding="utf-8")
    everything, fewer, fewest = (line.split()[1:] for line in printed(notebook, "confidence").splitlines())
    assert set(fewest) < set(fewer) < set(everything)


@needs_model
def test_training(tmp_path: Path) -> None:
    notebook = run("training", tmp_path)
    scores = json.loads((tmp_path / "runs" / "notebook" / "scores.json").read_text(encoding="utf-8"))["scores"]["test"]
    assert scores["entity_micro_f1"] > 0.75 and scores["relation_micro_f1"] > 0.5
    assert f"{100 * scores['relation_micro_f1']:.2f}" in shown(code_cells(notebook)["scores"], "text/markdown")[0]
    assert len(shown(code_cells(notebook)["losses"], "image/png")) == 1
    assert "—" in printed(notebook, "extract")


@needs_model
def test_interpretability(tmp_path: Path) -> None:
    notebook = run("interpretability", tmp_path)
    figures = {key for key, cell in code_cells(notebook).items() if shown(cell, "image/png")}
    assert figures == {"fusion", "sea-figure", "context"}
    assert printed(notebook, "sea").strip() == "same context as the model: True"
    # The parts of a relation's logit are all of it.
    for line in printed(notebook, "context").splitlines():
        if "logit" in line:
            *parts, logit = map(float, re.findall(r"[+-]\d+\.\d+", line))
            assert sum(parts) == pytest.approx(logit, abs=0.03)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored_is_whole_and_tells_nothing_of_a_machine(path: Path) -> None:
    notebook = stored(path.stem)
    nbformat.validate(notebook)
    assert path.stat().st_size < MAX_BYTES
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    cells = code_cells(notebook).values()
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert set(cell.metadata) <= {"tags"}
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"
        text = "\n".join(shown(cell, "text/plain", "text/markdown", "image/svg+xml"))
        assert not re.search(r"(?<![\w.<])/\w+/|Warning|it/s|steps/s|\d%\|| at 0x", text), cell.id


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_to_files(path: Path) -> None:
    text = "\n".join(cell.source for cell in stored(path.stem).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^()\s#]+)\)", text)
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_each_is_listed() -> None:
    page = (REPOSITORY / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\(notebooks/(.+?)\)", page)) == [path.name for path in NOTEBOOKS]


def test_a_failing_cell_fails(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in ("print(1)", "1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "wrong.ipynb")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        script("execute").execute(tmp_path / "wrong.ipynb", tmp_path)


def test_what_is_stored_is_the_same_on_every_machine(tmp_path: Path) -> None:
    source = "import os, sys\nprint('warned', file=sys.stderr)\nprint(sys.executable)\nprint(os.getcwd())"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), tmp_path / "one.ipynb")
    (cell,) = script("execute").execute(tmp_path / "one.ipynb", tmp_path).cells
    assert [output.text for output in cell.outputs] == [f"{sys.executable}\n{tmp_path}\n"]
    assert cell.metadata == {}


def test_the_page_of_a_notebook() -> None:
    def output(data: dict[str, str], **metadata: Any) -> dict[str, Any]:
        return {"output_type": "display_data", "data": data, "metadata": metadata}

    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "[more](other.ipynb), [page](../limits.md)"]},
        {
            "cell_type": "code",
            "source": "draw()",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]},
                output({"image/png": "QUJD\n", "text/plain": "<Figure>"}, **{"image/png": {"alt": 'a "map"'}}),
                output({"image/svg+xml": "<svg></svg>", "text/plain": "<SVG>"}),
                output({"text/markdown": "| a |", "text/plain": "<Markdown>"}),
            ],
        },
    ]
    page = script("pages").as_markdown({"cells": cells})
    assert page.split("\n\n") == [
        "# Title\n[more](other.ipynb), [page](../limits.md)",
        "```python\ndraw()\n```",
        "```text\none\ntwo\n```",
        '<p><img alt="a &quot;map&quot;" src="data:image/png;base64,QUJD"></p>',
        "<div><svg></svg></div>",
        "| a |\n",
    ]
    assert "[more](other.md), [page](../limits.md)" in script("pages").on_page_markdown(page, None, None, None)
