"""
Read leaflets in PDF, Word, HTML or Markdown: the drug, and the paragraphs of the section on interactions.

The libraries are in the extra `documents`.
"""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .commands import extra
from .text_files import NAME_IT, decode


MAX_BYTES = 200 * 2**20
"""Maximum size of a document, unpacked."""


class Paragraph(NamedTuple):
    """
    Attributes:
        page: page number, counted from 1; `None` for formats without pages.
        number: number of the paragraph on its page, or in a document without pages, counted from 1.
        text: the paragraph's lines, joined.
    """

    page: int | None
    number: int
    text: str


@dataclass
class LeafletDocument:
    """
    Attributes:
        drug: the generic name in the leaflet, if there is one.
        paragraphs: the paragraphs of the section on interactions, or all paragraphs if there is no such section.
        notes: remarks for the user, such as pages without text or a missing section.
    """

    drug: str | None
    paragraphs: list[Paragraph]
    notes: list[str] = field(default_factory=list)


def read_leaflet(path: str | Path, encoding: str | None = None, document_format: str | None = None) -> LeafletDocument:
    """
    Read a leaflet.

    Args:
        path: the file.
        encoding: encoding of HTML and Markdown; `None` for the one that an HTML file declares, or else to detect it.
        document_format: one of `DOCUMENT_FORMATS`; `None` for the file's extension.

    Raises:
        ValueError: if the document cannot be read: it is encrypted or damaged, has no text, is too large unpacked, or
            cannot be decoded.
        ImportError: if the library for the format is not installed.
    """
    path = Path(path)
    notes: list[str] = []
    chosen = document_format or path.suffix.lower().lstrip(".")
    if chosen not in _READERS:
        raise ValueError(f"{chosen!r} is not a document format. Known: {', '.join(DOCUMENT_FORMATS)}.")
    with extra("documents"):
        lines = list(_READERS[chosen](path, notes, encoding))
    if not any(line.strip() for _, line in lines):
        raise ValueError("the document has no text. If it is a scan, run text recognition (OCR) first")
    paragraphs = list(_paragraphs(lines))
    section = list(_section(paragraphs))
    if not section:
        notes.append("there is no section 【药物相互作用】; the whole text is used")
    return LeafletDocument(_drug(paragraphs), section or paragraphs, notes)


Lines = Iterator[tuple[int | None, str]]
"""Page and line."""


def _pdf(path: Path, notes: list[str], encoding: str | None) -> Lines:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise ValueError("the PDF is encrypted. Save a copy without a password")
        pages = [page.extract_text() for page in reader.pages]
    except DependencyError:
        raise ValueError("the PDF's encryption is not supported. Save a copy without a password") from None
    except (PyPdfError, KeyError, TypeError, AttributeError, IndexError, OSError, RecursionError) as error:
        raise ValueError(
            f"not a valid PDF ({type(error).__name__}: {error}). Is the file incomplete or damaged?"
        ) from None
    if blank := [str(number) for number, text in enumerate(pages, 1) if not text.strip()]:
        notes.append(f"no text on page {', '.join(blank)}")
    bodies, headers = _without_headers(pages)
    if headers:
        notes.append(f"headers and footers left out: {'; '.join(headers)}")
    for number, body in enumerate(bodies, 1):
        yield from ((number, line) for line in body)


def _docx(path: Path, notes: list[str], encoding: str | None) -> Lines:
    from docx import Document
    from docx.table import Table

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"the unpacked document is larger than {MAX_BYTES // 2**20} MiB")
        document = Document(str(path))
    except (zipfile.BadZipFile, KeyError, OSError, SyntaxError) as error:
        raise ValueError(
            f"not a valid Word document ({type(error).__name__}). Is the file incomplete or damaged?"
        ) from None
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                yield None, "\t".join(dict.fromkeys(cell.text.strip() for cell in row.cells))
        else:
            yield from ((None, line) for line in block.text.splitlines())
        yield None, ""


def _html(path: Path, notes: list[str], encoding: str | None) -> Lines:
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector

    data = _limited(path)
    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    page = BeautifulSoup(_markup(data, encoding, declared, notes), "html.parser")
    for hidden in page(["script", "style", "noscript", "template", "head", "iframe", "object", "svg"]):
        hidden.decompose()
    for inline in page(["b", "i", "em", "strong", "span", "a", "sup", "sub", "u", "font", "mark"]):
        inline.unwrap()
    page.smooth()
    yield from ((None, line) for line in page.get_text("\n\n").splitlines())


