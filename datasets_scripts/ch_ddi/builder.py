"""Load CH-DDI's format (paper 4.1.2), JSON objects with `text` and `spo_list`, as documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from datasets import DatasetDict

from ..documents import SPLIT_NAMES, Document, load_documents
from ..words import document_of_text
from .annotation_files import read_sentences
from .records import AnnotatedSentence


SHIPPED = Path(__file__).parent / "data"


def load_ch_ddi(
    data_dir: str | Path | None = None,
    on_error: str = "raise",
    data_files: Mapping[str, str | Path] | None = None,
) -> DatasetDict:
    """
    Load sentences with drug-drug interactions as documents.

    The records have the format of `datasets_scripts.formats.spo`, with the paper's one entity type and seven relations.

    Args:
        data_dir: directory of `.jsonl` and `.json` files, or the parent of such a directory `data`. The name of a file
            is the name of its split (dev, valid and val become validation). `None` loads the shipped corpus.
        on_error: `"raise"` stops at the first broken record; `"skip"` drops broken records and lists them in a warning.
        data_files: split name → file, instead of `data_dir`.

    Raises:
        FileNotFoundError: if there are no such files.
        BrokenRecordError: if a record is broken; the message gives file, line and reason.
    """
    if data_files is None:
        data_files = find_files(Path(data_dir) if data_dir is not None else SHIPPED)
    files = {split: [Path(path)] for split, path in data_files.items()}
    return load_documents(files, parse_ch_ddi, on_error, "ch_ddi")


def find_files(directory: Path) -> dict[str, Path]:
    """Split name → file of a corpus directory; see `load_ch_ddi`."""
    if not directory.is_dir():
        raise FileNotFoundError(f"There is no directory {directory}.")
    for place in (directory, directory / "data"):
        files: dict[str, Path] = {}
        for path in sorted([*place.glob("*.jsonl"), *place.glob("*.json")]):
            split = SPLIT_NAMES.get(path.stem, path.stem)
            if split in files:
                raise ValueError(f"{files[split]} and {path} are both the split {split!r}. Name them in data_files.")
            files[split] = path
        if files:
            return dict(sorted(files.items(), key=lambda item: (item[0] != "train", item[0] != "validation", item[0])))
    raise FileNotFoundError(f"{directory} holds no .jsonl or .json file, nor does {directory / 'data'}.")


def parse_ch_ddi(path: Path) -> Iterator[tuple[str, Document | ValueError]]:
    """Yield the records of a file as documents: `(place, document or error)`."""
    for place, sentence in read_sentences(path, "paper"):
        if isinstance(sentence, ValueError):
            yield place, sentence
            continue
        try:
            yield place, to_document(f"{path.stem}-{place.split()[-1]}", sentence)
        except ValueError as error:
            yield place, error


def to_document(name: str, sentence: AnnotatedSentence) -> Document:
    """
    Convert a sentence to a document with word offsets.

    Raises:
        ValueError: if a drug begins or ends within a word.
    """
    return document_of_text(name, *sentence.annotations)
