"""
Divide raw leaflets into sentences with one complete interaction each (paper 4.1.2, steps 1 and 2).

A file contains leaflets. Each begins with header lines and ends before the next `# 药品` line:

    # 药品: 布美他尼片
    # 疾病: 高血压
    # 来源: where the facts can be checked
    【药物相互作用】
    1.…。2.…

The paper's notation `<drug><药物相互作用><section>`, one leaflet per line, is also read.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..documents import BrokenRecord, read_text


@dataclass(frozen=True)
class Leaflet:
    """
    The interaction section of a drug's leaflet.

    Attributes:
        drug: the drug, with its dosage form.
        disease: the disease it is given for, or an empty string.
        source: where the facts can be checked, or an empty string.
        body: the raw section with its heading.
        file, line: where the leaflet begins.
    """

    drug: str
    disease: str
    source: str
    body: str
    file: str
    line: int


# Sentences end at 。 and at semicolons outside lists and brackets.
_SEPARATORS = "。;；"
_HEADER = re.compile(r"#\s*(药品|疾病|来源)\s*[:：]\s*(.*\S)\s*$")
_NOTATION = re.compile(r"<([^<>]+)><(药物相互作用)><(.*)>\s*$", re.DOTALL)
_TITLE = "(?:与其他药物的相互作用|药物的相互作用|药物间相互作用|药物相互作用|相互作用)"
_HEADING = re.compile(rf"\s*[【\[［〔◆◇■□●▲★※*]*\s*{_TITLE}\s*[】\]］〕*]*\s*[:：]?")
_NEXT_SECTION = re.compile(r"\n\s*【")
_BLOCK_TAG = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|table)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
# A decimal number starts a new item even within a list; the other markers may number the list itself.
_MARKER = re.compile(
    r"\s*(?:(?P<decimal>\d{1,2}(?:[.．](?!\d)|、)|[一二三四五六七八九十]{1,3}、)"
    r"|(?P<other>[(（]\d{1,2}[)）]|\d{1,2}[)）]|[①-⑳]))\s*"
)
# A part that begins with one of these words continues the interaction before it.
_CONTINUATION = re.compile(
    r"因此|因而|所以|故|从而|由此|为此|这|此(?!外)|该|其(?!他|它|余)|两者|二者|三者|两药|二药|前者|后者"
    r"|上述|以上|但|然而|不过|否则|反之|即使|甚至|直至|尤其|特别|并|且|也|亦|还|仍|机制|原因"
    r"|应|需|须|宜|必须|必要时|建议|注意|监测|密切|合用时|合用后|合用期间|联用时|联用期间"
    r"|联合用药时|用药期间|治疗期间|停药后|[如若](?:需|必须|确需|果必须|不能避免|无法避免|出现|发生)|一旦"
)


def read_leaflets(path: Path) -> Iterator[Leaflet | BrokenRecord]:
    """
    Yield the leaflets of a file in order, and a `BrokenRecord` for each line that cannot be read.

    Raises:
        BrokenRecordError: if the file cannot be decoded.
    """
    header: dict[str, str] = {}
    body: list[str] = []
    start = 0

    def leaflet() -> Leaflet:
        drug, disease, source = (header.get(key, "") for key in ("药品", "疾病", "来源"))
        return Leaflet(drug, disease, source, "".join(body), str(path), start)

    for number, line in enumerate(read_text(path).replace("\r\n", "\n").splitlines(keepends=True), 1):
        place = f"line {number}"
        if notation := _NOTATION.match(line):
            if header:
                yield leaflet()
                header, body = {}, []
            drug, title, section = notation.groups()
            yield Leaflet(drug, "", "", f"{title}:{section}", str(path), number)
        elif match := _HEADER.match(line):
            if match[1] == "药品":
                if header:
                    yield leaflet()
                header, body, start = {}, [], number
            elif not header:
                yield BrokenRecord(str(path), place, f"'# {match[1]}' comes before the first '# 药品: …' line.")
                continue
            header[match[1]] = match[2]
        elif line.startswith("#"):
            yield BrokenRecord(str(path), place, f"unknown header {line.strip()!r}. Known: # 药品, # 疾病, # 来源.")
        elif header:
            body.append(line)
        elif line.strip():
            yield BrokenRecord(str(path), place, "text before the first '# 药品: …' line.")
    if header:
        yield leaflet()


def interaction_section(leaflet: Leaflet) -> str:
    """
    The interaction section without its heading, HTML remnants and the sections after it.

    Raises:
        ValueError: if there is no heading of an interaction section, or nothing under it.
    """
    text = _TAG.sub("", _BLOCK_TAG.sub("\n", leaflet.body))
    text = re.sub("[®™]", "", html.unescape(text)).replace("\r", "\n")
    heading = _HEADING.match(text)
    if not heading:
        raise ValueError(f"the leaflet of {leaflet.drug} has no heading such as 【药物相互作用】.")
    section = _NEXT_SECTION.split(text[heading.end() :])[0]
    if not section.strip():
        raise ValueError(f"the interaction section of {leaflet.drug} is empty.")
    return section


def segment(section: str) -> list[tuple[int, int]]:
    """
    Character ranges of the sentences in a cleaned section.

    1. A number (`1.` `1、` `一、` `(1)` `1)` `①`) begins an item at the start of the section, a line or an item, or
       directly after a separator. A colon opens a list, which extends to the next 。; within it, only `1.`, `1、`
       and `一、` at the start of a line begin an item.
    2. An item is split after 。 and semicolons, except within brackets and at the semicolons of a list.
    3. A part that begins with a continuation word (因此, 但, 应, 两者 …) belongs to the part before it.
    """
    ranges: list[tuple[int, int]] = []
    for item_start, item_end in _items(section):
        item = section[item_start:item_end]
        brackets = _in_brackets(item)
        cuts = [0]
        for index, character in enumerate(item):
            if character not in _SEPARATORS or index in brackets:
                continue
            if character == "。" or not _in_list(item[:index]):
                cuts.append(index + 1)
        parts: list[tuple[int, int]] = []
        for start, end in zip(cuts, [*cuts[1:], len(item)], strict=True):
            part = item[start:end]
            if not part.strip(_SEPARATORS + " \t\n\u3000\xa0"):
                continue
            if parts and _CONTINUATION.match(part.strip()):
                start = parts.pop()[0]
            parts.append((start, end))
        ranges += [(item_start + start, item_start + end) for start, end in parts]
    return ranges


def tidy(sentence: str) -> str:
    """A sentence without line breaks, spaces (except between Latin words) and trailing separators."""
    sentence = re.sub(r"\s+", " ", sentence).strip().rstrip(_SEPARATORS + " ")
    return re.sub(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", "", sentence)


def prompted_sentences(leaflet: Leaflet) -> list[str]:
    """
    The sentences of a leaflet as `drug@sentence`, the paper's entity prompt.

    Raises:
        ValueError: if the leaflet has no interaction section, or an empty one.
    """
    section = interaction_section(leaflet)
    return [f"{leaflet.drug}@{tidy(section[start:end])}" for start, end in segment(section)]


def _items(section: str) -> list[tuple[int, int]]:
    found, start, position = [], 0, 0
    while position < len(section):
        before = section[start:position]
        at_item_start = not before.strip()
        at_line_start = at_item_start or re.search(r"\n\s*$", before) is not None
        if at_line_start or before.rstrip()[-1] in _SEPARATORS:
            marker = _MARKER.match(section, position)
            if marker and (at_item_start or not _in_list(before) or (marker["decimal"] and at_line_start)):
                found.append((start, position))
                start = position = marker.end()
                continue
        position += 1
    found.append((start, len(section)))
    return [(start, end) for start, end in found if section[start:end].strip()]


def _in_list(before: str) -> bool:
    """Whether the text after the last 。 contains a colon that is not between two digits."""
    return re.search(r"(?<!\d)[:：]|[:：](?!\d)", before.rpartition("。")[2]) is not None


def _in_brackets(text: str) -> set[int]:
    inside: set[int] = set()
    stack: list[int] = []
    for index, character in enumerate(text):
        if character in "(（[［【〔":
            stack.append(index)
        elif character in ")）]］】〕" and stack:
            inside.update(range(stack.pop(), index + 1))
    return inside
