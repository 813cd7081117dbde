"""A user's corpus with its own labels, from the file to a trained model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

import train
from datasets_scripts import Corpus
from datasets_scripts.formats import FORMATS
from datasets_scripts.subsets import fitting_span_width
from modeling_iser import DEFAULT_MODEL, IserForJointExtraction
from modeling_iser.onnx_iser import OnnxExtractor, export_onnx

from . import pages
from .conftest import DOCUMENTS, REPOSITORY


OTHER_LABELS = {"Loc": "place", "Org": "employer", "Peop": "person", "Live_In": "lives in", "Work_For": "works for"}
RELABELLED = [
    {
        **document,
        "entities": [{**entity, "type": OTHER_LABELS[entity["type"]]} for entity in document["entities"]],
        "relations": [{**relation, "type": OTHER_LABELS[relation["type"]]} for relation in document["relations"]],
    }
    for document in DOCUMENTS
]


def arguments(data_dir: Path, encoder_dir: Path, output_dir: Path, *more: str) -> list[str]:
    return [
        "--dataset", "corpus", "--data_dir", str(data_dir), "--encoder", str(encoder_dir), "--output_dir",
        str(output_dir), "--max_span_width", "4", "--context_attention_heads", "2", "--batch_size", "4",
        "--learning_rate", "1e-3", "--new_layers_learning_rate", "5e-3", "--dropout", "0", *more,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "train_file"),
    [("doccano", "abstracts_train.jsonl"), ("label-studio", "export-train.json"), ("spert", "x_train.json")],
)
def test_training_on_other_labels(tmp_path: Path, encoder_dir: Path, name: str, train_file: str) -> None:
    (tmp_path / "corpus").mkdir()
    for file in (train_file, train_file.replace("train", "test")):
        FORMATS[name].write(RELABELLED, tmp_path / "corpus" / file)
    scores = train.train(
        train.parse_settings(arguments(tmp_path / "corpus", encoder_dir, tmp_path / "run", "--num_epochs", "60"))
    )
    assert scores["test"]["entity_micro_f1"] > 0.9
    assert scores["test"]["relation_micro_f1"] > 0.7
    assert scores["test"]["relation_given_entities_micro_f1"] > 0.7
    model = IserForJointExtraction.from_pretrained(tmp_path / "run")
    assert model.config.entity_types == ["employer", "person", "place"]
    assert model.config.relation_types == ["lives in", "works for"]


def test_training_without_relations(tmp_path: Path, encoder_dir: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for split in ("train", "dev", "test"):
        FORMATS["bio"].write(RELABELLED, tmp_path / "corpus" / f"{split}.bio")
    scores = train.train(
        train.parse_settings(
            arguments(
                tmp_path / "corpus", encoder_dir, tmp_path / "run", "--num_epochs", "60", "--evaluate_every", "30"
            )
        )
    )
    assert scores["test"]["entity_micro_f1"] > 0.9
    assert not [name for name in scores["test"] if name.startswith("relation")]
    (row,) = [row for row in train.score_table(scores).splitlines() if row.startswith("| test | micro |")]
    assert row.endswith(f"/ {100 * scores['test']['entity_micro_f1']:.2f} | – | – | – |")
    written = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert written["settings"]["metric"] == "entity_micro_f1"

    model = IserForJointExtraction.from_pretrained(tmp_path / "run")
    assert model.config.relation_types == []
    (document,) = model.extract([RELABELLED[0]["tokens"]])
    assert document["entities"] and document["relations"] == []
    export_onnx(model, tmp_path / "run")
    (same,) = OnnxExtractor(tmp_path / "run").extract([RELABELLED[0]["tokens"]])
    assert [e["type"] for e in same["entities"]] == [e["type"] for e in document["entities"]]


def test_contradictory_settings() -> None:
    common = ["--encoder", "x", "--output_dir", "y"]
    with pytest.raises(ValueError, match="corpus needs data_dir"):
        train.load_splits(train.parse_settings(["--dataset", "corpus", *common]))
    with pytest.raises(ValueError, match="format can only be set with dataset: corpus"):
        train.parse_settings(["--dataset", "conll04", "--format", "spert", *common])


def test_checkpoint_continues_with_other_labels(
    tmp_path: Path, make_model: Callable[..., IserForJointExtraction], caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(first_pass_threshold=0.2)
    with caplog.at_level(logging.INFO):
        changed = train.with_labels(model, train.Labels(("Org", "drug", "Loc"), ("treats", "Live_In")), [])
    assert "Loc, Org, Live_In" in caplog.text
    before, after = model.state_dict(), changed.state_dict()
    new = ("entity_classifier.", "relation_classifier.", "first_pass.")
    for name in after:
        if not name.startswith(new):
            assert torch.equal(before[name], after[name]), name
    for part in ("weight", "bias"):
        entity, relation = f"entity_classifier.{part}", f"relation_classifier.{part}"
        # Rows before: none, Loc, Org, Peop; after: none, Org, drug, Loc.
        assert torch.equal(after[entity][[0, 1, 3]], before[entity][[0, 2, 1]])
        assert torch.equal(after[relation][1], before[relation][0])

    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "corpus").mkdir()
    for split in ("train", "test"):
        FORMATS["doccano"].write(RELABELLED, tmp_path / "corpus" / f"{split}.jsonl")
    settings = [
        "--dataset", "corpus", "--data_dir", str(tmp_path / "corpus"), "--checkpoint", str(tmp_path / "checkpoint"),
        "--output_dir", str(tmp_path / "run"), "--num_epochs", "2",
    ]  # fmt: skip
    train.train(train.parse_settings(settings))
    tuned = IserForJointExtraction.from_pretrained(tmp_path / "run")
    assert tuned.config.entity_types == ["employer", "person", "place"]
    assert tuned.config.max_span_width == model.config.max_span_width
    assert tuned.extract([RELABELLED[0]["tokens"]])[0]["tokens"] == RELABELLED[0]["tokens"]


def settings_of(*more: str) -> train.Settings:
    return train.parse_settings(["--dataset", "corpus", "--encoder", "x", "--output_dir", "y", *more])


def test_labels_from_data_types_file_and_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FORMATS["spert"].write(RELABELLED, tmp_path / "train.json")
    types = {"entities": {"place": {}, "person": {}, "planet": {}}, "relations": {"works for": {"symmetric": True}}}
    (tmp_path / "my_types.json").write_text(json.dumps(types))
    found = train.load_splits(settings_of("--data_dir", str(tmp_path)))
    assert found.labels.entity_types == ("place", "person", "planet", "employer")
    assert found.labels.relation_types == ("works for", "lives in")
    assert found.labels.symmetric_relations == ("works for",)
    assert found.tests == {} and found.validation is None  # The training split is too small to hold out documents.

    with caplog.at_level(logging.INFO):
        given = train.load_splits(
            settings_of("--data_files", f"train={tmp_path / 'train.json'}", "--entity_types", "person", "place",
                        "--relation_types", "lives in")
        )  # fmt: skip
    assert given.labels == train.Labels(("person", "place"), ("lives in",))
    assert "relation_types do not list them: employer (3), works for (2)" in caplog.text
    for document, whole in zip(given.train, RELABELLED, strict=True):
        kept = [entity for entity in whole["entities"] if entity["type"] != "employer"]
        assert document["entities"] == kept
        for relation in document["relations"]:
            assert relation["type"] == "lives in"
            assert {document["entities"][relation[role]]["type"] for role in ("head", "tail")} == {"person", "place"}

    with pytest.raises(ValueError, match=r"entity_types: no document has persn. The data has: employer, person, place"):
        train.load_splits(settings_of("--data_dir", str(tmp_path), "--entity_types", "persn"))


def test_validation_is_held_out_by_prompt_and_text(tmp_path: Path) -> None:
    many = []
    for drug in map(str, range(40)):
        for number, document in enumerate(RELABELLED[:3]):
            moved = [{**e, "start": e["start"] + 2, "end": e["end"] + 2} for e in document["entities"]]
            text, words = f"{drug}@{document['text']}", [drug, "@", *document["tokens"]]
            many.append({**document, "id": f"{drug}-{number}", "text": text, "tokens": words, "entities": moved})
    FORMATS["jsonl"].write(many, tmp_path / "train.jsonl")
    data = train.load_splits(settings_of("--data_dir", str(tmp_path)))
    assert data.validation is not None and len(data.validation) == 12
    drugs = [{name.split("-")[0] for name in split["id"]} for split in (data.train, data.validation)]
    assert not drugs[0] & drugs[1] and len(drugs[0] | drugs[1]) == 40
    assert train.load_splits(settings_of("--data_dir", str(tmp_path), "--validation_fraction", "0")).validation is None


def test_training_from_python(tmp_path: Path, encoder_dir: Path) -> None:
    corpus = Corpus({"train": Dataset.from_list(RELABELLED), "test": Dataset.from_list(RELABELLED[:3])})
    settings = train.Settings(
        dataset="corpus", encoder=str(encoder_dir), output_dir=str(tmp_path / "run"), num_epochs=1,
        context_attention_heads=2,
    )  # fmt: skip
    scores = train.train(settings, corpus)
    assert set(scores) == {"test"}
    config = IserForJointExtraction.from_pretrained(tmp_path / "run").config
    assert config.max_span_width == 10
    assert config.relation_signatures == [["person", "lives in", "place"], ["person", "works for", "employer"]]


def test_training_without_test_documents_says_that_nothing_was_scored(
    tmp_path: Path, encoder_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = train.Settings(
        dataset="corpus", encoder=str(encoder_dir), output_dir=str(tmp_path / "run"), num_epochs=1,
        context_attention_heads=2,
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        assert train.train(settings, Corpus({"train": Dataset.from_list(RELABELLED)})) == {}
    assert "--validation_fraction 0.2" in caplog.text
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "Nothing was scored" in card and "--validation_fraction" not in card


def test_fitting_span_width() -> None:
    def of_widths(*widths: int) -> list[dict]:
        return [{"entities": [{"start": 3, "end": 3 + width, "type": "a"} for width in widths]}]

    assert fitting_span_width([]) == 10
    assert fitting_span_width(of_widths(2, 12, 4)) == 12
    assert fitting_span_width(of_widths(2, 120, 4)) == 30
    assert fitting_span_width(of_widths(*[14] * 2000, 25)) == 14


def test_data_files_in_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("dataset: corpus\ndata_files:\n  train: a.jsonl\n  test: b.jsonl\nencoder: x\noutput_dir: y\n")
    assert train.parse_settings([str(recipe)]).data_files == ["train=a.jsonl", "test=b.jsonl"]
    for wrong, message in (
        (["--data_files", "a.jsonl"], "'a.jsonl' must have the form name=value"),
        (["--data_files", "train=a", "--data_dir", "b"], "either data_dir or data_files"),
    ):
        with pytest.raises(ValueError, match=message):
            settings_of(*wrong)


@pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled")
def test_page_own_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("recipes", "modeling_iser"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.chdir(tmp_path)
    for command in pages.commands("own_corpus.md"):
        assert pages.execute(command) in ((0, 2) if "check" in command else (0,)), command
    (python,) = pages.blocks("own_corpus.md", "python")
    names: dict[str, Any] = {}
    exec(python, names)
    assert set(names["scores"]) == {"validation", "test"}
    assert names["model"].config.entity_types == ["检查", "疾病", "症状", "药物"]
