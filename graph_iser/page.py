"""
A graph as a single HTML page that needs no network: interactions drawn by D3, with filters, search and evidence.

D3 is read from the installed package gravis (extra `graph`), whose modules are not imported. Names and sentences come
from untrusted documents: they are embedded as JSON without characters that are special in HTML or JavaScript, the
page's script inserts them only as text, and its security policy forbids other scripts and loading anything.
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

from .names import Concept, only_drugs
from .palette_iser import relation_colours
from .store import Edge, Graph, check_held


MAX_DRAWN = 2000
"""Number of interactions that a page draws, those with the best scores; browsers become slow with more."""

_GLOSSES = {
    "禁忌": "contraindication",
    "加成": "addition",
    "协同": "synergy",
    "促进": "promotion: exposure rises",
    "抑制": "inhibition: exposure falls",
    "拮抗": "antagonism",
    "无关": "no interaction",
}
"""The relations of CH-DDI in English."""

_DRUG_WORDS = {
    "heading": "Interactions found in leaflets 药品说明书中的相互作用",
    "entity": "Drug 药物",
    "code": "ATC",
    "drawing": "Drugs and the interactions between them",
    "absence": "The absence of a line between two drugs says nothing about their safety. 图中无连线不表示合用安全。",
    "click": "Click an interaction for its sentences, a drug for its interactions.",
    "click_chinese": "点击连线查看原文,点击药物查看其相互作用。",
    "nothing": "There is nothing to draw. That says nothing about safety.",
    "not_here": "Not on this page. That says nothing about safety. Try iser-graph query.",
    "relation": "interaction",
    "relations": "Interactions 相互作用",
}
_OTHER_WORDS = {
    "heading": "Relations found in texts 文本中的关系",
    "entity": "Entity 实体",
    "code": "",
    "drawing": "Entities and the relations between them",
    "absence": "Entities without a line between them may still be related. 图中无连线不表示没有关系。",
    "click": "Click a relation for its sentences, an entity for its relations.",
    "click_chinese": "点击连线查看原文,点击实体查看其关系。",
    "nothing": "There is nothing to draw. Entities may still be related.",
    "not_here": "Not on this page. Try iser-graph query.",
    "relation": "relation",
    "relations": "Relations 关系",
}

_D3 = "gravis/_internal/plotting/third_party/d3"


def write_page(
    graph: Graph,
    path: str | Path,
    min_score: float = 0.0,
    relations: Sequence[str] = (),
    max_drawn: int = MAX_DRAWN,
) -> list[str]:
    """
    Write the graph as a page.

    Args:
        path: the HTML file.
        min_score: least score of an interaction, that is, of its best evidence.
        relations: only these relations; empty for all.
        max_drawn: further interactions are counted on the page, but not drawn.

    Returns:
        The notes on the page about interactions that it does not draw.

    Raises:
        ValueError: if one of the relations does not occur in the graph.
        ImportError: if gravis is missing or does not contain D3.
    """
    data = page_data(graph, min_score, relations, max_drawn)
    Path(path).write_text(_page(data), encoding="utf-8", newline="\n")
    return list(data["notes"])


def page_data(
    graph: Graph, min_score: float = 0.0, relations: Sequence[str] = (), max_drawn: int = MAX_DRAWN
) -> dict[str, Any]:
    """
    The data of a page as JSON values; see `write_page` for the arguments.

    `edges` has those drawn, in descending order of score, followed by others that contradict them. `concepts` includes
    those without drawn interactions, so that the search finds them. Edges refer to concepts, texts and contradicting
    edges by index.
    """
    check_held(relations, graph.relations())
    everything = list(graph.edges())
    chosen = [e for e in everything if e.score >= min_score and (not relations or e.relation in relations)]
    chosen.sort(key=lambda edge: -edge.score)
    drawn, left_out = chosen[:max_drawn], chosen[max_drawn:]

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
    words = _words(graph)
    counts = (len(everything), len(drawn), len(left_out), len(all_pairs) - len(pairs))
    return {
        "title": Path(graph.path).name,
        "words": words,
        "notes": _notes(*counts, min_score, relations, words["relation"]),
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


def _words(graph: Graph) -> dict[str, str]:
    """The words of the page: those for drugs if there are no other types, else for entities with the names of types."""
    types = sorted({concept.type for concept in graph.concepts()})
    if only_drugs(types):
        return _DRUG_WORDS
    return {**_OTHER_WORDS, "entity": f"{_OTHER_WORDS['entity']}: {', '.join(types)}"}


def _notes(
    held: int, drawn: int, left_out: int, contradictions: int, min_score: float, relations: Sequence[str], one: str
) -> list[str]:
    """Notes about what the page does not show; `one` is its word for a relation."""
    notes = []
    if left_out:
        many = f"{left_out:,} further {one}{'s are' if left_out > 1 else ' is'}"
        notes.append(f"{many} not drawn; iser-graph query lists them. The {drawn:,} with the best scores are drawn.")
    if unasked := held - drawn - left_out:
        asked = [f"scores of at least {min_score:g}"] if min_score > 0 else []
        asked += [f"the relations {', '.join(relations)}"] if relations else []
        many = f"{unasked:,} {one}{'s' if unasked > 1 else ''}"
        notes.append(f"{many} of the graph left out: the page is limited to {' and '.join(asked)}.")
    if contradictions:
        many = f"{contradictions:,} contradiction{'s' if contradictions > 1 else ''}"
        notes.append(f"{many} among {one}s that are not drawn; iser-graph contradictions lists them.")
    return notes


def _relations(names: set[str]) -> list[dict[str, str]]:
    """Name, gloss and colour of each relation, those of CH-DDI first."""
    return [
        {"name": name, "gloss": _GLOSSES.get(name, ""), "colour": colour}
        for name, colour in relation_colours(names).items()
    ]


def embedded(value: Any) -> str:
    """JSON for a script element: characters special in HTML, and line separators of JavaScript, are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def _d3() -> str:
    """The code of D3 with its licence; it defines the global `d3`."""
    try:
        folder = Path(str(distribution("gravis").locate_file(_D3)))
        licence, library = ((folder / name).read_text("utf-8") for name in ("ORIGINAL_LICENSE", "d3.v7.min.def.js"))
    except (PackageNotFoundError, FileNotFoundError):
        raise ImportError('the page needs D3 from the package gravis 0.1: pip install "iser[graph]"') from None
    # gravis has a version for RequireJS, which these two lines replace.
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
<title>ISER</title>
<style>{style}</style>
</head>
<body>{body}<script type="application/json" id="data">{embedded(data)}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""


def _hash(source: str) -> str:
    """The hash by which the security policy allows a script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
