"""The page of a graph: its content, and its behaviour in a browser without network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import graph_iser.page
import modeling_iser.command_line
from graph_iser import Graph, Names, write_page
from graph_iser.command_line import main
from graph_iser.page import MAX_DRAWN, embedded, page_data
from graph_iser.palette_iser import COLOURS, DRUG_RELATIONS, relation_colours
from modeling_iser import Extraction

from .conftest import REPOSITORY
from .pages import blocks, commands
from .test_graph import HOSTILE, result, triples_of


if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page


def graph_of(*records: dict[str, Any]) -> Graph:
    graph = Graph()
    graph.add([(record["source"], record["line"], triples_of(record)) for record in records], Names(), "iser-1")
    return graph


@pytest.fixture
def graph() -> Graph:
    """Four interactions of four drugs; two contradict each other."""
    return graph_of(
        result(1, "华法林钠片", "阿司匹林增强本品的作用", ("阿司匹林", "协同", None, 0.9), source="leaflet.pdf#page=2"),
        result(2, None, "𠮷:阿司匹林增强华法林的作用", ("阿司匹林", "协同", "华法林", 0.7)),
        result(3, "华法林钠片", "扑热息痛与本品无相互作用", ("扑热息痛", "无关", None, 0.8)),
        result(4, None, "对乙酰氨基酚增强华法林的作用", ("对乙酰氨基酚", "协同", "华法林", 0.6)),
        result(5, None, "利福平降低华法林的浓度", ("利福平", "抑制", "华法林", 0.5)),
    )


def data_in(page: Path) -> Any:
    (text,) = re.findall('<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    return json.loads(text)


def shown(data: dict[str, Any], drawn: bool = True) -> list[tuple[str, str, str]]:
    names = [concept["name"] for concept in data["concepts"]]
    edges = data["edges"][: data["drawn"]] if drawn else data["edges"][data["drawn"] :]
    return [(names[edge["head"]], edge["relation"], names[edge["tail"]]) for edge in edges]


# --------------------------------------------------------------------------------------------- the file


def test_page_contains_every_interaction_with_its_evidence(tmp_path: Path, graph: Graph) -> None:
    assert write_page(graph, tmp_path / "page.html") == []
    data = data_in(tmp_path / "page.html")
    assert data == page_data(graph)
    assert shown(data) == [
        ("阿司匹林", "协同", "华法林"), ("对乙酰氨基酚", "无关", "华法林"), ("对乙酰氨基酚", "协同", "华法林"),
        ("利福平", "抑制", "华法林"),
    ]  # fmt: skip
    for of_page, edge in zip(data["edges"], sorted(graph.edges(), key=lambda edge: -edge.score), strict=True):
        assert [data["texts"][one["text"]] for one in of_page["evidence"]] == [one.text for one in edge.evidence]
        assert [one["tail_start"] for one in of_page["evidence"]] == [one.tail_start for one in edge.evidence]
    (warfarin,) = (concept for concept in data["concepts"] if concept["name"] == "华法林")
    assert (warfarin["code"], warfarin["written"], warfarin["not_drawn"]) == ("B01AA03", ["华法林钠片"], 0)
    assert data["contradictions"] == [[2, 1]] and data["edges"][1]["contradicts"] == [2]


@given(st.dictionaries(st.text(), st.lists(st.text(st.characters() | st.sampled_from("<>&/!-\u2028\u2029\r\n")))))
def test_embedded_json_is_safe_in_html(value: dict[str, list[str]]) -> None:
    text = embedded(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029\n\r") & set(text)


class Elements(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_page_loads_nothing_and_allows_only_its_own_scripts(tmp_path: Path) -> None:
    names = [*HOSTILE, "</script><script>evil()</script>", "<img src=https://evil onerror=evil()>", "\u2028\u2029"]
    records = [result(i, None, f"{name} 乙", (name, "协同", "乙", 0.5)) for i, name in enumerate(names)]
    write_page(graph_of(*records), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    elements = Elements(text).found
    assert [attributes.get("type") for tag, attributes in elements if tag == "script"] == [
        "application/json",
        None,
        None,
    ]
    assert not {"img", "link", "iframe", "object", "a"} & {tag for tag, _ in elements}
    assert not {"src", "href", "style", "onerror", "onclick"} & {
        name for _, attributes in elements for name in attributes
    }
    assert not re.findall(r"@import|url\((?!#)", re.sub("<script>.*?</script>", "", text, flags=re.DOTALL))
    (policy,) = (a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert "Permission to use, copy, modify" in text  # The licence of D3 must accompany its code.


def test_page_filtered_by_relation_and_score(graph: Graph) -> None:
    data = page_data(graph, relations=["协同"], min_score=0.55)
    assert shown(data) == [("阿司匹林", "协同", "华法林"), ("对乙酰氨基酚", "协同", "华法林")]
    assert data["notes"] == [
        "2 interactions of the graph left out: the page is limited to scores of at least 0.55 and the relations 协同."
    ]
    # An interaction that contradicts one in the drawing is included, although its relation was not chosen.
    assert shown(data, drawn=False) == [("对乙酰氨基酚", "无关", "华法林")]
    assert data["contradictions"] == [[1, 2]]


def test_interactions_beyond_the_limit_are_counted(graph: Graph) -> None:
    data = page_data(graph, max_drawn=1)
    assert shown(data) == [("阿司匹林", "协同", "华法林")]
    assert data["notes"] == [
        "3 further interactions are not drawn; iser-graph query lists them. The 1 with the best scores are drawn.",
        "1 contradiction among interactions that are not drawn; iser-graph contradictions lists them.",
    ]
    assert {c["name"]: c["not_drawn"] for c in data["concepts"]} == {
        "阿司匹林": 0, "华法林": 3, "对乙酰氨基酚": 2, "利福平": 1,
    }  # fmt: skip


def test_command_writes_a_page_and_errors_take_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, page = str(tmp_path / "g.sqlite"), tmp_path / "page.html"
    records = [
        result(1, None, "甲与乙", ("甲", "协同", "乙", 0.4)),
        result(2, None, "丙与乙", ("丙", "禁忌", "乙", 0.9)),
    ]
    with Graph(graph) as made:
        made.add([(record["source"], record["line"], triples_of(record)) for record in records], Names())
    assert main(["page", str(page), "--graph", graph, "--min-score", "0.5", "--relation", "禁忌", "协同"]) == 0
    assert shown(data_in(page)) == [("丙", "禁忌", "乙")]
    assert capsys.readouterr().out.splitlines()[1:] == [str(page)]
    assert main(["page", str(page), "--graph", graph, "--relation", "禁忌症"]) == 1
    assert main(["page", str(page), "--graph", str(tmp_path / "none.sqlite")]) == 1

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(graph_iser.page, "distribution", missing)
    assert main(["page", str(page), "--graph", graph]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    for error, message in zip(errors, ["禁忌症, only 协同, 禁忌", "there is no graph", "gravis 0.1: pip"], strict=True):
        assert error.startswith("iser-graph: ") and message in error


def test_documented_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["warfarin.md", "paracetamol.md", "sentences.txt"]
    for name, text in zip(files, [*blocks("graph.md", "markdown"), *blocks("graph.md", "text")], strict=True):
        Path(name).write_text(text, encoding="utf-8")
    for command, *arguments in commands("graph.md"):
        run = {"iser-extract": modeling_iser.command_line.main, "iser-graph": main}[command]
        assert run([*arguments, *(["--quiet"] if command == "iser-extract" else [])]) == 0, arguments
    assert "7 relations added; 6 names" in capsys.readouterr().out
    assert ("对乙酰氨基酚", "无关", "华法林") in shown(data_in(Path("drugs.html")))


def of_people() -> dict[str, Any]:
    """A result about people and companies."""
    record = result(1, None, "王小明创立星河", ("王小明", "创立", "星河", 0.9))
    record["relations"][0]["head"]["type"], record["relations"][0]["tail"]["type"] = "人物", "公司"
    return record


def test_other_corpora_are_not_spoken_of_as_drugs(graph: Graph) -> None:
    people = page_data(graph_of(of_people()), relations=["创立"], min_score=0.99)
    assert people["words"]["entity"] == "Entity 实体: 人物, 公司"
    said = json.dumps([people["words"], people["notes"]], ensure_ascii=False).lower()
    assert not [word for word in ("drug", "药", "interaction", "leaflet", "safety", "atc") if word in said]
    assert people["notes"][0].startswith("1 relation of the graph left out")
    assert page_data(graph)["words"]["entity"] == "Drug 药物"
    both = graph_of(of_people(), result(2, None, "甲增强乙", ("甲", "协同", "乙", 0.9)))
    assert page_data(both)["words"]["entity"] == "Entity 实体: 人物, 公司, 药物"


def test_a_relation_has_the_colour_that_it_has_in_a_texts_picture(graph: Graph) -> None:
    names = ["抑制", "Live_In", "Work_For", "创立", "无关"]
    text = "".join(f"甲{number}乙{number}" for number in range(len(names)))
    found = [(f"甲{number}", name, f"乙{number}", 0.9) for number, name in enumerate(names)]
    record = result(1, None, text, *found)
    on_page = {relation["name"]: relation["colour"] for relation in page_data(graph_of(record))["relations"]}
    picture = Extraction(record).to_html()
    in_picture = {name: colour for colour, name in re.findall(r'fill="(#\w{6})">([^<]+)</text>', picture)}
    assert on_page == in_picture and list(on_page)[:2] == ["抑制", "无关"]
    assert len(set(on_page.values())) == len(names)
    # The shipped relations keep theirs, whatever else is found.
    alone = {relation["name"]: relation["colour"] for relation in page_data(graph)["relations"]}
    assert {name: alone[name] for name in ("抑制", "无关")} == {name: on_page[name] for name in ("抑制", "无关")}


def test_colours_are_those_of_the_set_and_differ_while_there_are_enough() -> None:
    names = [f"relation {number}" for number in range(len(COLOURS) + 3)]
    for count in range(len(names) + 1):
        colours = relation_colours(names[:count])
        assert colours == relation_colours(reversed(names[:count]))
        assert len(set(colours.values())) == min(count, len(COLOURS))
    assert relation_colours(DRUG_RELATIONS) == DRUG_RELATIONS


def test_the_graph_needs_no_torch() -> None:
    program = "import sys, graph_iser, graph_iser.command_line; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY).returncode == 0


# ------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    made = browser.new_context(viewport={"width": 1200, "height": 800}, offline=True)
    made.set_default_timeout(120_000)  # milliseconds
    return made


@pytest.fixture
def opened(context: BrowserContext, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page of a graph, which must make no requests and report no errors."""
    requests, complaints = list[str](), list[str]()
    address = (tmp_path / "page.html").as_uri()

    def refuse(dialog: Dialog) -> None:
        complaints.append(dialog.message)
        dialog.dismiss()

    def open_page(graph: Graph, **choices: Any) -> Page:
        write_page(graph, tmp_path / "page.html", **choices)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", refuse)
        page.goto(address)
        return page

    yield open_page
    for page in context.pages:
        page.close()
    assert set(requests) == {address}
    assert complaints == []


