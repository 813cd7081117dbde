"""The wheel, installed without the repository."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import REPOSITORY


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the contents of the wheel."""
    pytest.importorskip("setuptools", reason="a wheel is built with setuptools, which this environment lacks")
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place)]
    copy = place / "source"
    aside = shutil.ignore_patterns(".git", ".venv", "runs", "build", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(REPOSITORY, copy, symlinks=True, ignore=aside)
    subprocess.run([*command, str(copy)], check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "installed")
    return place / "installed"


def test_only_our_packages_are_installed(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names <= {
        "baselines", "datasets_scripts", "evaluate_iser", "graph_iser", "modeling_iser", "serving_iser", "training_iser"
    }  # fmt: skip


def test_every_command_starts_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    scripts = configparser.ConfigParser()
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    scripts.read(entry_points)
    assert set(scripts["console_scripts"]) >= {"iser-extract", "iser-graph", "iser-train"}
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for name, target in scripts["console_scripts"].items():
        module, _, function = target.partition(":")
        program = f"import sys, {module} as m; assert m.__file__.startswith({str(installed)!r}); m.{function}()"
        ran = subprocess.run(
            [sys.executable, "-c", program, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, f"{name}: {ran.stderr}"
        assert "usage:" in ran.stdout.lower(), name


def test_wheel_contains_the_whole_bundled_model(installed: Path, tmp_path: Path) -> None:
    """The repository links the model's code; the wheel must contain the files themselves."""
    program = (
        "from modeling_iser import DEFAULT_MODEL; from transformers import AutoModel;"
        "model = AutoModel.from_pretrained(DEFAULT_MODEL, trust_remote_code=True);"
        "print(type(model).__name__, DEFAULT_MODEL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("IserForJointExtraction") and str(installed) in ran.stdout
