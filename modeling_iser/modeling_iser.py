"""The ISER model: encoder and fusion, the two classifiers, the loss and extraction."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from .card_iser import model_card
from .collation_iser import encode_sentences, max_sentence_tokens, tokenize_words
from .configuration_iser import IserConfig
from .decoding_iser import choose_entities, decode_sentences, drop_overlaps, merge_windows
from .layers_iser import WordStates, build_fusion, build_relation_context, build_span_context
from .spans_iser import RangeMax, Spans, best_of_sentences, enumerate_spans, ordered_pairs
from .text_iser import check_unicode, split_windows, split_words, window_territories


logger = logging.getLogger(__name__)

# Bounds the memory of relation scoring in extraction, where an untrained model pairs everything.
_MAX_PAIRS_PER_CHUNK = 2**14
# A window of 510 words of a leaflet has fewer than 200 that pass; of garbage nearly all 10,000 may.
_MAX_PROPOSALS = 256
# In the first steps of training every span passes; the memory they would need is soon needed no more.
_MAX_PROPOSALS_IN_TRAINING = 32
# The entity classifier learns from spans that are less like entities than those it will meet.
_TRAINING_SHARE_OF_THRESHOLD = 0.1
# The first pass shares no weight with the rest, and Adam takes no notice of a loss's scale; but the norm to which all
# gradients are clipped does, and at the beginning the first pass would make up most of it.
_PROPOSAL_LOSS_WEIGHT = 0.01


@dataclass
class IserModelOutput(ModelOutput):
    """
    Output of [`IserModel`].

    Attributes:
        encoder_word_states: encoder output of the words, shape `(batch_size, num_words, hidden_size)`.
        fused_states: H of Eq. 5, same shape; equal to `encoder_word_states` without interactive fusion.
        cls_state: the encoder's first token, shape `(batch_size, hidden_size)`.
        entity_attention: on request, cross-attention weights of the entity view over the relation view
            (Eq. 3), shape `(batch_size, num_words, num_words)`; `None` without interactive fusion.
        relation_attention: on request, those of the relation view over the entity view (Eq. 4).
    """

    encoder_word_states: Tensor | None = None
    fused_states: Tensor | None = None
    cls_state: Tensor | None = None
    entity_attention: Tensor | None = None
    relation_attention: Tensor | None = None


@dataclass
class IserOutput(ModelOutput):
    """
    Output of [`IserForJointExtraction`]. Spans and pairs are flat over the batch.

    Attributes:
        loss: L = Lₑ + Lᵣ (Eq. 15), plus the proposals' loss with proposals, when labels are given; a scalar.
        entity_loss: Lₑ, the mean cross-entropy over the spans (Eq. 16). With proposals, spans that were dropped
            count as classified without loss.
        relation_loss: Lᵣ, the mean binary cross-entropy over pairs and relation types (Eq. 17).
        proposal_loss: mean binary cross-entropy of the proposals over all spans given; `None` without proposals.
        entity_logits: shape `(num_spans, num_entity_types + 1)`; class 0 is "no entity".
        relation_logits: shape `(num_pairs, num_relation_types)`, before the sigmoid.
        span_sentence: sentence of each span that was scored, shape `(num_spans,)`; with proposals, these are fewer
            than were given.
        span_start: first word of each span, shape `(num_spans,)`.
        span_end: the word after the last word of each span, shape `(num_spans,)`.
        pair_head: head of each pair as an index of spans, shape `(num_pairs,)`.
        pair_tail: tail of each pair as an index of spans, shape `(num_pairs,)`.
        fused_states: H of Eq. 5, shape `(batch_size, num_words, hidden_size)`.
        entity_attention: on request, see [`IserModelOutput`], shape `(batch_size, num_words, num_words)`.
        relation_attention: on request, same shape.
    """

    loss: Tensor | None = None
    entity_loss: Tensor | None = None
    relation_loss: Tensor | None = None
    proposal_loss: Tensor | None = None
    entity_logits: Tensor | None = None
    relation_logits: Tensor | None = None
    span_sentence: Tensor | None = None
    span_start: Tensor | None = None
    span_end: Tensor | None = None
    pair_head: Tensor | None = None
    pair_tail: Tensor | None = None
    fused_states: Tensor | None = None
    entity_attention: Tensor | None = None
    relation_attention: Tensor | None = None


class IserPreTrainedModel(PreTrainedModel):
    """Loading, saving and initial weights, common to the ISER models."""

    config: IserConfig
    config_class = IserConfig
    base_model_prefix = "iser"
    _supports_sdpa = True
    _supports_flash_attn = True

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, (nn.LSTM, nn.GRU)):
            bound = module.hidden_size**-0.5
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)


class IserModel(IserPreTrainedModel):
    """The encoder and the interactive fusion (paper 3.2 and 3.3): subword tokens in, words out."""

    def __init__(self, config: IserConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder_config, **_without_pooler(config.encoder_config))
        self.fusion = build_fusion(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_token_start: Tensor,
        word_token_end: Tensor,
        num_words: Tensor,
        output_attentions: bool = False,
        return_dict: bool | None = None,
    ) -> IserModelOutput:
        """
        Args:
            input_ids: subword tokens, shape `(batch_size, num_tokens)`.
            attention_mask: 1 for tokens, 0 for padding, same shape.
            word_token_start: first token of each word, shape `(batch_size, num_words)`.
            word_token_end: the token after each word's last, same shape; padding words hold no token.
            num_words: words of each sentence, at least 1, shape `(batch_size,)`.
            output_attentions: whether to return the cross-attention weights.
            return_dict: accepted for compatibility; the output is always a `ModelOutput`.
        """
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        batch_size, longest = word_token_start.shape
        sentence = torch.arange(batch_size, device=tokens.device).repeat_interleave(longest)
        words = Spans(sentence, word_token_start.flatten(), word_token_end.flatten())
        pooled = RangeMax(tokens, max_width=int(words.width.max()))(words)
        encoder_states = pooled.view(batch_size, longest, -1)
        fused, entity_attention, relation_attention = self.fusion(encoder_states, num_words)
        return IserModelOutput(
            encoder_word_states=encoder_states,
            fused_states=fused,
            cls_state=tokens[:, 0],
            entity_attention=entity_attention if output_attentions else None,
            relation_attention=relation_attention if output_attentions else None,
        )


class IserForJointExtraction(IserPreTrainedModel):
    """ISER with the entity classifier (paper 3.5), the relation classifier (3.6) and the loss (3.7)."""

    def __init__(self, config: IserConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        span_size = size + config.width_embedding_size
        self.iser = IserModel(config)
        self.width_embedding = nn.Embedding(config.max_span_width, config.width_embedding_size)
        self.span_context = build_span_context(config)
        self.relation_context = build_relation_context(config)
        self.dropout = nn.Dropout(config.dropout)
        self.proposal_classifier = nn.Linear(span_size, 1) if config.uses_proposals else None
        self.entity_classifier = nn.Linear(span_size + size, len(config.entity_types) + 1)
        self.relation_classifier = nn.Linear(2 * span_size + size, len(config.relation_types))
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self.post_init()

    # ---------------------------------------------------------------- starting, loading and saving

    @classmethod
    def from_encoder(
        cls,
        encoder: str | Path,
        entity_types: Sequence[str],
        relation_types: Sequence[str],
        pretrained: bool = True,
        **config_fields: Any,
    ) -> IserForJointExtraction:
        """
        A new model on top of a pretrained encoder, ready to be trained.

        Args:
            encoder: name on the Hub or directory of any `AutoModel` encoder with its tokenizer.
            entity_types: names of the entity types.
            relation_types: names of the relation types.
            pretrained: `False` starts from random weights; only configuration and tokenizer are read.
            config_fields: further fields of [`IserConfig`].
        """
        encoder_config = AutoConfig.from_pretrained(encoder)
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        if Path(encoder).is_dir():  # A checkpoint says nothing of the machine it was made on.
            encoder_config._name_or_path = ""
        config_fields.setdefault("max_tokens", None)
        config = IserConfig(
            encoder_config=encoder_config,
            entity_types=entity_types,
            relation_types=relation_types,
            **config_fields,
        )
        model = cls(config)
        if pretrained:
            model.iser.encoder = AutoModel.from_pretrained(
                encoder, dtype=torch.float32, **_without_pooler(encoder_config)
            )
        if config.max_tokens is None:
            config.max_tokens = min(_position_limit(model.iser.encoder), tokenizer.model_max_length)
        model.tokenizer = tokenizer
        return model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the encoder, read from the checkpoint when first needed."""
        if self._tokenizer is None:
            if not self.name_or_path:
                raise ValueError(
                    "This model was built from a configuration alone and has no tokenizer. Set `model.tokenizer`, or "
                    "start with `IserForJointExtraction.from_encoder` or `from_pretrained`."
                )
            self._tokenizer = mark_word_starts(
                # With the configuration in hand, transformers does not ask whether it may run the checkpoint's code.
                AutoTokenizer.from_pretrained(self.name_or_path, config=self.config)
            )
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = mark_word_starts(tokenizer)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """
        Save a complete checkpoint: configuration, safetensors, tokenizer, code, task and model card.

        A model card that lies in the directory, or came with the checkpoint, is kept.
        """
        # The code of every imported module travels with the checkpoint, the pipeline's too.
        from .pipeline_iser import DdiExtractionPipeline  # noqa: F401

        super().save_pretrained(save_directory, *args, **kwargs)
        try:
            self.tokenizer.save_pretrained(save_directory)
        except ValueError as error:
            logger.warning("The checkpoint %s is saved without a tokenizer. %s", save_directory, error)
        card = Path(save_directory) / "README.md"
        if not card.exists():
            origin = Path(self.name_or_path, "README.md") if self.name_or_path else None
            text = origin.read_text(encoding="utf-8") if origin and origin.is_file() else model_card(self.config)
            card.write_text(text, encoding="utf-8")

    # ---------------------------------------------------------------------------- scores and loss

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_token_start: Tensor,
        word_token_end: Tensor,
        num_words: Tensor,
        span_sentence: Tensor | None = None,
        span_start: Tensor | None = None,
        span_end: Tensor | None = None,
        pair_head: Tensor | None = None,
        pair_tail: Tensor | None = None,
        entity_labels: Tensor | None = None,
        relation_labels: Tensor | None = None,
        exact: bool = False,
        output_attentions: bool = False,
        return_dict: bool | None = None,
    ) -> IserOutput:
        """
        Args:
            input_ids, attention_mask, word_token_start, word_token_end, num_words: see [`IserModel`].
            span_sentence, span_start, span_end: spans to score, shape `(num_spans,)`, in ascending order
                of sentences and of at most `max_span_width` words; `None` scores every candidate span.
            pair_head, pair_tail: pairs to score, indices of spans, shape `(num_pairs,)`; `None` scores
                every ordered pair of spans of a sentence that the entity classifier takes for entities.
            entity_labels: shape `(num_spans,)`, 0 for "no entity".
            relation_labels: shape `(num_pairs, num_relation_types)`, 0 or 1.
            exact: look at the context of every span, whatever the proposals say.
            output_attentions: whether to return the cross-attention weights of both directions.
            return_dict: accepted for compatibility; the output is always a `ModelOutput`.
        """
        encoded = self.iser(input_ids, attention_mask, word_token_start, word_token_end, num_words, output_attentions)
        states = word_states(encoded, num_words)
        if span_sentence is None or span_start is None or span_end is None:
            spans = enumerate_spans(num_words, self.config.max_span_width)
        else:
            spans = Spans(span_sentence, span_start, span_end)
        features = self.span_features(states, spans)
        num_spans = len(spans)
        proposal_loss = None
        if self.proposal_classifier is not None and not exact:
            proposal_logits = self.score_proposals(features)
            kept = self.proposed(proposal_logits, spans.sentence)
            if entity_labels is not None:
                is_entity = entity_labels > 0
                proposal_loss = nn.functional.binary_cross_entropy_with_logits(
                    proposal_logits.float(), is_entity.float()
                )
                kept = kept | is_entity
                entity_labels = entity_labels[kept]
            if pair_head is not None and pair_tail is not None:
                kept = kept.index_fill(0, torch.cat([pair_head, pair_tail]), True)
                place = kept.cumsum(0) - 1
                pair_head, pair_tail = place[pair_head], place[pair_tail]
            spans, features = spans[kept], features[kept]
        entity_logits = self.score_spans(states, spans, features)
        if pair_head is None or pair_tail is None:
            chosen, _, _ = choose_entities(entity_logits)
            pair_head, pair_tail = ordered_pairs(spans.sentence, chosen)
        relation_logits = self.score_pairs(states, spans, features, pair_head, pair_tail)
        entity_loss = relation_loss = None
        if entity_labels is not None:
            cross_entropy = nn.functional.cross_entropy(entity_logits.float(), entity_labels, reduction="sum")
            entity_loss = cross_entropy / num_spans  # Eq. 16
        if relation_labels is not None:
            # A batch without pairs has a relation loss of 0, not of 0 / 0.
            relation_loss = nn.functional.binary_cross_entropy_with_logits(
                relation_logits.float(), relation_labels.float(), reduction="sum"
            ) / max(1, relation_labels.numel())  # Eq. 17
        losses = [loss for loss in (entity_loss, relation_loss) if loss is not None]  # Eq. 15
        if proposal_loss is not None:
            losses.append(_PROPOSAL_LOSS_WEIGHT * proposal_loss)
        loss = torch.stack(losses).sum() if losses else None
        return IserOutput(
            loss=loss,
            entity_loss=entity_loss,
            relation_loss=relation_loss,
            proposal_loss=proposal_loss,
            entity_logits=entity_logits,
            relation_logits=relation_logits,
            span_sentence=spans.sentence,
            span_start=spans.start,
            span_end=spans.end,
            pair_head=pair_head,
            pair_tail=pair_tail,
            fused_states=encoded.fused_states,
            entity_attention=encoded.entity_attention,
            relation_attention=encoded.relation_attention,
        )

    def span_features(self, states: WordStates, spans: Spans) -> Tensor:
        """Max-pooled words (Eq. 6) and width embedding, shape `(num_spans, hidden + width_embedding)`."""
        return torch.cat([states.max_pool("fused", spans), self.width_embedding(spans.width - 1)], dim=-1)

    @property
    def proposal_logit_threshold(self) -> float:
        """The configuration's `proposal_threshold`, in training a tenth of it, as a logit."""
        threshold = self.config.proposal_threshold * (_TRAINING_SHARE_OF_THRESHOLD if self.training else 1.0)
        return math.log(threshold / (1 - threshold)) if threshold < 1 else math.inf

    def score_proposals(self, features: Tensor) -> Tensor:
        """
        First-pass logits that a span is an entity, from [span; width] alone, shape `(num_spans,)`.

        No gradient reaches the features: the first pass reads what the entity classifier needs, and training goes as it
        would without a first pass.
        """
        if self.proposal_classifier is None:
            raise ValueError("This model has no proposals: proposal_threshold is 0 or the span context is free.")
        return self.proposal_classifier(self.dropout(features.detach())).squeeze(-1)

    def proposed(self, logits: Tensor, sentence: Tensor) -> Tensor:
        """
        True at the spans that pass the first pass, shape `(num_spans,)`: those at or above the threshold (in training,
        a tenth of it), and of a sentence the best 256 at most (32 in training), so that text unlike any a model has
        seen, and all text before a model has learned anything, does not take minutes.

        Args:
            logits: from `score_proposals`.
            sentence: index of the sentence of each span, in ascending order, shape `(num_spans,)`.
        """
        most = _MAX_PROPOSALS_IN_TRAINING if self.training else _MAX_PROPOSALS
        return (logits >= self.proposal_logit_threshold) & best_of_sentences(logits, sentence, most)

    def score_spans(self, states: WordStates, spans: Spans, features: Tensor) -> Tensor:
        """Entity logits of [span; width; c] (Eq. 10), shape `(num_spans, num_entity_types + 1)`."""
        context = self.span_context(states, spans)
        return self.entity_classifier(self.dropout(torch.cat([features, context], dim=-1)))

    def score_pairs(self, states: WordStates, spans: Spans, features: Tensor, head: Tensor, tail: Tensor) -> Tensor:
        """
        Relation logits of [span₁; width₁; span₂; width₂; context] (Eq. 12 and 13).

        Args:
            features: of all spans, from `span_features`.
            head, tail: indices of spans, shape `(num_pairs,)`.

        Returns:
            Shape `(num_pairs, num_relation_types)`.
        """
        context = self.relation_context(states, spans[head], spans[tail])
        pair = torch.cat([features.index_select(0, head), features.index_select(0, tail), context], dim=-1)
        return self.relation_classifier(self.dropout(pair))

    # --------------------------------------------------------------------------------- extraction

    @torch.no_grad()
    def extract(
        self,
        inputs: str | Sequence[str] | Sequence[Sequence[str]],
        batch_size: int = 8,
        entity_threshold: float = 0.0,
        relation_threshold: float | None = None,
        exact: bool = False,
        prompts: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """
        Texts or sentences of words in, documents out.

        Args:
            inputs: a text, a list of texts, or a list of sentences that are lists of words.
            batch_size: sentences (or windows of long sentences) that go through the encoder at once.
                In float32 the results do not depend on it.
            entity_threshold: least probability of an entity's type.
            relation_threshold: least score of a relation; `None`: the configuration's.
            exact: look at the context of every span, whatever the proposals say; slow.
            prompts: a text to put before each input, and before every window of a long one, as the paper's
                `drug@`; an empty text is none. It is part of the document that comes back.

        Returns:
            One document an input, in order: `{"id", "text", "tokens", "entities", "relations"}`; offsets
            count words. Entities and relations carry a `score` between 0 and 1. An input without a
            word gives a document without entities.

        Raises:
            TypeError: for an input that is neither a text nor a list of words.
            ValueError: for another number of prompts than inputs, a prompt that leaves no room in the encoder, a text
                with half a surrogate pair, and a batch size below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        if isinstance(inputs, str):
            inputs = [inputs]
        prompts = list(prompts) if prompts is not None else [""] * len(inputs)
        if len(prompts) != len(inputs):
            raise ValueError(f"There are {len(prompts)} prompts for {len(inputs)} inputs.")
        prompt_words = [_text_and_words(index, prompt)[1] for index, prompt in enumerate(prompts)]
        texts_and_words = [_text_and_words(index, item) for index, item in enumerate(inputs)]
        if relation_threshold is None:
            relation_threshold = self.config.relation_threshold
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
        # Sentences of like length share a batch, so that padding costs little.
        order = sorted(range(len(pieces)), key=lambda piece: pieces[piece][1][1] - pieces[piece][1][0])
        results: dict[int, dict[str, list[dict[str, Any]]]] = {}
        was_training = self.training
        self.eval()
        try:
            for first in range(0, len(order), batch_size):
                batch = order[first : first + batch_size]
                sentences = [
                    prompt_tokens[index] + word_tokens[index][start:end]
                    for index, (start, end) in (pieces[piece] for piece in batch)
                ]
                extracted = self._extract_batch(sentences, entity_threshold, relation_threshold, exact)
                results.update(zip(batch, extracted, strict=True))
        finally:
            self.train(was_training)
        documents, piece = [], 0
        for index, ((text, words), ranges) in enumerate(zip(texts_and_words, windows, strict=True)):
            parts = [results[piece + offset] for offset in range(len(ranges))]
            piece += len(ranges)
            before = prompt_words[index]
            merged = merge_windows(parts, ranges, window_territories(ranges), len(before))
            found = merged if self.config.overlapping_entities else drop_overlaps(merged)
            documents.append({"id": str(index), "text": prompts[index] + text, "tokens": before + words, **found})
        return documents

    def _extract_batch(
        self, sentences: list[list[list[int]]], entity_threshold: float, relation_threshold: float, exact: bool
    ) -> list[dict[str, list[dict[str, Any]]]]:
        batch = {name: tensor.to(self.device) for name, tensor in encode_sentences(sentences, self.tokenizer).items()}
        states = word_states(self.iser(**batch), batch["num_words"])
        spans = enumerate_spans(batch["num_words"], self.config.max_span_width)
        features = self.span_features(states, spans)
        if self.proposal_classifier is not None and not exact:
            kept = self.proposed(self.score_proposals(features), spans.sentence)
            spans, features = spans[kept], features[kept]
        entity_logits = self.score_spans(states, spans, features)
        chosen, _, _ = choose_entities(entity_logits, entity_threshold)
        head, tail = ordered_pairs(spans.sentence, chosen)
        relation_logits = torch.cat(
            [
                self.score_pairs(states, spans, features, *chunk)
                for chunk in zip(head.split(_MAX_PAIRS_PER_CHUNK), tail.split(_MAX_PAIRS_PER_CHUNK), strict=True)
            ]
        )
        return decode_sentences(
            len(sentences),
            spans,
            entity_logits,
            head,
            tail,
            relation_logits,
            self.config.entity_types,
            self.config.relation_types,
            entity_threshold,
            relation_threshold,
        )


def word_states(encoded: IserModelOutput, num_words: Tensor) -> WordStates:
    """The output of [`IserModel`] as what span and pair features are read from."""
    encoder, fused, cls = encoded.to_tuple()[:3]
    return WordStates(encoder, fused, cls, num_words)


def mark_word_starts(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """
    Have a byte-level tokenizer (RoBERTa, ModernBERT) put a space before every word of a sentence that is split into
    words, in place: its vocabulary tells the start of a word by that space.
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


def _without_pooler(encoder_config: Any) -> dict[str, bool]:
    """The argument that leaves out an encoder's pooler, which ISER has no use for, where it knows one."""
    encoder_class: Any = AutoModel._model_mapping[type(encoder_config)]
    knows = "add_pooling_layer" in inspect.signature(encoder_class).parameters
    return {"add_pooling_layer": False} if knows else {}


def _position_limit(encoder: nn.Module) -> int:
    """Most tokens the encoder has positions for; some (RoBERTa) count theirs from behind the padding id."""
    limit = getattr(encoder.config, "max_position_embeddings", None) or 512
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return limit - module.padding_idx - 1
    return limit


__all__ = ["IserForJointExtraction", "IserModel", "IserModelOutput", "IserOutput", "IserPreTrainedModel"]
