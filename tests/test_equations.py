"""
Every equation of the paper and every variant, compared with the literal reference on random weights.

Computed in float64, because in float32 the order of summation causes differences that look like errors.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from modeling_iser import VARIANTS, IserForJointExtraction
from modeling_iser.collation_iser import IserCollator, encode_sentences, prepare_sentences, tokenize_words
from modeling_iser.layers_iser import WordStates
from modeling_iser.spans_iser import enumerate_spans

from .conftest import DOCUMENTS
from .reference import Reference


MakeModel = Callable[..., IserForJointExtraction]


def references(model: IserForJointExtraction, sentences: list[list[str]]) -> list[Reference]:
    """A reference for each sentence, which the encoder reads alone, without padding."""
    result = []
    for words in tokenize_words(model.tokenizer, sentences):
        batch = encode_sentences([words], model.tokenizer)
        tokens = model.iser.encoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state[0]
        ranges = zip(batch["word_token_start"][0].tolist(), batch["word_token_end"][0].tolist(), strict=True)
        result.append(Reference(model, tokens, list(ranges)))
    return result


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_scores_equal_the_reference(make_model: MakeModel, variant: str) -> None:
    model = make_model(variant, seed=len(variant)).double()
    sentences = [document["tokens"] for document in DOCUMENTS]
    batch = encode_sentences(tokenize_words(model.tokenizer, sentences), model.tokenizer)
    with torch.no_grad():
        output = model(**batch, output_attentions=True)
        expected = references(model, sentences)
        spans = list(
            zip(output.span_sentence.tolist(), output.span_start.tolist(), output.span_end.tolist(), strict=True)
        )
        assert spans == [
            (index, start, end)
            for index, reference in enumerate(expected)
            for start in range(reference.length)
            for end in range(start + 1, min(start + 4, reference.length) + 1)
        ]
        entity_logits = torch.stack([expected[s].entity_logits(start, end) for s, start, end in spans])
        torch.testing.assert_close(output.entity_logits, entity_logits, rtol=1e-9, atol=1e-9)

        chosen = [i for i, logits in enumerate(entity_logits) if logits.argmax() != 0]
        pairs = [(i, j) for i in chosen for j in chosen if i != j and spans[i][0] == spans[j][0]]
        assert pairs, "the model must find entities"
        assert list(zip(output.pair_head.tolist(), output.pair_tail.tolist(), strict=True)) == pairs
        some = range(0, len(pairs), max(1, len(pairs) // 150))
        relation_logits = torch.stack(
            [
                expected[spans[pairs[p][0]][0]].relation_logits(spans[pairs[p][0]][1:], spans[pairs[p][1]][1:])
                for p in some
            ]
        )
        torch.testing.assert_close(output.relation_logits[list(some)], relation_logits, rtol=1e-9, atol=1e-9)

        for index, reference in enumerate(expected):
            length = reference.length
            torch.testing.assert_close(output.fused_states[index, :length], reference.fused, rtol=1e-9, atol=1e-9)
            if model.config.fusion == "interactive":
                for name in ("entity_attention", "relation_attention"):
                    weights = getattr(output, name)[index]
                    torch.testing.assert_close(
                        weights[:length, :length], getattr(reference, name), rtol=1e-9, atol=1e-9
                    )
                    assert weights[length:].abs().sum() == 0 and weights[:, length:].abs().sum() == 0
            else:
                assert output.entity_attention is None and output.relation_attention is None


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "tanh"])
def test_fusion_options(make_model: MakeModel, activation: str, residual: bool) -> None:
    model = make_model(projection_activation=activation, fusion_residual=residual).double()
    sentence = DOCUMENTS[0]["tokens"]
    with torch.no_grad():
        batch = encode_sentences(tokenize_words(model.tokenizer, [sentence]), model.tokenizer)
        torch.testing.assert_close(
            model(**batch).fused_states[0], references(model, [sentence])[0].fused, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_loss_and_gradients_equal_the_reference(make_model: MakeModel, variant: str) -> None:
    model = make_model(variant, dropout=0.0).double()
    sentences, _ = prepare_sentences(DOCUMENTS[:2], model.tokenizer, model.config)
    batch = IserCollator(model.tokenizer, model.config, negative_spans=12, negative_pairs=3)(sentences)
    output = model(**batch)
    output.loss.backward()
    actual = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    expected = references(model, [document["tokens"] for document in DOCUMENTS[:2]])
    spans = list(zip(*(batch[f"span_{part}"].tolist() for part in ("sentence", "start", "end")), strict=True))
    entity_terms, relation_terms = [], []
    for (index, start, end), label in zip(spans, batch["entity_labels"].tolist(), strict=True):
        entity_terms.append(expected[index].loss([(start, end, label)], [(spans[0][1:], spans[0][1:], [0.0, 0.0])])[0])
    for head, tail, labels in zip(
        *(batch[k].tolist() for k in ("pair_head", "pair_tail", "relation_labels")), strict=True
    ):
        index = spans[head][0]
        relation_terms.append(expected[index].loss([(0, 1, 0)], [(spans[head][1:], spans[tail][1:], labels)])[1])
    entity_loss, relation_loss = torch.stack(entity_terms).mean(), torch.stack(relation_terms).mean()
    # The model computes the loss in float32.
    torch.testing.assert_close(output.entity_loss, entity_loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(output.relation_loss, relation_loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(output.loss, entity_loss + relation_loss, rtol=1e-6, atol=1e-6)
    (entity_loss + relation_loss).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            actual[name], parameter.grad, rtol=1e-6, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_scores_do_not_depend_on_neighbours_or_padding(make_model: MakeModel) -> None:
    for variant in sorted(VARIANTS):
        model = make_model(variant).double()
        tokens = tokenize_words(model.tokenizer, [document["tokens"] for document in DOCUMENTS])
        with torch.no_grad():
            together = model(**encode_sentences(tokens, model.tokenizer))
            for index, sentence in enumerate(tokens):
                alone = model(**encode_sentences([sentence], model.tokenizer))
                mine = together.span_sentence == index
                torch.testing.assert_close(together.entity_logits[mine], alone.entity_logits, rtol=1e-9, atol=1e-9)
                of_pair = together.span_sentence[together.pair_head] == index
                torch.testing.assert_close(
                    together.relation_logits[of_pair], alone.relation_logits, rtol=1e-9, atol=1e-9
                )


@pytest.mark.parametrize("variant", ["iser", "iser_gru"])
def test_span_contexts_under_autocast_are_in_single_precision(make_model: MakeModel, variant: str) -> None:
    model = make_model(variant).eval()
    words = torch.randn(2, 7, model.config.hidden_size).bfloat16()
    num_words = torch.tensor([7, 4])
    spans = enumerate_spans(num_words, 3)

    def contexts(words: torch.Tensor) -> torch.Tensor:
        return model.span_context(WordStates(words, words, words[:, 0], num_words), spans)

    with torch.autocast("cpu", torch.bfloat16):
        found = contexts(words)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, contexts(words.float()))
