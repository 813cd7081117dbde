"""Leaflets as PDF, Word, HTML and Markdown: drug, section and pages; unreadable files are refused."""

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
    """Write a PDF with texts at given positions of its pages."""
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


def test_pdf_gives_drug_and_section_with_pages(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", down(LEAFLET[:8]), down(LEAFLET[8:]))
    leaflet = read_leaflet(path)
    assert leaflet.drug == "华法林钠片" and leaflet.notes == []
    assert [(p.page, p.text) for p in leaflet.paragraphs] == [
        (1, "【药物相互作用】"), (1, "1.与阿司匹林合用,出血的危险增加。"), (2, "2.利福平可使本品浓度下降。"),
    ]  # fmt: skip


def test_lines_become_paragraphs_and_columns_are_read_in_order(tmp_path: Path) -> None:
    assert texts(write_pdf(tmp_path / "one.pdf", down(LEAFLET))) == INTERACTIONS
    two = write_pdf(tmp_path / "two.pdf", [*down(LEAFLET[:8]), *down(LEAFLET[8:], x=320)])
    assert texts(two) == INTERACTIONS


def test_word_html_and_markdown(tmp_path: Path) -> None:
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
def test_spellings_of_the_section_heading(tmp_path: Path, heading: str) -> None:
    (tmp_path / "a.md").write_text(
        f"【禁忌】\n\n无。\n\n{heading}\n\n与乙合用有害。\n\n【规格】\n\n5mg", encoding="utf-8"
    )
    assert texts(tmp_path / "a.md") == [heading, "与乙合用有害。"]


def test_whole_text_is_read_without_the_section(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("与乙合用有害。", encoding="utf-8")
    leaflet = read_leaflet(tmp_path / "a.md")
    assert [p.text for p in leaflet.paragraphs] == ["与乙合用有害。"]
    assert leaflet.drug is None and "the whole text is used" in leaflet.notes[0]


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
def test_drug_is_the_generic_name(tmp_path: Path, line: str, drug: str | None) -> None:
    (tmp_path / "a.md").write_text(line, encoding="utf-8")
    assert read_leaflet(tmp_path / "a.md").drug == drug


# --------------------------------------------------------------------------------------- headers and footers

PAGES = [
    ["【药物相互作用】", "1.与阿司匹林合用,出血的危"],
    ["险增加。应监测凝血。", "2.利福平可使本品浓"],
    ["度下降。", "【药物过量】", "可用维生素K解救。"],
]
"""A leaflet with sentences that continue on the next page."""
SENTENCES = [
    (1, 1, "【药物相互作用】"),
    (1, 2, "1.与阿司匹林合用,出血的危险增加。"),
    (2, 1, "应监测凝血。"),
    (2, 2, "2.利福平可使本品浓度下降。"),
]


def with_headers(
    pages: list[list[str]], header: str, footer: str, first: bool = True
) -> list[list[tuple[int, int, str]]]:
    """Pages whose header and footer, with the page number at {}, are drawn first, as many programs do, or last."""
    drawn = []
    for number, lines in enumerate(pages, 1):
        outer = [(50, 820, header.format(number)), (50, 20, footer.format(number))]
        drawn.append([*outer, *down(lines)] if first else [*down(lines), *outer])
    return drawn


@pytest.mark.parametrize(
    ("header", "footer", "left_out"),
    [
        ("", "{}", []),
        ("", "- {} -", []),
        ("", "{}/3", []),
        ("第 {} 页", "", []),
        ("", "Page {} of 3", []),
        ("", "共3页 第{}页", []),
        ("华法林钠片说明书 第{}页", "", ["华法林钠片说明书 第1页"]),
        ("{} 华法林钠片", "- {} / 3 -", ["{} 华法林钠片"]),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_sentences_continue_on_the_next_page(
    tmp_path: Path, header: str, footer: str, left_out: list[str], first: bool
) -> None:
    leaflet = read_leaflet(write_pdf(tmp_path / "a.pdf", *with_headers(PAGES, header, footer, first)))
    assert leaflet.paragraphs == SENTENCES
    examples = "; ".join(left_out).format(1)
    assert leaflet.notes == ([f"headers and footers left out: {examples}"] if left_out else [])


def test_header_of_two_pages_is_one_with_a_page_number(tmp_path: Path) -> None:
    two_pages = [PAGES[0], ["险增加。"]]
    sentence = "1.与阿司匹林合用,出血的危险增加。"
    for header, footer in [("华法林钠片 第{}页", ""), ("华法林钠片 {}/2", ""), ("华法林钠片", "{}")]:
        found = texts(write_pdf(tmp_path / "a.pdf", *with_headers(two_pages, header, footer)))
        assert found[1:] == [sentence], (header, footer)


def test_header_remains_once_as_the_title(tmp_path: Path) -> None:
    leaflet = read_leaflet(write_pdf(tmp_path / "a.pdf", *with_headers(PAGES, "华法林钠片说明书", "2024 年 5 月修订")))
    assert leaflet.drug == "华法林钠片"
    assert [paragraph.text for paragraph in leaflet.paragraphs] == [text for _, _, text in SENTENCES]
    assert leaflet.notes == ["headers and footers left out: 华法林钠片说明书; 2024 年 5 月修订"]


def test_first_page_may_have_no_header(tmp_path: Path) -> None:
    pages = with_headers([["与甲合用有"], ["害。与乙合用有"], ["害。与丙合用有"], ["害。"]], "华法林钠片说明书", "{}")
    leaflet = read_leaflet(write_pdf(tmp_path / "a.pdf", pages[0][2:], *pages[1:]))
    assert [(paragraph.page, paragraph.text) for paragraph in leaflet.paragraphs] == [
        (1, "与甲合用有害。"), (2, "与乙合用有害。"), (3, "与丙合用有害。"),
    ]  # fmt: skip
    assert "headers and footers left out: 华法林钠片说明书" in leaflet.notes


def test_warning_at_the_foot_of_all_pages_remains_once(tmp_path: Path) -> None:
    pages = [
        [*down([f"与{name}合用有害。"]), (50, 40, "每日不超过 5 mg,不得与酒"), (50, 24, "同服。")] for name in "甲乙丙"
    ]
    assert texts(write_pdf(tmp_path / "a.pdf", *pages)) == [
        "每日不超过 5 mg,不得与酒同服。", "与甲合用有害。", "与乙合用有害。", "与丙合用有害。",
    ]  # fmt: skip


def test_headers_of_pages_with_two_columns(tmp_path: Path) -> None:
    pages = [
        (["【药物相互作用】", "1.与阿司匹林合用,出"], ["血的危险增加。", "2.利福平可"]),
        (["使本品浓"], ["度下降。", "【药物过量】"]),
    ]
    drawn = [
        [(50, 820, f"华法林钠片 第{number}页"), *down(left), *down(right, x=320), (300, 20, str(number))]
        for number, (left, right) in enumerate(pages, 1)
    ]
    assert [(p.page, p.text) for p in read_leaflet(write_pdf(tmp_path / "a.pdf", *drawn)).paragraphs] == [
        (1, "【药物相互作用】"), (1, "1.与阿司匹林合用,出血的危险增加。"), (1, "2.利福平可使本品浓度下降。"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "first_lines",
    [
        ["华法林钠片", "华法林钠片"],
        ["每日最多 5 mg", "每日最多 10 mg", "每日最多 20 mg"],
        ["口服,每日1次", "口服,每日2次"],
        ["1.禁止饮酒。", "2.禁止饮酒。"],
        ["0.5", "0.5", "0.5"],
        ["7", "9"],
    ],
)
def test_text_that_resembles_a_header_remains(tmp_path: Path, first_lines: list[str]) -> None:
    pages = [[line, f"与{name}合用有害。"] for line, name in zip(first_lines, "甲乙丙", strict=False)]
    found = texts(write_pdf(tmp_path / "a.pdf", *map(down, pages)))
    assert "".join(found) == "".join(line for page in pages for line in page)


def test_headings_of_several_leaflets_in_one_file_remain(tmp_path: Path) -> None:
    pages = [["【药物相互作用】", f"与{name}合用有害。", "【药物过量】", "洗胃。"] for name in "甲乙丙"]
    assert texts(write_pdf(tmp_path / "a.pdf", *map(down, pages))) == [
        text for name in "甲乙丙" for text in ("【药物相互作用】", f"与{name}合用有害。")
    ]


def test_the_sections_heading_is_no_part_of_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("【药物相互作用】与甲合用有害。\n\n【药物过量】洗胃。", encoding="utf-8")
    pdf = write_pdf(tmp_path / "a.pdf", down(["药物相互作用:", "与甲合用", "有害。"]))
    assert texts(tmp_path / "a.md") == ["【药物相互作用】", "与甲合用有害。"]
    assert texts(pdf) == ["药物相互作用:", "与甲合用有害。"]


@pytest.mark.parametrize(
    "names",
    [
        "【通用名称】\n\n甲氨蝶呤片\n\n",
        "## 【通用名称】\n甲氨蝶呤片\n",
        "[通用名称] 甲氨蝶呤片\n\n",
        "## 通用名称\n\n甲氨蝶呤片\n\n",
        "【药品名称】\n\n通用名称：\n\n甲氨蝶呤片 商品名：无\n\n",
        "药品名称\n\n通用名:甲氨蝶呤片\n\n",
        "本品的通用名为甲氨蝶呤片。\n\n",
    ],
)
def test_the_drug_beside_or_below_its_label(tmp_path: Path, names: str) -> None:
    (tmp_path / "a.md").write_text(f"{names}【药物相互作用】\n\n与叶酸合用疗效减弱。", encoding="utf-8")
    assert read_leaflet(tmp_path / "a.md").drug == "甲氨蝶呤片"


@pytest.mark.parametrize("nothing", ["【通用名称】", "通用名称", "通用名称：\n\n【英文名】", "通用名\n\n【成份】"])
def test_no_drug_is_read_from_a_label_without_a_name(tmp_path: Path, nothing: str) -> None:
    (tmp_path / "a.md").write_text(f"{nothing}\n\n【药物相互作用】\n\n与叶酸合用疗效减弱。", encoding="utf-8")
    assert read_leaflet(tmp_path / "a.md").drug is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("## 药物相互作用\n", "\n## 贮藏\n\n与水分隔离。"),
        ("药物相互作用：\n", "\n不良反应：\n\n恶心。"),
        ("药物相互作用：", "\n不良反应：恶心。"),
        ("药物相互作用\n", "\n禁忌\n孕妇。"),
    ],
)
def test_headings_without_brackets(tmp_path: Path, before: str, after: str) -> None:
    section = "与叶酸合用疗效减弱\n\n禁忌与活疫苗合用。"
    (tmp_path / "a.md").write_text(f"规格\n\n5mg\n\n{before}{section}\n{after}", encoding="utf-8")
    heading, *rest = texts(tmp_path / "a.md")
    assert "相互作用" in heading and rest == section.split("\n\n")


def test_the_headings_colon_is_no_part_of_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("【药物相互作用】：1.与甲合用有害。\n\n详见\n【药物相互作用】。", encoding="utf-8")
    assert texts(tmp_path / "a.md") == ["【药物相互作用】：", "1.与甲合用有害。", "详见", "【药物相互作用】。"]


def test_a_wrapped_line_is_no_heading(tmp_path: Path) -> None:
    lines = ["注意事项", "本品与其他药物的", "相互作用", "尚不明确。", "下列患者属于", "禁忌", "人群。"]
    leaflet = read_leaflet(write_pdf(tmp_path / "a.pdf", down(lines)))
    assert "there is no section 【药物相互作用】; the whole text is used" in leaflet.notes
    assert [paragraph.text for paragraph in leaflet.paragraphs][2:] == [
        "相互作用尚不明确。",
        "下列患者属于",
        "禁忌人群。",
    ]


def test_a_label_in_a_section_with_brackets_does_not_end_it(tmp_path: Path) -> None:
    text = "【药物相互作用】\n\n禁忌：不得与甲合用。\n\n注意事项：与乙合用须谨慎。\n\n【贮藏】\n\n密封。"
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert texts(tmp_path / "a.md")[1:] == ["禁忌：不得与甲合用。", "注意事项：与乙合用须谨慎。"]


# --------------------------------------------------------------------------------------- unreadable files


def test_errors_for_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(document_files, "MAX_BYTES", 1_000_000)
    for name, reason in {
        "cut.pdf": "incomplete or damaged|no text", "none.pdf": "not a valid PDF", "locked.pdf": "is encrypted",
        "scan.pdf": "OCR", "cut.docx": "not a valid Word", "bomb.docx": "unpacked",
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


def test_iser_extract_reads_leaflets_and_reports_unreadable_ones(
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
    assert "bad.pdf, line 1: not a valid PDF" in capsys.readouterr().err


def test_page_and_offsets_of_relations_across_a_page_break(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pdf(tmp_path / "a.pdf", *with_headers(PAGES, "华法林钠片 第{}页", ""))
    output = tmp_path / "found.jsonl"
    assert main([str(path), "--drug", "华法林钠片", "--output", str(output), "--quiet"]) == 0
    records = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [(record["source"], record["line"], record["text"]) for record in records] == [
        (f"{path}#page={page}", number, text) for page, number, text in SENTENCES
    ]
    heads = [(record, relation["head"]) for record in records for relation in record["relations"]]
    assert [(record["source"][-1], head["text"]) for record, head in heads] == [("1", "阿司匹林"), ("2", "利福平")]
    assert all(record["text"][head["start"] : head["end"]] == head["text"] for record, head in heads)
    assert "headers and footers left out: 华法林钠片 第1页" in capsys.readouterr().err
