"""
Messages that the commands share: about packages that are not installed, and about arguments that are options here.

`datasets_scripts` and `graph_iser` link to this file, because importing `modeling_iser` loads torch.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def extra(name: str, command: str | None = None) -> Iterator[None]:
    """
    Import packages that one of the extras installs.

    Args:
        name: the extra.
        command: the command that cannot run without these packages; `None` in a library.

    Raises:
        ImportError: if a package is not installed and there is no `command`; the message names the extra.
        SystemExit: if a package is not installed and there is a `command`: it prints the message and exits with code 2.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or importlib.util.find_spec(package) is not None:
            raise  # The package is installed without this module: a defect, which no extra mends.
        message = f'{package} is not installed; pip install "iser[{name}]" installs it.'
        if command is None:
            raise ImportError(message, name=package) from error
        print(f"{command}: {message}", file=sys.stderr)
        raise SystemExit(2) from None


def in_options(message: str, options: Mapping[str, str]) -> str:
    """
    An error message about Python arguments in terms of a command's options.

    Args:
        message: in which an argument stands as `name=value`.
        options: name of the argument → option.
    """

    def option(match: re.Match[str]) -> str:
        return f"{options[match['name']]} {match['value'] or ''}" if match["name"] in options else match[0]

    return re.sub(r"""\b(?P<name>\w+)=(?:(?P<quote>['"])(?P<value>.*?)(?P=quote))?""", option, message)


__all__ = ["extra", "in_options"]
