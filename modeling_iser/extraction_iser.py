"""Extraction: split texts into words, windows and batches, and merge the model's predictions into documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .calibration_iser import Calibration
from .collation_iser import encode_sentences, max_sentence_tokens, tokenize_words
from .decoding_iser import as_given, choose_entities, decode_sentences, drop_overlaps, merge_windows
from .spans_iser import Spans, ordered_pairs
from .text_iser import check_unicode, split_windows, split_words, window_territories


# Bounds the memory of relation scoring: an untrained model takes nearly all spans for entities.
_MAX_PAIRS_PER_CHUNK = 2**14


class Extractor:
    """
    Extracts from texts of any length; subclasses implement extraction from a batch of sentences.

    Attributes:
        config: the checkpoint's [`JointExtractionConfig`].
        name_or_path: directory or name of the checkpoint that the tokenizer is loaded from.
        device: device that the scores are computed on.
    """

    config: Any
    name_or_path: Any
    device: Any
    _tokenizer: PreTrainedTokenizerBase | None = None

    def extract_batch(
        self,
        sentences: list[list[list[int]]],
        entity_threshold: float,
        relation_threshold: float,
        exact: bool = False,
        given: list[list[tuple[int, int, str]]] | None = None,
    ) -> list[dict[str, list[dict[str, Any]]]]:
        """
        Extract entities and relations from a batch of sentences.

        Args:
            sentences: subword token ids of the words of each sentence.
            entity_threshold, relation_threshold, exact: see `extract`.
            given: given entities of each sentence, `(start, end, type)`, which replace extracted ones.

        Returns:
            `{"entities", "relations"}` for each sentence, with scores.
        """
        raise NotImplementedError

    # --------------------------------------------------------------------------------------- extraction

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """
        The tokenizer of the encoder, loaded from the checkpoint when first needed.

        Raises:
            ValueError: if the model has no checkpoint and no tokenizer was set.
        """
        if self._tokenizer is None:
            if not self.name_or_path:
                raise ValueError(
                    "This model was built from a configuration alone and has no tokenizer. Set `model.tokenizer`, or "
                    "create the model with `from_encoder` or `from_pretrained`."
                )
            self._tokenizer = mark_word_starts(
                # Given the configuration, transformers does not ask for permission to run the checkpoint's code.
                AutoTokenizer.from_pretrained(self.name_or_path, config=self.config)
            )
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = mark_word_starts(tokenizer)

    @torch.inference_mode()
    def extract(
        self,
        inputs: str | Iterable[str] | Iterable[Sequence[str]],
        batch_size: int = 8,
        entity_threshold: float = 0.0,
        relation_threshold: float | None = None,
        exact: bool = False,
        prompts: Iterable[str] | None = None,
        entities: Iterable[Sequence[Mapping[str, Any]]] | None = None,
    ) -> list[dict[str, Any]]:
        """
        Extract entities and relations from texts or lists of words.

        Args:
            inputs: a text, or texts or lists of words in a list, a generator or a column of a data set.
            batch_size: number of sentences (or windows of long sentences) in one encoder input. In float32 the results
                do not depend on it.
            entity_threshold: minimum score of an entity.
            relation_threshold: minimum score of a relation, whatever its type; `None`: the configuration's.
            exact: score every span, bypassing the first pass; slow.
            prompts: text to prepend to each input, and to every window of a long one, such as the paper's `drug@`; an
                empty text is no prompt. The prompt is part of the returned document.
            entities: given entities of each input, `{"start", "end", "type"}`, offsets counting the words of the
                returned document, prompt included. No other entities are extracted, and relations are scored between
                the given ones, which may overlap, have any width, and have types that the model does not know. In a
                long text, only relations within a window are found.

        Returns:
            One document per input, in order: `{"id", "text", "tokens", "entities", "relations"}`; offsets count words.
            Entities and relations have a `score` between 0 and 1, which in a calibrated checkpoint estimates the
            probability that they are correct. An input without words returns a document without entities. Given
            entities are returned in their order, with a score of 1.

        Raises:
            TypeError: if an input is neither a text nor a list of words.
            ValueError: if the number of prompts or of lists of entities is not that of the inputs, a prompt leaves too
                little room in the encoder, a text has an unpaired surrogate, an entity lies outside its document, or
                the batch size is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        inputs = [inputs] if isinstance(inputs, str) else list(inputs)
        prompts = list(prompts) if prompts is not None else [""] * len(inputs)
        if len(prompts) != len(inputs):
            raise ValueError(f"There are {len(prompts)} prompts for {len(inputs)} inputs.")
        given = list(entities) if entities is not None else None
        if given is not None and len(given) != len(inputs):
            raise ValueError(f"There are {len(given)} lists of entities for {len(inputs)} inputs.")
        prompt_words = [_text_and_words(index, prompt)[1] for index, prompt in enumerate(prompts)]
        texts_and_words = [_text_and_words(index, item) for index, item in enumerate(inputs)]
        for index, of_input in enumerate(given or ()):
            _check_entities(index, of_input, len(prompt_words[index]) + len(texts_and_words[index][1]))
        by_type: Mapping[str, float] = {}
        if relation_threshold is None:
            by_type = self.config.relation_thresholds
            relation_threshold = min([self.config.relation_threshold, *by_type.values()])
        word_tokens = tokenize_words(self.tokenizer, [words for _, words in texts_and_words])
        prompt_tokens = tokenize_words(self.tokenizer, prompt_words)
        limit = max_sentence_tokens(self.tokenizer, self.config)
        windows = []
        for sentence, prompt in zip(word_tokens, prompt_tokens, strict=True):
            room = limit - sum(map(len, prompt))
            if room < limit // 2:
                raise ValueError(f"A prompt of {limit - room} tokens leaves too little of {limit} for the text.")
            windows.append(split_windows([len(tokens) for tokens in sentence], room, 2 * self.config.max_span_width))
        pieces = [(index, window) for index, ranges in enumerate(windows) for window in ranges]
        # Sentences of similar length share a batch, to reduce padding.
        order = sorted(range(len(pieces)), key=lambda piece: pieces[piece][1][1] - pieces[piece][1][0])
        results: dict[int, dict[str, list[dict[str, Any]]]] = {}
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            sentences = [
                prompt_tokens[index] + word_tokens[index][start:end]
                for index, (start, end) in (pieces[piece] for piece in batch)
            ]
            within = None
            if given is not None:
                within = [
                    _within(given[i], len(prompt_words[i]), *window) for i, window in map(pieces.__getitem__, batch)
                ]
            extracted = self.extract_batch(sentences, entity_threshold, relation_threshold, exact, within)
            for document in extracted if by_type else ():
                document["relations"] = [
                    relation
                    for relation in document["relations"]
                    if relation["score"] >= by_type.get(relation["type"], self.config.relation_threshold)
                ]
            results.update(zip(batch, extracted, strict=True))
        documents, piece = [], 0
        for index, ((text, words), ranges) in enumerate(zip(texts_and_words, windows, strict=True)):
            parts = [results[piece + offset] for offset in range(len(ranges))]
            piece += len(ranges)
            before = prompt_words[index]
            merged = merge_windows(parts, ranges, window_territories(ranges), len(before))
            if given is not None:
                found = as_given(merged, given[index])
            else:
                found = merged if self.config.overlapping_entities else drop_overlaps(merged)
            documents.append({"id": str(index), "text": prompts[index] + text, "tokens": before + words, **found})
        return documents


