"""Shared by all loaders: the structure of a document, broken records, and a cache keyed by content."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import DatasetDict, DatasetInfo, Features, GeneratorBasedBuilder, List, SplitGenerator, Value
from datasets.exceptions import DatasetGenerationError

from . import text_files


logger = logging.getLogger(__name__)

SPLIT_NAMES = {"dev": "validation", "val": "validation", "valid": "validation"}
"""Other names in use for splits."""

DOCUMENT_FEATURES = Features(
    {
        "id": Value("string"),
        "text": Value("string"),
        "tokens": List(Value("string")),
        "entities": List({"start": Value("int32"), "end": Value("int32"), "type": Value("string")}),
        "relations": List({"head": Value("int32"), "tail": Value("int32"), "type": Value("string")}),
    }
)

Document = dict[str, Any]


@dataclass(frozen=True)
class BrokenRecord:
    """
    A record that could not be read as a document.

    Attributes:
        file: the file that contains it.
        place: its line, or its position in the file's list.
        reason: why it could not be read.
    """

    file: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.reason}"


class BrokenRecordError(ValueError):
    """A record could not be read as a document; the message says which, where and why."""


Files = Mapping[str, Sequence[Path]]
"""Split name → its files, or directories with one document per file."""

Parser = Callable[[Path], Iterator[tuple[str, Document | ValueError]]]
"""Reads a file and yields the place of each record with its document, or with the error if it is broken."""


class DocumentsBuilder(GeneratorBasedBuilder):
    """
    Builds document splits. The cache key covers the content of the files and the source code of the loaders.

    Args:
        files: see `Files`.
        parse: see `Parser`.
        on_error: `"raise"` stops at a broken record, `"skip"` collects it in `broken`.
        key: anything else that the documents depend on, for the cache key.
    """

    def __init__(self, files: Files, parse: Parser, on_error: str, key: str = "", **kwargs: Any) -> None:
        self.files, self.parse, self.on_error = dict(files), parse, on_error
        self.broken: list[BrokenRecord] = []
        super().__init__(hash=_content_hash(files, parse, on_error, key), **kwargs)

    def _info(self) -> DatasetInfo:
        return DatasetInfo(features=DOCUMENT_FEATURES)

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        return [SplitGenerator(name=name, gen_kwargs={"paths": list(paths)}) for name, paths in self.files.items()]

    def _generate_examples(self, paths: Sequence[Path]) -> Iterator[tuple[int, Document]]:
        ids: set[str] = set()
        index, where = -1, "file" if len(paths) == 1 else "split"
        for path in paths:
            for place, document in self.parse(path):
                index += 1
                if not isinstance(document, ValueError) and document["id"] in ids:
                    document = ValueError(f"the id {document['id']!r} occurs twice in the {where}.")
                if isinstance(document, ValueError):
                    record = BrokenRecord(str(path), place, str(document))
                    if self.on_error == "raise":
                        raise BrokenRecordError(f'{record} (on_error="skip" leaves broken records out and lists them.)')
                    self.broken.append(record)
                    continue
                ids.add(document["id"])
                yield index, document


def load_documents(files: Files, parse: Parser, on_error: str, name: str, key: str = "") -> DatasetDict:
    """
    Load documents from files, or from the cache if file contents and loaders are unchanged.

    Args:
        files: see `Files`.
        parse: see `Parser`.
        on_error: `"raise"` or `"skip"`; skipped records are listed in a warning, also when loaded from the cache.
        name: name of the data set in the cache.
        key: anything else that the documents depend on, for the cache key.

    Raises:
        ValueError: if `on_error` is unknown, or a split has no documents.
        FileNotFoundError: if a file is missing.
        BrokenRecordError: if a record is broken; the message gives file, place and reason.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}.")
    for paths in files.values():
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(f"There is no file {path}.")
    builder = DocumentsBuilder(files, parse, on_error, key, dataset_name=name)
    report = Path(builder.cache_dir).with_suffix(".broken.json")
    if on_error == "skip" and not report.exists():
        # A cache entry without its report is incomplete, so the records are read again.
        builder.download_and_prepare(download_mode="force_redownload")
        text = json.dumps([asdict(record) for record in builder.broken], ensure_ascii=False)
        report.write_text(text, encoding="utf-8")
    else:
        try:
            builder.download_and_prepare()
        except DatasetGenerationError as error:
            raise (error.__cause__ or error) from None
    if on_error == "skip":
        broken = [BrokenRecord(**record) for record in json.loads(report.read_text(encoding="utf-8"))]
        if broken:
            listed = "\n".join(f"  {record}" for record in broken)
            logger.warning("Skipped %d broken records of %s:\n%s", len(broken), name, listed)
    for split, paths in files.items():
        if not builder.info.splits[split].num_examples:
            raise ValueError(f"There is no document in {', '.join(map(str, paths))}.")
    splits = builder.as_dataset()
    return DatasetDict({split: splits[split] for split in files})


def read_text(path: Path) -> str:
    """
    The text of a file in UTF-8, UTF-16 with a byte order mark, or GB18030, which is logged.

    Raises:
        BrokenRecordError: if the file cannot be decoded; the message gives the line.
    """
    try:
        text, note = text_files.read_text(path)
    except ValueError as error:
        raise BrokenRecordError(f"{error}. Save it as UTF-8.") from None
    if note is not None:
        _warn_once(f"{path}: {note}.")
    return text


_warn_once = functools.cache(logger.warning)


def read_json_list(path: Path) -> list[Any]:
    """
    The list in a JSON file.

    Raises:
        BrokenRecordError: if the file is not JSON, or contains something other than a list.
    """
    try:
        records = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BrokenRecordError(f"{path}, line {error.lineno}: not JSON ({error.msg}).") from None
    if not isinstance(records, list):
        raise BrokenRecordError(f"{path}: must contain a list of records, not a {type(records).__name__}.")
    return records


def _content_hash(files: Files, parse: Parser, on_error: str, key: str) -> str:
    digest = hashlib.sha256(f"{on_error}\0{key}".encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    digest.update(f"{parse.__module__}.{parse.__qualname__}".encode())
    for name, paths in files.items():
        for path in paths:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                digest.update(f"\0{name}\0{file}\0".encode())
                digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()
