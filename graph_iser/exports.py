"""
Export a graph to Neo4j (CSV for its import tool, or Cypher), RDF (Turtle, N-Triples), GraphML and Excel.

Names and texts come from untrusted documents. Each is escaped as its format requires, and a cell that a spreadsheet
program would interpret as a formula begins with an apostrophe.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .commands import extra
from .names import Concept
from .results import FORMULA_SIGNS
from .store import Evidence, Graph


NOTICE = "Not for clinical decisions."
NAMESPACE = "urn:iser:"


def export(graph: Graph, output_format: str, path: Path) -> list[Path]:
    """
    Write the graph in one of `FORMATS`.

    Returns:
        The files written. For `neo4j-csv`, `path` is a directory.
    """
    return FORMATS[output_format](graph, path)


def _neo4j_csv(graph: Graph, path: Path) -> list[Path]:
    path.mkdir(parents=True, exist_ok=True)
    files = [path / "nodes.csv", path / "relations.csv"]
    with files[0].open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id:ID", "name", "type:LABEL", "code", "known:boolean"])
        for node in graph.concepts():
            cells = [_identity(node), node.name, node.type, node.code or "", str(node.known).lower()]
            writer.writerow(map(harmless, cells))
    with files[1].open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([":START_ID", ":TYPE", ":END_ID", "score:double", "evidence:int", "source", "line:int", "text"])
        for edge in graph.edges():
            best = edge.evidence[0]
            row: list[Any] = [
                _identity(edge.head), edge.relation, _identity(edge.tail), edge.score, len(edge.evidence), best.source,
                best.line, best.text,
            ]  # fmt: skip
            writer.writerow(map(harmless, row))
    return files


def _cypher(graph: Graph, path: Path) -> list[Path]:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(f"// {NOTICE}\n")
        for node in graph.concepts():
            values = {"name": node.name, "code": node.code or "", "known": node.known}
            stream.write(f"MERGE (n:{_name(node.type)} {{id: {_value(_identity(node))}}}) SET n += {_map(values)};\n")
        for edge in graph.edges():
            head, tail = (_value(_identity(end)) for end in (edge.head, edge.tail))
            values = {
                "score": edge.score,
                "evidence": [f"{e.source}:{e.line}: {e.text}" for e in edge.evidence],
            }
            merge = f"MERGE (h)-[r:{_name(edge.relation)}]->(t) SET r += {_map(values)}"
            stream.write(f"MATCH (h {{id: {head}}}), (t {{id: {tail}}}) {merge};\n")
    return [path]


def _identity(node: Concept) -> str:
    return f"{node.type}:{node.name}"


def _value(value: Any) -> str:
    """A Cypher literal; strings and lists are written as in JSON."""
    return json.dumps(value, ensure_ascii=False)


def _name(text: str) -> str:
    """A quoted label or type in Cypher. Backslashes are escaped, because `\\u` is decoded before quotes are read."""
    return "`" + text.replace("\\", "\\u005c").replace("`", "``") + "`"


def _map(values: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_value(value)}" for key, value in values.items()) + "}"


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet program interprets as a formula."""
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value


