"""The `ddi-extraction` pipeline and `iser-extract`."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pyarrow import table as arrow_table
from transformers import AutoConfig, AutoTokenizer, pipeline

from modeling_iser import (
    DEFAULT_MODEL,
    DdiExtractionPipeline,
    Extraction,
    IserConfig,
    IserForJointExtraction,
    JointExtractionPipeline,
    write_html,
)
from modeling_iser.command_line import main
from modeling_iser.handler import EndpointHandler
from modeling_iser.pipeline_iser import split_leaflet
from modeling_iser.result_files import TRIPLE_COLUMNS

from .conftest import REPOSITORY, SENTENCES


LEAFLET = (
    "【药物相互作用】\n1.与乙合用,本品的作用增强。2.丙(CYP3A4抑制剂)升高本品浓度;应减量。\n"
    "3.以下药物禁用:①丁;②戊。\r\n4.服用己者,本药减量。"
)
DRUG = "甲片"


def load(directory: Path, **arguments: Any) -> Any:
    return pipeline("ddi-extraction", model=str(directory), pipeline_class=DdiExtractionPipeline, **arguments)


@pytest.fixture(scope="module")
def extractor(chinese_model: Path) -> Any:
    return load(chinese_model)


def check_offsets(answer: Extraction, text: str) -> None:
    assert answer["text"] == text
    for entity in answer["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert 0 <= entity["score"] <= 1
    drug = answer["drug"]
    for mention in drug["mentions"] if drug else []:
        assert text[mention["start"] : mention["end"]] == mention["text"]
    for relation in answer["relations"]:
        for entity in (relation["head"], relation["tail"]):
            if entity["start"] is None:
                assert drug
                assert entity["text"] == drug["text"]
            else:
                assert entity in answer["entities"]


def without_scores(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_scores(item) for key, item in value.items() if key != "score"}
    return [without_scores(item) for item in value] if isinstance(value, list) else value


# ------------------------------------------------------------------------------------------ pipeline


def test_kinds_of_input(extractor: Any) -> None:
    texts = ["乙增强本品", "丙减弱丁", "", "戊"]
    answers = extractor(texts)
    assert [answer["text"] for answer in answers] == texts
    assert any(answer["entities"] for answer in answers)
    assert any(answer["relations"] for answer in answers)
    for answer, text in zip(answers, texts, strict=True):
        check_offsets(answer, text)
        assert without_scores(extractor(text)) == without_scores(answer)
    column = Dataset.from_dict({"text": texts})["text"]
    for inputs in (tuple(texts), column, (text for text in texts), iter(texts)):
        assert without_scores(list(extractor(inputs))) == without_scores(answers)
    assert without_scores(list(extractor(iter(texts), batch_size=3))) == without_scores(answers)
    assert extractor([]) == []
    json.dumps(answers)
    for wrong in (3, [3], None, [None], {"drug": "甲"}, [{"text": 1}]):
        with pytest.raises(TypeError, match="takes texts, not"):
            extractor(wrong)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_results_do_not_depend_on_the_batch(extractor: Any, batch_size: int) -> None:
    generator = random.Random(1)
    texts = ["".join(generator.choices("甲乙丙丁,。本品A1 ", k=generator.randint(0, 60))) for _ in range(12)]
    alone = [extractor(text, drug=DRUG) for text in texts]
    together = extractor(texts, drug=DRUG, batch_size=batch_size)
    assert without_scores(together) == without_scores(alone)
    for one, other in zip(alone, together, strict=True):
        for key in ("entities", "relations"):
            assert [e["score"] for e in one[key]] == pytest.approx([e["score"] for e in other[key]], abs=2e-4)


def test_drug_of_the_leaflet(extractor: Any) -> None:
    answer = extractor(LEAFLET, drug=DRUG)
    check_offsets(answer, LEAFLET)
    assert answer["drug"]["text"] == DRUG
    assert [mention["text"] for mention in answer["drug"]["mentions"]] == ["本品", "本品", "本药"]
    again = extractor(
        [{"text": LEAFLET}, {"text": LEAFLET, "drug": "乙片"}, {"text": LEAFLET, "drug": DRUG}], drug=DRUG
    )
    assert [item["drug"]["text"] for item in again] == [DRUG, "乙片", DRUG]
    assert without_scores(again[0]) == without_scores(again[2]) == without_scores(answer)
    assert extractor(LEAFLET)["drug"] is None
    for wrong in ("", " ", 3):
        with pytest.raises(TypeError, match="drug must be a text that is not blank"):
            extractor(LEAFLET, drug=wrong)


def test_drug_is_prepended_to_every_sentence(extractor: Any) -> None:
    # Extraction with `drug` equals extraction from `drug@sentence`, sentence by sentence.
    answer = extractor(LEAFLET, drug=DRUG, rules=False)
    expected, related = [], []
    for start, end in split_leaflet(LEAFLET):
        prompted = f"{DRUG}@{LEAFLET[start:end]}"
        alone = extractor(prompted)
        shift = start - len(DRUG) - 1
        keep = [e for e in alone["entities"] if e["start"] > len(DRUG)]
        expected += [(e["text"], e["start"] + shift, e["end"] + shift) for e in keep]
        own = {"text": DRUG, "start": 0, "end": len(DRUG)}
        for relation in alone["relations"]:
            pair = [{key: relation[role][key] for key in ("text", "start", "end")} for role in ("head", "tail")]
            if all(entity == own or entity["start"] > len(DRUG) for entity in pair):
                related.append((relation["type"], *(entity["text"] for entity in pair)))
    assert [(e["text"], e["start"], e["end"]) for e in answer["entities"]] == expected
    assert [(r["type"], r["head"]["text"], r["tail"]["text"]) for r in answer["relations"]] == related
    assert related


def test_sentences_of_a_leaflet() -> None:
    assert [LEAFLET[start:end].strip() for start, end in split_leaflet(LEAFLET)] == [
        "与乙合用,本品的作用增强。",
        "丙(CYP3A4抑制剂)升高本品浓度;应减量。",
        "以下药物禁用:①丁;②戊。",
        "服用己者,本药减量。",
    ]
    assert split_leaflet(" \n") == []


def test_triples_and_thresholds(extractor: Any) -> None:
    answer = extractor(LEAFLET, drug=DRUG)
    triples = extractor(LEAFLET, drug=DRUG, triples=True)
    assert triples == answer.triples()
    assert set(triples[0]) == {"head", "relation", "tail", "score"}
    assert [t["score"] for t in triples] == sorted((r["score"] for r in answer["relations"]), reverse=True)
    scores = sorted(r["score"] for r in answer["relations"])
    lower, upper = max(pairwise(scores), key=lambda pair: pair[1] - pair[0])
    fewer = extractor(LEAFLET, drug=DRUG, relation_threshold=(lower + upper) / 2)
    assert sorted(r["score"] for r in fewer["relations"]) == pytest.approx([s for s in scores if s >= upper], abs=2e-4)
    assert all(e["score"] >= 0.9 for e in extractor(LEAFLET, entity_threshold=0.9)["entities"])
    for name in ("entity_threshold", "relation_threshold"):
        with pytest.raises(ValueError, match=f"{name}=1.5 must lie between 0 and 1"):
            extractor(LEAFLET, **{name: 1.5})


def test_documents_of_any_length(extractor: Any) -> None:
    # The text exceeds the encoder's 64 positions; each repetition of the sentence must give the same result.
    text = LEAFLET.split("\n")[1] + "\n"
    once, often = extractor(text, drug=DRUG), extractor(text * 40, drug=DRUG)
    check_offsets(often, text * 40)
    assert len(often["entities"]) == 40 * len(once["entities"])
    assert len(often["relations"]) == 40 * len(once["relations"])
    whole = extractor("乙与丙" * 500, drug=DRUG)  # one sentence, in windows
    check_offsets(whole, "乙与丙" * 500)
    places = [(e["start"], e["end"]) for e in whole["entities"]]
    assert len(set(places)) == len(places)
    assert max(end for _, end in places) > 1400
    with pytest.raises(ValueError, match="leaves too little"):
        extractor("乙", drug="甲" * 60)


UNUSUAL = (
    "乙\r\n本品 ＡＢＣ，丙",
    "e\u0301te\u0301 乙\u0301",
    "\N{WOMAN}\u200d\N{STAFF OF AESCULAPIUS}\ufe0f乙\N{PILL}丙",
    "\ufeff乙\u200b丙\x00丁",
    "\U00020bb7乙\u3000丙",
    "\u337f\ufb01乙",
)


@pytest.mark.parametrize("text", UNUSUAL)
def test_offsets_of_unusual_text(extractor: Any, text: str) -> None:
    for drug in (None, DRUG, "𠮷片"):
        check_offsets(extractor(text, drug=drug), text)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200), drug=st.none() | st.text(min_size=1, max_size=5).filter(str.strip))
def test_any_text(extractor: Any, text: str, drug: str | None) -> None:
    check_offsets(extractor(text, drug=drug), text)


def test_half_precision_on_cpu(chinese_model: Path, extractor: Any, tmp_path: Path) -> None:
    model = IserForJointExtraction.from_pretrained(chinese_model)
    model.half().save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.model.dtype == torch.float32
    bfloat = load(tmp_path, dtype=torch.bfloat16)
    assert bfloat.model.dtype == torch.bfloat16
    check_offsets(bfloat(LEAFLET, drug=DRUG), LEAFLET)


# ------------------------------------------------------------------------------------------- picture


def test_picture(extractor: Any, tmp_path: Path) -> None:
    answer = extractor(LEAFLET + " <&>", drug=DRUG)
    picture = answer._repr_html_()
    assert picture.startswith("<svg")
    assert "<script" not in picture
    assert "&lt;" in picture
    assert picture.count("<path") == len(answer["relations"])
    path = tmp_path / "page.html"
    write_html([answer, extractor("")], path)
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert page.count("<tr>") == 1 + len(answer["relations"])
    assert "http://" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_heat_map_of_the_cross_attention(chinese_model: Path, tmp_path: Path) -> None:
    from modeling_iser.figures import attention_heatmap, cross_attention

    model = IserForJointExtraction.from_pretrained(chinese_model)
    words, entity, relation = cross_attention(model, "甲片@与CYP3A4抑制剂合用")
    assert words == ["甲", "片", "@", "与", "CYP3A4", "抑", "制", "剂", "合", "用"]
    for weights in (entity, relation):
        assert weights.shape == (10, 10)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(10))
    assert not torch.equal(entity, relation)
    attention_heatmap(model, "甲片@与乙合用", tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    for wrong in ("", "乙" * 100):
        with pytest.raises(ValueError, match="fits into the encoder"):
            cross_attention(model, wrong)


# -------------------------------------------------------------------------------------- command line


@pytest.fixture
def run(chinese_model: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: Any) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--model", str(chinese_model), "--quiet"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


TEXTS = ["乙增强本品", "丙减弱丁与戊", "己"]


def write_inputs(directory: Path) -> dict[str, Path]:
    paths = {kind: directory / f"in.{kind}" for kind in ("txt", "jsonl", "csv", "parquet")}
    paths["txt"].write_text("\ufeff" + "\r\n".join(TEXTS) + "\n", encoding="utf-8")
    paths["jsonl"].write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    with paths["csv"].open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["id", "text"], *([i, text] for i, text in enumerate(TEXTS))])
    parquet.write_table(arrow_table({"text": TEXTS}), paths["parquet"])
    return paths


def test_every_format(run: Any, extractor: Any, tmp_path: Path) -> None:
    expected = [without_scores(answer) for answer in extractor(TEXTS, drug=DRUG)]
    for kind, path in write_inputs(tmp_path).items():
        code, out, err = run(path, "--drug", DRUG)
        assert (code, err) == (0, "")
        records = [json.loads(line) for line in out.splitlines()]
        assert [r.pop("source") for r in records] == [str(path)] * 3
        assert len({r.pop("line") for r in records}) == 3, kind
        assert [without_scores(r) for r in records] == expected
    triples = [(r["head"]["text"], r["type"], r["tail"]["text"]) for e in expected for r in e["relations"]]
    assert triples
    for kind in ("csv", "parquet"):
        output = tmp_path / f"out.{kind}"
        assert run(path, "--drug", DRUG, "--output", output, "--html", tmp_path / "page.html")[0] == 0
        if kind == "csv":
            with output.open(encoding="utf-8-sig", newline="") as stream:
                rows: list[dict[str, Any]] = list(csv.DictReader(stream))
        else:
            rows = parquet.read_table(output).to_pylist()
        assert set(rows[0]) == set(TRIPLE_COLUMNS)
        assert [(row["head"], row["relation"], row["tail"]) for row in rows] == triples
        for row in rows:
            if row["head_start"] not in (None, ""):
                assert row["text"][int(row["head_start"]) : int(row["head_end"])] == row["head"]
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<svg") == 3
    assert not list(tmp_path.glob("*.partial"))
    code, out, _ = run(path, "--drug", DRUG, "--format", "text", "--html", tmp_path / "other.html")
    assert code == 0
    assert sorted(line.split("  (")[0] for line in out.splitlines()) == sorted(f"{h} —{r}→ {t}" for h, r, t in triples)
    assert (tmp_path / "other.html").read_text(encoding="utf-8").count("<svg") == 3
    assert run(path, "--drug", DRUG, "--output", tmp_path / "out.txt")[0] == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").count("→") == len(triples)


def test_results_can_be_extracted_from_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, first, second = tmp_path / "texts.txt", tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    texts.write_text("与阿司匹林合用,本品的作用增强\n本品可致头晕\n", encoding="utf-8")
    assert main([str(texts), "--drug", "华法林钠片", "--output", str(first)]) == 0
    assert main([str(first), "--output", str(second)]) == 0
    assert capsys.readouterr().err == ""
    again, before = ([json.loads(line) for line in path.open(encoding="utf-8")] for path in (second, first))
    assert [{**result, "source": str(texts)} for result in again] == before
    assert any(result["relations"] for result in before)


def test_note_if_nothing_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty output would leave open whether anything was read, and whether the drug was missing."""
    texts = tmp_path / "texts.txt"
    texts.write_text("本品经肝代谢\n本品可致头晕\n", encoding="utf-8")
    assert main([str(texts), "--format", "text"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and "no relation was found in 2 texts" in err and "--drug" in err
    assert main([str(texts), "--format", "text", "--drug", "华法林钠片"]) == 0
    err = capsys.readouterr().err
    assert "no relation was found in 2 texts" in err and "--drug" not in err
    leaflet = tmp_path / "leaflet.md"
    leaflet.write_text("## 药物相互作用\n\n本品经肝代谢。\n", encoding="utf-8")
    assert main([str(leaflet), "--format", "text"]) == 0
    err = capsys.readouterr().err
    assert "no relation was found in 2 texts" in err and "only with --drug" in err
    texts.write_text("华法林与多巴胺合用,华法林的作用加强\n本品与阿司匹林合用,出血增加\n", encoding="utf-8")
    assert main([str(texts), "--format", "text"]) == 0
    out, err = capsys.readouterr()
    assert "→" in out and "1 text says 本品 (the leaflet's own drug), whose relations are found only with --drug" in err
    assert main([str(texts), "--format", "text", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_standard_input(chinese_model: Path) -> None:
    command = [sys.executable, "-m", "modeling_iser.command_line", "-", "--model", str(chinese_model), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(command, input="\n".join(TEXTS).encode(), capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["text"] for line in result.stdout.decode().splitlines()] == TEXTS
    table = io.BytesIO()
    parquet.write_table(arrow_table({"text": [*TEXTS, "😀"]}), table)
    environment["PYTHONIOENCODING"] = "gbk"
    command += ["--input-format", "parquet"]
    result = subprocess.run(command, input=table.getvalue(), capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["text"] for line in result.stdout.decode().splitlines()] == [*TEXTS, "😀"]


def test_broken_lines_are_reported_and_skipped(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = [b'{"text": "\xe4\xb9\x99"}', b"{", b'{"text": 3}', b"\xff", b"[1]", b"", b'"\xe4\xb8\x99"']
    path.write_bytes(b"\n".join(lines))
    code, out, err = run(path)
    assert code == 2
    assert [(r["line"], r["text"]) for r in map(json.loads, out.splitlines())] == [(1, "乙"), (7, "丙")]
    for part in (
        "line 2: not JSON",
        "line 3: 'text' must be a string",
        "line 4: not UTF-8",
        "line 5: expected an object or",
    ):
        assert f"{path}, {part}" in err
    bad_csv = tmp_path / "in.csv"
    bad_csv.write_bytes(b"text\n\xe4\xb9\x99\n\xff\xfe\n")
    code, out, err = run(bad_csv)
    assert (code, len(out.splitlines())) == (2, 1)
    assert "line 3: not UTF-8" in err


def test_texts_and_drugs_that_the_model_rejects_are_reported(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = ['"乙"', '"a\\ud83d b"', '{"text": "丙", "drug": "%s"}' % ("药" * 900), "[" * 100_000, "9" * 5000, '"丁"']
    path.write_text("\n".join(lines), encoding="utf-8")
    code, out, err = run(path)
    assert code == 2
    assert [(r["line"], r["text"]) for r in map(json.loads, out.splitlines())] == [(1, "乙"), (6, "丁")]
    for part in (
        "line 2: Character 1 is an unpaired surrogate",
        "line 3: A prompt of",
        "line 4: unreadable JSON",
        "line 5: unreadable JSON",
    ):
        assert f"{path}, {part}" in err


def test_csv_with_long_cells_and_line_separators(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    texts = ["乙\u2028增强\x0c本品", "乙" + " " * 140_000 + "。", "丙\n丁"]
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["text"], *([text] for text in texts)])
    code, out, _ = run(path, "--entity-threshold", 1, "--drug", DRUG)
    assert code == 0
    assert [json.loads(line)["text"] for line in out.split("\n")[:-1]] == texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.txt"], "there is no file none.txt"),
        ([REPOSITORY / "LICENSE"], "unknown file extension"),
        (["-", "--resume"], "need --output"),
        (["-", "--batch-size", "0"], "at least 1"),
        (["-", "--output", "x.pdf"], "the extension of x.pdf names no format. Give --format jsonl|csv"),
        (["-", "--output", "x"], "the extension of x names no format. Give --format jsonl|csv"),
        ([__file__, "--drug", " "], "--drug: the name is blank"),
        ([__file__, "--encoding", "gbkk"], "--encoding gbkk is not known"),
        ([REPOSITORY], "is a directory. Name the files in it"),
        (["-", "--output", REPOSITORY], "is a directory. Name a file in it"),
        (["-", "--html", REPOSITORY], "is a directory. Name a file in it"),
        (["-", "--html", "x.jsonl", "--output", "x.jsonl"], "both name x.jsonl"),
        ([REPOSITORY / "README.md", "--html", REPOSITORY / "README.md"], "is both input and output"),
        (["-", "--min-confidence", "95%"], "--min-confidence 95%: this model is not calibrated"),
        (["-", "--min-confidence", "much"], "--min-confidence much is neither a score such as 0.8 nor"),
        (["-", "--min-confidence", "0.5", "--relation-threshold", "0.4"], "and --relation-threshold 0.4 exclude each"),
        (["-", "--entity-threshold", "1.5"], "--entity-threshold 1.5 must lie between 0 and 1"),
        (["-", "--backend", "abacus"], "--backend abacus is not known"),
    ],
)
def test_wrong_options_are_refused_before_any_text_is_read(run: Any, arguments: list[Any], message: str) -> None:
    code, out, err = run(*arguments, *(["--input-format", "txt"] if __file__ in arguments else []))
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1 and err.startswith("iser-extract: ") and message in err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("none", ": there is no such directory"),
        ("empty", "is not a model: it has no config.json"),
        ("file", "is a file. Name the directory of a model"),
        ("encoder", "is a bert model"),
    ],
)
def test_a_wrong_model_is_named(
    chinese_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "encoder").symlink_to(chinese_model.parent / "encoder")
    assert main([__file__, "--input-format", "txt", "--model", str(tmp_path / model)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert message in error and str(tmp_path / model) in error


@pytest.mark.parametrize("content", ["", "\n", "\r\n \n\u3000"])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
def test_files_without_text(run: Any, tmp_path: Path, content: str, kind: str) -> None:
    path = tmp_path / f"无 文本.{kind}"
    path.write_text(content, encoding="utf-8", newline="")
    if kind != "csv" or not content:
        assert run(path) == (0, "", f"iser-extract: there is no text in {path}.\n")


def test_an_interruption_says_how_to_go_on(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_iser.command_line.load_extractor", interrupt)
    path = write_inputs(tmp_path)["txt"]
    assert run(path) == (130, "", "iser-extract: interrupted\n")
    code, _, err = run(path, "--output", tmp_path / "out.jsonl")
    assert code == 130 and "--resume" in err


def test_a_reader_that_has_seen_enough(chinese_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("乙增强本品\n" * 2000, encoding="utf-8")
    command = [sys.executable, "-m", "modeling_iser.command_line", str(path), "--model", str(chinese_model), "--quiet"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())["line"] == 1
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, b"")
    process.stderr.close()


# ------------------------------------------------------------------------------------------ encodings


SENTENCE = "与乙合用,本品的作用增强。"


def encoded(kind: str, encoding: str, directory: Path) -> Path:
    """A file with `SENTENCE` in an encoding."""
    contents = {
        "txt": SENTENCE,
        "jsonl": json.dumps({"text": SENTENCE}, ensure_ascii=False),
        "csv": f'text,"编号"\r\n"{SENTENCE}",1\r\n',
        "md": f"# 药物相互作用\n\n{SENTENCE}\n",
        "html": f"<h1>药物相互作用</h1><p>{SENTENCE}</p>",
    }
    path = directory / f"in.{kind}"
    path.write_bytes(contents[kind].encode(encoding))
    return path


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "md", "html"])
def test_encodings_are_detected(run: Any, tmp_path: Path, kind: str) -> None:
    answers = {}
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"):
        path = encoded(kind, encoding, tmp_path)
        code, out, err = run(path, "--drug", DRUG)
        assert code == 0, (encoding, err)
        assert [json.loads(line)["text"] for line in out.splitlines()][-1] == SENTENCE, encoding
        assert (f"{path}: not UTF-8; read as GB18030" in err) == (encoding == "gb18030"), err
        answers[encoding] = without_scores([json.loads(line) for line in out.splitlines()])
    assert all(answer == answers["utf-8"] for answer in answers.values())


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "md", "html"])
def test_an_encoding_that_cannot_be_detected_is_named_and_can_be_given(run: Any, tmp_path: Path, kind: str) -> None:
    for encoding in ("utf-16-le", "euc_jp", "cp1252"):
        path = encoded(kind, "utf-8", tmp_path)
        text = path.read_text(encoding="utf-8")
        if encoding == "cp1252":
            text = (
                text.replace(SENTENCE, "Müller trinkt Kaffee im Café").replace("编号", "n").replace("药物相互作用", "é")
            )
        elif encoding == "euc_jp":
            text = text.replace(SENTENCE, "これはテストです").replace("编号", "n").replace("药物相互作用", "n")
        path.write_bytes(text.encode(encoding))
        code, out, err = run(path)
        if encoding != "euc_jp":  # much of which is valid GB18030 too, and read as that with a note
            assert (code, out) == (2, "") and f"{path}, line " in err and "--encoding" in err
        elif code == 0:
            assert "read as GB18030" in err
        code, out, err = run(path, "--encoding", encoding)
        assert code == 0 and "UTF-8" not in err and out.strip(), (encoding, err)
        assert all(json.loads(line)["text"] in text for line in out.splitlines())


def test_what_an_encoding_cannot_hold_is_reported_line_by_line(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"\n".join([*(text.encode("gb18030") for text in TEXTS), b"\xff", "戊".encode("gb18030")]))
    code, out, err = run(path, "--encoding", "gb2312")
    assert code == 2 and err == f"iser-extract: {path}, line 4: not gb2312\n"
    assert [json.loads(line)["text"] for line in out.splitlines()] == [*TEXTS, "戊"]
    path.write_bytes("\n".join(TEXTS).encode("utf-16") + b"\x00")
    code, out, err = run(path)
    assert code == 2 and "the rest of the file is not utf-16" in err


def test_standard_input_in_gb18030(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "\n".join(TEXTS).encode("gb18030")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))  # type: ignore[arg-type]
    code, out, err = run("-")
    assert [json.loads(line)["text"] for line in out.splitlines()] == TEXTS
    assert code == 0 and "standard input: not UTF-8; read as GB18030" in err


