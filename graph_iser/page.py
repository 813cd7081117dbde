"""
A graph as one HTML page that needs no network: interactions drawn by D3, with filters, search and the evidence.

D3 is read from the installed package gravis (extra `graph`), whose modules are not imported. Names and sentences come
from documents, which may hold anything: they travel as JSON without any sign that HTML or JavaScript gives a meaning,
the page's script puts them in as text alone, and the page's policy lets the browser run no other script and load
nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from .names import Concept
from .store import Edge, Graph


MOST_DRAWN = 2000
"""Interactions that a page draws, those with the best scores; browsers become slow beyond."""

# English gloss and colour of the relations of CH-DDI; others have no gloss, and take the colours of `_OTHERS` in turn.
_RELATIONS = {
    "禁忌": ("contraindication", "#b91c1c"),
    "加成": ("addition", "#c2410c"),
    "协同": ("synergy", "#7e22ce"),
    "促进": ("promotion: exposure rises", "#15803d"),
    "抑制": ("inhibition: exposure falls", "#1d4ed8"),
    "拮抗": ("antagonism", "#0e7490"),
    "无关": ("no interaction", "#6b7280"),
}
_OTHERS = ("#a16207", "#be185d", "#4d7c0f", "#334155")

_D3 = "gravis/_internal/plotting/third_party/d3"


def write_page(
    graph: Graph,
    path: str | Path,
    min_score: float = 0.0,
    relations: Sequence[str] = (),
    most_drawn: int = MOST_DRAWN,
) -> list[str]:
    """
    Write the graph as a page.

    Args:
        path: the HTML file.
        min_score: least score of an interaction's best evidence.
        relations: only these; all if there are none.
        most_drawn: interactions beyond this number are counted on the page, and not drawn.

    Returns:
        What the page says of interactions that it does not draw.

    Raises:
        ValueError: for relations that the graph does not hold.
        ImportError: where gravis is missing, or holds no D3.
    """
    data = page_data(graph, min_score, relations, most_drawn)
    Path(path).write_text(_page(data), encoding="utf-8", newline="\n")
    return list(data["notes"])


def page_data(
    graph: Graph, min_score: float = 0.0, relations: Sequence[str] = (), most_drawn: int = MOST_DRAWN
) -> dict[str, Any]:
    """
    What a page holds, as values of JSON; see `write_page` for the arguments.

    `edges` are first those drawn, the most certain first, then the others of which one drawn is a contradiction.
    `concepts` are also those of which no interaction is drawn, so that a search finds them. Edges give concepts, texts
    and the edges that they contradict by their numbers.
    """
    everything = list(graph.edges())
    held = sorted({edge.relation for edge in everything})
    if unknown := [relation for relation in relations if relation not in held]:
        raise ValueError(f"the graph holds no relation {', '.join(unknown)}. It holds: {', '.join(held) or 'none'}.")
    chosen = [e for e in everything if e.score >= min_score and (not relations or e.relation in relations)]
    chosen.sort(key=lambda edge: -edge.score)
    drawn, left_out = chosen[:most_drawn], chosen[most_drawn:]

    in_drawing, all_pairs = set(drawn), [(pair.first, pair.second) for pair in graph.contradictions()]
    pairs = [pair for pair in all_pairs if not in_drawing.isdisjoint(pair)]
    edges = list(dict.fromkeys([*drawn, *(edge for pair in pairs for edge in pair)]))
    numbers = {edge: number for number, edge in enumerate(edges)}
    contradicted: dict[Edge, list[int]] = {edge: [] for edge in edges}
    for first, second in pairs:
        contradicted[first].append(numbers[second])
        contradicted[second].append(numbers[first])

    spellings: dict[Concept, set[str]] = {}
    for edge in dict.fromkeys([*edges, *left_out]):
        spellings.setdefault(edge.head, set()).update(evidence.head for evidence in edge.evidence)
        spellings.setdefault(edge.tail, set()).update(evidence.tail for evidence in edge.evidence)
    concepts = {concept: number for number, concept in enumerate(spellings)}
    not_drawn = Counter(end for edge in left_out for end in (edge.head, edge.tail))
    texts: dict[str, int] = {}
    return {
        "title": Path(graph.path).name,
        "notes": _notes(len(everything), len(drawn), len(left_out), min_score, relations, len(all_pairs) - len(pairs)),
        "min_score": min_score,
        "drawn": len(drawn),
        "relations": _relations({edge.relation for edge in edges}),
        "concepts": [
            {
                **dataclasses.asdict(concept),
                "candidates": list(concept.candidates),
                "written": sorted(spellings[concept] - {concept.name}),
                "not_drawn": not_drawn[concept],
            }
            for concept in concepts
        ],
        "edges": [
            {
                "head": concepts[edge.head],
                "relation": edge.relation,
                "tail": concepts[edge.tail],
                "score": edge.score,
                "contradicts": contradicted[edge],
                "evidence": [
                    {**dataclasses.asdict(evidence), "text": texts.setdefault(evidence.text, len(texts))}
                    for evidence in edge.evidence
                ],
            }
            for edge in edges
        ],
        "contradictions": [[numbers[first], numbers[second]] for first, second in pairs],
        "texts": list(texts),
    }


def _notes(
    held: int, drawn: int, left_out: int, min_score: float, relations: Sequence[str], contradictions: int
) -> list[str]:
    """What the page does not show, in sentences."""
    notes = []
    if left_out:
        many = f"{left_out:,} further interaction{'s are' if left_out > 1 else ' is'}"
        notes.append(f"{many} not drawn; iser-graph query lists them. Drawn are the {drawn:,} with the best scores.")
    if unasked := held - drawn - left_out:
        asked = [f"scores of at least {min_score:g}"] if min_score > 0 else []
        asked += [f"the relations {', '.join(relations)}"] if relations else []
        many = f"{unasked:,} interaction{'s' if unasked > 1 else ''}"
        notes.append(f"{many} of the graph left out: the page was made for {' and '.join(asked)}.")
    if contradictions:
        many = f"{contradictions:,} contradiction{'s' if contradictions > 1 else ''}"
        notes.append(f"{many} among interactions that are not drawn; iser-graph contradictions lists them.")
    return notes


def _relations(names: set[str]) -> list[dict[str, str]]:
    """Name, gloss and colour of each relation, those of CH-DDI first."""
    others = sorted(names - _RELATIONS.keys())
    looks = {name: look for name, look in _RELATIONS.items() if name in names}
    looks |= {name: ("", _OTHERS[number % len(_OTHERS)]) for number, name in enumerate(others)}
    return [{"name": name, "gloss": gloss, "colour": colour} for name, (gloss, colour) in looks.items()]


def embedded(value: Any) -> str:
    """JSON that can stand in a script element: what ends or opens elements, and line ends of JavaScript, is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def _d3() -> str:
    """D3 with its licence, which gives it out as the global `d3`."""
    try:
        folder = Path(str(distribution("gravis").locate_file(_D3)))
        licence, library = ((folder / name).read_text("utf-8") for name in ("ORIGINAL_LICENSE", "d3.v7.min.def.js"))
    except (PackageNotFoundError, FileNotFoundError):
        raise ImportError('the page needs D3 from the package gravis 0.1: pip install -e ".[graph]"') from None
    # gravis defines the library for RequireJS; these two lines take its place.
    loader = "var require = { defined: () => false };\nvar define = (name, needs, make) => make((globalThis.d3 = {}));"
    return f"/*\n{licence.strip()}\n*/\n{loader}\n{library}"


def _page(data: dict[str, Any]) -> str:
    library = _d3()
    here = Path(__file__)
    style, body, script = (here.with_suffix(suffix).read_text("utf-8") for suffix in (".css", ".html", ".js"))
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>Interactions</title>
<style>{style}</style>
</head>
<body>{body}<script type="application/json" id="data">{embedded(data)}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""


def _hash(source: str) -> str:
    """A script or style as the policy names it; browsers run and apply those named, and no others."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
