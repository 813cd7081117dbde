"""What all commands share: a missing package is told in one sentence, and errors name options."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import train
from modeling_iser.commands import extra, in_options

from .conftest import REPOSITORY


MODULE = "import runpy; runpy.run_module('{}', run_name='__main__', alter_sys=True)"
SCRIPT = "import runpy; runpy.run_path('{}', run_name='__main__')"
ENTRY_POINT = "from {} import main; sys.exit(main())"


@pytest.mark.parametrize(
    ("start", "target", "arguments", "package", "command", "extra"),
    [
        (SCRIPT, "train.py", ["recipes/conll04.yaml"], "accelerate", "train.py", "train"),
        (SCRIPT, "train.py", ["--help"], "datasets", "train.py", "train"),
        (ENTRY_POINT, "training_iser.train", [], "evaluate", "iser-train", "train"),
        (MODULE, "training_iser.train", [], "accelerate", "train.py", "train"),
        (MODULE, "datasets_scripts", ["check", "recipes/demo/corpus"], "datasets", None, "corpus"),
        (MODULE, "datasets_scripts.ch_ddi", ["check"], "datasets", None, "corpus"),
        (MODULE, "datasets_scripts.ch_ddi", ["baselines"], "sklearn", None, "corpus"),
        (ENTRY_POINT, "serving_iser.command_line", [], "fastapi", "iser-serve", "serve"),
    ],
)
def test_a_command_says_which_package_it_lacks(
    start: str, target: str, arguments: list[str], package: str, command: str | None, extra: str
) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; {start.format(target)}"
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=REPOSITORY, capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    name = command or f"python -m {target}"
    assert ran.stderr == f'{name}: {package} is not installed; pip install "iser[{extra}]" installs it.\n'
    assert (ran.returncode, ran.stdout) == (2, "")


def test_a_library_raises_what_a_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "abacus", None)
    says = r'abacus is not installed; pip install "iser\[graph\]" installs it'
    with pytest.raises(ImportError, match=says) as error, extra("graph"):
        importlib.import_module("abacus.beads")
    assert error.value.name == "abacus"


def test_a_defect_is_not_taken_for_a_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"modeling_iser\.abacus"), extra("graph", "iser-graph"):
        importlib.import_module("modeling_iser.abacus")


def test_python_arguments_become_options() -> None:
    options = {"on_error": "--on-error", "format": "--from", "drug": "--drug"}
    for message, expected in [
        ('(on_error="skip" lists them.)', "(--on-error skip lists them.)"),
        ("format=spert|jsonl (see there)", "--from spert|jsonl (see there)"),
        ("drug='a drug': no", "--drug a drug: no"),
        ("drug=['甲']: no", "--drug ['甲']: no"),
        ("format= names it", "--from names it"),
        ("the format of a drug, other=3", "the format of a drug, other=3"),
    ]:
        assert in_options(message, options) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: --on_error skip leaves broken records out"),
        (["--format", "brat"], ""),
        (["--encoder", "nowhere/at/all"], ""),
    ],
)
def test_training_names_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a", "spo_list": [{}]}\n', encoding="utf-8")
    settings = ["--dataset", "corpus", "--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["train.py", *settings, "--encoder", "x", *arguments])
    with pytest.raises(SystemExit) as error:
        train.main()
    assert isinstance(error.value.code, str) and error.value.code.startswith("error: ")
    assert message.removeprefix("error: ") in error.value.code and "=" not in error.value.code