def _rdf(output_format: str) -> Callable[[Graph, Path], list[Path]]:
    def write(graph: Graph, path: Path) -> list[Path]:
        """
        Concepts are `urn:iser:TYPE/NAME`, relations `urn:iser:relation/NAME`. Each relation is a triple and an
        `rdf:Statement` with `iser:score` and, for each piece of evidence, `prov:wasDerivedFrom`. Evidence has the text
        as `prov:value`, the source as `prov:wasQuotedFrom`, and `iser:line`, `iser:score` and the offsets of the names.
        """
        with extra("graph"):
            from rdflib import RDF, RDFS, BNode, Literal, Namespace, URIRef
            from rdflib import Graph as RdfGraph

        iser, prov = Namespace(NAMESPACE), Namespace("http://www.w3.org/ns/prov#")
        rdf = RdfGraph()
        rdf.bind("iser", iser)
        rdf.bind("prov", prov)
        rdf.bind("relation", Namespace(NAMESPACE + "relation/"))

        def reference(*parts: str) -> URIRef:
            return URIRef(NAMESPACE + "/".join(map(_segment, parts)))

        def of_evidence(evidence: Evidence) -> BNode:
            node = BNode()
            rdf.add((node, RDF.type, prov.Entity))
            rdf.add((node, prov.value, Literal(evidence.text)))
            rdf.add((node, prov.wasQuotedFrom, Literal(evidence.source)))
            for name in ("line", "score", "model", "head_start", "head_end", "tail_start", "tail_end"):
                if (value := getattr(evidence, name)) not in (None, ""):
                    rdf.add((node, iser[name], Literal(value)))
            return node

        rdf.add((URIRef(NAMESPACE + "graph"), RDFS.comment, Literal(NOTICE)))
        for concept in graph.concepts():
            place = reference(concept.type, concept.name)
            rdf.add((place, RDFS.label, Literal(concept.name)))
            rdf.add((place, RDF.type, reference("type", concept.type)))
            if concept.code:
                rdf.add((place, iser.code, Literal(concept.code)))
        for edge in graph.edges():
            head, tail = (reference(end.type, end.name) for end in (edge.head, edge.tail))
            relation, statement = reference("relation", edge.relation), BNode()
            rdf.add((head, relation, tail))
            for predicate, value in ((RDF.subject, head), (RDF.predicate, relation), (RDF.object, tail)):
                rdf.add((statement, predicate, value))
            rdf.add((statement, RDF.type, RDF.Statement))
            rdf.add((statement, iser.score, Literal(edge.score)))
            for evidence in edge.evidence:
                rdf.add((statement, prov.wasDerivedFrom, of_evidence(evidence)))
        rdf.serialize(path, format=output_format, encoding="utf-8")
        return [path]

    return write


def _segment(text: str) -> str:
    """A name as a segment of an IRI, in which letters and digits of any script are kept."""
    return "".join(sign if sign.isalnum() else quote(sign, safe="-._~") for sign in text)


def _graphml(graph: Graph, path: Path) -> list[Path]:
    with extra("graph"):
        import networkx

    made = networkx.MultiDiGraph(notice=NOTICE)
    for node in graph.concepts():
        made.add_node(_xml(_identity(node)), name=_xml(node.name), type=_xml(node.type), code=_xml(node.code or ""))
    for edge in graph.edges():
        best = edge.evidence[0]
        made.add_edge(
            _xml(_identity(edge.head)), _xml(_identity(edge.tail)), relation=_xml(edge.relation), score=edge.score,
            evidence=len(edge.evidence), source=_xml(best.source), line=best.line, text=_xml(best.text),
        )  # fmt: skip
    networkx.write_graphml(made, path, encoding="utf-8")
    return [path]


def _xml(text: str) -> str:
    """Remove control characters that XML does not allow."""
    return "".join(character for character in text if character >= " " or character in "\t\n\r")


def _excel(graph: Graph, path: Path) -> list[Path]:
    """A sheet for reviewers with one row per piece of evidence, and a column for the verdict."""
    with extra("graph"):
        from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("relations")
    sheet.append([NOTICE])
    sheet.append(["head", "relation", "tail", "score", "source", "line", "text", "right?"])
    for edge in sorted(graph.edges(), key=lambda edge: -edge.score):
        for evidence in edge.evidence:
            row: list[Any] = [
                edge.head.name, edge.relation, edge.tail.name, evidence.score, evidence.source, evidence.line,
                evidence.text, "",
            ]  # fmt: skip
            sheet.append([harmless(_xml(cell)) if isinstance(cell, str) else cell for cell in row])
    book.save(path)
    return [path]


FORMATS: dict[str, Callable[[Graph, Path], list[Path]]] = {
    "neo4j-csv": _neo4j_csv,
    "cypher": _cypher,
    "turtle": _rdf("turtle"),
    "n-triples": _rdf("nt"),
    "graphml": _graphml,
    "excel": _excel,
}
