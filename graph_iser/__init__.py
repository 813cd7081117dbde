"""Extracted relations → a graph with evidence: names, a database, queries, exports. Not for clinical decisions."""

from .names import Concept, Names
from .results import Triple, read_triples
from .store import Contradiction, Edge, Evidence, Graph


__all__ = ["Concept", "Contradiction", "Edge", "Evidence", "Graph", "Names", "Triple", "read_triples"]
