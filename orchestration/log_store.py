"""Where evidence lies: a local folder or any fsspec URL; for audit lanes, which may die at any moment while writing.

    <store>/<origin>/checkpoint              the latest signed checkpoint, never smaller than before
    <store>/<origin>/tile/<L>/<N>[.p/<W>]    hash tiles            (C2SP tlog-tiles)
    <store>/<origin>/tile/entries/<N>[.p/<W>]  entry bundles
    <store>/<origin>/blobs/<sha256>          fields too large for an entry

Each log's folder is complete in itself. A local file appears whole or not at all: it is written beside its place, synced,
renamed, and its folder synced. Object stores put whole objects anyway. One writer a log: the lane is fenced by Kafka.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import fsspec

from agents.audit.notes import Checkpoint, split_note
from agents.errors import Inconsistent, Misconfigured

_FULL = re.compile(r".*/tile/(\d+|entries)/(x\d{3}/)*\d{3}")
_BLOB = re.compile(r".*/blobs/[0-9a-f]{64}")
OPEN_AT_ONCE = 64


class LogStore:
    """A store of logs under one folder or URL."""

    def __init__(self, url: str) -> None:
        """`url` is a path, or an fsspec URL such as `s3://bucket/evidence`; a local folder is made when first written."""
        self.url = url
        self._files: _Files = _Remote(url) if "://" in url and not url.startswith("file://") else _Local(url)

    def read(self, path: str) -> bytes:
        """A stored file by its path under the store.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._files.read(_checked(path))

    def write(self, files: Mapping[str, bytes]) -> None:
        """Make files durable; when this returns they survive a power cut.

        Full tiles, full bundles and blobs never change: one that is there already with the same bytes is left alone.
        Partial files of a tile that is now full are removed.

        Raises:
            Inconsistent: such a file is there with other bytes. Nothing was written.
        """
        fixed = {path: data for path, data in files.items() if _FULL.fullmatch(_checked(path)) or _BLOB.fullmatch(path)}
        stored = {path for path, data in fixed.items() if self._same(path, data)}
        self._files.write({path: data for path, data in files.items() if path not in stored})
        self._files.remove_folders(f"{path}.p" for path in fixed if not _BLOB.fullmatch(path))

    def checkpoint(self, origin: str) -> bytes | None:
        """The stored signed checkpoint of a log; None for a log that has none yet."""
        try:
            return self.read(f"{origin}/checkpoint")
        except FileNotFoundError:
            return None

    def write_checkpoint(self, note: bytes) -> None:
        """Put a signed checkpoint in place of an older one of the same log; the same or a smaller one changes nothing.

        Raises:
            Inconsistent: the stored one has the same size and another root: the log was forked.
        """
        new = _parsed(note)
        stored = self.checkpoint(new.origin)
        if stored is not None:
            old = _parsed(stored)
            if old.size == new.size and old.root != new.root:
                raise Inconsistent(
                    f"{self.url}/{new.origin}/checkpoint has another root at size {new.size}: the log was forked; "
                    "keep both and find out which process wrote the other one"
                )
            if old.size >= new.size:
                return
        self._files.write({f"{new.origin}/checkpoint": note})

    def _same(self, path: str, data: bytes) -> bool:
        try:
            stored = self._files.read(path)
        except FileNotFoundError:
            return False
        if stored != data:
            raise Inconsistent(
                f"{self.url}/{path} is there with other bytes than its records give; "
                "the store was altered, or two audit lanes write to it: restore it from its copy"
            )
        return True


def publish(note: bytes, url: str) -> None:
    """Put a signed checkpoint at a second place, out of the operator's reach: `<url>/<origin>/checkpoint`.

    Raises: as `LogStore.write_checkpoint`; OSError when the place cannot be reached.
    """
    LogStore(url).write_checkpoint(note)


class _Files(Protocol):
    """What a store can do with whole files."""

    def read(self, path: str) -> bytes: ...
    def write(self, files: Mapping[str, bytes]) -> None: ...
    def remove_folders(self, paths: Iterable[str]) -> None: ...


class _Local:
    """A folder. Files are written all at once, then synced, then renamed, each folder synced once, before `write` returns."""

    def __init__(self, url: str) -> None:
        self._root = url.removeprefix("file://").rstrip("/") or "/"

    def read(self, path: str) -> bytes:
        with open(f"{self._root}/{path}", "rb") as file:
            return file.read()

    def write(self, files: Mapping[str, bytes]) -> None:
        folders: set[Path] = set()
        known: set[str] = set()
        rest = iter(files.items())
        while part := list(itertools.islice(rest, OPEN_AT_ONCE)):
            for path, _ in part:
                if (parent := os.path.dirname(path)) not in known:
                    known.add(parent)
                    folder = Path(self._root, parent)
                    folders.update([folder] if folder.is_dir() else _make(folder))
            self._write(part)
        for folder in folders:
            _sync_folder(folder)

    def _write(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Synced together, so that the disk works on all of them at once: a third of the time, half of the CPU."""
        with contextlib.ExitStack() as opened:
            written = []
            for path, data in files:
                folder, _, name = path.rpartition("/")
                partial = f"{self._root}/{folder}/.{name}.{os.getpid()}.new"
                file = opened.enter_context(open(partial, "wb"))
                file.write(data)
                file.flush()
                _will_not_read(file.fileno())
                written.append((file, partial, f"{self._root}/{path}"))
            for file, _, _ in written:
                os.fsync(file.fileno())
        for _, partial, place in written:
            os.replace(partial, place)

    def remove_folders(self, paths: Iterable[str]) -> None:
        for path in paths:
            shutil.rmtree(f"{self._root}/{path}", ignore_errors=True)  # a leftover does no harm


class _Remote:
    """An fsspec file system. A put is atomic and durable there when it returns."""

    def __init__(self, url: str) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise Misconfigured(f"the store {url} cannot be opened: {error}; give a folder or an fsspec URL") from error

    def read(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(f"{self._root}/{path}")
        return data

    def write(self, files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            self._fs.pipe_file(f"{self._root}/{path}", data)

    def remove_folders(self, paths: Iterable[str]) -> None:
        for path in paths:
            if self._fs.exists(f"{self._root}/{path}"):
                self._fs.rm(f"{self._root}/{path}", recursive=True)


def _checked(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is not a path under the store")
    return path


def _parsed(note: bytes) -> Checkpoint:
    return Checkpoint.parse(split_note(note)[0])


def _make(folder: Path) -> list[Path]:
    """Make a folder and its parents; what must be synced so that they last."""
    made = [folder]
    while not folder.parent.is_dir():
        folder = folder.parent
        made.append(folder)
    made[0].mkdir(parents=True, exist_ok=True)
    return [*made, folder.parent]


def _will_not_read(handle: int) -> None:
    """Tell the system that these bytes need not stay in memory: it begins to write them."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