def _markup(data: bytes, encoding: str | None, declared: str | None, notes: list[str]) -> str:
    """The text of an HTML file in the given encoding, in the declared one, or in the one that is detected."""
    # A declaration that can be read as ASCII is not in UTF-16, whatever it says.
    if encoding is None and declared is not None and not declared.startswith("utf-16"):
        try:
            return decode(data, declared)[0]
        except ValueError:
            notes.append(f"the declared encoding {declared} is wrong")
    return _decode(data, encoding, notes)


def _decode(data: bytes, encoding: str | None, notes: list[str]) -> str:
    try:
        text, note = decode(data, encoding)
    except ValueError as error:
        raise ValueError(f"{error}{'' if encoding else f'. {NAME_IT}'}") from None
    if note is not None:
        notes.append(note)
    return text


def _markdown(path: Path, notes: list[str], encoding: str | None) -> Lines:
    for line in _decode(_limited(path), encoding, notes).splitlines():
        heading = re.match(r"\s*#+\s*", line)
        if heading:
            yield None, ""
        yield None, re.sub(r"^\s*(?:#+|[-*+>])\s+|[*_`]{1,3}", "", line)
        if heading:
            yield None, ""


def _limited(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"the file is larger than {MAX_BYTES // 2**20} MiB")
    return path.read_bytes()


_READERS: dict[str, Callable[[Path, list[str], str | None], Lines]] = {
    "pdf": _pdf, "docx": _docx, "html": _html, "htm": _html, "md": _markdown
}  # fmt: skip
DOCUMENT_FORMATS = tuple(_READERS)
"""Extensions of the documents that can be read."""
_LIBRARIES = {"pdf": "pypdf", "docx": "docx", "html": "bs4", "htm": "bs4"}


def require_library(document_format: str) -> None:
    """
    Raises:
        ImportError: if the library for a format is not installed.
    """
    if document_format in _LIBRARIES:
        with extra("documents"):
            importlib.import_module(_LIBRARIES[document_format])


# ------------------------------------------------------------------------------------ headers and footers

_MAX_HEADER_LINES = 4
"""Pages whose text is the same lose no more lines than that at the top and at the bottom."""
_NUMBER = re.compile(r"\d{1,9}")
_LETTER = re.compile(r"[^\W\d_]")
# Both are matched against lines without spaces.
_PAGE_NUMBER = re.compile(
    r"""\W*(?:
        (?:第|p(?:age)?\.?)?(?P<number>\d{1,4})页?(?:(?:[/,，、]共?|共|of)\d{1,4}页?)?
        |共\d{1,4}页\W?第\d{1,4}页
        |第[一二三四五六七八九十]{1,3}页
    )\W*""",
    re.VERBOSE | re.IGNORECASE,
)
_WITH_PAGE_NUMBER = re.compile(r"\W*\d|.*(?:第\d+页|page\d|\d\W*$)", re.IGNORECASE)


def _without_headers(pages: list[str]) -> tuple[list[list[str]], list[str]]:
    """
    Remove headers, footers and page numbers, so that a sentence continues on the next page.

    Headers and footers of the first page that have no page number are kept once, at the top of that page: they may be
    the title of the leaflet, or a warning.

    Args:
        pages: the text of each page, in the order of the PDF's content; a footer may precede the body.

    Returns:
        The lines of each page, and an example of each header and footer.
    """
    bodies = [_trimmed(page.splitlines()) for page in pages]
    with_text = [page for page, lines in enumerate(bodies) if lines]
    top: list[str] = []
    bottom: list[str] = []
    examples: dict[str, str] = {}
    for edge, rest in ((0, slice(1, None)), (-1, slice(None, -1))):
        for _ in range(_MAX_HEADER_LINES):
            lines = {page: bodies[page][edge] for page in with_text if bodies[page]}
            inner = {page: bodies[page][rest][edge] for page in with_text if len(bodies[page]) > 1}
            next_to_number = {page for page, line in inner.items() if _is_page_number(line, page)}
            headers = _headers(lines, next_to_number, len(with_text))
            for page, numbered in headers.items():
                line = bodies[page][edge]
                bodies[page] = _trimmed(bodies[page][rest])
                if not _LETTER.search(line) or _is_page_number(line, page):
                    continue
                examples.setdefault(_without_numbers(line), line)
                if page == with_text[0] and not numbered:
                    # A blank line ends a paragraph; the lines of a footer, met from the last one up, stay together.
                    if edge == 0:
                        top += [line, ""]
                    else:
                        bottom = [line, *(bottom or [""])]
    if top or bottom:
        bodies[with_text[0]][:0] = top + bottom
    return bodies, list(examples.values())


