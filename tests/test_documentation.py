"""
The documentation is correct: its Python code runs, its commands and options exist, its outputs are reproduced.

Python blocks, and commands that take seconds, run page by page, from top to bottom, each page in its own directory. A
`text` block directly below another block is its output; scores are compared to the second decimal. A block that cannot
run has a line `<!-- not run: reason -->` above it, and becomes a test that is skipped for that reason.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import importlib.util
import io
import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import transformers
import yaml

import datasets_scripts.__main__
import graph_iser.command_line
import modeling_iser.command_line
import train
from modeling_iser import DEFAULT_MODEL

from .conftest import REPOSITORY


READMES = [REPOSITORY / "README.md", REPOSITORY / "README.zh.md"]
PAGES = [*READMES, *sorted(REPOSITORY.glob("docs/*.md")), *sorted(REPOSITORY.glob("docs/reference/*.md"))]
RUN_BY_OTHER_TESTS = {
    "graph.md": "the page contains its three leaflets",
    "serving.md": "it starts servers",
    "scale.md": "it starts clusters",
}
"""Pages whose own tests supply what they need; here their commands are only parsed."""

_MARKER = re.compile(r"<!--\s*not run(?P<colon>:?)\s*(?P<reason>.*?)\s*-->$")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_NUMBER = re.compile(r"\d+\.\d+")


@dataclass
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    code: str
    output: str | None = None
    reason: str | None = None
    """Why the block is not run."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


@functools.cache
def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; output blocks belong to the block above."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    index, end_of_last = 0, -1
    while index < len(lines):
        if not lines[index].startswith("```"):
            index += 1
            continue
        start, language = index, lines[index].removeprefix("```").strip()
        index = next(i for i in range(start + 1, len(lines)) if lines[i] == "```") + 1
        code = "\n".join(lines[start + 1 : index - 1])
        directly_below = found and end_of_last >= 0 and not "".join(lines[end_of_last:start]).strip()
        if language == "text" and directly_below:
            found[-1].output = code
            continue
        marker = _MARKER.match(lines[start - 1]) if start else None
        found.append(Block(page, start + 1, language, code, reason=marker["reason"] if marker else None))
        end_of_last = index
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
NOT_RUN = [block for block in BLOCKS if block.reason is not None]


# ---------------------------------------------------------------------------------------------- commands


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block as lists of words, without redirections."""
    for line in block.code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = list(lexer)
        for separator, group in itertools.groupby(words, lambda word: word in ("|", "&&", ";", "||", "&")):
            command = list(itertools.takewhile(lambda word: word not in (">", ">>", "<", "2>"), group))
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                command.pop(0)
            if command and not separator:
                yield command


def program(command: list[str]) -> tuple[str, list[str]]:
    """The program of a command (`iser-…`, `-m module`, the path of a script, or the first word) and its arguments."""
    name = Path(command[0]).name
    if name == "accelerate":
        first = next(i for i, word in enumerate(command) if word == "-m" or word.endswith(".py"))
        command, name = ["python", *command[first:]], "python"
    if re.fullmatch(r"python[\d.]*", name) and len(command) > 1:
        if command[1] == "-m":
            return f"-m {command[2]}", command[3:]
        return command[1], command[2:]
    return name, command[1:]


@functools.cache
def generator() -> ModuleType:
    """The script that generates the command reference."""
    path = REPOSITORY / "docs" / "reference" / "generate.py"
    spec = importlib.util.spec_from_file_location("documentation_generate", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def parser_of(name: str) -> argparse.ArgumentParser | None:
    """The parser of a program, if the command reference describes it."""
    parser: argparse.ArgumentParser | None = None
    command = f"python {name}" if name.startswith("-m ") else name
    if command in generator().COMMANDS:
        parser = generator().parser_of(command)
    return parser


@functools.cache
def option_strings(path: Path) -> set[str]:
    """The options in the source code of a program."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {value for value in constants if isinstance(value, str) and value.startswith("--")}


@functools.cache
def extras() -> set[str]:
    """The names of the package's extras."""
    tree = ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8"))
    (call,) = (node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "extras_require")
    assert isinstance(call.value, ast.Dict)
    return {key.value for key in call.value.keys if isinstance(key, ast.Constant)}


