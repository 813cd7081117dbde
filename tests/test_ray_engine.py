"""`iser-extract --engine ray` with two workers gives the rows of the local engine, even if processes are killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow import parquet
from pyarrow import table as arrow_table

from modeling_iser.command_line import main

from .conftest import REPOSITORY


pytestmark = pytest.mark.cluster

PART = 12
"""Lines per part: few, so that a short input has many parts."""

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    if find_spec("ray") is None:
        pytest.skip("needs ray")
    from modeling_iser.ray_engine import cluster

    with cluster(workers=2):  # Sets variables that Ray reads on import.
        import ray

        yield ray


@pytest.fixture
def run(chinese_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("modeling_iser.ray_engine.PART", PART)

    def call(*arguments: Any) -> tuple[int, str]:
        code = main([*map(str, arguments), "--model", str(chinese_model), "--quiet"])
        return code, capsys.readouterr().err

    return call


def sentences(count: int) -> list[str]:
    return [f"{index}:乙增强本品" for index in range(count)]


def without_scores(value: Any, scores: list[float]) -> Any:
    """Move scores from a value to the list, because they depend slightly on the batch."""
    if isinstance(value, dict):
        scores += [item for key, item in value.items() if key == "score"]
        return {key: without_scores(item, scores) for key, item in value.items() if key != "score"}
    return [without_scores(item, scores) for item in value] if isinstance(value, list) else value


def check_same_rows(found: list[Any], expected: list[Any]) -> None:
    scores: tuple[list[float], list[float]] = ([], [])
    rows = [
        sorted((json.dumps(without_scores(row, []), sort_keys=True), position) for position, row in enumerate(side))
        for side in (found, expected)
    ]
    assert [text for text, _ in rows[0]] == [text for text, _ in rows[1]]
    for side, order, of_side in zip((found, expected), rows, scores, strict=True):
        for _, position in order:
            without_scores(side[position], of_side)
    assert scores[0] == pytest.approx(scores[1], abs=2e-4)


def wait_for(condition: Callable[[], Any]) -> Any:
    for _ in range(15_000):
        if found := condition():
            return found
        time.sleep(0.02)
    raise TimeoutError("the condition was not met in time")


def busy_worker() -> psutil.Process | None:
    """A worker process of this test's cluster that is working on a part."""
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::MapWorker(MapBatches(_Worker)).submit"):
            return process
    return None


@pytest.mark.usefixtures("ray")
def test_killed_worker_neither_loses_nor_repeats_results(run: Run, tmp_path: Path) -> None:
    lines, table = tmp_path / "in.jsonl", tmp_path / "in.csv"
    good = [json.dumps({"text": text}) for text in sentences(360)]
    lines.write_text("\n".join([*good[:7], "{", '"a\\ud83d b"', "", *good[7:]]), encoding="utf-8")
    with table.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["text"], *([text.replace(":", ":\n")] for text in sentences(10))])
    local, output = tmp_path / "local.jsonl", tmp_path / "ray.jsonl"
    code, reports = run(lines, table, "--drug", "甲片", "--output", local)
    assert code == 2

    parts = tmp_path / "ray.jsonl.parts"

    def kill() -> int:
        wait_for(lambda: list(parts.glob("part-*")))
        victim = wait_for(busy_worker)
        victim.send_signal(signal.SIGKILL)
        victim.wait(60)
        return len(list(parts.glob("part-*")))

    with ThreadPoolExecutor() as executor:
        killed = executor.submit(kill)
        code, err = run(lines, table, "--drug", "甲片", "--output", output, "--engine", "ray", "--workers", 2)
    assert killed.result() < (362 + 10) // PART  # The worker was killed before the last part.
    assert code == 2
    assert sorted(line for line in err.splitlines() if "iser-extract" in line) == sorted(reports.splitlines())
    assert [part for part in ("line 8: not JSON", "line 9: Character 1 is an unpaired") if part not in err] == []
    results = [[json.loads(line) for line in path.open(encoding="utf-8")] for path in (output, local)]
    places = [[(row["source"], row["line"]) for row in rows] for rows in results]
    assert places[0] == places[1]  # Parts are joined in the order of the input.
    check_same_rows(*results)
    assert not parts.exists()