class SpanExtractor(Extractor):
    """
    Extracts by scoring spans, then the pairs of spans that are entities; subclasses compute the scores.
    """

    def read_batch(self, batch: dict[str, Tensor]) -> Any:
        """The states that the other steps compute with, from a batch of `encode_sentences`."""
        raise NotImplementedError

    def promising_spans(self, states: Any, exact: bool) -> Spans:
        """The spans to score: those that pass the first pass, or all candidates if there is none or with `exact`."""
        raise NotImplementedError

    def span_features(self, states: Any, spans: Spans) -> Any:
        """Features of the spans that both entity and relation scores use."""
        raise NotImplementedError

    def score_spans(self, states: Any, spans: Spans, features: Any) -> Tensor:
        """Entity logits, shape `(num_spans, num_entity_types + 1)`, class 0 being "no entity"."""
        raise NotImplementedError

    def score_pairs(self, states: Any, spans: Spans, features: Any, head: Tensor, tail: Tensor) -> Tensor:
        """Relation logits of pairs of spans, given as indices, shape `(num_pairs, num_relation_types)`."""
        raise NotImplementedError

    def extract_batch(
        self,
        sentences: list[list[list[int]]],
        entity_threshold: float,
        relation_threshold: float,
        exact: bool = False,
        given: list[list[tuple[int, int, str]]] | None = None,
    ) -> list[dict[str, list[dict[str, Any]]]]:
        states = self.read_batch(encode_sentences(sentences, self.tokenizer))
        if given is None:
            spans = self.promising_spans(states, exact)
            features = self.span_features(states, spans)
            logits = self.score_spans(states, spans, features)
            chosen, label, score = choose_entities(logits, entity_threshold, Calibration.of(self.config))
            types = [self.config.entity_types[index] for index in label.tolist()]
            entities = list(zip(chosen.tolist(), types, score.tolist(), strict=True))
        else:
            rows = [(index, *entity) for index, of_sentence in enumerate(given) for entity in of_sentence]
            place = torch.tensor([row[:3] for row in rows], dtype=torch.long, device=self.device).reshape(-1, 3)
            spans = Spans(place[:, 0], place[:, 1], place[:, 2])
            features = self.span_features(states, spans)
            chosen = torch.arange(len(rows), device=self.device)
            entities = [(index, kind, 1.0) for index, (*_, kind) in enumerate(rows)]
        head, tail = ordered_pairs(spans.sentence, chosen)
        relation_logits = torch.cat(
            [
                self.score_pairs(states, spans, features, *chunk)
                for chunk in zip(head.split(_MAX_PAIRS_PER_CHUNK), tail.split(_MAX_PAIRS_PER_CHUNK), strict=True)
            ]
        )
        return decode_sentences(
            len(sentences), spans, entities, head, tail, relation_logits, self.config, relation_threshold
        )


