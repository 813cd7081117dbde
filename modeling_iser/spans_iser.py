"""Spans as flat index tensors: enumeration of candidates and max-pooling over ranges of words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spans:
    """
    Ranges of words of a batch of sentences, as flat index tensors, each of shape `(num_spans,)`.

    Attributes:
        sentence: index of the sentence in the batch.
        start: first word of the span.
        end: the word after the last word of the span.
    """

    sentence: Tensor
    start: Tensor
    end: Tensor

    def __len__(self) -> int:
        return len(self.sentence)

    def __getitem__(self, index: Tensor | slice) -> Spans:
        return Spans(self.sentence[index], self.start[index], self.end[index])

    @property
    def width(self) -> Tensor:
        """Number of words of each span, shape `(num_spans,)`."""
        return self.end - self.start


def enumerate_spans(num_words: Tensor, max_span_width: int) -> Spans:
    """
    All spans of up to `max_span_width` words of every sentence (paper 3.4: the sliding window).

    Args:
        num_words: words of each sentence, shape `(batch_size,)`.
        max_span_width: width limit k.

    Returns:
        The candidate spans, ordered by sentence, then start, then end.
    """
    longest = int(num_words.max()) if len(num_words) else 0
    positions = torch.arange(longest, device=num_words.device)
    widths = torch.arange(1, max_span_width + 1, device=num_words.device)
    ends = positions[:, None] + widths[None, :]
    fits = ends[None] <= num_words[:, None, None]
    sentence, start, width_index = fits.nonzero(as_tuple=True)
    return Spans(sentence, start, start + width_index + 1)


def best_of_sentences(scores: Tensor, sentence: Tensor, most: int) -> Tensor:
    """
    True at the `most` greatest scores of each sentence, of equal ones at the first, shape `(num_spans,)`.

    Args:
        scores: shape `(num_spans,)`.
        sentence: index of the sentence of each span, in ascending order, shape `(num_spans,)`.
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[sentence[order].argsort(stable=True)]
    counts = sentence.bincount()
    rank = torch.arange(len(sentence), device=sentence.device) - (counts.cumsum(0) - counts)[sentence]
    return torch.zeros_like(sentence, dtype=torch.bool).index_fill(0, order[rank < most], True)


class RangeMax:
    """
    Max-pooling over ranges of the positions of a batch of sequences, as a sparse table.

    Level l of the table holds the maximum of every window of 2**l positions, so that any range is the
    maximum of two windows: building costs O(length · log width), a query O(1).

    Args:
        sequences: shape `(batch_size, length, hidden_size)`.
        max_width: widest range that will be asked for, in positions.
    """

    def __init__(self, sequences: Tensor, max_width: int) -> None:
        batch_size, self.length, self.hidden_size = sequences.shape
        self.rows_per_level = batch_size * self.length
        levels = [sequences]
        while 2 ** len(levels) <= min(max_width, self.length):
            shift = 2 ** (len(levels) - 1)
            previous = levels[-1]
            # Positions whose window would run past the end are never asked for; they keep the shorter window.
            windows = torch.maximum(previous[:, :-shift], previous[:, shift:])
            levels.append(torch.cat([windows, previous[:, -shift:]], dim=1))
        self.table = torch.cat([level.reshape(-1, self.hidden_size) for level in levels])

    def __call__(self, ranges: Spans) -> Tensor:
        """
        Maximum over each range, shape `(num_ranges, hidden_size)`; a zero vector for an empty range
        (`end <= start`).
        """
        empty = ranges.end <= ranges.start
        width = ranges.width.clamp(min=1)
        level = torch.floor(torch.log2(width.to(torch.float64))).long()
        window = 2**level
        row = level * self.rows_per_level + ranges.sentence * self.length
        last_start = self.length - window
        first = torch.minimum(ranges.start, last_start)
        second = torch.minimum(torch.maximum(ranges.end - window, first), last_start)
        pooled = torch.maximum(self.table.index_select(0, row + first), self.table.index_select(0, row + second))
        return pooled.masked_fill(empty[:, None], 0.0)


def between(first: Spans, second: Spans) -> Spans:
    """
    The words between two spans of a sentence (paper 3.6: local context), whichever comes first.

    Adjacent and overlapping spans have an empty range between them (`end <= start`).
    """
    return Spans(first.sentence, torch.minimum(first.end, second.end), torch.maximum(first.start, second.start))


def ordered_pairs(sentence: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """
    Every ordered pair of two different chosen spans of one sentence (paper 3.6: both orders).

    Args:
        sentence: sentence of every span, ascending, shape `(num_spans,)`.
        chosen: indices of the chosen spans, ascending, shape `(num_chosen,)`.

    Returns:
        Heads and tails as indices of spans, each of shape `(num_pairs,)`.
    """
    chosen_sentence = sentence[chosen]
    counts = torch.bincount(chosen_sentence) if len(chosen) else chosen.new_zeros(0)
    partners = counts[chosen_sentence]
    head = torch.repeat_interleave(torch.arange(len(chosen), device=chosen.device), partners)
    first_of_sentence = (counts.cumsum(0) - counts)[chosen_sentence]
    first_row_of_head = partners.cumsum(0) - partners
    rank = torch.arange(len(head), device=chosen.device) - first_row_of_head[head]
    tail = first_of_sentence[head] + rank
    different = head != tail
    return chosen[head[different]], chosen[tail[different]]
