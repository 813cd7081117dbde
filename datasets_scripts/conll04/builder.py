"""Load CoNLL04 (Roth and Yih, 2004) from SpERT's JSON files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datasets import DatasetDict

from ..documents import Document, load_documents, read_json_list
from ..formats import spert


CONLL04_ENTITY_TYPES = ("Loc", "Org", "Other", "Peop")
CONLL04_RELATION_TYPES = ("Kill", "Live_In", "Located_In", "OrgBased_In", "Work_For")

FILES = {"train": "conll04_train.json", "validation": "conll04_dev.json", "test": "conll04_test.json"}
HUB_REPOSITORY = "DFKI-SLT/conll04"


def load_conll04(data_dir: str | Path | None = None, on_error: str = "raise") -> DatasetDict:
    """
    Load CoNLL04 as documents: splits `train` (922 sentences), `validation` (231) and `test` (288).

    `validation` is SpERT's `dev` file, which the ISER paper calls its test set.

    Args:
        data_dir: directory with SpERT's `conll04_train.json`, `conll04_dev.json` and `conll04_test.json`; `None`
            fetches them from the Hub.
        on_error: `"raise"` stops at the first broken record; `"skip"` drops broken records and lists them in a warning.

    Raises:
        FileNotFoundError: if a file is missing or the Hub cannot be reached; the message says what to do.
        BrokenRecordError: if a record is broken; the message gives file, place and reason.
    """
    directory = _fetch() if data_dir is None else Path(data_dir)
    files = {split: directory / name for split, name in FILES.items()}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{directory} lacks {', '.join(missing)}. {_how_to_get_them(directory)}")
    return load_documents({split: [path] for split, path in files.items()}, parse_conll04, on_error, "conll04")


def _how_to_get_them(directory: Path | str) -> str:
    return (
        f"Download {', '.join(FILES.values())} (from the Hub's data set {HUB_REPOSITORY}, or with SpERT's "
        f"scripts/fetch_datasets.sh) into one directory and call load_conll04({str(directory)!r}), or run train.py "
        f"with --data_dir {directory}."
    )


def _fetch() -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(HUB_REPOSITORY, repo_type="dataset", allow_patterns=["*conll04_*.json"]))
    except Exception as error:  # The client's errors have no common base class.
        raise FileNotFoundError(
            f"CoNLL04 could not be fetched from the Hub ({type(error).__name__}). {_how_to_get_them('path/to/conll04')}"
        ) from error


def parse_conll04(path: Path) -> Iterator[tuple[str, Document | ValueError]]:
    """Yield the records of one of SpERT's files as documents: `(place, document or error)`."""
    for number, record in enumerate(read_json_list(path)):
        name = record.get("orig_id", number) if isinstance(record, dict) else number
        place = f"record {number} (orig_id {name})"
        try:
            if not isinstance(record, dict):
                raise ValueError(f"a record must be an object, not {record!r:.60}.")
            for key in ("entities", "relations"):
                if not isinstance(record.get(key), list):
                    raise ValueError(f"{key!r} must be a list of objects.")
            document = spert.parse("", {**record, "id": f"{path.stem.removeprefix('conll04_')}-{name}"})
            _check_labels(document)
            yield place, document
        except ValueError as error:
            yield place, error


def _check_labels(document: Document) -> None:
    for key, known in (("entities", CONLL04_ENTITY_TYPES), ("relations", CONLL04_RELATION_TYPES)):
        for item in document[key]:
            if item["type"] not in known:
                raise ValueError(f"unknown type {item['type']!r}. CoNLL04 has: {', '.join(known)}.")
