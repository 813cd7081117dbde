"""What the loaders share: the shape of a document, broken records, and a cache that goes by content."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import DatasetDict, DatasetInfo, Features, GeneratorBasedBuilder, List, SplitGenerator, Value
from datasets.exceptions import DatasetGenerationError


logger = logging.getLogger(__name__)

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
    A record that could not become a document.

    Attributes:
        file: the file it stands in.
        place: its line, or its position in the file's list.
        reason: what is wrong with it.
    """

    file: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.reason}"


class BrokenRecordError(ValueError):
    """A record could not become a document; the message says which, where and why."""


Files = Mapping[str, Sequence[Path]]
"""Split name → its files, or directories that hold one document a file."""

Parser = Callable[[Path], Iterator[tuple[str, Document | ValueError]]]
"""Reads a file: the place of each record and its document, or what is wrong with it."""


class DocumentsBuilder(GeneratorBasedBuilder):
    """
    Builds document splits; its cache goes by the bytes of the files and the source of the loaders.

    Args:
        files: split name → files (or directories that hold one document a file).
        parse: reads a file, see `Parser`.
        on_error: `"raise"` stops at a broken record, `"skip"` collects it in `broken`.
        key: what else the documents depend on.
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
                    document = ValueError(f"the id {document['id']!r} stands in the {where} twice.")
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
    Documents of some files, from the cache where file contents and parser are the same as before.

    Args:
        files: split name → files, or directories that hold one document a file.
        parse: reads a file, see `Parser`.
        on_error: `"raise"` or `"skip"`; skipped records are counted and listed in a warning, from the cache too.
        name: name of the data set in the cache.
        key: what else the documents depend on.

    Raises:
        ValueError: for an unknown `on_error`.
        FileNotFoundError: for a file that is not there.
        BrokenRecordError: for a broken record, with file, place and reason.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r} is not known. Valid values: 'raise', 'skip'.")
    for paths in files.values():
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(f"There is no file {path}.")
    builder = DocumentsBuilder(files, parse, on_error, key, dataset_name=name)
    report = Path(builder.cache_dir).with_suffix(".broken.json")
    if on_error == "skip" and not report.exists():
        # The report is part of what is cached: without it, the records are read again.
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
            logger.warning("%d broken records of %s were skipped:\n%s", len(broken), name, listed)
    splits = builder.as_dataset()
    return DatasetDict({split: splits[split] for split in files})


def read_text(path: Path) -> str:
    """
    The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        BrokenRecordError: where the bytes are not UTF-8, with the line.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BrokenRecordError(f"{path}, line {line}: not UTF-8 (byte {error.start}: {error.reason}).") from None


def read_json_list(path: Path) -> list[Any]:
    """
    The list that a JSON file holds.

    Raises:
        BrokenRecordError: for a file that is not JSON, or holds something other than a list.
    """
    try:
        records = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BrokenRecordError(f"{path}, line {error.lineno}: not JSON ({error.msg}).") from None
    if not isinstance(records, list):
        raise BrokenRecordError(f"{path}: holds no list of records but a {type(records).__name__}.")
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
