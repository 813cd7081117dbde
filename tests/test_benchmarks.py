"""The benchmarks run, on a few sentences; what they measure is no matter of a test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import REPOSITORY


EXTERNAL = REPOSITORY / "benchmarks" / "external_leaflets.jsonl"


@pytest.mark.parametrize(
    ("module", "arguments", "rows"),
    [
        (
            "gpu",
            "--device cpu --documents 8 --batch_sizes 8 --repeats 1 --steps 1",
            ["float32, batch 8", "bfloat16, batch 8", "| SpERT | ", "| ISER | "],
        ),
        ("formats", "--documents 8 --batch_sizes 8 --repeats 1", ["| float32 | ", "| ONNX | ", "| ONNX int8 | "]),
        (
            "shares",
            f"{REPOSITORY / 'modeling_iser' / 'default_model'} --threads 1 --documents 8",
            ["| span context |", "first pass"],
        ),
        (
            "calibration",
            f"{REPOSITORY / 'modeling_iser' / 'default_model'} {EXTERNAL} --figure reliability.png",
            ["| external_leaflets | entity |", "| external_leaflets | relation |"],
        ),
        ("style", f"{EXTERNAL} {EXTERNAL}", ["external_leaflets.jsonl | 40 | 0.000 | 0.000 |"]),
    ],
)
def test_a_table_comes_out(tmp_path: Path, module: str, arguments: str, rows: list[str]) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments.split()]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for row in rows:
        assert row in done.stdout
    for figure in re.findall(r"--figure (\S+)", arguments):
        assert (tmp_path / figure).stat().st_size > 5000
    # Every row of a table has as many cells as its head.
    for block in re.findall(r"(?:^\|.*\|\n)+", done.stdout, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
