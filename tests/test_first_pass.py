"""The first pass: a cheap score for every candidate span, which selects the spans to compute contexts for."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from modeling_iser import IserCollator, IserConfig, IserForJointExtraction, prepare_sentences
from modeling_iser.collation_iser import encode_sentences, tokenize_words
from modeling_iser.first_pass_iser import FirstPass, passing

from .conftest import DOCUMENTS


MakeModel = Callable[..., IserForJointExtraction]
Key = tuple[int, int, int]


def batch_of(model: IserForJointExtraction, sentences: list[list[str]]) -> dict[str, Tensor]:
    return encode_sentences(tokenize_words(model.tokenizer, sentences), model.tokenizer)


def keys_of(tensors: dict[str, Tensor]) -> list[Key]:
    """Sentence, start and end of each span of a batch or an output."""
    return list(zip(*(tensors[f"span_{part}"].tolist() for part in ("sentence", "start", "end")), strict=True))


def scores(model: IserForJointExtraction, exact: bool) -> tuple[dict, dict]:
    """Entity logits by span and relation logits by pair."""
    with torch.no_grad():
        output = model(**batch_of(model, [document["tokens"] for document in DOCUMENTS]), exact=exact)
    spans = keys_of(output)
    pairs = [(spans[h], spans[t]) for h, t in zip(output.pair_head.tolist(), output.pair_tail.tolist(), strict=True)]
    return dict(zip(spans, output.entity_logits, strict=True)), dict(zip(pairs, output.relation_logits, strict=True))


def half_passing(model: IserForJointExtraction) -> IserForJointExtraction:
    """The model with its first pass shifted so that half of the candidate spans pass."""
    batch = batch_of(model, [document["tokens"] for document in DOCUMENTS])
    with torch.no_grad():
        logits = model.first_pass(model.iser(**batch).fused_states, batch["num_words"])
        ordered = logits[logits > -math.inf].sort().values
        middle = len(ordered) // 2
        model.first_pass.score.bias -= ordered[middle - 1 : middle + 1].mean()
    return model


def literal_logits(first_pass: FirstPass, states: Tensor, num_words: list[int]) -> dict[Key, Tensor]:
    """The first pass, one span at a time."""
    nothing = states.new_zeros(first_pass.roles.out_features // 5)
    logits = {}
    for sentence, length in enumerate(num_words):
        first, last, before, after, within = first_pass.roles(states[sentence, :length]).chunk(5, dim=-1)
        for start in range(length):
            for end in range(start + 1, min(start + first_pass.max_span_width, length) + 1):
                hidden = (
                    first[start]
                    + last[end - 1]
                    + (before[start - 1] if start else nothing)
                    + (after[end] if end < length else nothing)
                    + within[start:end].max(dim=0).values
                    + first_pass.width.weight[end - start - 1]
                )
                logits[sentence, start, end] = first_pass.score(torch.nn.functional.gelu(hidden)).squeeze()
    return logits


@pytest.mark.parametrize("num_words", [[1], [3, 9, 1], [2, 7, 7]])
@pytest.mark.parametrize("width", [1, 4, 12])
def test_logits_equal_those_of_one_span_at_a_time(num_words: list[int], width: int) -> None:
    torch.manual_seed(width)
    encoder = {"model_type": "bert", "hidden_size": 6, "num_attention_heads": 2}
    config = IserConfig(encoder, max_span_width=width, first_pass_size=5, context_attention_heads=2)
    first_pass = FirstPass(config).double()
    states = torch.randn(len(num_words), max(num_words), 6, dtype=torch.double)  # padding must not matter
    found = first_pass(states, torch.tensor(num_words))
    expected = literal_logits(first_pass, states, num_words)
    assert found.shape == (len(num_words), max(num_words), width)
    for sentence in range(len(num_words)):
        for start in range(max(num_words)):
            for end in range(start + 1, start + width + 1):
                logit = found[sentence, start, end - start - 1]
                torch.testing.assert_close(
                    logit, expected.get((sentence, start, end), torch.tensor(-math.inf).double())
                )


@pytest.mark.parametrize("variant", ["iser", "iser_gru", "no_fusion"])
def test_passing_spans_have_their_exact_scores(make_model: MakeModel, variant: str) -> None:
    model = half_passing(make_model(variant, first_pass_threshold=0.5).double())
    with torch.no_grad():  # Every span becomes an entity, so that there are pairs.
        model.entity_classifier.bias[0] = -50.0
    some_spans, some_pairs = scores(model, exact=False)
    all_spans, all_pairs = scores(model, exact=True)
    assert 0 < len(some_spans) < len(all_spans)
    assert 0 < len(some_pairs) < len(all_pairs)
    for some, every in ((some_spans, all_spans), (some_pairs, all_pairs)):
        for key, logits in some.items():
            torch.testing.assert_close(logits, every[key], rtol=1e-9, atol=1e-9)


def test_extraction_finds_only_passing_spans(make_model: MakeModel) -> None:
    model = half_passing(make_model(first_pass_threshold=0.5, overlapping_entities=True))
    sentences = [document["tokens"] for document in DOCUMENTS]
    passed = set(scores(model, exact=False)[0])
    for index, (some, every) in enumerate(
        zip(model.extract(sentences), model.extract(sentences, exact=True), strict=True)
    ):
        expected = [e for e in every["entities"] if (index, e["start"], e["end"]) in passed]
        assert [(e["start"], e["end"], e["type"]) for e in some["entities"]] == [
            (e["start"], e["end"], e["type"]) for e in expected
        ]


def test_no_span_or_every_span_passes(make_model: MakeModel) -> None:
    model = make_model(first_pass_threshold=0.5)
    sentences = [document["tokens"] for document in DOCUMENTS]
    with torch.no_grad():
        model.first_pass.score.weight.zero_()
        model.first_pass.score.bias.fill_(-50.0)
        assert all(not document["entities"] for document in model.extract(sentences))
        assert scores(model, exact=False) == ({}, {})
        model.first_pass.score.bias.fill_(50.0)
    assert model.extract(sentences) == model.extract(sentences, exact=True)


@pytest.mark.parametrize(
    ("score", "passes", "passes_in_training"), [(0.6, True, True), (0.1, False, True), (0.02, False, False)]
)
def test_threshold_in_training_is_a_twentieth(score: float, passes: bool, passes_in_training: bool) -> None:
    logits = torch.logit(torch.full((2, 3, 4), score))
    assert bool((passing(logits, 0.5) == passes).all())
    assert bool((passing(logits, 0.5, training=True) == passes_in_training).all())


@pytest.mark.parametrize(("training", "most"), [(False, 256), (True, 32)])
def test_number_of_passing_spans_is_limited(make_model: MakeModel, training: bool, most: int) -> None:
    torch.manual_seed(0)
    first_pass = make_model(first_pass_threshold=0.5, max_span_width=20).first_pass
    logits = first_pass(torch.randn(2, 50, 16), torch.tensor([50, 3])) + 50.0
    passes = passing(logits, 0.5, training)
    assert passes[0].sum() == most and passes[1].sum() == 6
    assert logits[0][passes[0]].min() >= logits[0][~passes[0]].max()
    tied = torch.full_like(logits, 50.0)
    assert passing(tied, 0.5, training)[0].flatten().nonzero().squeeze(1).tolist() == list(range(most))


def training_batch(model: IserForJointExtraction, **sampling: int) -> dict[str, Tensor]:
    sentences, _ = prepare_sentences(DOCUMENTS, model.tokenizer, model.config)
    return IserCollator(model.tokenizer, model.config, **sampling)(sentences)


def gold_spans() -> set[Key]:
    return {(i, e["start"], e["end"]) for i, d in enumerate(DOCUMENTS) for e in d["entities"]}


def test_first_pass_is_trained_on_every_candidate(make_model: MakeModel) -> None:
    model = make_model(first_pass_threshold=0.5, dropout=0.0)
    batch = training_batch(model, negative_spans=2)
    output = model(**batch)
    logits = literal_logits(model.first_pass, output.fused_states, batch["num_words"].tolist())
    assert len(logits) > len(batch["span_start"])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.stack(list(logits.values())), torch.tensor([float(key in gold_spans()) for key in logits])
    )
    torch.testing.assert_close(output.first_pass_loss, expected)
    torch.testing.assert_close(output.loss, output.entity_loss + output.relation_loss + 0.01 * output.first_pass_loss)
    assert model(**batch, exact=True).first_pass_loss is None


def test_first_pass_loss_trains_only_the_first_pass(make_model: MakeModel) -> None:
    model = make_model(first_pass_threshold=0.5)
    model(**training_batch(model)).first_pass_loss.backward()
    moved = {
        name for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    assert moved == {name for name, _ in model.named_parameters() if name.startswith("first_pass.")}


def test_no_first_pass_without_context_cost_or_threshold(make_model: MakeModel) -> None:
    assert make_model("spert", first_pass_threshold=0.5).first_pass is None
    assert make_model("iser", first_pass_threshold=0.0).first_pass is None


def test_checkpoint_of_the_earlier_first_pass_scores_every_span(
    make_model: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(first_pass_threshold=0.0)
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del settings["first_pass_threshold"], settings["first_pass_size"]
    (tmp_path / "config.json").write_text(json.dumps({**settings, "proposal_threshold": 0.1}), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        loaded = IserForJointExtraction.from_pretrained(tmp_path)
    assert "--train_only first_pass" in caplog.text
    sentences = [document["tokens"] for document in DOCUMENTS]
    assert loaded.extract(sentences) == model.extract(sentences)


def test_training_scores_gold_spans_pairs_and_passing_spans(make_model: MakeModel) -> None:
    model = half_passing(make_model(first_pass_threshold=0.5, dropout=0.0))
    batch = training_batch(model, negative_spans=3)
    inputs = {name: batch[name] for name in batch if not name.startswith(("span_", "pair_", "entity_", "relation_"))}
    everything = model(**inputs, exact=True)
    logits = dict(zip(keys_of(everything), everything.entity_logits, strict=True))
    passed = set(keys_of(model(**inputs)))
    output = model(**batch)

    scored = keys_of(output)
    assert scored == sorted(gold_spans() | passed)
    assert passed - set(keys_of(batch)), "some spans must pass that were not drawn"
    classes = {(i, e["start"], e["end"]): e["type"] for i, d in enumerate(DOCUMENTS) for e in d["entities"]}
    labels = [model.config.entity_types.index(classes[key]) + 1 if key in classes else 0 for key in scored]
    terms = torch.nn.functional.cross_entropy(
        torch.stack([logits[key] for key in scored]), torch.tensor(labels), reduction="sum"
    )
    torch.testing.assert_close(output.entity_loss, terms / len(batch["span_start"]))

    exact = model(**batch, exact=True)
    torch.testing.assert_close(output.relation_logits, exact.relation_logits)
    torch.testing.assert_close(output.relation_loss, exact.relation_loss)


def test_only_passing_given_spans_are_scored(make_model: MakeModel) -> None:
    model = half_passing(make_model(first_pass_threshold=0.5))
    batch = batch_of(model, [document["tokens"] for document in DOCUMENTS])
    passed = keys_of(model(**batch))
    given = [(0, 0, 1), (0, 1, 2), (0, 4, 5), (1, 0, 2), (1, 3, 4), (5, 0, 1)]
    columns = [torch.tensor(column) for column in zip(*given, strict=True)]
    output = model(**batch, span_sentence=columns[0], span_start=columns[1], span_end=columns[2])
    assert keys_of(output) == [key for key in given if key in passed]