@pytest.mark.parametrize(
    ("declared", "encoding", "note"),
    [
        ("gb2312", "gb18030", None),
        ("big5", "big5", None),
        ("utf-16", "utf-8", None),
        ("utf-8", "gb18030", "the declared encoding utf-8 is wrong"),
        ("nonsense", "utf-8", "the declared encoding nonsense is wrong"),
    ],
)
def test_the_encoding_that_html_declares(
    run: Any, tmp_path: Path, declared: str, encoding: str, note: str | None
) -> None:
    path = tmp_path / "in.html"
    text = "與乙合用有害。" if encoding == "big5" else "与乙合用有害,镕。"
    path.write_bytes(f'<meta charset="{declared}"><p>{text}</p>'.encode(encoding))
    code, out, err = run(path, "--drug", DRUG)
    assert code == 0 and json.loads(out)["text"] == text
    assert (note or "no section") in err or "there is no section" in err
    assert ("declared encoding" in err) == (note is not None)


def test_error_for_a_missing_column(run: Any, tmp_path: Path) -> None:
    path = write_inputs(tmp_path)["csv"]
    code, _, err = run(path, "--text-column", "sentence")
    assert code == 1
    assert "no column 'sentence'; the columns are id, text" in err
    assert run(path, "--text-column", "id")[0] == 0
    code, _, err = run(write_inputs(tmp_path)["parquet"], "--text-column", "sentence")
    assert code == 1
    assert "no column 'sentence'; the columns are text" in err