def mark_word_starts(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """
    Make a byte-level tokenizer (RoBERTa, ModernBERT) prepend a space to every word of a sentence that is split into
    words, since its vocabulary marks the start of a word by that space. Changes the tokenizer in place.
    """
    splitter: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    parts: Any = splitter if isinstance(splitter, pre_tokenizers.Sequence) else [splitter]
    for part in parts:
        if isinstance(part, pre_tokenizers.ByteLevel):
            part.add_prefix_space = True
    return tokenizer


def _text_and_words(index: int, item: str | Sequence[str]) -> tuple[str, list[str]]:
    if isinstance(item, str):
        check_unicode(item)
        return item, [item[start:end] for start, end in split_words(item)]
    if isinstance(item, Sequence) and all(isinstance(word, str) for word in item):
        return " ".join(item), list(item)
    raise TypeError(f"Input {index} is neither a text nor a list of words: {item!r:.80}")


def _check_entities(index: int, entities: Sequence[Mapping[str, Any]], num_words: int) -> None:
    for entity in entities:
        if not isinstance(entity, Mapping) or not {"start", "end", "type"} <= entity.keys():
            raise ValueError(f'Input {index}: an entity must be {{"start", "end", "type"}}, not {entity!r:.80}.')
        start, end = entity["start"], entity["end"]
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= num_words):
            raise ValueError(
                f"Input {index}: the entity from word {start!r} to {end!r} lies outside the {num_words} words of the "
                "document or is empty."
            )


def _within(entities: Sequence[Mapping[str, Any]], prompt: int, first: int, last: int) -> list[tuple[int, int, str]]:
    """
    The given entities in the prompt or in the window from word `first` to `last` of the text, without duplicates.
    Offsets count the words of the prompt and the window.
    """
    found: dict[tuple[int, int, str], None] = {}
    for entity in entities:
        start, end = entity["start"], entity["end"]
        across = start < prompt < end and first == 0 and end <= prompt + last
        if end <= prompt or across:
            found[start, end, entity["type"]] = None
        elif start >= prompt + first and end <= prompt + last:
            found[start - first, end - first, entity["type"]] = None
    return list(found)
