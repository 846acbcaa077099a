"""Logs as C2SP tlog-tiles files: paths, entry bundles, hash tiles, and the state that grows them; for the audit lane.

Everything is a pure function of the entries: extending in one step or in many gives the same state, and the same files
but for partial ones in between. Files of full tiles and bundles never change. Tiles have height 8: 256 hashes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.audit.merkle import Node, fold, leaf_hash
from agents.errors import Inconsistent

WIDTH = 256
HASH = 32
Read = Callable[[str], bytes]
"""Reads a stored file by its path; raises FileNotFoundError where there is none."""

# Copying a hash object that has read its prefix is a tenth quicker than hashing prefix and data joined.
_new_leaf = hashlib.sha256(b"\x00").copy
_new_node = hashlib.sha256(b"\x01").copy
_size = struct.Struct(">H").pack


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """`tile/<level>/<index>[.p/<width>]`.

    >>> tile_path(0, 1234067), tile_path(1, 0, 17)
    ('tile/0/x001/x234/067', 'tile/1/000.p/17')
    """
    return f"tile/{level}/{_index_path(index)}{_partial(width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """`tile/entries/<index>[.p/<width>]`."""
    return f"tile/entries/{_index_path(index)}{_partial(width)}"


@dataclass(frozen=True, slots=True)
class LogState:
    """A log as far as it was written: what is needed to append to it, a few KiB whatever its size."""

    origin: str
    size: int = 0
    bundle: bytes = b""
    """The bytes of the last entry bundle, while it is partial."""
    tiles: tuple[bytes, ...] = (b"",)
    """By level: the hashes of the last tile, while it is partial."""

    def root(self) -> bytes:
        """The Merkle tree hash of RFC 6962 over all leaves."""
        rest: list[bytes] = []
        for tile in self.tiles:
            level = hashes_of(tile) + rest
            rest = [fold(level)] if level else []
        return fold(rest)


def extend(state: LogState, entries: Sequence[bytes]) -> tuple[LogState, dict[str, bytes], bytes]:
    """Append entries: the new state, the files to write (path under the store → bytes), and the new root.

    The files hold every tile and bundle that became full, and the partial ones as they stand after the last entry.

    Raises:
        Inconsistent: an entry is longer than 65,535 bytes.
    """
    files: dict[str, bytes] = {}
    tiles = list(state.tiles)
    bundle, size, at = state.bundle, state.size, 0
    while at < len(entries):
        chunk = entries[at : at + WIDTH - size % WIDTH]
        at, size = at + len(chunk), size + len(chunk)
        bundle += _bundled(chunk, state.origin)
        tiles[0] += _leaf_hashes(chunk)
        if size % WIDTH == 0:
            files[f"{state.origin}/{bundle_path(size // WIDTH - 1)}"] = bundle
            bundle = b""
            _complete(state.origin, tiles, size, files)
    new = LogState(state.origin, size, bundle, tuple(tiles))
    files.update(_partials(state, new))
    return new, files, new.root()


def load(read: Read, origin: str, size: int) -> LogState:
    """The state of a stored log at `size` leaves, from its tiles; files that grew further since serve as well.

    Raises:
        Inconsistent: a file is missing or too short, or the last bundle and the last tile contradict each other.
    """
    levels = max(1, -(-size.bit_length() // 8))
    tiles = tuple(
        _stored(read, f"{origin}/{{}}", level, size >> 8 * level, _cut_hashes) if (size >> 8 * level) % WIDTH else b""
        for level in range(levels)
    )
    bundle = _stored(read, f"{origin}/{{}}", None, size, _cut_entries) if size % WIDTH else b""
    if b"".join(leaf_hash(entry) for entry in split_bundle(bundle)) != tiles[0]:
        raise Inconsistent(f"{origin}: the entries after leaf {size - size % WIDTH} do not hash to the stored tile")
    return LogState(origin, size, bundle, tiles)


def split_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle: each is its length (u16) and its bytes.

    Raises:
        Inconsistent: the last entry is cut off.
    """
    entries: list[bytes] = []
    at, end = 0, len(bundle)
    while at < end:
        stop = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if at + 2 > end or stop > end:
            raise Inconsistent(f"the bundle ends at byte {end}, within entry {len(entries)}")
        entries.append(bundle[at + 2 : stop])
        at = stop
    return entries


