"""Documents → batch tensors, labels and negative samples."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .configuration_iser import JointExtractionConfig
from .decoding_iser import drop_overlaps
from .text_iser import split_windows


@dataclass(frozen=True)
class Sentence:
    """
    A document, or a window of a long one, ready for a batch. Offsets count words of this sentence.

    Attributes:
        document_id: the document's `id`.
        word_tokens: subword token ids of each word; a word may have none.
        entities: `(start, end)` → label of the entity classifier (1 is the first entity type).
        relations: `(head span, tail span)` → labels of the relation classifier.
    """

    document_id: str
    word_tokens: list[list[int]]
    entities: dict[tuple[int, int], int] = field(default_factory=dict)
    relations: dict[tuple[tuple[int, int], tuple[int, int]], set[int]] = field(default_factory=dict)


Lost = list[tuple[str, str]]
"""What is lost, each with its document's id and its words."""


@dataclass
class PreparationReport:
    """What the model cannot learn, or cannot find, of a set of documents."""

    documents: int = 0
    windowed: list[str] = field(default_factory=list)
    """Ids of documents longer than the encoder, read in windows."""
    empty: list[str] = field(default_factory=list)
    """Ids of documents without any word."""
    wide_entities: Lost = field(default_factory=list)
    """Entities wider than `max_span_width`."""
    second_types: Lost = field(default_factory=list)
    """Entities whose words are an entity of another type already: the model gives a span one type."""
    overlapping_entities: Lost = field(default_factory=list)
    """Entities that share words with an earlier one, where the configuration does not allow overlaps."""
    lost_relations: Lost = field(default_factory=list)
    """Relations that lost an entity, fit into no window, or join an entity to itself."""

    def summary(self) -> str:
        """The report in a few lines for a person: counts and examples."""
        lines = [
            f"{self.documents} documents",
            _line(self.wide_entities, "entities are wider than max_span_width and cannot be found"),
            _line(self.second_types, "entities have the words of an entity of another type and cannot be found"),
            _line(
                self.overlapping_entities,
                "entities share words with another; of such entities the most probable one is found "
                "(overlapping_entities: true finds all)",
            ),
            _line(
                self.lost_relations,
                "relations cannot be learned: an entity is lost, the two lie in no common window, or are the same",
            ),
        ]
        if self.windowed:
            lines.append(f"{len(self.windowed)} documents are read in windows ({_some(self.windowed)})")
        if self.empty:
            lines.append(f"{len(self.empty)} documents hold no word ({_some(self.empty)})")
        return "; ".join(line for line in lines if line)


def _line(lost: Lost, what: str, examples: int = 3) -> str:
    if not lost:
        return ""
    shown = "; ".join(f"{name}: {words}" for name, words in lost[:examples])
    return f"{len(lost)} {what} (in {len({name for name, _ in lost})} documents, for example {shown})"


def _some(names: Iterable[str], most: int = 5) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")


