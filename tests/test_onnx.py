"""Extraction with ONNX Runtime gives the documents of the PyTorch model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets_scripts import load_ch_ddi
from modeling_iser import DEFAULT_MODEL, VARIANTS, IserForJointExtraction
from modeling_iser.onnx_iser import OnnxExtractor, export_onnx

from .conftest import DOCUMENTS, REPOSITORY


MakeModel = Callable[..., IserForJointExtraction]
SENTENCES = [document["tokens"] for document in DOCUMENTS]


def export(model: IserForJointExtraction, directory: Path, **options: Any) -> OnnxExtractor:
    model.save_pretrained(directory)
    export_onnx(model, directory, **options)
    return OnnxExtractor.from_pretrained(directory)


def assert_same_documents(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Compare documents; scores may differ by rounding."""
    for document, other in zip(found, expected, strict=True):
        assert (document["text"], document["tokens"]) == (other["text"], other["tokens"])
        for key, names in (("entities", ("start", "end", "type")), ("relations", ("head", "tail", "type"))):
            assert [[item[name] for name in names] for item in document[key]] == [
                [item[name] for name in names] for item in other[key]
            ]
            for item, same in zip(document[key], other[key], strict=True):
                assert item["score"] == pytest.approx(same["score"], abs=1e-4)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_variant_equals_the_model(make_model: MakeModel, variant: str, tmp_path: Path) -> None:
    model = make_model(variant, overlapping_entities=True, relation_threshold=0.0, max_tokens=24)
    extractor = export(model, tmp_path)
    inputs = [*SENTENCES, ["Lund"], [], ["Lund", "and", "Malmo"] * 15]  # one word, none, and several windows
    expected = model.extract(inputs, batch_size=3)
    assert any(document["relations"] for document in expected)
    assert_same_documents(extractor.extract(inputs, batch_size=3), expected)
    assert_same_documents(extractor.extract(inputs, batch_size=1), expected)


def test_first_pass_is_exported(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(first_pass_threshold=0.5, overlapping_entities=True)
    extractor = export(model, tmp_path)
    for exact in (False, True):
        assert_same_documents(extractor.extract(SENTENCES, exact=exact), model.extract(SENTENCES, exact=exact))
    with torch.no_grad():
        model.first_pass.score.bias.fill_(-50.0)
    assert not any(d["entities"] for d in export(model, tmp_path).extract(SENTENCES))


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[IserForJointExtraction, Path]:
    directory = tmp_path_factory.mktemp("bundled")
    model = IserForJointExtraction.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    model.save_pretrained(directory)
    return model, directory


def test_bundled_model(bundled: tuple[IserForJointExtraction, Path]) -> None:
    model, directory = bundled
    export_onnx(model, directory)
    sentences = load_ch_ddi()["test"].select(range(40))["tokens"]
    found = OnnxExtractor.from_pretrained(directory, threads=1).extract(sentences)
    assert sum(len(document["relations"]) for document in found) > 20
    assert_same_documents(found, model.extract(sentences))


def test_bundled_model_in_8_bit_integers(bundled: tuple[IserForJointExtraction, Path]) -> None:
    model, directory = bundled
    graphs = export_onnx(model, directory, int8=True)
    assert sum(path.stat().st_size for path in graphs.glob("*.onnx")) < 40e6
    sentences = load_ch_ddi()["test"].select(range(40))["tokens"]
    found = OnnxExtractor.from_pretrained(directory, int8=True).extract(sentences)

    def entities(documents: list[dict[str, Any]]) -> set[tuple[int, int, int]]:
        return {(index, e["start"], e["end"]) for index, d in enumerate(documents) for e in d["entities"]}

    mine, reference = entities(found), entities(model.extract(sentences))
    assert len(mine & reference) > 0.95 * max(len(mine), len(reference))


def test_missing_graphs_and_packages(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"words\.onnx.*python -m modeling_iser\.onnx_iser"):
        OnnxExtractor.from_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"iser\[onnx\]"):
        export_onnx(model, tmp_path)


def test_command_line_and_extraction_without_the_onnx_package(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    command = [sys.executable, "-m", "modeling_iser.onnx_iser", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "MB" in done.stdout
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from modeling_iser.onnx_iser import OnnxExtractor\n"
        f"print(OnnxExtractor.from_pretrained({str(tmp_path)!r}).extract(['Anna Berg lives in Lund .'])[0]['tokens'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1:] == [str(["Anna", "Berg", "lives", "in", "Lund", "."])], done.stderr
