"""Graphs from results: names, database, queries, exports, hostile input."""

from __future__ import annotations

import csv
import json
import random
import re
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
    """A result of `iser-extract`; `None` is the leaflet's drug."""

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
def test_spellings_of_a_drug_have_one_concept(name: str, concept: str, code: str) -> None:
    got = Names().concept(name)
    assert (got.name, got.code, got.known) == (concept, code, True)


def test_unknown_names_become_concepts_without_dosage_form() -> None:
    names = Names()
    assert names.concept("伏立康唑片") == names.concept("伏立康唑胶囊")
    got = names.concept("伏立康唑片")
    assert (got.name, got.code, got.known) == ("伏立康唑", None, False)
    assert names.concept("Lund", "City").name == "Lund"


def test_shipped_table_has_one_concept_per_name_and_one_code_per_concept() -> None:
    rows = list(csv.DictReader((REPOSITORY / "graph_iser" / "names.csv").open(encoding="utf-8")))
    assert len({row["name"] for row in rows}) == len(rows)
    codes: dict[str, set[str]] = {}
    for row in rows:
        codes.setdefault(row["concept"], set()).add(row["code"])
    assert all(len(of_concept) == 1 for of_concept in codes.values())
    # Anatomical group, therapeutic, pharmacological and chemical subgroup, substance.
    assert all(re.fullmatch("[A-DGHJL-NPRSV][0-9]{2}[A-Z]{2}[0-9]{2}", code) for (code,) in codes.values())
    assert len({code for (code,) in codes.values()}) == len(codes)


def test_later_tables_take_precedence_and_ambiguous_names_are_not_resolved(tmp_path: Path) -> None:
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
def test_errors_for_broken_tables_give_the_place(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "own.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        Names([table])
    assert str(table) in str(error.value)


@given(st.text(alphabet="abXY01 \t\u3000１ＡｂＣ华法林片®™-()（）"))
def test_normalising_a_name_is_idempotent(name: str) -> None:
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


def test_names_are_case_insensitive_but_keep_their_case() -> None:
    graph = Graph()
    records = [
        result(i, None, f"{name}与乙", (name, "协同", "乙", 0.5)) for i, name in enumerate(["维生素K", "维生素k"])
    ]
    graph.add([(record["source"], record["line"], triples_of(record)) for record in records], Names())
    (edge,) = graph.query("维生素ｋ")
    assert (edge.head.name, len(edge.evidence)) == ("维生素K", 2)


def test_query_by_relation_and_score(graph: Graph) -> None:
    assert [edge.head.name for edge in graph.query("华法林", ["协同"])] == ["阿司匹林", "对乙酰氨基酚"]
    assert len(graph.query("华法林", ["协同", "无关"])) == 3
    with pytest.raises(ValueError, match="holds no relation 禁忌, only 协同, 无关"):
        graph.query("华法林", ["协同", "禁忌"])
    assert [edge.head.name for edge in graph.query("华法林", min_score=0.85)] == ["阿司匹林"]
    assert graph.query("青霉素") == []


def test_contradictions_are_found_across_documents_and_spellings(graph: Graph) -> None:
    (pair,) = graph.contradictions()
    assert {pair.first.relation, pair.second.relation} == {"协同", "无关"}
    assert {pair.first.head.name, pair.second.head.name} == {"对乙酰氨基酚"}


def test_other_directions_and_relations_do_not_contradict() -> None:
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


def test_adding_a_line_again_replaces_its_relations(tmp_path: Path, found: Path) -> None:
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
def test_order_of_lines_does_not_matter(seed: int) -> None:
    generator = random.Random(seed)
    lines = [(record["source"], record["line"], triples_of(record)) for record in RESULTS]
    one, other = Graph(), Graph()
    one.add(lines, Names())
    for line in generator.sample(lines, len(lines)):
        other.add([line], Names())
    assert contents(one) == contents(other)


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
def test_all_formats_of_results_give_the_same_graph(tmp_path: Path, graph: Graph, output_format: str) -> None:
    path = tmp_path / f"found.{output_format}"
    write_results(RESULTS, path, output_format, "model")
    other = Graph()
    other.add(read_triples(path), Names())
    assert contents(other) == contents(graph)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "record 1: not JSON"), ("[1]", "not a JSON object"), ('{"text": "x"}', "record 1: not a result")],
)
def test_broken_results_are_refused_and_nothing_is_added(tmp_path: Path, found: Path, text: str, message: str) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(found.read_text(encoding="utf-8") + text, encoding="utf-8")
    graph = Graph(tmp_path / "g.sqlite")
    with pytest.raises(ValueError, match=message.replace("record 1", "record 5")):
        graph.add(read_triples(broken), Names())
    assert list(graph.edges()) == []
    with pytest.raises(ValueError, match="jsonl"):
        list(read_triples(tmp_path / "found.txt"))


