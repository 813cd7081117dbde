"""Load an annotated corpus in any supported format, with any labels, as documents."""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from .data_sets import documents_of, is_data_set, read_data_set
from .documents import DOCUMENT_FEATURES, SPLIT_NAMES, BrokenRecordError, Document, load_documents, read_text
from .formats import FORMATS, recognise
from .words import growing_entities


logger = logging.getLogger(__name__)


_SPLITS = {"train": r"train", "validation": "|".join((*SPLIT_NAMES, "validation")), "test": r"test|eval"}
_SUFFIXES = (".json", ".jsonl", ".bio", ".conll", ".iob", ".tsv", ".txt", ".tags", ".bioes")


@dataclass(frozen=True)
class Labels:
    """The labels of a corpus, in the order that a model uses."""

    entity_types: tuple[str, ...] = ()
    relation_types: tuple[str, ...] = ()
    symmetric_relations: tuple[str, ...] = ()
    """Relations without a direction; documents hold each once, with the entity that begins first as its head."""


class Corpus(DatasetDict):
    """Splits of documents, with the labels that occur in them."""

    labels: Labels = Labels()


def load_corpus(
    source: str | Path | Dataset | DatasetDict | None = None,
    format: str | None = None,
    data_files: Mapping[str, str | Path | Sequence[str | Path]] | None = None,
    on_error: str = "raise",
    symmetric_relations: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    grow_entities: bool = False,
) -> Corpus:
    """
    Load an annotated corpus as documents.

    Args:
        source: a directory, a file, or a data set of `datasets` (an object, a directory written by `save_to_disk`, or
            Parquet files; see `data_sets`). In a directory, the name of each file or brat directory determines its
            split: `train`, `validation` (also dev, val, valid) or `test` (also eval) if the name contains that word,
            else a split with the name of the file. A directory without such files is searched for a subdirectory
            `data`. A single file is `train`.
        format: one of `FORMATS`, each of whose modules shows an example; `None` detects it from the content.
        data_files: split name → file or files, instead of `source`.
        on_error: `"raise"` stops at the first broken record; `"skip"` drops broken records and lists them in a warning.
        symmetric_relations: relations without a direction; `None` takes them from a file `…types.json` beside the data.
        columns: for a data set, our name → the name of its column.
        grow_entities: extend entities that begin or end within a word to whole words and list them in a warning;
            otherwise they are errors.

    Raises:
        FileNotFoundError: if there is nothing to read.
        ValueError: if the format is unknown or cannot be detected, or the arguments contradict each other.
        BrokenRecordError: if a record is broken; the message gives file, place and reason.
    """
    if (source is None) == (data_files is None):
        raise ValueError("Give either source or data_files.")
    if isinstance(source, Dataset | DatasetDict) or (source is not None and is_data_set(Path(source))):
        if format is not None:
            raise ValueError("A data set has no format; columns= names its columns.")
        return _of_data_set(source, columns or {}, on_error, symmetric_relations or (), grow_entities)
    if columns is not None:
        raise ValueError("columns= applies to data sets of `datasets`, not to files.")
    if data_files is not None:
        files = {split: _paths(paths) for split, paths in data_files.items()}
    else:
        files = find_splits(Path(str(source)), format)
    for paths in files.values():
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(f"There is no file {path}.")
    name = format or recognise(next(iter(files.values()))[0])
    if name not in FORMATS:
        raise ValueError(f"Unknown format {name!r}. Choose from: {', '.join(FORMATS)}.")
    types = _read_types(next(iter(files.values()))[0])
    symmetric = types.symmetric_relations if symmetric_relations is None else tuple(symmetric_relations)
    parse = _parser(name, symmetric, grow_entities)
    splits = load_documents(files, parse, on_error, "corpus", f"{name} {symmetric} {grow_entities}")
    corpus = Corpus(splits)
    corpus.labels = _labels(splits, types, symmetric)
    return corpus


def _paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def find_splits(source: Path, format: str | None = None) -> dict[str, list[Path]]:
    """
    Split name → files of a directory or file; see `load_corpus`.

    Raises:
        FileNotFoundError: if there is nothing to read.
    """
    if not source.exists():
        raise FileNotFoundError(f"There is no directory or file {source}.")
    if source.is_file() or _is_brat(source):
        return {"train": [source]}
    found = [path for path in sorted(source.iterdir()) if _may_be_data(path, format)]
    if not found and (source / "data").is_dir():
        return find_splits(source / "data", format)
    if not found:
        raise FileNotFoundError(f"{source} contains no corpus file ({', '.join(_SUFFIXES)}, or brat's .ann and .txt).")
    if len(found) == 1:
        return {_split_name(found[0].stem, alone=True): found}
    splits: dict[str, list[Path]] = {}
    for path in found:
        splits.setdefault(_split_name(path.stem), []).append(path)
    order = ["train", "validation", "test"]
    return dict(sorted(splits.items(), key=lambda item: (item[0] not in order, order.index(item[0]) if item[0] in order
                                                         else 0, item[0])))  # fmt: skip


