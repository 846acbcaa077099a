#!/usr/bin/env python3
"""Checks the evidence of Governance in Motion; for auditors. One file, which needs Python 3.11 and `cryptography` only.

    python verify.py verify DIR --key FILE [--since CHECKPOINT ...] [--json]
    python verify.py check-proof PROOF --key FILE

It shares no code with the programs that write evidence, trusts only the public key that you give it (never one found
beside the evidence), and reports three things apart, for each log:

    consistent   every record, tile and checkpoint fits what was signed, down to the last byte
    anchored     the log still holds what it held when a checkpoint left the operator's hands (--since)
    complete     nothing is missing that was written: numbers of writers, checkpoints and logs have no gaps

Exit status: 0 all is well, 1 something is wrong (what and where is printed), 2 the check could not be made.
Formats: docs/formats.md; RFC 6962 (Merkle trees), RFC 9162 (proofs), C2SP tlog-tiles, signed-note and tlog-checkpoint.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256  # hashes in a tile, entries in a bundle
HASH = 32
LIMIT = 65_535  # bytes of an entry
KINDS = CONSISTENT, ANCHORED, COMPLETE = "consistent", "anchored", "complete"
Name = str | None
Headers = tuple[tuple[str, bytes | None], ...]


class Bad(Exception):
    """Something does not fit; `field` names the field of the record, where one can be named."""

    def __init__(self, what: str, field: str | None = None, kind: str = CONSISTENT) -> None:
        super().__init__(what)
        self.what, self.field, self.kind = what, field, kind


class Unusable(Exception):
    """The check cannot be made: no key, no evidence, a file that cannot be read."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where; `kind` says which of the three reports it hurts."""

    kind: str
    log: str
    what: str
    file: Name = None
    leaf: int | None = None
    field: Name = None

    def __str__(self) -> str:
        leaf = "" if self.leaf is None else f" leaf {self.leaf}"
        name = "" if self.field is None else f" field {self.field}"
        return f"{self.log}{leaf}{name}{'' if self.file is None else f' [{self.file}]'}: {self.what}"


def unbase64(text: str, what: str) -> bytes:
    """Canonical base64 only: one text for each byte string."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if base64.b64encode(data).decode() != text:
        raise Bad(f"{what} is not canonical base64")
    return data


class Checkpoint(NamedTuple):
    """What a log committed to."""

    origin: str
    size: int
    root: bytes


class Key:
    """The auditor's copy of the public key, `name+hash+base64`; the name is the prefix of all its logs."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        matched = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})", lines[0]) if len(lines) == 1 else None
        if matched is None:
            raise Unusable("the key file should hold one line of the form name+hash+base64")
        self.name, material = matched[1], base64.b64decode(matched[3])
        self.hash = hashlib.sha256(self.name.encode() + b"\n" + material).digest()[:4]
        if len(material) != 33 or material[0] != 1 or self.hash.hex() != matched[2]:
            raise Unusable("the key file is damaged: not an Ed25519 key, or its hash is another")
        self._public = Ed25519PublicKey.from_public_bytes(material[1:])

    def open(self, note: bytes) -> Checkpoint:
        """The checkpoint in a signed note. Signatures of other keys (witnesses) are ignored; ours must be there and right."""
        try:
            text, blank, tail = note.decode().rpartition("\n\n")
        except UnicodeDecodeError:
            raise Bad("the signed checkpoint is not UTF-8 text") from None
        if not blank or not tail.endswith("\n") or any(ord(sign) < 32 and sign != "\n" for sign in text + tail):
            raise Bad("not a signed note: it needs a text, an empty line and signatures, and no control characters")
        text, ours = text + "\n", 0
        for line in tail[:-1].split("\n"):
            matched = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
            if matched is None:
                raise Bad(f"not a signature line: {line!r}")
            signature = unbase64(matched[2], "a signature")
            if matched[1] == self.name and signature[:4] == self.hash:
                try:
                    self._public.verify(signature[4:], text.encode())
                except InvalidSignature:
                    raise Bad(f"the signature does not match the checkpoint's text {text!r}") from None
                ours += 1
        if not ours:
            raise Bad(f"not signed by the key {self.name}+{self.hash.hex()}")
        return self._parse(text.split("\n"))

    def _parse(self, lines: list[str]) -> Checkpoint:
        """Origin, decimal size, base64 root; each on its line."""
        if len(lines) < 4 or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
            raise Bad("not a checkpoint: it needs an origin, a size and a root")
        if not re.fullmatch(re.escape(self.name) + r"/(root|[a-z-]+/[0-9]+)", lines[0]):
            raise Bad(f"the log {lines[0]} is none of {self.name}'s")
        if len(root := unbase64(lines[2], "the root")) != HASH:
            raise Bad(f"the root has {len(root)} bytes, not {HASH}")
        return Checkpoint(lines[0], int(lines[1]), root)


