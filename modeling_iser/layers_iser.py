"""The layers of ISER above the encoder: interactive fusion, span contexts and relation contexts."""

from __future__ import annotations

import math

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

# Bounds the memory of SEA in inference: most floats of one chunk's attention weights or recurrent inputs.
_MAX_FLOATS_PER_CHUNK = 2**24


class WordStates:
    """
    What the model knows of the words of a batch; every span and pair feature is read from here.

    Args:
        encoder: words of the encoder's output, a word being the maximum over its subword tokens,
            shape `(batch_size, num_words, hidden_size)`.
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
            states: Tensor = getattr(self, source)
            self._range_max[source] = RangeMax(states, max_width=states.shape[1])
        return self._range_max[source](ranges)


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """True at the positions before each length, shape `(batch_size, longest)`."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


class InteractiveFusion(nn.Module):
    """
    Interactive fusion representation (paper 3.2 and 3.3, Eq. 1 to 5).

    Two feed-forward layers give an entity and a relation view of the words; each view attends to the
    other; a BiLSTM over the concatenation gives H.
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
        packed = pack_padded_sequence(updated, num_words.cpu(), batch_first=True, enforce_sorted=False)
        fused, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=states.shape[1])  # Eq. 5
        if self.residual:
            fused = states + fused
        return fused, entity_weights, relation_weights


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis of `(batch, rows, columns)`; padding gets no weight and gives none."""
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

    def attend(self, scores: Tensor, value: Tensor) -> Tensor:
        """Weighted values after the output projection, shape `(batch_size, length, hidden_size)`."""
        return self.output((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(-2))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Attention among the positions where `mask`, shape `(batch_size, length)`, is true."""
        scores, value = self.project(states)
        return self.attend(scores.masked_fill(~mask[:, None, None, :], float("-inf")), value)


class SpanContext(nn.Module):
    """A context feature for each candidate span (the third part of the span features, paper 3.4)."""

    def forward(self, states: WordStates, spans: Spans) -> Tensor:
        """Context c of each span, shape `(num_spans, hidden_size)`."""
        raise NotImplementedError


class ClsSpanContext(SpanContext):
    """c is the encoder's first token (the paper's "SEA→CLS", and SpERT)."""

    def forward(self, states: WordStates, spans: Spans) -> Tensor:
        return states.cls.index_select(0, spans.sentence)


class GruSpanContext(SpanContext):
    """c is the last forward and the last backward state of a BiGRU over the masked sequence (ISER_GRU)."""

    def __init__(self, config: IserConfig) -> None:
        super().__init__()
        self.gru = nn.GRU(config.hidden_size, config.hidden_size // 2, batch_first=True, bidirectional=True)

    def forward(self, states: WordStates, spans: Spans) -> Tensor:
        words = states.fused
        if len(spans) == 0:
            return words.new_zeros(0, words.shape[-1])
        prepared = self._prepare(words, states.num_words)
        lengths = states.num_words[spans.sentence]
        # Spans of sentences of like length share a chunk, so that padding costs little.
        order = lengths.argsort(stable=True)
        contexts = []
        for chunk in self._chunks(order, lengths):
            longest = int(lengths[chunk[-1]])
            sequences = self._masked_sequences(words, prepared, spans[chunk], longest)
            contexts.append(last_states(self.gru, sequences, lengths[chunk]))
        return torch.cat(contexts).index_select(0, order.argsort())

    def _floats_per_span(self, length: int) -> int:
        """Size of the largest tensor that one span of a sentence of `length` words needs."""
        return length * 3 * self.gru.input_size

    def _chunks(self, order: Tensor, lengths: Tensor) -> list[Tensor]:
        sizes = lengths[order].tolist()
        chunks, first = [], 0
        for last in range(1, len(sizes) + 1):
            full = last == len(sizes) or (last + 1 - first) * self._floats_per_span(sizes[last]) > _MAX_FLOATS_PER_CHUNK
            if full:
                chunks.append(order[first:last])
                first = last
        return chunks

    def _prepare(self, words: Tensor, num_words: Tensor) -> tuple[Tensor, ...]:
        """What the spans of a sentence have in common, computed once."""
        return ()

    def _masked_sequences(self, words: Tensor, prepared: tuple[Tensor, ...], spans: Spans, longest: int) -> Tensor:
        """The sequence with the span's words as zero vectors, shape `(num_spans, longest, hidden_size)`."""
        return words[spans.sentence, :longest].masked_fill(inside(spans, longest)[:, :, None], 0.0)


