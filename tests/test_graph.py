"""From results to a graph with evidence: names, the database, questions, exports, hostile input."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import load_workbook
from rdflib import Graph as RdfGraph
from rdflib import Literal, URIRef

from graph_iser import Graph, Names, read_triples
from graph_iser.command_line import main
from graph_iser.exports import FORMATS, export, harmless
from graph_iser.names import written
from modeling_iser.result_files import write_results

from .conftest import REPOSITORY


def result(
    line: int, drug: str | None, text: str, *relations: tuple[str | None, str, str | None, float], source: str = "a.txt"
) -> dict[str, Any]:
    """What `iser-extract` gives for a text; `None` is the leaflet's drug."""

    def end(name: str | None) -> dict[str, Any]:
        if name is None:
            return {"text": drug, "type": "药物", "start": None, "end": None, "score": 1.0}
        start = text.index(name)
        return {"text": name, "type": "药物", "start": start, "end": start + len(name), "score": 1.0}

    found = [
        {"type": kind, "head": end(head), "tail": end(tail), "score": score} for head, kind, tail, score in relations
    ]
    names = {name for head, _, tail, _ in relations for name in (head, tail) if name}
    return {
        "source": source, "line": line, "text": text,
        "drug": {"text": drug, "type": "药物", "mentions": []} if drug else None,
        "entities": [end(name) for name in sorted(names)], "relations": found,
    }  # fmt: skip


RESULTS = [
    result(1, "华法林钠片", "阿司匹林增强本品的作用", ("阿司匹林", "协同", None, 0.9)),
    result(2, "华法林钠片", "扑热息痛与本品无相互作用", ("扑热息痛", "无关", None, 0.8)),
    result(3, None, "对乙酰氨基酚增强华法林的作用", ("对乙酰氨基酚", "协同", "华法林", 0.6), source="b.txt"),
    result(4, None, "今天天气很好", source="b.txt"),
]


@pytest.fixture
def found(tmp_path: Path) -> Path:
    write_results(RESULTS, tmp_path / "found.jsonl", "jsonl", "model")
    return tmp_path / "found.jsonl"


@pytest.fixture
def graph(found: Path) -> Graph:
    made = Graph()
    made.add(read_triples(found), Names(), "model 1")
    return made


def contents(graph: Graph) -> set[tuple[Any, ...]]:
    return {
        (e.head.name, e.relation, e.tail.name, tuple((v.source, v.line, v.score) for v in e.evidence))
        for e in graph.edges()
    }


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "concept", "code"),
    [
        ("华法林钠片", "华法林", "B01AA03"),
        ("苄丙酮香豆素", "华法林", "B01AA03"),
        ("Warfarin", "华法林", "B01AA03"),
        ("WARFARIN", "华法林", "B01AA03"),
        ("心得安", "普萘洛尔", "C07AA05"),
        ("盐酸普萘洛尔片", "普萘洛尔", "C07AA05"),
        ("acetylsalicylic  acid", "阿司匹林", "B01AC06"),
        ("环孢素A", "环孢素", "L04AD01"),
        ("阿 司 匹 林", "阿司匹林", "B01AC06"),
    ],
)
def test_spellings_of_a_drug_are_one_concept(name: str, concept: str, code: str) -> None:
    got = Names().concept(name)
    assert (got.name, got.code, got.known) == (concept, code, True)


def test_unknown_names_are_concepts_of_their_own_without_dosage_form() -> None:
    names = Names()
    assert names.concept("伏立康唑片") == names.concept("伏立康唑胶囊")
    got = names.concept("伏立康唑片")
    assert (got.name, got.code, got.known) == ("伏立康唑", None, False)
    assert names.concept("Lund", "City").name == "Lund"


def test_the_shipped_table_gives_every_name_one_concept_and_every_concept_one_code() -> None:
    rows = list(csv.DictReader((REPOSITORY / "graph_iser" / "names.csv").open(encoding="utf-8")))
    assert len({row["name"] for row in rows}) == len(rows)
    codes: dict[str, set[str]] = {}
    for row in rows:
        codes.setdefault(row["concept"], set()).add(row["code"])
    assert all(len(of_concept) == 1 for of_concept in codes.values())
    assert all(len(code) == 7 for (code,) in codes.values())
    assert len({code for (code,) in codes.values()}) == len(codes)


