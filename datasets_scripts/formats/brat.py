"""
brat's standoff: a directory with a `.txt` file and an `.ann` file for each document, offsets counting characters.

    7.txt   Anna lives in Lund.
    7.ann   T1	Peop 0 4	Anna
            T2	Loc 14 18	Lund
            R1	Live_In Arg1:T1 Arg2:T2

Events, attributes, normalisations and notes are counted and left out: documents have no place for them. An entity in
several pieces is refused, since the model finds none.
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

_LEFT_OUT = {
    "E": "events",
    "A": "attributes",
    "M": "attributes",
    "N": "normalisations",
    "#": "notes",
    "*": "relations *",
}
_ENTITY = re.compile(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)")
_RELATION = re.compile(r"(\S+) \S+:(T\S+) \S+:(T\S+)\s*")


def recognises(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*.ann"))


def read(path: Path) -> Read:
    left_out: Counter[str] = Counter()
    for file in sorted(path.glob("*.ann")):
        text_file = file.with_suffix(".txt")
        try:
            if not text_file.is_file():
                raise ValueError(f"there is no {text_file.name} beside it.")
            text = read_text(text_file)
            entities, relations = _annotations(read_text(file), text, left_out)
            yield file.name, document_of_text(unquote(file.stem), text, entities, relations)
        except BrokenRecordError as error:
            yield file.name, ValueError(str(error))
        except ValueError as error:
            yield file.name, error
    for name in sorted({path.name for path in path.glob("*.txt")} - {f"{p.stem}.txt" for p in path.glob("*.ann")}):
        yield name, ValueError("there is no .ann file beside it; an empty one says that it holds no entity.")
    if left_out:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
        logger.warning("%s: %s have no place in a document and are left out.", path, counts)


def _annotations(content: str, text: str, left_out: Counter[str]) -> tuple[list[Span], list[Relation]]:
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
                raise ValueError(f"line {number}: {line!r:.60} is no relation such as R1<tab>Type Arg1:T1 Arg2:T2.")
            links.append((number, match[1], match[2], match[3]))
        elif name[:1] in _LEFT_OUT:
            left_out[_LEFT_OUT[name[0]]] += 1
        else:
            raise ValueError(f"line {number}: {line!r:.60} is no annotation of brat's.")
    for number, _, *ends in links:
        for end in ends:
            if end not in place:
                raise ValueError(f"line {number}: the relation refers to {end}, which the file does not have.")
    return entities, [(place[head], place[tail], kind) for _, kind, head, tail in links]


def _entity(number: int, name: str, rest: str, text: str) -> Span:
    what, _, reads = rest.partition("\t")
    match = _ENTITY.fullmatch(what.strip())
    if match is None:
        raise ValueError(f"line {number}: {name} has no type and offsets such as 'Loc 14 18', but {what!r:.60}.")
    if ";" in match[2]:
        raise ValueError(
            f"line {number}: {name} ({reads!r:.60}) lies in several pieces, {match[2]}. The model finds connected "
            "entities alone: make it one piece, or leave it out."
        )
    start, end = map(int, match[2].split(" "))
    read = text[start:end]
    if not read or (reads and "".join(read.split()) != "".join(reads.split())):
        raise ValueError(f"line {number}: {name} {reads!r:.60} reads {read!r:.60} at {start}:{end}.")
    return start, end, match[1]


def write(documents: Iterable[Document], path: Path) -> dict[str, int]:
    path.mkdir(parents=True, exist_ok=True)
    lost: Counter[str] = Counter()
    for document in documents:
        name = quote(document["id"], safe="") or "%"
        if any(re.search(r"\s", item["type"]) for item in (*document["entities"], *document["relations"])):
            raise ValueError(f"document {document['id']!r}: brat's labels cannot hold blanks.")
        lines = [
            f"T{index}\t{kind} {start} {end}\t{' '.join(document['text'][start:end].split())}\n"
            for index, (start, end, kind) in enumerate(character_spans(document), 1)
        ]
        lines += [
            f"R{index}\t{relation['type']} Arg1:T{relation['head'] + 1} Arg2:T{relation['tail'] + 1}\n"
            for index, relation in enumerate(document["relations"], 1)
        ]
        lost["documents whose words are split in a way of their own"] += has_own_words(document)
        for suffix, content in ((".txt", document["text"]), (".ann", "".join(lines))):
            (path / f"{name}{suffix}").write_text(content, encoding="utf-8", newline="")
    return {what: count for what, count in lost.items() if count}
