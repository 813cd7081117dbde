"""SEA computed span by span, exactly as the paper writes it: the baseline for the package's own SEA."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from modeling_iser import IserForJointExtraction
from modeling_iser.layers_iser import length_mask
from modeling_iser.span_context_iser import GruSpanContext, SemanticEnhancementAttention, SpanContext, inside
from modeling_iser.spans_iser import Spans


class LiteralSea(GruSpanContext):
    """
    For each span: the sequence with the span's words zeroed → multi-head self-attention → residual connection → BiGRU.
    It shares the parameters of the SEA that it replaces.

    Args:
        sea: the package's SEA.
        spans_per_chunk: number of spans computed at once.
    """

    def __init__(self, sea: SemanticEnhancementAttention, spans_per_chunk: int = 256) -> None:
        SpanContext.__init__(self)  # the layers are those of `sea`
        self.attention, self.gru = sea.attention, sea.gru
        self.spans_per_chunk = spans_per_chunk

    def _contexts(self, words: Tensor, num_words: Tensor, spans: Spans) -> Tensor:
        longest = words.shape[1]
        contexts = [words.new_zeros(0, words.shape[-1])]
        for rows in torch.arange(len(spans), device=spans.start.device).split(self.spans_per_chunk):
            chunk = spans[rows]
            lengths = num_words[chunk.sentence]
            masked = words[chunk.sentence].masked_fill(inside(chunk, longest)[:, :, None], 0.0)
            sequence = masked + self.attention(masked, length_mask(lengths, longest))
            packed = pack_padded_sequence(sequence, lengths.cpu(), batch_first=True, enforce_sorted=False)
            contexts.append(torch.cat(list(self.gru(packed)[1]), dim=-1))
        return torch.cat(contexts)


def make_literal(model: IserForJointExtraction) -> IserForJointExtraction:
    """Replace the model's SEA with the literal one, in place, and return the model."""
    assert isinstance(model.span_context, SemanticEnhancementAttention)
    model.span_context = LiteralSea(model.span_context)
    return model
