"""`extract`: documents from texts and words, in any batches, from long texts and unusual input."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeling_iser import DdiExtractionPipeline, IserForJointExtraction
from modeling_iser.collation_iser import encode_sentences, tokenize_words
from modeling_iser.decoding_iser import drop_overlaps, merge_windows

from .conftest import DOCUMENTS, ENTITY_TYPES, RELATION_TYPES, SENTENCES


MakeModel = Callable[..., IserForJointExtraction]


def expected_documents(model: IserForJointExtraction, sentences: list[list[str]], threshold: float) -> list[Any]:
    """Entities and relations of each sentence, read from the logits one by one."""
    output = model(**encode_sentences(tokenize_words(model.tokenizer, sentences), model.tokenizer))
    spans = list(zip(output.span_sentence.tolist(), output.span_start.tolist(), output.span_end.tolist(), strict=True))
    result: list[Any] = [({}, {}) for _ in sentences]
    for span, logits in zip(spans, output.entity_logits, strict=True):
        probabilities = logits.softmax(0).tolist()
        best = max(range(4), key=probabilities.__getitem__)
        if best:
            result[span[0]][0][span[1:]] = (ENTITY_TYPES[best - 1], probabilities[best])
    for head, tail, logits in zip(
        output.pair_head.tolist(), output.pair_tail.tolist(), output.relation_logits, strict=True
    ):
        for label, probability in zip(RELATION_TYPES, logits.sigmoid().tolist(), strict=True):
            if probability >= threshold:
                result[spans[head][0]][1][spans[head][1:], spans[tail][1:], label] = probability
    return result


def overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return bool(set(range(*one)) & set(range(*other)))


def reference_without_overlaps(entities: Any, relations: Any) -> tuple[Any, Any]:
    """`drop_overlaps` by brute force, on `{span: (type, score)}` and `{(head, tail, type): score}`."""
    kept: dict[Any, Any] = {}
    for span in sorted(entities, key=lambda span: -entities[span][1]):
        if not any(overlap(span, other) for other in kept):
            kept[span] = entities[span]
    return kept, {key: score for key, score in relations.items() if key[0] in kept and key[1] in kept}


@pytest.mark.parametrize("threshold", [0.4, 0.7])
@pytest.mark.parametrize("overlapping", [True, False])
def test_documents_match_the_scores(make_model: MakeModel, threshold: float, overlapping: bool) -> None:
    model = make_model(overlapping_entities=overlapping)
    sentences = [text.split() for text in SENTENCES]
    with torch.no_grad():
        wanted = expected_documents(model, sentences, threshold)
    if not overlapping:
        free = wanted
        wanted = [reference_without_overlaps(*document) for document in free]
        assert wanted != free
    found = model.extract(sentences, relation_threshold=threshold)
    assert any(relations for _, relations in wanted)
    for index, (document, (entities, relations)) in enumerate(zip(found, wanted, strict=True)):
        assert document["id"] == str(index)
        assert document["tokens"] == sentences[index]
        assert document["text"] == " ".join(sentences[index])
        key = [(entity["start"], entity["end"]) for entity in document["entities"]]
        assert {
            span: (e["type"], pytest.approx(e["score"], abs=1e-5))
            for span, e in zip(key, document["entities"], strict=True)
        } == entities
        assert {
            (key[r["head"]], key[r["tail"]], r["type"]): pytest.approx(r["score"], abs=1e-5)
            for r in document["relations"]
        } == relations


def without_scores(documents: list[dict[str, Any]]) -> list[Any]:
    return [
        (
            [(e["start"], e["end"], e["type"]) for e in d["entities"]],
            [(r["head"], r["tail"], r["type"]) for r in d["relations"]],
        )
        for d in documents
    ]


def test_results_do_not_depend_on_batches_or_order(make_model: MakeModel) -> None:
    model = make_model()
    texts = [*SENTENCES, "", " ", " ".join(SENTENCES * 5)]
    alone = [model.extract(text)[0] for text in texts]
    for batch_size in (1, 2, 5, 64):
        assert without_scores(model.extract(texts, batch_size=batch_size)) == without_scores(alone)
    order = list(range(len(texts)))
    random.Random(0).shuffle(order)
    shuffled = model.extract([texts[i] for i in order], batch_size=3)
    assert without_scores(shuffled) == without_scores([alone[i] for i in order])
    for document, reference in zip(model.extract(texts, batch_size=4), alone, strict=True):
        for mine, other in zip(document["entities"], reference["entities"], strict=True):
            assert mine["score"] == pytest.approx(other["score"], abs=1e-5)


def test_inputs_without_words(make_model: MakeModel) -> None:
    model = make_model()
    for empty in ("", " ", "\u3000\n"):
        (document,) = model.extract(empty)
        assert document == {"id": "0", "text": empty, "tokens": [], "entities": [], "relations": []}
    assert model.extract([]) == []
    assert model.extract([[]])[0]["tokens"] == []


@pytest.mark.parametrize("wrong", [[3], [None], [["a", 2]], [{"text": "x"}]])
def test_wrong_inputs(make_model: MakeModel, wrong: Any) -> None:
    with pytest.raises(TypeError, match="Input 0 is neither a text nor a list of words"):
        make_model().extract(wrong)


def test_extract_leaves_the_model_unchanged(make_model: MakeModel) -> None:
    model = make_model().train()
    first = model.extract(SENTENCES)
    assert model.training
    assert model.extract(SENTENCES) == first
    assert (
        not torch.is_grad_enabled() or model(**encode_sentences([[[5]]], model.tokenizer)).entity_logits.requires_grad
    )


def test_long_sentences_are_read_in_windows_without_loss_or_duplicates(make_model: MakeModel) -> None:
    model = make_model("spert")
    words = list(itertools.islice(itertools.cycle(" ".join(SENTENCES).split()), 400))
    (document,) = model.extract([words])
    assert document["tokens"] == words
    spans = [(entity["start"], entity["end"]) for entity in document["entities"]]
    assert len(set(spans)) == len(spans)
    assert spans == sorted(spans)
    assert {start // 50 for start, _ in spans} == set(range(8)), "every part of the sentence must be read"
    relations = [(r["head"], r["tail"], r["type"]) for r in document["relations"]]
    assert len(set(relations)) == len(relations) > 0


@st.composite
def scored_documents(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """Entities and relations with distinct scores."""
    spans = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), unique=True, max_size=8))
    pairs = [(i, j) for i in range(len(spans)) for j in range(len(spans)) if i != j]
    triples = [(pair, kind) for pair in pairs for kind in "RS"]
    relations = draw(st.lists(st.sampled_from(triples), unique=True, max_size=10)) if triples else []
    scores = iter(draw(st.permutations([n / 20 for n in range(1, 20)])))
    return {
        "entities": [{"start": s, "end": s + w, "type": "T", "score": next(scores)} for s, w in sorted(spans)],
        "relations": [{"head": h, "tail": t, "type": kind, "score": next(scores)} for (h, t), kind in relations],
    }


@given(scored_documents())
def test_drop_overlaps_equals_brute_force(found: dict[str, list[dict[str, Any]]]) -> None:
    def keyed(document: dict[str, list[dict[str, Any]]]) -> tuple[Any, Any]:
        spans = [(e["start"], e["end"]) for e in document["entities"]]
        entities = {span: (e["type"], e["score"]) for span, e in zip(spans, document["entities"], strict=True)}
        return entities, {(spans[r["head"]], spans[r["tail"]], r["type"]): r["score"] for r in document["relations"]}

    kept = drop_overlaps(found)
    assert keyed(kept) == reference_without_overlaps(*keyed(found))
    assert [e for e in found["entities"] if e in kept["entities"]] == kept["entities"]
    assert drop_overlaps(kept) == kept


def test_windows_are_merged_by_territory() -> None:
    def entity(start: int, end: int, score: float) -> dict[str, Any]:
        return {"start": start, "end": end, "type": "T", "score": score}

    def relation(head: int, tail: int, score: float) -> dict[str, Any]:
        return {"head": head, "tail": tail, "type": "R", "score": score}

    # Windows (0, 10) and (6, 16), divided at word 8. The first finds (9, 10), cut off; the second the whole (8, 11).
    first = {
        "entities": [entity(1, 2, 0.9), entity(7, 8, 0.8), entity(9, 10, 0.3)],
        "relations": [relation(0, 1, 0.5), relation(1, 2, 0.6), relation(1, 0, 0.7)],
    }
    second = {
        "entities": [entity(1, 2, 0.7), entity(2, 5, 0.95)],
        "relations": [relation(0, 1, 0.55)],
    }
    merged = merge_windows([first, second], [(0, 10), (6, 16)], [(0, 8), (8, 16)])
    assert merged["entities"] == [entity(1, 2, 0.9), entity(7, 8, 0.8), entity(8, 11, 0.95)]
    assert merged["relations"] == [relation(0, 1, 0.5), relation(1, 0, 0.7), relation(1, 2, 0.55)]


def test_entity_threshold(make_model: MakeModel) -> None:
    model = make_model()
    scores = sorted(e["score"] for d in model.extract(SENTENCES) for e in d["entities"])
    middle = scores[len(scores) // 2]
    kept = [e["score"] for d in model.extract(SENTENCES, entity_threshold=middle) for e in d["entities"]]
    assert sorted(kept) == [score for score in scores if score >= middle]


@pytest.mark.parametrize("thresholds", [{}, {RELATION_TYPES[0]: 0.3}, {RELATION_TYPES[0]: 0.7, RELATION_TYPES[1]: 0.0}])
def test_thresholds_of_single_relation_types(make_model: MakeModel, thresholds: dict[str, float]) -> None:
    model = make_model(relation_threshold=0.5, relation_thresholds=thresholds)
    everything = model.extract(SENTENCES, relation_threshold=0.0)
    for document, whole in zip(model.extract(SENTENCES), everything, strict=True):
        kept = [r for r in whole["relations"] if r["score"] >= thresholds.get(r["type"], 0.5)]
        assert document == {**whole, "relations": kept}
    # A threshold that the caller gives holds for all types.
    for document, whole in zip(model.extract(SENTENCES, relation_threshold=0.6), everything, strict=True):
        assert document["relations"] == [r for r in whole["relations"] if r["score"] >= 0.6]


def test_wrong_thresholds_of_single_relation_types(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match="relation_thresholds lists Unknown, which relation_types does not"):
        make_model(relation_thresholds={"Unknown": 0.3})
    with pytest.raises(ValueError, match=f"{RELATION_TYPES[0]} must lie between 0 and 1, got 3"):
        make_model(relation_thresholds={RELATION_TYPES[0]: 3})


def test_pipeline_offsets_and_parameters(make_model: MakeModel) -> None:
    model = make_model("spert")
    extractor = DdiExtractionPipeline(model=model, tokenizer=model.tokenizer)
    text = "Anna   Berg lives\r\nin Lund."
    answer = extractor(text)
    assert answer["text"] == text
    assert answer["entities"]
    for entity in answer["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
    for relation in answer["relations"]:
        assert relation["head"] in answer["entities"]
        assert relation["tail"] in answer["entities"]
    assert extractor([]) == []
    assert extractor("")["entities"] == []
    assert [a["text"] for a in extractor(iter(SENTENCES), batch_size=2)] == SENTENCES
    assert extractor(text, relation_threshold=1.0)["relations"] == []
    assert extractor(text, entity_threshold=1.0)["entities"] == []
    with pytest.raises(TypeError, match="takes texts"):
        extractor(3)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=60), max_size=4))
def test_offsets_are_correct_for_any_text(make_model: MakeModel, texts: list[str]) -> None:
    model = make_model("spert")
    extractor = DdiExtractionPipeline(model=model, tokenizer=model.tokenizer)
    for text, answer in zip(texts, extractor(texts, batch_size=3), strict=True):
        assert answer["text"] == text
        for entity in answer["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]


def test_overfitted_model_reproduces_its_documents(make_model: MakeModel) -> None:
    from modeling_iser import IserCollator, prepare_sentences

    torch.manual_seed(0)
    model = make_model(dropout=0.0)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    sentences, _ = prepare_sentences(DOCUMENTS, model.tokenizer, model.config)
    collator = IserCollator(model.tokenizer, model.config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(250):
        loss = model(**collator(sentences)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = model.extract([document["tokens"] for document in DOCUMENTS])
    for document, reference in zip(found, DOCUMENTS, strict=True):
        assert [(e["start"], e["end"], e["type"]) for e in document["entities"]] == [
            (e["start"], e["end"], e["type"]) for e in reference["entities"]
        ]
        assert {(r["head"], r["tail"], r["type"]) for r in document["relations"]} == {
            (r["head"], r["tail"], r["type"]) for r in reference["relations"]
        }