def test_outputs(run: Any, tmp_path: Path) -> None:
    path = write_inputs(tmp_path)["jsonl"]
    before = path.read_bytes()
    code, _, err = run(path, "--output", path)
    assert (code, path.read_bytes()) == (1, before)
    assert "is both input and output" in err
    output = tmp_path / "new" / "directory" / "OUT.CSV"
    assert run(path, "--output", output)[0] == 0
    assert output.read_text(encoding="utf-8-sig").startswith("source,line")
    code, _, err = run(path, "--device", "meat")
    assert code == 1
    assert "the model cannot be loaded on meat" in err


def test_resume_neither_loses_nor_repeats_results(run: Any, chinese_model: Path, tmp_path: Path) -> None:
    path, whole, output = tmp_path / "in.txt", tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    path.write_text("\n".join(f"乙{index}增强本品与丙{index}" for index in range(3000)), encoding="utf-8")
    assert run(path, "--output", whole, "--batch-size", 2)[0] == 0
    command = [
        sys.executable, "-m", "modeling_iser.command_line", str(path), "--output", str(output), "--model",
        str(chinese_model), "--quiet", "--batch-size", "2", "--resume",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    partial = tmp_path / "out.jsonl.partial"
    process = subprocess.Popen(command, env=environment)
    while not partial.exists() or partial.stat().st_size < 5000:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    data = partial.read_bytes()
    assert 0 < data.count(b"\n") < 3000
    partial.write_bytes(data[:-7])  # as if killed while writing a line
    assert subprocess.run(command, env=environment).returncode == 0
    assert without_scores(read_lines(output)) == without_scores(read_lines(whole))
    assert not partial.exists()
    assert run(path, "--output", output, "--resume")[0] == 0
    partial.write_bytes(output.read_bytes())
    code, _, err = run(write_inputs(tmp_path)["jsonl"], "--output", output, "--resume")
    assert code == 1
    assert f"the input has no line 1 of {path}" in err


def test_resume_after_a_rejected_text(run: Any, tmp_path: Path) -> None:
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("乙", "\ud83d", "丙", "丁")), encoding="utf-8")
    assert run(path, "--output", output)[0] == 2
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(b"".join(output.read_bytes().splitlines(keepends=True)[:2]))
    output.unlink()
    code, _, err = run(path, "--output", output, "--resume")
    assert code == 2
    assert "line 2: the interrupted run has no result for this line" in err
    assert [record["text"] for record in read_lines(output)] == ["乙", "丙", "丁"]


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# -------------------------------------------------------------------------------------- arguments of a call


