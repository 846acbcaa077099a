"""Which partition a key belongs to: murmur2, as the Kafka clients of Java and aiokafka have it by default."""

from __future__ import annotations

_SEED, _M, _MASK = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The 32-bit hash that Kafka's default partitioner uses, as an unsigned number.

    >>> murmur2(b"21") == -973932308 & 0xFFFFFFFF
    True
    """
    length = len(key)
    found = (_SEED ^ length) & _MASK
    whole = length & ~3
    for place in range(0, whole, 4):
        k = int.from_bytes(key[place : place + 4], "little")
        k = (k * _M) & _MASK
        k ^= k >> 24
        k = (k * _M) & _MASK
        found = ((found * _M) & _MASK) ^ k
    rest = key[whole:]
    if rest:
        found ^= int.from_bytes(rest, "little")
        found = (found * _M) & _MASK
    found ^= found >> 13
    found = (found * _M) & _MASK
    return found ^ (found >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key among so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
