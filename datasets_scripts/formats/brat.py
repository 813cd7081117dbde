"""
brat standoff: a directory with a `.txt` and an `.ann` file for each document, with character offsets.

    7.txt   Anna lives in Lund.
    7.ann   T1	Peop 0 4	Anna
            T2	Loc 14 18	Lund
            R1	Live_In Arg1:T1 Arg2:T2

Events, attributes, normalisations and notes are dropped and counted, because documents cannot hold them.
Discontinuous entities are errors, because the model cannot find them.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

from ..documents import BrokenRecordError, Document, read_text
from ..words import Relation, Span, character_spans, document_of_text, has_own_words
from .records import Read


logger = logging.getLogger(__name__)

_DROPPED = {
    "E": "events",
    "A": "attributes",
    "M": "attributes",
    "N": "normalisations",
    "#": "notes",
    "*": "equivalences",
}
_ENTITY = re.compile(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)")
_RELATION = re.compile(r"(\S+) \S+:(T\S+) \S+:(T\S+)\s*")


def recognises(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*.ann"))


def read(path: Path) -> Read:
    dropped: Counter[str] = Counter()
    for file in sorted(path.glob("*.ann")):
        text_file = file.with_suffix(".txt")
        try:
            if not text_file.is_file():
                raise ValueError(f"there is no {text_file.name} beside it.")
            text = read_text(text_file)
            entities, relations = _annotations(read_text(file), text, dropped)
            yield file.name, document_of_text(unquote(file.stem), text, entities, relations)
        except BrokenRecordError as error:
            yield file.name, ValueError(str(error))
        except ValueError as error:
            yield file.name, error
    for name in sorted({path.name for path in path.glob("*.txt")} - {f"{p.stem}.txt" for p in path.glob("*.ann")}):
        yield name, ValueError("there is no .ann file beside it; add an empty one if the text has no entities.")
    if dropped:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(dropped.items()))
        logger.warning("%s: dropped what documents cannot hold: %s.", path, counts)


def _annotations(content: str, text: str, dropped: Counter[str]) -> tuple[list[Span], list[Relation]]:
    entities: list[Span] = []
    place: dict[str, int] = {}
    links: list[tuple[int, str, str, str]] = []
    for number, line in enumerate(content.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        if name.startswith("T"):
            place[name] = len(entities)
            entities.append(_entity(number, name, rest, text))
        elif name.startswith("R"):
            match = _RELATION.fullmatch(rest)
            if match is None:
                raise ValueError(f"line {number}: {line!r:.60} is not a relation such as R1<tab>Type Arg1:T1 Arg2:T2.")
            links.append((number, match[1], match[2], match[3]))
        elif name[:1] in _DROPPED:
            dropped[_DROPPED[name[0]]] += 1
        else:
            raise ValueError(f"line {number}: {line!r:.60} is not a brat annotation.")
    for number, _, *ends in links:
        for end in ends:
            if end not in place:
                raise ValueError(f"line {number}: the relation refers to {end}, which the file does not have.")
    return entities, [(place[head], place[tail], kind) for _, kind, head, tail in links]


def _entity(number: int, name: str, rest: str, text: str) -> Span:
    type_and_offsets, _, expected = rest.partition("\t")
    match = _ENTITY.fullmatch(type_and_offsets.strip())
    if match is None:
        raise ValueError(
            f"line {number}: {name} needs a type and offsets such as 'Loc 14 18', not {type_and_offsets!r:.60}."
        )
    if ";" in match[2]:
        raise ValueError(
            f"line {number}: {name} ({expected!r:.60}) is discontinuous ({match[2]}). The model finds contiguous "
            "entities only: make it one piece, or remove it."
        )
    start, end = map(int, match[2].split(" "))
    found = text[start:end]
    if not found or (expected and "".join(found.split()) != "".join(expected.split())):
        raise ValueError(f"line {number}: {name} is {expected!r:.60}, but the text at {start}:{end} is {found!r:.60}.")
    return start, end, match[1]


def write(documents: Iterable[Document], path: Path) -> dict[str, int]:
    path.mkdir(parents=True, exist_ok=True)
    lost: Counter[str] = Counter()
    for document in documents:
        name = quote(document["id"], safe="") or "%"
        if any(re.search(r"\s", item["type"]) for item in (*document["entities"], *document["relations"])):
            raise ValueError(f"document {document['id']!r}: brat labels cannot contain whitespace.")
        lines = [
            f"T{index}\t{kind} {start} {end}\t{' '.join(document['text'][start:end].split())}\n"
            for index, (start, end, kind) in enumerate(character_spans(document), 1)
        ]
        lines += [
            f"R{index}\t{relation['type']} Arg1:T{relation['head'] + 1} Arg2:T{relation['tail'] + 1}\n"
            for index, relation in enumerate(document["relations"], 1)
        ]
        lost["custom word segmentations"] += has_own_words(document)
        for suffix, content in ((".txt", document["text"]), (".ann", "".join(lines))):
            (path / f"{name}{suffix}").write_text(content, encoding="utf-8", newline="")
    return {kind: count for kind, count in lost.items() if count}
