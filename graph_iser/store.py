"""The graph in an SQLite file: concepts, relations between them, and all their evidence."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .names import Concept, Names, written
from .results import Line, Triple


# Pairs of relations that cannot both hold between the same concepts in the same direction. 无关 ("no interaction")
# contradicts every other relation, in either direction.
OPPOSITES = ({"促进", "抑制"}, {"协同", "拮抗"})
NO_INTERACTION = "无关"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS node (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, type TEXT NOT NULL, code TEXT, known INTEGER NOT NULL,
    candidates TEXT NOT NULL, UNIQUE (name, type));
CREATE TABLE IF NOT EXISTS mention (
    written TEXT NOT NULL COLLATE NOCASE, node INTEGER NOT NULL REFERENCES node, PRIMARY KEY (written, node));
CREATE TABLE IF NOT EXISTS edge (
    id INTEGER PRIMARY KEY, head INTEGER NOT NULL REFERENCES node, relation TEXT NOT NULL,
    tail INTEGER NOT NULL REFERENCES node, UNIQUE (head, relation, tail));
CREATE TABLE IF NOT EXISTS evidence (
    edge INTEGER NOT NULL REFERENCES edge, source TEXT NOT NULL, line INTEGER NOT NULL, drug TEXT, text TEXT NOT NULL,
    head TEXT NOT NULL, head_start INTEGER, head_end INTEGER, tail TEXT NOT NULL, tail_start INTEGER, tail_end INTEGER,
    score REAL NOT NULL, model TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS evidence_of_line ON evidence (source, line);
CREATE INDEX IF NOT EXISTS evidence_of_edge ON evidence (edge);
CREATE INDEX IF NOT EXISTS edges_of_tail ON edge (tail);
"""


@dataclass(frozen=True)
class Evidence:
    """Where a relation was found: file, line, text, character ranges of head and tail, score, and name of the model."""

    source: str
    line: int
    drug: str | None
    text: str
    head: str
    head_start: int | None
    head_end: int | None
    tail: str
    tail_start: int | None
    tail_end: int | None
    score: float
    model: str


_EVIDENCE = ", ".join(field.name for field in dataclasses.fields(Evidence))
"""The columns of the table `evidence`, in the order of the fields of `Evidence`."""


@dataclass(frozen=True)
class Edge:
    """A relation between two concepts, with its evidence in descending order of score."""

    head: Concept
    relation: str
    tail: Concept
    evidence: tuple[Evidence, ...]

    @property
    def score(self) -> float:
        """The highest score of the evidence."""
        return self.evidence[0].score


@dataclass(frozen=True)
class Contradiction:
    """Two relations of the same concepts that cannot both be right."""

    first: Edge
    second: Edge


