"""
Messages that the commands share: about packages that are not installed, about arguments that are options here, and
about models that are not there.

`datasets_scripts` and `graph_iser` link to this file, because importing `modeling_iser` loads torch.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


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
        message: in which an argument stands as `name=value`, or as `name=` without its value.
        options: name of the argument → option.
    """

    def option(match: re.Match[str]) -> str:
        if match["name"] not in options:
            return match[0]
        value = match["value"] or ""
        return f"{options[match['name']]} {value}" if value or match["more"] else options[match["name"]]

    pattern = r"""\b(?P<name>\w+)=(?:(?P<quote>['"])(?P<value>.*?)(?P=quote)|(?=(?P<more>[^\s.,;:)])))?"""
    return re.sub(pattern, option, message)


_OWNER = r"[A-Za-z0-9][A-Za-z0-9_.-]*/"
_HUB_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


def check_model_place(name: str, argument: str, bare: bool = False) -> None:
    """
    Refuse what can be neither the directory of a model nor a name on the Hub, before the Hub is asked for it.

    Args:
        argument: the argument with this value.
        bare: whether the name may lack an owner, as `bert-base-cased` does.

    Raises:
        FileNotFoundError: if there is no such directory, and the name is none that the Hub could know.
        ValueError: if it is a file, or a directory without `config.json`.
    """
    path, given = Path(name), f"{argument}={name!r}"
    if path.is_file():
        raise ValueError(f"{given} is a file. Name the directory of a model.")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{given} is not a model: it has no config.json.")
    else:
        possible = re.fullmatch(rf"({_OWNER}){'?' if bare else ''}{_HUB_NAME}", name)
        if not possible or (possible[1] and path.parent.is_dir()):
            raise FileNotFoundError(f"{given}: there is no such directory.")


__all__ = ["check_model_place", "extra", "in_options"]
