"""The handler for Inference Endpoints, loaded as on the platform: from the file beside the weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modeling_iser import DEFAULT_MODEL, IserForJointExtraction
from modeling_iser.handler import MAX_CHARACTERS, MAX_TEXTS, check_request

from .conftest import DOCUMENTS


CALL = """
import importlib.util, json, sys
directory, requests = sys.argv[1], json.loads(sys.argv[2])
spec = importlib.util.spec_from_file_location("handler", directory + "/handler.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
handler = module.EndpointHandler(directory)
print(json.dumps([handler(request) for request in requests]))
"""


def answers(directory: Path, requests: list[Any], elsewhere: Path) -> list[Any]:
    """The answers of the handler file alone, in a process outside the repository."""
    command = [sys.executable, "-I", "-c", CALL, str(directory), json.dumps(requests)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled")
def test_bundled_model_answers_valid_and_refuses_invalid_requests(tmp_path: Path) -> None:
    text = "与阿司匹林合用,出血的危险增加"
    parameters = {"drug": "华法林钠片", "triples": True}
    one, many, objects, *refused = answers(
        DEFAULT_MODEL,
        [
            {"inputs": text, "parameters": parameters},
            {"inputs": [text, ""], "parameters": parameters},
            {"inputs": [{"text": text, "drug": "华法林钠片"}]},
            {"parameters": {}},
            {"inputs": 5},
            {"inputs": text, "parameters": {"colour": "red"}},
            {"inputs": [text] * (MAX_TEXTS + 1)},
            {"inputs": text, "parameters": [1]},
            ["no object"],
        ],
        tmp_path,
    )
    ((triple,), nothing) = many
    assert one == [triple] and nothing == []
    assert (triple["head"], triple["tail"]) == ("阿司匹林", "华法林钠片")
    assert objects[0]["entities"][0]["text"] == "阿司匹林"
    assert all(set(answer) == {"error"} and answer["error"] for answer in refused)
    assert "colour" in refused[2]["error"]


def test_saved_models_include_the_handler(tmp_path: Path, make_model: Any) -> None:
    model: IserForJointExtraction = make_model()
    model.save_pretrained(tmp_path / "model")
    (answer,) = answers(tmp_path / "model", [{"inputs": DOCUMENTS[0]["text"]}], tmp_path)
    assert set(answer) >= {"text", "entities", "relations"}


def test_large_requests_are_refused() -> None:
    with pytest.raises(ValueError, match=str(MAX_CHARACTERS)):
        check_request({"inputs": "x" * (MAX_CHARACTERS + 1)})
    check_request({"inputs": ["x"] * MAX_TEXTS})
