"""
ISER computed literally from the paper's equations: one sentence, one span and one pair at a time.

Deliberately slow and obvious. It reads the parameters of a model but shares no code with the package.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def lstm_or_gru(module: nn.Module, sequence: Tensor) -> tuple[Tensor, Tensor]:
    """
    A bidirectional LSTM or GRU, step by step, over one sequence `(length, input_size)`.

    Returns:
        The states `(length, 2 * hidden)`, and [last forward state; last backward state] `(2 * hidden,)`.
    """
    directions = []
    for suffix, steps in (("", range(len(sequence))), ("_reverse", range(len(sequence) - 1, -1, -1))):
        w_ih, w_hh = getattr(module, f"weight_ih_l0{suffix}"), getattr(module, f"weight_hh_l0{suffix}")
        b_ih, b_hh = getattr(module, f"bias_ih_l0{suffix}"), getattr(module, f"bias_hh_l0{suffix}")
        h = sequence.new_zeros(module.hidden_size)
        cell = sequence.new_zeros(module.hidden_size)
        states: dict[int, Tensor] = {}
        for position in steps:
            from_input = w_ih @ sequence[position] + b_ih
            from_state = w_hh @ h + b_hh
            if isinstance(module, nn.LSTM):
                i, f, g, o = (from_input + from_state).chunk(4)
                cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(cell)
            else:
                r_input, z_input, n_input = from_input.chunk(3)
                r_state, z_state, n_state = from_state.chunk(3)
                r, z = torch.sigmoid(r_input + r_state), torch.sigmoid(z_input + z_state)
                n = torch.tanh(n_input + r * n_state)
                h = (1 - z) * n + z * h
            states[position] = h
        directions.append(([states[p] for p in range(len(sequence))], h))
    stacked = torch.stack([torch.cat([f, b]) for f, b in zip(directions[0][0], directions[1][0], strict=True)])
    return stacked, torch.cat([directions[0][1], directions[1][1]])


def self_attention(module: nn.Module, sequence: Tensor) -> Tensor:
    """Multi-head self-attention over one sequence `(length, hidden)`, head by head and query by query."""
    size = module.head_size
    query, key, value = (layer(sequence) for layer in (module.query, module.key, module.value))
    rows = []
    for position in range(len(sequence)):
        heads = []
        for head in range(module.num_heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([query[position, part] @ k[part] / math.sqrt(size) for k in key])
            weights = torch.softmax(scores, dim=0)
            heads.append(sum(w * v[part] for w, v in zip(weights, value, strict=True)))
        rows.append(module.output(torch.cat(heads)))
    return torch.stack(rows)


def cross_attention(query: Tensor, key_and_value: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention without projections (Eq. 3 and 4): result and weights."""
    rows, weights = [], []
    for q in query:
        scores = torch.stack([q @ k / math.sqrt(len(q)) for k in key_and_value])
        weights.append(torch.softmax(scores, dim=0))
        rows.append(sum(w * v for w, v in zip(weights[-1], key_and_value, strict=True)))
    return torch.stack(rows), torch.stack(weights)


def maximum(rows: Tensor) -> Tensor:
    """Max-pooling over the rows; a zero vector if there are none."""
    return rows.max(dim=0).values if len(rows) else rows.new_zeros(rows.shape[1])


class Reference:
    """
    Every quantity of the paper for one sentence.

    Args:
        model: an `IserForJointExtraction` in evaluation mode.
        tokens: encoder output of the sentence with its special tokens, shape `(num_tokens, hidden_size)`.
        words: the range of tokens of each word.
    """

    def __init__(self, model: nn.Module, tokens: Tensor, words: list[tuple[int, int]]) -> None:
        self.model, self.config = model, model.config
        self.cls = tokens[0]
        self.encoder = torch.stack([maximum(tokens[start:end]) for start, end in words])
        self.length = len(words)
        self.fused = self.encoder
        if self.config.fusion == "interactive":
            fusion = model.iser.fusion
            activation = {
                "none": lambda x: x, "relu": torch.relu, "tanh": torch.tanh, "gelu": nn.functional.gelu
            }[self.config.projection_activation]  # fmt: skip
            h_e = activation(self.encoder @ fusion.entity_projection.weight.T + fusion.entity_projection.bias)
            h_r = activation(self.encoder @ fusion.relation_projection.weight.T + fusion.relation_projection.bias)
            updated_e, self.entity_attention = cross_attention(h_e, h_r)
            updated_r, self.relation_attention = cross_attention(h_r, h_e)
            self.fused, _ = lstm_or_gru(fusion.lstm, torch.cat([updated_e, updated_r], dim=1))
            if self.config.fusion_residual:
                self.fused = self.encoder + self.fused

    def context(self, start: int, end: int) -> Tensor:
        """The context c of a span (Eq. 7 to 9, or the variant)."""
        if self.config.span_context == "cls":
            return self.cls
        masked = self.fused.clone()
        masked[start:end] = 0.0
        if self.config.span_context == "sea":
            masked = masked + self_attention(self.model.span_context.attention, masked)
        return lstm_or_gru(self.model.span_context.gru, masked)[1]

    def span(self, start: int, end: int) -> Tensor:
        """[span; width] (Eq. 6)."""
        return torch.cat([maximum(self.fused[start:end]), self.model.width_embedding.weight[end - start - 1]])

    def entity_logits(self, start: int, end: int) -> Tensor:
        """Eq. 10, before the softmax."""
        features = torch.cat([self.span(start, end), self.context(start, end)])
        return self.model.entity_classifier.weight @ features + self.model.entity_classifier.bias

    def relation_context(self, first: tuple[int, int], second: tuple[int, int]) -> Tensor:
        """The context c(s1, s2) of a pair, or the variant."""
        kind = self.config.relation_context
        if kind == "cls":
            return self.cls
        if kind.startswith("global"):
            return maximum(self.encoder if kind.endswith("encoder") else self.fused)
        left, right = sorted([first, second])
        source = self.encoder if kind == "local_encoder" else self.fused
        inner = source[left[1] : right[0]] if left[1] < right[0] else source[:0]
        if kind == "local_attention" and len(inner):
            inner = self_attention(self.model.relation_context.attention, inner)
        return maximum(inner)

    def relation_logits(self, first: tuple[int, int], second: tuple[int, int]) -> Tensor:
        """Eq. 12 and 13, before the sigmoid."""
        features = torch.cat([self.span(*first), self.span(*second), self.relation_context(first, second)])
        return self.model.relation_classifier.weight @ features + self.model.relation_classifier.bias

    def loss(
        self,
        entities: list[tuple[int, int, int]],
        relations: list[tuple[tuple[int, int], tuple[int, int], list[float]]],
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and mean binary cross-entropy (Eq. 16 and 17) over labelled spans and pairs."""
        entity_terms = [
            -torch.log(torch.softmax(self.entity_logits(start, end).double(), dim=0)[label])
            for start, end, label in entities
        ]
        relation_terms = []
        for head, tail, labels in relations:
            for logit, label in zip(self.relation_logits(head, tail).double(), labels, strict=True):
                p = torch.sigmoid(logit)
                relation_terms.append(-(label * torch.log(p) + (1 - label) * torch.log(1 - p)))
        return torch.stack(entity_terms).mean().float(), torch.stack(relation_terms).mean().float()
