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
import binascii
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256  # hashes in a tile, entries in a bundle
HASH = 32
LIMIT = 65_535  # bytes of an entry
CONSISTENT, ANCHORED, COMPLETE = "consistent", "anchored", "complete"


class Bad(Exception):
    """Something does not fit; `field` names the field of the record, where one can be named."""

    def __init__(self, what: str, field: str | None = None, kind: str = CONSISTENT) -> None:
        super().__init__(what)
        self.what, self.field, self.kind = what, field, kind


class Unusable(Exception):
    """The check cannot be made: no key, no evidence, a file that cannot be read."""


# --- what a check says ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    kind: str
    """`consistent`, `anchored` or `complete`: what is hurt."""
    log: str
    what: str
    file: str | None = None
    leaf: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        leaf = "" if self.leaf is None else f" leaf {self.leaf}"
        name = "" if self.field is None else f" field {self.field}"
        return f"{self.log}{leaf}{name}{'' if self.file is None else f' [{self.file}]'}: {self.what}"


@dataclass
class LogReport:
    """What was found about one log. `anchored_to`: how many leaves a checkpoint from outside covers."""

    origin: str
    size: int = 0
    anchored_to: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wrong(
        self, kind: str, what: str, *, file: str | None = None, leaf: int | None = None, name: str | None = None
    ) -> None:
        self.findings.append(Finding(kind, self.origin, what, file, leaf, name))

    def fine(self, kind: str) -> bool:
        return not any(finding.kind == kind for finding in self.findings)


@dataclass
class Report:
    """What was found about all logs; `since` says whether a checkpoint from outside was given."""

    logs: list[LogReport]
    since: bool

    @property
    def findings(self) -> list[Finding]:
        return [finding for log in self.logs for finding in log.findings]

    @property
    def ok(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, object]:
        """For machines; `anchored` is null where no checkpoint from outside was given."""
        states: dict[str, object] = {kind: all(log.fine(kind) for log in self.logs) for kind in (CONSISTENT, COMPLETE)}
        states[ANCHORED] = all(log.fine(ANCHORED) for log in self.logs) if self.since else None
        logs = [
            {
                "log": log.origin,
                "leaves": log.size,
                "consistent": log.fine(CONSISTENT),
                "anchored_to": log.anchored_to if self.since else None,
                "complete": log.fine(COMPLETE),
                "notes": log.notes,
            }
            for log in self.logs
        ]
        return {"ok": self.ok, **states, "logs": logs, "findings": [asdict(finding) for finding in self.findings]}

    def as_text(self) -> str:
        """For people."""
        lines = []
        for log in self.logs:
            consistent = "consistent" if log.fine(CONSISTENT) else "NOT CONSISTENT"
            complete = "complete" if log.fine(COMPLETE) else "NOT COMPLETE"
            anchored = f"anchored to leaf {log.anchored_to:,}" if self.since else "anchored: not shown (no --since)"
            if not log.fine(ANCHORED):
                anchored = "NOT ANCHORED"
            lines.append(f"{log.origin}: {log.size:,} leaves, {consistent}, {anchored}, {complete}")
            lines += [f"  note: {note}" for note in log.notes]
        lines += [f"WRONG {finding}" for finding in self.findings]
        leaves = sum(log.size for log in self.logs)
        lines.append(
            f"OK: {len(self.logs)} logs, {leaves:,} leaves, nothing wrong"
            if self.ok
            else f"FAILED: {len(self.findings)} things are wrong"
        )
        return "\n".join(lines)


# --- keys, notes and checkpoints (C2SP signed-note, tlog-checkpoint) --------------------------------------------------


