"""Predictions as pre-annotations for doccano and Label Studio, and the loop of extraction, correction and training."""

from __future__ import annotations

import copy
import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_scripts import load_corpus, words
from datasets_scripts.formats import FORMATS, recognise
from modeling_iser import DEFAULT_MODEL, IserForJointExtraction
from modeling_iser.command_line import main
from modeling_iser.result_files import certainty, labelling_interface, read_results, write_results

from . import pages
from .conftest import ENTITY_TYPES, RELATION_TYPES, REPOSITORY, SENTENCES, save_encoder


SUFFIXES = {"doccano": ".jsonl", "label-studio": ".json"}
TOOLS = list(SUFFIXES)
TYPES = [*ENTITY_TYPES, "药物"]  # A model that knows drugs takes a leaflet's drug.


# --------------------------------------------------------------------------------- simulated tools


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def read_file(tool: str, path: Path) -> list[Any]:
    return read_lines(path) if tool == "doccano" else json.loads(path.read_text(encoding="utf-8"))


def label_studio_export(tasks: list[Any]) -> list[Any]:
    """The export of Label Studio after an annotator has submitted every prediction unchanged."""
    exported = []
    for number, task in enumerate(tasks, 101):
        (prediction,) = task["predictions"]
        result = copy.deepcopy(prediction["result"])
        # Label Studio keeps only the first of several relations between the same regions.
        pairs = [(item["from_id"], item["to_id"]) for item in result if item["type"] == "relation"]
        assert len(set(pairs)) == len(pairs)
        exported.append({"id": number, "data": task["data"], "annotations": [{"id": number, "result": result}]})
    return exported


def doccano_export(records: list[Any]) -> list[Any]:
    """The export of doccano after an annotator has approved every text unchanged: with new ids, without scores."""
    exported, shift = [], 7000
    for record in records:
        known = {"text", "entities", "relations"}
        metadata = {key: value for key, value in record.items() if key not in known}
        entities = [
            {
                key: span[key] + shift if key == "id" else span[key]
                for key in ("id", "label", "start_offset", "end_offset")
            }
            for span in record["entities"]
        ]
        relations = [
            {"id": item["id"], "from_id": item["from_id"] + shift, "to_id": item["to_id"] + shift, "type": item["type"]}
            for item in record["relations"]
        ]
        exported.append({"text": record["text"], **metadata, "entities": entities, "relations": relations})
    return exported


def write_export(tool: str, pre_annotations: Path, export: Path) -> None:
    items = read_file(tool, pre_annotations)
    if tool == "doccano":
        FORMATS["doccano"].write_lines(doccano_export(items), export)
    else:
        export.write_text(json.dumps(label_studio_export(items), ensure_ascii=False), encoding="utf-8")


# ---------------------------------------------------------------------------------- arbitrary results


def as_annotations(result: dict[str, Any]) -> tuple[str, set[Any], set[Any]]:
    """Text, entities and relations of a result in the form of a corpus, computed literally."""
    drug = result["drug"]["text"] if result["drug"] else ""
    prompt = f"{drug}@" if drug else ""

    def span(entity: dict[str, Any]) -> tuple[int, int]:
        if entity["start"] is None:
            return 0, len(drug)
        return len(prompt) + entity["start"], len(prompt) + entity["end"]

    entities = {(*span(entity), entity["type"]) for entity in result["entities"]}
    if drug:
        entities.add((0, len(drug), result["drug"]["type"]))
    relations = {(span(item["head"]), span(item["tail"]), item["type"]) for item in result["relations"]}
    return prompt + result["text"], entities, relations


def of_document(document: dict[str, Any]) -> tuple[str, set[Any], set[Any]]:
    text, entities, relations = words.annotations_of(document)
    return text, set(entities), {(entities[head][:2], entities[tail][:2], kind) for head, tail, kind in relations}


scores = st.integers(0, 10_000).map(lambda number: number / 10_000)
labels = st.sampled_from(["药物", "协同", "a<b & \"c\" 'd'", "Live_In"])