def check(command: list[str]) -> None:
    """Fail if the program or one of its options does not exist."""
    name, arguments = program(command)
    if name in ("train.py", "iser-train", "-m training_iser.train"):
        if "--help" not in arguments:
            train.parse_settings(arguments)
    elif (parser := parser_of(name)) is not None:
        if "--help" not in arguments:
            parser.parse_args(arguments)
    elif name.startswith("-m ") or name.endswith(".py"):
        module = name.removeprefix("-m ")
        path = REPOSITORY / (module if name.endswith(".py") else module.replace(".", "/") + ".py")
        package = module.partition(".")[0]
        if not (path.is_file() or (REPOSITORY / package).is_dir()) and importlib.util.find_spec(package) is not None:
            return  # a module of an installed package
        assert path.is_file(), f"there is no {path}"
        options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
        assert options <= option_strings(path), f"{path} has no {sorted(options - option_strings(path))}"
    elif name == "pip":
        for names in (match[1] for word in arguments if (match := re.search(r"\[(.+)\]", word))):
            assert set(names.split(",")) <= extras()
    elif name == "make":
        targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(arguments) <= set(targets)
    else:
        assert not name.startswith("iser-"), f"there is no command {name}"


def run(command: list[str]) -> None:
    """Run a command that takes seconds; ignore all others."""
    name, arguments = program(command)
    if name == "iser-extract":
        assert modeling_iser.command_line.main([*arguments, "--quiet"]) == 0
    elif name == "iser-graph":
        assert graph_iser.command_line.main(arguments) == 0
    elif name == "-m datasets_scripts":
        assert datasets_scripts.__main__.main(arguments) in ((0, 2) if arguments[0] == "check" else (0,))


# ------------------------------------------------------------------------------------------------- tests