def test_error_for_a_file_that_is_not_a_graph(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, and long enough to tell " * 50)
    with pytest.raises(ValueError, match="is not a graph"):
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
def test_hostile_names_are_escaped(tmp_path: Path, hostile: Graph, output_format: str) -> None:
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
    """A Cypher statement without its quoted parts."""
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


def test_rdf_contains_the_evidence(tmp_path: Path, graph: Graph) -> None:
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


def test_graphml_and_neo4j_contain_both_ends(tmp_path: Path, graph: Graph) -> None:
    export(graph, "graphml", tmp_path / "g.graphml")
    read = networkx.read_graphml(tmp_path / "g.graphml", force_multigraph=True)
    assert sorted((h, d["relation"], t) for h, t, d in read.edges(data=True)) == sorted(
        (f"药物:{e.head.name}", e.relation, f"药物:{e.tail.name}") for e in graph.edges()
    )
    nodes, relations = export(graph, "neo4j-csv", tmp_path / "neo4j")
    ids = {row["id:ID"] for row in csv.DictReader(nodes.open(encoding="utf-8"))}
    for row in csv.DictReader(relations.open(encoding="utf-8")):
        assert {row[":START_ID"], row[":END_ID"]} <= ids


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), min_size=3, max_size=3))
@example(["'=1", "''", "'a"])
def test_escaped_formulas_are_read_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """The CSV of iser-extract contains no formulas, but the graph reads the original names and texts from it."""
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


def test_commands_in_a_new_process(tmp_path: Path, found: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "graph_iser.command_line", *arguments, "--graph", str(tmp_path / "g.sqlite")]
        return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout

    assert "3 relations added; 3 names" in run("build", str(found))
    answer = run("query", "华法林")
    assert "阿司匹林 —协同→ 华法林  (0.90)\n    a.txt:1  (0.90)  阿司匹林增强本品的作用" in answer
    assert "Not for clinical decisions." in answer
    assert "1 contradictions" in run("contradictions")
    assert "says nothing about safety" in run("query", "青霉素")


def test_errors_take_one_line(tmp_path: Path, found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "华法林", "--graph", str(tmp_path / "none.sqlite")]) == 1
    assert main(["build", str(tmp_path / "none.jsonl"), "--graph", str(tmp_path / "g.sqlite")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(error.startswith("iser-graph: ") for error in errors)
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize("chosen", [["--relation", "协同", "无关"], ["--relation", "协同", "--relation", "无关"]])
def test_relations_are_chosen_alike_in_every_command_that_filters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], chosen: list[str]
) -> None:
    other = result(5, None, "甲禁忌乙", ("甲", "禁忌", "乙", 0.7))
    write_results([*RESULTS, other], tmp_path / "found.jsonl", "jsonl", "")
    whole, part = (["--graph", str(tmp_path / "new" / name)] for name in ("whole.sqlite", "part.sqlite"))
    build = ["build", str(tmp_path / "found.jsonl")]
    assert main([*build, *whole]) == main([*build, *part, *chosen]) == 0
    assert "4 relations added" in capsys.readouterr().out
    assert main(["names", *part]) == 0 and "甲" not in capsys.readouterr().out
    page = str(tmp_path / "pages" / "a.html")
    assert main(["query", "华法林", *whole, *chosen]) == main(["page", page, *whole, *chosen]) == 0
    out = capsys.readouterr().out
    assert out.count("—协同→") == 2 and out.count("—无关→") == 1
    assert "1 interaction of the graph left out" in out
    assert main(["query", "华法林", *whole, "--relation", "禁忌"]) == 0
    assert "no such relation of 华法林 (it holds 协同, 无关). That says nothing about safety" in capsys.readouterr().out
    for command in (["query", "华法林", *whole], ["page", page, *whole], [*build, *part]):
        assert main([*command, "--relation", "协同", "禁忌症"]) == 1, command
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all("no relation 禁忌症, only 协同, 无关, 禁忌" in error for error in errors)
    assert main(["query", "阿司匹林", *part]) == 0 and "—协同→" in capsys.readouterr().out  # unchanged


