"""The ISER model: encoder, fusion, the two classifiers and the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from .collation_iser import IserCollator
from .configuration_iser import IserConfig
from .decoding_iser import choose_entities
from .extraction_iser import SpanExtractor
from .first_pass_iser import FirstPass, passing
from .layers_iser import WordStates, build_fusion, build_relation_context
from .modeling_base_iser import JointExtractionModel, init_weights, new_encoder, pool_words
from .span_context_iser import build_span_context
from .spans_iser import Spans, enumerate_spans, ordered_pairs, places_in_grid, spans_of_grid


# The first pass shares no weights with the rest, and Adam is invariant to the scale of a loss. Gradient clipping is
# not: with a larger weight, the first pass would dominate the gradient norm early in training.
_FIRST_PASS_LOSS_WEIGHT = 0.01


@dataclass
class IserModelOutput(ModelOutput):
    """
    Output of [`IserModel`].

    Attributes:
        encoder_word_states: encoder output of the words, shape `(batch_size, num_words, hidden_size)`.
        fused_states: H of Eq. 5, same shape; equal to `encoder_word_states` without interactive fusion.
        cls_state: the encoder's first token, shape `(batch_size, hidden_size)`.
        entity_attention: with `output_attentions`, cross-attention weights of the entity view over the relation view
            (Eq. 3), shape `(batch_size, num_words, num_words)`; `None` without interactive fusion.
        relation_attention: likewise, of the relation view over the entity view (Eq. 4), same shape.
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
        loss: L = Lₑ + Lᵣ (Eq. 15) plus 0.01 · `first_pass_loss`, if labels are given; a scalar.
        entity_loss: Lₑ, the mean cross-entropy over the spans (Eq. 16). With a first pass, the summed cross-entropy of
            the gold entities and of the candidates that pass, divided by the number of given spans.
        relation_loss: Lᵣ, the mean binary cross-entropy over pairs and relation types (Eq. 17).
        first_pass_loss: mean binary cross-entropy of the first pass over all candidate spans; `None` without one.
        entity_logits: shape `(num_spans, num_entity_types + 1)`; class 0 is "no entity".
        relation_logits: shape `(num_pairs, num_relation_types)`, before the sigmoid.
        span_sentence: sentence of each scored span, shape `(num_spans,)`; with a first pass, these differ from the
            given spans, and are ordered by sentence, start and end.
        span_start: first word of each span, shape `(num_spans,)`.
        span_end: the word after the last word of each span, shape `(num_spans,)`.
        pair_head: index of the head span of each pair, shape `(num_pairs,)`.
        pair_tail: index of the tail span of each pair, shape `(num_pairs,)`.
        fused_states: H of Eq. 5, shape `(batch_size, num_words, hidden_size)`.
        entity_attention, relation_attention: see [`IserModelOutput`].
        entity_features: input of the entity classifier for each span, before dropout (Eq. 10), shape
            `(num_spans, 2 * hidden_size + width_embedding_size)`.
        relation_features: input of the relation classifier for each pair, before dropout (Eq. 12), shape
            `(num_pairs, 3 * hidden_size + 2 * width_embedding_size)`.
    """

    loss: Tensor | None = None
    entity_loss: Tensor | None = None
    relation_loss: Tensor | None = None
    first_pass_loss: Tensor | None = None
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
    entity_features: Tensor | None = None
    relation_features: Tensor | None = None


class IserPreTrainedModel(PreTrainedModel):
    """Loading, saving and weight initialisation of the ISER models."""

    config: IserConfig
    config_class = IserConfig
    base_model_prefix = "iser"
    # The first pass of an earlier version; the configuration warns that it is ignored.
    _keys_to_ignore_on_load_unexpected = [r"^proposal_classifier\."]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True

    def _init_weights(self, module: nn.Module) -> None:
        init_weights(module, self.config.initializer_range)


class IserModel(IserPreTrainedModel):
    """The encoder and the interactive fusion (paper 3.2 and 3.3), from subword tokens to word states."""

    def __init__(self, config: IserConfig) -> None:
        super().__init__(config)
        self.encoder = new_encoder(config)
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
            word_token_end: the token after the last token of each word, same shape; padding words have no tokens.
            num_words: words of each sentence, at least 1, shape `(batch_size,)`.
            output_attentions: whether to return the cross-attention weights.
            return_dict: accepted for compatibility; the output is always a `ModelOutput`.
        """
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        encoder_states = pool_words(tokens, word_token_start, word_token_end)
        fused, entity_attention, relation_attention = self.fusion(encoder_states, num_words)
        return IserModelOutput(
            encoder_word_states=encoder_states,
            fused_states=fused,
            cls_state=tokens[:, 0],
            entity_attention=entity_attention if output_attentions else None,
            relation_attention=relation_attention if output_attentions else None,
        )


