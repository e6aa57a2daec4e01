"""JSON of the input keeps every digit of its integers, whichever way it is read.

In: JSON made by chance, around the numbers that orjson rounds. Out: what the standard library reads of the same text,
which knows no limit.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oastream.lenient_json import parse_exactly

EDGES = [sign * (2**bits + step) for bits in (53, 63, 64, 70) for step in (-1, 0, 1) for sign in (1, -1)]
NUMBERS = st.sampled_from(EDGES) | st.integers() | st.integers(10**17, 10**20) | st.floats(allow_nan=False)
VALUES = st.recursive(
    NUMBERS | st.text() | st.booleans() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def as_written(value: Any) -> str:
    """A value with the type of each number: 1 is not 1.0."""
    return repr(value)


def is_finite(value: Any) -> bool:
    """Whether JSON has a word for each number in it."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@given(value=VALUES, padding=st.integers(0, 20), ensure_ascii=st.booleans(), as_text=st.booleans())
def test_what_is_read_is_what_the_standard_library_reads(
    value: Any, padding: int, ensure_ascii: bool, as_text: bool
) -> None:
    """The padding moves the digits, of which only some are looked at, to every place."""
    written = " " * padding + json.dumps(value, ensure_ascii=ensure_ascii)
    if not is_finite(value):
        with pytest.raises(ValueError, match="not JSON"):
            parse_exactly(written)
        return
    try:
        data: bytes | str = written if as_text else written.encode()
    except UnicodeEncodeError:
        data = written
    assert as_written(parse_exactly(data)) == as_written(json.loads(written))


@pytest.mark.parametrize("text", ["Infinity", "NaN", "-Infinity"])
def test_a_text_may_be_the_name_of_no_number(text: str) -> None:
    assert parse_exactly(json.dumps({text: [text]})) == {text: [text]}


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**18, 10**19 - 1, 10**40])
def test_an_integer_keeps_its_digits_wherever_it_stands(number: int) -> None:
    for padding in range(40):
        assert parse_exactly(b"[" + b" " * padding + str(number).encode() + b"]") == [number]


def test_what_is_not_utf_8_is_told_from_what_is_no_json() -> None:
    with pytest.raises(UnicodeDecodeError):
        parse_exactly(b'["\xff"]')
    with pytest.raises(ValueError, match="Expecting"):
        parse_exactly(b"[1,")


@pytest.mark.parametrize("text", ["1e400", "-1e400", "[0.1, 1e309]"])
def test_a_number_that_could_not_be_written_again_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_exactly(text)
