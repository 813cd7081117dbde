"""Read the commands and Python code of documentation pages, and run them."""

from __future__ import annotations

import re
import shlex

import datasets_scripts.__main__
import train
from modeling_iser.command_line import main

from .conftest import REPOSITORY


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in `docs`."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """The lines of a page's shell blocks, as arguments."""
    return [shlex.split(line) for block in blocks(page, "bash") for line in block.splitlines()]


def execute(command: list[str]) -> int:
    """Run a command of a page in this process, which has imported everything already, and return its exit code."""
    if command[0] == "iser-extract":
        return main([*command[1:], "--quiet"])
    assert command[0] == "python"
    if command[1:3] == ["-m", "datasets_scripts"]:
        return datasets_scripts.__main__.main(command[3:])
    assert command[1] == "train.py"
    train.train(train.parse_settings(command[2:]))
    return 0