def test_types_of_entities_survive_every_format(tmp_path: Path) -> None:
    people = {"text": "王小明片", "type": "人物", "start": 0, "end": 4, "score": 1.0}
    place = {"text": "星河", "type": "公司", "start": 5, "end": 7, "score": 1.0}
    relation = {"type": "创立", "head": people, "tail": place, "score": 0.9}
    record = {
        "source": "a.txt", "line": 1, "text": "王小明片在星河", "drug": None, "entities": [people, place],
        "relations": [relation],
    }  # fmt: skip
    for kind in ("jsonl", "csv", "parquet"):
        write_results([record], tmp_path / f"found.{kind}", kind, "")
        graph = Graph()
        graph.add(read_triples(tmp_path / f"found.{kind}"), Names())
        # Only the names of drugs lose what looks like a dosage form.
        assert [(concept.name, concept.type) for concept in graph.concepts()] == [
            ("王小明片", "人物"), ("星河", "公司")
        ], kind  # fmt: skip


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_tables_in_other_encodings_are_read(tmp_path: Path, encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    """As spreadsheet programs save them."""
    write_results(RESULTS, tmp_path / "found.csv", "csv", "")
    (tmp_path / "names.csv").write_text("name,concept\n阿司匹林,阿司匹林甲\n", encoding=encoding)
    text = (tmp_path / "found.csv").read_text(encoding="utf-8-sig")
    (tmp_path / "found.csv").write_bytes(text.encode(encoding))
    graph = Graph()
    graph.add(read_triples(tmp_path / "found.csv"), Names([tmp_path / "names.csv"]))
    assert [edge.head.name for edge in graph.query("阿司匹林甲")] == ["阿司匹林甲"]
    noted = [message for message in caplog.messages if "read as GB18030" in message]
    assert len(noted) == (2 if encoding == "gb18030" else 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("found.csv", "source,line\n华".encode("gb18030") + b"\xff", "found.csv, record 1: not UTF-8. Save the file"),
        ("found.jsonl", b"\n[]", "found.jsonl, record 2: not a JSON object"),
        ("found.parquet", b"PAR0", "found.parquet is not a Parquet file"),
        ("found.xml", b"", "results of iser-extract are .jsonl, .csv, .parquet files"),
        ("found", None, "found is a directory. Name the files in it"),
        ("none.jsonl", None, "there is no file"),
    ],
)
def test_unreadable_results_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif name == "found":
        path.mkdir()
    assert main(["build", str(path), "--graph", str(tmp_path / "g.sqlite")]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("iser-graph: ") and message in error
    if content is None:
        assert not (tmp_path / "g.sqlite").exists()


def test_a_missing_package_is_told_in_one_sentence(
    tmp_path: Path, found: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = ["--graph", str(tmp_path / "g.sqlite")]
    assert main(["build", str(found), *graph]) == 0
    for package, kind in (("networkx", "graphml"), ("rdflib", "turtle"), ("openpyxl", "excel")):
        monkeypatch.setitem(sys.modules, package, None)
        assert main(["export", kind, str(tmp_path / "out"), *graph]) == 2
        assert capsys.readouterr().err == (
            f'iser-graph: {package} is not installed; pip install "iser[graph]" installs it.\n'
        )


def test_unknown_and_ambiguous_names_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = result(1, None, "伏立康唑增强水剂的作用", ("伏立康唑", "协同", "水剂", 0.9))
    (tmp_path / "found.jsonl").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    table = tmp_path / "own.csv"
    table.write_text("name,concept\n水剂,甲\n水剂,乙\n", encoding="utf-8")
    graph = ["--graph", str(tmp_path / "g.sqlite")]
    assert main(["build", str(tmp_path / "found.jsonl"), "--names", str(table), *graph]) == 0
    assert main(["names", *graph]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["伏立康唑\tunknown", "水剂\tseveral: 甲, 乙"]


def test_lines_in_two_result_files_count_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, graph = tmp_path / "first.jsonl", tmp_path / "second.jsonl", tmp_path / "graph.sqlite"
    shared, other = (result(line, None, "甲增强乙的作用", ("甲", "协同", "乙", 0.9)) for line in (1, 2))
    first.write_text(json.dumps(shared) + "\n", encoding="utf-8")
    second.write_text("".join(json.dumps(record) + "\n" for record in (shared, other)), encoding="utf-8")
    assert main(["build", str(first), str(second), "--graph", str(graph)]) == 0
    with Graph(graph) as built:
        (edge,) = built.edges()
    assert sorted(evidence.line for evidence in edge.evidence) == [1, 2]
