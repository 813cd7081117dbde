"""The metric: a brute-force reference, cases computed by hand, several processes, a process without the package."""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import evaluate
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st


Document = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parent.parent
METRIC = REPOSITORY / "evaluate_iser"
TASKS = ("entity", "relation", "relation_boundary")


@pytest.fixture(scope="module")
def metric() -> Any:
    return evaluate.load(str(METRIC), keep_in_memory=True)


def document(entities: list[tuple[int, int, str]], *relations: tuple[int, int, str]) -> Document:
    return {
        "entities": [{"start": start, "end": end, "type": name} for start, end, name in entities],
        "relations": [{"head": head, "tail": tail, "type": name} for head, tail, name in relations],
    }


EMPTY = document([])
ANNA, LUND, TIMBER = (0, 2, "Peop"), (4, 5, "Loc"), (8, 10, "Org")
REFERENCE = document([ANNA, LUND, TIMBER], (0, 1, "Live_In"), (0, 2, "Work_For"))


# ---------------------------------------------------------------------------- brute-force reference


def items(content: Document, task: str, symmetric: list[str]) -> list[dict[str, Any]]:
    """The distinct items of a document."""
    found: list[dict[str, Any]] = []
    if task == "entity":
        candidates = [dict(entity) for entity in content["entities"]]
    else:
        candidates = []
        for relation in content["relations"]:
            pair = [dict(content["entities"][relation["head"]]), dict(content["entities"][relation["tail"]])]
            if relation["type"] in symmetric:
                pair.sort(key=lambda entity: entity["start"])
            if task == "relation_boundary":
                for entity in pair:
                    del entity["type"]
            candidates.append({"pair": pair, "type": relation["type"]})
    for candidate in candidates:
        if candidate not in found:
            found.append(candidate)
    return found


def ratio(numerator: int, denominator: int) -> Fraction:
    return Fraction(numerator, denominator) if denominator else Fraction(0)


def brute_force(predictions: list[Document], references: list[Document], symmetric: list[str]) -> dict[str, Any]:
    expected: dict[str, Any] = {"per_type": {}}
    for task in TASKS:
        table: dict[str, list[int]] = {}
        for prediction, reference in zip(predictions, references, strict=True):
            predicted, wanted = items(prediction, task, symmetric), items(reference, task, symmetric)
            for item in predicted:
                hit = int(item in wanted)
                row = table.setdefault(item["type"], [0, 0, 0])
                row[0] += hit
                row[1] += 1 - hit
            for item in wanted:
                table.setdefault(item["type"], [0, 0, 0])[2] += int(item not in predicted)

        def scores(hits: int, wrong: int, missed: int) -> dict[str, Fraction]:
            precision, recall = ratio(hits, hits + wrong), ratio(hits, hits + missed)
            harmonic = 2 * precision * recall / (precision + recall) if precision + recall else Fraction(0)
            return {"precision": precision, "recall": recall, "f1": harmonic}

        per_type = {name: scores(*row) for name, row in table.items()}
        micro = scores(*(sum(row[column] for row in table.values()) for column in range(3)))
        for score in ("precision", "recall", "f1"):
            expected[f"{task}_micro_{score}"] = micro[score]
            total = sum((values[score] for values in per_type.values()), Fraction(0))
            expected[f"{task}_macro_{score}"] = total / len(per_type) if per_type else Fraction(0)
        expected["per_type"][task] = {
            name: {**values, "support": table[name][0] + table[name][2]} for name, values in per_type.items()
        }
    return expected


