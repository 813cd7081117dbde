"""
`iser-graph`: build a graph from the output of `iser-extract`, query and export it.

    iser-extract leaflets.csv --output found.jsonl
    iser-graph build found.jsonl --graph drugs.sqlite
    iser-graph query 华法林 --graph drugs.sqlite
    iser-graph export turtle drugs.ttl --graph drugs.sqlite
    iser-graph page drugs.html --graph drugs.sqlite

Not for clinical decisions.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from .exports import FORMATS, NOTICE, export
from .names import Names, only_drugs
from .page import write_page
from .results import check_results, read_triples
from .store import Edge, Graph


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code: 0 success, 1 failure, 2 wrong usage or a missing package."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "build":
            for path in options.results:
                check_results(path)
        elif not options.graph.is_file():
            raise ValueError(f"there is no graph {options.graph}; create it with iser-graph build")
        for written in (options.graph, getattr(options, "output", options.graph)):
            if written.is_dir() and getattr(options, "format", None) != "neo4j-csv":
                raise IsADirectoryError(f"{written} is a directory. Name a file in it.")
            written.parent.mkdir(parents=True, exist_ok=True)
        with Graph(options.graph) as graph:
            _COMMANDS[options.command](graph, options)
            sys.stdout.flush()
    except BrokenPipeError:  # The reader of the output, such as `head`, has closed it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"iser-graph: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"iser-graph: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("iser-graph: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iser-graph", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--graph", type=Path, required=True, help="the SQLite file of the graph")
    filters = argparse.ArgumentParser(add_help=False)
    filters.add_argument("--min-score", "--min_score", type=float, default=0.0, help="ignore lower scores")
    filters.add_argument("--relation", nargs="+", action="extend", default=[], help="only these relations")
    build = commands.add_parser(
        "build", parents=[common, filters], help="add results; they replace those of the same lines"
    )
    build.add_argument("results", nargs="+", type=Path, help=".jsonl, .csv or .parquet files of iser-extract")
    build.add_argument(
        "--names",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        help="CSV tables with the columns name, concept and code",
    )
    build.add_argument("--model", default="", help="name of the model, stored with the evidence")
    query = commands.add_parser(
        "query", parents=[common, filters], help="list the relations of an entity, with evidence"
    )
    query.add_argument("name", help="any name of the entity")
    commands.add_parser("contradictions", parents=[common], help="list relations that cannot both be right")
    commands.add_parser("names", parents=[common], help="list names that are unknown or ambiguous")
    exports = commands.add_parser("export", parents=[common], help=f"write {', '.join(FORMATS)}")
    exports.add_argument("format", choices=FORMATS)
    exports.add_argument("output", type=Path, help="the file; for neo4j-csv, a directory")
    page = commands.add_parser("page", parents=[common, filters], help="write the graph as one HTML page")
    page.add_argument("output", type=Path, help="the HTML file")
    return parser


def _build(graph: Graph, options: argparse.Namespace) -> None:
    names = Names(options.names)
    files = map(read_triples, options.results)
    count = graph.add_files(files, names, options.model, options.min_score, options.relation)
    concepts = graph.concepts()
    unknown = sum(not concept.known for concept in concepts)
    print(f"{count} relations added; {len(concepts)} names in {options.graph}, {unknown} of them in no table")


def _query(graph: Graph, options: argparse.Namespace) -> None:
    edges = graph.query(options.name, options.relation, options.min_score)
    if not edges:
        of_any = graph.query(options.name)
        missing = f"no such relation of {options.name}" if of_any else f"no relation of {options.name}"
        held = ", ".join(sorted({edge.relation for edge in of_any}))
        safety = " That says nothing about safety." if only_drugs(node.type for node in graph.concepts()) else ""
        print(f"The graph holds {missing}{f' (it holds {held})' if held else ''}.{safety}")
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
