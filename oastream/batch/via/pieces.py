"""Items to ask → files for the Batch API: at most 50,000 lines and 200 MB, one model and one endpoint each.

In: work in the order of the input. Out: pieces with their files, each when it is full, the rest at the end. A file has
no name and is gone with the process. Uploads nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from typing import BinaryIO, NamedTuple

from oastream.batch.input import VERSION
from oastream.batch.runner import Work
from oastream.batch.via.ledger import Entries, Piece
from oastream.exits import Outcome, failure_of
from oastream.lenient_json import dumps, parse_json
from oastream.system_errors import describe_error

MOST_LINES = 50_000
MOST_BYTES = 200_000_000
"""The limits of OpenAI's; whether its MB are a million bytes is not said, so the smaller ones count."""
_DIGEST_BYTES = 16


class CutPiece(NamedTuple):
    """A piece, and the file that is to be uploaded for it."""

    piece: Piece
    file: BinaryIO


def cut_pieces(works: Iterator[Work]) -> Iterator[CutPiece]:
    """The pieces of all that is to be asked. Work is taken no faster than pieces are."""
    open_ones: dict[tuple[str, str], _Growing] = {}
    for work in works:
        line = _line_of(work)
        group = work.prepared.path, _model_of(work.prepared.body)
        growing = open_ones.get(group)
        if growing is not None and not growing.has_room_for(line):
            yield growing.finish()
            growing = None
        if growing is None:
            growing = open_ones[group] = _Growing(*group)
        growing.add(work, line)
    for growing in open_ones.values():
        yield growing.finish()


def _line_of(work: Work) -> bytes:
    """The line of an item. Its body is put in as it is: HASH is of these bytes."""
    url = dumps(VERSION + work.prepared.path)
    start = b'{"custom_id":' + dumps(work.item.custom_id) + b',"method":"POST","url":' + url + b',"body":'
    return start + work.prepared.body + b"}\n"


def _model_of(body: bytes) -> str:
    model = parse_json(body).get("model")
    return model if isinstance(model, str) else ""


class _Growing:
    """A piece that still takes items."""

    def __init__(self, path: str, model: str) -> None:
        self._endpoint = VERSION + path
        self._model = model
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  it outlives this call, until it is uploaded
        self._hash = blake2b(digest_size=_DIGEST_BYTES)
        self._size = 0
        self._entries = Entries()

    def has_room_for(self, line: bytes) -> bool:
        return len(self._entries) < MOST_LINES and self._size + len(line) <= MOST_BYTES

    def add(self, work: Work, line: bytes) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise failure_of(Outcome.OUTPUT, "a piece of the batch cannot be written", describe_error(error)) from error
        self._hash.update(line)
        self._size += len(line)
        self._entries.add(work.item.custom_id, work.prepared.request)

    def finish(self) -> CutPiece:
        return CutPiece(Piece(self._hash.hexdigest(), self._endpoint, self._model, self._entries), self._file)