def hashes_of(tile: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [tile[at : at + HASH] for at in range(0, len(tile), HASH)]


def stored_nodes(read: Read, origin: str, size: int) -> Node:
    """A `Node` over the tiles of a stored log of `size` leaves; keeps the tiles it has read.

    Raises (when called): Inconsistent where a tile is missing or too short.
    """
    kept: dict[tuple[int, int], list[bytes]] = {}

    def node(level: int, index: int) -> bytes:
        height, within = divmod(level, 8)
        first = index << within
        where = height, first // WIDTH
        if where not in kept:
            count = min(size >> 8 * height, (where[1] + 1) * WIDTH)
            kept[where] = hashes_of(_stored(read, f"{origin}/{{}}", height, count, _cut_hashes))
        start = first % WIDTH
        return fold(kept[where][start : start + (1 << within)])

    return node


def stored_bundle(read: Read, origin: str, index: int, size: int) -> list[bytes]:
    """The entries of bundle `index` in a stored log of `size` leaves."""
    return split_bundle(_stored(read, f"{origin}/{{}}", None, min(size, (index + 1) * WIDTH), _cut_entries))


def _bundled(entries: Sequence[bytes], origin: str) -> bytes:
    parts: list[bytes] = [b""] * (2 * len(entries))
    try:
        parts[::2] = [_size(len(entry)) for entry in entries]
    except struct.error as error:
        raise Inconsistent(f"an entry of {origin} is longer than 65,535 bytes") from error
    parts[1::2] = entries
    return b"".join(parts)


def _leaf_hashes(entries: Sequence[bytes]) -> bytes:
    hashes: list[bytes] = []
    push, new = hashes.append, _new_leaf
    for entry in entries:
        leaf = new()
        leaf.update(entry)
        push(leaf.digest())
    return b"".join(hashes)


def _complete(origin: str, tiles: list[bytes], size: int, files: dict[str, bytes]) -> None:
    """Level 0 is full: write it and carry its hash up, as far as levels fill."""
    level = 0
    while len(tiles[level]) == WIDTH * HASH:
        full = tiles[level]
        files[f"{origin}/{tile_path(level, (size >> 8 * (level + 1)) - 1)}"] = full
        if level + 1 == len(tiles):
            tiles.append(b"")
        tiles[level] = b""
        tiles[level + 1] += _full_tile_root(full)
        level += 1


_pairs = struct.Struct(f"{2 * HASH}s").iter_unpack


def _full_tile_root(tile: bytes) -> bytes:
    """`fold` of a full tile, in the quickest way we found: this and the leaf hashes are what a log costs."""
    new = _new_node
    while len(tile) > HASH:
        hashes: list[bytes] = []
        push = hashes.append
        for (pair,) in _pairs(tile):
            node = new()
            node.update(pair)
            push(node.digest())
        tile = b"".join(hashes)
    return tile


def _partials(old: LogState, new: LogState) -> dict[str, bytes]:
    """Partial files of `new` which `old` did not have yet."""
    files: dict[str, bytes] = {}
    if new.bundle and new.size != old.size:
        files[f"{new.origin}/{bundle_path(new.size // WIDTH, new.size % WIDTH)}"] = new.bundle
    for level, tile in enumerate(new.tiles):
        count = new.size >> 8 * level
        if tile and count != old.size >> 8 * level:
            files[f"{new.origin}/{tile_path(level, count // WIDTH, count % WIDTH)}"] = tile
    return files


def _stored(read: Read, place: str, level: int | None, count: int, cut: Callable[[bytes, int], bytes | None]) -> bytes:
    """The last file of `count` items at a level (None: entries), cut to what belongs to `count`; partial, else full."""
    index, width = (count - 1) // WIDTH, (count - 1) % WIDTH + 1
    for kind in dict.fromkeys((width, WIDTH)):
        path = place.format(bundle_path(index, kind) if level is None else tile_path(level, index, kind))
        try:
            found = cut(read(path), width)
        except FileNotFoundError:
            continue
        if found is None:
            raise Inconsistent(f"{path} is too short: it should hold {width} items")
        return found
    missing = place.format(bundle_path(index, width) if level is None else tile_path(level, index, width))
    raise Inconsistent(f"{missing} is missing; restore the evidence store from its copy")


def _cut_hashes(data: bytes, width: int) -> bytes | None:
    return data[: width * HASH] if len(data) >= width * HASH else None


def _cut_entries(data: bytes, width: int) -> bytes | None:
    entries = split_bundle(data)[:width]
    return data[: sum(map(len, entries)) + 2 * width] if len(entries) == width else None


def _partial(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"


def _index_path(index: int) -> str:
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