def scores_of(answer: Extraction) -> dict[tuple[Any, ...], float]:
    return {
        (r["type"], *(r[role][side] for role in ("head", "tail") for side in ("start", "end"))): r["score"]
        for r in answer["relations"]
    }


def test_a_drug_for_each_text(extractor: Any) -> None:
    texts, drugs = ["乙增强本品", "丙减弱丁", "乙增强本品"], ["甲片", "乙片", "丙片"]
    apart = [extractor(text, drug=drug) for text, drug in zip(texts, drugs, strict=True)]
    assert without_scores(extractor(texts, drug=drugs)) == without_scores(apart)
    assert without_scores(extractor(tuple(texts), drug=drugs)) == without_scores(apart)
    items = [{"text": texts[0], "drug": "丁片"}, texts[1], texts[2]]  # The drug of a text takes precedence.
    assert [answer["drug"]["text"] for answer in extractor(items, drug=drugs)] == ["丁片", "乙片", "丙片"]
    with pytest.raises(ValueError, match="drug has 2 values for 3 texts"):
        extractor(texts, drug=drugs[:2])
    with pytest.raises(ValueError, match="To stream texts, give each its own"):
        extractor((text for text in texts), drug=drugs)
    with pytest.raises(TypeError, match="drug must be a text"):
        extractor(texts[0], drug=drugs)