@st.composite
def results(draw: st.DrawFn, line: int) -> dict[str, Any]:
    """A result of the pipeline: entities of whole words, and relations between them and the leaflet's drug."""
    text = draw(st.text(st.sampled_from("甲乙ab1 \t\r\n。,@-😀é\u0301\u3000"), min_size=1, max_size=20)) + "丙"
    name = draw(st.none() | st.sampled_from(["甲片", "维生素 C@2", "Co-A 5%"]))
    drug = {"text": name, "type": draw(labels), "mentions": []} if name else None
    places = words.split_words(text)
    spans = draw(
        st.lists(st.tuples(*[st.integers(0, len(places) - 1)] * 2).map(sorted).map(tuple), unique=True, max_size=4)
    )
    entities = [
        {"text": text[places[a][0] : places[b][1]], "type": draw(labels), "start": places[a][0], "end": places[b][1],
         "score": draw(scores)}
        for a, b in spans
    ]  # fmt: skip
    own = [{"text": name, "type": drug["type"], "start": None, "end": None, "score": draw(scores)}] if drug else []
    pairs = [(head, tail, kind) for head in entities + own for tail in entities + own if head is not tail
             for kind in ("协同", "Live_In")]  # fmt: skip
    chosen = draw(st.lists(st.sampled_from(range(len(pairs))), unique=True, max_size=6)) if pairs else []
    relations = [{"type": pairs[i][2], "head": pairs[i][0], "tail": pairs[i][1], "score": draw(scores)} for i in chosen]
    return {"source": "in.txt", "line": line, "text": text, "drug": drug, "entities": entities, "relations": relations}


several = st.integers(1, 4).flatmap(lambda number: st.tuples(*(results(line) for line in range(1, number + 1))))


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=60)
@given(several=several)
def test_predictions_are_read_back(
    tool: str, tmp_path_factory: pytest.TempPathFactory, several: tuple[dict[str, Any], ...]
) -> None:
    directory = tmp_path_factory.mktemp("files")
    path, export = directory / "tasks", directory / f"export{SUFFIXES[tool]}"
    write_results(several, path, tool, "model")
    write_export(tool, path, export)
    read = [document for _, document in FORMATS[tool].read(export)]
    assert [document for document in read if isinstance(document, ValueError)] == []
    assert [document["id"] for document in read] == [f"in.txt:{result['line']}" for result in several]
    assert [of_document(document) for document in read] == [as_annotations(result) for result in several]
    # Each entity and relation has its score, and the text the least of them.
    for item, result in zip(read_file(tool, path), several, strict=True):
        in_text = [entity["score"] for entity in result["entities"]]
        assert certainty(result) == min([*in_text, *(r["score"] for r in result["relations"])], default=1)
        if tool == "doccano":
            spans, links, least = item["entities"], item["relations"], item["certainty"]
        else:
            (prediction,) = item["predictions"]
            spans = [part for part in prediction["result"] if part["type"] == "labels"]
            links = [part for part in prediction["result"] if part["type"] == "relation"]
            least = prediction["score"]
        assert [span["score"] for span in spans if "score" in span] == in_text
        assert len(spans) == len(in_text) + bool(result["drug"])
        assert {link["score"] for link in links} <= {relation["score"] for relation in result["relations"]}
        assert least == certainty(result)


