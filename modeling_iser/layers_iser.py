"""The layers of ISER between encoder and classifiers: word states, interactive fusion and relation contexts."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .configuration_iser import IserConfig
from .spans_iser import RangeMax, Spans, between


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


class WordStates:
    """
    The states of a batch's words, from which all span and pair features are computed.

    Args:
        encoder: the encoder's output, pooled to words by the maximum over their subword tokens, shape
            `(batch_size, num_words, hidden_size)`.
        fused: H of Eq. 5, or `encoder` itself without interactive fusion, same shape.
        cls: the encoder's first token, shape `(batch_size, hidden_size)`.
        num_words: words of each sentence, shape `(batch_size,)`.
    """

    def __init__(self, encoder: Tensor, fused: Tensor, cls: Tensor, num_words: Tensor) -> None:
        self.encoder = encoder
        self.fused = fused
        self.cls = cls
        self.num_words = num_words
        self._range_max: dict[str, RangeMax] = {}

    def max_pool(self, source: str, ranges: Spans) -> Tensor:
        """
        Maximum over each range of words of `"fused"` or `"encoder"`, shape `(num_ranges, hidden_size)`;
        zeros for an empty range.
        """
        if source == "encoder" and self.encoder is self.fused:
            source = "fused"
        if source not in self._range_max:
            self._range_max[source] = RangeMax(getattr(self, source))
        return self._range_max[source](ranges)


def length_mask(lengths: Tensor, longest: Any) -> Tensor:
    """True at the positions before each length, shape `(batch_size, longest)`."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