def unbase64(text: str, what: str) -> bytes:
    """Canonical base64 only: one text for each byte string."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Bad(f"{what} is not base64") from None
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
        matched = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)", lines[0]) if len(lines) == 1 else None
        if matched is None:
            raise Unusable("the key file should hold one line of the form name+hash+base64")
        self.name = matched[1]
        try:
            material = unbase64(matched[3], "the key")
        except Bad as bad:
            raise Unusable(f"the key file is damaged: {bad}") from None
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
        if not blank or not tail.endswith("\n"):
            raise Bad("not a signed note: it needs a text, an empty line and signatures")
        text += "\n"
        if any(ord(sign) < 32 and sign != "\n" for sign in text + tail):
            raise Bad("control characters in the signed checkpoint")
        ours = others = 0
        for line in tail[:-1].split("\n"):
            matched = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
            if matched is None:
                raise Bad(f"not a signature line: {line!r}")
            signature = unbase64(matched[2], "a signature")
            if matched[1] != self.name or signature[:4] != self.hash:
                others += 1
                continue
            try:
                self._public.verify(signature[4:], text.encode())
            except InvalidSignature:
                raise Bad(f"the signature does not match the checkpoint's text {text!r}") from None
            ours += 1
        if not ours:
            raise Bad(f"not signed by the key {self.name}+{self.hash.hex()} (but by {others} other keys)")
        return parse_checkpoint(text)


def parse_checkpoint(text: str) -> Checkpoint:
    """Origin, decimal size, base64 root; each on its line."""
    lines = text.split("\n")
    if len(lines) < 4 or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
        raise Bad("not a checkpoint: it needs an origin, a size and a root")
    root = unbase64(lines[2], "the root")
    if len(root) != HASH:
        raise Bad(f"the root has {len(root)} bytes, not {HASH}")
    return Checkpoint(lines[0], int(lines[1]), root)


# --- leaf entries (docs/formats.md) -----------------------------------------------------------------------------------


class Digest(NamedTuple):
    """Stands where a field was too large for an entry; its bytes lie in `blobs/`."""

    sha256: str
    length: int


class Entry(NamedTuple):
    """A Kafka record as a leaf holds it. `raw_headers` is None where the headers' encoding is a blob."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | Digest | None
    headers: tuple[tuple[str, bytes | None], ...] | Digest
    value: bytes | Digest | None

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Cursor:
    """Reads an encoding from front to back; `name` is the field being read."""

    def __init__(self, data: bytes, name: str = "version") -> None:
        self.data, self.at, self.name = data, 0, name

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise Bad(f"the entry ends at byte {len(self.data)}, within this field", self.name)
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise Bad("not UTF-8", self.name) from None

    def bytes_or_null(self, tag: int) -> bytes | None:
        if tag not in (0, 1):
            raise Bad(f"unknown tag {tag} at byte {self.at - 1}", self.name)
        return self.take(self.number(4)) if tag else None

    def nullable(self) -> bytes | Digest | None:
        tag = self.number(1)
        return Digest(self.take(32).hex(), self.number(8)) if tag == 2 else self.bytes_or_null(tag)

    def header_list(self) -> tuple[tuple[str, bytes | None], ...]:
        return tuple((self.text(self.number(4)), self.bytes_or_null(self.number(1))) for _ in range(self.number(4)))

    def end(self) -> None:
        if self.at != len(self.data):
            raise Bad(f"{len(self.data) - self.at} bytes follow the end", self.name)


def decode(data: bytes) -> Entry:
    """An entry's fields, strictly."""
    cursor = Cursor(data)
    if (version := cursor.number(1)) != 1:
        raise Bad(f"entry format {version} is unknown to this verifier", "version")
    cursor.name = "topic"
    topic = cursor.text(cursor.number(2))
    cursor.name = "partition"
    partition = cursor.number(4)
    cursor.name = "offset"
    offset = cursor.number(8)
    cursor.name = "timestamp"
    timestamp = int.from_bytes(cursor.take(8), "big", signed=True)
    cursor.name = "key"
    key = cursor.nullable()
    cursor.name = "headers"
    if (tag := cursor.number(1)) not in (1, 2):
        raise Bad(f"unknown tag {tag} at byte {cursor.at - 1}", "headers")
    headers = Digest(cursor.take(32).hex(), cursor.number(8)) if tag == 2 else cursor.header_list()
    cursor.name = "value"
    value = cursor.nullable()
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


def split_bundle(data: bytes) -> tuple[list[bytes], str | None]:
    """The entries of a bundle (u16 length, bytes), and what is wrong with what follows them."""
    entries, at = [], 0
    while at < len(data):
        stop = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or stop > len(data):
            return entries, f"the file ends at byte {len(data)}, within entry {len(entries)}"
        entries.append(data[at + 2 : stop])
        at = stop
    return entries, None


