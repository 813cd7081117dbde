"""The cards of models, corpora, metric and Spaces follow the metadata schema of the Hub."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, RepoCard, SpaceCard, constants

from datasets_scripts import load_ch_ddi
from modeling_iser import DEFAULT_MODEL, IserConfig
from modeling_iser.card_iser import model_card

from .conftest import REPOSITORY


SPACES = [REPOSITORY / "evaluate_iser", REPOSITORY / "serving_iser" / "space"]
CORPORA = [REPOSITORY / "datasets_scripts" / "ch_ddi", REPOSITORY / "datasets_scripts" / "conll04"]
# From the Hub's documentation of the cards' metadata.
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "other"}
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
LONGEST_DESCRIPTION = 60


def values(name: str) -> Any:
    """One of the lists of permitted values that `datasets` contains."""
    return json.loads((importlib.resources.files("datasets.utils.resources") / f"{name}.json").read_text("utf-8"))


def as_list(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def check_common(card: RepoCard) -> None:
    data = card.data.to_dict()
    assert set(as_list(data.get("language"))) <= set(values("languages"))
    assert all(isinstance(tag, str) for tag in data["tags"])
    assert len(set(data["tags"])) == len(data["tags"])
    if (license := data.get("license")) is not None:
        assert license in LICENSES
        assert (license == "other") == ("license_name" in data), "another licence needs a name, and only such a one"


def test_the_card_of_the_bundled_model() -> None:
    card = ModelCard.load(DEFAULT_MODEL / "README.md")
    check_common(card)
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "token-classification", "mit")
    table = [line for line in card.text.splitlines() if line.startswith("| `")]
    results = {(r.dataset_split, r.metric_name): r.metric_value for r in data.eval_results}
    assert len(results) == len(data.eval_results) == 4
    for (split, metric), value in results.items():
        (row,) = [line for line in table if line.startswith(f"| `{split}`: ")]
        cell = row.split("|")[2 if metric == "Entity F1" else 3]
        assert float(cell.split("/")[-1]) == value, (split, metric)


@pytest.mark.parametrize("sections", ["", "\n## Scores\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"])
def test_the_card_of_a_trained_model(tmp_path: Path, sections: str) -> None:
    (tmp_path / "README.md").write_text(model_card(IserConfig(entity_types=["名称: [x]"]), sections), encoding="utf-8")
    card = ModelCard.load(tmp_path / "README.md")
    check_common(card)
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "token-classification")
    assert "名称: [x]" in card.text


@pytest.mark.parametrize("folder", CORPORA, ids=lambda folder: folder.name)
def test_the_cards_of_the_corpora(folder: Path) -> None:
    card = DatasetCard.load(folder / "README.md")
    check_common(card)
    data = card.data.to_dict()
    assert data["pretty_name"]
    assert set(as_list(data["size_categories"])) <= set(values("size_categories"))
    creators = values("creators")
    assert set(as_list(data.get("annotations_creators"))) <= set(creators["annotations"])
    assert set(as_list(data.get("language_creators"))) <= set(creators["language"])
    assert set(as_list(data.get("multilinguality"))) <= set(values("multilingualities"))


def test_the_corpus_has_the_size_that_its_card_states() -> None:
    (size,) = DatasetCard.load(CORPORA[0] / "README.md").data.to_dict()["size_categories"]
    assert size == "1K<n<10K"
    assert 1_000 < sum(map(len, load_ch_ddi().values())) < 10_000


@pytest.mark.parametrize("folder", SPACES, ids=lambda folder: folder.name)
def test_the_cards_of_the_spaces(folder: Path) -> None:
    card = SpaceCard.load(folder / "README.md")
    check_common(card)
    data = card.data.to_dict()
    assert data["title"]
    assert data["sdk"] in constants.SPACES_SDK_TYPES
    assert {data["colorFrom"], data["colorTo"]} <= COLORS
    assert (folder / data["app_file"]).is_file()
    assert (folder / "requirements.txt").is_file()
    assert len(data.get("short_description", "")) <= LONGEST_DESCRIPTION


def test_the_citation_has_the_version_of_the_package() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == importlib.metadata.version("iser")
    assert {"title", "authors", "license", "message"} <= citation.keys()