class Digest(NamedTuple):
    """Stands where a field was too large for an entry; its bytes lie in `blobs/`."""

    sha256: str
    length: int


class Entry(NamedTuple):
    """A Kafka record as a leaf holds it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | Digest | None
    headers: Headers | Digest
    value: bytes | Digest | None

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Cursor:
    """Reads an encoding from front to back; `name` is the field being read."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.at, self.name = data, 0, name

    def take(self, count: int, name: Name = None) -> bytes:
        self.name = name or self.name
        if self.at + count > len(self.data):
            raise Bad(f"the encoding ends at byte {len(self.data)}, within this field", self.name)
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int, name: Name = None) -> int:
        return int.from_bytes(self.take(size, name), "big")

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise Bad("not UTF-8", self.name) from None

    def nullable(self) -> bytes | None:
        if (tag := self.number(1)) not in (0, 1):
            raise Bad(f"unknown tag {tag} at byte {self.at - 1}", self.name)
        return self.take(self.number(4)) if tag else None

    def digest(self, name: str) -> Digest | None:
        """The digest which stands for a field, if one does."""
        if self.data[self.at : self.at + 1] != b"\x02":
            self.name = name
            return None
        return Digest(self.take(33, name)[1:].hex(), self.number(8))

    def headers(self) -> Headers:
        return tuple((self.text(self.number(4)), self.nullable()) for _ in range(self.number(4)))

    def end(self) -> None:
        if self.at != len(self.data):
            raise Bad(f"{len(self.data) - self.at} bytes follow the end", self.name)


def decode(data: bytes) -> Entry:
    """An entry's fields, strictly."""
    cursor = Cursor(data, "version")
    if (version := cursor.number(1)) != 1:
        raise Bad(f"entry format {version} is unknown to this verifier", "version")
    topic = cursor.text(cursor.number(2, "topic"))
    partition, offset = cursor.number(4, "partition"), cursor.number(8, "offset")
    timestamp = int.from_bytes(cursor.take(8, "timestamp"), "big", signed=True)
    key = cursor.digest("key") or cursor.nullable()
    headers: Headers | Digest | None = cursor.digest("headers")
    if headers is None:
        if (tag := cursor.number(1)) != 1:
            raise Bad(f"unknown tag {tag} at byte {cursor.at - 1}", "headers")
        headers = cursor.headers()
    value = cursor.digest("value") or cursor.nullable()
    cursor.end()
    check_shortened(len(data), key, headers, value)
    return Entry(topic, partition, offset, timestamp, key, headers, value)


def check_shortened(length: int, key: object, headers: object, value: object) -> None:
    """Only a record that did not fit has digests: value first, then headers, then key, and no more than needed."""
    replaced = [isinstance(field, Digest) for field in (value, headers, key)]
    if (replaced[2] and not replaced[1]) or (replaced[1] and not (replaced[0] or value is None)):
        raise Bad("fields were replaced by digests in another order than value, headers, key", "key")
    for last, name in ((key, "key"), (headers, "headers"), (value, "value")):
        if isinstance(last, Digest):
            # A field stands as tag, u32 length, bytes (headers: tag and their encoding); a digest as 41 bytes.
            inline = length - 41 + last.length + (1 if name == "headers" else 5)
            if inline <= LIMIT:
                raise Bad("was replaced by a digest although the entry would have fitted", name)
            return


