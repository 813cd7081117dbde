"""
Map names to concepts, so that different spellings share a node.

A name is looked up as written, and a drug's also without salt and dosage form. A name that is in no table becomes a
concept of its own and is listed as unknown. Tables are CSV files with the columns `name`, `concept` and, optionally,
`code` (ATC or any other). The shipped table contains common drugs with old and English names and the WHO's ATC codes.
For a drug with several ATC codes, it has the code of systemic use; for acetylsalicylic acid and methotrexate, which
have two of those, the code of long-term treatment at low doses (B01AC06 rather than N02BA01, L04AX03 rather than
L01BA01).
"""

from __future__ import annotations

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .drugs_iser import core_name, is_drug
from .text_files import read_text


logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("names.csv")
DRUG = "药物"
"""Entity type of a name that comes without one."""


@dataclass(frozen=True)
class Concept:
    """
    What a name refers to.

    Attributes:
        name: the preferred name; name and type identify the concept.
        type: entity type.
        code: code in a classification, if a table gives one.
        known: whether the name is in a table.
        candidates: the possible concepts of an ambiguous name, of which none is chosen.
    """

    name: str
    type: str
    code: str | None = None
    known: bool = False
    candidates: tuple[str, ...] = ()


class Names:
    """
    Tables of names.

    Args:
        tables: CSV files; entries of later tables replace those of earlier ones.
        shipped: whether to begin with the shipped table.

    Raises:
        ValueError: if a table lacks a column, or a row lacks a name or concept; the message gives file and line.
    """

    def __init__(self, tables: Sequence[str | Path] = (), shipped: bool = True) -> None:
        self._concepts: dict[str, tuple[str, ...]] = {}
        self._codes: dict[str, str] = {}
        for table in [*([SHIPPED] if shipped else []), *map(Path, tables)]:
            self._concepts |= self._read(table)

    def _read(self, table: Path) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        text, note = read_text(table)
        if note is not None:
            logger.warning("%s: %s.", table, note)
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if missing := {"name", "concept"} - set(rows.fieldnames or ()):
            columns = " and ".join(sorted(missing))
            raise ValueError(f"{table}: the column {columns} is missing. Columns: name, concept, code.")
        for row in rows:
            name, concept = (written(row[column] or "") for column in ("name", "concept"))
            if not name or not concept:
                raise ValueError(f"{table}, line {rows.line_num}: a row needs a name and a concept.")
            of_name = found.setdefault(name.lower(), [])
            if concept not in of_name:
                of_name.append(concept)
            if code := (row.get("code") or "").strip():
                self._codes[concept] = code
        # A preferred name refers to its own concept, unless the table says otherwise.
        for concepts in list(found.values()):
            for concept in concepts:
                found.setdefault(concept.lower(), [concept])
        return {name: tuple(concepts) for name, concepts in found.items()}

    def concept(self, name: str, type: str = DRUG) -> Concept:
        """The concept of a name; see [`Concept`] for unknown and ambiguous names."""
        plain = written(name)
        concepts = self._lookup(plain)
        if not concepts and is_drug(type):
            plain = core_name(plain) or plain
            concepts = self._lookup(plain)
        if len(concepts) == 1:
            return Concept(concepts[0], type, self._codes.get(concepts[0]), known=True)
        return Concept(plain, type, candidates=concepts)

    def _lookup(self, name: str) -> tuple[str, ...]:
        concepts, visited = self._concepts.get(name.lower(), ()), {name}
        while len(concepts) == 1 and concepts[0] not in visited:  # a later table may rename an earlier one's concept
            visited.add(concepts[0])
            concepts = self._concepts.get(concepts[0].lower(), concepts)
        return concepts


def only_drugs(types: Iterable[str]) -> bool:
    """Whether there are no entity types other than drugs."""
    return all(map(is_drug, types))


def written(name: str) -> str:
    """A name with normalised character width and spaces, and without trademark signs."""
    plain = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", re.sub("[®™℠]", "", name))).strip()
    # Spaces separate Latin words, but are accidental next to Chinese characters and punctuation.
    return re.sub("(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", "", plain)


__all__ = ["Concept", "Names"]