@settings(max_examples=30)
@given(several=several)
def test_pre_annotations_have_the_documented_form(
    tmp_path_factory: pytest.TempPathFactory, several: tuple[dict[str, Any], ...]
) -> None:
    directory = tmp_path_factory.mktemp("files")
    for tool in TOOLS:
        write_results(several, directory / tool, tool, "model")
    tasks = read_file("label-studio", directory / "label-studio")
    interface = ElementTree.fromstring(labelling_interface(["药物"], ["协同"]))
    control, shown = interface.find("Labels"), interface.find("Text")
    assert control is not None and shown is not None
    seen: set[str] = set()
    for task in tasks:
        assert set(task) == {"data", "predictions"}
        text = task["data"][shown.attrib["value"].removeprefix("$")]
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "model"
        assert 0 <= prediction["score"] <= 1
        own: set[str] = set()
        for part in prediction["result"]:
            if part["type"] == "relation":
                assert {part["from_id"], part["to_id"]} <= own
                assert part["direction"] == "right"
                assert len(set(part["labels"])) == len(part["labels"]) > 0
                continue
            assert (part["from_name"], part["to_name"]) == (control.attrib["name"], shown.attrib["name"])
            assert control.attrib["toName"] == shown.attrib["name"]
            assert text[part["value"]["start"] : part["value"]["end"]] == part["value"]["text"]
            assert re.fullmatch("[A-Za-z0-9_-]+", part["id"])
            assert part["id"] not in own | seen
            own.add(part["id"])
        seen |= own
    # doccano reads the records as a table, where a missing key would become NaN, which is not JSON.
    records = read_lines(directory / "doccano")
    assert {frozenset(record) for record in records} == {
        frozenset({"id", "text", "entities", "relations", "Comments", "certainty", "model"})
    }
    for key in ("entities", "relations"):
        ids = [item["id"] for record in records for item in record[key]]
        assert len(set(ids)) == len(ids)
        assert all(isinstance(number, int) for number in ids)


def test_labelling_interface_has_all_labels() -> None:
    names = ["药物", "a<b & \"c\" 'd'", "Live_In"]
    root = ElementTree.fromstring(labelling_interface(names, names))
    for tag in ("Labels/Label", "Relations/Relation"):
        assert [item.attrib["value"] for item in root.findall(tag)] == names
    assert ElementTree.fromstring(labelling_interface(names, [])).find("Relations") is None


@settings(max_examples=40)
@given(several=several)
def test_most_uncertain_results_come_first(
    tmp_path_factory: pytest.TempPathFactory, several: tuple[dict[str, Any], ...]
) -> None:
    path = tmp_path_factory.mktemp("files") / "results.jsonl"
    write_results(several, path, "jsonl", "model")
    assert list(read_results(path)) == list(several)
    assert list(read_results(path, "uncertain")) == sorted(several, key=certainty)


# ---------------------------------------------------------------------------------------- the command line


def save_model(directory: Path, relation_types: list[str]) -> Path:
    """A checkpoint with random weights whose bias makes it find many entities."""
    torch.manual_seed(0)
    model = IserForJointExtraction.from_encoder(
        save_encoder("bert", directory / "encoder"), TYPES, relation_types, max_span_width=2,
        context_attention_heads=2, first_pass_threshold=0.0,
    )  # fmt: skip
    with torch.no_grad():
        model.entity_classifier.weight.mul_(40)
        model.entity_classifier.bias[1:] = 1.0
        if relation_types:
            model.relation_classifier.weight.mul_(40)
    model.save_pretrained(directory / "model")
    return directory / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("joint"), RELATION_TYPES)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: Any) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--quiet"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


TEXTS = [*SENTENCES, "Per  Falk\r\nlives in\tLund .", "Anna 😀 Berg works . Ida Holm lives in Malmo .\nLund ."]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


@pytest.mark.parametrize("drug", [None, "Norrland 5 mg"])
@pytest.mark.parametrize("tool", TOOLS)
def test_extraction_as_pre_annotations(
    run: Any, model: Path, inputs: Path, tmp_path: Path, tool: str, drug: str | None
) -> None:
    given = ["--drug", drug] if drug else []
    plain, output = tmp_path / "plain.jsonl", tmp_path / f"tasks{SUFFIXES[tool]}"
    assert run(inputs, "--model", model, *given, "--output", plain)[0] == 0
    code, _, err = run(inputs, "--model", model, *given, "--output", output, "--format", tool)
    assert code == 0
    predicted = list(map(as_annotations, read_lines(plain)))
    assert any(entities for _, entities, _ in predicted) and any(relations for *_, relations in predicted)
    assert [text for text, *_ in predicted] == [f"{drug}@{text}" if drug else text for text in TEXTS]
    (tmp_path / "exports").mkdir()
    export = tmp_path / "exports" / f"train{SUFFIXES[tool]}"
    write_export(tool, output, export)
    assert recognise(export) == tool
    assert [of_document(document) for document in load_corpus(tmp_path / "exports")["train"].to_list()] == predicted
    (name,) = {
        item["model"] if tool == "doccano" else item["predictions"][0]["model_version"]
        for item in read_file(tool, output)
    }
    assert name == "model"
    interface = tmp_path / "tasks.labels.xml"
    assert interface.exists() == (tool == "label-studio")
    if interface.exists():
        assert str(interface) in err
        root = ElementTree.parse(interface).getroot()
        assert [item.attrib["value"] for item in root.iter("Label")] == TYPES
        assert [item.attrib["value"] for item in root.iter("Relation")] == RELATION_TYPES


