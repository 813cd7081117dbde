"""Candidate spans, range max-pooling and pairs, compared with explicit loops."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_iser.spans_iser import RangeMax, Spans, best_of_sentences, between, enumerate_spans, ordered_pairs


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 12))
def test_enumeration(lengths: list[int], width: int) -> None:
    spans = enumerate_spans(torch.tensor(lengths), width)
    assert list(zip(*(part.tolist() for part in (spans.sentence, spans.start, spans.end)), strict=True)) == [
        (sentence, start, end)
        for sentence, length in enumerate(lengths)
        for start in range(length)
        for end in range(start + 1, min(start + width, length) + 1)
    ]


@given(st.integers(1, 3), st.integers(1, 17), st.data())
def test_range_maximum(batch_size: int, length: int, data: st.DataObject) -> None:
    torch.manual_seed(length)
    sequences = torch.randn(batch_size, length, 3, requires_grad=True)
    ranges = data.draw(
        st.lists(st.tuples(st.integers(0, batch_size - 1), st.integers(0, length), st.integers(0, length)), max_size=12)
    )
    spans = Spans(*(torch.tensor([r[i] for r in ranges], dtype=torch.long) for i in range(3)))
    pooled = RangeMax(sequences)(spans)
    expected = [
        sequences[s, a:b].max(dim=0).values if a < b else torch.zeros(3) for s, a, b in ranges
    ]  # fmt: skip
    assert pooled.shape == (len(ranges), 3)
    weights = torch.randn(len(ranges), 3)
    for row, want in zip(pooled, expected, strict=True):
        assert torch.equal(row, want)
    if any(a < b for _, a, b in ranges):
        (actual,) = torch.autograd.grad((pooled * weights).sum(), sequences, retain_graph=True)
        (wanted,) = torch.autograd.grad((torch.stack(expected) * weights).sum(), sequences)
        torch.testing.assert_close(actual, wanted)


def test_words_between_two_spans() -> None:
    def span(start: int, end: int) -> Spans:
        return Spans(torch.tensor([0]), torch.tensor([start]), torch.tensor([end]))

    for first, second, expected in [
        ((0, 2), (5, 7), (2, 5)),
        ((5, 7), (0, 2), (2, 5)),
        ((0, 2), (2, 3), None),
        ((0, 5), (3, 8), None),
        ((0, 9), (3, 4), None),
    ]:
        inner = between(span(*first), span(*second))
        words = list(range(int(inner.start), int(inner.end)))
        assert words == (list(range(*expected)) if expected else [])


@given(st.lists(st.integers(0, 3), max_size=9).map(sorted), st.data())
def test_ordered_pairs(sentences: list[int], data: st.DataObject) -> None:
    chosen = [index for index in range(len(sentences)) if data.draw(st.booleans())]
    head, tail = ordered_pairs(torch.tensor(sentences, dtype=torch.long), torch.tensor(chosen, dtype=torch.long))
    assert list(zip(head.tolist(), tail.tolist(), strict=True)) == [
        (a, b) for a in chosen for b in chosen if a != b and sentences[a] == sentences[b]
    ]


@given(st.lists(st.lists(st.integers(0, 5), max_size=9), max_size=4), st.integers(0, 10))
def test_best_of_sentences(scores: list[list[int]], most: int) -> None:
    flat = [(sentence, score) for sentence, row in enumerate(scores) for score in row]
    sentence = torch.tensor([s for s, _ in flat], dtype=torch.long)
    expected: list[bool] = []
    for row in scores:
        best = sorted(range(len(row)), key=lambda i: -row[i])[:most]
        expected += [i in best for i in range(len(row))]
    actual = best_of_sentences(torch.tensor([float(score) for _, score in flat]), sentence, most)
    assert actual.tolist() == expected
