"""Leaflets as PDF, Word, web page and Markdown: the drug, the section, pages; what cannot be read is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from docx import Document
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from modeling_iser import document_files
from modeling_iser.command_line import main
from modeling_iser.document_files import read_leaflet


LEAFLET = [
    "华法林钠片说明书", "【药品名称】", "通用名称:华法林钠片", "英文名称:Warfarin Sodium Tablets",
    "【适应症】", "用于预防血栓。",
    "【药物相互作用】", "1.与阿司匹林合用,出血的危", "险增加。", "2.利福平可使本品浓度下降。",
    "【药物过量】", "与维生素K合用可解救。",
]  # fmt: skip
INTERACTIONS = ["【药物相互作用】", "1.与阿司匹林合用,出血的危险增加。", "2.利福平可使本品浓度下降。"]


def write_pdf(path: Path, *pages: list[tuple[int, int, str]]) -> Path:
    """A PDF with texts at places of its pages."""
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    canvas = Canvas(str(path))
    for page in pages:
        canvas.setFont("STSong-Light", 10)
        for x, y, text in page:
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    return path


def down(lines: list[str], x: int = 50) -> list[tuple[int, int, str]]:
    return [(x, 800 - 16 * number, line) for number, line in enumerate(lines)]


def texts(path: Path) -> list[str]:
    return [paragraph.text for paragraph in read_leaflet(path).paragraphs]


def test_a_pdf_gives_its_drug_and_the_section_with_pages(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", down(LEAFLET[:8]), down(LEAFLET[8:]))
    leaflet = read_leaflet(path)
    assert leaflet.drug == "华法林钠片" and leaflet.notes == []
    assert [(p.page, p.text) for p in leaflet.paragraphs] == [
        (1, "【药物相互作用】"), (1, "1.与阿司匹林合用,出血的危险增加。"), (2, "2.利福平可使本品浓度下降。"),
    ]  # fmt: skip


def test_lines_of_a_page_become_paragraphs_and_columns_follow_each_other(tmp_path: Path) -> None:
    assert texts(write_pdf(tmp_path / "one.pdf", down(LEAFLET))) == INTERACTIONS
    two = write_pdf(tmp_path / "two.pdf", [*down(LEAFLET[:8]), *down(LEAFLET[8:], x=320)])
    assert texts(two) == INTERACTIONS


def test_word_web_and_markdown_say_the_same(tmp_path: Path) -> None:
    document = Document()
    for line in LEAFLET[:7]:
        document.add_paragraph(line)
    document.add_paragraph("1.与阿司匹林合用,出血的危险增加。")
    table = document.add_table(1, 1)
    table.cell(0, 0).text = "2.利福平可使本品浓度下降。"
    for line in LEAFLET[10:]:
        document.add_paragraph(line)
    document.save(str(tmp_path / "a.docx"))
    body = "".join(
        f"<p>{line}</p>" for line in [*LEAFLET[:7], "1.与<b>阿司匹林</b>合用,出血的危险增加。", *LEAFLET[9:]]
    )
    page = f"<head><title>x</title><script>alert('与毒药合用')</script></head><body>{body}<script>1</script></body>"
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    marked = ["# 华法林钠片说明书", "通用名称:华法林钠片", "## 药物相互作用", "- 与**阿司匹林**合用,出血的危险增加。"]
    (tmp_path / "a.md").write_text("\n".join(marked), encoding="utf-8")
    for name in ("a.docx", "a.html"):
        assert texts(tmp_path / name) == INTERACTIONS, name
        assert read_leaflet(tmp_path / name).drug == "华法林钠片"
    assert texts(tmp_path / "a.md") == ["药物相互作用", "与阿司匹林合用,出血的危险增加。"]


@pytest.mark.parametrize(
    "heading", ["【药物相互作用】", "[药物相互作用]", "【相互作用】", "药物相互作用:", "【 药 物 相 互 作 用 】"]
)
def test_the_section_is_found_in_its_usual_spellings(tmp_path: Path, heading: str) -> None:
    (tmp_path / "a.md").write_text(
        f"【禁忌】\n\n无。\n\n{heading}\n\n与乙合用有害。\n\n【规格】\n\n5mg", encoding="utf-8"
    )
    assert texts(tmp_path / "a.md") == [heading, "与乙合用有害。"]


def test_without_the_section_all_is_read_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("与乙合用有害。", encoding="utf-8")
    leaflet = read_leaflet(tmp_path / "a.md")
    assert [p.text for p in leaflet.paragraphs] == ["与乙合用有害。"]
    assert leaflet.drug is None and "whole text" in leaflet.notes[0]


@pytest.mark.parametrize(
    ("line", "drug"),
    [
        ("通用名称:盐酸二甲双胍片", "盐酸二甲双胍片"),
        ("通用名:阿司匹林肠溶片 商品名称:某某", "阿司匹林肠溶片"),
        ("【通用名称】地高辛片", "地高辛片"),
        ("地高辛片说明书", "地高辛片"),
        ("本说明书由药师编写", None),
    ],
)
def test_the_drug_is_the_generic_name(tmp_path: Path, line: str, drug: str | None) -> None:
    (tmp_path / "a.md").write_text(line, encoding="utf-8")
    assert read_leaflet(tmp_path / "a.md").drug == drug


# --------------------------------------------------------------------------------------- what is refused


def test_documents_that_cannot_be_read_are_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_pdf(tmp_path / "whole.pdf", down(LEAFLET))
    (tmp_path / "cut.pdf").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "none.pdf").write_bytes(b"no PDF at all")
    writer = PdfWriter(clone_from=PdfReader(whole))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    write_pdf(tmp_path / "scan.pdf", [])
    (tmp_path / "cut.docx").write_bytes(b"PK\x03\x04 and no more")
    with zipfile.ZipFile(tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"\0" * 2_000_000)
    monkeypatch.setattr(document_files, "MOST_BYTES", 1_000_000)
    for name, reason in {
        "cut.pdf": "cut off|no text", "none.pdf": "no whole PDF", "locked.pdf": "encrypted", "scan.pdf": "OCR",
        "cut.docx": "no whole Word", "bomb.docx": "unpacked",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            read_leaflet(tmp_path / name)


@given(data=st.binary(max_size=400), ending=st.sampled_from(["pdf", "docx", "html", "md"]))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str) -> None:
    path = tmp_path_factory.mktemp("any") / f"a.{ending}"
    path.write_bytes((b"%PDF-1.7\n" if ending == "pdf" else b"") + data)
    try:
        leaflet = read_leaflet(path)
    except ValueError:
        return
    assert all(paragraph.text for paragraph in leaflet.paragraphs)


# --------------------------------------------------------------------------------------- command line


def test_iser_extract_reads_leaflets_and_reports_what_it_could_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_pdf(tmp_path / "good.pdf", down(LEAFLET[:7]), down(["1.利福平可使本品浓度下降。"]))
    bad = tmp_path / "bad.pdf"
    bad.write_bytes(b"nothing")
    output = tmp_path / "found.jsonl"
    assert main([str(good), str(bad), "--output", str(output), "--quiet"]) == 2
    records = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [(record["source"], record["line"], record["drug"]["text"]) for record in records] == [
        (f"{good}#page=1", 6, "华法林钠片"), (f"{good}#page=2", 1, "华法林钠片"),
    ]  # fmt: skip
    ((relation,),) = [record["relations"] for record in records if record["relations"]]
    assert (relation["head"]["text"], relation["type"], relation["tail"]["text"]) == ("利福平", "抑制", "华法林钠片")
    assert "bad.pdf, line 1: no whole PDF" in capsys.readouterr().err
