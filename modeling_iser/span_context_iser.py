"""The context feature of a span (paper 3.4, Eq. 7 to 9): SEA, the paper's ISER_GRU, and the encoder's first token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .configuration_iser import IserConfig
from .layers_iser import MultiHeadSelfAttention, WordStates
from .spans_iser import Spans


# Maximum size of the largest tensor for a chunk of spans, in floats. Bounds memory; chunks that fit into the cache are
# also faster.
_MAX_FLOATS_PER_CHUNK = 2**22
# A GRU reads its weights at every step; with fewer spans, that would dominate the cost.
_MIN_SPANS_PER_CHUNK = 32

# Gate input at which the sigmoid is exactly 1, even in half precision.
_GATE_OPEN = 1e4


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
        # A GRU takes many small steps: under autocast, conversions would cost more than half precision saves.
        with torch.autocast(states.fused.device.type, enabled=False):
            dtype = next((parameter.dtype for parameter in self.parameters()), torch.float32)
            return self._contexts(states.fused.to(dtype), states.num_words, spans)

    def _contexts(self, words: Tensor, num_words: Tensor, spans: Spans) -> Tensor:
        if len(spans) == 0:
            return words.new_zeros(0, words.shape[-1])
        shared = self._shared(words)
        lengths = num_words[spans.sentence]
        if torch.onnx.is_in_onnx_export():  # An exported graph cannot loop over chunks.
            return self._last_states(shared, spans, lengths, words.shape[1])
        # Spans of sentences of similar length share a chunk, to reduce padding.
        order = lengths.argsort(stable=True)
        contexts = [
            self._last_states(shared, spans[rows], lengths[rows], longest)
            for rows, longest in self._chunks(order, lengths)
        ]
        return torch.cat(contexts).index_select(0, order.argsort())

    def _floats_per_span(self, length: int) -> int:
        """Size of the largest tensor that one span of a sentence of `length` words needs."""
        return length * 6 * self.gru.hidden_size

    def _chunks(self, order: Tensor, lengths: Tensor) -> Iterator[tuple[Tensor, int]]:
        """The indices of the spans in each chunk, and the length of their longest sentence."""
        sizes = lengths[order].tolist()
        first = 0
        while first < len(sizes):
            last = first + 1
            while last < len(sizes) and (
                last - first < _MIN_SPANS_PER_CHUNK
                or (last + 1 - first) * self._floats_per_span(sizes[last]) <= _MAX_FLOATS_PER_CHUNK
            ):
                last += 1
            yield order[first:last], sizes[last - 1]
            first = last

    def _shared(self, words: Tensor) -> tuple[Tensor, ...]:
        """Tensors that all spans of a sentence share, from words of shape `(batch_size, num_words, hidden_size)`."""
        return (words,)

    def _sequences(self, shared: tuple[Tensor, ...], spans: Spans, lengths: Tensor, longest: int) -> Tensor:
        """
        The GRU's input for each span.

        Args:
            shared: from `_shared`.
            lengths: words of the sentence of each span, shape `(num_spans,)`, at most `longest`.

        Returns:
            Shape `(num_spans, longest, hidden_size)`; values at padding are arbitrary.
        """
        words = shared[0][:, :longest].index_select(0, spans.sentence)
        return words.masked_fill(inside(spans, longest)[:, :, None], 0.0)

    def _last_states(self, shared: tuple[Tensor, ...], spans: Spans, lengths: Tensor, longest: int) -> Tensor:
        """[last forward state; last backward state] (Eq. 9), shape `(num_spans, 2 * gru_size)`."""
        at_once = max(1, _MAX_FLOATS_PER_CHUNK // self._floats_per_span(longest))
        if at_once < len(spans) and not torch.onnx.is_in_onnx_export():
            parts = torch.arange(len(spans)).split(at_once)
            sequences = torch.cat([self._sequences(shared, spans[part], lengths[part], longest) for part in parts])
        else:
            sequences = self._sequences(shared, spans, lengths, longest)
        gru: Any = self.gru
        if torch.onnx.is_in_onnx_export() or not isinstance(gru, nn.GRU):
            # ONNX has an operator for a whole GRU, and a module that replaces `nn.GRU` may store its weights otherwise.
            packed = pack_padded_sequence(sequences, lengths.cpu(), batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(gru(packed)[0], batch_first=True)
            rows = torch.arange(states.shape[0], device=states.device)
            return torch.cat([states[rows, lengths - 1, : gru.hidden_size], states[:, 0, gru.hidden_size :]], dim=-1)
        padding = ~_before(lengths, longest)[:, :, None]
        # At padding, an update gate of 1 keeps the state: the last state in the forward direction, the initial zeros in
        # the backward direction.
        keep = sequences.new_zeros(3, gru.hidden_size)
        keep[1] = _GATE_OPEN
        last_states = []
        for suffix in ("", "_reverse"):
            weights = [
                gru.get_parameter(f"{name}_l0{suffix}") for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
            ]
            gates = torch.where(padding, keep.flatten(), nn.functional.linear(sequences, *weights[:2]))
            steps = gates.unbind(1)
            last_states.append(_run_gru(steps[::-1] if suffix else steps, *weights[2:]))
        return torch.cat(last_states, dim=-1)


def _run_gru(steps: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """
    Last state of a GRU whose initial state is zero.

    Args:
        steps: the input's part of the gates (reset, update, new) at each step, shape `(num_sequences, 3 * gru_size)`.
        weight, bias: recurrent weight and bias, shapes `(3 * gru_size, gru_size)` and `(3 * gru_size,)`.

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
    """Mask of the words of each span, shape `(num_spans, length)`."""
    return _before(spans.end, length) & ~_before(spans.start, length)