# --- Merkle trees (RFC 6962) ------------------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
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
        other.size, other.edge = self.size, list(self.edge)
        for leaf in leaves:
            for _ in other.add(leaf):
                pass
        return other.root()


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn % 2 or fn == sn:
            node = node_hash(sibling, node)
            while fn % 2 == 0 and fn:
                fn, sn = fn // 2, sn // 2
        else:
            node = node_hash(node, sibling)
        fn, sn = fn // 2, sn // 2
    return sn == 0 and node == root


# --- files of a log (C2SP tlog-tiles) ---------------------------------------------------------------------------------


def index_path(index: int) -> str:
    """1234067 is `x001/x234/067`."""
    groups = []
    while True:
        groups.append(f"{index % 1000:03d}")
        index //= 1000
        if not index:
            break
    return "/".join([f"x{group}" for group in groups[:0:-1]] + groups[:1])


class Folder:
    """A log's folder. `used` remembers which files were looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.used: set[str] = set()

    def read(self, name: str) -> bytes | None:
        try:
            data = (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        self.used.add(name)
        return data

    def tiles(self, kind: str, index: int) -> dict[int, tuple[str, bytes]]:
        """All stored forms of a tile or bundle: width → (file, bytes)."""
        name = f"tile/{kind}/{index_path(index)}"
        found: dict[int, tuple[str, bytes]] = {}
        full = self.read(name)
        if full is not None:
            found[WIDTH] = name, full
        partial = self.path / f"{name}.p"
        for file in sorted(partial.iterdir()) if partial.is_dir() else ():
            if re.fullmatch(r"[1-9][0-9]{0,2}", file.name) and int(file.name) < WIDTH:
                data = self.read(f"{name}.p/{file.name}")
                if data is not None:
                    found[int(file.name)] = f"{name}.p/{file.name}", data
        return found

    def strays(self) -> list[str]:
        """Files of this log that no check has read; another log may lie below, it is not of this one."""
        names = [
            str(file.relative_to(self.path)) for part in ("tile", "blobs") for file in (self.path / part).rglob("*")
        ]
        return sorted(name for name in names if name not in self.used and (self.path / name).is_file())


# --- one log ----------------------------------------------------------------------------------------------------------


class Mark(NamedTuple):
    """A signed checkpoint that the log must meet, and where it came from; `outside`: it left the operator's hands."""

    size: int
    root: bytes
    source: str
    outside: bool


