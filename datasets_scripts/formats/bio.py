"""
Tagged words in columns (CoNLL): one word per line with its tag in the last column, and an empty line after each
sentence. Entities only, no relations.

    Anna B-Peop
    lives O
    in O
    Lund B-Loc
    . O

BIO (every entity begins with B), IOB1 (B only where an entity directly follows another one of its type), and BIOES or
BILOU are distinguished by the tags of the whole file. Lines that begin with `-DOCSTART-`, or that begin with `#` and do
not end with a tag, are ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..documents import Document, read_text
from ..words import Span, document_of_words
from .records import Read


_SUFFIXES = (".bio", ".conll", ".iob", ".tsv", ".txt", ".tags", ".bioes")
_TAG = re.compile(r"O|[BIESLU]-.+")
_STARTS, _ENDS = "BSU", "ESLU"

Line = tuple[int, str, str]
"""Line number, word and tag."""


def recognises(path: Path) -> bool:
    if path.suffix not in _SUFFIXES or not path.is_file():
        return False
    try:
        lines = [_columns(line) for _, line in _lines(path)][:50]
    except ValueError:
        return False
    return bool(lines) and all(
        len(columns) > 1 and _TAG.fullmatch(columns[-1].strip()) for columns in lines if "".join(columns).strip()
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_text(path).replace("\r\n", "\n").split("\n"), 1):
        comment = line.startswith("#") and not _TAG.fullmatch(_columns(line)[-1].strip())
        if not (comment or line.startswith("-DOCSTART-")):
            yield number, line


def _columns(line: str) -> list[str]:
    """The columns of a line, split at tabs if it has any, so that labels may contain spaces."""
    return line.split("\t") if "\t" in line else line.split()


def _sentences(path: Path) -> Iterator[list[Line] | tuple[int, ValueError]]:
    sentence: list[Line] = []
    broken: tuple[int, ValueError] | None = None
    for number, line in [*_lines(path), (0, "")]:
        columns = _columns(line)
        if not line.strip():
            if broken is not None:
                yield broken
            elif sentence:
                yield sentence
            sentence, broken = [], None
        elif len(columns) < 2 or not columns[0].strip() or not _TAG.fullmatch(columns[-1].strip()):
            broken = broken or (
                number, ValueError(f"{line!r:.60} is not a word with a tag (O, B-…, I-…) in the last column.")
            )  # fmt: skip
        else:
            sentence.append((number, columns[0], columns[-1].strip()))


def read(path: Path) -> Read:
    sentences = list(_sentences(path))
    tagged = [sentence for sentence in sentences if isinstance(sentence, list)]
    starts_with_inside = not _all_begin(tagged)
    for position, sentence in enumerate(sentences, 1):
        if isinstance(sentence, tuple):
            yield f"line {sentence[0]}", sentence[1]
            continue
        try:
            entities = list(_entities(sentence, starts_with_inside))
            tokens = [word for _, word, _ in sentence]
            yield f"line {sentence[0][0]}", document_of_words(f"{path.stem}-{position}", tokens, entities, [])
        except ValueError as error:
            yield f"line {sentence[0][0]}", error


def entities_of(tokens: Sequence[str], tags: Sequence[str]) -> list[Span]:
    """
    The entities of a sentence's tags, in any of the schemes.

    Raises:
        ValueError: if a tag is invalid.
    """
    if wrong := [tag for tag in tags if not _TAG.fullmatch(tag)]:
        raise ValueError(f"{wrong[0]!r} is not a tag (O, B-…, I-…).")
    sentence = [(number, word, tag) for number, (word, tag) in enumerate(zip(tokens, tags, strict=True), 1)]
    return list(_entities(sentence, starts_with_inside=True))


def _all_begin(sentences: Iterable[Sequence[Line]]) -> bool:
    """
    Whether every entity must begin with B (or S or U). It need not in IOB1, that is, if every B directly follows
    another entity of its type.
    """
    not_iob1 = 0
    for sentence in sentences:
        before = "O"
        for _, _, tag in sentence:
            if tag[0] in "ESLU":
                return True
            not_iob1 += tag[0] == "B" and before[2:] != tag[2:]
            before = tag
    return not_iob1 > 0


def _entities(sentence: Sequence[Line], starts_with_inside: bool) -> Iterator[Span]:
    start: int | None = None
    kind = ""
    for index, (number, word, tag) in enumerate([*sentence, (0, "", "O")]):
        continues = tag[0] in "IEL" and start is not None and tag[2:] == kind
        if start is not None and not continues:
            yield start, index, kind
            start = None
        if tag[0] in "IEL" and not continues and not (tag[0] == "I" and starts_with_inside):
            raise ValueError(f"line {number}: {word!r} has the tag {tag}, but does not continue an entity {tag[2:]}.")
        if tag != "O" and not continues:
            start, kind = index, tag[2:]
        if start is not None and tag[0] in _ENDS:
            yield start, index + 1, kind
            start = None


def write(documents: Iterable[Document], path: Path) -> dict[str, int]:
    lost: Counter[str] = Counter()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for document in documents:
            if any(re.search(r"\s", token) for token in document["tokens"]):
                raise ValueError(f"document {document['id']!r}: a word that contains whitespace cannot be a column.")
            tags = ["O"] * len(document["tokens"])
            for entity in document["entities"]:
                if set(tags[entity["start"] : entity["end"]]) != {"O"}:
                    lost["overlapping entities"] += 1
                    continue
                inside = [f"I-{entity['type']}"] * (entity["end"] - entity["start"] - 1)
                tags[entity["start"] : entity["end"]] = [f"B-{entity['type']}", *inside]
            lost["relations"] += len(document["relations"])
            lost["document ids"] += 1
            lost["texts that are not their words joined by spaces"] += document["text"] != " ".join(document["tokens"])
            file.writelines(f"{word}\t{tag}\n" for word, tag in zip(document["tokens"], tags, strict=True))
            file.write("\n")
    return {kind: count for kind, count in lost.items() if count}
