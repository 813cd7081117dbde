"""Documents → batches: labels, negative samples, windows and what is reported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from modeling_iser import IserCollator, IserForJointExtraction, prepare_sentences
from modeling_iser.collation_iser import encode_sentences, tokenize_words

from .conftest import DOCUMENTS, ENTITY_TYPES, RELATION_TYPES, document


MakeModel = Callable[..., IserForJointExtraction]


@pytest.fixture
def model(make_model: MakeModel) -> IserForJointExtraction:
    return make_model("spert")


def test_every_gold_span_and_pair_is_labelled(model: IserForJointExtraction) -> None:
    sentences, report = prepare_sentences(DOCUMENTS, model.tokenizer, model.config)
    assert report.summary() == "6 documents"
    batch = IserCollator(model.tokenizer, model.config)(sentences)
    spans = list(zip(*(batch[f"span_{part}"].tolist() for part in ("sentence", "start", "end")), strict=True))
    assert len(set(spans)) == len(spans)
    assert [span[0] for span in spans] == sorted(span[0] for span in spans)
    positive = {
        (*span, ENTITY_TYPES[label - 1])
        for span, label in zip(spans, batch["entity_labels"].tolist(), strict=True)
        if label
    }
    assert positive == {(i, e["start"], e["end"], e["type"]) for i, d in enumerate(DOCUMENTS) for e in d["entities"]}
    # With room for them all, the negatives are all other candidates and all other ordered pairs.
    assert len(spans) == sum(min(4, len(d["tokens"]) - start) for d in DOCUMENTS for start in range(len(d["tokens"])))
    pairs = list(zip(batch["pair_head"].tolist(), batch["pair_tail"].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) == sum(len(d["entities"]) * (len(d["entities"]) - 1) for d in DOCUMENTS)
    found = {
        (spans[head], spans[tail], RELATION_TYPES[i])
        for (head, tail), labels in zip(pairs, batch["relation_labels"].tolist(), strict=True)
        for i, value in enumerate(labels)
        if value
    }
    key = [[(i, e["start"], e["end"]) for e in d["entities"]] for i, d in enumerate(DOCUMENTS)]
    assert found == {
        (key[i][r["head"]], key[i][r["tail"]], r["type"]) for i, d in enumerate(DOCUMENTS) for r in d["relations"]
    }


def test_negative_samples_depend_on_seed_epoch_and_sentence_alone(model: IserForJointExtraction) -> None:
    sentences, _ = prepare_sentences(DOCUMENTS, model.tokenizer, model.config)

    def drawn(order: list[int], **settings: Any) -> dict[str, set[tuple[int, int]]]:
        collator = IserCollator(model.tokenizer, model.config, negative_spans=5, negative_pairs=2, **settings)
        batch = collator([sentences[i] for i in order])
        result: dict[str, set[tuple[int, int]]] = {sentence.document_id: set() for sentence in sentences}
        rows = zip(*(batch[f"span_{part}"].tolist() for part in ("sentence", "start", "end")), strict=True)
        for sentence, start, end in rows:
            result[sentences[order[sentence]].document_id].add((start, end))
        return result

    first = drawn([0, 1, 2, 3, 4, 5], seed=1)
    assert all(len(spans) <= 5 + 3 for spans in first.values())
    assert drawn([5, 3, 1, 0, 4, 2], seed=1) == first
    assert drawn([0, 1, 2, 3, 4, 5], seed=2) != first
    assert drawn([0, 1, 2, 3, 4, 5], seed=1, epoch=1) != first


def test_several_types_for_one_pair_and_repeated_entities(model: IserForJointExtraction) -> None:
    twice = document(
        "x", "Anna Berg of Lund", [(0, 2, "Peop"), (3, 4, "Loc"), (0, 2, "Peop")],
        [(0, 1, "Live_In"), (2, 1, "Work_For"), (2, 1, "Live_In")],
    )  # fmt: skip
    sentences, report = prepare_sentences([twice], model.tokenizer, model.config)
    assert sentences[0].entities == {(0, 2): 3, (3, 4): 1}
    assert sentences[0].relations == {((0, 2), (3, 4)): {0, 1}}
    assert report.lost_relations == []
    batch = IserCollator(model.tokenizer, model.config)(sentences)
    assert batch["relation_labels"].tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_what_cannot_be_learned_is_reported(model: IserForJointExtraction) -> None:
    long = document(
        "long", " ".join(["Anna", *["x"] * 90, "Lund"]), [(0, 1, "Peop"), (91, 92, "Loc"), (3, 9, "Org")],
        [(0, 1, "Live_In"), (0, 2, "Work_For")],
    )  # fmt: skip
    empty = document("empty", "", [], [])
    sentences, report = prepare_sentences([*DOCUMENTS, long, empty], model.tokenizer, model.config)
    assert report.windowed == ["long"]
    assert report.wide_entities == [("long", 6)]
    assert report.lost_relations == ["long", "long"]
    assert report.empty == ["empty"]
    for part in (
        "1 entities are wider",
        "widest: 6 words",
        "2 relations cannot be learned",
        "1 documents hold no word",
    ):
        assert part in report.summary()
    windows = [sentence for sentence in sentences if sentence.document_id == "long"]
    assert len(windows) > 1
    assert all(sum(map(len, window.word_tokens)) <= 62 for window in windows)
    assert {label for window in windows for label in window.entities.values()} == {1, 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["entities"][0].update(type="Person"),
            "Document 'a': entity type 'Person' is not in .*Loc, Org, Peop",
        ),
        (lambda d: d["relations"][0].update(type="Kill"), "relation type 'Kill' is not in the model's relation_types"),
        (lambda d: d["entities"][0].update(end=0), r"entity \(0, 0\) lies outside its 11 words or holds no word"),
        (lambda d: d["entities"][2].update(end=12), "lies outside its 11 words"),
        (lambda d: d["relations"][0].update(tail=3), "joins entities 0 and 3, but there are 3"),
        (lambda d: d["relations"][0].update(tail=0), "joins an entity to itself"),
        (lambda d: d["entities"].append({"start": 0, "end": 2, "type": "Org"}), "an entity of two types, Peop and Org"),
    ],
)
def test_wrong_documents(model: IserForJointExtraction, change: Callable[[dict], None], message: str) -> None:
    broken = copy.deepcopy(DOCUMENTS[0])
    change(broken)
    with pytest.raises(ValueError, match=message):
        prepare_sentences([DOCUMENTS[1], broken], model.tokenizer, model.config)


def test_wrong_sampling(model: IserForJointExtraction) -> None:
    with pytest.raises(ValueError, match="negative_spans must be at least 1"):
        IserCollator(model.tokenizer, model.config, negative_spans=0)


def test_words_that_the_tokenizer_drops_keep_their_place(model: IserForJointExtraction) -> None:
    words = ["Anna", "\u200b", "Berg", "\x01"]
    (tokens,) = tokenize_words(model.tokenizer, [words])
    assert tokens[1] == tokens[3] == [model.tokenizer.unk_token_id]
    batch = encode_sentences([tokens], model.tokenizer)
    rows = zip(batch["word_token_start"][0].tolist(), batch["word_token_end"][0].tolist(), strict=True)
    assert [batch["input_ids"][0, start:end].tolist() for start, end in rows] == tokens
    (document,) = model.extract([words])
    assert document["tokens"] == words