def edge(page: Page, number: int) -> Locator:
    """An interaction, by its rank in the order of scores."""
    return page.locator(".edge").nth(number)


def node(page: Page, name: str) -> Locator:
    return page.locator(".node").filter(has=page.locator("text", has_text=re.compile(f"^{re.escape(name)}$")))


def marks(page: Page) -> list[tuple[str, str]]:
    return [(mark.get_attribute("class") or "", mark.inner_text()) for mark in page.locator("#panel mark").all()]


def test_page_opens_without_network_and_shows_the_notice(opened: Callable[..., Page], graph: Graph) -> None:
    page = opened(graph)
    notice = page.locator("#notice")
    assert notice.is_visible()
    assert notice.inner_text() == "Research tool. Not for clinical decisions. 仅供研究,不得用于临床决策。"
    assert page.locator(".edge text").all_text_contents() == ["协同", "⚠ 无关", "⚠ 协同", "抑制"]
    assert sorted(page.locator(".node text").all_text_contents()) == sorted(
        ["阿司匹林", "华法林", "对乙酰氨基酚", "利福平"]
    )
    assert node(page, "华法林").locator("title").text_content() == "华法林 · 药物 · ATC B01AA03"


def test_a_page_of_other_corpora_in_a_browser(opened: Callable[..., Page]) -> None:
    page = opened(graph_of(of_people()))
    assert page.locator("h1").inner_text().startswith("Relations found in texts")
    assert page.get_by_label("Entity 实体: 人物, 公司").is_visible()
    assert page.locator("#status").inner_text() == "Shown: 1 of 1 relations"
    assert page.locator("#legend").inner_text() == "An open circle: the name is in no table."
    node(page, "王小明").locator("circle").click()
    assert "Relations 关系 (1)" in page.locator("#panel").inner_text()
    said = page.locator("body").inner_text().lower()
    assert not [word for word in ("drug", "药", "interaction", "leaflet", "safety") if word in said]


