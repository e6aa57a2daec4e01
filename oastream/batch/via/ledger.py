"""FILE.via: which pieces of a batch are with the provider, and how far each has come.

In: the path, the server's base URL; pieces and their stages. Out: a file that is replaced whole, synced, at each step,
and is gone once no piece is left. Raises `Failure`: journal for a file that is none of ours or belongs to another
server, output where it cannot be written. Knows nothing of the provider, nor of what is in a piece but ids and hashes.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oastream.batch.keys import id_digest
from oastream.exits import Failure, Outcome, failure_of
from oastream.files import replace_file
from oastream.lenient_json import dumps, parse_json
from oastream.redaction import mask_text
from oastream.system_errors import describe_error

_VERSION = 1
_KEY_BYTES = 8
_ENTRY_BYTES = 2 * _KEY_BYTES


class Stage(enum.Enum):
    """How far a piece has come; the package says what follows from each."""

    UPLOADING = "uploading"
    CREATING = "creating"
    RUNNING = "running"
    WAITING = "waiting"


class Entries:
    """Which items a piece has, in the order of its lines: 16 bytes each, for the id and for HASH of the request."""

    def __init__(self, packed: bytes = b"") -> None:
        self._packed = bytearray(packed)

    def __len__(self) -> int:
        return len(self._packed) // _ENTRY_BYTES

    def __bytes__(self) -> bytes:
        return bytes(self._packed)

    def add(self, custom_id: str, request: str) -> None:
        self._packed += id_digest(custom_id).to_bytes(_KEY_BYTES, "big") + bytes.fromhex(request)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Key of the id, HASH of the request."""
        for at in range(0, len(self._packed), _ENTRY_BYTES):
            key = int.from_bytes(self._packed[at : at + _KEY_BYTES], "big")
            yield key, int.from_bytes(self._packed[at + _KEY_BYTES : at + _ENTRY_BYTES], "big")


@dataclass
class Piece:
    """Items that go as one batch. `digest` is the hash of its file, `attempt` counts its batches, from 1."""

    digest: str
    endpoint: str
    model: str
    entries: Entries
    stage: Stage = Stage.UPLOADING
    attempt: int = 1
    file_id: str | None = None
    batch_id: str | None = None

    @property
    def is_running(self) -> bool:
        return self.stage is Stage.RUNNING


class Ledger:
    """The pieces of one answers file. `run` is random: other runs with the same items have other batches.

    `began` is Unix time.
    """

    def __init__(self, path: str, base_url: str) -> None:
        self.path = path
        self._base_url = mask_text(base_url)
        self.run = os.urandom(8).hex()
        self.began = int(time.time())
        self.pieces: list[Piece] = []

    def load(self) -> None:
        """Read what an earlier run has left, if there is something."""
        try:
            with open(self.path, "rb") as file:
                fields = parse_json(file.read())
            base_url = fields["base_url"]
            pieces = [_read_piece(piece) for piece in fields["pieces"]]
            self.run, self.began = str(fields["run"]), int(fields["began"])
        except FileNotFoundError:
            return
        except OSError as error:
            raise failure_of(Outcome.OUTPUT, f"{self.path} cannot be read", describe_error(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            why = "it is no record of batches"
            raise failure_of(Outcome.JOURNAL, f"{self.path} cannot be continued", why) from error
        if base_url != self._base_url:
            raise failure_of(Outcome.JOURNAL, f"{self.path} cannot be continued", f"its batches are at {base_url}")
        self.pieces = pieces

    def save(self) -> None:
        """Let what is known be safe on the disk, in one step; without pieces there is no file."""
        try:
            if self.pieces:
                self._replace()
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)
        except OSError as error:
            raise self._failure(error) from error

    def _replace(self) -> None:
        fields = {
            "version": _VERSION,
            "base_url": self._base_url,
            "run": self.run,
            "began": self.began,
            "pieces": [_write_piece(piece) for piece in self.pieces],
        }
        replace_file(self.path, dumps(fields) + b"\n", 0o600)

    def _failure(self, error: OSError) -> Failure:
        return failure_of(Outcome.OUTPUT, f"{self.path} cannot be written", describe_error(error))

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.save()

    def drop(self, piece: Piece) -> None:
        """Nothing is with the provider any more that this run wants."""
        self.pieces.remove(piece)
        self.save()

    def file_name(self, piece: Piece) -> str:
        """What the provider calls the file of a piece: by it an upload is found again."""
        return f"oastream-{self.run}-{piece.digest}.jsonl"

    def metadata(self, piece: Piece) -> dict[str, str]:
        """What a batch says of itself: by it one is found again whose id was never heard."""
        return {"oastream_run": self.run, "oastream_piece": piece.digest, "oastream_attempt": str(piece.attempt)}


def _write_piece(piece: Piece) -> dict[str, Any]:
    return {
        "piece": piece.digest,
        "endpoint": piece.endpoint,
        "model": piece.model,
        "stage": piece.stage.value,
        "attempt": piece.attempt,
        "file_id": piece.file_id,
        "batch_id": piece.batch_id,
        "items": len(piece.entries),
        "entries": base64.b64encode(bytes(piece.entries)).decode(),
    }


def _read_piece(fields: dict[str, Any]) -> Piece:
    packed = base64.b64decode(fields["entries"], validate=True)
    if len(packed) != fields["items"] * _ENTRY_BYTES:
        raise ValueError
    return Piece(
        str(fields["piece"]),
        str(fields["endpoint"]),
        str(fields["model"]),
        Entries(packed),
        Stage(fields["stage"]),
        int(fields["attempt"]),
        fields["file_id"],
        fields["batch_id"],
    )
