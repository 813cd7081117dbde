"""Proposals: a first pass that chooses the spans whose context is looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from modeling_iser import IserCollator, IserForJointExtraction, prepare_sentences
from modeling_iser.collation_iser import encode_sentences, tokenize_words

from .conftest import DOCUMENTS


MakeModel = Callable[..., IserForJointExtraction]


def scores(model: IserForJointExtraction, exact: bool) -> tuple[dict, dict]:
    """Entity logits by span and relation logits by pair."""
    tokens = tokenize_words(model.tokenizer, [document["tokens"] for document in DOCUMENTS])
    with torch.no_grad():
        output = model(**encode_sentences(tokens, model.tokenizer), exact=exact)
    spans = list(zip(output.span_sentence.tolist(), output.span_start.tolist(), output.span_end.tolist(), strict=True))
    pairs = [(spans[h], spans[t]) for h, t in zip(output.pair_head.tolist(), output.pair_tail.tolist(), strict=True)]
    return dict(zip(spans, output.entity_logits, strict=True)), dict(zip(pairs, output.relation_logits, strict=True))


@pytest.mark.parametrize("variant", ["iser", "iser_gru", "no_fusion"])
def test_the_spans_that_pass_have_their_exact_scores(make_model: MakeModel, variant: str) -> None:
    model = make_model(variant, proposal_threshold=0.5).double()
    with torch.no_grad():  # every span an entity, so that there are pairs; about half of the spans pass
        model.entity_classifier.bias[0] = -50.0
        model.proposal_classifier.weight.mul_(100)
    some_spans, some_pairs = scores(model, exact=False)
    all_spans, all_pairs = scores(model, exact=True)
    assert 0 < len(some_spans) < len(all_spans)
    assert 0 < len(some_pairs) < len(all_pairs)
    for some, every in ((some_spans, all_spans), (some_pairs, all_pairs)):
        for key, logits in some.items():
            torch.testing.assert_close(logits, every[key], rtol=1e-9, atol=1e-9)


def test_extraction_keeps_what_passes(make_model: MakeModel) -> None:
    model = make_model(proposal_threshold=0.5, overlapping_entities=True)
    sentences = [document["tokens"] for document in DOCUMENTS]
    passed = set(scores(model, exact=False)[0])
    for index, (some, every) in enumerate(
        zip(model.extract(sentences), model.extract(sentences, exact=True), strict=True)
    ):
        expected = [e for e in every["entities"] if (index, e["start"], e["end"]) in passed]
        assert [(e["start"], e["end"], e["type"]) for e in some["entities"]] == [
            (e["start"], e["end"], e["type"]) for e in expected
        ]


def test_nothing_and_everything_may_pass(make_model: MakeModel) -> None:
    model = make_model(proposal_threshold=0.5)
    sentences = [document["tokens"] for document in DOCUMENTS]
    with torch.no_grad():
        model.proposal_classifier.weight.zero_()
        model.proposal_classifier.bias.fill_(-50.0)
        assert all(not document["entities"] for document in model.extract(sentences))
        assert scores(model, exact=False) == ({}, {})
        model.proposal_classifier.bias.fill_(50.0)
    assert model.extract(sentences) == model.extract(sentences, exact=True)


@pytest.mark.parametrize(
    ("score", "passes", "passes_in_training"), [(0.6, True, True), (0.1, False, True), (0.04, False, False)]
)
def test_training_lets_a_tenth_of_the_threshold_pass(
    make_model: MakeModel, score: float, passes: bool, passes_in_training: bool
) -> None:
    model = make_model(proposal_threshold=0.5)
    logits, sentence = torch.logit(torch.full((3,), score)), torch.tensor([0, 0, 1])
    assert model.eval().proposed(logits, sentence).tolist() == [passes] * 3
    assert model.train().proposed(logits, sentence).tolist() == [passes_in_training] * 3


@pytest.mark.parametrize(("training", "most"), [(False, 256), (True, 32)])
def test_of_a_sentence_where_all_would_pass_the_best_do(make_model: MakeModel, training: bool, most: int) -> None:
    model = make_model(proposal_threshold=0.5, max_span_width=20, dropout=0.0).train(training)
    model.iser.eval()  # The encoder has dropout of its own.
    sentences = [["Lund", "."] * 25, DOCUMENTS[1]["tokens"]]
    batch = encode_sentences(tokenize_words(model.tokenizer, sentences), model.tokenizer)
    with torch.no_grad():
        model.proposal_classifier.bias.fill_(50.0)
        exact = model(**batch, exact=True)
        keys = ("span_sentence", "span_start", "span_end")
        spans = list(zip(*(exact[key].tolist() for key in keys), strict=True))
        features = torch.cat(model_features(model, {**batch, **{key: exact[key] for key in keys}}))
        logits = dict(zip(spans, model.score_proposals(features).tolist(), strict=True))
        some = model(**batch)
    kept = set(zip(*(some[key].tolist() for key in keys), strict=True))
    long = [span for span in spans if span[0] == 0]
    assert len(long) > most
    short = [span for span in spans if span[0] == 1]
    assert len([span for span in short if span in kept]) == min(most, len(short))
    passed = [span for span in long if span in kept]
    assert len(passed) == most
    assert min(logits[span] for span in passed) >= max(logits[span] for span in long if span not in kept) - 1e-5


def test_training_keeps_every_entity_and_pair(make_model: MakeModel) -> None:
    model = make_model(proposal_threshold=0.5, dropout=0.0)
    sentences, _ = prepare_sentences(DOCUMENTS, model.tokenizer, model.config)
    batch = IserCollator(model.tokenizer, model.config)(sentences)
    output, exact = model(**batch), model(**batch, exact=True)
    kept = set(zip(output.span_sentence.tolist(), output.span_start.tolist(), output.span_end.tolist(), strict=True))
    gold = {(i, e["start"], e["end"]) for i, d in enumerate(DOCUMENTS) for e in d["entities"]}
    assert gold <= kept
    assert len(kept) < len(batch["span_start"])
    torch.testing.assert_close(output.relation_logits, exact.relation_logits)
    assert exact.proposal_loss is None
    logits = torch.cat([model.proposal_classifier(f) for f in model_features(model, batch)]).squeeze(-1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, (batch["entity_labels"] > 0).float())
    torch.testing.assert_close(output.proposal_loss, expected)
    torch.testing.assert_close(output.loss, output.entity_loss + output.relation_loss + 0.01 * output.proposal_loss)
    # The dropped spans count as classified without loss; the others as they always do.
    rows = [
        i
        for i, key in enumerate(zip(*(batch[f"span_{p}"].tolist() for p in ("sentence", "start", "end")), strict=True))
        if key in kept
    ]
    terms = torch.nn.functional.cross_entropy(exact.entity_logits, batch["entity_labels"], reduction="none")
    torch.testing.assert_close(output.entity_loss, terms[rows].sum() / len(terms))


def test_the_first_pass_learns_by_itself(make_model: MakeModel) -> None:
    model = make_model(proposal_threshold=0.5)
    sentences, _ = prepare_sentences(DOCUMENTS, model.tokenizer, model.config)
    model(**IserCollator(model.tokenizer, model.config)(sentences)).proposal_loss.backward()
    moved = {
        name for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    assert moved == {"proposal_classifier.weight", "proposal_classifier.bias"}


def model_features(model: IserForJointExtraction, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """[max-pooled words; width embedding] of every span, one by one."""
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask", "word_token_start", "word_token_end", "num_words")}
    fused = model.iser(**inputs).fused_states
    rows = zip(*(batch[f"span_{part}"].tolist() for part in ("sentence", "start", "end")), strict=True)
    return [
        torch.cat([fused[s, a:b].max(dim=0).values, model.width_embedding.weight[b - a - 1]])[None] for s, a, b in rows
    ]


def test_a_free_context_needs_no_proposals(make_model: MakeModel) -> None:
    assert make_model("spert", proposal_threshold=0.5).proposal_classifier is None
    assert make_model("iser", proposal_threshold=0.0).proposal_classifier is None