class Log:
    """Walks one log from its first leaf to the largest signed size and reports what does not fit."""

    def __init__(self, path: Path, key: Key, origin: str) -> None:
        self.key, self.origin = key, origin
        self.is_root = origin == f"{key.name}/root"
        self.folder = Folder(path / origin)
        self.report = LogReport(origin)
        self.marks: dict[int, list[Mark]] = {}
        self.published: list[tuple[int, Checkpoint]] = []  # of the root log: (leaf, checkpoint of another log)
        self._tree = Tree()
        self._levels: list[list[bytes]] = [[]]  # hashes of the tile in the making, by level
        self._met = 0
        self._previous = -1
        self._sequence: dict[str, int] = {}
        self._gates: dict[str, int] = {}
        self._finals: set[str] = set()
        prefix, _, rest = origin.partition("/")
        name, _, partition = rest.partition("/")
        self._topic = f"{prefix}.checkpoints" if self.is_root else f"{prefix}.{name}"
        self._partition = "0" if self.is_root else partition
        self._verdicts = name == "verdicts"

    def mark(self, mark: Mark) -> None:
        """Demand that the log meets a checkpoint."""
        known = self.marks.setdefault(mark.size, [])
        if not any(other.root == mark.root and other.outside >= mark.outside for other in known):
            known.append(mark)

    def own_checkpoint(self) -> int | None:
        """Read the checkpoint file and demand it; its size, None where there is no good one."""
        note = self.folder.read("checkpoint")
        if note is None:
            self.report.wrong(CONSISTENT, "the checkpoint file is missing", file="checkpoint")
            return None
        try:
            found = self.key.open(note)
            if found.origin != self.origin:
                raise Bad(f"this checkpoint is of the log {found.origin}, not of {self.origin}")
        except Bad as bad:
            self.report.wrong(CONSISTENT, bad.what, file="checkpoint", name="signature")
            return None
        self.mark(Mark(found.size, found.root, "the checkpoint file", False))
        return found.size

    def walk(self) -> None:
        """Check everything up to the largest demanded size."""
        target = max(self.marks, default=0)
        self._check_marks()
        while self._tree.size < target:
            before = self._tree.size
            self._bundle(before // WIDTH, min(WIDTH, target - before))
            if self._tree.size == before:
                break
        self._last_tiles()
        self.report.size = self._tree.size
        self._unmet(target)
        strays = self.folder.strays()
        if strays:
            self.report.notes.append(f"{len(strays)} files are not part of the signed log, the first is {strays[0]}")

    def _bundle(self, index: int, width: int) -> None:
        """Entries and level-0 hashes of one bundle. Where they disagree, the signed tree tells which was altered."""
        start = index * WIDTH
        entries, file = self._entries(index, width)
        stored, tile_file = self._stored_hashes(0, index, width)
        computed = [leaf_hash(entry) for entry in entries]
        chosen = computed
        if stored is not None and (len(computed) < width or stored != computed):
            chosen = self._choose(index, computed, stored, width)
        elif stored is None and len(computed) < width:
            self.report.wrong(
                CONSISTENT, f"leaves from {start + len(computed)} on are gone", leaf=start + len(computed)
            )
        for at, hash_ in enumerate(chosen):
            ours = computed[at] if at < len(computed) else None
            if ours is not None and ours != hash_:
                self._altered(start + at, entries[at], file)
            elif stored is not None and stored[at] != hash_:
                self.report.wrong(
                    CONSISTENT,
                    f"hash {at} of this tile is not that of leaf {start + at}",
                    file=tile_file,
                    leaf=start + at,
                )
            if ours == hash_:
                self._entry(start + at, entries[at], file)
            self._add(hash_)

    def _entries(self, index: int, width: int) -> tuple[list[bytes], str]:
        """The bundle's entries, as far as they can be read; says what is wrong with the file."""
        start, files = index * WIDTH, self.folder.tiles("entries", index)
        expected = f"tile/entries/{index_path(index)}{'' if width == WIDTH else f'.p/{width}'}"
        choice = files.get(width) or files.get(WIDTH)
        if choice is None:
            self.report.wrong(CONSISTENT, "the entry bundle is missing", file=expected, leaf=start)
            return [], expected
        file, data = choice
        entries, trouble = split_bundle(data)
        if trouble or len(entries) < width or (choice is files.get(width) and len(entries) > width):
            trouble = trouble or f"the bundle holds {len(entries)} entries, not {width}"
            self.report.wrong(CONSISTENT, trouble, file=file, leaf=start + min(len(entries), width))
        for other, (name, bytes_) in files.items():
            shorter, longer = sorted((bytes_, data), key=len)
            if name != file and not (trouble or longer.startswith(shorter)):
                self.report.wrong(CONSISTENT, f"differs from {file}", file=name, leaf=start)
            elif name != file and other < width and len(split_bundle(bytes_)[0]) != other:
                self.report.wrong(CONSISTENT, f"does not hold {other} entries", file=name, leaf=start)
        return entries[:width], file

    def _stored_hashes(self, level: int, index: int, width: int) -> tuple[list[bytes] | None, str]:
        """A tile's hashes (None: missing or unreadable), and its file; all stored widths of it must agree."""
        files = self.folder.tiles(str(level), index)
        expected = f"tile/{level}/{index_path(index)}{'' if width == WIDTH else f'.p/{width}'}"
        choice = files.get(width) or files.get(WIDTH)
        if choice is None:
            self.report.wrong(CONSISTENT, "the tile is missing", file=expected)
            return None, expected
        for stated, (name, data) in files.items():
            if len(data) != stated * HASH:
                self.report.wrong(CONSISTENT, f"the tile has {len(data)} bytes, not {stated * HASH}", file=name)
            elif name != choice[0] and not (choice[1].startswith(data) or data.startswith(choice[1])):
                self.report.wrong(CONSISTENT, f"differs from {choice[0]}", file=name)
        hashes = [choice[1][at : at + HASH] for at in range(0, width * HASH, HASH)]
        return (hashes if len(choice[1]) >= width * HASH else None), choice[0]

    def _choose(self, index: int, computed: list[bytes], stored: list[bytes], width: int) -> list[bytes]:
        """Entries or tile: which of the two does the signed tree know? The hashes to go on with."""
        if len(computed) < width:
            return stored
        size = self._tree.size + width
        for mark in self.marks.get(size, ()):
            for hashes in (computed, stored):
                if self._tree.root_with(hashes) == mark.root:
                    return hashes
        parent = self.folder.tiles("1", index // WIDTH)
        at = index % WIDTH * HASH
        known = {data[at : at + HASH] for _, data in parent.values()}
        for hashes in (computed, stored):
            alone = Tree()
            if width == WIDTH and alone.root_with(hashes) in known:
                return hashes
        return computed

    def _altered(self, leaf: int, entry: bytes, file: str) -> None:
        """An entry that is not the one which was signed: name the field, where the change shows in one."""
        try:
            found = decode(entry)
            self._place(found)
            what, name = f"the entry was altered; it now reads as record {found.place}", None
        except Bad as bad:
            what, name = f"the entry was altered: {bad.what}", bad.field
        self.report.wrong(CONSISTENT, what, file=file, leaf=leaf, name=name)

    def _add(self, hash_: bytes) -> None:
        self._levels[0].append(hash_)
        if len(self._levels[0]) == WIDTH:
            self._levels[0] = []  # compared already, as it was read
        for level, node in self._tree.add(hash_):
            while level >= len(self._levels):
                self._levels.append([])
            self._levels[level].append(node)
            if len(self._levels[level]) == WIDTH:
                self._upper(level, (self._tree.size >> 8 * (level + 1)) - 1)
                self._levels[level] = []
        self._check_marks()

    def _last_tiles(self) -> None:
        """The partial tiles of the upper levels."""
        for level, hashes in enumerate(self._levels):
            if level and hashes:
                self._upper(level, (self._tree.size >> 8 * level) // WIDTH)

    def _upper(self, level: int, index: int) -> None:
        """A tile above the leaves against what its leaves give."""
        hashes = self._levels[level]
        stored, file = self._stored_hashes(level, index, len(hashes))
        for at, (ours, theirs) in enumerate(zip(hashes, stored or hashes, strict=True)):
            if ours != theirs:
                first = (index * WIDTH + at) << 8 * level
                last = first + (1 << 8 * level) - 1
                self.report.wrong(
                    CONSISTENT, f"hash {at} is not that of leaves {first} to {last}", file=file, leaf=first
                )

    def _check_marks(self) -> None:
        size = self._tree.size
        for mark in self.marks.get(size, ()):
            if self._tree.root() == mark.root:
                self._met = size
                if mark.outside:
                    self.report.anchored_to = max(self.report.anchored_to, size)
                continue
            what = (
                f"the {size} leaves here have another root than {mark.source} says: the log was rewritten or forked; "
                f"the first {self._met} leaves still fit, so look between leaf {self._met} and leaf {size - 1}"
            )
            self.report.wrong(ANCHORED if mark.outside else CONSISTENT, what, file="checkpoint", leaf=self._met)

    def _unmet(self, target: int) -> None:
        """Checkpoints for more leaves than there are."""
        if self._tree.size == target:
            return
        for size in sorted(size for size in self.marks if size > self._tree.size)[-3:]:
            for mark in self.marks[size]:
                what = f"cut short: {mark.source} is of {size} leaves, only {self._tree.size} are here"
                self.report.wrong(ANCHORED if mark.outside else CONSISTENT, what, leaf=self._tree.size)

    # What the records themselves must say.

    def _entry(self, leaf: int, data: bytes, file: str) -> None:
        try:
            entry = decode(data)
            self._place(entry)
            entry = self._whole(entry)
            self._numbered(entry)
            if self.is_root:
                self._published_checkpoint(leaf, entry)
            if self._verdicts:
                self._verdict(entry)
        except Bad as bad:
            self.report.wrong(bad.kind, bad.what, file=file, leaf=leaf, name=bad.field)

    def _place(self, entry: Entry) -> None:
        if entry.topic != self._topic:
            raise Bad(f"record {entry.place} is of another topic than this log's, {self._topic}", "topic")
        if str(entry.partition) != self._partition:
            raise Bad(f"record {entry.place} is of another partition than this log's, {self._partition}", "partition")
        if entry.offset <= self._previous:
            raise Bad(f"offset {entry.offset} comes after {self._previous}", "offset")

    def _whole(self, entry: Entry) -> Entry:
        """The entry with its blobs in place; only now is its offset taken as seen."""
        self._previous = entry.offset
        key, value, headers = entry.key, entry.value, entry.headers
        if isinstance(value, Digest):
            value = self._blob(value, "value")
        if isinstance(key, Digest):
            key = self._blob(key, "key")
        if isinstance(headers, Digest):
            cursor = Cursor(self._blob(headers, "headers"), "headers")
            headers = cursor.header_list()
            cursor.end()
        return entry._replace(key=key, value=value, headers=headers)

    def _blob(self, digest: Digest, name: str) -> bytes:
        file = f"blobs/{digest.sha256}"
        data = self.folder.read(file)
        if data is None:
            raise Bad(f"{file} is missing", name)
        if hashlib.sha256(data).hexdigest() != digest.sha256 or len(data) != digest.length:
            raise Bad(f"{file} was altered: it has another digest or length", name)
        return data

    def _numbered(self, entry: Entry) -> None:
        """`govern-seq` counts each writer's records of this partition from 0: a gap is a lost record."""
        headers = dict(entry.headers) if not isinstance(entry.headers, Digest) else {}
        number, writer = headers.get("govern-seq"), headers.get("govern-writer")
        if number is None and writer is None and not self._verdicts:
            return
        if number is None or writer is None or not re.fullmatch(rb"0|[1-9][0-9]*", number):
            raise Bad(f"record {entry.place} has no proper govern-seq and govern-writer", "headers", COMPLETE)
        name = writer.decode(errors="replace")
        expected, found = self._sequence.get(name, 0), int(number)
        self._sequence[name] = max(expected, found + 1)
        if found > expected:
            raise Bad(
                f"records {expected} to {found - 1} of writer {name} are missing before this", "headers", COMPLETE
            )
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
        if decision != key or stage not in ("gate", "final"):
            raise Bad(f"the verdict's id {identity!r} and its key {key!r} do not agree", "key")
        source, _, offset = decision.rpartition("/")
        if not offset.isdecimal():
            raise Bad(f"the key {key!r} is not <topic>/<partition>/<offset> of a decision", "key")
        if stage == "final" and key in self._finals:
            raise Bad(f"a second final verdict of decision {key}", "key", COMPLETE)
        if stage == "final":
            self._finals.add(key)
        elif int(offset) <= self._gates.get(source, -1):
            raise Bad(f"a second gate verdict of decision {key}, or one out of order", "key", COMPLETE)
        else:
            self._gates[source] = int(offset)

    def _published_checkpoint(self, leaf: int, entry: Entry) -> None:
        """A leaf of the root log is the signed checkpoint of another log."""
        if entry.key == self.origin.encode():
            raise Bad("the root log holds a checkpoint of its own", "key")
        if not isinstance(entry.value, bytes):
            raise Bad("the record has no checkpoint", "value")
        try:
            found = self.key.open(entry.value)
        except Bad as bad:
            raise Bad(bad.what, "value") from None
        if entry.key != found.origin.encode():
            raise Bad(f"the key is not the origin of the checkpoint, {found.origin}", "key")
        self.published.append((leaf, found))


# --- all logs ---------------------------------------------------------------------------------------------------------


def verify(path: Path, key: Key, since: Sequence[tuple[str, bytes]] = ()) -> Report:
    """Check all logs under a folder. `since`: (file name, signed checkpoint) from outside the operator's hands."""
    root_name = f"{key.name}/root"
    logs = {origin: Log(path, key, origin) for origin in find_logs(path)}
    if not logs:
        raise Unusable(f"there is no log under {path}: no file named checkpoint")
    stray: list[Finding] = []
    for name, note in since:
        try:
            found = key.open(note)
            log = logs.setdefault(found.origin, Log(path, key, found.origin))
            log.mark(Mark(found.size, found.root, f"the checkpoint {name}", True))
        except Bad as bad:
            stray.append(Finding(ANCHORED, key.name, bad.what, name))
    root = logs.setdefault(root_name, Log(path, key, root_name))
    own = {root_name: root.own_checkpoint()}
    root.walk()
    newest = spread(root, logs, path)
    for origin, log in sorted(logs.items()):
        if log is root:
            continue
        own[origin] = log.own_checkpoint()
        stored, published = own[origin], newest.get(origin)
        if stored is not None and published is not None and stored < published:
            what = f"the checkpoint file is older than {root_name} says: {stored} leaves, {published} were signed since"
            log.report.wrong(
                CONSISTENT, f"{what}; rolled back, or its lane died just then and never came back", file="checkpoint"
            )
        log.walk()
        if published is None and log.report.size and stored:
            log.report.wrong(COMPLETE, f"{root_name} has no checkpoint of this log")
        elif published is not None and published < log.report.size:
            log.report.notes.append(f"{root_name} has it up to leaf {published:,} so far")
    reports = [log.report for _, log in sorted(logs.items())]
    reports[0].findings[:0] = stray
    return Report(reports, bool(since))


def spread(root: Log, logs: dict[str, Log], path: Path) -> dict[str, int]:
    """Demand every checkpoint that the root log holds of the logs concerned; the newest size of each."""
    newest: dict[str, int] = {}
    for leaf, found in root.published:
        log = logs.setdefault(found.origin, Log(path, root.key, found.origin))
        if found.size < newest.get(found.origin, 0):
            what = f"the checkpoints of {found.origin} go backwards: {found.size} leaves after {newest[found.origin]}"
            root.report.wrong(COMPLETE, what, leaf=leaf, name="value")
        newest[found.origin] = max(found.size, newest.get(found.origin, 0))
        outside = leaf < root.report.anchored_to
        log.mark(Mark(found.size, found.root, f"leaf {leaf} of {root.origin}", outside))
    return newest


def find_logs(path: Path) -> list[str]:
    """The origins of the logs under a folder: where a file `checkpoint` or a folder `tile` is."""
    found = {file.parent.relative_to(path) for file in path.rglob("checkpoint") if file.is_file()}
    found |= {folder.parent.relative_to(path) for folder in path.rglob("tile") if folder.is_dir()}
    return sorted(str(folder) for folder in found if "tile" not in folder.parts and "blobs" not in folder.parts)


# --- proofs of one record ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proved:
    """What a proof shows."""

    checkpoint: Checkpoint
    index: int
    entry: Entry
    disclosed: dict[str, object] | None = None


def check_proof(document: object, key: Key) -> Proved:
    """Check a proof bundle (docs/formats.md).

    Raises:
        Bad: what does not hold.
    """
    if not isinstance(document, dict) or document.get("format") != "governance-proof-v1":
        raise Bad("not a proof of the format governance-proof-v1", "format")
    found = key.open(str(document.get("checkpoint")).encode())
    index, path = document.get("index"), document.get("inclusion")
    if not isinstance(index, int) or not isinstance(path, list):
        raise Bad("index and inclusion are needed", "index")
    data = unbase64(str(document.get("entry")), "the entry")
    proof = [unbase64(str(hash_), "the inclusion proof") for hash_ in path]
    if not included(leaf_hash(data), index, found.size, proof, found.root):
        raise Bad(f"the entry is not leaf {index} of {found.origin} at {found.size} leaves", "inclusion")
    entry = with_blobs(decode(data), document.get("blobs"))
    prefix, _, rest = found.origin.partition("/")
    topic, _, partition = ("checkpoints/0" if rest == "root" else rest).partition("/")
    if (entry.topic, str(entry.partition)) != (f"{prefix}.{topic}", partition):
        raise Bad(f"the record {entry.place} does not belong to the log {found.origin}", "entry")
    if document.get("origin") != found.origin:
        raise Bad("origin is not that of the checkpoint", "origin")
    disclosed = document.get("disclosed")
    proved = Proved(found, index, entry)
    return proved if disclosed is None else replace(proved, disclosed=check_disclosed(disclosed, entry))


def with_blobs(entry: Entry, blobs: object) -> Entry:
    """The entry with its value and key taken from the proof's blobs."""
    for name in ("key", "value"):
        digest = getattr(entry, name)
        if isinstance(digest, Digest):
            data = unbase64(
                str(blobs.get(digest.sha256)) if isinstance(blobs, dict) else "None", f"the blob of the {name}"
            )
            if hashlib.sha256(data).hexdigest() != digest.sha256:
                raise Bad(f"the blob of the {name} has another digest", "blobs")
            entry = entry._replace(**{name: data})
    return entry


def check_disclosed(disclosed: object, entry: Entry) -> dict[str, object]:
    """The disclosed decision and salt give the commitment that the verdict names."""
    try:
        verdict = json.loads(entry.value if isinstance(entry.value, bytes) else b"")
        expected, key = verdict["data"]["commitment"]["value"], entry.key
        if not isinstance(disclosed, dict) or not isinstance(disclosed["headers"], list) or not isinstance(key, bytes):
            raise Bad("the disclosed decision is not complete", "disclosed")
        fields = {name: optional(disclosed[name]) for name in ("key", "value")}
        headers = [(str(name), optional(value)) for name, value in disclosed["headers"]]
        salt = unbase64(str(disclosed["salt"]), "the salt")
    except (ValueError, KeyError, TypeError):
        raise Bad(
            "this is not a verdict with a commitment, or the disclosed decision is not complete", "disclosed"
        ) from None
    encoded = nullable(fields["key"]) + b"\x01" + len(headers).to_bytes(4, "big")
    for name, value in headers:
        encoded += len(name.encode()).to_bytes(4, "big") + name.encode() + nullable(value)
    if hashlib.sha256(salt + encoded + nullable(fields["value"])).hexdigest() != expected:
        raise Bad("the disclosed decision is not the one that this verdict committed to", "disclosed")
    return {"position": key.decode(errors="replace"), **fields, "headers": headers}


def optional(text: object) -> bytes | None:
    return None if text is None else unbase64(str(text), "the disclosed decision")


def nullable(data: bytes | None) -> bytes:
    return b"\x00" if data is None else b"\x01" + len(data).to_bytes(4, "big") + data


# --- command line -----------------------------------------------------------------------------------------------------


def read_since(paths: Sequence[Path]) -> list[tuple[str, bytes]]:
    """Signed checkpoints from files; a folder stands for all files named `checkpoint` below it."""
    files = [file for path in paths for file in (sorted(path.rglob("checkpoint")) if path.is_dir() else [path])]
    if paths and not files:
        raise Unusable("no file named checkpoint below " + ", ".join(map(str, paths)))
    return [(str(file), file.read_bytes()) for file in files]


def run_verify(folder: Path, key_file: Path, since: Sequence[Path] = (), as_json: bool = False) -> int:
    """`verify`; prints the report and gives the exit status."""
    report = verify(folder, Key(key_file.read_text()), read_since(since))
    print(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())
    return 0 if report.ok else 1


def run_check_proof(proof: Path, key_file: Path, as_json: bool = False) -> int:
    """`check-proof`; prints what is proved and gives the exit status."""
    try:
        proved = check_proof(json.loads(proof.read_text()), Key(key_file.read_text()))
    except Bad as bad:
        result: dict[str, object] = {"ok": False, "what": bad.what, "field": bad.field}
        print(json.dumps(result) if as_json else f"FAILED: {bad.what} (field {bad.field or 'checkpoint'})")
        return 1
    except ValueError:
        raise Unusable(f"{proof} is not JSON") from None
    where = f"leaf {proved.index} of {proved.checkpoint.origin} ({proved.checkpoint.size} leaves, signed)"
    value = proved.entry.value if isinstance(proved.entry.value, bytes) else b""
    if as_json:
        print(
            json.dumps(
                {"ok": True, "record": proved.entry.place, "where": where, "value": value.decode(errors="replace")}
            )
        )
    else:
        print(f"OK: record {proved.entry.place} is {where}\n{value.decode(errors='replace')}")
        if proved.disclosed is not None:
            print(
                f"OK: it judged exactly this decision, {proved.disclosed['position']}:\n{proved.disclosed['value']!r}"
            )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(prog="verify", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("verify", help="check all logs under a folder")
    one.add_argument("folder", type=Path)
    one.add_argument(
        "--since", type=Path, action="append", default=[], help="a checkpoint you kept, or a folder of them"
    )
    two = commands.add_parser("check-proof", help="check the proof of one record")
    two.add_argument("proof", type=Path)
    for command in (one, two):
        command.add_argument("--key", type=Path, required=True, help="your own copy of the public key")
        command.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    try:
        if given.command == "verify":
            return run_verify(given.folder, given.key, given.since, given.json)
        return run_check_proof(given.proof, given.key, given.json)
    except (Unusable, OSError) as error:
        print(f"cannot check: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