def test_a_users_table_comes_last_and_ambiguous_names_are_not_guessed(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("name,concept,code\n华法林,warfarin,C1\n水剂,甲,\n水剂,乙,\n", encoding="utf-8")
    names = Names([table])
    for spelling in ("华法林", "华法林钠片", "苄丙酮香豆素"):
        assert (names.concept(spelling).name, names.concept(spelling).code) == ("warfarin", "C1")
    got = names.concept("水剂")
    assert (got.name, got.known, got.candidates) == ("水剂", False, ("甲", "乙"))


@pytest.mark.parametrize(
    ("text", "message"), [("a,b\n1,2\n", "concept and name"), ("name,concept\n华法林,\n", "line 2")]
)
def test_broken_tables_are_refused_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "own.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        Names([table])
    assert str(table) in str(error.value)


@given(st.text(alphabet="abXY01 \t\u3000１ＡｂＣ华法林片®™-()（）"))
def test_writing_a_name_twice_changes_nothing(name: str) -> None:
    assert written(written(name)) == written(name)


# --------------------------------------------------------------------------------------------- the graph


def test_every_relation_keeps_its_evidence(graph: Graph) -> None:
    assert contents(graph) == {
        ("阿司匹林", "协同", "华法林", (("a.txt", 1, 0.9),)),
        ("对乙酰氨基酚", "无关", "华法林", (("a.txt", 2, 0.8),)),
        ("对乙酰氨基酚", "协同", "华法林", (("b.txt", 3, 0.6),)),
    }
    (edge,) = graph.query("阿司匹林")
    (evidence,) = edge.evidence
    assert evidence.text[evidence.head_start : evidence.head_end] == evidence.head == "阿司匹林"
    assert (evidence.tail, evidence.tail_start, evidence.drug, evidence.model) == (
        "华法林钠片", None, "华法林钠片", "model 1",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["华法林", "华法林钠片", "华法林钠", "warfarin", "苄丙酮香豆素"])
def test_a_drug_is_found_by_any_of_its_names(graph: Graph, name: str) -> None:
    assert [edge.score for edge in graph.query(name)] == [0.9, 0.8, 0.6]


def test_case_tells_no_drugs_apart_and_stays_for_people() -> None:
    graph = Graph()
    records = [
        result(i, None, f"{name}与乙", (name, "协同", "乙", 0.5)) for i, name in enumerate(["维生素K", "维生素k"])
    ]
    graph.add([(record["source"], record["line"], triples_of(record)) for record in records], Names())
    (edge,) = graph.query("维生素ｋ")
    assert (edge.head.name, len(edge.evidence)) == ("维生素K", 2)


def test_questions_can_be_narrowed(graph: Graph) -> None:
    assert [edge.head.name for edge in graph.query("华法林", relation="协同")] == ["阿司匹林", "对乙酰氨基酚"]
    assert [edge.head.name for edge in graph.query("华法林", min_score=0.85)] == ["阿司匹林"]
    assert graph.query("青霉素") == []


def test_contradictions_are_found_across_documents_and_spellings(graph: Graph) -> None:
    (pair,) = graph.contradictions()
    assert {pair.first.relation, pair.second.relation} == {"协同", "无关"}
    assert {pair.first.head.name, pair.second.head.name} == {"对乙酰氨基酚"}


def test_the_other_direction_and_other_relations_do_not_contradict() -> None:
    graph = Graph()
    one = result(1, None, "甲乙", ("甲", "促进", "乙", 0.9), ("乙", "抑制", "甲", 0.9), ("甲", "协同", "乙", 0.9))
    write = [(one["source"], 1, list(triples_of(one)))]
    graph.add(write, Names())
    assert graph.contradictions() == []
    two = result(2, None, "甲乙", ("甲", "抑制", "乙", 0.9))
    graph.add([(two["source"], 2, list(triples_of(two)))], Names())
    (pair,) = graph.contradictions()
    assert {pair.first.relation, pair.second.relation} == {"促进", "抑制"}


def triples_of(record: dict[str, Any]) -> list[Any]:
    from graph_iser.results import _of_result

    return _of_result(record)[2]


def test_what_is_added_again_counts_once_and_what_is_gone_goes(tmp_path: Path, found: Path) -> None:
    with Graph(tmp_path / "g.sqlite") as graph:
        graph.add(read_triples(found), Names())
        before = contents(graph)
        graph.add(read_triples(found), Names())
        assert contents(graph) == before
        changed = [result(1, "华法林钠片", "阿司匹林增强本品的作用"), *RESULTS[1:]]
        write_results(changed, found, "jsonl", "model")
        graph.add(read_triples(found), Names())
    with Graph(tmp_path / "g.sqlite") as graph:
        assert contents(graph) == {edge for edge in before if edge[0] != "阿司匹林"}
        assert "阿司匹林" not in {concept.name for concept in graph.concepts()}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_files_come_does_not_matter(seed: int) -> None:
    generator = random.Random(seed)
    lines = [(record["source"], record["line"], triples_of(record)) for record in RESULTS]
    one, other = Graph(), Graph()
    one.add(lines, Names())
    for line in generator.sample(lines, len(lines)):
        other.add([line], Names())
    assert contents(one) == contents(other)


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
def test_all_files_of_results_make_the_same_graph(tmp_path: Path, graph: Graph, output_format: str) -> None:
    path = tmp_path / f"found.{output_format}"
    write_results(RESULTS, path, output_format, "model")
    other = Graph()
    other.add(read_triples(path), Names())
    assert contents(other) == contents(graph)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "record 1: no JSON"), ("[1]", "no JSON object"), ('{"text": "x"}', "record 1: no result")],
)
def test_what_is_no_result_is_refused_and_nothing_is_added(
    tmp_path: Path, found: Path, text: str, message: str
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(found.read_text(encoding="utf-8") + text, encoding="utf-8")
    graph = Graph(tmp_path / "g.sqlite")
    with pytest.raises(ValueError, match=message.replace("record 1", "record 5")):
        graph.add(read_triples(broken), Names())
    assert list(graph.edges()) == []
    with pytest.raises(ValueError, match="jsonl"):
        list(read_triples(tmp_path / "found.txt"))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, and long enough to tell " * 50)
    with pytest.raises(ValueError, match="no graph"):
        Graph(tmp_path / "notes.txt")


# ---------------------------------------------------------------------------------------------- exports

HOSTILE = [
    "=cmd|'/c calc'!A1", '"}) DETACH DELETE n //', "a`b", "x\\u0060y", "<script>alert(1)</script>", "a> . <urn:evil",
    "'; DROP TABLE node; --", "名\n字", "+1", "@x", "a\x00b\x1b",
]  # fmt: skip


@pytest.fixture
def hostile() -> Graph:
    graph = Graph()
    records = [result(i, None, f"{name} 乙", (name, "协同", "乙", 0.5)) for i, name in enumerate(HOSTILE)]
    graph.add([(record["source"], record["line"], triples_of(record)) for record in records], Names())
    assert len(list(graph.edges())) == len(HOSTILE)
    return graph


@pytest.mark.parametrize("output_format", FORMATS)
def test_hostile_names_are_written_as_names(tmp_path: Path, hostile: Graph, output_format: str) -> None:
    files = export(hostile, output_format, tmp_path / "out.xlsx")
    assert files and all(file.stat().st_size for file in files)
    if output_format == "neo4j-csv":
        rows = [row for file in files for row in csv.reader(file.open(encoding="utf-8", newline=""))]
        assert not any(cell[:1] in ("=", "+", "-", "@") for row in rows for cell in row)
        assert len(rows) == 2 + len(HOSTILE) + 1 + len(HOSTILE)
    elif output_format == "excel":
        sheet = load_workbook(files[0]).active
        assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
        assert sheet.max_row == 2 + len(HOSTILE)
    elif output_format in ("turtle", "n-triples"):
        parsed = RdfGraph().parse(files[0], format={"turtle": "turtle", "n-triples": "nt"}[output_format])
        relation = URIRef("urn:iser:relation/协同")
        assert len(list(parsed.triples((None, relation, None)))) == len(HOSTILE)
        assert (None, None, URIRef("urn:evil")) not in parsed
    elif output_format == "graphml":
        assert networkx.read_graphml(files[0], force_multigraph=True).number_of_edges() == len(HOSTILE)
    else:
        statements = files[0].read_text(encoding="utf-8").splitlines()
        assert len(statements) == 1 + (len(HOSTILE) + 1) + len(HOSTILE)
        for statement in statements[1:]:
            assert bare(statement).count("DELETE") == 0, statement


def bare(statement: str) -> str:
    """A Cypher statement without what stands in quotes."""
    out, i, quote = [], 0, ""
    while i < len(statement):
        character = statement[i]
        if quote:
            if character == "\\" and quote == '"':
                i += 1
            elif character == quote:
                quote = ""
        elif character in '"`':
            quote = character
        else:
            out.append(character)
        i += 1
    assert not quote
    return "".join(out)


def test_rdf_holds_the_evidence(tmp_path: Path, graph: Graph) -> None:
    export(graph, "turtle", tmp_path / "g.ttl")
    rows = (
        RdfGraph()
        .parse(tmp_path / "g.ttl")
        .query(
            """
        PREFIX rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> PREFIX prov: <http://www.w3.org/ns/prov#>
        PREFIX iser: <urn:iser:>
        SELECT ?text ?score WHERE {
          ?s rdf:predicate ?p ; prov:wasDerivedFrom ?e .
          ?e prov:value ?text ; prov:wasQuotedFrom "b.txt" ; iser:score ?score }
        """
        )
    )
    assert [(row.text, row.score) for row in rows] == [(Literal("对乙酰氨基酚增强华法林的作用"), Literal(0.6))]


def test_graphml_and_neo4j_name_both_ends(tmp_path: Path, graph: Graph) -> None:
    export(graph, "graphml", tmp_path / "g.graphml")
    read = networkx.read_graphml(tmp_path / "g.graphml", force_multigraph=True)
    assert sorted((h, d["relation"], t) for h, t, d in read.edges(data=True)) == sorted(
        (f"药物:{e.head.name}", e.relation, f"药物:{e.tail.name}") for e in graph.edges()
    )
    nodes, relations = export(graph, "neo4j-csv", tmp_path / "neo4j")
    ids = {row["id:ID"] for row in csv.DictReader(nodes.open(encoding="utf-8"))}
    for row in csv.DictReader(relations.open(encoding="utf-8")):
        assert {row[":START_ID"], row[":END_ID"]} <= ids


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), min_size=3, max_size=3))
@example(["'=1", "''", "'a"])
def test_what_a_spreadsheet_is_kept_from_running_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """The CSV of iser-extract holds no formula, and gives the graph the names and texts that its JSON lines give."""
    text, head, tail = (name or "甲" for name in names)
    ends = [{"text": name, "type": "药物", "start": None, "end": None, "score": 1.0} for name in (head, tail)]
    relation = {"type": "协同", "head": ends[0], "tail": ends[1], "score": 0.5}
    found = {"source": "=a.txt", "line": 1, "text": text, "drug": None, "entities": ends, "relations": [relation]}
    path = tmp_path_factory.mktemp("csv") / "found.csv"
    write_results([found], path, "csv", "")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    ((source, _, (triple,)),) = read_triples(path)
    assert (source, triple.text, triple.head, triple.tail) == ("=a.txt", text, head, tail)


