"""The systems that ISER is compared with: their equations, their labels, and properties of all extractors."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import train
from baselines import SYSTEMS, casrel, graphrel, onerel, spn4re, ster, w2ner
from baselines.crf import LinearChainCrf
from baselines.tags import bio_tags, bioes_tags, read_bio, read_bioes
from baselines.triples import Triple, found_triples
from benchmarks.comparison.ceilings import ceilings
from datasets_scripts.subsets import frequent_end_types
from modeling_iser import (
    VARIANTS,
    IserConfig,
    IserForJointExtraction,
    JointExtractionModel,
    Sentence,
    prepare_sentences,
)

from .conftest import DOCUMENTS, ENTITY_TYPES, RELATION_TYPES, REPOSITORY
from .test_own_corpus import FORMATS


BASELINES = [name for name in SYSTEMS if name not in VARIANTS]
WORDS = [document["tokens"] for document in DOCUMENTS]
SMALL: dict[str, dict[str, Any]] = {
    "spn4re": {"decoder_heads": 2, "decoder_layers": 1, "num_queries": 4},
    "multihead": {"tag_embedding_size": 4, "relation_size": 8},
    "graphrel_1p": {"gru_size": 32, "gcn_size": 32},
    "graphrel_2p": {"gru_size": 32, "gcn_size": 32},
    "w2ner": {"lstm_size": 64, "channels": 24, "biaffine_size": 32, "grid_size": 32, "position_size": 8},
}

MakeBaseline = Callable[..., Any]


@pytest.fixture
def make_baseline(encoder_dir: Path) -> MakeBaseline:
    def make(name: str, seed: int = 0, **fields: Any) -> JointExtractionModel:
        torch.manual_seed(seed)
        system = SYSTEMS[name]
        options = {**system.fields, **SMALL.get(name, {}), "dropout": 0.0, **fields}
        model = system.model.from_encoder(encoder_dir, ENTITY_TYPES, RELATION_TYPES, pretrained=False, **options)
        with torch.no_grad():  # Larger weights make scores differ.
            for parameter in model.parameters():
                parameter.mul_(4.0) if parameter.dim() > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
        return model.eval()

    return make


def training_batch(model: Any, documents: list[dict[str, Any]]) -> dict[str, Tensor]:
    sentences, _ = prepare_sentences(documents, model.tokenizer, model.config)
    return model.collator(seed=1)(sentences)


# --------------------------------------------------------------------------------- all systems


@pytest.mark.parametrize("name", BASELINES)
def test_results_do_not_depend_on_the_batch(make_baseline: MakeBaseline, name: str) -> None:
    models = (make_baseline(name, seed).double() for seed in range(30))
    model = next(m for m in models if any(document["entities"] for document in m.extract(WORDS)))
    together, alone = model.extract(WORDS, batch_size=6), model.extract(WORDS, batch_size=1)
    for one, other in zip(together, alone, strict=True):
        assert one["tokens"] == other["tokens"]
        for kind in ("entities", "relations"):
            assert [{**item, "score": 0} for item in one[kind]] == [{**item, "score": 0} for item in other[kind]]
            assert [item["score"] for item in one[kind]] == pytest.approx([item["score"] for item in other[kind]])


@pytest.mark.parametrize("name", BASELINES)
def test_empty_and_long_documents(make_baseline: MakeBaseline, name: str) -> None:
    model = make_baseline(name)
    long = ["Lund"] * 200
    documents = model.extract([[], ["Malmo"], long, "", "Anna Berg lives in Lund ."])
    assert [len(document["tokens"]) for document in documents] == [0, 1, 200, 0, 6]
    assert documents[0]["entities"] == documents[3]["entities"] == []
    for document in documents:
        for entity in document["entities"]:
            assert 0 <= entity["start"] < entity["end"] <= len(document["tokens"])
            assert entity["type"] in ENTITY_TYPES
            assert 0 <= entity["score"] <= 1
        for relation in document["relations"]:
            assert relation["type"] in RELATION_TYPES
            assert {relation["head"], relation["tail"]} <= set(range(len(document["entities"])))
    assert all(not document["relations"] for document in documents if "relation" not in model.config.tasks)


@pytest.mark.parametrize("name", BASELINES)
def test_partial_losses_add_up_and_every_parameter_has_a_gradient(make_baseline: MakeBaseline, name: str) -> None:
    model = make_baseline(name).train()
    output = model(**training_batch(model, DOCUMENTS))
    parts = [value for key, value in output.items() if key.endswith("_loss")]
    assert not parts or float(output.loss) == pytest.approx(float(sum(parts)))
    output.loss.backward()
    unused = ("encoder.pooler",)
    missing = [k for k, value in model.named_parameters() if value.grad is None and not k.startswith(unused)]
    assert missing == []
    without_entities = model(**training_batch(model, [DOCUMENTS[3]]))
    assert torch.isfinite(without_entities.loss)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc fills new memory on request")
def test_gradients_in_bfloat16_come_from_written_memory(encoder_dir: Path) -> None:
    """With new memory filled with large numbers, gradients are finite and close to those in single precision."""
    code = f"from tests.test_baselines import print_gradients; print_gradients({str(encoder_dir)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "MALLOC_PERTURB_": "128"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    norms = json.loads(done.stdout.splitlines()[-1])
    assert norms.keys() == set(SYSTEMS)
    for name, (single, brain) in norms.items():
        assert brain == pytest.approx(single, rel=0.2, abs=0.01), name


def print_gradients(encoder_dir: str) -> None:
    """Print, as JSON, the norm of each system's gradient in single precision and in bfloat16, for a long sentence."""
    norms = {}
    for name, system in SYSTEMS.items():
        torch.manual_seed(0)
        options = {**system.fields, **SMALL.get(name, {}), "dropout": 0.0}
        model = system.model.from_encoder(encoder_dir, ENTITY_TYPES, RELATION_TYPES, pretrained=False, **options)
        words = DOCUMENTS[0]["tokens"]
        long = {**DOCUMENTS[0], "tokens": words + ["and"] * (50 - len(words))}
        batch = training_batch(model.train(), [long] * 8)
        norms[name] = []
        for enabled in (False, True):
            model.zero_grad()
            torch.manual_seed(0)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                loss = model(**batch).loss
            loss.float().backward()
            squares = [p.grad.norm().item() ** 2 for p in model.parameters() if p.grad is not None]
            norms[name].append(math.sqrt(sum(squares)))
    print(json.dumps(norms))