@pytest.mark.parametrize("tool", TOOLS)
def test_model_without_relations(run: Any, inputs: Path, tmp_path: Path, tool: str) -> None:
    checkpoint = save_model(tmp_path, [])
    output = tmp_path / f"tasks{SUFFIXES[tool]}"
    assert run(inputs, "--model", checkpoint, "--output", output, "--format", tool, "--order", "uncertain")[0] == 0
    export = tmp_path / f"export{SUFFIXES[tool]}"
    write_export(tool, output, export)
    documents = load_corpus(export)["train"].to_list()
    assert sorted(document["text"] for document in documents) == sorted(TEXTS)
    assert any(document["entities"] for document in documents)
    assert not any(document["relations"] for document in documents)
    if tool == "label-studio":
        assert "Relation" not in (tmp_path / "tasks.labels.xml").read_text(encoding="utf-8")


def test_resuming_with_other_input_is_refused(run: Any, model: Path, inputs: Path, tmp_path: Path) -> None:
    other, blank, output = tmp_path / "other.txt", tmp_path / "blank.txt", tmp_path / "found.jsonl"
    other.write_text("Anna Berg lives in Lund .", encoding="utf-8")
    blank.touch()
    assert run(inputs, blank, "--model", model, "--output", output)[0] == 0
    before = output.read_bytes()
    for files in ([other], [inputs, other]):
        code, _, err = run(*files, "--model", model, "--output", output, "--resume")
        assert code == 1 and f"found.jsonl is complete, without {other}. Name another --output." in err
    code, _, err = run(inputs, blank, "--model", model, "--output", output, "--resume")
    assert code == 0 and err.strip().endswith("found.jsonl is complete.")
    assert output.read_bytes() == before