@pytest.mark.parametrize("drug", [None, DRUG])
def test_given_entities(extractor: Any, drug: str | None) -> None:
    found = extractor(LEAFLET, drug=drug, rules=False)
    mine = [{key: entity[key] for key in ("start", "end", "type")} for entity in found["entities"]]
    given = extractor({"text": LEAFLET, "entities": mine}, drug=drug, rules=False)
    assert [{**entity, "score": 1.0} for entity in found["entities"]] == given["entities"]
    ends = {(entity["start"], entity["end"]) for entity in found["entities"]} | {(None, None)}
    for relation in given["relations"]:
        assert {(relation[role]["start"], relation[role]["end"]) for role in ("head", "tail")} <= ends
    if drug is None:  # With a drug, extraction need not find the prompt.
        # The text has two windows; a given entity in their overlap belongs to both.
        expected, scores = scores_of(found), scores_of(given)
        assert {key: scores[key] for key in expected} == pytest.approx(expected, abs=2e-3)
    assert len(given["relations"]) > 2
    several = extractor([LEAFLET, "乙增强丙"], entities=[mine, []], drug=drug, rules=False)
    assert without_scores(several[0]) == without_scores(given)
    assert several[1]["entities"] == []


def test_given_entities_are_not_removed_by_rules(extractor: Any) -> None:
    answer = extractor("药物增强本品", drug="甲片", entities=[{"start": 0, "end": 2}])
    assert [(entity["text"], entity["type"]) for entity in answer["entities"]] == [("药物", "药物")]


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        ({"start": 5, "end": 8}, r"from 5 to 8, 'MN1', does not start and end at word .*The words there: 'ACMN12'"),
        ({"start": 1, "end": 99}, "from 1 to 99, .* does not lie within a sentence"),
        ({"start": 0, "end": 4}, "does not lie within a sentence of the text; with split_sentences=False"),
        ({"start": 2}, "An entity must be"),
        ("乙", "An entity must be"),
    ],
)
def test_wrong_given_entities(extractor: Any, entity: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extractor("甲。乙ACMN12丙", entities=[entity], split_sentences=True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("durg", "'durg' is not an argument of the pipeline. Known: drug, entities.*Did you mean 'drug'?"),
        ("threshold", "Did you mean '.*_threshold'"),
        ("xyz", "Known: drug, entities, split_sentences"),
    ],
)
def test_unknown_arguments(extractor: Any, chinese_model: Path, argument: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        extractor("乙", **{argument: 1})
    with pytest.raises(TypeError, match=message):
        load(chinese_model, **{argument: 1})


def test_joint_extraction_has_no_drug(extractor: Any, chinese_model: Path) -> None:
    joint = pipeline("joint-extraction", model=str(chinese_model), pipeline_class=JointExtractionPipeline)  # type: ignore[call-overload]
    (answer,) = joint([LEAFLET])
    plain = extractor(LEAFLET)
    assert set(answer) == {"text", "entities", "relations"}
    assert without_scores({**answer, "drug": None}) == without_scores(plain)
    assert "<svg" in answer.to_html() or "<div" in answer.to_html()
    for inputs in (LEAFLET, [LEAFLET], {"text": LEAFLET, "drug": DRUG}):
        with pytest.raises(ValueError, match=r'only pipeline\("ddi-extraction"\) takes a drug'):
            joint(inputs, **({} if isinstance(inputs, dict) else {"drug": DRUG}))
    with pytest.raises(ValueError, match="has no default model"):
        pipeline("joint-extraction")  # type: ignore[call-overload]


NO_DRUG = "this model takes no drug, since none of its entity types (Loc, Org, Peop) is named 药物, 药品 or drug"


@pytest.mark.parametrize("kind", [DdiExtractionPipeline, JointExtractionPipeline])
def test_a_drug_is_refused_by_a_model_that_knows_none(make_model: Callable[..., Any], kind: Any) -> None:
    model = make_model()
    extractor = kind(model=model, tokenizer=model.tokenizer)
    text = SENTENCES[0]
    assert extractor(text)["entities"]
    for inputs, arguments in [
        (text, {"drug": DRUG}), ([text], {"drug": DRUG}), ([text], {"drug": [DRUG]}),
        ({"text": text, "drug": DRUG}, {}), ([text, {"text": text, "drug": DRUG}], {}),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"drug=.*{DRUG}.*: {re.escape(NO_DRUG)}"):
            extractor(inputs, **arguments)
    with pytest.raises(ValueError, match=re.escape(NO_DRUG)):
        kind(model=model, tokenizer=model.tokenizer, drug=DRUG)


@pytest.mark.parametrize("name", ["药物", "药品", "Drug", "DRUG"])
def test_the_type_of_drugs_may_have_other_names(make_model: Callable[..., Any], name: str) -> None:
    model = make_model()
    model.config.entity_types = ["Org", name, "Peop"]
    extractor = DdiExtractionPipeline(model=model, tokenizer=model.tokenizer)
    assert extractor(SENTENCES[0], drug=DRUG)["drug"]["type"] == name


def test_a_drug_is_refused_by_the_commands_of_a_model_that_knows_none(
    make_model: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tmp_path / "people"), "--quiet"]
    make_model().save_pretrained(tmp_path / "people")
    texts, table, leaflet = (tmp_path / name for name in ("in.txt", "in.csv", "in.md"))
    texts.write_text(SENTENCES[0], encoding="utf-8")
    table.write_text(f"text,drug\n{SENTENCES[0]},x\n{SENTENCES[1]},y\n", encoding="utf-8")
    leaflet.write_text(f"通用名称:华法林钠片\n\n{SENTENCES[0]}\n", encoding="utf-8")
    for engine in ([], ["--engine", "ray", "--output", str(tmp_path / "out")]):
        assert main([str(texts), "--drug", DRUG, *engine, *model]) == 1
        assert capsys.readouterr() == ("", f"iser-extract: --drug {DRUG}: {NO_DRUG}.\n")
    assert main([str(table), "--drug-column", "drug of leaflet", *model]) == 1
    assert capsys.readouterr() == ("", f"iser-extract: --drug-column drug of leaflet: {NO_DRUG}.\n")
    assert not (tmp_path / "out").exists()
    # What a file says of a drug, unasked, is no reason to refuse its texts.
    assert main([str(table), str(leaflet), *model]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["drug"] for line in out.splitlines()] == [None] * 4
    assert err.count("this model takes no drug, so 'drug' is ignored") == 1 and "--drug" not in err
    handler = EndpointHandler(str(tmp_path / "people"), device="cpu")
    for request in ({"inputs": "x", "parameters": {"drug": DRUG}}, {"inputs": {"text": "x", "drug": DRUG}}):
        assert NO_DRUG in handler(request)["error"]


