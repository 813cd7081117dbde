"""
Hooks for mkdocs: tables of options from the parsers of commands, and links to files in the repository.

A comment such as `<!-- options: iser-extract -->` is replaced by a table of the arguments of that command, which
`python docs/reference/generate.py iser-extract` also prints.
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
"""Command → the module that defines its parser."""

_OPTIONS = re.compile(r"^<!-- options: (.+) -->$", re.MULTILINE)
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s:#]+)((?:#[^()\s]*)?)\)")


def parser_of(command: str) -> argparse.ArgumentParser:
    """
    The parser of a command.

    Raises:
        KeyError: if the command is unknown.
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
    """Name → parser of each subcommand of a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options_table(command: str) -> str:
    """The arguments of a command as a Markdown table, or a section for each of its subcommands."""
    parser = parser_of(command)
    subcommands = subparsers(parser)
    if not subcommands:
        return _table(parser)
    summaries = {
        choice.dest: choice.help or ""
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for choice in action._choices_actions
    }
    parts = []
    for name, subcommand in subcommands.items():
        about = summaries.get(name, "")
        about = f"{about[0].upper()}{about[1:].rstrip('.')}." if about else ""
        parts.append(f"### {command.split()[-1]} {name}\n\n{about}\n\n{_table(subcommand)}")
    return "\n\n".join(parts)


def _table(parser: argparse.ArgumentParser) -> str:
    rows = [f"| {name} | {meaning} |" for name, meaning in _arguments(parser)]
    return "\n".join(["| argument | meaning |", "|---|---|", *rows]) if rows else "It takes no arguments."


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        if any(name.startswith("--no_") for name in action.option_strings):  # the negation of a switch
            continue
        # List options that can be written with underscores or hyphens only once.
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
    # Remove the default that the formatter adds if the help text states it itself.
    return re.sub(r" ?\(default: [^()]*\)$", "", text) if "default: " in text.rpartition("(default: ")[0] else text


# ------------------------------------------------------------------------------------------------ mkdocs


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Insert the tables, and redirect links that leave the documentation to the repository."""

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
    """Redirect a link out of the documentation to the repository's web site, or replace it by the path of the file."""
    text, target, anchor = match.groups()
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), target))
    if path.startswith("docs/") or path == "docs":
        return match[0]
    if repository:
        return f"[{text}]({repository.rstrip('/')}/blob/HEAD/{path}{anchor})"
    return text if path in text else f"{text} (`{path}`)"


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Remove the brackets of cross-references such as [`Name`] in docstrings, which mkdocs does not resolve."""
    return re.sub(r"\[(<code>[^<]*</code>)\]", r"\1", html) if page.file.src_uri.endswith("api.md") else html


if __name__ == "__main__":
    for name in sys.argv[1:] or COMMANDS:
        print(f"## {name}\n\n{options_table(name)}\n")