def tokenize_words(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    """
    Subword token ids of every word of every sentence, without special tokens.

    A word that the tokenizer drops (a control character, say) becomes the unknown token, so that words and
    their offsets stay as they are.
    """
    token_ids = _token_ids(tokenizer, sentences)
    unknown = tokenizer.unk_token_id
    if unknown is not None:
        for sentence in token_ids:
            sentence[:] = [tokens or [unknown] for tokens in sentence]
    return token_ids


def _token_ids(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    if not sentences:
        return []
    encoding = tokenizer(
        [list(sentence) for sentence in sentences],
        is_split_into_words=True,
        add_special_tokens=False,
        return_attention_mask=False,
        verbose=False,
    )
    result = []
    for index, sentence in enumerate(sentences):
        words: list[list[int]] = [[] for _ in sentence]
        for token, word in zip(encoding["input_ids"][index], encoding.word_ids(index), strict=True):
            words[word].append(token)
        result.append(words)
    return result


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special token ids that the tokenizer puts before and after a sentence."""
    encoding = tokenizer([["a"]], is_split_into_words=True)
    is_word = [word is not None for word in encoding.word_ids(0)]
    ids = encoding["input_ids"][0]
    first, last = is_word.index(True), len(ids) - is_word[::-1].index(True)
    return ids[:first], ids[last:]


def max_sentence_tokens(tokenizer: PreTrainedTokenizerBase, config: JointExtractionConfig) -> int:
    """Most subword tokens of a sentence, without special tokens."""
    return config.max_position_embeddings - sum(map(len, special_tokens(tokenizer)))


def prepare_sentences(
    documents: Iterable[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, config: JointExtractionConfig
) -> tuple[list[Sentence], PreparationReport]:
    """
    Documents → sentences for training, with what had to be left out.

    Args:
        documents: with the labels of the configuration; a symmetric relation stands in one direction or both.

    Raises:
        ValueError: for a label that the configuration does not list, or offsets outside the document.
    """
    documents = list(documents)
    limit = max_sentence_tokens(tokenizer, config)
    report = PreparationReport(documents=len(documents))
    sentences: list[Sentence] = []
    tokenized = tokenize_words(tokenizer, [document["tokens"] for document in documents])
    for document, word_tokens in zip(documents, tokenized, strict=True):
        entities, relations = _labels(document, config, report)
        windows = split_windows([len(tokens) for tokens in word_tokens], limit, 2 * config.max_span_width)
        if not windows:
            report.empty.append(document["id"])
        if len(windows) > 1:
            report.windowed.append(document["id"])
        seen: set[tuple[tuple[int, int], tuple[int, int]]] = set()
        for start, end in windows:
            held = {span: label for span, label in entities.items() if start <= span[0] and span[1] <= end}
            pairs = {pair: labels for pair, labels in relations.items() if set(pair) <= held.keys()}
            seen |= pairs.keys()
            sentences.append(
                Sentence(
                    document["id"],
                    word_tokens[start:end],
                    {_shift(span, start): label for span, label in held.items()},
                    {(_shift(head, start), _shift(tail, start)): labels for (head, tail), labels in pairs.items()},
                )
            )
        for relation in document["relations"]:
            ends = [document["entities"][relation[role]] for role in ("head", "tail")]
            if tuple((entity["start"], entity["end"]) for entity in ends) not in seen:
                names = [_words(document["tokens"], entity["start"], entity["end"]) for entity in ends]
                report.lost_relations.append((document["id"], f"{names[0]} —{relation['type']}→ {names[1]}"))
    return sentences, report


def _shift(span: tuple[int, int], start: int) -> tuple[int, int]:
    return span[0] - start, span[1] - start


def _words(tokens: Sequence[str], start: int, end: int, most: int = 8) -> str:
    """The words of a span, in quotation marks; of a long one the first and their number."""
    shown = " ".join(tokens[start : min(end, start + most)])
    return f"'{shown}'" if end - start <= most else f"'{shown} …' ({end - start} words)"


def _labels(
    document: Mapping[str, Any], config: JointExtractionConfig, report: PreparationReport
) -> tuple[dict[tuple[int, int], int], dict[tuple[tuple[int, int], tuple[int, int]], set[int]]]:
    """Entities and relations of a document as labels; what the model cannot find goes into the report."""
    name, length = document["id"], len(document["tokens"])
    entities: dict[tuple[int, int], int] = {}
    spans = []
    for entity in document["entities"]:
        start, end = span = (entity["start"], entity["end"])
        if not 0 <= start < end <= length:
            raise ValueError(f"Document {name!r}: entity {span} lies outside its {length} words or holds no word.")
        spans.append(span)
        label = _label_index(name, "entity", entity["type"], config.entity_types) + 1
        lost = (name, _words(document["tokens"], start, end))
        if end - start > config.max_span_width:
            report.wide_entities.append(lost)
        elif entities.setdefault(span, label) != label:
            report.second_types.append(lost)
        elif not config.overlapping_entities and any(
            start < known_end and known_start < end for known_start, known_end in entities.keys() - {span}
        ):
            report.overlapping_entities.append(lost)
    relations: dict[tuple[tuple[int, int], tuple[int, int]], set[int]] = {}
    for relation in document["relations"]:
        if not (0 <= relation["head"] < len(spans) and 0 <= relation["tail"] < len(spans)):
            raise ValueError(
                f"Document {name!r}: relation {relation['type']} joins entities {relation['head']} and "
                f"{relation['tail']}, but there are {len(spans)}."
            )
        label = _label_index(name, "relation", relation["type"], config.relation_types)
        head, tail = spans[relation["head"]], spans[relation["tail"]]
        if head == tail:
            continue
        relations.setdefault((head, tail), set()).add(label)
        if relation["type"] in config.symmetric_relations:
            relations.setdefault((tail, head), set()).add(label)
    return entities, relations


def _label_index(document: str, kind: str, label: str, known: Sequence[str]) -> int:
    if label not in known:
        raise ValueError(
            f"Document {document!r}: {kind} type {label!r} is not in the model's {kind}_types: {', '.join(known)}."
        )
    return known.index(label)


def encode_sentences(
    sentences: Sequence[Sequence[Sequence[int]]], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Tensor]:
    """
    Subword tokens by word → the encoder's input and the words' token ranges.

    Returns:
        `input_ids` and `attention_mask`, shape `(batch_size, num_tokens)`; `word_token_start` and
        `word_token_end`, shape `(batch_size, num_words)`, token ranges of the words (empty for padding);
        `num_words`, shape `(batch_size,)`.
    """
    before, after = special_tokens(tokenizer)
    rows = []
    starts, ends = [], []
    for words in sentences:
        row = list(before)
        start = []
        for tokens in words:
            start.append(len(row))
            row.extend(tokens)
        starts.append(start)
        ends.append([*start[1:], len(row)])
        rows.append(row + after)
    return {
        "input_ids": _pad(rows, tokenizer.pad_token_id or 0),
        "attention_mask": _pad([[1] * len(row) for row in rows], 0),
        "word_token_start": _pad(starts, 0),
        "word_token_end": _pad(ends, 0),
        "num_words": torch.tensor([len(words) for words in sentences], dtype=torch.long),
    }


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *([value] * (longest - len(row)))] for row in rows], dtype=torch.long)


class MentionReplacement:
    """
    Training sentences with some mentions replaced by other mentions of the same type (Dai and Adel, 2020).

    The relations stay: what the sentence says of one drug it now says of another. So the model learns relations from
    the words around the mentions and not from the mentions. A sentence whose mentions overlap, or that would grow
    beyond the encoder's positions, stays as it is.

    Args:
        sentences: whose mentions are drawn from, each as often as it occurs.
        probability: that a mention is replaced; mentions of the same words are replaced together, by the same words.
        max_tokens: most subword tokens of a sentence, without special tokens.
    """

    def __init__(self, sentences: Iterable[Sentence], probability: float, max_tokens: int) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"The probability of a mention's replacement must be in [0, 1], got {probability}.")
        self.probability = probability
        self.max_tokens = max_tokens
        self.mentions: dict[int, list[list[list[int]]]] = {}
        for sentence in sentences:
            for (start, end), label in sentence.entities.items():
                self.mentions.setdefault(label, []).append(sentence.word_tokens[start:end])

    def __call__(self, sentence: Sentence, generator: random.Random) -> Sentence:
        """The sentence with its own draw of replacements."""
        spans = sorted(sentence.entities)
        if any(start < end for (_, end), (start, _) in itertools.pairwise(spans)):
            return sentence
        replacements: dict[tuple[int, str], list[list[int]]] = {}
        words: list[list[int]] = []
        moved: dict[tuple[int, int], tuple[int, int]] = {}
        done = 0
        for start, end in spans:
            label, mention = sentence.entities[start, end], sentence.word_tokens[start:end]
            key = (label, str(mention))
            if key not in replacements:
                replaced = generator.random() < self.probability
                replacements[key] = generator.choice(self.mentions[label]) if replaced else mention
            words += sentence.word_tokens[done:start]
            moved[start, end] = (len(words), len(words) + len(replacements[key]))
            words += replacements[key]
            done = end
        words += sentence.word_tokens[done:]
        if sum(map(len, words)) > self.max_tokens:
            return sentence
        return Sentence(
            sentence.document_id,
            words,
            {moved[span]: label for span, label in sentence.entities.items()},
            {(moved[head], moved[tail]): types for (head, tail), types in sentence.relations.items()},
        )


@dataclass
class TrainingCollator:
    """
    Sentences → a training batch; the labels and samples are the subclass's.

    All draws depend on the seed, the epoch and the sentence alone, not on the batch, the process or the order of the
    data.

    Args:
        tokenizer: gives the special and padding tokens.
        config: gives the labels and the width limit.
        negative_spans: most negative spans of a sentence, at least 1, for systems that draw them.
        negative_pairs: most negative pairs of a sentence.
        seed: seed of the draw.
        epoch: set it before each epoch, so that every epoch draws anew.
        replacement: replaces mentions before anything else is drawn.
    """

    tokenizer: PreTrainedTokenizerBase
    config: JointExtractionConfig
    negative_spans: int = 100
    negative_pairs: int = 100
    seed: int = 0
    epoch: int = 0
    replacement: MentionReplacement | None = None

    def __post_init__(self) -> None:
        if self.negative_spans < 1 or self.negative_pairs < 0:
            raise ValueError(
                "negative_spans must be at least 1 and negative_pairs at least 0, got "
                f"{self.negative_spans} and {self.negative_pairs}."
            )

    def __call__(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """The tensors of `encode_sentences`, and those of `labels`."""
        if self.replacement is not None:
            sentences = [self.replacement(sentence, self.generator(sentence, "mentions")) for sentence in sentences]
        tokens = encode_sentences([sentence.word_tokens for sentence in sentences], self.tokenizer)
        return {**tokens, **self.labels(sentences)}

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """What the system learns from."""
        raise NotImplementedError

    def read_back(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        """
        The labels of a sentence, decoded: entities and relations as `extract` would give them if the model were right
        in everything. What is missing or wrong is what the system cannot express.
        """
        raise NotImplementedError

    def generator(self, sentence: Sentence, what: str) -> random.Random:
        tokens = [token for word in sentence.word_tokens for token in word]
        return random.Random(f"{self.seed} {self.epoch} {sentence.document_id} {tokens[:8]} {what}")


class IserCollator(TrainingCollator):
    """
    Negative samples are drawn as in SpERT (paper section 3): spans among all candidates that are no entity, pairs among
    the ordered pairs of gold entities that stand in no relation. A model with a first pass learns from other spans,
    those that pass it.
    """

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            Flat over the batch, `span_sentence`, `span_start`, `span_end`, `entity_labels`, shape `(num_spans,)`;
            `pair_head`, `pair_tail` (indices of spans), shape `(num_pairs,)`; `relation_labels`, shape `(num_pairs,
            num_relation_types)`.
        """
        spans: list[tuple[int, int, int, int]] = []
        pairs: list[tuple[int, int]] = []
        labels: list[set[int]] = []
        for index, sentence in enumerate(sentences):
            row = {span: len(spans) + i for i, span in enumerate(sentence.entities)}
            for (start, end), label in sentence.entities.items():
                spans.append((index, start, end, label))
            for start, end in self._negative_spans(sentence):
                spans.append((index, start, end, 0))
            for (head, tail), types in sentence.relations.items():
                pairs.append((row[head], row[tail]))
                labels.append(types)
            for head, tail in self._negative_pairs(sentence):
                pairs.append((row[head], row[tail]))
                labels.append(set())
        span_tensor = torch.tensor(spans, dtype=torch.long).reshape(-1, 4)
        pair_tensor = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
        relation_labels = torch.zeros(len(pairs), len(self.config.relation_types))
        for pair, types in enumerate(labels):
            relation_labels[pair, sorted(types)] = 1.0
        return {
            "span_sentence": span_tensor[:, 0],
            "span_start": span_tensor[:, 1],
            "span_end": span_tensor[:, 2],
            "entity_labels": span_tensor[:, 3],
            "pair_head": pair_tensor[:, 0],
            "pair_tail": pair_tensor[:, 1],
            "relation_labels": relation_labels,
        }

    def read_back(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        place = {span: index for index, span in enumerate(sorted(sentence.entities))}
        entities = [
            {
                "start": start,
                "end": end,
                "type": self.config.entity_types[sentence.entities[start, end] - 1],
                "score": 1.0,
            }
            for start, end in place
        ]
        relations = [
            {"head": place[head], "tail": place[tail], "type": self.config.relation_types[relation], "score": 1.0}
            for (head, tail), types in sentence.relations.items()
            for relation in sorted(types)
            if self.config.relation_types[relation] not in self.config.symmetric_relations or head < tail
        ]
        found = {"entities": entities, "relations": relations}
        return found if self.config.overlapping_entities else drop_overlaps(found)

    def _negative_spans(self, sentence: Sentence) -> list[tuple[int, int]]:
        length, widest = len(sentence.word_tokens), self.config.max_span_width
        candidates = [
            (start, end)
            for start in range(length)
            for end in range(start + 1, min(start + widest, length) + 1)
            if (start, end) not in sentence.entities
        ]
        return self._draw(candidates, self.negative_spans, sentence, "spans")

    def _negative_pairs(self, sentence: Sentence) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        candidates = [
            (head, tail)
            for head in sentence.entities
            for tail in sentence.entities
            if head != tail and (head, tail) not in sentence.relations
        ]
        return self._draw(candidates, self.negative_pairs, sentence, "pairs")

    def _draw(self, candidates: list[Any], most: int, sentence: Sentence, what: str) -> list[Any]:
        return self.generator(sentence, what).sample(candidates, min(most, len(candidates)))