def test_a_model_with_other_types_too_knows_which_is_the_drug(chinese_model: Path) -> None:
    model = IserForJointExtraction.from_encoder(
        chinese_model.parent / "encoder", ["疾病", "药物"], ["协同"], max_span_width=3, context_attention_heads=2,
        first_pass_threshold=0.0,
    )  # fmt: skip
    extractor = DdiExtractionPipeline(model=model, tokenizer=model.tokenizer)
    answer = extractor({"text": "乙增强本品", "entities": [{"start": 0, "end": 1, "type": "药物"}]}, drug=DRUG)
    assert answer["drug"]["type"] == "药物"


def test_rules_apply_if_a_drug_is_given(extractor: Any) -> None:
    text = "甲乙丙片增强药物,甲乙丙减弱丁"
    free = extractor(text, drug="甲乙丙片", rules=False, relation_threshold=0.0)
    ruled = extractor(text, drug="甲乙丙片", relation_threshold=0.0)
    assert free["drug"]["mentions"] == []
    names = {entity["text"] for entity in ruled["entities"]} & {"甲乙丙片", "甲乙丙"}
    assert {mention["text"] for mention in ruled["drug"]["mentions"]} == names
    for relation in ruled["relations"]:
        assert relation["head"]["text"] != relation["tail"]["text"] or relation["head"]["start"] is not None
    pairs = [
        frozenset((relation[role]["start"], relation[role]["end"]) for role in ("head", "tail"))
        for relation in ruled["relations"]
    ]
    assert max(pairs.count(pair) for pair in pairs) <= 2
    assert len(ruled["relations"]) < len(free["relations"])
    with pytest.raises(ValueError, match="rules='on' is not known"):
        extractor(text, drug="甲", rules=["on"])