def test_policy_blocks_foreign_scripts_and_requests(context: BrowserContext, tmp_path: Path, graph: Graph) -> None:
    write_page(graph, tmp_path / "page.html")
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.evaluate(
        """() => {
            window.ran = 0;
            window.refused = new Set();
            document.addEventListener("securitypolicyviolation", (event) => refused.add(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.ran += 1";
            const box = document.createElement("div");
            box.innerHTML = '<img src="data:," onerror="window.ran += 1">';
            document.body.append(script, box);
            fetch("https://example.org").catch(() => {});
        }"""
    )
    kinds = ["script-src-elem", "script-src-attr", "img-src", "connect-src"]
    page.wait_for_function("(kinds) => kinds.every((kind) => refused.has(kind))", arg=kinds)
    assert page.evaluate("window.ran") == 0
    page.close()


def test_names_are_beside_the_lines(opened: Callable[..., Page]) -> None:
    """A name is on the side of its entity that most lines do not come from, and covers no arrowhead."""
    actors = ("甲药", "乙药", "丙药", "丁药", "戊药")
    page = opened(
        graph_of(
            *(
                result(line, None, f"{actor}增强{other}的作用", (actor, "协同", other, 0.9))
                for line, (actor, other) in enumerate(
                    zip(actors, ("己药", *actors[:2], "己药", "己药"), strict=True), 1
                )
            )
        )
    )
    covered = page.evaluate(
        """() => {
            const names = [...document.querySelectorAll(".node text")].map((name) => name.getBoundingClientRect());
            return [...document.querySelectorAll(".edge .line")].filter((line) => {
                const end = line.getPointAtLength(line.getTotalLength()).matrixTransform(line.getScreenCTM());
                return names.some(({ left, right, top, bottom }) =>
                    left < end.x && end.x < right && top < end.y && end.y < bottom);
            }).length;
        }"""
    )
    assert covered == 0
    for mark in page.locator(".node").all():
        below, above = mark.evaluate(
            """(node) => {
                const { edges, y, x } = node.__data__;
                const lean = edges.map(({ source, target }) => (source === node.__data__ ? target : source))
                    .reduce((sum, other) => sum + (other.y - y) / Math.hypot(other.x - x, other.y - y), 0);
                return [lean > 0, Number(node.querySelector("text").getAttribute("dy")) < 0];
            }"""
        )
        assert below == above


