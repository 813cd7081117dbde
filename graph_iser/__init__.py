"""A graph of extracted relations with their evidence: database, queries, exports, page. Not for clinical decisions."""

from .names import Concept, Names
from .page import write_page
from .results import Triple, read_triples
from .store import Contradiction, Edge, Evidence, Graph


__all__ = ["Concept", "Contradiction", "Edge", "Evidence", "Graph", "Names", "Triple", "read_triples", "write_page"]