# -------------------------------------------------------------------------------------- bundled model


@pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled")
class TestBundledModel:
    @pytest.fixture(scope="class")
    def bundled(self) -> Any:
        return pipeline("ddi-extraction")

    def test_offline_in_a_new_process(self, tmp_path: Path) -> None:
        code = (
            "import json, modeling_iser; from transformers import pipeline; "
            "print(json.dumps(pipeline('ddi-extraction')('与多巴胺合用,本品的利尿作用加强', drug='布美他尼片', "
            "triples=True)))"
        )
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert "No model was supplied" not in result.stderr
        (triple,) = json.loads(result.stdout.splitlines()[-1])
        assert (triple["head"], triple["relation"], triple["tail"]) == ("多巴胺", "协同", "布美他尼片")

    def test_loads_its_own_code(self, bundled: Any, tmp_path: Path) -> None:
        code = (
            "import json, sys; from transformers import AutoModel, pipeline; "
            f"model = AutoModel.from_pretrained({str(DEFAULT_MODEL)!r}, trust_remote_code=True); "
            f"extractor = pipeline('ddi-extraction', model={str(DEFAULT_MODEL)!r}, trust_remote_code=True); "
            f"assert 'modeling_iser' not in sys.modules; model.extract(['甲']); "
            f"print(json.dumps(extractor({LEAFLET!r}, drug={DRUG!r})))"
        )
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONSAFEPATH": "1"}
        result = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert "run the custom code" not in result.stdout
        answer = json.loads(result.stdout.splitlines()[-1])
        assert without_scores(answer) == without_scores(bundled(LEAFLET, drug=DRUG))

    def test_spaces_around_the_drug(self, bundled: Any) -> None:
        text = "与多巴胺合用,本品的利尿作用加强"
        (triple,) = bundled(text, drug=" 布美他尼片\u3000\n", triples=True)
        assert triple["tail"] == "布美他尼片"
        assert bundled({"text": text, "drug": None}, drug="布美他尼片", triples=True) == [triple]

    def test_size_and_files(self) -> None:
        assert sum(path.stat().st_size for path in DEFAULT_MODEL.iterdir()) <= 64 * 2**20
        names = {path.name for path in DEFAULT_MODEL.iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
        card = (DEFAULT_MODEL / "README.md").read_text(encoding="utf-8")
        for part in ("multilingual-e5-small", "MIT", "not for clinical decisions", "CH-DDI-Open"):
            assert part in card
        config = AutoConfig.from_pretrained(DEFAULT_MODEL)
        assert isinstance(config, IserConfig)
        assert AutoTokenizer.from_pretrained(DEFAULT_MODEL).is_fast

    def test_offsets(self, bundled: Any) -> None:
        texts = [LEAFLET, *UNUSUAL, unicodedata.normalize("NFD", LEAFLET), "华法林与阿司匹林合用,出血增多。" * 100]
        for text in texts:
            for drug in (None, "华法林钠片"):
                check_offsets(bundled(text, drug=drug), text)

    def test_saved_pipelines_contain_no_local_paths(self, bundled: Any, tmp_path: Path) -> None:
        bundled.save_pretrained(tmp_path)
        assert str(REPOSITORY) not in (tmp_path / "config.json").read_text(encoding="utf-8")
        again = pipeline("ddi-extraction", model=str(tmp_path), trust_remote_code=True)
        assert without_scores(again(LEAFLET, drug=DRUG)) == without_scores(bundled(LEAFLET, drug=DRUG))