def test_killed_run_is_resumed(ray: Any, run: Run, chinese_model: Path, tmp_path: Path) -> None:
    path, local, output = tmp_path / "in.parquet", tmp_path / "local.parquet", tmp_path / "results"
    parquet.write_table(arrow_table({"sentence": [*sentences(360), None]}), path)
    options = [str(path), "--text-column", "sentence", "--drug", "甲片"]
    assert run(*options, "--output", local)[0] == 2
    options += ["--output", str(output), "--engine", "ray", "--workers", "2"]
    program = (
        "import sys; from modeling_iser import command_line, ray_engine; "
        f"ray_engine.PART = {PART}; command_line.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, *options, "--model", str(chinese_model), "--quiet"]
    environment = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_ADDRESS": ray.get_runtime_context().gcs_address
    }  # fmt: skip
    process = subprocess.Popen(command, env=environment)

    def begun() -> dict[Path, int]:
        assert process.poll() is None
        return {part: part.stat().st_mtime_ns for part in output.glob("part-*")}

    wait_for(begun)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = {part: part.stat().st_mtime_ns for part in output.glob("part-*")}
    assert 0 < len(left) < 31
    assert not (output / "_SUCCESS").exists()

    code, err = run(*options)
    assert (code, "Continue with --resume" in err) == (1, True)
    code, err = run(*options, "--resume", "--relation-threshold", 0.3)
    assert (code, "started with a different relation_threshold" in err) == (1, True)
    code, err = run(*options, "--resume")
    assert code == 2
    assert f"{path}, line 361: 'sentence' must be a string" in err
    assert {part: part.stat().st_mtime_ns for part in left} == left
    assert len(list(output.glob("part-*"))) == 31
    check_same_rows(parquet.read_table(output).to_pylist(), parquet.read_table(local).to_pylist())
    code, err = run(*options, "--resume")
    assert (code, "is complete" in err) == (2, True)


@pytest.mark.usefixtures("ray")
def test_error_for_a_missing_column(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    parquet.write_table(arrow_table({"id": ["乙"]}), path)
    code, err = run(path, "--output", tmp_path / "out.jsonl", "--engine", "ray", "--workers", 1)
    assert code == 1
    assert f"iser-extract: {path}: no column 'text'; the columns are id" in err
    assert "iser-extract: Traceback" not in err


@pytest.mark.usefixtures("ray")
def test_note_if_nothing_is_found(chinese_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.txt"
    path.write_text("乙增强本品\n丙\n", encoding="utf-8")
    command = [str(path), "--engine", "ray", "--workers", "1", "--model", str(chinese_model)]
    assert main([*command, "--output", str(tmp_path / "found.jsonl")]) == 0
    assert "no relation was found" not in capsys.readouterr().err
    assert main([*command, "--output", str(tmp_path / "none.jsonl"), "--relation-threshold", "1"]) == 0
    err = capsys.readouterr().err
    assert "iser-extract: no relation was found in 2 texts." in err and "only with --drug" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "--output", "x.jsonl", "--engine", "ray"], "not standard input"),
        ([__file__, "--input-format", "txt", "--engine", "ray"], "needs --output"),
        ([__file__, "--input-format", "txt", "--workers", "2"], "need --engine ray"),
        ([__file__, "--input-format", "txt", "--engine", "ray", "--output", "x", "--workers", "0"], "at least 1"),
        ([__file__, "--input-format", "txt", "--engine", "ray", "--output", "x", "--format", "doccano"], "a directory"),
        ([__file__, "--input-format", "txt", "--engine", "ray", "--output", "x", "--html", "x.html"], "need a file"),
    ],
)
def test_wrong_options(run: Run, arguments: list[str], message: str) -> None:
    code, err = run(*arguments)
    assert code == 1
    assert message in err


def test_without_ray(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, err = run(__file__, "--input-format", "txt", "--engine", "ray", "--output", tmp_path / "out")
    assert code == 1
    assert 'pip install "iser[ray]"' in err
    assert not (tmp_path / "out").exists()
