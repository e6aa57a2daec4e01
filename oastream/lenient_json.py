"""JSON as servers and models write it: read whatever it holds, write whatever was read.

In: bytes or text → Python values, or `ValueError`. Out: values → JSON on one line. Does no I/O.
orjson does nearly all of it; what it refuses (bytes that are not UTF-8, lone surrogates, integers over 64 bits, deep
nesting) goes the slow way round, so that nothing from outside ends in an exception that nobody expects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from oastream.surrogates import join_surrogates

_LONG = b"0" * 19
"""As many digits as an integer has at least that does not fit into 64 bits."""
_STRIDE = 6
_LONG_SAMPLED = b"0" * (len(_LONG) // _STRIDE)
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")


def parse_json(data: bytes) -> Any:
    """JSON as any server may write it: bytes that are not UTF-8 become U+FFFD.

    Lone surrogates stay: `SurrogateJoiner` may find the other half in the next text.

    Raises `ValueError` for what is not JSON; NaN and Infinity are not.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _parse_slowly(data.decode("utf-8", "replace"))


def parse_exactly(data: bytes | str) -> Any:
    """JSON with every digit of its integers: orjson rounds those over 64 bits.

    Raises `UnicodeDecodeError` for bytes that are not UTF-8, and `ValueError` for what is not JSON, or could not be
    written again as it is.
    """
    text_bytes = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    if not _may_have_long_integers(text_bytes):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    return _parse_slowly(data.decode() if isinstance(data, bytes) else data, _finite)


def _may_have_long_integers(data: bytes) -> bool:
    """Whether there are more digits in a row than orjson is sure to keep; within a text, they cost time only."""
    # Of so many digits in a row three are at multiples of the stride. Of a line of 2.6 kB a look at those alone takes
    # 0.9 µs, at all of it 2, and r"\d{19}" 30.
    if _LONG_SAMPLED not in data[::_STRIDE].translate(_DIGITS_AS_ZEROS):
        return False
    return _LONG in data.translate(_DIGITS_AS_ZEROS)


def dumps(value: Any) -> bytes:
    """JSON on one line, of any depth; a lone surrogate becomes U+FFFD."""
    try:
        return orjson.dumps(value)
    except TypeError:  # also a surrogate, an integer over 64 bits, or more than 254 levels
        return join_surrogates(_dump_slowly(value)).encode()


def dumps_exactly(value: Any) -> bytes:
    """JSON on one line, of any depth. Raises `ValueError` for text that is not Unicode."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return _dump_slowly(value).encode()


def _parse_slowly(text: str, parse_float: Callable[[str], float] = float) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=parse_float)
    except RecursionError as error:  # some 990 levels; orjson gives up at 1,024
        raise ValueError("nested too deeply") from error


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """A float that can be written again: 1e400 would come back as null."""
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _dump_slowly(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (RecursionError, ValueError):
        return "".join(_pieces(value))


class _Piece(str):
    """JSON that is written already, among values that are not."""

    __slots__ = ()


def _pieces(value: Any) -> Iterator[str]:
    """JSON without recursion: orjson reads 1,024 levels, and Python's own encoder goes down less than 1,000."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, _Piece):
            yield each
        elif isinstance(each, dict):  # the last that is put on the list is the first that is taken off it
            todo += reversed(_members(each))
        elif isinstance(each, list):
            todo += reversed(_elements(each))
        elif isinstance(each, float) and not math.isfinite(each):
            yield "null"  # as orjson writes 1e400
        else:
            yield json.dumps(each, ensure_ascii=False)


def _members(value: dict[str, Any]) -> list[Any]:
    inner: list[Any] = [_Piece("{")]
    for name, member in value.items():
        inner += (_Piece(f"{json.dumps(name, ensure_ascii=False)}:"), member, _Piece(","))
    return _with_bracket(inner, "}")


def _elements(value: list[Any]) -> list[Any]:
    inner: list[Any] = [_Piece("[")]
    for element in value:
        inner += (element, _Piece(","))
    return _with_bracket(inner, "]")


def _with_bracket(inner: list[Any], bracket: str) -> list[Any]:
    if len(inner) > 1:
        inner.pop()  # no comma after the last
    return [*inner, _Piece(bracket)]
