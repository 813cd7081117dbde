"""The runner of the paper's comparison: outcomes, significance, tables."""

from __future__ import annotations

import fcntl
import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.comparison.outcomes import f1, outcomes, paired_bootstrap, precision, recall, spans, triples
from benchmarks.comparison.paper import PAPER
from benchmarks.figures import plots
from benchmarks.figures.tables import SYSTEMS, read_results, tables
from benchmarks.reproduce import EXCEPTIONS, PROFILES, SETTINGS, arguments_of, main, settings_of
from datasets_scripts import load_ch_ddi
from modeling_iser import VARIANTS
from train import load_splits, parse_settings

from .conftest import DOCUMENTS


ROOT = Path(__file__).resolve().parent.parent


def test_outcomes_agree_with_the_metric() -> None:
    import evaluate

    from train import METRIC

    predictions: list[dict[str, Any]] = [
        {"entities": d["entities"][:-1], "relations": [r for r in d["relations"] if max(r["head"], r["tail"]) < 2]}
        for d in DOCUMENTS
    ]
    rows = outcomes(DOCUMENTS, predictions)
    scores = evaluate.load(METRIC).compute(predictions=predictions, references=DOCUMENTS)
    assert 0 < f1(rows, 1) < 100
    for task, name in enumerate(("entity", "relation")):
        assert f1(rows, task) == pytest.approx(100 * scores[f"{name}_micro_f1"])
        assert precision(rows, task) == pytest.approx(100 * scores[f"{name}_micro_precision"])
        assert recall(rows, task) == pytest.approx(100 * scores[f"{name}_micro_recall"])


def rows(right: float, count: int = 100, seed: int = 0) -> list[list[int]]:
    generator = random.Random(seed)
    return [[hit := int(generator.random() < right), 1, 1, hit, 1, 1] for _ in range(count)]


def test_bootstrap_of_clear_and_no_differences() -> None:
    better, worse = [rows(0.9), rows(0.9, seed=1)], [rows(0.6, seed=2), rows(0.6, seed=3)]
    assert paired_bootstrap(better, worse, task=1, samples=200) < 0.01
    assert paired_bootstrap(worse, better, task=1, samples=200) > 0.99
    same = [rows(0.8, seed=seed) for seed in range(2)]
    assert paired_bootstrap(same, same, task=0, samples=50) == 1.0


def test_bootstrap_equals_a_literal_one() -> None:
    first, second = [rows(0.75, 40), rows(0.8, 40, 1)], [rows(0.7, 40, 2), rows(0.72, 40, 3)]
    generator = random.Random(0)
    not_better = 0
    for _ in range(4000):
        drawn = generator.choices(range(40), k=40)
        means = [sum(f1([run[i] for i in drawn], 0) for run in runs) / 2 for runs in (first, second)]
        not_better += means[0] <= means[1]
    assert paired_bootstrap(first, second, task=0, samples=4000) == pytest.approx(not_better / 4000, abs=0.03)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_f1_by_its_definition(right: int, wrong: int, missed: int) -> None:
    found, there = right + wrong, right + missed
    precision, recall = right / found if found else 0, right / there if there else 0
    expected = 200 * precision * recall / (precision + recall) if precision + recall else 0
    assert f1([[right, found, there, 0, 0, 0]], 0) == pytest.approx(expected)


def test_tables_show_seeds_and_the_papers_figures() -> None:
    results = [
        {
            "dataset": "conll04",
            "encoder": "bert",
            "system": system,
            "seed": seed,
            "outcomes": rows(right, 30, seed),
            "flat_outcomes": rows(right, 30, seed + 9),
            "scores": {"entity_macro_f1": 0.5, "relation_macro_f1": 0.25},
            "seconds": 60,
        }
        for system, right in (("iser", 0.9), ("spert", 0.5))
        for seed in range(2)
    ]
    text = tables(results[:3])
    assert "### conll04, bert\n" in text
    scores, details = (cells_of(line) for line in text.splitlines() if line.startswith("| spert |"))
    assert scores[1] == f"{f1(results[2]['outcomes'], 0):.2f} (1)"
    assert float(scores[3].split(" / ")[0].removeprefix("<")) < 0.05
    assert scores[4] == "86.74 / 68.31"
    assert scores[5] == f"{f1(results[2]['flat_outcomes'], 0):.2f} (1)"
    assert scores[-1] == "1.0"
    parts = [f"{score(results[2]['outcomes'], 0):.2f}" for score in (precision, recall, f1)]
    assert details[1] == " / ".join(parts)
    assert details[3:] == ["86.69 / 86.79 / 86.74", "72.31 / 64.72 / 68.31", "50.00 / 25.00"]
    assert "neither gives the printed F1" in text
    iser = cells_of(next(line for line in text.splitlines() if line.startswith("| iser |")))
    assert "±" in iser[1]
    assert iser[1].endswith("(2)")


