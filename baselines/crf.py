"""A linear-chain conditional random field."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearChainCrf(nn.Module):
    """Scores sequences of tags by the emissions of each word and the transitions between neighbouring tags."""

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(num_tags))
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))

    def forward(self, emissions: Tensor, tags: Tensor, words: Tensor) -> Tensor:
        """
        Negative log-likelihood of the tags, shape `(batch_size,)`.

        Args:
            emissions: shape `(batch_size, num_words, num_tags)`.
            tags: shape `(batch_size, num_words)`.
            words: true at words, false at the padding after them, same shape.
        """
        return self.log_partition(emissions, words) - self.score(emissions, tags, words)

    def score(self, emissions: Tensor, tags: Tensor, words: Tensor) -> Tensor:
        """Unnormalised log-score of the sequences of tags, shape `(batch_size,)`."""
        own = emissions.gather(2, tags[:, :, None])[:, :, 0].mul(words).sum(dim=1)
        steps = self.transitions[tags[:, :-1], tags[:, 1:]].mul(words[:, 1:]).sum(dim=1)
        last = tags.gather(1, words.sum(dim=1, keepdim=True) - 1)[:, 0]
        return self.start[tags[:, 0]] + own + steps + self.end[last]

    def log_partition(self, emissions: Tensor, words: Tensor) -> Tensor:
        """Logarithm of the summed exponential scores of all sequences of tags, shape `(batch_size,)`."""
        total = self.start + emissions[:, 0]
        for word in range(1, emissions.shape[1]):
            following = torch.logsumexp(total[:, :, None] + self.transitions, dim=1) + emissions[:, word]
            total = following.where(words[:, word, None], total)
        return torch.logsumexp(total + self.end, dim=1)

    @torch.no_grad()
    def decode(self, emissions: Tensor) -> tuple[list[int], float]:
        """
        The most probable tags of one sentence, and their probability.

        Args:
            emissions: shape `(num_words, num_tags)`.
        """
        best, back = self.start + emissions[0], []
        for word in range(1, len(emissions)):
            step = best[:, None] + self.transitions
            best, origin = step.max(dim=0)
            best = best + emissions[word]
            back.append(origin)
        score, tag = (best + self.end).max(dim=0)
        tags = [int(tag)]
        for origin in reversed(back):
            tags.append(int(origin[tags[-1]]))
        words = torch.ones(1, len(emissions), dtype=torch.bool, device=emissions.device)
        return tags[::-1], float((score - self.log_partition(emissions[None], words)[0]).exp())