def test_filters_hide_interactions_and_isolated_drugs(opened: Callable[..., Page], graph: Graph) -> None:
    page = opened(graph)
    page.get_by_label("抑制").uncheck()
    assert edge(page, 3).is_hidden() and node(page, "利福平").is_hidden()
    assert edge(page, 0).is_visible() and node(page, "华法林").is_visible()
    assert page.locator("#status").inner_text() == "Shown: 3 of 4 interactions"
    page.get_by_label("抑制").check()
    assert edge(page, 3).is_visible()
    page.locator("#score").fill("0.85")
    assert [edge(page, number).is_visible() for number in range(4)] == [True, False, False, False]
    assert node(page, "对乙酰氨基酚").is_hidden()
    assert page.locator("#status").inner_text() == "Shown: 1 of 4 interactions"


def test_click_on_an_interaction_shows_its_sentences_with_both_drugs_marked(
    opened: Callable[..., Page], graph: Graph
) -> None:
    page = opened(graph)
    edge(page, 0).locator("text").click()
    assert page.locator("#panel h2").inner_text() == "阿司匹林 —协同→ 华法林"
    assert page.locator("#panel article p:first-child").all_inner_texts() == [
        "阿司匹林增强本品的作用", "𠮷:阿司匹林增强华法林的作用",
    ]  # fmt: skip
    assert marks(page) == [("head", "阿司匹林"), ("head", "阿司匹林"), ("tail", "华法林")]
    first, second = page.locator("#panel article").all_inner_texts()
    assert "leaflet.pdf, page 2, paragraph 1 · score 0.90 · model iser-1" in first
    assert "Leaflet of 华法林钠片" in first and "The tail is the leaflet's drug" in first
    assert "a.txt, line 2 · score 0.70 · model iser-1" in second and "eaflet" not in second


