"""Documents → batches: labels, negative sampling, windows, reports and mention replacement."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_iser import IserCollator, IserForJointExtraction, MentionReplacement, prepare_sentences
from modeling_iser.collation_iser import Sentence, encode_sentences, max_sentence_tokens, tokenize_words

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
    # There are fewer candidates and ordered pairs than negatives to be drawn, so all are used.
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


def test_negative_samples_depend_only_on_seed_epoch_and_sentence(model: IserForJointExtraction) -> None:
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


def test_report_of_windows_wide_entities_and_lost_relations(model: IserForJointExtraction) -> None:
    long = document(
        "long", " ".join(["Anna", *["x"] * 90, "Lund"]), [(0, 1, "Peop"), (91, 92, "Loc"), (3, 9, "Org")],
        [(0, 1, "Live_In"), (0, 2, "Work_For")],
    )  # fmt: skip
    empty = document("empty", "", [], [])
    sentences, report = prepare_sentences([*DOCUMENTS, long, empty], model.tokenizer, model.config)
    assert report.windowed == ["long"]
    assert report.wide_entities == [("long", "'x x x x x x'")]
    assert report.lost_relations == [("long", "'Anna' —Live_In→ 'Lund'"), ("long", "'Anna' —Work_For→ 'x x x x x x'")]
    assert report.empty == ["empty"]
    for part in (
        "1 entities are wider than max_span_width and cannot be found (in 1 documents, for example long: 'x x",
        "2 relations cannot be learned",
        "1 documents have no words",
    ):
        assert part in report.summary()
    windows = [sentence for sentence in sentences if sentence.document_id == "long"]
    assert len(windows) > 1
    assert all(sum(map(len, window.word_tokens)) <= 62 for window in windows)
    assert {label for window in windows for label in window.entities.values()} == {1, 3}


def test_report_of_second_types_and_overlapping_entities(model: IserForJointExtraction) -> None:
    crossed = document(
        "x", "Anna Berg of Lund", [(0, 2, "Peop"), (0, 2, "Org"), (1, 4, "Org"), (3, 4, "Loc")],
        [(0, 1, "Work_For"), (1, 3, "Live_In"), (0, 0, "Live_In")],
    )  # fmt: skip
    (sentence,), report = prepare_sentences([crossed], model.tokenizer, model.config)
    assert sentence.entities == {(0, 2): 3, (1, 4): 2, (3, 4): 1}
    assert sentence.relations == {((0, 2), (3, 4)): {0}}
    assert report.second_types == [("x", "'Anna Berg'")]
    assert report.overlapping_entities == [("x", "'Berg of Lund'"), ("x", "'Lund'")]
    assert [relation for _, relation in report.lost_relations] == [
        "'Anna Berg' —Work_For→ 'Anna Berg'", "'Anna Berg' —Live_In→ 'Anna Berg'",
    ]  # fmt: skip
    model.config.overlapping_entities = True
    assert prepare_sentences([crossed], model.tokenizer, model.config)[1].overlapping_entities == []


def test_symmetric_relations_are_learned_in_both_directions(make_model: Callable[..., IserForJointExtraction]) -> None:
    model = make_model(symmetric_relations=["Live_In"])
    backward = document("x", "Anna and Lund", [(0, 1, "Peop"), (2, 3, "Loc")], [(1, 0, "Live_In"), (0, 1, "Work_For")])
    (sentence,), report = prepare_sentences([backward], model.tokenizer, model.config)
    assert sentence.relations == {((2, 3), (0, 1)): {0}, ((0, 1), (2, 3)): {0, 1}}
    assert report.lost_relations == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["entities"][0].update(type="Person"),
            "Document 'a': entity type 'Person' is not in .*Loc, Org, Peop",
        ),
        (lambda d: d["relations"][0].update(type="Kill"), "relation type 'Kill' is not in the model's relation_types"),
        (lambda d: d["entities"][0].update(end=0), r"entity \(0, 0\) .* the document's 11 words or is empty"),
        (lambda d: d["entities"][2].update(end=12), "lies outside the document's 11 words"),
        (lambda d: d["relations"][0].update(tail=3), "joins entities 0 and 3, but the document has 3"),
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


def test_words_without_tokens_become_unknown_tokens(model: IserForJointExtraction) -> None:
    words = ["Anna", "\u200b", "Berg", "\x01"]
    (tokens,) = tokenize_words(model.tokenizer, [words])
    assert tokens[1] == tokens[3] == [model.tokenizer.unk_token_id]
    batch = encode_sentences([tokens], model.tokenizer)
    rows = zip(batch["word_token_start"][0].tolist(), batch["word_token_end"][0].tolist(), strict=True)
    assert [batch["input_ids"][0, start:end].tolist() for start, end in rows] == tokens
    (document,) = model.extract([words])
    assert document["tokens"] == words


# ---------------------------------------------------------------------------- mention replacement


@st.composite
def sentences_with_mentions(draw: st.DrawFn) -> Sentence:
    """Sentences whose mentions have tokens from 100 and whose other words have tokens below 10."""
    words: list[list[int]] = []
    entities: dict[tuple[int, int], int] = {}
    for label in draw(st.lists(st.sampled_from([1, 2]), max_size=5)):
        words += [[token] for token in draw(st.lists(st.integers(1, 9), max_size=3))]
        mention = draw(st.lists(st.lists(st.integers(100, 104), max_size=2), min_size=1, max_size=3))
        entities[len(words), len(words) + len(mention)] = label
        words += mention
    words += [[token] for token in draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))]
    pairs = [(head, tail) for head in entities for tail in entities if head != tail]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return Sentence("a", words, entities, {pair: {0} for pair in chosen})


@given(st.lists(sentences_with_mentions(), min_size=1, max_size=4), st.integers(), st.sampled_from([0.0, 0.5, 1.0]))
def test_replacement_changes_only_mentions(sentences: list[Sentence], seed: int, probability: float) -> None:
    replacement = MentionReplacement(sentences, probability, max_tokens=1000)
    known = {
        (label, str(sentence.word_tokens[start:end]))
        for sentence in sentences
        for (start, end), label in sentence.entities.items()
    }

    def skeleton(sentence: Sentence) -> tuple[Any, ...]:
        spans = list(sentence.entities)
        inside = {word for start, end in spans for word in range(start, end)}
        rest = [word for i, word in enumerate(sentence.word_tokens) if i not in inside]
        relations = {(spans.index(h), spans.index(t), *types) for (h, t), types in sentence.relations.items()}
        before = [start - sum(e - s for s, e in spans if s < start) for start, _ in spans]
        return rest, list(sentence.entities.values()), relations, before

    for sentence in sentences:
        replaced = replacement(sentence, random.Random(seed))
        assert skeleton(replaced) == skeleton(sentence)
        mentions: dict[Any, str] = {}
        for (old, label), new in zip(sentence.entities.items(), replaced.entities, strict=True):
            mention = str(replaced.word_tokens[slice(*new)])
            assert (label, mention) in known
            assert mentions.setdefault((label, str(sentence.word_tokens[slice(*old)])), mention) == mention
        if probability == 0:
            assert replaced == sentence


def test_replacement_respects_the_token_limit_and_skips_overlaps() -> None:
    long = Sentence("a", [[1], [100], [101], [102]], {(1, 4): 1})
    short = Sentence("b", [[1], [103]], {(1, 2): 1})
    nested = Sentence("c", [[1], [100], [101]], {(1, 3): 1, (2, 3): 1})
    replacement = MentionReplacement([long], 1.0, max_tokens=3)
    assert replacement(short, random.Random(0)) == short
    replacement.max_tokens = 4
    assert replacement(short, random.Random(0)).word_tokens == long.word_tokens
    assert replacement(nested, random.Random(0)) == nested
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 2"):
        MentionReplacement([long], 2, max_tokens=4)


def test_collator_draws_new_replacements_in_each_epoch(model: IserForJointExtraction) -> None:
    documents = [
        {
            "id": str(i),
            "tokens": ["x", name, "works"],
            "entities": [{"start": 1, "end": 2, "type": "Peop"}],
            "relations": [],
        }
        for i, name in enumerate(["Ann", "Ben", "Cas", "Dan", "Eve", "Fay"])
    ]
    sentences, _ = prepare_sentences(documents, model.tokenizer, model.config)
    collator = IserCollator(model.tokenizer, model.config, seed=1)
    collator.replacement = MentionReplacement(sentences, 1.0, max_sentence_tokens(model.tokenizer, model.config))

    def ids(epoch: int) -> str:
        collator.epoch = epoch
        return str(collator(sentences)["input_ids"].tolist())

    assert ids(0) == ids(0)
    assert len({ids(epoch) for epoch in range(4)}) > 1
