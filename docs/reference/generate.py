"""
Hooks of mkdocs: tables of options from the commands' parsers, and links to files of the repository.

A comment such as `<!-- options: iser-extract -->` becomes the arguments of that command, which
`python docs/reference/generate.py iser-extract` prints.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTATION = REPOSITORY / "docs"

COMMANDS = {
    "iser-extract": "modeling_iser.command_line",
    "iser-graph": "graph_iser.command_line",
    "iser-serve": "serving_iser.command_line",
    "iser-train": "training_iser.train",
    "python -m datasets_scripts": "datasets_scripts.__main__",
    "python -m datasets_scripts.ch_ddi": "datasets_scripts.ch_ddi.__main__",
}
"""Commands, and the modules whose parsers they use."""

_OPTIONS = re.compile(r"^<!-- options: (.+) -->$", re.MULTILINE)
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s:#]+)((?:#[^()\s]*)?)\)")


def parser_of(command: str) -> argparse.ArgumentParser:
    """
    The parser of a command.

    Raises:
        KeyError: for a command that is not known.
    """
    if str(REPOSITORY) not in sys.path:
        sys.path.insert(0, str(REPOSITORY))
    module = importlib.import_module(COMMANDS[command])
    if hasattr(module, "Settings"):
        from transformers import HfArgumentParser

        return HfArgumentParser(module.Settings, prog=command)
    parser: argparse.ArgumentParser = module._parser()
    return parser


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's own commands, by name; none where it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options_table(command: str) -> str:
    """The arguments of a command as Markdown; of one with commands of its own, a section for each."""
    parser = parser_of(command)
    below = subparsers(parser)
    if not below:
        return _table(parser)
    summaries = {
        choice.dest: choice.help or ""
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for choice in action._choices_actions
    }
    parts = []
    for name, one in below.items():
        about = summaries.get(name, "")
        about = f"{about[0].upper()}{about[1:].rstrip('.')}." if about else ""
        parts.append(f"### {command.split()[-1]} {name}\n\n{about}\n\n{_table(one)}")
    return "\n\n".join(parts)


def _table(parser: argparse.ArgumentParser) -> str:
    rows = [f"| {name} | {meaning} |" for name, meaning in _arguments(parser)]
    return "\n".join(["| argument | meaning |", "|---|---|", *rows]) if rows else "It takes no arguments."


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        if any(name.startswith("--no_") for name in action.option_strings):  # the other half of a switch
            continue
        # Settings may be written with hyphens too; once is enough.
        names = {name.replace("-", "_"): name for name in reversed(action.option_strings)}.values()
        shown_names = ", ".join(f"`{name}`" for name in reversed(names)) or f"`{action.metavar or action.dest}`"
        meaning = _help(parser, action)
        if action.choices is not None and not isinstance(action, argparse._SubParsersAction):
            choices = ", ".join(f"`{choice}`" for choice in action.choices)
            meaning = f"{meaning}{'; ' if meaning else ''}one of {choices}"
        if isinstance(action.default, (int, float, str, Path)) and action.default not in ("", False, argparse.SUPPRESS):
            shown = Path(action.default).name if isinstance(action.default, Path) else action.default
            if "default" not in meaning.lower():
                meaning = f"{meaning}{'; ' if meaning else ''}default: `{shown}`"
        if action.required and action.option_strings:
            meaning += " (required)"
        yield shown_names, meaning.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").strip()


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    text = re.sub(r" ?\(default: (?:None|\[\])\)", "", " ".join(text.split()))
    # Where a help text names the default itself, what the formatter adds is twice the same.
    return re.sub(r" ?\(default: [^()]*\)$", "", text) if "default: " in text.rpartition("(default: ")[0] else text


# ------------------------------------------------------------------------------------------------ mkdocs


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the tables, and point what links out of the documentation to the repository."""

    def table(match: re.Match[str]) -> str:
        module = COMMANDS[match[1]].partition(".")[0]
        if importlib.util.find_spec(module) is None:
            return ""
        return options_table(match[1])

    if str(REPOSITORY) not in sys.path:
        sys.path.insert(0, str(REPOSITORY))
    markdown = _OPTIONS.sub(table, markdown)
    return _LINK.sub(lambda match: repository_link(match, page.file.src_uri, config.extra.get("repository")), markdown)


def repository_link(match: re.Match[str], source: str, repository: str | None) -> str:
    """A link to a file outside the documentation: to the repository's web site if that is known, else its path."""
    text, target, anchor = match.groups()
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), target))
    if path.startswith("docs/") or path == "docs":
        return match[0]
    if repository:
        return f"[{text}]({repository.rstrip('/')}/blob/HEAD/{path}{anchor})"
    return text if path in text else f"{text} (`{path}`)"


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Docstrings name classes as [`Name`]; here the brackets would only be brackets."""
    return re.sub(r"\[(<code>[^<]*</code>)\]", r"\1", html) if page.file.src_uri.endswith("api.md") else html


if __name__ == "__main__":
    for name in sys.argv[1:] or COMMANDS:
        print(f"## {name}\n\n{options_table(name)}\n")