def test_nested_names_are_both_marked(opened: Callable[..., Page]) -> None:
    page = opened(graph_of(result(1, None, "用复方甲乙片时", ("复方甲乙片", "协同", "甲乙", 0.9))))
    edge(page, 0).locator("text").click()
    assert marks(page) == [("head", "复方"), ("head tail", "甲乙"), ("head", "片")]


def test_click_on_a_drug_shows_its_interactions(opened: Callable[..., Page], graph: Graph) -> None:
    page = opened(graph)
    node(page, "对乙酰氨基酚").locator("circle").click()
    panel = page.locator("#panel")
    assert "Also written: 扑热息痛" in panel.inner_text()
    assert panel.get_by_role("button").all_text_contents() == [
        "对乙酰氨基酚 —⚠ 无关→ 华法林  (0.80)", "对乙酰氨基酚 —⚠ 协同→ 华法林  (0.60)",
    ]  # fmt: skip
    panel.get_by_role("button").first.click()
    assert "扑热息痛与本品无相互作用" in panel.inner_text()


def test_search_by_names_and_code(opened: Callable[..., Page], graph: Graph) -> None:
    page = opened(graph)
    for name in ("扑热息痛", "对乙酰", "n02be01"):
        page.get_by_role("button", name="Whole graph").click()
        page.locator("#search").fill(name)
        page.locator("#search").press("Enter")
        assert page.locator("#panel h2").inner_text() == "对乙酰氨基酚"
    page.locator("#search").fill("青霉素")
    assert "says nothing about safety" in page.locator("#matches").inner_text()


def test_contradictions_are_flagged_and_linked(opened: Callable[..., Page], graph: Graph) -> None:
    page = opened(graph, relations=["协同"])
    assert "⚠ Contradictions 矛盾 (1)" in page.locator("#panel").inner_text()
    edge(page, 1).locator("text").click()
    page.locator("#panel .warning").get_by_role("button", name="无关").click()
    assert "扑热息痛与本品无相互作用" in page.locator("#panel").inner_text()
    page.get_by_role("button", name="Whole graph").click()
    assert "not drawn" in page.locator("#panel .warning").inner_text()


def test_hostile_names_and_sentences_are_text(opened: Callable[..., Page]) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028'\"`${alert(3)}<!--&lt;"
    text = f"{evil}与乙"
    page = opened(graph_of(result(1, evil, text, (evil, evil, "乙", 0.9), (None, "__proto__", "乙", 0.8), source=evil)))
    page.locator(".edge").first.dispatch_event("click")
    assert page.locator("#panel article p").first.text_content() == text
    assert marks(page)[0][0] == "head" and page.locator("#panel mark").first.text_content() == evil
    assert page.locator("#relations label").count() == 2
    page.locator("#search").fill("</script>")
    page.locator("#search").press("Enter")
    assert page.locator("img").count() == 0 and page.locator("script").count() == 3


def test_at_most_two_thousand_interactions_are_drawn(opened: Callable[..., Page]) -> None:
    records = [
        result(i, None, f"药{i // 41}与甲{i % 41}", (f"药{i // 41}", "协同", f"甲{i % 41}", 0.9 - i / 10_000))
        for i in range(MAX_DRAWN + 3)
    ]
    page = opened(graph_of(*records))
    note = page.locator("#notes").inner_text()
    assert note.startswith("3 further interactions are not drawn; iser-graph query lists them.")
    assert page.locator("#notes").is_visible()
    assert page.locator(".edge").count() == MAX_DRAWN
    page.locator("#search").fill(f"药{MAX_DRAWN // 41}")
    page.locator("#search").press("Enter")
    assert "3 further interactions are not drawn" in page.locator("#panel").inner_text()


def test_page_without_interactions(opened: Callable[..., Page], graph: Graph) -> None:
    page = opened(graph, min_score=0.99)
    assert "There is nothing to draw. That says nothing about safety." in page.locator("#panel").inner_text()
