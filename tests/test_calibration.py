"""Calibration of scores to probabilities."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import train
from benchmarks.bundled_model.calibration import chance_error
from datasets_scripts.formats import FORMATS
from modeling_iser import DdiExtractionPipeline, IserForJointExtraction, JointExtractionPipeline
from modeling_iser.calibration_iser import (
    Calibration,
    expected_calibration_error,
    fit_calibration,
    lowest_score,
    reliability,
    scored_findings,
)

from .conftest import DOCUMENTS, RELATION_TYPES
from .test_own_corpus import arguments


MakeModel = Callable[..., IserForJointExtraction]
WORDS = [document["tokens"] for document in DOCUMENTS]
FIELDS = {
    "entity_slope": 0.5,
    "entity_offset": -0.2,
    "relation_slope": 0.7,
    "relation_entity_slope": 0.3,
    "relation_offsets": {"Live_In": -0.4, "Work_For": 0.6},
    "min_confidence": {"90": 0.6, "95": 0.8},
}


def odds(score: float) -> float:
    score = min(max(score, 1e-4), 1 - 1e-4)
    return math.log(score / (1 - score))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_calibrated_scores_match_the_formula(make_model: MakeModel) -> None:
    model = make_model(relation_threshold=0.0)
    plain = model.extract(WORDS)
    model.config.calibration = FIELDS
    for before, after in zip(plain, model.extract(WORDS), strict=True):
        entities = [sigmoid(0.5 * odds(e["score"]) - 0.2) for e in before["entities"]]
        assert [e["score"] for e in after["entities"]] == pytest.approx(entities, abs=1e-5)
        expected = [
            sigmoid(
                0.7 * odds(r["score"])
                + 0.3 * sum(odds(min(entities[r[end]], 0.99)) for end in ("head", "tail"))
                + FIELDS["relation_offsets"][r["type"]]  # type: ignore[index]
            )
            for r in before["relations"]
        ]
        assert [r["score"] for r in after["relations"]] == pytest.approx(expected, abs=1e-5)
        assert [(r["head"], r["tail"], r["type"]) for r in after["relations"]] == [
            (r["head"], r["tail"], r["type"]) for r in before["relations"]
        ]


def test_thresholds_apply_to_calibrated_scores(make_model: MakeModel) -> None:
    model = make_model(relation_threshold=0.0, calibration=FIELDS)
    found = model.extract(WORDS)
    scores = sorted(r["score"] for d in found for r in d["relations"])
    middle = scores[len(scores) // 2]
    kept = [r["score"] for d in model.extract(WORDS, relation_threshold=middle) for r in d["relations"]]
    assert sorted(kept) == [score for score in scores if score >= middle]
    certain = [e["score"] for d in model.extract(WORDS, entity_threshold=0.6) for e in d["entities"]]
    assert all(score >= 0.6 for score in certain)


def test_given_entities_keep_score_one(make_model: MakeModel) -> None:
    model = make_model(relation_threshold=0.0, calibration=FIELDS)
    (document,) = model.extract([WORDS[0]], entities=[DOCUMENTS[0]["entities"]])
    assert {entity["score"] for entity in document["entities"]} == {1.0}
    assert all(0 < relation["score"] < 1 for relation in document["relations"])


def test_calibration_is_saved_with_the_model(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(relation_threshold=0.0, calibration=FIELDS)
    model.save_pretrained(tmp_path)
    again = IserForJointExtraction.from_pretrained(tmp_path)
    assert again.config.calibration == FIELDS
    assert again.extract(WORDS) == model.extract(WORDS)
    with pytest.raises(ValueError, match="other relation types"):
        make_model(calibration={**FIELDS, "relation_offsets": {"Live_In": 0.0}})


def overconfident(count: int, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Predictions that are correct less often than their scores suggest, and the references."""
    generator = random.Random(seed)
    predictions, references = [], []
    for _ in range(count):
        entities, relations, gold_entities, gold_relations = [], [], [], []
        for place in range(4):
            score = generator.uniform(0.5, 0.999)
            entities.append({"start": place, "end": place + 1, "type": "Peop", "score": score})
            if generator.random() < sigmoid(0.6 * odds(score)):
                gold_entities.append({"start": place, "end": place + 1, "type": "Peop"})
        for head, kind in ((0, "Live_In"), (2, "Work_For")):
            score = generator.uniform(0.02, 0.999)
            relations.append({"head": head, "tail": head + 1, "type": kind, "score": score})
            places = [next((i for i, e in enumerate(gold_entities) if e["start"] == p), None) for p in (head, head + 1)]
            offset = -0.5 if kind == "Live_In" else 0.5
            if None not in places and generator.random() < sigmoid(0.5 * odds(score) + offset):
                gold_relations.append({"head": places[0], "tail": places[1], "type": kind})
        predictions.append({"entities": entities, "relations": relations})
        references.append({"entities": gold_entities, "relations": gold_relations})
    return predictions, references