@pytest.mark.parametrize("name", BASELINES)
def test_training_fits_six_documents_and_the_checkpoint_reloads(
    tmp_path: Path, encoder_dir: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "corpus").mkdir()
    for split in ("train", "test"):
        FORMATS["jsonl"].write(DOCUMENTS, tmp_path / "corpus" / f"{split}.jsonl")
    options = [f"{key}={value}" for key, value in SMALL.get(name, {}).items()]
    slow = name.startswith(("graphrel", "spn4re"))  # These learn slowly when small.
    settings = [
        "--dataset", "corpus", "--data_dir", str(tmp_path / "corpus"), "--encoder", str(encoder_dir),
        "--output_dir", str(tmp_path / "run"), "--system", name, "--batch_size", "3",
        "--learning_rate", "1e-3", "--new_layers_learning_rate", "1e-2", "--dropout", "0",
        "--num_epochs", "400" if slow else "200", "--system_options", *options,
    ]  # fmt: skip
    scores = train.train(train.parse_settings(settings))["test"]
    tasks = SYSTEMS[name].model.config_class.tasks
    assert [task for task in ("entity", "relation") if f"{task}_micro_f1" in scores] == list(tasks)
    for task in tasks:
        assert scores[f"{task}_micro_f1"] > (0.55 if slow else 0.85), scores
    code = (
        "import json, baselines\nfrom transformers import AutoModel\n"
        f"model = AutoModel.from_pretrained({str(tmp_path / 'run')!r})\n"
        f"print(json.dumps(model.extract({WORDS!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    model = SYSTEMS[name].model.from_pretrained(tmp_path / "run")
    again = json.loads(done.stdout.splitlines()[-1])
    for one, other in zip(again, model.extract(WORDS), strict=True):
        for kind in ("entities", "relations"):
            assert [{**item, "score": 0} for item in one[kind]] == [{**item, "score": 0} for item in other[kind]]


# -------------------------------------------------------------------------------------------- triples


def test_triples_become_documents() -> None:
    config = onerel.OneRelConfig(
        entity_types=["a", "b"], relation_types=["r", "s"], symmetric_relations=["s"], end_types={"r": ["a", "b"]}
    )
    triples = [
        Triple((0, 2), 0, (3, 4), 0.9), Triple((0, 2), 0, (3, 4), 0.5), Triple((3, 4), 1, (0, 2), 0.8),
        Triple((0, 2), 1, (3, 4), 0.7), Triple((1, 2), 0, (1, 2), 0.9), Triple((5, 6), 0, (3, 4), 0.1),
    ]  # fmt: skip
    found = found_triples(triples, config, 0.2)
    named = [
        (*(tuple(found["entities"][r[end]].values())[:3] for end in ("head", "tail")), r["type"], r["score"])
        for r in found["relations"]
    ]
    assert named == [((0, 2, "a"), (3, 4, "b"), "r", 0.9), ((0, 2, "a"), (3, 4, "a"), "s", 0.7)]
    with pytest.raises(ValueError, match="relation_types is empty"):
        onerel.OneRelConfig(relation_types=[])
    with pytest.raises(ValueError, match="end_types"):
        onerel.OneRelConfig(end_types={"Relation": ["Entity", "none"]})


spans = st.tuples(st.integers(0, 9), st.integers(1, 3)).map(lambda s: (s[0], min(10, s[0] + s[1])))


@given(spans, spans, st.integers(0, 1))
def test_onerel_reads_back_any_single_triple(head: tuple[int, int], tail: tuple[int, int], relation: int) -> None:
    tags = onerel.tag_table([(head, relation, tail)], 10, 2)
    (found,) = onerel.read_table(tags, torch.full(tags.shape, 0.5))
    assert (found.head, found.relation, found.tail, found.score) == (head, relation, tail, 0.5)


def apart(generator: random.Random, count: int, size: int) -> list[tuple[int, int]]:
    """Disjoint ranges of words."""
    borders = sorted(generator.sample(range(size + 1), 2 * count))
    return list(zip(borders[::2], borders[1::2], strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_onerel_reads_back_triples_without_conflicts(seed: int) -> None:
    """If every entity takes part in one triple only, no cell of the table is ambiguous."""
    generator = random.Random(seed)
    ranges = apart(generator, 4, 20)
    heads, tails = ranges[::2], ranges[1::2]
    triples = [(head, generator.randrange(2), tail) for head, tail in zip(heads, tails, strict=True)]
    tags = onerel.tag_table(triples, 20, 2)
    found = onerel.read_table(tags, torch.ones(tags.shape))
    assert {(t.head, t.relation, t.tail) for t in found} == set(triples)


def test_onerel_reads_back_the_documents() -> None:
    for document in DOCUMENTS:
        places = [(entity["start"], entity["end"]) for entity in document["entities"]]
        names = RELATION_TYPES
        triples = [(places[r["head"]], names.index(r["type"]), places[r["tail"]]) for r in document["relations"]]
        tags = onerel.tag_table(triples, len(document["tokens"]), 2)
        found = onerel.read_table(tags, torch.ones(tags.shape))
        assert {(t.head, t.relation, t.tail) for t in found} == set(triples)


def test_onerel_scores_match_the_equations(make_baseline: MakeBaseline) -> None:
    model = make_baseline("onerel").double()
    batch = training_batch(model, DOCUMENTS[:2])
    output = model(**batch)
    tokens = model.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    weight = torch.cat([model.head_projection.weight, model.tail_projection.weight], dim=1)
    total, count = 0.0, 0
    for index, document in enumerate(DOCUMENTS[:2]):
        states = words_of(tokens[index], batch, index)
        for i, j in itertools.product(range(len(document["tokens"])), repeat=2):
            pair = torch.relu(weight @ torch.cat([states[i], states[j]]) + model.head_projection.bias)
            logits = (model.tagger.weight @ pair + model.tagger.bias).reshape(2, 4)
            torch.testing.assert_close(output.logits[index, i, j], logits)
            for relation in range(2):
                total -= float(logits[relation].log_softmax(0)[batch["tags"][index, i, j, relation]])
                count += 1
    assert float(output.loss) == pytest.approx(total / count, rel=1e-5)


def words_of(tokens: Tensor, batch: dict[str, Tensor], index: int) -> list[Tensor]:
    """Word vectors of a sentence: the maximum over the tokens of each word."""
    number = int(batch["num_words"][index])
    starts, ends = (batch[f"word_token_{side}"][index, :number].tolist() for side in ("start", "end"))
    return [tokens[start:end].max(dim=0).values for start, end in zip(starts, ends, strict=True)]


# --------------------------------------------------------------------------------------------- CasRel


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.data())
def test_casrel_pairs_a_start_with_the_nearest_end(starts: list[float], data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.floats(0, 1), min_size=len(starts), max_size=len(starts)))
    expected = []
    for start, sure in enumerate(starts):
        for end in range(start, len(ends)):
            if sure >= 0.5 and ends[end] >= 0.5:
                expected.append((start, end + 1, pytest.approx(min(sure, ends[end]), abs=1e-6)))
                break
    found = casrel.paired(torch.tensor(starts, dtype=torch.float64), torch.tensor(ends, dtype=torch.float64), 0.5)
    assert found == expected


def test_casrel_tags_and_losses_match_the_equations(make_baseline: MakeBaseline) -> None:
    model = make_baseline("casrel").double()
    batch = training_batch(model, DOCUMENTS)
    output = model(**batch)
    tokens = model.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    subject_terms, object_terms = [], []
    for index, document in enumerate(DOCUMENTS):
        states = words_of(tokens[index], batch, index)
        places = [(entity["start"], entity["end"]) for entity in document["entities"]]
        heads = {places[relation["head"]] for relation in document["relations"]}
        first, last = batch["subject"][index].tolist()
        assert bool(batch["has_subject"][index]) == bool(heads)
        assert not heads or (first, last + 1) in heads
        subject = (states[first] + states[last]) / 2
        for word, state in enumerate(states):
            gold = [float(any(s == word for s, _ in heads)), float(any(e == word + 1 for _, e in heads))]
            logits = model.subject_tagger(state)
            subject_terms.append(sum(bce(float(x), y) for x, y in zip(logits, gold, strict=True)))
            tagged = model.object_tagger(state + subject).reshape(2, 2)
            if not heads:
                continue
            term = 0.0
            for relation, name in enumerate(RELATION_TYPES):
                objects = [
                    places[r["tail"]]
                    for r in document["relations"]
                    if r["type"] == name and places[r["head"]] == (first, last + 1)
                ]
                gold = [float(any(s == word for s, _ in objects)), float(any(e == word + 1 for _, e in objects))]
                term += sum(bce(float(x), y) for x, y in zip(tagged[relation], gold, strict=True))
            object_terms.append(term)
    assert float(output.subject_loss) == pytest.approx(sum(subject_terms) / len(subject_terms), rel=1e-4)
    assert float(output.object_loss) == pytest.approx(sum(object_terms) / len(object_terms), rel=1e-4)


def bce(logit: float, label: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -label * math.log(probability) - (1 - label) * math.log(1 - probability)


# --------------------------------------------------------------------------------------------- SPN4RE


@pytest.mark.parametrize("seed", range(5))
def test_spn4re_chooses_the_best_range(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    starts, ends = (torch.rand(7, generator=generator).softmax(0) for _ in range(2))
    expected = max(
        ((float(starts[i] * ends[j]), (i, j + 1)) for i in range(7) for j in range(i, min(7, i + 3))),
        key=lambda x: x[0],
    )
    found, score = spn4re.best_range(starts, ends, 3)
    assert found == expected[1]
    assert score == pytest.approx(math.sqrt(expected[0]))


def test_spn4re_matching_has_the_least_cost(make_baseline: MakeBaseline) -> None:
    model = make_baseline("spn4re").double()
    batch = training_batch(model, DOCUMENTS)
    output = model(**batch)
    relations, pointers = output.relation_logits.softmax(-1), output.pointer_logits.softmax(-1)
    matched = model.match(output.relation_logits, output.pointer_logits, batch["triples"])
    pairs = {int(row): (int(index), int(query)) for index, query, row in zip(*matched, strict=True)}
    for index in range(len(DOCUMENTS)):
        rows = (batch["triples"][:, 0] == index).nonzero()[:, 0].tolist()

        def cost(query: int, row: int) -> float:
            _, relation, *places = batch["triples"][row].tolist()
            hit = [float(pointers[index, query, part, place]) for part, place in enumerate(places)]  # noqa: B023
            return -float(relations[index, query, relation]) - (hit[0] + hit[1]) - (hit[2] + hit[3])  # noqa: B023

        least = min(
            sum(cost(query, row) for query, row in zip(queries, rows, strict=True))
            for queries in itertools.permutations(range(4), len(rows))
        )
        assert sum(cost(pairs[row][1], row) for row in rows) == pytest.approx(least)
        assert all(pairs[row][0] == index for row in rows)


def test_spn4re_pointers_match_the_equations(make_baseline: MakeBaseline) -> None:
    model = make_baseline("spn4re").double()
    queries, words = torch.randn(1, 3, 16).double(), torch.randn(1, 5, 16).double()
    found = model.pointer_logits(queries, words)
    for query, part, word in itertools.product(range(3), range(4), range(5)):
        rows = slice(16 * part, 16 * part + 16)
        first = model.query_projections.weight[rows] @ queries[0, query] + model.query_projections.bias[rows]
        second = model.word_projections.weight[rows] @ words[0, word] + model.word_projections.bias[rows]
        expected = model.pointers.weight[part] @ torch.tanh(first + second)
        torch.testing.assert_close(found[0, query, part, word], expected)


# ------------------------------------------------------------------------------- multi-head selection


@pytest.mark.parametrize("length", [1, 2, 4])
def test_crf_equals_enumeration_of_all_sequences(length: int) -> None:
    torch.manual_seed(length)
    crf = LinearChainCrf(3).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    emissions = torch.randn(2, 5, 3).double()
    words = torch.zeros(2, 5, dtype=torch.bool)
    words[0, :length] = words[1, :5] = True

    def score(index: int, tags: tuple[int, ...]) -> float:
        own = sum(float(emissions[index, word, tag]) for word, tag in enumerate(tags))
        steps = sum(float(crf.transitions[a, b]) for a, b in itertools.pairwise(tags))
        return float(crf.start[tags[0]]) + own + steps + float(crf.end[tags[-1]])

    tags = torch.randint(0, 3, (2, 5))
    losses = crf(emissions, tags, words)
    for index, count in enumerate((length, 5)):
        every = {seq: score(index, seq) for seq in itertools.product(range(3), repeat=count)}
        total = math.log(sum(map(math.exp, every.values())))
        assert float(losses[index]) == pytest.approx(total - every[tuple(tags[index, :count].tolist())])
        best, probability = crf.decode(emissions[index, :count])
        assert tuple(best) == max(every, key=lambda seq: every[seq])
        assert probability == pytest.approx(math.exp(every[tuple(best)] - total))


@pytest.mark.parametrize("seed", range(10))
def test_bio_tags_are_read_back(seed: int) -> None:
    generator = random.Random(seed)
    entities = [(start, end, generator.randrange(3)) for start, end in apart(generator, 4, 12)]
    tags = [0] * 12
    for start, end, kind in entities:
        tags[start:end] = bio_tags(end - start, kind)
    assert read_bio(tags) == entities
    assert read_bio([2, 2, 4, 0, 4]) == [(0, 2, 0), (2, 3, 1), (4, 5, 1)]


def test_multihead_scores_match_the_equations(make_baseline: MakeBaseline) -> None:
    model = make_baseline("multihead", lstm_layers=0).double()
    batch = training_batch(model, DOCUMENTS[:2])
    output = model(**batch)
    tokens = model.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    total = 0.0
    for index, document in enumerate(DOCUMENTS[:2]):
        tags = batch["tags"][index].tolist()
        for word, tag in enumerate(tags[: len(document["tokens"])]):
            kinds = [
                2 * ENTITY_TYPES.index(e["type"]) + (1 if e["start"] == word else 2)
                for e in document["entities"]
                if e["start"] <= word < e["end"]
            ]
            assert [tag] == (kinds or [0])
        states = [
            torch.cat([state, model.tag_embedding.weight[tag]])
            for state, tag in zip(words_of(tokens[index], batch, index), tags, strict=False)
        ]
        gold = {
            (document["entities"][r["head"]]["end"] - 1, document["entities"][r["tail"]]["end"] - 1, r["type"])
            for r in document["relations"]
        }
        for i, j in itertools.product(range(len(states)), repeat=2):
            hidden = torch.tanh(
                model.head_projection.weight @ states[i]
                + model.tail_projection.weight @ states[j]
                + model.head_projection.bias
            )
            for relation, name in enumerate(RELATION_TYPES):
                logit = model.relation_scorer.weight[relation] @ hidden
                torch.testing.assert_close(output.relation_logits[index, i, j, relation], logit)
                total += bce(float(logit), float((i, j, name) in gold))
    assert float(output.relation_loss) == pytest.approx(total / 2, rel=1e-4)


# ---------------------------------------------------------------------------------------------- W2NER


@pytest.mark.parametrize("seed", range(10))
def test_w2ner_reads_back_its_table(seed: int) -> None:
    generator = random.Random(seed)
    entities = {span: generator.randrange(1, 4) for span in apart(generator, 4, 12)}
    tags = w2ner.tag_table(entities, 12)
    found = w2ner.read_table(tags, torch.full(tags.shape, 0.7))
    assert {(start, end): kind + 1 for start, end, kind, _ in found} == entities
    tags[max(entities)[0], max(entities)[0] + 1 if max(entities)[1] - max(entities)[0] > 1 else 0] = 0
    nested = {(2, 6): 1, (3, 5): 2}
    again = w2ner.read_table(w2ner.tag_table(nested, 8), torch.ones(8, 8))
    assert {(start, end): kind + 1 for start, end, kind, _ in again} == nested


def test_w2ner_distances_are_signed_powers_of_two() -> None:
    distances = [0, 1, 2, 3, 4, 7, 8, 300, -1, -2, -3, -4, -300]
    expected = [19, 1, 2, 2, 3, 3, 4, 9, 10, 11, 11, 12, 18]
    assert w2ner.distance_bucket(torch.tensor(distances)).tolist() == expected


def test_w2ner_scores_match_the_equations(make_baseline: MakeBaseline) -> None:
    model = make_baseline("w2ner").double()
    (document,) = DOCUMENTS[2:3]
    batch = training_batch(model, [document])
    layers = model.encoder(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
    )
    tokens = torch.stack(layers.hidden_states[-4:]).mean(dim=0)
    states, _ = model.lstm(torch.stack(words_of(tokens[0], batch, 0))[None])
    size = states.shape[1]
    table = torch.zeros(1, model.convolutions.reduce.in_features, size, size).double()
    for i, j in itertools.product(range(size), repeat=2):
        normal = (states[0, j] - states[0, j].mean()) / (states[0, j].var(correction=0) + 1e-5).sqrt()
        pair = normal * model.norm.gain(states[0, i]) + model.norm.bias(states[0, i])
        distance = model.distance_embedding(w2ner.distance_bucket(torch.tensor(i - j)))
        region = model.region_embedding(torch.tensor(2 if i >= j else 1))
        table[0, :, i, j] = torch.cat([pair, distance, region])
    hidden = torch.nn.functional.gelu(
        torch.einsum("bchw,oc->bohw", table, model.convolutions.reduce.weight)
        + model.convolutions.reduce.bias[:, None, None]
    )
    outputs = []
    for layer in model.convolutions.layers:
        hidden = torch.nn.functional.gelu(layer(hidden))
        outputs.append(hidden)
    grid = torch.cat(outputs, dim=1)
    output = model(**batch)
    total = 0.0
    for i, j in itertools.product(range(size), repeat=2):
        head = torch.cat([model.head(states[0, i]), torch.ones(1).double()])
        tail = torch.cat([model.tail(states[0, j]), torch.ones(1).double()])
        biaffine = torch.stack([head @ matrix @ tail for matrix in model.biaffine])
        logits = biaffine + model.grid_scorer(model.grid(grid[0, :, i, j]))
        torch.testing.assert_close(output.logits[0, i, j], logits)
        total -= float(logits.log_softmax(0)[batch["tags"][0, i, j]])
    assert float(output.loss) == pytest.approx(total / size**2, rel=1e-5)


# ------------------------------------------------------------------------------------------- GraphRel


@pytest.mark.parametrize("seed", range(10))
def test_graphrel_tags_are_read_back(seed: int) -> None:
    generator = random.Random(seed)
    entities = [(start, end, generator.randrange(3)) for start, end in apart(generator, 4, 12)]
    tags = [0] * 12
    for start, end, kind in entities:
        tags[start:end] = bioes_tags(end - start, kind)
    assert read_bioes(tags) == entities
    assert read_bioes([1, 3, 4, 2, 3, 1, 7, 1, 1, 3]) == [(0, 2, 0), (2, 3, 0), (8, 10, 0)]


@pytest.mark.parametrize("phases", [1, 2])
def test_graphrel_scores_match_the_equations(make_baseline: MakeBaseline, phases: int) -> None:
    model = make_baseline(f"graphrel_{phases}p", inputs="embeddings").double()
    (document,) = DOCUMENTS[2:3]
    batch = training_batch(model, [document])
    tokens = model.get_input_embeddings()(batch["input_ids"])
    states = model.gru(torch.stack(words_of(tokens[0], batch, 0))[None])[0][0]
    size = len(states)
    for forward, backward in zip(model.forward_convolutions, model.backward_convolutions, strict=True):
        rows = []
        for i in range(size):
            ahead, back = [j for j in (i, i + 1) if j < size], [j for j in (i, i - 1) if j >= 0]
            sides = [
                torch.relu(sum(layer(states[j]) for j in places) / len(places))
                for layer, places in ((forward, ahead), (backward, back))
            ]
            rows.append(torch.cat(sides))
        states = torch.stack(rows)

    def classify(states: Tensor) -> tuple[Tensor, Tensor]:
        tags = model.tagger(model.tag_gru(states[None])[0][0])
        pairs = torch.zeros(size, size, len(RELATION_TYPES) + 1).double()
        for i, j in itertools.product(range(size), repeat=2):
            both = [torch.relu(model.head_projection(states[i])), torch.relu(model.tail_projection(states[j]))]
            pairs[i, j] = model.relation_classifier(torch.cat(both))
        return tags, pairs

    found = [classify(states)]
    if phases == 2:
        graphs = found[0][1].softmax(-1)
        second = states.clone()
        for relation in range(len(RELATION_TYPES) + 1):
            ahead, back = model.forward_relations[relation], model.backward_relations[relation]
            for i in range(size):
                there = sum(graphs[i, j, relation] * ahead(states[j]) for j in range(size))
                here = sum(graphs[j, i, relation] * back(states[j]) for j in range(size))
                second[i] = second[i] + torch.cat([torch.relu(there), torch.relu(here)])
        found.append(classify(second))
    output = model(**batch)
    torch.testing.assert_close(output.tag_logits[0], found[-1][0])
    torch.testing.assert_close(output.relation_logits[0], found[-1][1])
    expected = 0.0
    for tags, pairs in found:
        for logits, labels, weight in (
            (tags, batch["tags"][0], 1.0),
            (pairs.flatten(0, 1), batch["relation_labels"][0].flatten(), 3.0),
        ):
            weights = [2.0 if label else 1.0 for label in labels.tolist()]
            terms = [-float(row.log_softmax(0)[label]) for row, label in zip(logits, labels.tolist(), strict=True)]
            expected += weight * sum(w * t for w, t in zip(weights, terms, strict=True)) / sum(weights)
    assert float(output.loss) == pytest.approx(expected, rel=1e-5)


def test_graphrel_chooses_the_relation_with_most_votes(make_baseline: MakeBaseline) -> None:
    model = make_baseline("graphrel_1p")
    entities = [{"start": 0, "end": 2, "type": "Peop"}, {"start": 3, "end": 5, "type": "Loc"}]
    relations = torch.zeros(5, 5, dtype=torch.long)
    relations[0, 3], relations[0, 4], relations[1, 3] = 2, 1, 2
    assert graphrel.vote(entities, relations, model.config, 0.0) == [
        {"head": 0, "tail": 1, "type": RELATION_TYPES[1], "score": 0.5}
    ]
    assert graphrel.vote(entities, relations, model.config, 0.6) == []


# ------------------------------------------------------------------------------------ labelling schemes


@pytest.mark.parametrize("name", SYSTEMS)
def test_labels_of_gold_documents_are_decoded(make_baseline: MakeBaseline, name: str) -> None:
    model = make_baseline(name)
    config, tasks = model.config, model.config.tasks
    if hasattr(config, "end_types"):
        config.end_types = frequent_end_types(DOCUMENTS)
    sentences, _ = prepare_sentences(DOCUMENTS, model.tokenizer, config)
    collator = model.collator(seed=1)
    for document, sentence in zip(DOCUMENTS, sentences, strict=True):
        found, wanted = (as_sets(each) for each in (collator.decode_labels(sentence), document))
        for task in tasks:
            assert found[task] == wanted[task], document["id"]


def as_sets(document: dict[str, Any]) -> dict[str, set[Any]]:
    places = [(entity["start"], entity["end"], entity["type"]) for entity in document["entities"]]
    relations = {(places[r["head"]], r["type"], places[r["tail"]]) for r in document["relations"]}
    return {"entity": set(places), "relation": relations}


@pytest.mark.parametrize("name", BASELINES)
@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_labels_are_decoded_to_valid_documents(make_baseline: MakeBaseline, name: str, data: Any) -> None:
    """Labels that a scheme cannot express may lose or change relations, but must not break decoding."""
    model = cached_baseline(make_baseline, name)
    config = model.config
    ranges = data.draw(st.lists(spans.filter(lambda s: s[1] <= 10), max_size=5, unique=True))
    entities = {span: data.draw(st.integers(1, len(ENTITY_TYPES))) for span in ranges}
    pairs = st.sampled_from(list(itertools.permutations(ranges, 2))) if len(ranges) > 1 else st.nothing()
    drawn = data.draw(st.lists(pairs, max_size=6, unique=True)) if len(ranges) > 1 else []
    relations = {pair: {data.draw(st.integers(0, len(RELATION_TYPES) - 1))} for pair in drawn}
    found = model.collator(seed=1).decode_labels(Sentence("1", [[7]] * 10, entities, relations))
    for entity in found["entities"]:
        assert 0 <= entity["start"] < entity["end"] <= 10
        assert entity["type"] in config.entity_types
    for relation in found["relations"]:
        assert relation["head"] != relation["tail"]
        assert {relation["head"], relation["tail"]} <= set(range(len(found["entities"])))
        assert relation["type"] in config.relation_types


_CACHED_BASELINES: dict[str, Any] = {}


def cached_baseline(make: MakeBaseline, name: str) -> Any:
    if name not in _CACHED_BASELINES:
        _CACHED_BASELINES[name] = make(name)
    return _CACHED_BASELINES[name]


def test_ceilings_of_labelling_schemes() -> None:
    """Two heads overlap, which BIO tags cannot express but overlapping spans can."""
    crossing = {
        "id": "1", "text": "a b c d e", "tokens": list("abcde"),
        "entities": [{"start": 0, "end": 3, "type": "x"}, {"start": 1, "end": 3, "type": "x"},
                     {"start": 4, "end": 5, "type": "x"}],
        "relations": [{"head": 0, "tail": 2, "type": "r"}, {"head": 1, "tail": 2, "type": "r"}],
    }  # fmt: skip
    rows = {row.system: row for row in ceilings([crossing])}
    assert rows["spert"].changed == 0 and rows["spert"].entity == rows["spert"].relation == 100
    assert rows["multihead"].changed == 1 and rows["multihead"].relation < 100
    assert rows["w2ner"].relation is None and rows["casrel"].entity is None


# ------------------------------------------------------------------------------------------------ STER


@pytest.mark.parametrize("seed", range(10))
def test_contrastive_loss_matches_the_equation(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(0, 5, (2 + seed % 4,), generator=generator).tolist()
    student, teacher = ([torch.randn(n, 6, generator=generator).double() for n in sizes] for _ in range(2))

    def distance(one: Tensor, other: Tensor) -> float:
        return 1 - float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))

    total, batch = 0.0, len(sizes)
    for i, features in enumerate(student):
        for number, feature in enumerate(features):
            same = distance(feature, teacher[i][number])
            others = [
                (2 - (distance(feature, teacher[k][number]) - same)) / 2
                for k in range(batch)
                if k != i and number < sizes[k]
            ]
            total += same + (sum(others) / len(others) if others else 0.0)
    sentence = torch.tensor([i for i, size in enumerate(sizes) for _ in range(size)], dtype=torch.long)
    loss = ster.contrastive_loss(torch.cat(student), torch.cat(teacher), sentence, batch)
    assert float(loss) == pytest.approx(total / (batch * 200 * (batch - 1) * 4))


def test_contrastive_loss_of_a_single_sentence_is_zero() -> None:
    features = torch.randn(3, 4)
    assert float(ster.contrastive_loss(features, features, torch.zeros(3, dtype=torch.long), 1)) == 0


@pytest.mark.parametrize("privileged", ["entities", "relations"])
def test_teachers_read_privileged_tokens_after_the_words(make_baseline: MakeBaseline, privileged: str) -> None:
    student, teacher = make_baseline("ster"), make_baseline("ster", privileged=privileged)
    plain, told = (training_batch(model, DOCUMENTS) for model in (student, teacher))
    name = next(name for name, value in ster.TEACHERS.items() if value == privileged)
    for key in ("input_ids", "attention_mask"):
        assert torch.equal(plain[f"{name}_{key}"], told[key])
    for key in ("word_token_start", "word_token_end", "span_start", "pair_head", "relation_labels"):
        assert torch.equal(plain[key], told[key])
    tokenizer, first = student.tokenizer, student.config.encoder_config.vocab_size
    for index, document in enumerate(DOCUMENTS):
        ids = told["input_ids"][index][told["attention_mask"][index].bool()].tolist()
        sentence = plain["input_ids"][index][plain["attention_mask"][index].bool()].tolist()
        assert ids[: len(sentence) - 1] == sentence[:-1] and ids[-1] == tokenizer.sep_token_id
        added = ids[len(sentence) - 1 : -1]
        if privileged == "relations":
            expected = sorted(RELATION_TYPES.index(relation["type"]) for relation in document["relations"])
            assert sorted(token - first for token in added) == expected
        else:
            words = [document["tokens"][e["start"] : e["end"]] for e in document["entities"]]
            ids_of = [tokenizer(word, add_special_tokens=False)["input_ids"] for name in words for word in name]
            assert sorted(added) == sorted(token for tokens in ids_of for token in tokens)
    assert teacher(**told).loss is not None


def test_privileged_tokens_leave_room_for_the_words(make_baseline: MakeBaseline) -> None:
    student = make_baseline("ster", max_tokens=12)
    sentences, _ = prepare_sentences(DOCUMENTS, student.tokenizer, student.config)
    batch = student.collator(seed=1)(sentences)
    assert batch["entity_teacher_input_ids"].shape[1] <= 12
    assert torch.equal(batch["attention_mask"].sum(1) <= batch["entity_teacher_attention_mask"].sum(1),
                       torch.ones(len(sentences), dtype=torch.bool))  # fmt: skip


def test_student_learns_from_its_teachers_and_is_a_spert(make_baseline: MakeBaseline, tmp_path: Path) -> None:
    student = make_baseline("ster").double()
    batch = training_batch(student, DOCUMENTS)
    alone = student(**batch)
    assert alone.contrastive_loss is None
    teachers = {name: make_baseline("ster", 1, privileged=value).double() for name, value in ster.TEACHERS.items()}
    student.learn_from(teachers)
    output = student(**batch)
    expected = 0.0
    for name, teacher in teachers.items():
        privileged = {key: value for key, value in batch.items() if "teacher" not in key}
        for key in ("input_ids", "attention_mask"):
            privileged[key] = batch[f"{name}_{key}"]
        taught = teacher(**privileged)
        for features, sentence in (
            ("entity_features", batch["span_sentence"]),
            ("relation_features", batch["span_sentence"][batch["pair_head"]]),
        ):
            loss = ster.contrastive_loss(output[features].float(), taught[features].float(), sentence, len(DOCUMENTS))
            expected += float(loss)
    assert float(output.contrastive_loss) == pytest.approx(expected, rel=1e-5)
    assert float(output.loss) == pytest.approx(float(alone.loss) + expected, rel=1e-5)
    output.loss.backward()
    assert all(parameter.grad is None for teacher in teachers.values() for parameter in teacher.parameters())
    assert not any("teacher" in name for name in student.state_dict())
    fields = {k: v for k, v in student.config.to_dict().items() if k not in ("privileged", "model_type", "auto_map")}
    spert = IserForJointExtraction(IserConfig.from_dict(fields)).double().eval()
    spert.load_state_dict(student.state_dict())
    spert.tokenizer = student.tokenizer
    assert spert.extract(WORDS) == student.eval().extract(WORDS)


def test_one_run_trains_teachers_and_student_and_can_be_resumed(tmp_path: Path, encoder_dir: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for split in ("train", "validation", "test"):
        FORMATS["jsonl"].write(DOCUMENTS, tmp_path / "corpus" / f"{split}.jsonl")
    words = [
        "--dataset", "corpus", "--data_dir", str(tmp_path / "corpus"), "--encoder", str(encoder_dir), "--system",
        "ster", "--output_dir", str(tmp_path / "run"), "--num_epochs", "2", "--batch_size", "3",
    ]  # fmt: skip
    train.train(train.parse_settings(words))
    teachers = {name: tmp_path / "run" / "teachers" / name for name in ster.TEACHERS}
    for name, directory in teachers.items():
        teacher = ster.SterForJointExtraction.from_pretrained(directory)
        assert teacher.config.privileged == ster.TEACHERS[name]
        assert teacher(**training_batch(teacher, DOCUMENTS)).loss is not None
    with pytest.raises(ValueError, match="--resume"):
        train.train(train.parse_settings(words))
    made = {name: (directory / "scores.json").stat().st_mtime_ns for name, directory in teachers.items()}
    (tmp_path / "run" / "scores.json").unlink()
    scores = train.train(train.parse_settings([*words, "--resume"]))
    assert set(scores) == {"validation", "test"}
    assert made == {name: (directory / "scores.json").stat().st_mtime_ns for name, directory in teachers.items()}
