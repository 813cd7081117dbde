"""
`iser-graph`: a graph of what `iser-extract` found, and questions to it.

    iser-extract leaflets.csv --output found.jsonl
    iser-graph build found.jsonl --graph drugs.sqlite
    iser-graph query 华法林 --graph drugs.sqlite
    iser-graph export turtle drugs.ttl --graph drugs.sqlite
    iser-graph page drugs.html --graph drugs.sqlite

Not for clinical decisions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from .exports import FORMATS, NOTICE, export
from .names import Names
from .page import write_page
from .results import read_triples
from .store import Edge, Graph


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 done, 1 nothing done."""
    options = _parser().parse_args(arguments)
    try:
        if options.command != "build" and not options.graph.is_file():
            raise ValueError(f"there is no graph {options.graph}; iser-graph build makes one")
        with Graph(options.graph) as graph:
            _COMMANDS[options.command](graph, options)
    except (OSError, ValueError, ImportError) as error:
        print(f"iser-graph: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iser-graph", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--graph", type=Path, required=True, help="the graph, an SQLite file")
    score = argparse.ArgumentParser(add_help=False)
    score.add_argument("--min-score", "--min_score", type=float, default=0.0, help="leave out lower scores")
    build = commands.add_parser(
        "build", parents=[common, score], help="add results; what was there of a line is replaced"
    )
    build.add_argument("results", nargs="+", type=Path, help=".jsonl, .csv or .parquet of iser-extract")
    build.add_argument("--names", nargs="*", default=[], type=Path, help="CSV tables: name, concept, code")
    build.add_argument("--model", default="", help="name of the model, kept with the evidence")
    query = commands.add_parser("query", parents=[common, score], help="the relations of a drug, with evidence")
    query.add_argument("name")
    query.add_argument("--relation")
    commands.add_parser("contradictions", parents=[common], help="relations of which one cannot be right")
    commands.add_parser("names", parents=[common], help="names that no table holds, or that have several meanings")
    exports = commands.add_parser("export", parents=[common], help=f"write {', '.join(FORMATS)}")
    exports.add_argument("format", choices=FORMATS)
    exports.add_argument("output", type=Path, help="the file; for neo4j-csv, a directory")
    page = commands.add_parser("page", parents=[common, score], help="write the graph as one HTML page")
    page.add_argument("output", type=Path, help="the HTML file")
    page.add_argument("--relation", nargs="+", default=[], help="only these relations")
    return parser


def _build(graph: Graph, options: argparse.Namespace) -> None:
    names = Names(options.names)
    lines = chain.from_iterable(map(read_triples, options.results))
    count = graph.add(lines, names, options.model, options.min_score)
    concepts = graph.concepts()
    unknown = sum(not concept.known for concept in concepts)
    print(f"{count} relations added; {len(concepts)} names in {options.graph}, {unknown} of them in no table")


def _query(graph: Graph, options: argparse.Namespace) -> None:
    edges = graph.query(options.name, options.relation, options.min_score)
    if not edges:
        of_any = graph.query(options.name)
        what = f"no such relation of {options.name}" if of_any else f"nothing of {options.name}"
        held = ", ".join(sorted({edge.relation for edge in of_any}))
        print(f"The graph holds {what}{f' (it holds {held})' if held else ''}. That says nothing about safety.")
    for edge in edges:
        _show(edge)
    print(NOTICE)


def _show(edge: Edge) -> None:
    print(f"{edge.head.name} —{edge.relation}→ {edge.tail.name}  ({edge.score:.2f})")
    for evidence in edge.evidence:
        print(f"    {evidence.source}:{evidence.line}  ({evidence.score:.2f})  {evidence.text}")


def _contradictions(graph: Graph, options: argparse.Namespace) -> None:
    found = graph.contradictions()
    for pair in found:
        _show(pair.first)
        _show(pair.second)
        print()
    print(f"{len(found)} contradictions. {NOTICE}")


def _names(graph: Graph, options: argparse.Namespace) -> None:
    for concept in graph.concepts():
        if concept.candidates:
            print(f"{concept.name}\tseveral: {', '.join(concept.candidates)}")
        elif not concept.known:
            print(f"{concept.name}\tunknown")


def _export(graph: Graph, options: argparse.Namespace) -> None:
    for path in export(graph, options.format, options.output):
        print(path)


def _page(graph: Graph, options: argparse.Namespace) -> None:
    for note in write_page(graph, options.output, options.min_score, options.relation):
        print(note)
    print(options.output)


_COMMANDS = {
    "build": _build, "query": _query, "contradictions": _contradictions, "names": _names, "export": _export,
    "page": _page,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