def last_states(gru: nn.GRU, sequences: Tensor, lengths: Tensor) -> Tensor:
    """
    [last forward state; last backward state] of a bidirectional GRU over padded sequences.

    Packed sequences would do the same, but their backward pass on a CPU fills a tensor of the size of the whole
    input at every step. Here the sequence is turned round within its length instead, so that padding
    comes after everything that counts.

    Args:
        gru: a single bidirectional layer, `batch_first`.
        sequences: shape `(num_sequences, longest, input_size)`.
        lengths: at least 1, shape `(num_sequences,)`.

    Returns:
        Shape `(num_sequences, 2 * hidden_size)`.
    """
    rows = torch.arange(len(lengths), device=lengths.device)
    positions = torch.arange(sequences.shape[1], device=lengths.device)
    turned = sequences[rows[:, None], (lengths[:, None] - 1 - positions).clamp(min=0)]
    start = sequences.new_zeros(1, len(lengths), gru.hidden_size)
    last = []
    for direction, suffix in ((sequences, ""), (turned, "_reverse")):
        weights = [getattr(gru, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        states, _ = torch.gru(
            direction, start, weights, has_biases=True, num_layers=1, dropout=0.0, train=gru.training,
            bidirectional=False, batch_first=True,
        )  # fmt: skip
        last.append(states[rows, lengths - 1])
    return torch.cat(last, dim=-1)


def inside(spans: Spans, length: int) -> Tensor:
    """True at the words of each span, shape `(num_spans, length)`."""
    positions = torch.arange(length, device=spans.start.device)
    return (positions >= spans.start[:, None]) & (positions < spans.end[:, None])


class SemanticEnhancementAttention(GruSpanContext):
    """
    SEA (paper 3.4, Eq. 7 to 9): the sequence with the span's words as zero vectors → multi-head
    self-attention → residual connection → BiGRU → c.

    A masked word is a zero vector, so all masked words of all spans have the same query, key and value:
    the projections' biases. The projections and scores of the sentence, with one such "masked word" put
    before it, therefore serve all its spans: a span of w words removes its own words from the keys and
    counts the masked word w times, which adds log w to that key's score.
    """

    def __init__(self, config: IserConfig) -> None:
        super().__init__(config)
        self.attention = MultiHeadSelfAttention(config.hidden_size, config.context_attention_heads)

    def _floats_per_span(self, length: int) -> int:
        return max(super()._floats_per_span(length), self.attention.num_heads * (length + 1) ** 2)

    def _prepare(self, words: Tensor, num_words: Tensor) -> tuple[Tensor, ...]:
        scores, value = self.attention.project(nn.functional.pad(words, (0, 0, 1, 0)))
        padding = ~length_mask(num_words + 1, words.shape[1] + 1)
        return scores.masked_fill(padding[:, None, None, :], float("-inf")), value

    def _masked_sequences(self, words: Tensor, prepared: tuple[Tensor, ...], spans: Spans, longest: int) -> Tensor:
        scores, value = prepared
        hidden = inside(spans, longest)
        key_bias = torch.cat(
            [
                spans.width[:, None].to(scores.dtype).log(),
                torch.zeros_like(hidden, dtype=scores.dtype).masked_fill(hidden, float("-inf")),
            ],
            dim=1,
        )
        size = longest + 1
        attended = self.attention.attend(
            scores[spans.sentence, :, :size, :size] + key_bias[:, None, None, :],
            value[spans.sentence, :, :size],
        )  # Eq. 7
        masked_word, other_words = attended[:, :1], attended[:, 1:]
        # Eq. 8: the residual of a masked word is a zero vector.
        return torch.where(hidden[:, :, None], masked_word, words[spans.sentence, :longest] + other_words)


class RelationContext(nn.Module):
    """A context feature for each ordered pair of spans (paper 3.6, c(s1, s2))."""

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

    The paper does not say how the attended words become one vector; the maximum is what its local context
    uses everywhere else.
    """

    def __init__(self, config: IserConfig) -> None:
        super().__init__()
        self.attention = MultiHeadSelfAttention(config.hidden_size, config.context_attention_heads)

    def forward(self, states: WordStates, head: Spans, tail: Spans) -> Tensor:
        ranges = between(head, tail)
        lengths = ranges.width.clamp(min=0)
        longest = max(1, int(lengths.max()) if len(lengths) else 0)
        offsets = torch.arange(longest, device=lengths.device)
        positions = (ranges.start[:, None] + offsets).clamp(max=states.fused.shape[1] - 1)
        words = states.fused[ranges.sentence[:, None], positions]
        mask = length_mask(lengths, longest)
        # An empty context attends to one arbitrary word so that no softmax is over nothing; zeroed below.
        attended = self.attention(words, length_mask(lengths.clamp(min=1), longest))
        pooled = attended.masked_fill(~mask[:, :, None], float("-inf")).amax(dim=1)
        return pooled.masked_fill((lengths == 0)[:, None], 0.0)


def build_fusion(config: IserConfig) -> nn.Module:
    """The fusion module that `config.fusion` names."""
    return InteractiveFusion(config) if config.fusion == "interactive" else NoFusion()


def build_span_context(config: IserConfig) -> SpanContext:
    """The span context module that `config.span_context` names."""
    if config.span_context == "sea":
        return SemanticEnhancementAttention(config)
    return GruSpanContext(config) if config.span_context == "gru" else ClsSpanContext()


def build_relation_context(config: IserConfig) -> RelationContext:
    """The relation context module that `config.relation_context` names."""
    if config.relation_context == "cls":
        return ClsRelationContext()
    if config.relation_context == "local_attention":
        return AttendedRelationContext(config)
    scope, _, source = config.relation_context.partition("_")
    return PooledRelationContext(source or "fused", whole_sentence=scope == "global")
