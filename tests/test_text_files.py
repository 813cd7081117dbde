"""Encodings of text files: detected, given, or refused, but never mistaken in silence."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_iser.text_files import GUESSED, check_decoded, decode, known_encoding, open_text


CHINESE = st.text(st.sampled_from("与阿司匹林合用,出血的危险增加。本品 A1\n"), min_size=1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"))


@given(TEXT, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_unicode_is_recognised(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    assert decode(data) == (text, None)
    assert "".join(open_text(io.BufferedReader(io.BytesIO(data)))[0]).removeprefix("\ufeff") == text


@given(CHINESE.filter(lambda text: not text.isascii()), st.sampled_from(["gb2312", "gbk", "gb18030"]))
def test_chinese_encodings_are_recognised_with_a_note(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    if (found := decode(data)) != (text, GUESSED):  # Single characters may be valid UTF-8 too.
        assert data.decode("utf-8") == found[0]
    assert decode(data, encoding) == (text, None)


@given(st.binary())
def test_whatever_is_not_utf8_is_refused_or_noted(data: bytes) -> None:
    try:
        text, note = decode(data)
    except ValueError:
        return
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
    assert note == GUESSED or marked or text.encode() == data.removeprefix(b"\xef\xbb\xbf")


@pytest.mark.parametrize("text", ["Müller trinkt Kaffee", "“quoted” — text", "naïve café, über 5 °C"])
def test_western_encodings_are_not_taken_for_chinese(text: str) -> None:
    with pytest.raises(ValueError, match="line 1: neither UTF-8 nor GB18030"):
        decode(text.encode("cp1252"))
    assert decode(text.encode("cp1252"), "cp1252") == (text, None)


def test_errors_say_where() -> None:
    text = "甲\n乙\n"
    with pytest.raises(ValueError, match="line 3: not utf-8"):
        decode(text.encode() + b"\xff", "utf-8")
    with pytest.raises(ValueError, match="UTF-16 without a byte order mark"):
        decode("乙 and 丙\n".encode("utf-16-le"))
    assert decode(text.encode("utf-16-le"), "utf-16-le") == (text, None)
    assert decode("甲\0乙".encode()) == ("甲\0乙", None)
    for wrong in ("gbkk", "base64", ""):
        with pytest.raises(ValueError, match=f"encoding='{wrong}' is not known"):
            known_encoding(wrong)


def test_a_damaged_line_of_a_stream_costs_no_other() -> None:
    lines = [line.encode("gb18030") for line in ("甲增强乙\n", "丙\n", "丁")]
    for damaged in (b"\xff\n", b"\x81\n"):
        stream = io.BytesIO(b"".join([*lines[:2], damaged, lines[2]]))
        text, _ = open_text(io.BufferedReader(stream), "gb18030")
        first, second, third, fourth = text
        assert [first, second, fourth] == ["甲增强乙\n", "丙\n", "丁"]
        for line in (first, second, fourth):
            check_decoded(line, "gb18030")
        with pytest.raises(ValueError, match=r"^not gb18030$"):
            check_decoded(third, "gb18030")


def test_an_incomplete_character_at_the_end_of_the_buffer_is_no_error() -> None:
    for encoding, note in (("utf-8", None), ("gb18030", GUESSED)):
        data = ("与阿司匹林合用" * 100).encode(encoding)
        for size in range(200, 206):
            text, found = open_text(io.BufferedReader(io.BytesIO(data), buffer_size=size))
            assert (text.read(), found) == ("与阿司匹林合用" * 100, note)
