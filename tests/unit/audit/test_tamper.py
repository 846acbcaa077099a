"""Whatever is altered in a small store, the verifier finds it and names the place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agents.audit import entry as entries
from agents.audit.tiles import split_bundle
from agents.audit.verify import Bad, Finding, Key, verify
from agents.records import Plain
from tests.unit.audit.conftest import Operator, write_small_store

BUNDLES = {  # log -> its bundles: file, and the leaf it starts at
    "gim/verdicts/0": [("tile/entries/000", 0), ("tile/entries/001.p/14", 256)],
    "gim/verdicts/1": [("tile/entries/000.p/7", 0)],
    "gim/config/0": [("tile/entries/000.p/3", 0)],
    "gim/root": [("tile/entries/000.p/6", 0)],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return write_small_store(tmp_path_factory.mktemp("store") / "evidence")


@contextmanager
def altered(path: Path, data: bytes | None) -> Iterator[None]:
    """A file with other bytes (None: removed) for a while."""
    before = path.read_bytes()
    try:
        path.unlink() if data is None else path.write_bytes(data)
        yield
    finally:
        path.write_bytes(before)


def findings(operator: Operator) -> list[Finding]:
    return verify(operator.folder, Key(operator.key)).findings


def bundle(parts: list[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def with_entry(data: bytes, at: int, new: bytes) -> bytes:
    parts = split_bundle(data)
    parts[at] = new
    return bundle(parts)


def other_bytes(data: bytes | None) -> bytes | None:
    """Something else: null becomes empty, empty becomes null, anything else changes its last byte."""
    if data is None:
        return b""
    return data[:-1] + bytes([data[-1] ^ 1]) if data else None


def field_changes(record: entries.Entry) -> dict[str, entries.Entry]:
    """The record with each of its fields changed in turn, null and empty told apart, headers in another order."""
    assert not isinstance(record.headers, entries.Digest)
    changes = {
        "topic": replace(record, topic=record.topic + "x"),
        "partition": replace(record, partition=record.partition + 1),
        "offset": replace(record, offset=record.offset + 1),
        "timestamp": replace(record, timestamp=record.timestamp + 1),
        "one header more": replace(record, headers=(*record.headers, ("new", b""))),
    }
    for name in ("key", "value"):
        part = getattr(record, name)
        if not isinstance(part, entries.Digest):
            changes[name] = replace(record, **{name: other_bytes(part)})
    for at, (name, data) in enumerate(record.headers):
        before, after = record.headers[:at], record.headers[at + 1 :]
        changes[f"header {at}: name"] = replace(record, headers=(*before, (name + "x", data), *after))
        changes[f"header {at}: value"] = replace(record, headers=(*before, (name, other_bytes(data)), *after))
        changes[f"header {at}: gone"] = replace(record, headers=(*before, *after))
    if len(set(record.headers)) > 1:
        changes["headers: order"] = replace(record, headers=record.headers[::-1])
    return changes


def encoded(record: entries.Entry) -> bytes:
    return entries.encode(Plain(**{name: getattr(record, name) for name in record.__dataclass_fields__}))[0]


@pytest.mark.parametrize("log", BUNDLES)
def test_every_field_of_a_record_is_protected(store, log):
    """For the first, a middle and the last record of each bundle."""
    tried = 0
    for file, start in BUNDLES[log]:
        path = store.folder / log / file
        data = path.read_bytes()
        parts = split_bundle(data)
        for at in sorted({0, len(parts) // 2, len(parts) - 1}):
            record = entries.decode(parts[at])
            if isinstance(record.value, entries.Digest) or isinstance(record.headers, entries.Digest):
                continue
            for field, changed in field_changes(record).items():
                with altered(path, with_entry(data, at, encoded(changed))):
                    found = findings(store)
                assert places_of(found) == [(log, start + at, file)], field
                if field in ("topic", "partition"):
                    assert found[0].field == field
                tried += 1
    assert tried >= 20


@pytest.mark.parametrize("log", BUNDLES)
def test_every_record_is_protected(store, log):
    """Each record in turn, at a byte that wanders through the entry, so that all parts of the format have their turn."""
    for file, start in BUNDLES[log]:
        path = store.folder / log / file
        data = path.read_bytes()
        for at, part in enumerate(split_bundle(data)):
            place = at * 7919 % len(part)
            changed = part[:place] + bytes([part[place] ^ 0x20]) + part[place + 1 :]
            with altered(path, with_entry(data, at, changed)):
                found = findings(store)
            assert places_of(found) == [(log, start + at, file)], (at, place)


def test_records_cannot_be_swapped_removed_or_added(store):
    path = store.folder / "gim/verdicts/0/tile/entries/000"
    data = path.read_bytes()
    parts = split_bundle(data)
    for changed, leaf in (
        (bundle([*parts[:40], parts[41], parts[40], *parts[42:]]), 40),
        (bundle([*parts[:40], *parts[41:]]), 40),
        (bundle([*parts[:40], parts[39], *parts[40:]]), 40),
        (bundle(parts[:-1]), 255),
        (bundle([*parts, parts[0]]), 256),
    ):
        with altered(path, changed):
            found = findings(store)
        assert any(f.log == "gim/verdicts/0" and f.leaf == leaf and f.file == "tile/entries/000" for f in found)


def every_file(store: Operator, pattern: str) -> list[Path]:
    return sorted(file for file in store.folder.rglob(pattern) if file.is_file())


def places(size: int, step: int) -> Iterator[int]:
    yield from range(0, size, step)
    yield size - 1


def test_every_hash_of_every_tile_is_protected(store):
    tiles = [
        file for file in every_file(store, "tile/*/*") + every_file(store, "tile/*/*.p/*") if "entries" not in str(file)
    ]
    assert len(tiles) == 9  # partial ones of earlier sizes are among them
    for path in tiles:
        data = path.read_bytes()
        log, file = place_of(store, path)
        for at in range(0, len(data), 32 if len(data) < 1024 else 160):
            byte = at + at // 32 % 32
            with altered(path, data[:byte] + bytes([data[byte] ^ 1]) + data[byte + 1 :]):
                found = findings(store)
            assert (log, file) in {(f.log, f.file) for f in found}, (path, at)
            assert {f.log for f in found} == {log}


@pytest.mark.parametrize("change", ["gone", "empty", "shorter", "longer"])
def test_every_file_is_protected_as_a_whole(store, change):
    for path in every_file(store, "*"):
        if change == "gone" and path.name in ("2", "3") and path.parent.name.endswith(".p") and not stands(path):
            continue  # a partial file of an earlier size may go
        data = path.read_bytes()
        new = {"gone": None, "empty": b"", "shorter": data[:-1], "longer": data + b"\0"}[change]
        log, file = place_of(store, path)
        with altered(path, new):
            found = findings(store)
        blob = file.split("/")[-1] if file.startswith("blobs/") else None
        assert any(f.log == log and (f.file == file or (blob and blob in f.what)) for f in found), (path, found)


def test_every_byte_of_every_checkpoint_is_protected(store):
    for path in every_file(store, "checkpoint"):
        data = path.read_bytes()
        log, _ = place_of(store, path)
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises(Bad):
                Key(store.key).open(changed)
            if at % 16 == 0:
                with altered(path, changed):
                    found = findings(store)
                assert [f for f in found if (f.log, f.file, f.field) == (log, "checkpoint", "signature")], (path, at)


def test_blobs_are_protected(store):
    blobs = every_file(store, "blobs/*")
    assert len(blobs) == 3
    for path in blobs:
        data = path.read_bytes()
        with altered(path, data[:-1] + b"!"):
            found = findings(store)
        assert [f.log for f in found] == ["gim/verdicts/0"]
        assert path.name in found[0].what
        assert found[0].leaf in (17, 260)
        assert found[0].field in ("value", "headers")


def test_a_bundle_and_its_tile_altered_together_are_found_above(store):
    """Who recomputes the tile as well is caught by the tile above, and by the signed root."""
    log = store.folder / "gim/verdicts/0"
    data = (log / "tile/entries/000").read_bytes()
    forged = encoded(replace(entries.decode(split_bundle(data)[5]), timestamp=1))
    tile = bytearray((log / "tile/0/000").read_bytes())
    tile[5 * 32 : 6 * 32] = hashlib.sha256(b"\0" + forged).digest()
    with altered(log / "tile/entries/000", with_entry(data, 5, forged)), altered(log / "tile/0/000", bytes(tile)):
        found = findings(store)
    assert ("tile/1/000.p/1", 0) in {(f.file, f.leaf) for f in found}
    roots = [f for f in found if "another root" in f.what]
    assert {f.leaf for f in roots} == {0}
    assert "leaf 3 of gim/root" not in json.dumps([f.what for f in roots[:1]])


def places_of(found: list[Finding]) -> list[tuple[str, int | None, str | None]]:
    """Where something was altered; that another log lacks its checkpoint is only what follows in the root log."""
    return [(f.log, f.leaf, f.file) for f in found if f.what != "gim/root has no checkpoint of this log"]


def stands(path: Path) -> bool:
    """No wider file of the same tile is there."""
    return int(path.name) == max(int(other.name) for other in path.parent.iterdir())


def place_of(store: Operator, path: Path) -> tuple[str, str]:
    """The log and the file in it."""
    relative = str(path.relative_to(store.folder))
    log = next(log for log in sorted(BUNDLES, key=len, reverse=True) if relative.startswith(log + "/"))
    return log, relative.removeprefix(log + "/")