def assert_alike(printed: str, documented: str) -> None:
    """Compare printed and documented output; decimal fractions to the second decimal."""
    assert _NUMBER.sub("#", printed).split() == _NUMBER.sub("#", documented).split(), printed
    numbers = [[float(number) for number in _NUMBER.findall(text)] for text in (printed, documented)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.011), printed


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with links to the folders of the repository that pages read from."""
    for name in ("recipes", "modeling_iser", "datasets_scripts", "evaluate_iser", "benchmarks"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.chdir(tmp_path)
    # Loading the model for every page and command would be slow.
    monkeypatch.setattr(transformers, "pipeline", load)
    return tmp_path


_load: Any = transformers.pipeline
_loaded: dict[str, Any] = {}


def load(*arguments: Any, **keywords: Any) -> Any:
    """`transformers.pipeline`, cached by its arguments."""
    key = repr((arguments, sorted(keywords.items(), key=str)))
    if key not in _loaded:
        _loaded[key] = _load(*arguments, **keywords)
    return _loaded[key]


@pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in RUN_BY_OTHER_TESTS and any(b.reason is None for b in blocks(page))],
    ids=lambda page: page.name,
)
def test_code_of_a_page_runs(page: Path, workplace: Path) -> None:
    names: dict[str, Any] = {"__name__": "documentation"}
    for block in blocks(page):
        printed = io.StringIO()
        if block.reason is not None or block.language not in ("python", "bash"):
            continue
        with contextlib.redirect_stdout(printed):
            if block.language == "python":
                # Tracebacks give the line numbers of the page.
                exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
            else:
                for command in commands(block):
                    run(command)
        if block.output is not None:
            assert_alike(printed.getvalue(), block.output)


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_skipped_blocks_give_a_reason(block: Block) -> None:
    assert block.reason and len(block.reason) > 10, f"{block}: <!-- not run: why? -->"
    pytest.skip(f"{block}: {block.reason}")


def test_markers_are_above_blocks() -> None:
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        markers = [index for index, line in enumerate(lines) if re.match(r"<!--\s*not run", line)]
        for index in markers:
            assert _MARKER.match(lines[index]), f"{page}, line {index + 1}"
            assert lines[index + 1].startswith("```"), f"{page}, line {index + 1}: no block below it"
        assert len(markers) == sum(block.reason is not None for block in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    for block in blocks(page):
        for command in commands(block) if block.language in ("bash", "shell", "console") else ():
            try:
                check(command)
            except (SystemExit, ValueError, AssertionError, OSError) as error:
                pytest.fail(f"{block}: {shlex.join(command)}: {error}")


def test_python_blocks_are_python() -> None:
    for block in BLOCKS:
        if block.language == "python":
            compile(block.code.replace("…", "..."), str(block), "exec")


@pytest.mark.parametrize(
    "page", [*PAGES, REPOSITORY / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(REPOSITORY))
)
def test_links_are_valid(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in _LINK.findall(re.sub(r"`[^`]*`", "", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), f"{page}: {target}"
        if anchor and path.name != "command_line.md":
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page}: {target}"


def test_readmes_agree_and_are_short() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in READMES)
    assert len(english.splitlines()) <= 120
    assert "not for clinical" in english.lower() and "不得用于临床" in chinese
    assert "(README.zh.md)" in english and "(README.md)" in chinese

    def code(page: Path) -> list[str]:
        return [re.sub(r"\s+#.*", "", block.code) for block in blocks(page)]

    assert code(READMES[0]) == code(READMES[1])
    for figures in (r"\d+\.\d+(?: ± \d+\.\d+)?", r"\]\(([^)]+\.md)"):
        ours, theirs = (set(re.findall(figures, text)) for text in (english, chinese))
        assert ours - {"README.zh.md"} == theirs - {"README.md"}


def test_every_page_is_in_the_navigation() -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    settings = yaml.load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), Loader)

    def files(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values() if isinstance(entry, dict) else entry:
                yield from files(below)

    listed = list(files(settings["nav"]))
    assert sorted(listed) == sorted(str(page.relative_to(REPOSITORY / "docs")) for page in PAGES[len(READMES) :])
    assert settings["theme"]["font"] is False


def test_command_reference_is_complete() -> None:
    page = (REPOSITORY / "docs" / "reference" / "command_line.md").read_text(encoding="utf-8")
    commands_of_page = re.findall(r"^<!-- options: (.+) -->$", page, flags=re.MULTILINE)
    assert set(commands_of_page) == set(generator().COMMANDS)
    for command in commands_of_page:
        if importlib.util.find_spec(generator().COMMANDS[command].partition(".")[0]) is None:
            continue
        table = generator().options_table(command)
        parser = generator().parser_of(command)
        for one in generator().subparsers(parser).values() or (parser,):
            known = [name for action in one._actions for name in action.option_strings if name.startswith("--")]
            # Names that differ only in hyphens are listed once.
            listed = {name.replace("-", "_") for name in re.findall(r"`(--[\w-]+)`", table)}
            wanted = {name.replace("-", "_") for name in known if not name.startswith(("--no_", "--no-"))}
            assert wanted - {"__help"} <= listed, command
        assert len([line for line in table.splitlines() if line.startswith("|")]) > 3


def test_links_out_of_the_documentation() -> None:
    match = generator()._LINK.search("see [the card](../datasets_scripts/ch_ddi/README.md#figures)")
    link = generator().repository_link
    assert link(match, "corpus.md", "https://host/iser/") == (
        "[the card](https://host/iser/blob/HEAD/datasets_scripts/ch_ddi/README.md#figures)"
    )
    assert link(match, "corpus.md", None) == "the card (`datasets_scripts/ch_ddi/README.md`)"
    inside = generator()._LINK.search("[settings](../training.md)")
    assert link(inside, "reference/api.md", None) == "[settings](../training.md)"


def test_commands_of_a_block_are_parsed_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Block(
        REPOSITORY / "README.md", 1, "bash", "A=1 echo x | iser-extract - \\\n  --drug y  # why\npython -m a.b --c > d"
    )
    assert list(commands(page)) == [["echo", "x"], ["iser-extract", "-", "--drug", "y"], ["python", "-m", "a.b", "--c"]]
    assert program(["accelerate", "launch", "--num_processes", "2", "train.py", "x.yaml"]) == ("train.py", ["x.yaml"])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for wrong in (
        "iser-extract a.txt --colour red",
        "iser-dance",
        "python -m benchmarks.bundled_model.rules --colour",
        "python -m benchmarks.dance",
        "make tea",
    ):
        with pytest.raises((SystemExit, AssertionError)):
            check(wrong.split())