def test_no_significance_for_systems_scored_on_other_sentences() -> None:
    common = {"dataset": "conll04", "encoder": "bert", "seed": 0, "seconds": None}
    common["scores"] = {"entity_macro_f1": 0.5, "relation_macro_f1": 0.25}
    results = [
        {**common, "system": system, "outcomes": rows(0.5, count), "flat_outcomes": rows(0.5, count)}
        for system, count in (("iser", 30), ("spert", 20))
    ]
    spert = cells_of(next(line for line in tables(results).splitlines() if line.startswith("| spert |")))
    assert spert[3] == "–"


@pytest.mark.parametrize("dataset", SETTINGS)
@pytest.mark.parametrize("profile", PROFILES)
def test_systems_differ_only_in_their_learning_rates(profile: str, dataset: str) -> None:
    iser = settings_of(profile, dataset, "iser", 0)
    for system in SYSTEMS:
        other = settings_of(profile, dataset, system, 0)
        differing = {name for name in {*iser, *other} if iser.get(name) != other.get(name)}
        assert differing <= {"system", "learning_rate", "new_layers_learning_rate"}


def test_exceptions_of_a_system_on_a_data_set_take_precedence() -> None:
    assert {profile for profile, _ in EXCEPTIONS} <= PROFILES.keys()
    assert {word for _, part in EXCEPTIONS for word in part.split()} <= {*SETTINGS, *SYSTEMS}
    rates = [
        settings_of("short", dataset, system, 0)["learning_rate"]
        for dataset, system in (("conll04", "iser"), ("conll04", "spert"), ("ch_ddi", "spert"))
    ]
    assert rates == [2e-4, 5e-4, 2e-4]


def test_development_runs_do_not_use_the_test_split() -> None:
    values = settings_of("short", "ch_ddi_development", "iser", 2)
    settings = parse_settings(arguments_of({**values, "encoder": "…", "output_dir": "…"}))
    training, held_out, tests, _ = load_splits(settings)
    assert not tests
    assert held_out is not None
    assert sorted([*training["id"], *held_out["id"]]) == sorted(load_ch_ddi()["train"]["id"])


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_papers_figures_agree_with_each_other() -> None:
    assert all(set(VARIANTS) <= set(figures) <= set(SYSTEMS) for figures in PAPER.values())
    complete = [
        (dataset, system, *map(float, figures.split(" / ")))
        for dataset, systems in PAPER.items()
        for system, both in systems.items()
        for figures in both
        if " / " in figures
    ]
    assert len(complete) == 37
    differing = [row[:2] for row in complete if abs(2 * row[2] * row[3] / (row[2] + row[3]) - row[4]) > 0.011]
    assert sorted(differing) == [("ch_ddi", "graphrel_2p"), ("ch_ddi", "iser")], "as footnotes say"


@pytest.mark.parametrize("directory", sorted(p.name for p in (ROOT / "benchmarks" / "results").iterdir() if p.is_dir()))
def test_tables_of_the_comparison_match_its_results(directory: str) -> None:
    comparison = (ROOT / "benchmarks" / "comparison.md").read_text(encoding="utf-8")
    results = read_results(ROOT / "benchmarks" / "results" / directory)
    for run in results:
        for task, name in enumerate(("entity", "relation")):
            assert f1(run["outcomes"], task) == pytest.approx(100 * run["scores"][f"{name}_micro_f1"])
    blocks = tables(results).split("\n\n")
    expected = [block for block in blocks if block.startswith("|")]
    assert len(expected) >= 2
    assert not [block for block in expected if block not in comparison]


def found(documents: list[dict[str, Any]], score: float = 1.0) -> list[dict[str, Any]]:
    return [
        {
            "words": len(d["tokens"]),
            "entities": d["entities"],
            "relations": [{**r, "score": score} for r in d["relations"]],
        }
        for d in documents
    ]


def test_scores_by_width_length_and_threshold() -> None:
    gold = found(DOCUMENTS)
    for values in plots.scores_by_bucket(gold, gold, 0.4).values():
        assert {value for value in values if not math.isnan(value)} == {100.0}
    below = plots.scores_by_bucket(gold, found(DOCUMENTS, score=0.3), 0.4)
    assert {value for value in below["relations by sentence length"] if not math.isnan(value)} == {0.0}
    assert 100.0 in below["entities by sentence length"]
    # No sentence of the documents has 50 words.
    assert all(math.isnan(below[f"{task} by sentence length"][-1]) for task in ("entities", "relations"))


def test_confusion_counts_every_gold_and_predicted_label_once() -> None:
    gold, other = found(DOCUMENTS), found(DOCUMENTS)
    changed = next(d for d in other if d["entities"])
    before, changed["entities"] = changed["entities"], [dict(e) for e in changed["entities"]]
    changed["entities"][0]["type"] = "Other" if before[0]["type"] != "Other" else "Peop"
    labels, counts = plots.confusion(gold, other, 0.4)["entities"]
    total = sum(len(spans(d)) for d in gold)
    assert sum(map(sum, counts)) == total
    assert sum(counts[i][i] for i in range(len(labels))) == total - 1
    assert counts[labels.index(before[0]["type"])][labels.index(changed["entities"][0]["type"])] == 1
    labels, counts = plots.confusion(gold, [{**d, "relations": []} for d in gold], 0.4)["relations"]
    assert sum(row[-1] for row in counts) == sum(len(triples(d)) for d in gold)