def _is_brat(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*.ann"))


def _may_be_data(path: Path, format: str | None) -> bool:
    if path.is_dir():
        return _is_brat(path)
    if path.suffix not in _SUFFIXES or path.stem.endswith("types") or path.stem.lower() in ("readme", "license"):
        return False
    return format is not None or path.suffix in (".json", ".jsonl") or FORMATS["bio"].recognises(path)


def _split_name(stem: str, alone: bool = False) -> str:
    words = re.split(r"[^a-zA-Z]+", stem.lower())
    named = [split for split, pattern in _SPLITS.items() if any(re.fullmatch(pattern, word) for word in words)]
    if len(named) == 1:
        return named[0]
    return "train" if alone else re.sub(r"\W+", "_", stem)


def _parser(name: str, symmetric: Sequence[str], grow_entities: bool) -> Any:
    """A reader that also normalises symmetric relations and, if allowed, extends entities to whole words."""
    read = FORMATS[name].read

    @functools.wraps(read)
    def parse(path: Path) -> Iterator[tuple[str, Document | ValueError]]:
        with growing_entities(grow_entities) as grown:
            for place, document in read(path):
                yield place, document if isinstance(document, ValueError) else canonical(document, symmetric)
        _report_grown(str(path), grown)

    return parse


def _report_grown(source: str, grown: Sequence[str]) -> None:
    if grown:
        listed = "\n".join(f"  {entity}" for entity in grown)
        logger.warning("%s: extended %d entities to whole words:\n%s", source, len(grown), listed)


def _of_data_set(
    source: str | Path | Dataset | DatasetDict,
    columns: Mapping[str, str],
    on_error: str,
    symmetric: Sequence[str],
    grow_entities: bool,
) -> Corpus:
    data_set = read_data_set(Path(source)) if isinstance(source, str | Path) else source
    if isinstance(data_set, Dataset):
        data_set = DatasetDict(train=data_set)
    splits: dict[str, list[Document]] = {}
    for name, rows in data_set.items():
        broken = []
        with growing_entities(grow_entities) as grown:
            for place, document in documents_of(rows, columns, str(name)):
                if not isinstance(document, ValueError):
                    splits.setdefault(str(name), []).append(canonical(document, symmetric))
                elif on_error == "skip":
                    broken.append(f"  {place}: {document}")
                else:
                    raise BrokenRecordError(
                        f'Split {name}, {place}: {document} (on_error="skip" leaves broken records out and lists them.)'
                    )
        _report_grown(f"Split {name}", grown)
        if broken:
            logger.warning("Skipped %d broken records of split %s:\n%s", len(broken), name, "\n".join(broken))
    corpus = Corpus({SPLIT_NAMES.get(n, n): Dataset.from_list(d, DOCUMENT_FEATURES) for n, d in splits.items()})
    corpus.labels = _labels(corpus, Labels(), symmetric)
    return corpus


def canonical(document: Document, symmetric_relations: Sequence[str]) -> Document:
    """The document with each symmetric relation once, its head being the entity that begins (or else ends) first."""

    def rank(index: int) -> tuple[int, int, int]:
        entity = document["entities"][index]
        return entity["start"], entity["end"], index

    relations = []
    for relation in document["relations"]:
        if relation["type"] in symmetric_relations:
            head, tail = sorted((relation["head"], relation["tail"]), key=rank)
            relation = {**relation, "head": head, "tail": tail}
            if relation in relations:
                continue
        relations.append(relation)
    return {**document, "relations": relations}


def _read_types(beside: Path) -> Labels:
    """The labels in SpERT's types file beside the data, if there is one."""
    directory = beside if beside.is_dir() else beside.parent
    files = sorted(directory.glob("*types.json"))
    if not files:
        return Labels()
    try:
        types = json.loads(read_text(files[0]))
        relations: Mapping[str, Any] = types["relations"]
        symmetric = tuple(name for name, settings in relations.items() if settings.get("symmetric"))
        return Labels(tuple(types["entities"]), tuple(relations), symmetric)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BrokenRecordError(
            f'{files[0]}: not a types file such as {{"entities": {{"Loc": {{}}}}, "relations": {{"Kill": '
            f'{{"symmetric": false}}}}}} ({type(error).__name__}: {error}).'
        ) from None


def found_labels(*splits: Iterable[Mapping[str, Any]] | None) -> Labels:
    """The entity and relation types that occur in the documents, sorted."""
    entities: set[str] = set()
    relations: set[str] = set()
    for split in splits:
        for document in split or ():
            entities.update(entity["type"] for entity in document["entities"])
            relations.update(relation["type"] for relation in document["relations"])
    return Labels(tuple(sorted(entities)), tuple(sorted(relations)))


def _labels(splits: Mapping[str, Dataset], types: Labels, symmetric: Sequence[str]) -> Labels:
    """All labels: those of the types file in its order, then any others that occur, alphabetically."""
    found = found_labels(*splits.values())

    def ordered(types: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
        return (*known, *(name for name in types if name not in known))

    return Labels(
        ordered(found.entity_types, types.entity_types),
        ordered(found.relation_types, types.relation_types),
        tuple(symmetric),
    )
