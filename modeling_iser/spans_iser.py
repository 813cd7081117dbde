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
        max_span_width: maximum width k.

    Returns:
        The candidate spans, ordered by sentence, then start, then end.
    """
    longest = int(num_words.max()) if len(num_words) else 0
    return spans_of_grid(candidate_grid(num_words, longest, max_span_width))


def candidate_grid(num_words: Tensor, longest: int, max_span_width: int) -> Tensor:
    """
    Mask of the spans that lie within their sentence, shape `(batch_size, longest, max_span_width)`.

    In such a grid, `[:, i, w - 1]` is the span of w words that starts at word i.

    Args:
        num_words: words of each sentence, shape `(batch_size,)`.
        longest: words of the longest sentence.
        max_span_width: maximum width k.
    """
    positions = torch.arange(longest, device=num_words.device)
    ends = positions[:, None] + torch.arange(1, max_span_width + 1, device=num_words.device)
    return ends <= num_words[:, None, None]


def spans_of_grid(grid: Tensor) -> Spans:
    """The spans where a grid (see `candidate_grid`) is true, ordered by sentence, then start, then end."""
    sentence, start, width_index = grid.nonzero(as_tuple=True)
    return Spans(sentence, start, start + width_index + 1)


def places_in_grid(spans: Spans) -> tuple[Tensor, Tensor, Tensor]:
    """The indices of spans in a grid (see `candidate_grid`), three tensors of shape `(num_spans,)`."""
    return spans.sentence, spans.start, spans.width - 1


def best_of_sentences(scores: Tensor, sentence: Tensor, most: int) -> Tensor:
    """
    Mask of the `most` spans with the highest scores in each sentence, shape `(num_spans,)`; ties go to the first.

    Args:
        scores: shape `(num_spans,)`.
        sentence: index of the sentence of each span, in ascending order, shape `(num_spans,)`.
        most: maximum number of spans per sentence.
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[sentence[order].argsort(stable=True)]
    counts = sentence.bincount()
    rank = torch.arange(len(sentence), device=sentence.device) - (counts.cumsum(0) - counts)[sentence]
    return torch.zeros_like(sentence, dtype=torch.bool).index_fill(0, order[rank < most], True)


class RangeMax:
    """
    Max-pooling over ranges of positions in a batch of sequences, with a sparse table.

    Level l of the table holds the maximum of every window of 2**l positions, so the maximum of any range is that of
    two windows. Building the table costs O(length · log width), a query O(1). Levels are built when first needed.

    Args:
        sequences: shape `(batch_size, length, hidden_size)`.
    """

    def __init__(self, sequences: Tensor) -> None:
        self.length, self.hidden_size = sequences.shape[1:]
        self.levels = [sequences]
        self._table = sequences.reshape(-1, self.hidden_size)

    def __call__(self, ranges: Spans) -> Tensor:
        """
        Maximum over each range, shape `(num_ranges, hidden_size)`; a zero vector for an empty range
        (`end <= start`).
        """
        empty = ranges.end <= ranges.start
        width = ranges.width.clamp(min=1)
        level = torch.floor(torch.log2(width.to(torch.float64))).long()
        table = self._table_up_to(int(level.max()) if len(level) else 0)
        window = 2**level
        rows_per_level = len(self.levels[0]) * self.length
        row = level * rows_per_level + ranges.sentence * self.length
        last_start = self.length - window
        first = torch.minimum(ranges.start, last_start)
        second = torch.minimum(torch.maximum(ranges.end - window, first), last_start)
        pooled = torch.maximum(table.index_select(0, row + first), table.index_select(0, row + second))
        return pooled.masked_fill(empty[:, None], 0.0)

    def _table_up_to(self, level: int) -> Tensor:
        """All levels, concatenated, shape `(at least (level + 1) * batch_size * length, hidden_size)`."""
        if level >= len(self.levels):
            while level >= len(self.levels):
                shift = 2 ** (len(self.levels) - 1)
                previous = self.levels[-1]
                # Windows that would run past the end are never queried; their positions keep the shorter window.
                windows = torch.maximum(previous[:, :-shift], previous[:, shift:])
                self.levels.append(torch.cat([windows, previous[:, -shift:]], dim=1))
            self._table = torch.cat([level.reshape(-1, self.hidden_size) for level in self.levels])
        return self._table


def between(first: Spans, second: Spans) -> Spans:
    """
    The words between two spans of a sentence, in either order (paper 3.6: local context).

    The range is empty (`end <= start`) if the spans are adjacent or overlap.
    """
    return Spans(first.sentence, torch.minimum(first.end, second.end), torch.maximum(first.start, second.start))


def ordered_pairs(sentence: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """
    Every ordered pair of two different chosen spans of one sentence (paper 3.6: both orders).

    Args:
        sentence: index of the sentence of each span, ascending, shape `(num_spans,)`.
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