def _headers(lines: dict[int, str], next_to_number: set[int], num_pages: int) -> dict[int, bool]:
    """
    Select the headers, footers and page numbers from the outermost lines of the pages.

    Headers and footers are on nearly all pages and the same there: on at least three pages, or on two if they have a
    page number, the only number that may change, or are next to one.

    Args:
        lines: the outermost line of each page that has one, by page (counted from 0).
        next_to_number: pages whose next line is a page number.
        num_pages: number of pages with text.

    Returns:
        Whether the selected line has a page number, by page.
    """
    found = {page: True for page, line in lines.items() if _is_page_number(line, page)}
    groups: dict[str, dict[int, str]] = {}
    for page, line in lines.items():
        groups.setdefault(_without_numbers(line), {})[page] = line
    for pattern, group in groups.items():
        numbered = _page_numbers_advance(group)
        if numbered is None or any(_BEGINS.match(line) or _SECTION.match(line) for line in group.values()):
            continue
        if numbered:
            is_header = all(_WITH_PAGE_NUMBER.match(_without_spaces(line)) for line in group.values())
        else:
            # The same number alone on several pages is more likely a cell of a table.
            is_header = "#" not in pattern or _LETTER.search(pattern) is not None
        least = 2 if numbered or group.keys() <= next_to_number else 3
        if is_header and len(group) >= max(least, num_pages - max(1, num_pages // 5)):
            found |= dict.fromkeys(group, numbered)
    return found


def _is_page_number(line: str, page: int) -> bool:
    """Whether a line of a page (counted from 0) is a page number: "第3页", or, on the third page, "3"."""
    number = _PAGE_NUMBER.fullmatch(_without_spaces(line))
    return number is not None and (
        re.search("页|page", line, re.IGNORECASE) is not None or int(number["number"]) == page + 1
    )


def _page_numbers_advance(lines: dict[int, str]) -> bool | None:
    """
    Whether lines that are the same without numbers have a number that advances from page to page; `None` if a number
    changes in another way.
    """
    numbers = [[int(number) for number in _NUMBER.findall(_without_spaces(line))] for line in lines.values()]
    advances = False
    for column in zip(*numbers, strict=True):
        if len(set(column)) > 1:
            if len({number - page for page, number in zip(lines, column, strict=True)}) > 1:
                return None
            advances = True
    return advances


def _without_numbers(line: str) -> str:
    return _NUMBER.sub("#", _without_spaces(line))


def _without_spaces(line: str) -> str:
    return re.sub(r"\s", "", line)


def _trimmed(lines: list[str]) -> list[str]:
    """The lines without space around them and without blank lines at the top and at the bottom."""
    return "\n".join(line.strip() for line in lines).strip().splitlines()


# ------------------------------------------------------------------------------- paragraphs and sections

_BRACKETS = r"[【\[〔［]\s*{}\s*[】\]〕］]"
_HEADING = re.compile(_BRACKETS.format(r"[^】\]〕］\d]{2,12}"))
_TITLE = r"(?:药\s*物\s*)?相\s*互\s*作\s*用"
_SECTION = re.compile(rf"{_BRACKETS.format(_TITLE)}\s*[:：]?|{_TITLE}\s*[:：]?\s*$|药\s*物\s*相\s*互\s*作\s*用\s*[:：]")
# The other sections of a leaflet, for headings without brackets.
_PLAIN_HEADING = (
    r"(?:药品名称|通用名称?|成[份分]|性状|适应[症证]|功能主治|规格|用法(?:与|和|及)?用量|不良反应|禁忌|注意事项|孕妇及哺乳期妇女用药"
    r"|儿童用药|老年(?:患者)?用药|药物过量|药理(?:毒理|作用)|毒理研究|临床(?:试验|药理)|药代动力学|贮藏|储藏|包装|有效期|执行标准|批准文号|生产企业"
    r"|上市许可持有人|核准日期|修改日期|警示语|特殊人群用药)"
)
_PLAIN_SECTION = re.compile(rf"{_PLAIN_HEADING}\s*(?:[:：]|$)")
_HEADING_ALONE = re.compile(rf"(?:{_SECTION.pattern}|{_PLAIN_HEADING}\s*[:：]?)$")
# Always begins a paragraph: a heading, an item, a label in the section of names.
_BEGINS = re.compile(
    rf"{_HEADING.pattern}|{_TITLE}\s*$|{_PLAIN_HEADING}\s*[:：]?\s*$|[(（]?\d{{1,2}}[.、)）．](?!\d)|[①-⑳•●■]"
    r"|(?:通用|商品|英文|中文)名|汉语拼音|成[份分]"
)
_ENDS = re.compile(r"[。!！?？;；]\s*$")
_SENTENCE = re.compile(r".*?[。!！?？]+")
_NAME_LABEL = r"[【\[〔［]?\s*通\s*用\s*名(?:\s*称)?+\s*[】\]〕］]?\s*(?:[:：为是]\s*)?"
_NAME_ALONE = r"(?P<name>[^\s,，。;；:：【】\[\]〔〕［］]{2,30}?)\s*(?=商品名|英文名|汉语拼音|[\s,，。;；]|$)"
_NAME = re.compile(_NAME_LABEL + _NAME_ALONE)


def _paragraphs(lines: Iterable[tuple[int | None, str]]) -> Iterator[Paragraph]:
    """
    Join lines into paragraphs, which end at a blank line or the end of a sentence, and before an item or a heading; the
    heading of the section on interactions, and one without brackets, is one of its own. A sentence that continues on
    the next page belongs to the page where it begins; what follows it begins a paragraph.
    """
    page, number, text = None, 0, ""
    ended, heading = True, False  # whether the text before is complete; whether this text is a heading
    for of_page, line in _headings_apart(lines):
        if text and (not line or _BEGINS.match(line) or _ENDS.search(text) or heading):
            ended = not line or heading or _ENDS.search(text) is not None
            yield Paragraph(page, number, text)
            text = ""
        if not line:
            ended = True
            continue
        if text and of_page != page and (sentence := _SENTENCE.match(line)):
            yield Paragraph(page, number, _joined(text, sentence[0]))
            text, line, ended = "", line[sentence.end() :].lstrip(), True
            if not line:
                continue
        if not text:
            page, number = of_page, number + 1 if of_page == page else 1
            # Without brackets, a line that ends like a heading may also be one of a sentence.
            heading = _HEADING_ALONE.match(line) is not None and (ended or _HEADING.match(line) is not None)
        text = _joined(text, line)
    if text:
        yield Paragraph(page, number, text)


def _headings_apart(lines: Iterable[tuple[int | None, str]]) -> Iterator[tuple[int | None, str]]:
    """The lines without space around them, and without text in the line of the section's heading."""
    for page, line in lines:
        line = line.strip()
        found = _SECTION.match(line)
        if found and re.search(r"\w", line[found.end() :]):
            yield page, found[0].rstrip()
            line = line[found.end() :].lstrip()
        yield page, line


def _joined(text: str, line: str) -> str:
    """Text and its next line, with a space between Latin words."""
    latin = text[-1:].isascii() and text[-1:].isalnum() and line[:1].isascii() and line[:1].isalnum()
    return f"{text} {line}" if latin else text + line


def _section(paragraphs: Iterable[Paragraph]) -> Iterator[Paragraph]:
    """
    The paragraphs of the section on interactions, including its heading. A section whose heading is in brackets ends
    at the next heading in brackets; one without also ends at a plain heading.
    """
    inside = plain = False
    for paragraph in paragraphs:
        if _SECTION.match(paragraph.text):
            inside, plain = True, not _HEADING.match(paragraph.text)
        elif _HEADING.match(paragraph.text) or (plain and _PLAIN_SECTION.match(paragraph.text)):
            inside = False
        if inside:
            yield paragraph


def _drug(paragraphs: Iterable[Paragraph]) -> str | None:
    """The generic name, from "通用名称:…", from the paragraph below that label, or from a title "…说明书"."""
    title, labelled = None, False
    for paragraph in paragraphs:
        found = re.match(_NAME_ALONE, paragraph.text) if labelled else None
        if found := found or _NAME.search(paragraph.text):
            return found["name"]
        labelled = re.fullmatch(_NAME_LABEL, paragraph.text) is not None
        if title is None and (
            found := re.match(r"(?P<name>[^\s,，。【]{2,20}?)(?:药品)?(?:使用)?说明书\s*$", paragraph.text)
        ):
            title = found["name"]
    return title


__all__ = ["DOCUMENT_FORMATS", "LeafletDocument", "Paragraph", "read_leaflet", "require_library"]
