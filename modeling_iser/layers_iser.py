"""The layers of ISER above the encoder: interactive fusion, span contexts and relation contexts."""

from __future__ import annotations

import math
from collections.abc import Sequence

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

# Most floats of the largest tensor of a chunk of spans: bounds the memory, and what a cache holds is computed faster.
_MAX_FLOATS_PER_CHUNK = 2**22
# A GRU reads its weights at every step, which fewer spans than these do not make up for.
_MIN_SPANS_PER_RUN = 32

# A gate's input at which its sigmoid is exactly 1, in half precision too.
_GATE_OPEN = 1e4


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

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Attention among the positions where `mask`, shape `(batch_size, length)`, is true."""
        scores, value = self.project(states)
        weights = scores.masked_fill(~mask[:, None, None, :], float("-inf")).softmax(dim=-1)
        return self.output((weights @ value).transpose(1, 2).flatten(-2))


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
    """
    c is the last forward and the last backward state of a BiGRU over the masked sequence (ISER_GRU).

    The GRU's input gates are linear in its input, so those of a word are computed once for all spans of the
    sentence, and those of a masked word, a zero vector, are the bias.
    """

    def __init__(self, config: IserConfig) -> None:
        super().__init__()
        self.gru = nn.GRU(config.hidden_size, config.hidden_size // 2, batch_first=True, bidirectional=True)

    def forward(self, states: WordStates, spans: Spans) -> Tensor:
        # Many steps over few numbers: under autocast the conversions cost more than half precision saves.
        with torch.autocast(states.fused.device.type, enabled=False):
            return self._contexts(states.fused.to(self._weight("weight_hh_l0").dtype), states.num_words, spans)

    def _contexts(self, words: Tensor, num_words: Tensor, spans: Spans) -> Tensor:
        if len(spans) == 0:
            return words.new_zeros(0, words.shape[-1])
        shared = self._shared(words, num_words)
        lengths = num_words[spans.sentence]
        # Spans of sentences of like length share a chunk, so that padding costs little.
        order = lengths.argsort(stable=True)
        contexts = []
        for chunk in self._chunks(order, lengths):
            longest = int(lengths[chunk[-1]])
            sentences, counts = torch.unique_consecutive(spans.sentence[chunk], return_counts=True)
            gates = []
            for sentence, rows in zip(sentences.tolist(), chunk.split(counts.tolist()), strict=True):
                length = int(lengths[rows[0]])
                masked = inside(spans[rows], length)
                at_once = max(1, _MAX_FLOATS_PER_CHUNK // self._floats_of_gates(length))
                of_sentence = torch.cat([self._gates(shared, sentence, length, part) for part in masked.split(at_once)])
                padding = self._padding_gates(of_sentence).expand(len(rows), longest - length, -1)
                gates.append(torch.cat([of_sentence, padding], dim=1) if length < longest else of_sentence)
            contexts.append(self._last_states(torch.cat(gates)))
        return torch.cat(contexts).index_select(0, order.argsort())

    def _floats_of_gates(self, length: int) -> int:
        """Size of the largest tensor that the gates of one span of a sentence of `length` words need."""
        return length * 6 * self.gru.hidden_size

    def _chunks(self, order: Tensor, lengths: Tensor) -> list[Tensor]:
        """Spans that go through the GRU together."""
        sizes = lengths[order].tolist()
        chunks, first = [], 0
        for last in range(1, len(sizes) + 1):
            floats = (last + 1 - first) * 6 * self.gru.hidden_size * sizes[min(last, len(sizes) - 1)]
            full = last - first >= _MIN_SPANS_PER_RUN and floats > _MAX_FLOATS_PER_CHUNK
            if full or last == len(sizes):
                chunks.append(order[first:last])
                first = last
        return chunks

    def _input_weights(self) -> tuple[Tensor, Tensor]:
        """Weights `(6 * gru_size, hidden_size)` and biases of the input gates of both directions."""
        return (
            torch.cat([self._weight("weight_ih_l0"), self._weight("weight_ih_l0_reverse")]),
            torch.cat([self._weight("bias_ih_l0"), self._weight("bias_ih_l0_reverse")]),
        )

    def _weight(self, name: str) -> Tensor:
        return self.gru.get_parameter(name)

    def _shared(self, words: Tensor, num_words: Tensor) -> tuple[Tensor, ...]:
        """What all spans of a sentence have in common: input gates of each word and of a masked word."""
        weight, bias = self._input_weights()
        return nn.functional.linear(words, weight, bias), bias

    def _gates(self, shared: tuple[Tensor, ...], sentence: int, length: int, masked: Tensor) -> Tensor:
        """
        Input gates of the masked sequences of some spans of a sentence.

        Args:
            shared: from `_shared`.
            sentence: index of the sentence in the batch, `length` words long.
            masked: true at the words of each span, shape `(num_spans, length)`.

        Returns:
            Shape `(num_spans, length, 6 * gru_size)`.
        """
        word_gates, masked_gates = shared
        return torch.where(masked[:, :, None], masked_gates, word_gates[sentence, :length])

    def _padding_gates(self, like: Tensor) -> Tensor:
        """
        Input gates of padding, shape `(6 * gru_size,)`: the update gate is 1 and the state stays what it is, the
        last state in the forward direction, the zeros before the first word in the backward direction.
        """
        keep = like.new_zeros(2, 3, self.gru.hidden_size)
        keep[:, 1] = _GATE_OPEN
        return keep.flatten()

    def _last_states(self, gates: Tensor) -> Tensor:
        """
        [last forward state; last backward state] (Eq. 9), shape `(num_spans, 2 * gru_size)`.

        Args:
            gates: input gates, shape `(num_spans, longest, 6 * gru_size)`.
        """
        forward, backward = gates.chunk(2, dim=-1)
        return torch.cat(
            [
                _run_gru(forward.unbind(1), self._weight("weight_hh_l0"), self._weight("bias_hh_l0")),
                _run_gru(
                    backward.unbind(1)[::-1],
                    self._weight("weight_hh_l0_reverse"),
                    self._weight("bias_hh_l0_reverse"),
                ),
            ],
            dim=-1,
        )


def _run_gru(steps: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """
    Last state of a GRU that starts from zeros.

    Args:
        steps: input gates (reset, update, new) of each step, shape `(num_sequences, 3 * gru_size)`.
        weight, bias: of the state, shapes `(3 * gru_size, gru_size)` and `(3 * gru_size,)`.

    Returns:
        Shape `(num_sequences, gru_size)`.
    """
    size = weight.shape[1]
    state = steps[0].new_zeros(len(steps[0]), size)
    for step in steps:
        step_gates, step_new = step.split([2 * size, size], dim=1)
        state_gates, state_new = torch.addmm(bias, state, weight.T).split([2 * size, size], dim=1)
        reset, update = (step_gates + state_gates).sigmoid().chunk(2, dim=1)
        state = torch.lerp(torch.tanh(step_new + reset * state_new), state, update)
    return state


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
    counts the masked word w times, which adds log w to that key's score. The attention's output projection
    and the GRU's input projection are one linear map of the attended values.
    """

    def __init__(self, config: IserConfig) -> None:
        super().__init__(config)
        self.attention = MultiHeadSelfAttention(config.hidden_size, config.context_attention_heads)

    def _floats_of_gates(self, length: int) -> int:
        return max(super()._floats_of_gates(length), self.attention.num_heads * (length + 1) ** 2)

    def _shared(self, words: Tensor, num_words: Tensor) -> tuple[Tensor, ...]:
        scores, value = self.attention.project(nn.functional.pad(words, (0, 0, 1, 0)))
        weight, bias = self._input_weights()
        output = self.attention.output
        attended_to_gates = (weight @ output.weight).unflatten(1, (self.attention.num_heads, -1))
        masked_gates = nn.functional.linear(output.bias, weight, bias)
        word_gates = nn.functional.linear(words, weight, masked_gates)  # Eq. 8: the residual connection
        return scores.transpose(1, 2), value, attended_to_gates, word_gates, masked_gates

    def _gates(self, shared: tuple[Tensor, ...], sentence: int, length: int, masked: Tensor) -> Tensor:
        scores, value, attended_to_gates, word_gates, masked_gates = shared
        size = length + 1
        key_bias = torch.cat(
            [
                masked.sum(dim=1, keepdim=True).to(scores.dtype).log(),
                torch.zeros_like(masked, dtype=scores.dtype).masked_fill(masked, float("-inf")),
            ],
            dim=1,
        )
        # Eq. 7, shape (num_spans, queries, heads, keys); query 0 is that of a masked word.
        weights = (scores[sentence, :size, :, :size] + key_bias[:, None, None, :]).softmax(dim=-1)
        weights = torch.where(masked[:, :, None, None], weights[:, :1], weights[:, 1:])
        residual = torch.where(masked[:, :, None], masked_gates, word_gates[sentence, :length])
        return _add_projected_attention(residual, weights, value[sentence, :, :size], attended_to_gates)


def _add_projected_attention(residual: Tensor, weights: Tensor, value: Tensor, projection: Tensor) -> Tensor:
    """
    Residual plus the linear projection of the weighted values, in the cheaper order of the two products.

    Args:
        residual: shape `(num_spans, queries, output_size)`.
        weights: shape `(num_spans, queries, heads, keys)`.
        value: shape `(heads, keys, head_size)`.
        projection: shape `(output_size, heads, head_size)`.

    Returns:
        Shape `(num_spans, queries, output_size)`.
    """
    if value.shape[1] < value.shape[2]:
        rows = weights.flatten(0, 1).flatten(-2)
        columns = torch.einsum("hkd,ohd->hko", value, projection).flatten(0, 1)
    else:
        rows = torch.einsum("sqhk,hkd->sqhd", weights, value).flatten(0, 1).flatten(-2)
        columns = projection.flatten(1).T
    return torch.addmm(residual.flatten(0, 1), rows, columns).view_as(residual)


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
