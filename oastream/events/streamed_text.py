"""One run of text as it streams: what each delta adds to it, and what each later repetition of the text adds.

In: deltas, then the text again from a `done` event or the final output. Out: what can be printed now; a `Failure` when
the server contradicts what was printed. Refuses to know items and events.

Only a text's size, checksum and beginning are kept, so that memory stays flat. That is enough to tell whether a later
text repeats it, continues it, or contradicts it. Servers trim white space from either end of the texts they repeat, so
size and checksum are known without it, too.
"""

from __future__ import annotations

import zlib

from oastream.events.text_buffer import TextBuffer
from oastream.exits import Outcome, failure_of
from oastream.surrogates import SurrogateJoiner, join_surrogates

_COUNT_AT = 128
"""How many characters of deltas are counted at once: a checksum for each delta took a tenth of the time of an event.

Not more, since a delta takes fifty bytes more than its text while it waits, and a batch has thousands of streams: with
2,048, 5,000 streams took 20 MB more.
"""
_MAX_OPENING = 1 << 16
"""How many bytes of a text are kept, to recognize a shorter text as its beginning."""

_TAIL = 256
"""Bytes in which white space at the end of a text is looked for first."""

Fingerprint = tuple[int, int]
"""What distinguishes texts: the size in bytes and the CRC-32, which can be computed piece by piece.

Not a cryptographic digest: a server that forged a collision would only garble its own answer.
"""

_NOTHING: Fingerprint = (0, 0)


