"""
Names → concepts: many spellings, one node.

A name is looked up as it is written, then without salt and dosage form; a name that no table holds is a concept of its
own, and is listed as unknown. Tables are CSV files with the columns `name`, `concept` and, where there is one, `code`
(ATC or any other). The table that ships holds common drugs with old and English names; its codes are those of the WHO's
ATC classification.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


SHIPPED = Path(__file__).with_name("names.csv")
DRUG = "药物"
"""The entity type whose names lose salt and dosage form; names of other types are compared as they are written."""


@dataclass(frozen=True)
class Concept:
    """
    What a name stands for.

    Attributes:
        name: the preferred name; with `type`, it tells concepts apart.
        type: entity type.
        code: code of a classification, if a table gives one.
        known: whether a table holds the name.
        candidates: concepts of a name that a table gives several; none is chosen.
    """

    name: str
    type: str
    code: str | None = None
    known: bool = False
    candidates: tuple[str, ...] = ()


class Names:
    """
    Concepts by name.

    Args:
        tables: CSV files; what a later one says of a name replaces what an earlier one says.
        shipped: whether to begin with the table that ships.

    Raises:
        ValueError: for a table without the columns, or a row without name or concept, with file and line.
    """

    def __init__(self, tables: Sequence[str | Path] = (), shipped: bool = True) -> None:
        self._concepts: dict[str, tuple[str, ...]] = {}
        self._codes: dict[str, str] = {}
        for table in [*([SHIPPED] if shipped else []), *map(Path, tables)]:
            self._concepts |= self._read(table)

    def _read(self, table: Path) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
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
        # A preferred name stands for its own concept, unless the table says otherwise.
        for concepts in list(found.values()):
            for concept in concepts:
                found.setdefault(concept.lower(), [concept])
        return {name: tuple(concepts) for name, concepts in found.items()}

    def concept(self, name: str, type: str = DRUG) -> Concept:
        """The concept of a name; see [`Concept`] for names that are unknown, or have several."""
        plain = written(name)
        concepts = self._lookup(plain)
        if not concepts and type == DRUG:
            plain = core(plain)
            concepts = self._lookup(plain)
        if len(concepts) == 1:
            return Concept(concepts[0], type, self._codes.get(concepts[0]), known=True)
        return Concept(plain, type, candidates=concepts)

    def _lookup(self, name: str) -> tuple[str, ...]:
        concepts, passed = self._concepts.get(name.lower(), ()), {name}
        while len(concepts) == 1 and concepts[0] not in passed:  # a later table may rename an earlier one's concept
            passed.add(concepts[0])
            concepts = self._concepts.get(concepts[0].lower(), concepts)
        return concepts


def written(name: str) -> str:
    """A name without differences of width, space and trademark signs."""
    plain = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", re.sub("[®™℠]", "", name))).strip()
    # Space parts Latin words; beside Chinese characters and signs it is an accident of the layout.
    return re.sub("(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", "", plain)


def core(name: str) -> str:
    """A drug's name without salt, dosage form and brackets."""
    # The rule is the pipeline's; importing it loads torch, which a query by a name that a graph holds has no need of.
    from modeling_iser.rules_iser import core_name

    return core_name(name) or name


__all__ = ["Concept", "Names"]
