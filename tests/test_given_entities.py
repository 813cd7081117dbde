"""Relations between given entities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling_iser import IserForJointExtraction
from modeling_iser.onnx_iser import OnnxExtractor, export_onnx

from .conftest import DOCUMENTS, SENTENCES


MakeModel = Callable[..., IserForJointExtraction]
WORDS = [document["tokens"] for document in DOCUMENTS]


def triples(document: dict[str, Any]) -> dict[tuple[Any, ...], float]:
    ends = [(entity["start"], entity["end"], entity["type"]) for entity in document["entities"]]
    return {(ends[r["head"]], r["type"], ends[r["tail"]]): r["score"] for r in document["relations"]}


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("prompt", ["", "Lund @ "])
@pytest.mark.parametrize("variant", ["iser", "spert"])
def test_giving_the_extracted_entities_gives_the_extracted_relations(
    make_model: MakeModel, variant: str, prompt: str, batch_size: int
) -> None:
    model = make_model(variant)
    prompts = [prompt] * len(WORDS)
    found = model.extract(WORDS, relation_threshold=0.0, prompts=prompts)
    given = model.extract(
        iter(WORDS), batch_size, relation_threshold=0.0, prompts=prompts, entities=(d["entities"] for d in found)
    )
    assert sum(len(document["relations"]) for document in found) > 20
    for one, other in zip(found, given, strict=True):
        assert triples(other) == pytest.approx(triples(one), abs=1e-5)
        assert [{**entity, "score": 1.0} for entity in one["entities"]] == other["entities"]


def test_any_entities_in_any_order(make_model: MakeModel) -> None:
    model = make_model()
    mine = [
        {"start": 5, "end": 6, "type": "Planet"}, {"start": 0, "end": 9, "type": "Org"},
        {"start": 0, "end": 2, "type": "Peop"}, {"start": 5, "end": 6, "type": "Planet", "source": "dictionary"},
    ]  # fmt: skip
    (document,) = model.extract([WORDS[0]], relation_threshold=0.0, entities=[mine])
    assert document["entities"] == [{**entity, "score": 1.0} for entity in mine]
    pairs = {(relation["head"], relation["tail"]) for relation in document["relations"]}
    assert pairs == {(a, b) for a in range(3) for b in range(3) if a != b}
    model.config.relation_signatures = [["Peop", "Live_In", "Org"]]
    (document,) = model.extract([WORDS[0]], relation_threshold=0.0, entities=[mine])
    known = {(r["head"], r["type"], r["tail"]) for r in document["relations"] if 0 not in (r["head"], r["tail"])}
    assert known == {(2, "Live_In", 1)}  # Unknown types are not constrained.
    (document,) = model.extract([WORDS[0]], entities=[[]])
    assert (document["entities"], document["relations"]) == ([], [])


def test_windows(make_model: MakeModel) -> None:
    model = make_model(max_tokens=48)
    words = [word for sentence in WORDS * 4 for word in sentence]
    entities = [{"start": start, "end": start + 2, "type": "Peop"} for start in range(0, len(words) - 2, 5)]
    prompt = {"start": 0, "end": 1, "type": "Org"}
    shifted = [{**entity, "start": entity["start"] + 2, "end": entity["end"] + 2} for entity in entities]
    (document,) = model.extract(
        [words], relation_threshold=0.0, prompts=["Lund @"], entities=[[prompt, *shifted]]
    )  # fmt: skip
    assert [(e["start"], e["end"]) for e in document["entities"]] == [
        (0, 1), *((e["start"], e["end"]) for e in shifted)
    ]  # fmt: skip
    partners = {relation["tail"] for relation in document["relations"] if relation["head"] == 0}
    assert partners == set(range(1, len(shifted) + 1))  # The prompt precedes every window.
    # Neighbouring entities share a window; those at the ends of the text do not.
    pairs = {(relation["head"], relation["tail"]) for relation in document["relations"]}
    assert all((index, index + 1) in pairs for index in range(1, len(shifted)))
    assert (1, len(shifted)) not in pairs


def test_onnx(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    export_onnx(model, tmp_path)
    entities = [document["entities"] for document in DOCUMENTS]
    ours = model.extract(WORDS, relation_threshold=0.0, entities=entities)
    theirs = OnnxExtractor(tmp_path).extract(WORDS, relation_threshold=0.0, entities=entities)
    for one, other in zip(ours, theirs, strict=True):
        assert other["entities"] == one["entities"]
        assert triples(other) == pytest.approx(triples(one), abs=1e-4)


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([[]], "1 lists of entities for 2 inputs"),
        ([[], [{"start": 3, "end": 99, "type": "Loc"}]], "Input 1: the entity from word 3 to 99 lies outside"),
        ([[], [{"start": 3, "end": 3, "type": "Loc"}]], "Input 1: the entity from word 3 to 3"),
        ([[(0, 1, "Loc")], []], "Input 0: an entity must be"),
    ],
)
def test_wrong_entities(make_model: MakeModel, entities: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model().extract(SENTENCES[:2], entities=entities)
