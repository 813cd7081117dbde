"""The benchmarks run on a few sentences and print their tables; figures are not tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import REPOSITORY


EXTERNAL = REPOSITORY / "benchmarks" / "bundled_model" / "external_leaflets.jsonl"


@pytest.mark.parametrize(
    ("module", "arguments", "rows"),
    [
        (
            "speed.gpu",
            "--device cpu --documents 8 --batch_sizes 8 --repeats 1 --steps 1",
            ["float32, batch 8", "bfloat16, batch 8", "| SpERT | ", "| ISER | "],
        ),
        ("speed.formats", "--documents 8 --batch_sizes 8 --repeats 1", ["| float32 | ", "| ONNX | ", "| ONNX int8 | "]),
        (
            "speed.shares",
            f"{REPOSITORY / 'modeling_iser' / 'default_model'} --threads 1 --documents 8",
            ["| span context |", "first pass"],
        ),
        (
            "bundled_model.calibration",
            f"{REPOSITORY / 'modeling_iser' / 'default_model'} {EXTERNAL} --figure reliability.png",
            ["| external_leaflets | entity |", "| external_leaflets | relation |"],
        ),
        ("speed.costs", "--systems spert casrel --steps 24 --documents 6 --threads 1", ["| spert | ", "| casrel | "]),
        ("bundled_model.style", f"{EXTERNAL} {EXTERNAL}", ["external_leaflets.jsonl | 40 | 0.000 | 0.000 |"]),
    ],
)
def test_benchmark_prints_its_table(tmp_path: Path, module: str, arguments: str, rows: list[str]) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments.split()]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for row in rows:
        assert row in done.stdout
    for figure in re.findall(r"--figure (\S+)", arguments):
        assert (tmp_path / figure).stat().st_size > 5000
    # All rows of a table have the same number of cells.
    for block in re.findall(r"(?:^\|.*\|\n)+", done.stdout, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