@given(st.text())
def test_no_cell_is_a_formula(text: str) -> None:
    assert harmless(text)[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert harmless(text).removeprefix("'") == text.removeprefix("'") or harmless(text) == text


# ----------------------------------------------------------------------------------------- command line


def test_the_commands_in_a_fresh_process(tmp_path: Path, found: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "graph_iser.command_line", *arguments, "--graph", str(tmp_path / "g.sqlite")]
        return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout

    assert "3 relations added; 3 names" in run("build", str(found))
    answer = run("query", "华法林")
    assert "阿司匹林 —协同→ 华法林  (0.90)\n    a.txt:1  (0.90)  阿司匹林增强本品的作用" in answer
    assert "Not for clinical decisions." in answer
    assert "1 contradictions" in run("contradictions")
    assert "says nothing about safety" in run("query", "青霉素")


def test_mistakes_are_told_in_one_line(tmp_path: Path, found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "华法林", "--graph", str(tmp_path / "none.sqlite")]) == 1
    assert main(["build", str(tmp_path / "none.jsonl"), "--graph", str(tmp_path / "g.sqlite")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(error.startswith("iser-graph: ") for error in errors)
    assert not (tmp_path / "none.sqlite").exists()


def test_unknown_and_ambiguous_names_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = result(1, None, "伏立康唑增强水剂的作用", ("伏立康唑", "协同", "水剂", 0.9))
    (tmp_path / "found.jsonl").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    table = tmp_path / "own.csv"
    table.write_text("name,concept\n水剂,甲\n水剂,乙\n", encoding="utf-8")
    graph = ["--graph", str(tmp_path / "g.sqlite")]
    assert main(["build", str(tmp_path / "found.jsonl"), "--names", str(table), *graph]) == 0
    assert main(["names", *graph]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["伏立康唑\tunknown", "水剂\tseveral: 甲, 乙"]
