"""Turn documents into batch tensors with labels and negative samples."""

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
"""Entities or relations that are left out: the document's id and the text of each."""


@dataclass
class PreparationReport:
    """What the model cannot learn from a set of documents, or cannot extract from them."""

    documents: int = 0
    windowed: list[str] = field(default_factory=list)
    """Ids of documents too long for the encoder, which are split into windows."""
    empty: list[str] = field(default_factory=list)
    """Ids of documents without words."""
    wide_entities: Lost = field(default_factory=list)
    """Entities wider than `max_span_width`."""
    second_types: Lost = field(default_factory=list)
    """Entities with the same words as an entity of another type: the model assigns one type to a span."""
    overlapping_entities: Lost = field(default_factory=list)
    """Entities that share words with an earlier one, if the configuration does not allow overlaps."""
    lost_relations: Lost = field(default_factory=list)
    """Relations whose head or tail was left out, that fit into no window, or that join an entity to itself."""

    def summary(self) -> str:
        """Counts and examples for the log, in one line."""
        lines = [
            f"{self.documents} documents",
            _line(self.wide_entities, "entities are wider than max_span_width and cannot be found"),
            _line(self.second_types, "entities have the same words as an entity of another type and cannot be found"),
            _line(
                self.overlapping_entities,
                "entities overlap another one; only the most probable of them is found "
                "(overlapping_entities: true finds all)",
            ),
            _line(
                self.lost_relations,
                "relations cannot be learned: an entity is missing, no window contains both entities, or head and tail "
                "are the same",
            ),
        ]
        if self.windowed:
            lines.append(
                f"{len(self.windowed)} documents are too long for the encoder and are split into windows "
                f"({_some(self.windowed)})"
            )
        if self.empty:
            lines.append(f"{len(self.empty)} documents have no words ({_some(self.empty)})")
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

    A word that the tokenizer drops (such as a control character) becomes the unknown token, so that every word has at
    least one token.
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
    """Maximum number of subword tokens in a sentence, without special tokens."""
    return config.max_position_embeddings - sum(map(len, special_tokens(tokenizer)))


def prepare_sentences(
    documents: Iterable[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, config: JointExtractionConfig
) -> tuple[list[Sentence], PreparationReport]:
    """
    Turn annotated documents into sentences for training, and report what had to be left out.

    Args:
        documents: documents with labels of the configuration; a symmetric relation may be given in either direction or
            in both.

    Raises:
        ValueError: if a label is missing from the configuration, or an offset lies outside its document.
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
    """The words of a span, in quotation marks; a long span is cut off and its width added."""
    shown = " ".join(tokens[start : min(end, start + most)])
    return f"'{shown}'" if end - start <= most else f"'{shown} …' ({end - start} words)"


def _labels(
    document: Mapping[str, Any], config: JointExtractionConfig, report: PreparationReport
) -> tuple[dict[tuple[int, int], int], dict[tuple[tuple[int, int], tuple[int, int]], set[int]]]:
    """Labels of a document's entities and relations; what the model cannot find is added to the report."""
    name, length = document["id"], len(document["tokens"])
    entities: dict[tuple[int, int], int] = {}
    spans = []
    for entity in document["entities"]:
        start, end = span = (entity["start"], entity["end"])
        if not 0 <= start < end <= length:
            raise ValueError(
                f"Document {name!r}: entity {span} lies outside the document's {length} words or is empty."
            )
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
                f"{relation['tail']}, but the document has {len(spans)}."
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
    The encoder's input, and the token range of each word.

    Args:
        sentences: subword token ids of the words of each sentence.

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
    Replaces mentions in training sentences with other mentions of the same type (Dai and Adel, 2020).

    Relations are kept, so the model learns them from the context of the mentions rather than from the mentions. A
    sentence is left unchanged if its mentions overlap, or if the result would not fit into the encoder.

    Args:
        sentences: source of the replacements; a mention is drawn in proportion to its frequency.
        probability: probability that a mention is replaced. Mentions with the same words and type in a sentence get the
            same replacement.
        max_tokens: maximum number of subword tokens in a sentence, without special tokens.

    Raises:
        ValueError: if the probability is not between 0 and 1.
    """

    def __init__(self, sentences: Iterable[Sentence], probability: float, max_tokens: int) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"The probability of replacing a mention must be in [0, 1], got {probability}.")
        self.probability = probability
        self.max_tokens = max_tokens
        self.mentions: dict[int, list[list[list[int]]]] = {}
        for sentence in sentences:
            for (start, end), label in sentence.entities.items():
                self.mentions.setdefault(label, []).append(sentence.word_tokens[start:end])

    def __call__(self, sentence: Sentence, generator: random.Random) -> Sentence:
        """The sentence with randomly drawn replacements."""
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
    Makes training batches of sentences; subclasses define the labels and the sampling.

    Random draws depend only on the seed, the epoch and the sentence, not on the batch, the process or the order of the
    data.

    Args:
        tokenizer: provides the special and padding tokens.
        config: provides the labels and the maximum span width.
        negative_spans: maximum number of negative spans per sentence, at least 1, for systems that sample them.
        negative_pairs: maximum number of negative pairs per sentence.
        seed: seed of the random draws.
        epoch: number of the epoch; set it before each epoch, so that every epoch has its own draws.
        replacement: applied to the sentences before anything else is drawn.

    Raises:
        ValueError: if `negative_spans` or `negative_pairs` is too small.
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
        """The tensors of `encode_sentences` and of `labels`."""
        if self.replacement is not None:
            sentences = [self.replacement(sentence, self.generator(sentence, "mentions")) for sentence in sentences]
        tokens = encode_sentences([sentence.word_tokens for sentence in sentences], self.tokenizer)
        return {**tokens, **self.labels(sentences)}

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """The tensors that the system is trained on, in addition to those of `encode_sentences`."""
        raise NotImplementedError

    def decode_labels(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        """
        Decode the labels of a sentence: what `extract` would return if every prediction were correct. Whatever differs
        from the annotation is what the system cannot express.
        """
        raise NotImplementedError

    def generator(self, sentence: Sentence, what: str) -> random.Random:
        """Random generator for one purpose (`what`) and sentence in the current epoch."""
        tokens = [token for word in sentence.word_tokens for token in word]
        return random.Random(f"{self.seed} {self.epoch} {sentence.document_id} {tokens[:8]} {what}")


class IserCollator(TrainingCollator):
    """
    Draws negative samples as in SpERT (paper section 3): spans from all candidates that are not entities, pairs from
    all ordered pairs of gold entities without a relation. A model with a first pass replaces the negative spans with
    the candidates that pass.
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

    def decode_labels(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
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