def with_blobs(entry: Entry, blobs: Callable[[str], bytes | None]) -> Entry:
    """The entry with its large fields taken from blobs (by SHA-256), each of which is checked."""

    def blob(digest: Digest, name: str) -> bytes:
        data = blobs(digest.sha256)
        if data is None:
            raise Bad(f"blobs/{digest.sha256} is missing", name)
        if hashlib.sha256(data).hexdigest() != digest.sha256 or len(data) != digest.length:
            raise Bad(f"blobs/{digest.sha256} was altered: it has another digest or length", name)
        return data

    key, headers, value = entry.key, entry.headers, entry.value
    if isinstance(headers, Digest):
        cursor = Cursor(blob(headers, "headers"), "headers")
        headers = cursor.headers()
        cursor.end()
    key = blob(key, "key") if isinstance(key, Digest) else key
    value = blob(value, "value") if isinstance(value, Digest) else value
    return entry._replace(key=key, headers=headers, value=value)


def split_bundle(data: bytes) -> tuple[list[bytes], str | None]:
    """The entries of a bundle (u16 length, bytes), and what is wrong with what follows them."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        stop = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or stop > len(data):
            return entries, f"the file ends at byte {len(data)}, within entry {len(entries)}"
        entries.append(data[at + 2 : stop])
        at = stop
    return entries, None


def leaf_hash(entry: bytes) -> bytes:
    """Section 2.1: a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Section 2.1: an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The right edge of a growing tree: a hash for each complete subtree, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self.edge: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> Iterator[tuple[int, bytes]]:
        """Add a leaf hash; gives each subtree of 256, 256**2 … leaves that it completes, as (tile level, hash)."""
        level, node = 0, leaf
        while self.edge and self.edge[-1][0] == level:
            node = node_hash(self.edge.pop()[1], node)
            level += 1
            if level % 8 == 0:
                yield level // 8, node
        self.edge.append((level, node))
        self.size += 1

    def root(self) -> bytes:
        if not self.edge:
            return hashlib.sha256(b"").digest()
        node = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            node = node_hash(left, node)
        return node

    def root_with(self, leaves: Sequence[bytes]) -> bytes:
        """The root that this tree would have with more leaves."""
        other = Tree()
        other.edge = list(self.edge)
        for leaf in leaves:
            list(other.add(leaf))
        return other.root()