def test_quick_run_gives_tables_and_is_not_repeated(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.reproduce", "--output", str(tmp_path), "--datasets", "ch_ddi"]
    command += ["--systems", "iser", "--set", "num_epochs=1", "max_train_documents=8", "max_evaluation_documents=4"]

    def reproduce() -> str:
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    first = reproduce()
    name = "iser max_evaluation_documents=4 max_train_documents=8 num_epochs=1"
    assert sum(line.startswith(f"| {name} |") for line in first.splitlines()) == 2
    run = tmp_path / "quick" / "ch_ddi" / "encoder" / name / "seed-0"
    changed = (run / "result.json").stat().st_mtime_ns
    assert not (run / "run").exists()
    result = json.loads((run / "result.json").read_text())
    for free, flat in zip(result["outcomes"], result["flat_outcomes"], strict=True):
        assert flat[1] <= free[1], "predicted entities"
        assert flat[2] == free[2], "gold entities"
    assert len(result["outcomes"]) == 4
    documents = json.loads((run / "documents.json").read_text())
    assert len(documents["predictions"]) == 4
    assert all(sum(row) == pytest.approx(1, abs=0.01) for row in documents["attention"]["entity"])
    assert reproduce() == first
    assert (run / "result.json").stat().st_mtime_ns == changed
    (run / "result.json").unlink()
    with (run / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "another process is working on it" in held.stderr
    assert not (run / "result.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "dropout"], "NAME=VALUE"),
        (["--set", "system=spert"], "system is chosen by"),
        (["--set", "drop_out=0.2"], "Did you mean 'dropout'?"),
        (["--set", "num_epochs=many"], "invalid int value: 'many'"),
        (["--set", "validation_fraction=0.1"], "validation_fraction is chosen by"),
        (["--jobs", "0"], "at least 1"),
        (["--profile", "small"], "--encoder is required"),
    ],
)
def test_wrong_options_are_errors_before_the_first_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--output", str(tmp_path / "runs"), *arguments])
    with pytest.raises(SystemExit) as exit_code:
        main()
    assert exit_code.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/*/*"))


def test_failing_run_does_not_stop_the_others(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/reproduce.py", "--output", str(tmp_path), "--datasets", "ch_ddi"]
    command += ["--systems", "spert", "no_fusion", "--jobs", "2"]
    command += ["--set", "num_epochs=1", "max_train_documents=8", "max_evaluation_documents=4"]
    name = "no_fusion max_evaluation_documents=4 max_train_documents=8 num_epochs=1"
    broken = tmp_path / "quick" / "ch_ddi" / "encoder" / name / "seed-0" / "run"
    broken.parent.mkdir(parents=True)
    broken.write_text("a file where the run wants a directory")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no_fusion" in done.stderr
    assert "1 of 2 runs failed" in done.stderr
    assert "| spert max_evaluation_documents=4" in done.stdout
    broken.unlink()
    broken.mkdir()
    again = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    row = next(line for line in again.splitlines() if line.startswith("| no_fusion"))
    assert cells_of(row)[-1] == "–", "the minutes of a run that was interrupted"


def test_figures_from_results(tmp_path: Path) -> None:
    weights = [[0.5, 0.5], [0.9, 0.1]]
    attention = {"words": ["Lund", "."], "entity": weights, "relation": weights}
    sides = {"references": found(DOCUMENTS), "predictions": found(DOCUMENTS, 0.5), "attention": attention}
    for system in ("spert", "iser", "iser dropout=0.3", "lc_to_cls"):
        run = tmp_path / "conll04" / "bert" / system / "seed-0"
        run.mkdir(parents=True)
        (run / "documents.json").write_text(json.dumps(sides))
        result = {
            "dataset": "conll04",
            "encoder": "bert",
            "system": system,
            "seed": 0,
            "settings": {"dropout": system.partition("=")[2]} if "=" in system else {},
            "outcomes": [[2, 3, 2, 1, 1, 2]],
            "losses": [[10, 1.0], [20, 0.5]],
        }
        (run / "result.json").write_text(json.dumps(result))
    files = plots.draw_all(tmp_path)
    names = {file.stem.removeprefix("conll04-bert-") for file in files}
    assert names == plots.FIGURES_OF_RESULTS.keys() | plots.FIGURES_OF_DOCUMENTS.keys()
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    for documents in tmp_path.rglob("documents.json"):
        documents.unlink()
    names = {file.stem.removeprefix("conll04-bert-") for file in plots.draw_all(tmp_path)}
    assert names == set(plots.FIGURES_OF_RESULTS)
