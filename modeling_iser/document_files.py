"""
Leaflets as PDF, Word, web page or Markdown → the drug and the paragraphs of its section on interactions.

The libraries come with the extra `documents`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


MOST_BYTES = 200 * 2**20
"""What a document may hold, unpacked."""


class Paragraph(NamedTuple):
    """
    Attributes:
        page: counted from 1; `None` where a format has no pages.
        number: of the paragraph on its page, or in the document, counted from 1.
        text: its lines in one.
    """

    page: int | None
    number: int
    text: str


@dataclass
class LeafletDocument:
    """
    Attributes:
        drug: the generic name that the leaflet gives, if it does.
        paragraphs: those of the section on interactions, or all where there is no such section.
        notes: what a reader should know: pages without text, a section that is not there.
    """

    drug: str | None
    paragraphs: list[Paragraph]
    notes: list[str] = field(default_factory=list)


def read_leaflet(path: str | Path) -> LeafletDocument:
    """
    Read a leaflet.

    Args:
        path: a file whose name ends in one of `DOCUMENT_FORMATS`.

    Raises:
        ValueError: for a document that cannot be read (encrypted, damaged, without any text, far too large when
            unpacked), with what to do.
        ImportError: where the library for the format is missing.
    """
    path = Path(path)
    notes: list[str] = []
    try:
        lines = list(_READERS[path.suffix.lower().lstrip(".")](path, notes))
    except ModuleNotFoundError as error:
        raise ImportError(f'{path}: reading this format needs {error.name}: pip install -e ".[documents]"') from None
    if not any(line.strip() for _, line in lines):
        raise ValueError("no text in it. If it is a scan, have its text recognised (OCR) first")
    paragraphs = list(_paragraphs(lines))
    section = list(_section(paragraphs))
    if not section:
        notes.append("no section 【药物相互作用】 found; the whole text is read")
    return LeafletDocument(_drug(paragraphs), section or paragraphs, notes)


Lines = Iterator[tuple[int | None, str]]
"""Page and line."""


def _pdf(path: Path, notes: list[str]) -> Lines:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise ValueError("encrypted. Save a copy without a password")
        pages = [page.extract_text() for page in reader.pages]
    except DependencyError:
        raise ValueError("encrypted in a way that cannot be read. Save a copy without a password") from None
    except (PyPdfError, KeyError, TypeError, AttributeError, IndexError, OSError, RecursionError) as error:
        raise ValueError(f"no whole PDF ({type(error).__name__}: {error}). Was it cut off or damaged?") from None
    if blank := [str(number) for number, text in enumerate(pages, 1) if not text.strip()]:
        notes.append(f"no text on page {', '.join(blank)}")
    for number, text in enumerate(pages, 1):
        yield from ((number, line) for line in text.splitlines())


def _docx(path: Path, notes: list[str]) -> Lines:
    from docx import Document
    from docx.table import Table

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"unpacked, it has more than {MOST_BYTES // 2**20} MiB")
        document = Document(str(path))
    except (zipfile.BadZipFile, KeyError, OSError, SyntaxError) as error:
        raise ValueError(f"no whole Word document ({type(error).__name__}). Was it cut off or damaged?") from None
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                yield None, "\t".join(dict.fromkeys(cell.text.strip() for cell in row.cells))
        else:
            yield from ((None, line) for line in block.text.splitlines())
        yield None, ""


def _html(path: Path, notes: list[str]) -> Lines:
    from bs4 import BeautifulSoup

    page = BeautifulSoup(_limited(path), "html.parser")
    for hidden in page(["script", "style", "noscript", "template", "head", "iframe", "object", "svg"]):
        hidden.decompose()
    for inline in page(["b", "i", "em", "strong", "span", "a", "sup", "sub", "u", "font", "mark"]):
        inline.unwrap()
    page.smooth()
    yield from ((None, line) for line in page.get_text("\n\n").splitlines())


def _markdown(path: Path, notes: list[str]) -> Lines:
    for line in _limited(path).decode("utf-8-sig", errors="replace").splitlines():
        heading = re.match(r"\s*#+\s*", line)
        if heading:
            yield None, ""
        yield None, re.sub(r"^\s*(?:#+|[-*+>])\s+|[*_`]{1,3}", "", line)
        if heading:
            yield None, ""


def _limited(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES // 2**20} MiB")
    return path.read_bytes()


_READERS: dict[str, Callable[[Path, list[str]], Lines]] = {
    "pdf": _pdf, "docx": _docx, "html": _html, "htm": _html, "md": _markdown
}  # fmt: skip
DOCUMENT_FORMATS = tuple(_READERS)
"""Endings of the names of documents that can be read."""


# ------------------------------------------------------------------------------- paragraphs and sections

_BRACKETS = r"[【\[〔［]\s*{}\s*[】\]〕］]"
_HEADING = re.compile(_BRACKETS.format(r"[^】\]〕］\d]{2,12}"))
_TITLE = r"(?:药\s*物\s*)?相\s*互\s*作\s*用"
_SECTION = re.compile(rf"{_BRACKETS.format(_TITLE)}|{_TITLE}\s*[:：]?\s*$")
# What begins a paragraph whatever stands before it: a heading, an item, a label of the names' section.
_BEGINS = re.compile(
    rf"{_HEADING.pattern}|{_TITLE}\s*$|[(（]?\d{{1,2}}[.、)）．](?!\d)|[①-⑳•●■]|(?:通用|商品|英文|中文)名|汉语拼音|成[份分]"
)
_ENDS = re.compile(r"[。!！?？;；]\s*$")
_NAME = re.compile(
    r"(?:通\s*用\s*名\s*称?|【通用名称?】)\s*[:：]?\s*(?P<name>[^\s,，。;；:：]{2,30}?)\s*(?=商品名|英文名|汉语拼音|[\s,，。;；]|$)"
)


def _paragraphs(lines: Iterable[tuple[int | None, str]]) -> Iterator[Paragraph]:
    """
    Lines that belong together in one: a blank line, a new item, a heading or a sentence's end parts them. One that goes
    on on the next page is of the page where it begins.
    """
    page, number, text = None, 0, ""
    for of_page, line in lines:
        line = line.strip()
        if text and (not line or _BEGINS.match(line) or _ENDS.search(text)):
            yield Paragraph(page, number, text)
            text = ""
        if not line:
            continue
        if not text:
            page, number = of_page, number + 1 if of_page == page else 1
        latin = text[-1:].isascii() and text[-1:].isalnum() and line[:1].isascii() and line[:1].isalnum()
        text = f"{text} {line}" if latin else text + line
    if text:
        yield Paragraph(page, number, text)


def _section(paragraphs: Iterable[Paragraph]) -> Iterator[Paragraph]:
    """The paragraphs of the section on interactions, its heading too."""
    inside = False
    for paragraph in paragraphs:
        if _SECTION.match(paragraph.text):
            inside = True
        elif _HEADING.match(paragraph.text):
            inside = False
        if inside:
            yield paragraph


def _drug(paragraphs: Iterable[Paragraph]) -> str | None:
    """The generic name, from "通用名称:…", or from a title "…说明书"."""
    title = None
    for paragraph in paragraphs:
        if found := _NAME.search(paragraph.text):
            return found["name"]
        if title is None and (
            found := re.match(r"(?P<name>[^\s,，。【]{2,20}?)(?:药品)?(?:使用)?说明书\s*$", paragraph.text)
        ):
            title = found["name"]
    return title


__all__ = ["DOCUMENT_FORMATS", "LeafletDocument", "Paragraph", "read_leaflet"]
