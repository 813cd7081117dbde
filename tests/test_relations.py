"""Constraints on relations: signatures from the training data, and symmetric relations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modeling_iser import IserConfig, IserForJointExtraction

from .conftest import DOCUMENTS


MakeModel = Callable[..., IserForJointExtraction]
WORDS = [document["tokens"] for document in DOCUMENTS]
Triple = tuple[tuple[int, int, str], str, tuple[int, int, str]]


def triples(document: dict[str, Any]) -> dict[Triple, float]:
    """Triple of entities and relation type → score."""
    ends = [(entity["start"], entity["end"], entity["type"]) for entity in document["entities"]]
    return {(ends[r["head"]], r["type"], ends[r["tail"]]): r["score"] for r in document["relations"]}


def test_only_relations_with_known_signatures_are_found(make_model: MakeModel) -> None:
    allowed = [["Peop", "Live_In", "Loc"], ["Loc", "Live_In", "Loc"], ["Org", "Work_For", "Peop"]]
    model = make_model(overlapping_entities=True)
    free = [triples(document) for document in model.extract(WORDS, relation_threshold=0.0)]
    model.config.relation_signatures = allowed
    constrained = [triples(document) for document in model.extract(WORDS, relation_threshold=0.0)]
    kept = [
        {triple: score for triple, score in found.items() if [triple[0][2], triple[1], triple[2][2]] in allowed}
        for found in free
    ]
    assert constrained == kept
    assert 0 < sum(map(len, kept)) < sum(map(len, free))
    model.config.constrain_relations = False
    assert [triples(document) for document in model.extract(WORDS, relation_threshold=0.0)] == free


@pytest.mark.parametrize("overlapping", [True, False])
def test_symmetric_relation_is_found_once_with_the_mean_score(make_model: MakeModel, overlapping: bool) -> None:
    model = make_model(overlapping_entities=overlapping)
    directed = [triples(document) for document in model.extract(WORDS, relation_threshold=0.0)]
    model.config.symmetric_relations = ["Live_In"]
    found = [triples(document) for document in model.extract(WORDS, relation_threshold=0.0)]
    expected: list[dict[Triple, float]] = []
    for scores in directed:
        once: dict[Triple, float] = {}
        for (head, relation, tail), score in scores.items():
            if relation != "Live_In":
                once[head, relation, tail] = score
            elif head[:2] < tail[:2]:
                once[head, relation, tail] = (score + scores[tail, relation, head]) / 2
        expected.append(once)
    assert [set(document) for document in found] == [set(document) for document in expected]
    assert sum(map(len, expected)) > 10
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    # The threshold applies to the mean.
    at = [triples(document) for document in model.extract(WORDS, relation_threshold=0.5)]
    assert at == [{key: score for key, score in document.items() if score >= 0.5} for document in found]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"symmetric_relations": ["Married"]}, "symmetric_relations lists Married"),
        ({"relation_signatures": [["Peop", "Live_In"]]}, "relation_signatures contains .'Peop', 'Live_In'."),
        ({"relation_signatures": [["Peop", "Live_In", "Planet"]]}, "relation_signatures contains"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IserConfig(entity_types=["Peop", "Loc"], relation_types=["Live_In"], **fields)


def test_constraints_are_saved_with_the_checkpoint(make_model: MakeModel, tmp_path: Any) -> None:
    fields = {"relation_signatures": [["Peop", "Live_In", "Loc"]], "symmetric_relations": ["Work_For"]}
    make_model(**fields).save_pretrained(tmp_path)
    config = IserForJointExtraction.from_pretrained(tmp_path).config
    assert {name: getattr(config, name) for name in fields} == fields