class IserForJointExtraction(SpanExtractor, JointExtractionModel, IserPreTrainedModel):
    """ISER with the entity classifier (paper 3.5), the relation classifier (3.6) and the loss (3.7)."""

    config: IserConfig
    config_class = IserConfig
    collator_class = IserCollator
    takes_entities = True
    # The first pass learns best at several times the learning rate of the other new layers.
    learning_rate_factors: ClassVar[Mapping[str, float]] = {"first_pass.": 5.0}

    def __init__(self, config: IserConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        span_size = size + config.width_embedding_size
        self.iser = IserModel(config)
        self.width_embedding = nn.Embedding(config.max_span_width, config.width_embedding_size)
        self.span_context = build_span_context(config)
        self.relation_context = build_relation_context(config)
        self.dropout = nn.Dropout(config.dropout)
        self.first_pass = FirstPass(config) if config.uses_first_pass else None
        self.entity_classifier = nn.Linear(span_size + size, len(config.entity_types) + 1)
        num_relation_types = len(config.relation_types)
        self.relation_classifier = nn.Linear(2 * span_size + size, num_relation_types) if num_relation_types else None
        self.post_init()

    @property
    def text_encoder(self) -> Any:
        return self.iser.encoder

    def replace_text_encoder(self, encoder: Any) -> None:
        self.iser.encoder = encoder

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
            span_sentence, span_start, span_end: spans to score, shape `(num_spans,)`, ordered by sentence and at most
                `max_span_width` words wide; `None` scores every candidate span.
            pair_head, pair_tail: pairs to score, as indices of spans, shape `(num_pairs,)`; `None` scores every ordered
                pair of spans within a sentence that are classified as entities.
            entity_labels: shape `(num_spans,)`, 0 for "no entity". With a first pass, the candidates that pass replace
                the given negative spans, and the given spans must include all entities.
            relation_labels: shape `(num_pairs, num_relation_types)`, 0 or 1.
            exact: score every span, bypassing the first pass.
            output_attentions: whether to return the cross-attention weights of both directions.
            return_dict: accepted for compatibility; the output is always a `ModelOutput`.
        """
        encoded = self.iser(input_ids, attention_mask, word_token_start, word_token_end, num_words, output_attentions)
        states = word_states(encoded, num_words)
        if span_sentence is None or span_start is None or span_end is None:
            spans = enumerate_spans(num_words, self.config.max_span_width)
        else:
            spans = Spans(span_sentence, span_start, span_end)
        num_spans = len(spans)
        first_pass_loss = None
        if self.first_pass is not None and not exact:
            logits = self.first_pass(states.fused, num_words)
            places = places_in_grid(spans)
            kept = passing(logits, self.config.first_pass_threshold, self.training)
            if entity_labels is None:
                given = torch.zeros_like(kept)
                given[places] = True
                kept &= given
            else:
                # The classifier is trained on what it scores in extraction: entities, and other spans that pass.
                labels = torch.zeros_like(logits, dtype=torch.long)
                labels[places] = entity_labels
                first_pass_loss = self.first_pass.loss(logits, labels > 0)
                kept |= labels > 0
                entity_labels = labels[kept]
            if pair_head is not None and pair_tail is not None:
                kept[places_in_grid(spans[torch.cat([pair_head, pair_tail])])] = True
                row = (kept.flatten().cumsum(0) - 1).view_as(kept)[places]
                pair_head, pair_tail = row[pair_head], row[pair_tail]
            spans = spans_of_grid(kept)
        features = self.span_features(states, spans)
        entity_features = self.entity_features(states, spans, features)
        entity_logits = self.entity_classifier(self.dropout(entity_features))
        if pair_head is None or pair_tail is None:
            chosen, _, _ = choose_entities(entity_logits)
            pair_head, pair_tail = ordered_pairs(spans.sentence, chosen)
        relation_features = self.relation_features(states, spans, features, pair_head, pair_tail)
        relation_logits = self._classify_pairs(relation_features)
        entity_loss = relation_loss = None
        if entity_labels is not None:
            cross_entropy = nn.functional.cross_entropy(entity_logits.float(), entity_labels, reduction="sum")
            entity_loss = cross_entropy / num_spans  # Eq. 16
        if relation_labels is not None:
            # The relation loss of a batch without pairs is 0, not 0 / 0.
            relation_loss = nn.functional.binary_cross_entropy_with_logits(
                relation_logits.float(), relation_labels.float(), reduction="sum"
            ) / max(1, relation_labels.numel())  # Eq. 17
        losses = [loss for loss in (entity_loss, relation_loss) if loss is not None]  # Eq. 15
        if first_pass_loss is not None:
            losses.append(_FIRST_PASS_LOSS_WEIGHT * first_pass_loss)
        loss = torch.stack(losses).sum() if losses else None
        return IserOutput(
            loss=loss,
            entity_loss=entity_loss,
            relation_loss=relation_loss,
            first_pass_loss=first_pass_loss,
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
            entity_features=entity_features,
            relation_features=relation_features,
        )

    def span_features(self, states: WordStates, spans: Spans) -> Tensor:
        """
        Max-pooled words (Eq. 6) and width embedding, shape `(num_spans, hidden_size + width_embedding_size)`. Given
        entities wider than `max_span_width` use the embedding of that width.
        """
        width = self.width_embedding((spans.width - 1).clamp(max=self.config.max_span_width - 1))
        return torch.cat([states.max_pool("fused", spans), width], dim=-1)

    def entity_features(self, states: WordStates, spans: Spans, features: Tensor) -> Tensor:
        """[span; width; c] (Eq. 10), shape `(num_spans, 2 * hidden_size + width_embedding_size)`."""
        return torch.cat([features, self.span_context(states, spans)], dim=-1)

    def score_spans(self, states: WordStates, spans: Spans, features: Tensor) -> Tensor:
        """Entity logits (Eq. 10), shape `(num_spans, num_entity_types + 1)`."""
        return self.entity_classifier(self.dropout(self.entity_features(states, spans, features)))

    def relation_features(
        self, states: WordStates, spans: Spans, features: Tensor, head: Tensor, tail: Tensor
    ) -> Tensor:
        """
        [span₁; width₁; span₂; width₂; context] (Eq. 12).

        Args:
            features: features of all spans, from `span_features`.
            head, tail: indices of spans, shape `(num_pairs,)`.

        Returns:
            Shape `(num_pairs, 3 * hidden_size + 2 * width_embedding_size)`; without relation types `(num_pairs, 0)`.
        """
        if self.relation_classifier is None:
            return features.new_zeros(len(head), 0)
        context = self.relation_context(states, spans[head], spans[tail])
        return torch.cat([features.index_select(0, head), features.index_select(0, tail), context], dim=-1)

    def score_pairs(self, states: WordStates, spans: Spans, features: Tensor, head: Tensor, tail: Tensor) -> Tensor:
        """Relation logits (Eq. 13), shape `(num_pairs, num_relation_types)`; arguments as in `relation_features`."""
        return self._classify_pairs(self.relation_features(states, spans, features, head, tail))

    def _classify_pairs(self, features: Tensor) -> Tensor:
        return self.relation_classifier(self.dropout(features)) if self.relation_classifier is not None else features

    # --------------------------------------------------------------------------------- extraction

    def read_batch(self, batch: dict[str, Tensor]) -> WordStates:
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        return word_states(self.iser(**batch), batch["num_words"])

    def promising_spans(self, states: WordStates, exact: bool) -> Spans:
        if self.first_pass is None or exact:
            return enumerate_spans(states.num_words, self.config.max_span_width)
        logits = self.first_pass(states.fused, states.num_words)
        return spans_of_grid(passing(logits, self.config.first_pass_threshold))


def word_states(encoded: IserModelOutput, num_words: Tensor) -> WordStates:
    """The output of [`IserModel`] as [`WordStates`]."""
    encoder, fused, cls = encoded.to_tuple()[:3]
    return WordStates(encoder, fused, cls, num_words)


__all__ = ["IserForJointExtraction", "IserModel", "IserModelOutput", "IserOutput", "IserPreTrainedModel"]
