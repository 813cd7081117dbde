"""The first pass: a cheap score for every candidate span, so that context is computed only for promising spans."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .configuration_iser import IserConfig
from .spans_iser import best_of_sentences, candidate_grid


# Maximum number of spans per sentence that pass. In a 510-word window of a leaflet, fewer than 200 pass; in meaningless
# text, nearly all 10,000 may.
_MAX_SPANS = 256
# In the first training steps every span passes, which would exhaust the memory.
_MAX_SPANS_IN_TRAINING = 32
# Lowers the threshold in training: the entity classifier also learns from spans less like entities than those that it
# scores in extraction.
_TRAINING_THRESHOLD_FACTOR = 0.05


class FirstPass(nn.Module):
    """
    Scores every candidate span from its first and last word, the words just outside, the maximum of its words and its
    width. Not part of the paper.

    Each word is projected once for each of these roles, so that scoring a span takes only a few additions of
    `first_pass_size` numbers. Gradients stop at the word states, so that the rest of the model learns nothing from the
    loss of the first pass.
    """

    def __init__(self, config: IserConfig) -> None:
        super().__init__()
        self.size = config.first_pass_size
        self.max_span_width = config.max_span_width
        self.roles = nn.Linear(config.hidden_size, 5 * self.size)
        self.width = nn.Embedding(config.max_span_width, self.size)
        self.score = nn.Linear(self.size, 1)

    def forward(self, states: Tensor, num_words: Tensor) -> Tensor:
        """
        Logits for each candidate span being an entity.

        Args:
            states: word states, shape `(batch_size, num_words, hidden_size)`.
            num_words: words of each sentence, shape `(batch_size,)`.

        Returns:
            Shape `(batch_size, num_words, max_span_width)`: `[:, i, w - 1]` is the span of w words that starts at word
            i; minus infinity if the span ends after its sentence.
        """
        longest = states.shape[1]
        mask = torch.arange(longest, device=states.device) < num_words[:, None]
        roles = self.roles(states.detach()).masked_fill(~mask[:, :, None], 0.0)
        first, last, before, after, inside = roles.chunk(5, dim=-1)
        start = first + nn.functional.pad(before, (0, 0, 1, -1))
        beyond = (0, 0, 0, self.max_span_width - 1)
        end = nn.functional.pad(last + nn.functional.pad(after, (0, 0, -1, 1)), beyond)
        inside = nn.functional.pad(inside, beyond)
        scores, pooled = [], inside[:, :longest]
        for width in range(1, self.max_span_width + 1):
            last_words = slice(width - 1, width - 1 + longest)
            pooled = torch.maximum(pooled, inside[:, last_words])
            hidden = nn.functional.gelu(start + end[:, last_words] + pooled + self.width.weight[width - 1])
            scores.append(self.score(hidden))
        possible = candidate_grid(num_words, longest, self.max_span_width)
        return torch.cat(scores, dim=-1).masked_fill(~possible, -math.inf)

    def loss(self, logits: Tensor, is_entity: Tensor) -> Tensor:
        """
        Mean binary cross-entropy over all candidate spans, a scalar.

        Args:
            logits: from `forward`, shape `(batch_size, num_words, max_span_width)`.
            is_entity: true at the gold entities, same shape.
        """
        candidates = logits > -math.inf
        return nn.functional.binary_cross_entropy_with_logits(logits[candidates].float(), is_entity[candidates].float())


def passing(logits: Tensor, threshold: float, training: bool = False) -> Tensor:
    """
    Mask of the spans that pass: those at or above the threshold (in training, a twentieth of it), but at most the best
    256 of a sentence (32 in training). The limit bounds time and memory for an untrained model, and for text unlike its
    training data.

    Args:
        logits: from `FirstPass`, shape `(batch_size, num_words, max_span_width)`.
        threshold: minimum probability.

    Returns:
        Mask of the same shape.
    """
    if training:
        threshold *= _TRAINING_THRESHOLD_FACTOR
    reached = logits >= (math.log(threshold / (1 - threshold)) if threshold < 1 else math.inf)
    sentence, *place = reached.nonzero(as_tuple=True)
    best = best_of_sentences(logits[reached], sentence, _MAX_SPANS_IN_TRAINING if training else _MAX_SPANS)
    return torch.zeros_like(reached).index_put((sentence, *place), best)
