"""Draw entities and relations as labelled arcs, in self-contained HTML and in notebooks."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .palette_iser import relation_colours


_EM = 18  # font size in pixels
_LANE = 20  # height of one lane of arcs above a line of text
_WIDTH = 46  # width of a line of text in em
_MARGIN = 24
_GAP = 10


class Extraction(dict[str, Any]):
    """
    The entities and relations of a text: a dictionary with `text`, `drug`, `entities` and `relations`, as the pipeline
    documents it. Notebooks display it as a picture.
    """

    def triples(self) -> list[dict[str, Any]]:
        """
        The relations as `{"head", "relation", "tail", "score"}`, by name only, with the highest scores first. Where
        mentions of the same names have the same relation, only the one with the highest score is listed.
        """
        rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        for relation in sorted(self["relations"], key=lambda relation: -relation["score"]):
            head, name, tail = triple = relation["head"]["text"], relation["type"], relation["tail"]["text"]
            rows.setdefault(triple, {"head": head, "relation": name, "tail": tail, "score": relation["score"]})
        return list(rows.values())

    def to_html(self) -> str:
        """The text with its entities and labelled relation arcs, as an HTML fragment without scripts."""
        return _picture(self, _colours([self]))

    def _repr_html_(self) -> str:
        return self.to_html()


def write_html(
    extractions: Mapping[str, Any] | Iterable[Mapping[str, Any]], path: str | Path, title: str = "ISER"
) -> None:
    """
    Write one or more extractions, each with a table of its triples, to a self-contained HTML page. Dictionaries read
    from JSON work too.
    """
    several = [extractions] if isinstance(extractions, Mapping) else extractions
    shown = [Extraction(one) for one in several]
    colours = _colours(shown)
    sections = []
    for extraction in shown:
        rows = "".join(
            f"<tr><td>{html.escape(t['head'])}</td><td>{html.escape(t['relation'])}</td>"
            f"<td>{html.escape(t['tail'])}</td><td>{t['score']:.2f}</td></tr>"
            for t in extraction.triples()
        )
        table = f"<table><tr><th>head</th><th>relation</th><th>tail</th><th>score</th></tr>{rows}</table>"
        sections.append(f"<section>{_picture(extraction, colours)}{table if rows else ''}</section>")
    style = (
        "body{font-family:sans-serif;max-width:960px;margin:2em auto;color:#111;background:#fff}"
        "section{border-top:1px solid #ddd;padding:1em 0}table{border-collapse:collapse;font-size:15px}"
        "th,td{text-align:left;padding:2px 14px 2px 0;border-bottom:1px solid #eee}"
    )
    Path(path).write_text(
        f'<!doctype html><html><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style>'
        f"</head><body><h1>{html.escape(title)}</h1><p>Found by a model; not for clinical decisions.</p>"
        f"{''.join(sections)}</body></html>\n",
        encoding="utf-8",
    )


class _Layout:
    """Positions of the characters: `line` and `x` (pixels) of each, and of the end of the text."""

    def __init__(self, text: str) -> None:
        self.line: list[int] = []
        self.x: list[float] = []
        line, x = 0, 0.0
        for character in text:
            width = _EM * (1.0 if unicodedata.east_asian_width(character) in "WFA" else 0.62)
            if unicodedata.combining(character):
                width = 0
            if x + width > _WIDTH * _EM:
                line, x = line + 1, 0.0
            self.line.append(line)
            self.x.append(_MARGIN + x)
            x += width
            if character == "\n":
                line, x = line + 1, 0.0
        self.line.append(line)
        self.x.append(_MARGIN + x)
        self.num_lines = line + 1

    def boxes(self, start: int, end: int) -> list[tuple[int, float, float]]:
        """`(line, left, right)` of a range of characters, for each line that it touches."""
        found: list[tuple[int, float, float]] = []
        for index in range(start, end):
            right = self.x[index + 1] if self.line[index + 1] == self.line[index] else _MARGIN + _WIDTH * _EM
            if found and found[-1][0] == self.line[index]:
                found[-1] = (found[-1][0], found[-1][1], right)
            else:
                found.append((self.line[index], self.x[index], right))
        return found


class _Lanes:
    """Lanes above each line; the intervals in a lane do not touch."""

    def __init__(self, num_lines: int) -> None:
        self.taken: list[list[list[tuple[float, float]]]] = [[] for _ in range(num_lines)]

    def take(self, line: int, left: float, right: float) -> int:
        lanes = self.taken[line]
        for number, intervals in enumerate(lanes):
            if all(right + _GAP < a or b + _GAP < left for a, b in intervals):
                intervals.append((left, right))
                return number
        lanes.append([(left, right)])
        return len(lanes) - 1


def _picture(extraction: Extraction, colours: dict[str, str]) -> str:
    # The leaflet's drug is not part of the text; the picture shows it before the text.
    drug = extraction.get("drug")
    before = f"{drug['text']} │ " if drug else ""
    text = before + extraction["text"].replace("\r", " ").replace("\t", " ")
    layout = _Layout(text)

    def place(entity: dict[str, Any]) -> tuple[int, int]:
        if entity["start"] is None:
            return 0, len(entity["text"])
        return entity["start"] + len(before), entity["end"] + len(before)

    lanes = _Lanes(layout.num_lines)
    arcs = [_arc(relation, layout, lanes, place) for relation in sorted(extraction["relations"], key=_reach(place))]
    tops: list[float] = []
    height = 8.0
    for taken in lanes.taken:
        height += len(taken) * _LANE + 6
        tops.append(height)
        height += _EM * 1.7
    parts: list[str] = []
    for entity in ([{"start": None, "text": drug["text"]}] if drug else []) + extraction["entities"]:
        for line, left, right in layout.boxes(*place(entity)):
            fill = "#fde68a" if entity["start"] is None else "#dbeafe"
            parts.append(
                f'<rect x="{left - 1:.0f}" y="{tops[line]:.0f}" width="{right - left + 2:.0f}" '
                f'height="{_EM * 1.35:.0f}" rx="4" fill="{fill}"/>'
            )
    for index, character in enumerate(text):
        if not character.isspace():
            y = tops[layout.line[index]] + _EM
            parts.append(f'<text x="{layout.x[index]:.1f}" y="{y:.0f}">{html.escape(character)}</text>')
    parts += [_draw(arc, tops, colours[arc["type"]]) for arc in arcs]
    width = _WIDTH * _EM + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
        f'viewBox="0 0 {width} {height:.0f}" style="background:#fff;max-width:100%" font-size="{_EM}" '
        f'font-family="sans-serif" fill="#111">{"".join(parts)}</svg>'
    )


def _colours(extractions: Sequence[Extraction]) -> dict[str, str]:
    """A colour for each relation type on a page."""
    return relation_colours(relation["type"] for extraction in extractions for relation in extraction["relations"])


def _reach(place: Any) -> Any:
    """Sort key: short arcs first, so that they take the lanes next to the text."""
    return lambda relation: abs(place(relation["head"])[0] - place(relation["tail"])[0])


def _arc(relation: dict[str, Any], layout: _Layout, lanes: _Lanes, place: Any) -> dict[str, Any]:
    ends = []
    for role, push in (("head", -3.0), ("tail", 3.0)):
        line, left, right = layout.boxes(*place(relation[role]))[0]
        ends.append((line, (left + right) / 2 + push))
    (head_line, head_x), (tail_line, tail_x) = ends
    label = relation["type"]
    room = _EM * 0.8 * len(label) / 2 + 4
    if head_line == tail_line:
        left, right = sorted((head_x, tail_x))
        middle = (left + right) / 2
        lane = lanes.take(head_line, min(left, middle - room), max(right, middle + room))
        return {"type": label, "ends": ends, "lanes": (lane, lane), "label": middle, "side": None}
    # Across lines, the arc goes round the nearer side of the text.
    side = 8.0 if head_x + tail_x < _WIDTH * _EM else _WIDTH * _EM + 2 * _MARGIN - 8.0
    taken = []
    for line, x in ends:
        left, right = sorted((x, side))
        taken.append(lanes.take(line, min(left, x - 2 * room), max(right, x + 2 * room)))
    label_x = head_x + (room + 4 if side > head_x else -room - 4)
    return {"type": label, "ends": ends, "lanes": tuple(taken), "label": label_x, "side": side}


def _draw(arc: dict[str, Any], tops: list[float], colour: str) -> str:
    (head_line, head_x), (tail_line, tail_x) = arc["ends"]
    heights = [tops[line] - 8 - lane * _LANE for line, lane in zip((head_line, tail_line), arc["lanes"], strict=True)]
    path = f"M{head_x:.0f} {tops[head_line]:.0f}V{heights[0]:.0f}"
    if arc["side"] is None:
        path += f"H{tail_x:.0f}"
    else:
        path += f"H{arc['side']:.0f}V{heights[1]:.0f}H{tail_x:.0f}"
    end = tops[tail_line] - 1
    path += f"V{end:.0f}"
    tip = f"M{tail_x - 4:.0f} {end - 6:.0f}L{tail_x:.0f} {end:.0f}L{tail_x + 4:.0f} {end - 6:.0f}"
    size = _EM * 0.72
    width = size * len(arc["type"]) * (1 if not arc["type"].isascii() else 0.6) + 6
    return (
        f'<path d="{path}{tip}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        f'<rect x="{arc["label"] - width / 2:.0f}" y="{heights[0] - size * 0.65:.0f}" width="{width:.0f}" '
        f'height="{size * 1.2:.0f}" fill="#fff"/>'
        f'<text x="{arc["label"]:.0f}" y="{heights[0] + size * 0.35:.0f}" font-size="{size:.0f}" text-anchor="middle" '
        f'fill="{colour}">{html.escape(arc["type"])}</text>'
    )
