"""Ids and request hashes in few bytes, so that a million of them fit in memory.

In: an id, the body of a request. Out: integers of at most 60 bits, which Python keeps in 32 bytes (one of 64 bits takes
48, a text of ten letters 64). Two ids of ten million share a key with a probability of 1 in 25,000; what follows then
is an error that names the id, never an answer that is lost: requests are compared as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import blake2b

_KEY_BITS = 60


def shard_number(custom_id: str) -> int:
    """BLAKE2b-64 of the id, big-endian: modulo the number of shards it is the shard that the id belongs to."""
    return int.from_bytes(blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def id_digest(custom_id: str) -> int:
    """The same for an id in every process: what an answer is called by."""
    return shard_number(custom_id) >> (64 - _KEY_BITS)


def _id_hash(custom_id: str) -> int:
    return hash(custom_id) >> (64 - _KEY_BITS)


_HAS_SIPHASH = sys.hash_info.hash_bits == 64 and sys.hash_info.algorithm.startswith("siphash")
id_key: Callable[[str], int] = _id_hash if _HAS_SIPHASH else id_digest
"""What stands for an id in the memory of this process. Python's own hash is there already, BLAKE2b takes 0.6 µs."""


def request_hash(body: bytes) -> str:
    """HASH of a request: BLAKE2b-64 of its body as it is sent, 16 hexadecimal digits."""
    return blake2b(body, digest_size=8).hexdigest()
