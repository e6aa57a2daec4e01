"""Ids and request hashes in few bytes, so that a million of them fit in memory.

In: an id, the body of a request. Out: integers of at most 60 bits, which Python keeps in 32 bytes (one of 64 bits takes
48, a text of ten letters 64). Two ids of ten million share a key with a probability of 1 in 25,000; what follows then
is an error that names the id, never an answer that is lost: requests are compared as well.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

_KEY_BITS = 60


def shard_number(custom_id: str) -> int:
    """BLAKE2b-64 of the id, big-endian: modulo the number of shards it is the shard that the id belongs to."""
    return int.from_bytes(blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@lru_cache(maxsize=1)  # everything about one item is asked in a row
def id_key(custom_id: str) -> int:
    """What stands for the id in memory."""
    return shard_number(custom_id) >> (64 - _KEY_BITS)


def request_hash(body: bytes) -> str:
    """HASH of a request: BLAKE2b-64 of its body as it is sent, 16 hexadecimal digits."""
    return blake2b(body, digest_size=8).hexdigest()
