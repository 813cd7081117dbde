"""
Files of annotated sentences: the annotators' short form, the paper's JSON lines, doccano and Label Studio.

Readers yield `(place, sentence or error)` for every record of a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..documents import BrokenRecord
from ..formats import doccano, label_studio, spo
from ..formats.records import records
from ..words import Annotations
from .records import AnnotatedSentence, check_relation_type


Read = Iterator[tuple[str, AnnotatedSentence | ValueError]]


def from_names(record: Any) -> AnnotatedSentence:
    """
    A sentence from the annotators' short form `{"text", "entities": [name], "relations": [[head, relation, tail]]}`.

    Names are in the order of the text. Among the entities, `X` means the first occurrence of X after the previous
    entity; in a relation, the first entity with the text X. `X#2` means the second occurrence of X in the whole text.

    Raises:
        ValueError: if a name does not occur, or a relation refers to a drug that is not among the entities.
    """
    if not isinstance(record, dict) or not {"text", "entities", "relations"} <= record.keys():
        raise ValueError(f"an annotation needs 'text', 'entities' and 'relations', unlike {record!r:.60}.")
    text: str = record["text"]
    entities: list[tuple[int, int]] = []
    end = 0
    for name in record["entities"]:
        drug, number = _split_name(name)
        start = _occurrence(text, drug, number) if number else text.find(drug, end)
        if start < end:
            raise ValueError(f"the drug {name!r} is not in the text after character {end}; the text is {text!r}.")
        end = start + len(drug)
        entities.append((start, end))

    def index(name: str) -> int:
        drug, number = _split_name(name)
        for position, (start, end) in enumerate(entities):
            if text[start:end] == drug and (number is None or start == _occurrence(text, drug, number)):
                return position
        raise ValueError(f"the drug {name!r} of a relation is not among the entities of {text!r}.")

    relations = [(index(head), index(tail), check_relation_type(kind)) for head, kind, tail in record["relations"]]
    return AnnotatedSentence.of(text, entities, relations)


def to_names(sentence: AnnotatedSentence) -> dict[str, Any]:
    """The annotators' short form of a sentence; a name is numbered only if it would mean another mention otherwise."""
    names, previous_end = [], 0
    for index, (start, end) in enumerate(sentence.entities):
        drug = sentence.drug(index)
        numbered = f"{drug}#{_number(sentence.text, drug, start)}"
        names.append(drug if sentence.text.find(drug, previous_end) == start and "#" not in drug else numbered)
        previous_end = end

    def argument(index: int) -> str:
        drug = sentence.drug(index)
        first = next(i for i in range(len(names)) if sentence.drug(i) == drug)
        start = sentence.entities[index][0]
        return drug if index == first and "#" not in drug else f"{drug}#{_number(sentence.text, drug, start)}"

    relations = [[argument(head), relation, argument(tail)] for head, tail, relation in sentence.relations]
    return {"text": sentence.text, "entities": names, "relations": relations}


def _split_name(name: Any) -> tuple[str, int | None]:
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of a drug must be a non-empty string, not {name!r}.")
    numbered = re.fullmatch(r"(.+)#(\d+)", name, re.DOTALL)
    return (numbered[1], int(numbered[2])) if numbered else (name, None)


def _starts(text: str, drug: str) -> list[int]:
    return [match.start() for match in re.finditer(f"(?={re.escape(drug)})", text)]


def _occurrence(text: str, drug: str, number: int) -> int:
    starts = _starts(text, drug)
    if not 1 <= number <= len(starts):
        raise ValueError(f"{drug!r} occurs {len(starts)} times in {text!r}; there is no occurrence {number}.")
    return starts[number - 1]


def _number(text: str, drug: str, start: int) -> int:
    return _starts(text, drug).index(start) + 1


def _reader(annotations_of: Callable[[Any], Annotations]) -> Callable[[Any], AnnotatedSentence]:
    """A parser of CH-DDI records, made from a reader of annotations with any labels."""

    def parse(record: Any) -> AnnotatedSentence:
        if not isinstance(record, dict):
            raise ValueError(f"a record must be an object, not {record!r:.60}.")
        return AnnotatedSentence.of_annotations(annotations_of(record))

    return parse


PARSERS: dict[str, Callable[[Any], AnnotatedSentence]] = {
    "paper": _reader(spo.annotations_of),
    "names": from_names,
    "doccano": _reader(doccano.annotations_of),
    "label-studio": _reader(label_studio.annotations_of),
}
FORMATS = tuple(PARSERS)


def read_sentences(path: Path, file_format: str) -> Read:
    """
    The sentences of a file in one of `FORMATS`, each with its place.

    Raises:
        BrokenRecordError: if the file is not UTF-8 or not JSON.
    """
    for place, record in records(path):
        try:
            if isinstance(record, ValueError):
                raise record
            yield place, PARSERS[file_format](record)
        except ValueError as error:
            yield place, error
        except (KeyError, TypeError, AttributeError) as error:
            yield place, ValueError(f"not a record of the format {file_format} ({type(error).__name__}: {error}).")


def read_all(path: Path, file_format: str) -> tuple[list[tuple[str, AnnotatedSentence]], list[BrokenRecord]]:
    """The sentences of a file with their places, and the broken records."""
    good, broken = [], []
    for place, sentence in read_sentences(path, file_format):
        if isinstance(sentence, AnnotatedSentence):
            good.append((place, sentence))
        else:
            broken.append(BrokenRecord(str(path), place, str(sentence)))
    return good, broken


def write_sentences(sentences: Iterable[AnnotatedSentence], path: Path, file_format: str) -> None:
    """Write sentences in one of `FORMATS`, as JSON lines or, for Label Studio, as a JSON list."""
    if file_format == "label-studio":
        tasks = [label_studio.task_of(number, *sentence.annotations) for number, sentence in enumerate(sentences, 1)]
        text = json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"
    else:
        text = "".join(
            json.dumps(_to_line(number, sentence, file_format), ensure_ascii=False) + "\n"
            for number, sentence in enumerate(sentences, 1)
        )
    path.write_text(text, encoding="utf-8", newline="\n")


def _to_line(number: int, sentence: AnnotatedSentence, file_format: str) -> dict[str, Any]:
    if file_format == "paper":
        return sentence.to_record()
    return (
        to_names(sentence)
        if file_format == "names"
        else {"id": number, **doccano.record_of(1000 * number, *sentence.annotations)}
    )