class Graph:
    """
    A graph in a file or in memory. `add` is atomic.

    Args:
        path: the SQLite file, which is created if it does not exist.

    Raises:
        ValueError: if the file is not a graph.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path)
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} is not a graph of iser-graph ({error}).") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # ------------------------------------------------------------------------------------------ adding

    def add(
        self,
        lines: Iterable[Line],
        names: Names,
        model: str = "",
        min_score: float = 0.0,
        relations: Collection[str] = (),
    ) -> int:
        """
        Add triples in one transaction. They replace those found in the same lines of the same sources before, so that
        nothing counts twice.

        Args:
            lines: from `read_triples`.
            names: maps names to concepts.
            model: name or version of the model, stored with the evidence.
            min_score: relations with lower scores are ignored.
            relations: only these relations; empty for all.

        Returns:
            The number of relations added.

        Raises:
            ValueError: if one of the relations does not occur in the lines.
        """
        return self.add_files([lines], names, model, min_score, relations)

    def add_files(
        self,
        files: Iterable[Iterable[Line]],
        names: Names,
        model: str = "",
        min_score: float = 0.0,
        relations: Collection[str] = (),
    ) -> int:
        """Like `add` for several files, of which each replaces what earlier ones say of a line."""
        count, nodes, held = 0, dict[tuple[str, str], int](), set[str]()
        with self._database:
            for lines in files:
                seen = set[tuple[str, int]]()
                for source, line, triples in lines:
                    if (source, line) not in seen:  # CSV and Parquet have one row per relation
                        self._database.execute("DELETE FROM evidence WHERE source = ? AND line = ?", (source, line))
                        seen.add((source, line))
                    for triple in triples:
                        held.add(triple.relation)
                        if triple.score >= min_score and (not relations or triple.relation in relations):
                            count += self._add(triple, names, model, nodes)
            check_held(relations, held, "the results hold")
            self._database.execute("DELETE FROM edge WHERE id NOT IN (SELECT edge FROM evidence)")
            for table, column in (("mention", "node"), ("node", "id")):
                unused = f"{column} NOT IN (SELECT head FROM edge UNION SELECT tail FROM edge)"
                self._database.execute(f"DELETE FROM {table} WHERE {unused}")
        return count

    def _add(self, triple: Triple, names: Names, model: str, nodes: dict[tuple[str, str], int]) -> int:
        head, tail = (
            self._node(name, type, names, nodes)
            for name, type in ((triple.head, triple.head_type), (triple.tail, triple.tail_type))
        )
        if head == tail:  # two names of the same concept
            return 0
        place = (head, triple.relation, tail)
        self._database.execute("INSERT OR IGNORE INTO edge (head, relation, tail) VALUES (?, ?, ?)", place)
        query = "SELECT id FROM edge WHERE head = ? AND relation = ? AND tail = ?"
        (edge,) = self._database.execute(query, place).fetchone()
        (head_start, head_end), (tail_start, tail_end) = (
            span or (None, None) for span in (triple.head_span, triple.tail_span)
        )
        evidence = Evidence(
            triple.source, triple.line, triple.drug, triple.text, triple.head, head_start, head_end,
            triple.tail, tail_start, tail_end, triple.score, model,
        )  # fmt: skip
        values = (edge, *dataclasses.astuple(evidence))
        places = ", ".join("?" * len(values))
        self._database.execute(f"INSERT INTO evidence (edge, {_EVIDENCE}) VALUES ({places})", values)
        return 1

    def _node(self, name: str, type: str, names: Names, nodes: dict[tuple[str, str], int]) -> int:
        if (name, type) not in nodes:
            concept = names.concept(name, type)
            self._database.execute(
                "INSERT INTO node (name, type, code, known, candidates) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (name, type) DO UPDATE "
                "SET code = excluded.code, known = excluded.known, candidates = excluded.candidates",
                (concept.name, type, concept.code, concept.known, "\n".join(concept.candidates)),
            )
            query = "SELECT id FROM node WHERE name = ? AND type = ?"
            (node,) = self._database.execute(query, (concept.name, type)).fetchone()
            for spelling in {written(name), concept.name}:
                self._database.execute("INSERT OR IGNORE INTO mention VALUES (?, ?)", (spelling, node))
            nodes[name, type] = node
        return nodes[name, type]

    # ----------------------------------------------------------------------------------------- reading

    def concepts(self) -> list[Concept]:
        """All concepts, sorted by type and name."""
        rows = self._database.execute("SELECT name, type, code, known, candidates FROM node ORDER BY type, name")
        return [_concept(*row) for row in rows]

    def edges(self) -> Iterator[Edge]:
        """All relations, sorted by the names of head and tail."""
        yield from self._edges("")

    def relations(self) -> list[str]:
        """The names of all relations, sorted."""
        return [name for (name,) in self._database.execute("SELECT DISTINCT relation FROM edge ORDER BY relation")]

    def query(self, name: str, relations: Collection[str] = (), min_score: float = 0.0) -> list[Edge]:
        """
        The relations of a concept, given any of its names, in descending order of score.

        Args:
            name: a name that occurs in a text or in a table of names.
            relations: only these relations; empty for all.
            min_score: least score of the best evidence.

        Raises:
            ValueError: if one of the relations does not occur in the graph.
        """
        check_held(relations, self.relations())
        nodes = self._find(written(name))
        if not nodes:
            nodes = self._find(Names().concept(name).name)
        places = ", ".join("?" * len(nodes))
        condition = f"WHERE (head.id IN ({places}) OR tail.id IN ({places}))"
        found = self._edges(condition, [*nodes, *nodes])
        chosen = (e for e in found if e.score >= min_score and (not relations or e.relation in relations))
        return sorted(chosen, key=lambda edge: -edge.score)

    def _find(self, spelling: str) -> list[int]:
        rows = self._database.execute("SELECT DISTINCT node FROM mention WHERE written = ?", (spelling,))
        return [node for (node,) in rows]

    def _edges(self, condition: str, values: Sequence[Any] = ()) -> Iterator[Edge]:
        columns = "name", "type", "code", "known", "candidates"
        ends = ", ".join(f"{end}.{column}" for end in ("head", "tail") for column in columns)
        rows = self._database.execute(
            f"SELECT edge.id, edge.relation, {ends} FROM edge JOIN node head ON head.id = edge.head "
            f"JOIN node tail ON tail.id = edge.tail {condition} ORDER BY head.name, tail.name, edge.relation",
            values,
        ).fetchall()
        for identity, relation, *of_ends in rows:
            head, tail = _concept(*of_ends[:5]), _concept(*of_ends[5:])
            evidence = self._database.execute(
                f"SELECT {_EVIDENCE} FROM evidence WHERE edge = ? ORDER BY score DESC, source, line",
                (identity,),
            )
            yield Edge(head, relation, tail, tuple(Evidence(*row) for row in evidence))

    def contradictions(self) -> list[Contradiction]:
        """Relations of the same two concepts that cannot both be right, from any texts."""
        pairs: dict[frozenset[Concept], list[Edge]] = {}
        for edge in self.edges():
            pairs.setdefault(frozenset((edge.head, edge.tail)), []).append(edge)
        return [
            Contradiction(first, second)
            for edges in pairs.values()
            for first, second in itertools.combinations(edges, 2)
            if _contradict(first, second)
        ]


def check_held(relations: Iterable[str], held: Collection[str], where: str = "the graph holds") -> None:
    """
    Check that all relations are among those held.

    Raises:
        ValueError: if one is not; the message begins with `where`.
    """
    if unknown := [relation for relation in relations if relation not in held]:
        raise ValueError(f"{where} no relation {', '.join(unknown)}, only {', '.join(sorted(held)) or 'none'}.")


def _concept(name: str, type: str, code: str | None, known: int, candidates: str) -> Concept:
    return Concept(name, type, code, bool(known), tuple(candidates.split("\n")) if candidates else ())


def _contradict(first: Edge, second: Edge) -> bool:
    relations = {first.relation, second.relation}
    if NO_INTERACTION in relations:
        return len(relations) == 2
    return (first.head, first.tail) == (second.head, second.tail) and relations in OPPOSITES


__all__ = ["Contradiction", "Edge", "Evidence", "Graph"]