class InteractiveFusion(nn.Module):
    """
    Interactive fusion representation (paper 3.2 and 3.3, Eq. 1 to 5).

    Two feed-forward layers compute an entity and a relation view of the words; each view attends to the other; a BiLSTM
    over the concatenation computes H.
    """

    def __init__(self, config: IserConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.entity_projection = nn.Linear(size, size)
        self.relation_projection = nn.Linear(size, size)
        self.activation = _ACTIVATIONS[config.projection_activation]()
        self.residual = config.fusion_residual
        self.lstm = nn.LSTM(2 * size, size // 2, batch_first=True, bidirectional=True)

    def forward(self, states: Tensor, num_words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Args:
            states: encoder output of the words, shape `(batch_size, num_words, hidden_size)`.
            num_words: words of each sentence, shape `(batch_size,)`.

        Returns:
            H, shape `(batch_size, num_words, hidden_size)`, and the attention weights of the entity view
            over the relation view and of the relation view over the entity view, each of shape
            `(batch_size, num_words, num_words)`; zeros in the rows and columns of padding.
        """
        entity = self.activation(self.entity_projection(states))  # Eq. 1
        relation = self.activation(self.relation_projection(states))  # Eq. 2
        mask = length_mask(num_words, states.shape[1])
        scores = entity @ relation.transpose(1, 2) / math.sqrt(states.shape[-1])
        entity_weights = _masked_softmax(scores, mask)
        relation_weights = _masked_softmax(scores.transpose(1, 2), mask)
        updated = torch.cat([entity_weights @ relation, relation_weights @ entity], dim=-1)  # Eq. 3 and 4
        fused = self._recurrence(updated, num_words)  # Eq. 5
        if self.residual:
            fused = states + fused
        return fused, entity_weights, relation_weights

    def _recurrence(self, states: Tensor, num_words: Tensor) -> Tensor:
        if len(states) == 1:  # no padding
            return self.lstm(states)[0]
        packed = pack_padded_sequence(states, num_words.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=states.shape[1])[0]


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis of `(batch, rows, columns)`; zeros in the rows and columns of padding."""
    weights = scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=-1)
    return weights.masked_fill(~mask[:, :, None], 0.0)


class NoFusion(nn.Module):
    """H is the encoder's output (the paper's "− interactive fusion")."""

    def forward(self, states: Tensor, num_words: Tensor) -> tuple[Tensor, None, None]:
        return states, None, None


class MultiHeadSelfAttention(nn.Module):
    """Multi-head scaled dot-product self-attention with input and output projections (Eq. 7)."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_size = hidden_size // num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """
        Attention scores `(batch_size, heads, length, length)` and values `(batch_size, heads, length,
        head_size)` of `states`, shape `(batch_size, length, hidden_size)`.
        """
        query, key, value = (
            layer(states).unflatten(-1, (self.num_heads, self.head_size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        return query @ key.transpose(-1, -2) / math.sqrt(self.head_size), value

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Self-attention over the positions where `mask`, shape `(batch_size, length)`, is true."""
        scores, value = self.project(states)
        weights = scores.masked_fill(~mask[:, None, None, :], float("-inf")).softmax(dim=-1)
        return self.join(weights @ value)

    def join(self, attended: Tensor) -> Tensor:
        """Join the heads' attended values: `(…, heads, length, head_size)` → `(…, length, hidden_size)`."""
        return self.output(attended.transpose(-3, -2).flatten(-2))


class RelationContext(nn.Module):
    """The context feature of each ordered pair of spans (paper 3.6, c(s1, s2))."""

    def forward(self, states: WordStates, head: Spans, tail: Spans) -> Tensor:
        """Context of each pair, shape `(num_pairs, hidden_size)`."""
        raise NotImplementedError


class PooledRelationContext(RelationContext):
    """
    Max-pooling over the words between the two spans, or over the whole sentence.

    Args:
        source: `"fused"` (H) or `"encoder"`.
        whole_sentence: pool over every word of the sentence instead of the words in between.
    """

    def __init__(self, source: str, whole_sentence: bool) -> None:
        super().__init__()
        self.source = source
        self.whole_sentence = whole_sentence

    def forward(self, states: WordStates, head: Spans, tail: Spans) -> Tensor:
        if self.whole_sentence:
            lengths = states.num_words[head.sentence]
            ranges = Spans(head.sentence, torch.zeros_like(lengths), lengths)
        else:
            ranges = between(head, tail)
        return states.max_pool(self.source, ranges)


class ClsRelationContext(RelationContext):
    """The encoder's first token (the paper's "LC→CLS")."""

    def forward(self, states: WordStates, head: Spans, tail: Spans) -> Tensor:
        return states.cls.index_select(0, head.sentence)


class AttendedRelationContext(RelationContext):
    """
    Self-attention among the words between the two spans, then their maximum (the paper's "LC→LC_att").

    The paper does not say how the attended words are pooled; its other local contexts use the maximum.
    """

    def __init__(self, config: IserConfig) -> None:
        super().__init__()
        self.attention = MultiHeadSelfAttention(config.hidden_size, config.context_attention_heads)

    def forward(self, states: WordStates, head: Spans, tail: Spans) -> Tensor:
        ranges = between(head, tail)
        lengths = ranges.width.clamp(min=0)
        longest: Any = lengths.max().clamp(min=1) if len(lengths) else 1  # a tensor, since an exported graph needs one
        offsets = torch.arange(longest, device=lengths.device)
        positions = (ranges.start[:, None] + offsets).clamp(max=states.fused.shape[1] - 1)
        words = states.fused[ranges.sentence[:, None], positions]
        mask = length_mask(lengths, longest)
        # An empty context attends to one arbitrary word, since a softmax over no words is NaN; zeroed below.
        attended = self.attention(words, length_mask(lengths.clamp(min=1), longest))
        pooled = attended.masked_fill(~mask[:, :, None], float("-inf")).amax(dim=1)
        return pooled.masked_fill((lengths == 0)[:, None], 0.0)


def build_fusion(config: IserConfig) -> nn.Module:
    """The fusion module that `config.fusion` names."""
    return InteractiveFusion(config) if config.fusion == "interactive" else NoFusion()


def build_relation_context(config: IserConfig) -> RelationContext:
    """The relation context module that `config.relation_context` names."""
    if config.relation_context == "cls":
        return ClsRelationContext()
    if config.relation_context == "local_attention":
        return AttendedRelationContext(config)
    scope, _, source = config.relation_context.partition("_")
    return PooledRelationContext(source or "fused", whole_sentence=scope == "global")