class StreamedText:
    """One run of text.

    `in_answer` says that it is part of the answer's text, `is_final` that its deltas are printed as they arrive and
    cannot be taken back, `keep_text` that the text itself is needed at the end.
    """

    __slots__ = (
        "_checksum",
        "_is_final",
        "_joiner",
        "_kept",
        "_leading_space",
        "_opening",
        "_size",
        "_trimmed",
        "_uncounted",
        "_uncounted_size",
        "in_answer",
        "is_done",
    )

    def __init__(self, in_answer: bool, is_final: bool, keep_text: bool) -> None:
        self.in_answer = in_answer
        self.is_done = False
        """Whether the server has repeated all of it."""
        self._is_final = is_final
        self._kept: TextBuffer | None = None
        if keep_text:
            self._kept = TextBuffer()
        self._joiner = SurrogateJoiner()
        self._uncounted: list[str] = []  # pieces that the fields below do not include yet
        self._uncounted_size = 0
        self._size = 0
        self._checksum = 0
        self._trimmed: Fingerprint | None = None  # of the text without the white space at its end, if there is some
        self._leading_space = _NOTHING  # of the white space that it begins with
        self._opening = b""  # unless the text itself is kept

    @property
    def has_begun(self) -> bool:
        return self._size > 0 or any(self._uncounted)

    def add(self, delta: str) -> str:
        """Take a delta; returns what can be printed now: a lone half of a surrogate pair must wait for the other."""
        text = self._joiner.feed(delta)
        if text:
            self._uncounted.append(text)
            self._uncounted_size += len(text)
            if self._uncounted_size >= _COUNT_AT:
                self._count()
        return text

    def complete_with(self, full: str) -> str:
        """Take the text in full; returns the part that is new. Raises `Failure` if it contradicts what was printed."""
        self.is_done = True
        left_over = self._joiner.close()
        self._uncounted.append(left_over)
        data = encode_text(full)
        if not data:
            return left_over
        self._count()
        rest = self._find_rest(data)
        if rest is not None:
            text = full if rest is data and full.isascii() else rest.decode()  # a long one is not there twice
            self._uncounted.append(text)
            return left_over + text
        if self._is_final:
            raise failure_of(Outcome.MALFORMED, "the answer contradicts itself", "a final text differs from its deltas")
        if self._kept is not None:
            self._opening = self._beginning()
            self._kept = TextBuffer(data.decode())  # nothing was printed, so the server's last word counts
        return ""

    def text(self) -> str:
        """The text so far; empty without `keep_text`."""
        self._count()
        if self._kept is None:
            return ""
        return self._kept.text()

    # Which text it is --------------------------------------------------------------------------------------------

    def fingerprint(self) -> Fingerprint:
        self._count()
        return self._size, self._checksum

    def trimmed_fingerprint(self) -> Fingerprint:
        """The same, without the white space at the text's end."""
        self._count()
        return self._trimmed or (self._size, self._checksum)

    def agrees_with(self, full: str) -> bool:
        """Whether `full` repeats this text, continues it, or is a beginning of it."""
        self._count()
        return self._size > 0 and self._find_rest(encode_text(full)) is not None

    # Counting ----------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        """Bring everything up to date with the pieces that wait."""
        text = "".join(self._uncounted)
        self._uncounted.clear()
        self._uncounted_size = 0
        if not text:
            return
        if self._kept is not None:
            self._kept.add(text)
        data = text.encode()
        if self._size < _MAX_OPENING and (self._kept is None or self._opening):
            self._opening += data[: _MAX_OPENING - self._size]
        if self._size == self._leading_space[0]:  # there was nothing but white space before
            space = data[: len(data) - len(data.lstrip())]
            self._leading_space = self._size + len(space), zlib.crc32(space, self._checksum)
        if data[-1] > ord(" "):
            self._trimmed = None
        else:
            self._mark_trimmed(data)
        self._size += len(data)
        self._checksum = zlib.crc32(data, self._checksum)

    def _mark_trimmed(self, data: bytes) -> None:
        """`data` ends in white space: what precedes it may be all that the server repeats."""
        size = _trimmed_size(data)
        if size:
            self._trimmed = self._size + size, zlib.crc32(memoryview(data)[:size], self._checksum)
        elif self._trimmed is None:
            self._trimmed = self._size, self._checksum

    # Comparing ---------------------------------------------------------------------------------------------------

    def _find_rest(self, data: bytes) -> bytes | None:
        """What `data` adds to the text so far; None when it is another text.

        It is the same text if white space is missing at either end, and if it only repeats less.
        """
        for missing in dict.fromkeys((_NOTHING, self._leading_space)):
            if self._starts_with(data, (self._size, self._checksum), missing):
                return data[self._size - missing[0] :]
            if self._repeats_trimmed(data, missing) or self._is_beginning(data, missing[0]):
                return b""
        return None

    def _starts_with(self, data: bytes, text: Fingerprint, missing: Fingerprint) -> bool:
        """Whether `data`, after the leading white space that is missing from it, starts with that text."""
        size = text[0] - missing[0]
        return 0 <= size <= len(data) and zlib.crc32(memoryview(data)[:size], missing[1]) == text[1]

    def _repeats_trimmed(self, data: bytes, missing: Fingerprint) -> bool:
        """Whether `data` is the text, except for the white space at its end."""
        trimmed = self._trimmed
        if trimmed is None or not self._starts_with(data, trimmed, missing):
            return False
        return not data[trimmed[0] - missing[0] :].strip()

    def _is_beginning(self, data: bytes, missing_size: int) -> bool:
        """Whether `data` is a beginning of the text, as far as the opening tells."""
        data = data.rstrip()
        if not data or len(data) >= self._size - missing_size:
            return False
        opening = self._beginning()[missing_size : missing_size + len(data)]
        return bool(opening) and data.startswith(opening)

    def _beginning(self) -> bytes:
        """The first bytes of what was streamed: kept once, since a batch has thousands of texts."""
        if self._kept is None or self._opening:
            return self._opening
        return self._kept.text().encode()[:_MAX_OPENING]


def _trimmed_size(data: bytes) -> int:
    """Bytes up to the white space at the end, which is mostly short: not all of a long text is copied to strip it."""
    tail = data[-_TAIL:]
    space = len(tail) - len(tail.rstrip())
    if space < len(tail):
        return len(data) - space
    return len(data.rstrip())


def encode_text(text: str) -> bytes:
    """A complete text as UTF-8. It may be as long as the answer, so it is copied only where it must be."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return join_surrogates(text).encode()
