"""Prepare docstrings for mkdocstrings: a heading such as `Args (of a call):` becomes a sentence and `Args:`."""

from __future__ import annotations

import re
from typing import Any

import griffe


class PlainSections(griffe.Extension):
    """Removes text in brackets from headings."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = plain_sections(obj.docstring.value)


def plain_sections(docstring: str) -> str:
    """A docstring whose section names are known to its parser."""

    def plain(match: re.Match[str]) -> str:
        return f"{match[1]}Arguments {match[2]}{match[3]}.\n\n{match[1]}Args:"

    return re.sub(r"^( *)Args \((.*)\)([^()\n]*):$", plain, docstring, flags=re.MULTILINE)
