"""Splitting text into words, and words into windows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_iser.text_iser import split_windows, split_words, window_territories


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("布美他尼片@与多巴胺合用", ["布", "美", "他", "尼", "片", "@", "与", "多", "巴", "胺", "合", "用"]),
        ("CYP3A4抑制剂 5mg", ["CYP3A4", "抑", "制", "剂", "5mg"]),
        ("Anna's 2.5-fold rise.", ["Anna", "'", "s", "2", ".", "5", "-", "fold", "rise", "."]),
        ("β受体阻滞剂", ["β", "受", "体", "阻", "滞", "剂"]),
        ("Umeå e\u0301t 𠮷野 カナ", ["Umeå", "e", "\u0301", "t", "𠮷", "野", "カ", "ナ"]),
        ("a_b\u3000\t\r\n😀", ["a", "_", "b", "😀"]),
        ("ABC123", ["ABC123"]),
        ("", []),
        (" ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words


@given(st.text())
def test_words_cover_everything_but_whitespace(text: str) -> None:
    position = 0
    for start, end in split_words(text):
        assert position <= start < end
        assert not text[position:start].strip()
        assert not any(character.isspace() for character in text[start:end])
        position = end
    assert not text[position:].strip()


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(6, 20), st.integers(0, 20))
def test_windows_cover_every_word_and_fit(sizes: list[int], limit: int, overlap: int) -> None:
    windows = split_windows(sizes, limit, overlap)
    assert {word for start, end in windows for word in range(start, end)} == set(range(len(sizes)))
    assert all(sum(sizes[start:end]) <= limit for start, end in windows)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(windows))
    assert len(windows) == 1 or sum(sizes) > limit or not sizes
    territories = window_territories(windows)
    assert [word for start, end in territories for word in range(start, end)] == list(range(len(sizes)))
    assert all(w[0] <= t[0] <= t[1] <= w[1] for w, t in zip(windows, territories, strict=True))


def test_windows_overlap_as_requested() -> None:
    assert split_windows([1] * 20, 10, 4) == [(0, 10), (6, 16), (12, 20)]
    assert window_territories([(0, 10), (6, 16), (12, 20)]) == [(0, 8), (8, 14), (14, 20)]


def test_word_beyond_the_limit_is_a_window_by_itself() -> None:
    assert (1, 2) in split_windows([1, 99, 1], 10, 0)