def test_order_and_resume(run: Any, model: Path, inputs: Path, tmp_path: Path) -> None:
    plain, output = tmp_path / "plain.jsonl", tmp_path / "tasks.jsonl"
    assert run(inputs, "--model", model, "--output", plain)[0] == 0
    expected = read_lines(plain)
    uncertain = ["--model", model, "--order", "uncertain"]
    assert run(inputs, *uncertain, "--output", tmp_path / "ordered.jsonl")[0] == 0
    ordered = read_lines(tmp_path / "ordered.jsonl")
    assert list(map(certainty, ordered)) == sorted(map(certainty, expected))
    assert list(map(certainty, ordered)) != list(map(certainty, expected))
    assert sorted(result["line"] for result in ordered) == [result["line"] for result in expected]
    # An interruption in the middle of a line.
    lines = plain.read_bytes().splitlines(keepends=True)
    (tmp_path / "tasks.jsonl.partial").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    arguments = [inputs, *uncertain, "--output", output, "--format", "doccano", "--resume"]
    assert run(*arguments)[0] == 0
    assert [record["id"] for record in read_lines(output)] == [f"{inputs}:{result['line']}" for result in ordered]
    assert not (tmp_path / "tasks.jsonl.partial").exists()
    assert "is complete" in run(*arguments)[2]
    assert run(inputs, *uncertain, "--output", tmp_path / "flat.csv")[0] == 0
    with (tmp_path / "flat.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = [(int(row["line"]), row["relation"]) for row in csv.DictReader(stream)]
    assert rows == [(result["line"], relation["type"]) for result in ordered for relation in result["relations"]]


@pytest.mark.parametrize("tool", TOOLS)
def test_standard_output(run: Any, model: Path, inputs: Path, tmp_path: Path, tool: str) -> None:
    output = tmp_path / "tasks"
    assert run(inputs, "--model", model, "--output", output, "--format", tool)[0] == 0
    code, out, _ = run(inputs, "--model", model, "--format", tool)
    assert (code, out) == (0, output.read_text(encoding="utf-8"))


def test_blank_texts_are_reported(run: Any, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "Lund ."}\n{"text": ""}\n{"text": " \\n"}\n', encoding="utf-8")
    for tool in TOOLS:
        output = tmp_path / f"{tool}.out"
        code, _, err = run(path, "--model", model, "--format", tool, "--drug", "Malmo", "--output", output)
        assert code == 2
        assert f"{path}, line 2: a blank text has nothing" in err
        assert f"{path}, line 3: a blank text has nothing" in err
        assert len(read_file(tool, output)) == 1
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", encoding="utf-8")
    for tool in TOOLS:
        assert run(empty, "--model", model, "--format", tool, "--output", tmp_path / tool)[0] == 0
        assert read_file(tool, tmp_path / tool) == []


def test_wrong_options(run: Any, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(inputs, "--order", "uncertain")
    assert (code, out) == (1, "")
    assert "--order and Parquet need --output" in err
    output = tmp_path / "tasks.json"
    code, _, err = run(inputs, inputs, "--format", "label-studio", "--output", output)
    assert code == 1
    assert "a file is given twice" in err
    monkeypatch.setitem(sys.modules, "datasets", None)
    code, _, err = run(inputs, "--format", "label-studio", "--output", output)
    assert code == 1
    assert 'datasets is not installed; pip install "iser[corpus]" installs it' in err
    assert not list(tmp_path.glob("tasks*"))


# ------------------------------------------------------------------------------------------- annotation loop


@pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled")
@pytest.mark.parametrize("tool", TOOLS)
def test_page_annotation_loop(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("recipes", "modeling_iser"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.chdir(tmp_path)
    loop = Path("runs/loop")
    commands = pages.commands("annotation_loop.md")
    assert [command[0] for command in commands] == ["iser-extract"] * 2 + ["python"] * 3 + ["iser-extract"]
    for command in commands[:2]:
        assert pages.execute(command) == 0
    assert (loop / "tasks.labels.xml").is_file()
    (loop / "exports").mkdir()
    export = loop / "exports" / f"corrected{SUFFIXES[tool]}"
    write_export(tool, loop / f"tasks{SUFFIXES[tool]}", export)
    # The annotator deletes all relations of one text.
    exported = read_file(tool, export)
    (corrected,) = (item for item in exported if "泮托拉唑" in json.dumps(item, ensure_ascii=False))
    if tool == "doccano":
        corrected["relations"] = []
        FORMATS["doccano"].write_lines(exported, export)
    else:
        (annotation,) = corrected["annotations"]
        annotation["result"] = [part for part in annotation["result"] if part["type"] != "relation"]
        export.write_text(json.dumps(exported, ensure_ascii=False), encoding="utf-8")
    for command in commands[2:]:
        assert pages.execute(command) in ((0, 2) if "check" in command else (0,))
    splits = load_corpus(loop / "corpus")
    documents = [document for split in splits.values() for document in split.to_list()]
    assert len(documents) == len(exported) == 6
    (mine,) = (document for document in documents if "泮托拉唑" in document["text"])
    assert mine["entities"] and not mine["relations"]
    assert all(document["text"].startswith("华法林钠片@") for document in documents)
    assert sum(len(document["relations"]) for document in documents) > 3
    assert (loop / "model" / "scores.json").is_file()
    (version,) = {task["predictions"][0]["model_version"] for task in read_file("label-studio", loop / "next.json")}
    assert version == "model"