def flat(scores: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """All numbers, by their nested names."""
    numbers: dict[str, float] = {}
    for name, value in scores.items():
        if isinstance(value, dict):
            numbers |= flat(value, f"{prefix}{name}/")
        else:
            numbers[prefix + name] = float(value)
    return numbers


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Documents with few positions and types, so that repeated, nested and matching items are common."""
    entities = draw(
        st.lists(
            st.builds(
                lambda start, width, name: (start, start + width, name),
                st.integers(0, 3),
                st.integers(1, 2),
                st.sampled_from(["Drug", "Loc", "药物"]),
            ),
            max_size=5,
        )
    )
    if not entities:
        return EMPTY
    position = st.integers(0, len(entities) - 1)
    relations = st.tuples(position, position, st.sampled_from(["effect", "married", "协同"]))
    return document(entities, *draw(st.lists(relations, max_size=5)))


@settings(max_examples=300)
@given(
    pairs=st.lists(st.tuples(documents(), documents()), max_size=4),
    symmetric=st.lists(st.sampled_from(["married", "协同", "absent"]), unique=True),
)
def test_agrees_with_brute_force(metric: Any, pairs: list[tuple[Document, Document]], symmetric: list[str]) -> None:
    predictions, references = [prediction for prediction, _ in pairs], [reference for _, reference in pairs]
    scores = metric.compute(predictions=predictions, references=references, symmetric_relations=symmetric)
    assert flat(scores) == pytest.approx(flat(brute_force(predictions, references, symmetric)), abs=1e-12)


# --------------------------------------------------------------------------- cases computed by hand


def f1(metric: Any, prediction: Document, reference: Document, average: str = "micro", **options: Any) -> list[float]:
    """Entity, strict relation and boundary relation F1 of one document."""
    scores = metric.compute(predictions=[prediction], references=[reference], **options)
    return [scores[f"{task}_{average}_f1"] for task in TASKS]


def test_names_and_ranges_of_the_result(metric: Any) -> None:
    scores = metric.compute(predictions=[REFERENCE], references=[REFERENCE])
    per_type = scores.pop("per_type")
    assert set(scores) == {
        f"{task}_{average}_{score}"
        for task in TASKS
        for average in ("micro", "macro")
        for score in ("precision", "recall", "f1")
    }
    assert all(type(value) is float and value == 1.0 for value in scores.values())
    perfect = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert per_type == {
        "entity": {"Loc": perfect, "Org": perfect, "Peop": perfect},
        "relation": {"Live_In": perfect, "Work_For": perfect},
        "relation_boundary": {"Live_In": perfect, "Work_For": perfect},
    }


def test_micro_and_macro_by_hand(metric: Any) -> None:
    # Entities: Peop 2 of 2 right; Loc 1 right, 1 wrong, 1 missed. Relations: 1 right, 1 wrong.
    reference = document([ANNA, LUND, (6, 7, "Peop"), (10, 11, "Loc")], (0, 1, "Live_In"), (2, 1, "Live_In"))
    prediction = document([ANNA, LUND, (6, 7, "Peop"), (10, 12, "Loc")], (0, 1, "Live_In"), (2, 3, "Born_In"))
    scores = metric.compute(predictions=[prediction], references=[reference])
    assert scores["entity_micro_f1"] == pytest.approx(3 / 4)
    assert scores["entity_macro_precision"] == scores["entity_macro_recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert scores["relation_micro_precision"] == scores["relation_micro_recall"] == 1 / 2
    # Live_In: precision 1, recall 1/2, F1 2/3. Born_In: all 0. The macro F1 is the mean of the F1s.
    assert scores["relation_macro_precision"] == pytest.approx(1 / 2)
    assert scores["relation_macro_recall"] == pytest.approx(1 / 4)
    assert scores["relation_macro_f1"] == pytest.approx(1 / 3)


def test_wrong_entity_type_affects_only_the_strict_relation(metric: Any) -> None:
    prediction = document([ANNA, (4, 5, "Org"), TIMBER], (0, 1, "Live_In"), (0, 2, "Work_For"))
    assert f1(metric, prediction, REFERENCE) == [pytest.approx(2 / 3), 1 / 2, 1.0]


def test_wrong_boundary_affects_both_relation_scores(metric: Any) -> None:
    prediction = document([ANNA, (4, 6, "Loc"), TIMBER], (0, 1, "Live_In"), (0, 2, "Work_For"))
    assert f1(metric, prediction, REFERENCE) == [pytest.approx(2 / 3), 1 / 2, 1 / 2]


@pytest.mark.parametrize("relation", [(1, 0, "Live_In"), (0, 1, "Work_For")], ids=["direction", "type"])
def test_direction_and_relation_type_count(metric: Any, relation: tuple[int, int, str]) -> None:
    reference = document([ANNA, LUND], (0, 1, "Live_In"))
    assert f1(metric, document([ANNA, LUND], relation), reference) == [1.0, 0.0, 0.0]


def test_duplicates_count_once_on_either_side(metric: Any) -> None:
    once = document([ANNA, LUND], (0, 1, "Live_In"))
    twice = document([ANNA, LUND, LUND], (0, 1, "Live_In"), (0, 1, "Live_In"), (0, 2, "Live_In"))
    for prediction, reference in ((twice, once), (once, twice), (twice, twice)):
        scores = metric.compute(predictions=[prediction], references=[reference])
        assert scores["per_type"]["entity"]["Loc"]["support"] == 1
        assert scores["per_type"]["relation"]["Live_In"]["support"] == 1
        assert f1(metric, prediction, reference) == [1.0, 1.0, 1.0]


def test_relations_may_refer_to_either_copy_of_an_entity(metric: Any) -> None:
    first = document([ANNA, LUND, ANNA], (0, 1, "Live_In"))
    second = document([ANNA, LUND, ANNA], (2, 1, "Live_In"))
    assert f1(metric, first, second) == [1.0, 1.0, 1.0]


def test_one_span_with_two_types_is_two_entities_and_one_boundary_relation(metric: Any) -> None:
    reference = document([ANNA, LUND], (0, 1, "Live_In"))
    prediction = document([ANNA, LUND, (4, 5, "Org")], (0, 1, "Live_In"), (0, 2, "Live_In"))
    scores = metric.compute(predictions=[prediction], references=[reference])
    assert scores["entity_micro_precision"] == pytest.approx(2 / 3)
    assert scores["relation_micro_precision"] == 1 / 2
    assert scores["relation_boundary_micro_precision"] == 1.0


def test_the_order_of_entities_does_not_matter(metric: Any) -> None:
    prediction = document([TIMBER, LUND, ANNA], (2, 0, "Work_For"), (2, 1, "Live_In"))
    assert f1(metric, prediction, REFERENCE) == [1.0, 1.0, 1.0]


def test_equal_spans_of_different_documents_stay_apart(metric: Any) -> None:
    scores = metric.compute(predictions=[REFERENCE, EMPTY], references=[EMPTY, REFERENCE])
    assert all(scores[f"{task}_micro_f1"] == 0.0 for task in TASKS)


def test_empty_documents(metric: Any) -> None:
    full = metric.compute(predictions=[REFERENCE], references=[REFERENCE])
    assert metric.compute(predictions=[EMPTY, REFERENCE], references=[EMPTY, REFERENCE]) == full
    for predictions, references in (([], []), ([EMPTY], [EMPTY])):
        scores = metric.compute(predictions=predictions, references=references)
        assert scores.pop("per_type") == {task: {} for task in TASKS}
        assert set(scores.values()) == {0.0}
    only_predicted = metric.compute(predictions=[REFERENCE, REFERENCE], references=[EMPTY, REFERENCE])
    assert (only_predicted["entity_micro_precision"], only_predicted["entity_micro_recall"]) == (0.5, 1.0)
    only_expected = metric.compute(predictions=[EMPTY, REFERENCE], references=[REFERENCE, REFERENCE])
    assert (only_expected["entity_micro_precision"], only_expected["entity_micro_recall"]) == (1.0, 0.5)


def test_types_absent_from_one_side_count_in_the_macro_average(metric: Any) -> None:
    prediction = document([ANNA, (4, 5, "Other")], (0, 1, "Born_In"))
    reference = document([ANNA, LUND], (0, 1, "Live_In"))
    scores = metric.compute(predictions=[prediction], references=[reference])
    absent = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert scores["per_type"]["entity"]["Other"] == {**absent, "support": 0}
    assert scores["per_type"]["entity"]["Loc"] == {**absent, "support": 1}
    assert scores["entity_macro_f1"] == pytest.approx(1 / 3)
    assert scores["per_type"]["relation"] == scores["per_type"]["relation_boundary"]
    assert scores["per_type"]["relation"] == {
        "Born_In": {**absent, "support": 0},
        "Live_In": {**absent, "support": 1},
    }


def test_symmetric_relations(metric: Any) -> None:
    couple = [(0, 1, "Peop"), (3, 4, "Peop")]
    forward, backward = document(couple, (0, 1, "Married")), document(couple, (1, 0, "Married"))
    both = document(couple, (0, 1, "Married"), (1, 0, "Married"))
    assert f1(metric, backward, forward) == [1.0, 0.0, 0.0]
    assert f1(metric, backward, forward, symmetric_relations=["Other"]) == [1.0, 0.0, 0.0]
    for prediction, reference in ((backward, forward), (forward, backward), (both, forward), (backward, both)):
        assert f1(metric, prediction, reference, symmetric_relations=["Married"]) == [1.0, 1.0, 1.0]
    # Sorting the entities of a relation must keep their types.
    mixed = [(0, 1, "Peop"), (3, 4, "Loc")]
    prediction, reference = document(mixed, (1, 0, "Near")), document(mixed, (0, 1, "Near"))
    assert f1(metric, prediction, reference, symmetric_relations=["Near"]) == [1.0, 1.0, 1.0]


def test_symmetric_relations_of_entities_with_one_start_keep_their_order(metric: Any) -> None:
    nested = [(0, 1, "Loc"), (0, 3, "Org")]
    prediction, reference = document(nested, (1, 0, "Near")), document(nested, (0, 1, "Near"))
    assert f1(metric, prediction, reference, symmetric_relations=["Near"]) == [1.0, 0.0, 0.0]


# ----------------------------------------------------------------------------- ways to pass documents

PREDICTIONS = [
    document([ANNA, LUND], (0, 1, "Live_In")),
    EMPTY,
    document([ANNA, LUND, TIMBER], (0, 2, "Live_In")),
    document([(4, 5, "Org")]),
    REFERENCE,
]
REFERENCES = [REFERENCE, REFERENCE, document([LUND, ANNA], (1, 0, "Live_In")), EMPTY, REFERENCE]


def test_batches_and_single_documents_give_the_same_scores(tmp_path: Path) -> None:
    metric = evaluate.load(str(METRIC), cache_dir=str(tmp_path))
    scores = metric.compute(predictions=PREDICTIONS, references=REFERENCES)
    for first, last in ((0, 2), (2, 2), (2, 5)):
        metric.add_batch(predictions=PREDICTIONS[first:last], references=REFERENCES[first:last])
    assert metric.compute() == scores
    for prediction, reference in zip(PREDICTIONS, REFERENCES, strict=True):
        metric.add(prediction=prediction, reference=reference)
    assert metric.compute() == scores
    metric.add_batch(predictions=PREDICTIONS[:4], references=REFERENCES[:4])
    assert metric.compute(predictions=PREDICTIONS[4:], references=REFERENCES[4:]) == scores
    assert 0 < scores["relation_micro_f1"] < 1


def test_whole_documents_and_datasets_are_accepted(metric: Any) -> None:
    scores = metric.compute(predictions=PREDICTIONS, references=REFERENCES)
    predictions = [{**content, "id": str(number)} for number, content in enumerate(PREDICTIONS)]
    references = [
        {
            "id": f"r{number}",
            "text": "x",
            "tokens": ["x"] * number,
            "entities": [{**entity, "score": 0.5} for entity in content["entities"]],
            "relations": content["relations"],
        }
        for number, content in enumerate(REFERENCES)
    ]
    assert metric.compute(predictions=predictions, references=references) == scores
    assert metric.compute(predictions=iter(predictions), references=Dataset.from_list(references)) == scores
    metric.add(prediction=predictions[0], reference=references[0])
    assert metric.compute() == metric.compute(predictions=PREDICTIONS[:1], references=REFERENCES[:1])


SHARES = """
import json, sys
import evaluate
path, cache, shares, process_id, num_process = sys.argv[1:]
scores = []
for number, (predictions, references) in enumerate(json.loads(shares)):
    metric = evaluate.load(
        path,
        cache_dir=cache,
        experiment_id=f"run-{number}",
        process_id=int(process_id),
        num_process=int(num_process),
    )
    metric.add_batch(predictions=predictions, references=references)
    scores.append(metric.compute())
print(json.dumps(scores))
"""


def in_processes(shares: list[list[tuple[list[Document], list[Document]]]], directory: Path) -> list[Any]:
    """
    The results of `compute` in new processes, in another directory, with their own caches and without network.

    Args:
        shares: for each process, the predictions and references of successive evaluations.
    """
    offline = {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_HOME": str(directory / "home")}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | offline
    processes = []
    for number, share in enumerate(shares):
        arguments = [str(METRIC), str(directory / "cache"), json.dumps(share), str(number), str(len(shares))]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", SHARES, *arguments],
                cwd=directory,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return [json.loads(out) for out, _ in outputs]


def test_new_process_in_another_directory_and_offline(metric: Any, tmp_path: Path) -> None:
    scores = metric.compute(predictions=PREDICTIONS, references=REFERENCES)
    assert in_processes([[(PREDICTIONS, REFERENCES)]], tmp_path) == [[scores]]


def test_two_processes_give_the_same_as_one(metric: Any, tmp_path: Path) -> None:
    scores = metric.compute(predictions=PREDICTIONS, references=REFERENCES)
    first = [(PREDICTIONS[:2], REFERENCES[:2]), (PREDICTIONS, REFERENCES)]
    second = [(PREDICTIONS[2:], REFERENCES[2:]), ([], [])]
    assert in_processes([first, second], tmp_path) == [[scores, scores], [None, None]]


# ------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (document([ANNA], (0, 1, "Live_In")), "needs entity 1, but there are 1 entities"),
        (document([ANNA], (-1, 0, "Live_In")), "needs entity -1"),
        (document([(2, 2, "Loc")]), "0 <= start < end"),
        (document([(3, 2, "Loc")]), "0 <= start < end"),
        (document([(-1, 2, "Loc")]), "0 <= start < end"),
        ({"entities": []}, "no 'relations'"),
        ({"entities": [{"start": 0, "end": 1}], "relations": []}, "no 'type'"),
        ({"entities": [{"start": 0.0, "end": 1, "type": "Loc"}], "relations": []}, "'start' must be an integer"),
        ({"entities": [{"start": 0, "end": 1, "type": None}], "relations": []}, "'type' must be a string"),
        ({"entities": None, "relations": []}, "'entities' must be a list"),
        ({"entities": "none", "relations": []}, "'entities' must be a list"),
        ({"entities": [(0, 1, "Loc")], "relations": []}, "not a dictionary"),
        ("entities", "not a dictionary"),
    ],
)
def test_errors_name_the_document(metric: Any, wrong: Any, reason: str) -> None:
    metric.add_batch(predictions=[REFERENCE, EMPTY], references=[REFERENCE, EMPTY])
    good, bad = [REFERENCE, REFERENCE], [REFERENCE, wrong]
    with pytest.raises(ValueError, match=rf"prediction of document 3 .*{reason}"):
        metric.add_batch(predictions=bad, references=good)
    with pytest.raises(ValueError, match=rf"reference of document 3 .*{reason}"):
        metric.add_batch(predictions=good, references=bad)
    with pytest.raises(ValueError, match=rf"reference of document 2 .*{reason}"):
        metric.add(prediction=REFERENCE, reference=wrong)
    # Only the documents added before are kept.
    assert metric.compute()["per_type"]["entity"]["Loc"]["support"] == 1


def test_errors_quote_the_id_of_the_document(metric: Any) -> None:
    with pytest.raises(ValueError, match=r"document 0 .*'leaflet-7'"):
        metric.compute(predictions=[{"id": "leaflet-7", **document([(1, 1, "Loc")])}], references=[EMPTY])


def test_unequal_numbers_of_documents_are_an_error(metric: Any) -> None:
    with pytest.raises(ValueError, match="1 predictions and 3 references: document 1 has no prediction"):
        metric.compute(predictions=[EMPTY], references=[EMPTY] * 3)
    with pytest.raises(ValueError, match="document 0 has no reference"):
        metric.compute(predictions=[EMPTY], references=[])
    with pytest.raises(ValueError, match="Both predictions and references are required"):
        metric.compute(predictions=[EMPTY])


def test_symmetric_relations_as_one_string_are_an_error(tmp_path: Path) -> None:
    metric = evaluate.load(str(METRIC), cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"write \['Married'\]"):
        metric.compute(predictions=[REFERENCE], references=[REFERENCE], symmetric_relations="Married")
    assert f1(metric, EMPTY, REFERENCE) == [0.0, 0.0, 0.0]


# ---------------------------------------------------------------------------------- card and Space


def test_examples_in_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    result = doctest.testfile(str(METRIC / "README.md"), module_relative=False, encoding="utf-8")
    assert result.attempted > 15
    assert result.failed == 0


def test_space_scores_its_input(metric: Any) -> None:
    specification = importlib.util.spec_from_file_location("space", METRIC / "app.py")
    assert specification is not None and specification.loader is not None
    app = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(app)
    predictions, references = app.EXAMPLE_PREDICTIONS, app.EXAMPLE_REFERENCES
    expected = metric.compute(predictions=predictions, references=references, symmetric_relations=["Near", "Live_In"])
    assert app.scores(json.dumps(predictions), json.dumps(references), " Near, Live_In,") == expected
    with pytest.raises(ValueError, match="prediction of document 0"):
        app.scores("[{}]", json.dumps(references))
