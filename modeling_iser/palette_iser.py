"""
One colour for each relation, the same in a text's picture and on a graph's page.

`graph_iser` links to this file, because importing `modeling_iser` loads torch.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable


DRUG_RELATIONS = {
    "禁忌": "#b91c1c",
    "加成": "#c2410c",
    "协同": "#7e22ce",
    "促进": "#15803d",
    "抑制": "#1d4ed8",
    "拮抗": "#0e7490",
    "无关": "#6b7280",
}
"""Colours of the relations of CH-DDI, which do not depend on the others."""

COLOURS = (*DRUG_RELATIONS.values(), "#a16207", "#be185d", "#4d7c0f", "#334155")


def relation_colours(relations: Iterable[str]) -> dict[str, str]:
    """
    A colour for each relation, in the order of `DRUG_RELATIONS` and then of the names.

    A relation outside CH-DDI gets a colour by its name, or the next one in `COLOURS` that is free. So the colours of
    a set of relations are always the same, and differ as long as there are enough.
    """
    names = set(relations)
    chosen = {name: colour for name, colour in DRUG_RELATIONS.items() if name in names}
    for name in sorted(names - chosen.keys()):
        first = zlib.crc32(name.encode("utf-8", "surrogatepass")) % len(COLOURS)
        candidates = COLOURS[first:] + COLOURS[:first]
        taken = set(chosen.values())
        chosen[name] = next((colour for colour in candidates if colour not in taken), candidates[0])
    return chosen


__all__ = ["COLOURS", "DRUG_RELATIONS", "relation_colours"]