def _before(end: Tensor, length: int) -> Tensor:
    """Mask of the positions before each end, shape `(num_spans, length)`."""
    return torch.arange(length, device=end.device) < end[:, None]


class SemanticEnhancementAttention(GruSpanContext):
    """
    SEA (paper 3.4, Eq. 7 to 9): the sequence with the span's words as zero vectors → multi-head
    self-attention → residual connection → BiGRU → c.

    A masked word is a zero vector, so all masked words of all spans have the same query, key and value: the biases of
    the projections. Projections and scores are therefore computed once per sentence, with one masked word prepended,
    and shared by all its spans: a span of w words excludes its own words from the keys and counts the masked word w
    times, by adding log w to the score of its key.
    """

    def __init__(self, config: IserConfig) -> None:
        super().__init__(config)
        self.attention = MultiHeadSelfAttention(config.hidden_size, config.context_attention_heads)

    def _floats_per_span(self, length: int) -> int:
        return max(super()._floats_per_span(length), self.attention.num_heads * (length + 1) ** 2)

    def _shared(self, words: Tensor) -> tuple[Tensor, ...]:
        return words, *self.attention.project(nn.functional.pad(words, (0, 0, 1, 0)))

    def _sequences(self, shared: tuple[Tensor, ...], spans: Spans, lengths: Tensor, longest: int) -> Tensor:
        _, scores, value = shared
        keys = longest + 1
        masked = inside(spans, longest)
        absent = masked | ~_before(lengths, longest)
        key_bias = torch.cat(
            [
                spans.width[:, None].to(scores.dtype).log(),
                torch.zeros_like(absent, dtype=scores.dtype).masked_fill(absent, float("-inf")),
            ],
            dim=1,
        )
        # Eq. 7, shape (num_spans, heads, queries, keys); query 0 is the masked word's.
        span_scores = scores[:, :, :keys, :keys].index_select(0, spans.sentence)
        weights = (span_scores + key_bias[:, None, None, :]).softmax(dim=-1)
        attended = weights @ value[:, :, :keys].index_select(0, spans.sentence)
        attended = torch.where(masked[:, None, :, None], attended[:, :, :1], attended[:, :, 1:])
        # Eq. 8: the residual connection
        return super()._sequences(shared, spans, lengths, longest) + self.attention.join(attended)


def build_span_context(config: IserConfig) -> SpanContext:
    """The span context module that `config.span_context` names."""
    if config.span_context == "sea":
        return SemanticEnhancementAttention(config)
    return GruSpanContext(config) if config.span_context == "gru" else ClsSpanContext()