def test_calibration_generalises_to_other_documents() -> None:
    calibration = fit_calibration(*overconfident(1500, seed=0), RELATION_TYPES)
    predictions, references = overconfident(1500, seed=1)
    before = scored_findings(predictions, references)
    calibrated = []
    for document in predictions:
        entities = [
            {**e, "score": sigmoid(calibration.entity_slope * odds(e["score"]) + calibration.entity_offset)}
            for e in document["entities"]
        ]
        relations = [
            {
                **r,
                "score": sigmoid(
                    calibration.relation_slope * odds(r["score"])
                    + calibration.relation_entity_slope
                    * sum(odds(min(0.99, entities[r[end]]["score"])) for end in ("head", "tail"))
                    + calibration.relation_offsets[r["type"]]
                ),
            }
            for r in document["relations"]
        ]
        calibrated.append({"entities": entities, "relations": relations})
    after = scored_findings(calibrated, references)
    for task in ("entity", "relation"):
        assert expected_calibration_error(*before[task]) > 0.05
        assert expected_calibration_error(*after[task]) < 0.03
    assert calibration.relation_offsets["Work_For"] > calibration.relation_offsets["Live_In"]
    scores, right = after["relation"]
    low = calibration.min_confidence["70"]
    kept = [is_right for score, is_right in zip(scores, right, strict=True) if score >= low]
    assert sum(kept) / len(kept) > 0.62


def test_too_few_findings_are_an_error() -> None:
    with pytest.raises(ValueError, match="8 entities are found"):
        fit_calibration(*overconfident(2, seed=0), RELATION_TYPES)


@given(st.lists(st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans()), min_size=1), st.floats(0.1, 1.0))
def test_lowest_score_equals_exhaustive_search(findings: list[tuple[float, bool]], precision: float) -> None:
    scores, right = [score for score, _ in findings], [float(is_right) for _, is_right in findings]
    reaching = []
    for low in set(scores):
        kept = [is_right for score, is_right in findings if score >= low]
        if sum(kept) / len(kept) >= precision:
            reaching.append(low)
    found = lowest_score(scores, right, precision)
    assert found == (pytest.approx(min(reaching), abs=1e-4) if reaching else None)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_reliability_counts_every_finding_once(findings: list[tuple[float, bool]]) -> None:
    scores, right = zip(*findings, strict=True)
    bins = reliability(scores, right)
    assert sum(count for *_, count in bins) == len(findings)
    assert sum(share * count for _, share, count in bins) == pytest.approx(sum(right))
    assert sum(mean * count for mean, _, count in bins) == pytest.approx(sum(scores))
    assert 0 <= expected_calibration_error(scores, right) <= 1
    assert expected_calibration_error([1.0] * len(right), right) == pytest.approx(1 - sum(right) / len(right))


def test_the_error_of_perfect_scores() -> None:
    """One finding of probability p is right with probability p, and its error is 1 - p then and p otherwise."""
    assert chance_error([1.0, 1.0]) == 0
    assert chance_error([0.8], draws=4000) == pytest.approx(2 * 0.8 * 0.2, abs=0.02)
    few, many = chance_error([0.75] * 20), chance_error([0.75] * 2000)
    assert many < 0.02 < few


def test_min_confidence(make_model: MakeModel) -> None:
    model = make_model(relation_threshold=0.0, calibration=FIELDS)
    extractor = JointExtractionPipeline(model=model, tokenizer=model.tokenizer)
    text = " ".join(WORDS[0])
    assert extractor(text, min_confidence="95%") == extractor(text, relation_threshold=0.8)
    assert extractor(text, min_confidence=0.5) == extractor(text, relation_threshold=0.5)
    for wrong, message in (
        ("97%", "is calibrated for 90%, 95%"),
        ("high", "neither a score such as 0.8 nor a percentage such as 95%"),
        (95, "between 0 and 1, or end in %"),
    ):
        with pytest.raises(ValueError, match=message):
            extractor(text, min_confidence=wrong)
    with pytest.raises(ValueError, match=r"min_confidence=0\.5 and relation_threshold=0\.5 exclude each other"):
        extractor(text, min_confidence=0.5, relation_threshold=0.5)
    plain = make_model()
    with pytest.raises(ValueError, match="not calibrated"):
        DdiExtractionPipeline(model=plain, tokenizer=plain.tokenizer)(text, min_confidence="95%")


def test_training_with_calibration(tmp_path: Path, encoder_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    many = [{**document, "id": f"{document['id']}{i}"} for i in range(30) for document in DOCUMENTS]
    FORMATS["jsonl"].write(DOCUMENTS, corpus / "train.jsonl")
    FORMATS["jsonl"].write(many, corpus / "dev.jsonl")
    more = ["--num_epochs", "60", "--evaluate_every", "60", "--calibrate", "true", "--relation_threshold", "0.1"]
    train.train(train.parse_settings(arguments(corpus, encoder_dir, tmp_path / "run", *more)))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert Calibration(**config["calibration"]).relation_offsets.keys() == set(RELATION_TYPES)
    model = IserForJointExtraction.from_pretrained(tmp_path / "run")
    found = scored_findings(model.extract([document["tokens"] for document in many], relation_threshold=0.0), many)
    assert expected_calibration_error(*found["entity"]) < 0.1

    FORMATS["jsonl"].write(DOCUMENTS, corpus / "dev.jsonl")
    with caplog.at_level(logging.WARNING):
        train.train(train.parse_settings(arguments(corpus, encoder_dir, tmp_path / "few", *more)))
    assert "stay uncalibrated" in caplog.text
    (corpus / "dev.jsonl").unlink()
    with pytest.raises(ValueError, match="calibrate needs validation documents"):
        train.train(train.parse_settings(arguments(corpus, encoder_dir, tmp_path / "none", *more)))