def root_of(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root to which an inclusion proof leads: RFC 6962 section 2.1.1, read from the root down."""
    if size == 1 or not proof:
        return leaf if size == 1 and not proof else b""  # a proof of the wrong length leads nowhere
    half = 1 << (size - 1).bit_length() - 1  # the largest power of two below size
    if index < half:
        return node_hash(root_of(leaf, index, half, proof[:-1]), proof[-1])
    return node_hash(proof[-1], root_of(leaf, index - half, size - half, proof[:-1]))


def index_path(index: int, prefix: str = "") -> str:
    """1234067 is `x001/x234/067`."""
    head, last = divmod(index, 1000)
    return (index_path(head, "x") + "/" if head else "") + f"{prefix}{last:03d}"


def topic_of(origin: str) -> tuple[str, str]:
    """The Kafka topic and partition that a log was made from; the root log is made from `checkpoints`."""
    prefix, _, rest = origin.partition("/")
    topic, _, partition = ("checkpoints/0" if rest == "root" else rest).partition("/")
    return f"{prefix}.{topic}", partition


class Mark(NamedTuple):
    """A signed checkpoint that the log must meet, and where it came from; `outside`: it left the operator's hands."""

    size: int
    root: bytes
    source: str
    outside: bool


class Log:
    """One log: walks it from its first leaf to the largest signed size and collects what does not fit."""

    def __init__(self, path: Path, key: Key, origin: str) -> None:
        self.path, self.key, self.origin = path / origin, key, origin
        self.is_root = origin == f"{key.name}/root"
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.anchored_to = 0  # how many leaves a checkpoint from outside covers
        self.published: list[tuple[int, Checkpoint]] = []  # of the root log: (leaf, checkpoint of another log)
        self.tree = Tree()
        self._marks: dict[int, list[Mark]] = {}
        self._target = self._met = 0
        self._levels: dict[int, list[bytes]] = {}  # by level above the leaves: the hashes of the tile in the making
        self._used: set[str] = set()
        self._previous = -1
        self._sequence: dict[str, int] = {}  # writer → the next number due
        self._lost = False  # an entry could not be read, so a writer's next number is not known
        self._gates: dict[str, int] = {}
        self._finals: set[str] = set()
        self._topic, self._partition = topic_of(origin)

    def wrong(self, kind: str, what: str, file: Name = None, leaf: int | None = None, name: Name = None) -> None:
        self.findings.append(Finding(kind, self.origin, what, file, leaf, name))

    def fine(self, kind: str) -> bool:
        """Nothing of this kind is wrong."""
        return not any(finding.kind == kind for finding in self.findings)

    def demand(self, mark: Mark, stored: bool = True) -> None:
        """The log must meet a checkpoint. `stored`: the store itself knows it, so all its leaves should be there."""
        self._marks.setdefault(mark.size, []).append(mark)
        self._target = max(self._target, mark.size if stored else 0)

    def own_checkpoint(self) -> int | None:
        """Read the checkpoint file and demand it; its size, None where there is no good one."""
        try:
            note = self._read("checkpoint")
            if note is None:
                raise Bad("the checkpoint file is missing")
            found = self.key.open(note)
            if found.origin != self.origin:
                raise Bad(f"this checkpoint is of the log {found.origin}, not of {self.origin}")
        except Bad as bad:
            self.wrong(CONSISTENT, bad.what, "checkpoint", name="signature")
            return None
        self.demand(Mark(found.size, found.root, "the checkpoint file", False))
        return found.size

    def walk(self) -> None:
        """Check everything up to the largest demanded size."""
        self._check_marks()
        while (size := self.tree.size) < self._target:
            self._bundle(size // WIDTH, min(WIDTH, self._target - size))
            if self.tree.size - size < min(WIDTH, self._target - size):
                break
        for level, hashes in self._levels.items():  # the partial tiles above the leaves
            if hashes:
                self._upper(level, (self.tree.size >> 8 * level) // WIDTH)
        for size in sorted(size for size in self._marks if size > self.tree.size)[-3:]:
            for mark in self._marks[size]:
                what = f"cut short: {mark.source} is of {size} leaves, only {self.tree.size} are here"
                self.wrong(ANCHORED if mark.outside else CONSISTENT, what, leaf=self.tree.size)
        files = [file for part in ("tile", "blobs") for file in (self.path / part).rglob("*") if file.is_file()]
        strays = sorted({str(file.relative_to(self.path)) for file in files} - self._used)
        if strays:
            self.notes.append(f"{len(strays)} files are not part of the signed log, the first is {strays[0]}")

    def _bundle(self, index: int, width: int) -> None:
        """Entries and level-0 hashes of one bundle. Where they disagree, the signed tree tells which was altered."""
        start = index * WIDTH
        bundles, file, data = self._stored("entries", index, width)
        tiles, _, tile = self._stored("0", index, width)
        entries = split_bundle(data)[0][:width]
        computed = [leaf_hash(entry) for entry in entries]
        stored = [tile[at : at + HASH] for at in range(0, min(len(tile) // HASH, width) * HASH, HASH)]
        chosen = stored if len(stored) > len(computed) else computed
        if len(stored) == len(computed) and stored != computed:
            chosen = self._choose(index, computed, stored)
        if len(chosen) < width:
            self.wrong(CONSISTENT, f"leaves from {start + len(chosen)} on are gone", file, start + len(chosen))
        for at, hash_ in enumerate(chosen):
            if at < len(computed) and computed[at] == hash_:
                self._entry(start + at, entries[at], file)
            else:
                self._sequence, self._lost = {}, True
                if at < len(computed):
                    self._altered(start + at, entries[at], file)
            self._add(hash_)
        self._match(tiles, chosen, 0, index)
        for name, older in bundles.values():
            for at, (entry, hash_) in enumerate(zip(split_bundle(older)[0], chosen, strict=False)):
                if name != file and leaf_hash(entry) != hash_:
                    self.wrong(CONSISTENT, "the entry was altered", name, start + at)

    def _read(self, name: str) -> bytes | None:
        try:
            data = (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        self._used.add(name)
        return data

    def _tiles(self, kind: str, index: int) -> dict[int, tuple[str, bytes]]:
        """All stored widths of a tile or bundle: width → (file, bytes), the full one last."""
        name = f"tile/{kind}/{index_path(index)}"
        found: dict[int, tuple[str, bytes]] = {}
        partial = self.path / f"{name}.p"
        widths = [int(file.name) for file in partial.iterdir() if file.name.isdecimal()] if partial.is_dir() else []
        for width, file in [*((width, f"{name}.p/{width}") for width in sorted(widths)), (WIDTH, name)]:
            data = self._read(file)
            if data is not None:
                found[width] = file, data
        return found

    def _stored(self, kind: str, index: int, width: int) -> tuple[dict[int, tuple[str, bytes]], str, bytes]:
        """All stored widths of a tile or bundle; the file to go by, and its bytes. Each must hold as much as it says."""
        files, start = self._tiles(kind, index), index * WIDTH if kind in ("entries", "0") else None
        expected = f"tile/{kind}/{index_path(index)}{'' if width == WIDTH else f'.p/{width}'}"
        if width not in files and WIDTH not in files:
            self.wrong(CONSISTENT, "the file is missing", expected, start)
        for stated, (name, data) in files.items():
            if kind == "entries":
                entries, trouble = split_bundle(data)
                if trouble or len(entries) != stated:
                    trouble = trouble or f"the bundle holds {len(entries)} entries, not {stated}"
                    self.wrong(CONSISTENT, trouble, name, index * WIDTH + min(len(entries), stated))
            elif len(data) != stated * HASH:
                self.wrong(CONSISTENT, f"the tile has {len(data)} bytes, not {stated * HASH}", name, start)
        file, data = files.get(width) or files.get(WIDTH) or (list(files.values()) or [(expected, b"")])[-1]
        return files, file, data

    def _match(self, files: dict[int, tuple[str, bytes]], hashes: list[bytes], level: int, index: int) -> None:
        """All stored widths of a tile against what the leaves give."""
        for name, data in files.values():
            for at in range(min(len(hashes), len(data) // HASH)):
                if data[at * HASH : (at + 1) * HASH] != hashes[at]:
                    first = (index * WIDTH + at) << 8 * level
                    last = first + (1 << 8 * level) - 1
                    self.wrong(CONSISTENT, f"hash {at} is not that of leaves {first} to {last}", name, first)

    def _choose(self, index: int, computed: list[bytes], stored: list[bytes]) -> list[bytes]:
        """Entries or tile: which of the two does the signed tree know? The hashes to go on with."""
        roots = {mark.root for mark in self._marks.get(self.tree.size + len(computed), ())}
        at = index % WIDTH * HASH
        above = {data[at : at + HASH] for _, data in self._tiles("1", index // WIDTH).values()}
        for hashes in (computed, stored):
            if self.tree.root_with(hashes) in roots or (len(hashes) == WIDTH and Tree().root_with(hashes) in above):
                return hashes
        return computed

    def _altered(self, leaf: int, entry: bytes, file: str) -> None:
        """An entry that is not the one which was signed: name the field, where the change shows in one."""
        try:
            self._place(decode(entry))
            self.wrong(CONSISTENT, "the entry was altered; each of its fields is well formed", file, leaf)
        except Bad as bad:
            self.wrong(CONSISTENT, f"the entry was altered: {bad.what}", file, leaf, bad.field)

    def _add(self, hash_: bytes) -> None:
        for level, node in self.tree.add(hash_):
            hashes = self._levels.setdefault(level, [])
            hashes.append(node)
            if len(hashes) == WIDTH:
                self._upper(level, (self.tree.size + 1 >> 8 * (level + 1)) - 1)
                hashes.clear()
        self._check_marks()

    def _upper(self, level: int, index: int) -> None:
        """A tile above the leaves is complete, or the last one."""
        hashes = self._levels[level]
        self._match(self._stored(str(level), index, len(hashes))[0], hashes, level, index)

    def _check_marks(self) -> None:
        size = self.tree.size
        for mark in self._marks.get(size, ()):
            if self.tree.root() == mark.root:
                self._met = size
                if mark.outside:
                    self.anchored_to = max(self.anchored_to, size)
                continue
            what = (
                f"the {size} leaves here have another root than {mark.source} says: the log was rewritten or forked; "
                f"the first {self._met} leaves still fit, so look between leaf {self._met} and leaf {size - 1}"
            )
            self.wrong(ANCHORED if mark.outside else CONSISTENT, what, file="checkpoint", leaf=self._met)

    def _entry(self, leaf: int, data: bytes, file: str) -> None:
        try:
            entry = decode(data)
            self._place(entry)
            self._previous = entry.offset
            entry = with_blobs(entry, lambda digest: self._read(f"blobs/{digest}"))
            self._numbered(entry)
            if self.is_root:
                self._published_checkpoint(leaf, entry)
            if self._topic == f"{self.key.name}.verdicts":
                self._verdict(entry)
        except Bad as bad:
            self.wrong(bad.kind, bad.what, file, leaf, bad.field)
            if bad.kind == CONSISTENT:
                self._sequence, self._lost = {}, True

    def _place(self, entry: Entry) -> None:
        if entry.topic != self._topic:
            raise Bad(f"record {entry.place} is of another topic than this log's, {self._topic}", "topic")
        if str(entry.partition) != self._partition:
            raise Bad(f"record {entry.place} is of another partition than this log's, {self._partition}", "partition")
        if entry.offset <= self._previous:
            raise Bad(f"offset {entry.offset} comes after {self._previous}", "offset")

    def _numbered(self, entry: Entry) -> None:
        """`govern-seq` counts each writer's records of this partition from 0: a gap is a lost record."""
        headers = dict(entry.headers) if not isinstance(entry.headers, Digest) else {}
        number, writer = headers.get("govern-seq"), headers.get("govern-writer")
        if number is None and writer is None and self._topic != f"{self.key.name}.verdicts":
            return
        if number is None or writer is None or not re.fullmatch(rb"0|[1-9][0-9]*", number):
            raise Bad(f"record {entry.place} has no proper govern-seq and govern-writer", "headers", COMPLETE)
        name, found = writer.decode(errors="replace"), int(number)
        expected = self._sequence.get(name, found if self._lost else 0)
        self._sequence[name] = max(expected, found + 1)
        if found > expected:
            raise Bad(f"records {expected} to {found - 1} of writer {name} are missing here", "headers", COMPLETE)
        if found < expected:
            what = f"writer {name} numbers this record {found} again, {expected} was due: two writers under one name"
            raise Bad(f"{what} (a zombie), or a copied record", "headers", COMPLETE)

    def _verdict(self, entry: Entry) -> None:
        """The id agrees with the key, and no decision is judged twice at one stage."""
        key = entry.key.decode(errors="replace") if isinstance(entry.key, bytes) else ""
        try:
            document = json.loads(entry.value if isinstance(entry.value, bytes) else b"")
            identity = document.get("id") if isinstance(document, dict) else None
        except ValueError:
            raise Bad("a verdict is a JSON object; this is not", "value") from None
        decision, _, stage = str(identity).rpartition("/")
        source, _, offset = decision.rpartition("/")
        if decision != key or stage not in ("gate", "final") or not offset.isdecimal():
            raise Bad(f"the key {key!r} and the verdict's id {identity!r} are not those of one decision", "key")
        if key in self._finals if stage == "final" else int(offset) <= self._gates.get(source, -1):
            raise Bad(f"a second {stage} verdict of decision {key}, or one out of order", "key", COMPLETE)
        if stage == "final":
            self._finals.add(key)
        else:
            self._gates[source] = int(offset)

    def _published_checkpoint(self, leaf: int, entry: Entry) -> None:
        """A leaf of the root log is the signed checkpoint of another log."""
        if entry.key == self.origin.encode():
            raise Bad("the root log holds a checkpoint of its own", "key")
        found = self.key.open(entry.value if isinstance(entry.value, bytes) else b"")
        if entry.key != found.origin.encode():
            raise Bad(f"the key is not the origin of the checkpoint, {found.origin}", "key")
        self.published.append((leaf, found))


@dataclass
class Report:
    """What was found about all logs; `since` says whether a checkpoint from outside was given."""

    logs: list[Log]
    since: bool

    @property
    def findings(self) -> list[Finding]:
        return [finding for log in self.logs for finding in log.findings]

    @property
    def ok(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, object]:
        """For machines; `anchored` is null where no checkpoint from outside was given."""
        states: dict[str, bool | None] = {kind: all(log.fine(kind) for log in self.logs) for kind in KINDS}
        states[ANCHORED] = states[ANCHORED] if self.since else None
        logs = [
            {"log": log.origin, "leaves": log.tree.size, "anchored_to": log.anchored_to if self.since else None}
            | {"consistent": log.fine(CONSISTENT), "complete": log.fine(COMPLETE), "notes": log.notes}
            for log in self.logs
        ]
        return {"ok": self.ok, **states, "logs": logs, "findings": [asdict(finding) for finding in self.findings]}

    def as_text(self) -> str:
        """For people."""
        lines = []
        for log in self.logs:
            states = [kind if log.fine(kind) else f"NOT {kind.upper()}" for kind in KINDS]
            if states[1] == ANCHORED:
                states[1] += f" to leaf {log.anchored_to:,}" if self.since else ": not shown (no --since)"
            lines.append(f"{log.origin}: {log.tree.size:,} leaves, {', '.join(states)}")
            lines += [f"  note: {note}" for note in log.notes]
        lines += [f"WRONG {finding}" for finding in self.findings]
        fine = f"OK: {len(self.logs)} logs, {sum(log.tree.size for log in self.logs):,} leaves, nothing wrong"
        return "\n".join([*lines, fine if self.ok else f"FAILED: {len(self.findings)} things are wrong"])


def verify(path: Path, key: Key, since: Sequence[tuple[str, bytes]] = ()) -> Report:
    """Check all logs under a folder. `since`: (file name, signed checkpoint) from outside the operator's hands."""
    root_name = f"{key.name}/root"
    folders = {file.parent.relative_to(path) for name in ("checkpoint", "tile") for file in path.rglob(name)}
    found_in = [str(folder) for folder in folders if "tile" not in folder.parts and "blobs" not in folder.parts]
    logs = {origin: Log(path, key, origin) for origin in found_in}
    if not logs:
        raise Unusable(f"there is no log under {path}: no file named checkpoint")
    root = logs.setdefault(root_name, Log(path, key, root_name))
    for name, note in since:
        try:
            found = key.open(note)
        except Bad as bad:
            root.wrong(ANCHORED, bad.what, name)
            continue
        log = logs.setdefault(found.origin, Log(path, key, found.origin))
        log.demand(Mark(found.size, found.root, f"the checkpoint {name}", True), stored=False)
    root.own_checkpoint()
    root.walk()
    newest = spread(root, logs, path)
    for origin, log in sorted(logs.items()):
        if log is root:
            continue
        own, published = log.own_checkpoint(), newest.get(origin, 0)
        if own is not None and own < published:
            what = f"the checkpoint file is older than {root_name} says: {own} leaves, {published} were signed since"
            log.wrong(CONSISTENT, f"{what}; rolled back, or its lane died just then and is down", "checkpoint")
        log.walk()
        if not published and log.tree.size:
            log.wrong(COMPLETE, f"{root_name} has no checkpoint of this log")
        elif published < log.tree.size:
            log.notes.append(f"{root_name} has it up to leaf {published:,} so far")
    return Report([log for _, log in sorted(logs.items())], bool(since))


def spread(root: Log, logs: dict[str, Log], path: Path) -> dict[str, int]:
    """Demand every checkpoint that the root log holds of the logs concerned; the newest size of each."""
    newest: dict[str, int] = {}
    for leaf, found in root.published:
        log = logs.setdefault(found.origin, Log(path, root.key, found.origin))
        before = newest.get(found.origin, 0)
        if found.size < before:
            what = f"the checkpoints of {found.origin} go backwards: {found.size} leaves after {before}"
            root.wrong(COMPLETE, what, leaf=leaf, name="value")
        newest[found.origin] = max(found.size, before)
        log.demand(Mark(found.size, found.root, f"leaf {leaf} of {root.origin}", leaf < root.anchored_to))
    return newest


class Proved(NamedTuple):
    """What a proof shows; `disclosed` is the decision that a verdict judged, where the proof gives it."""

    checkpoint: Checkpoint
    leaf: int
    entry: Entry
    disclosed: dict[str, object] | None


def check_proof(document: object, key: Key) -> Proved:
    """Check a proof bundle (docs/formats.md); raises Bad with what does not hold."""
    if not isinstance(document, dict) or document.get("format") != "governance-proof-v1":
        raise Bad("not a proof of the format governance-proof-v1", "format")
    found = key.open(str(document.get("checkpoint")).encode())
    index, path, blobs = (document.get(name) for name in ("index", "inclusion", "blobs"))
    if not isinstance(index, int) or not isinstance(path, list) or not isinstance(blobs, dict):
        raise Bad("index, inclusion and blobs are needed", "index")
    data = unbase64(str(document.get("entry")), "the entry")
    proof = [unbase64(str(hash_), "the inclusion proof") for hash_ in path]
    if not 0 <= index < found.size or root_of(leaf_hash(data), index, found.size, proof) != found.root:
        raise Bad(f"the entry is not leaf {index} of {found.origin} at {found.size} leaves", "inclusion")
    entry = with_blobs(decode(data), {name: unbase64(str(blob), "a blob") for name, blob in blobs.items()}.get)
    if (entry.topic, str(entry.partition)) != topic_of(found.origin) or document.get("origin") != found.origin:
        raise Bad(f"the record {entry.place} does not belong to the log {found.origin}", "origin")
    disclosed = document.get("disclosed")
    return Proved(found, index, entry, None if disclosed is None else check_disclosed(disclosed, entry))


def check_disclosed(disclosed: object, entry: Entry) -> dict[str, object]:
    """The disclosed decision and salt give the commitment that the verdict names."""
    if not isinstance(disclosed, dict) or not isinstance(entry.value, bytes) or not isinstance(entry.key, bytes):
        raise Bad("the disclosed decision is not complete", "disclosed")

    def optional(text: object) -> bytes | None:
        return None if text is None else unbase64(str(text), "the disclosed decision")

    try:
        expected = json.loads(entry.value)["data"]["commitment"]["value"]
        key, value = (optional(disclosed[name]) for name in ("key", "value"))
        headers = [(str(name), optional(data)) for name, data in disclosed["headers"]]
        salt = unbase64(str(disclosed["salt"]), "the salt")
    except (ValueError, KeyError, TypeError):
        raise Bad("the verdict has no commitment, or the disclosed decision is not complete", "disclosed") from None
    listed = b"".join(nullable(name.encode())[1:] + nullable(data) for name, data in headers)
    encoded = nullable(key) + b"\x01" + len(headers).to_bytes(4, "big") + listed + nullable(value)
    if hashlib.sha256(salt + encoded).hexdigest() != expected:
        raise Bad("the disclosed decision is not the one that this verdict committed to", "disclosed")
    return {"position": entry.key.decode(errors="replace"), "key": key, "headers": headers, "value": value}


def nullable(data: bytes | None) -> bytes:
    """The encoding of a nullable byte string."""
    return b"\x00" if data is None else b"\x01" + len(data).to_bytes(4, "big") + data


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the top of this file. Gives the exit status."""
    parser = argparse.ArgumentParser(prog="verify", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("verify", help="check all logs under a folder")
    one.add_argument("folder", type=Path)
    one.add_argument("--since", type=Path, action="append", default=[], help="a checkpoint that you kept, or a folder")
    one.add_argument("--json", action="store_true")
    two = commands.add_parser("check-proof", help="check the proof of one record")
    two.add_argument("proof", type=Path)
    for command in (one, two):
        command.add_argument("--key", type=Path, required=True, help="your own copy of the public key")
    given = parser.parse_args(argv)
    try:
        key = Key(given.key.read_text())
        if given.command == "check-proof":
            return show_proof(given.proof.read_text(), key)
        files = [file for path in given.since for file in (path.rglob("checkpoint") if path.is_dir() else [path])]
        if given.since and not files:
            raise Unusable("no file named checkpoint in the folder given as --since")
        report = verify(given.folder, key, [(str(file), file.read_bytes()) for file in sorted(files)])
        print(json.dumps(report.as_json(), indent=2) if given.json else report.as_text())
        return 0 if report.ok else 1
    except (Unusable, OSError, UnicodeDecodeError) as error:
        print(f"cannot check: {error}", file=sys.stderr)
        return 2


def show_proof(text: str, key: Key) -> int:
    """Print what a proof shows, or what does not hold."""
    try:
        proved = check_proof(json.loads(text), key)
    except json.JSONDecodeError:
        raise Unusable("the proof is not JSON") from None
    except Bad as bad:
        print(f"FAILED: {bad.what} (field {bad.field or 'checkpoint'})")
        return 1
    entry, found = proved.entry, proved.checkpoint
    print(f"OK: record {entry.place} is leaf {proved.leaf} of {found.origin} ({found.size} leaves, signed)")
    print(entry.value.decode(errors="replace") if isinstance(entry.value, bytes) else "its value is null")
    if proved.disclosed is not None:
        print(f"OK: it judged exactly this decision, {proved.disclosed['position']}:\n{proved.disclosed['value']!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
