"""Structured logs for operators: one JSON object a line, without personal data.

A line says when, how bad, who, and what happened to which lane. Values of records never enter: of an exception that is
not ours only the type and the places in the code are written (its text may quote a record), and texts are cut short.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from agents.errors import GovernanceError

TEXT_LIMIT = 1_000
FILE_BYTES, FILES = 10 * 1024 * 1024, 5
# What a call may add with `extra=`: names of our own things, never of people or decisions.
FIELDS = ("lane", "worker", "supervisor", "configuration", "seconds")


class JsonLines(logging.Formatter):
    """One record as one line of JSON."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self.process,
            "pid": record.process,
            "logger": record.name,
            "message": _short(record.getMessage()),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _error(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(process: str, folder: Path | None = None, level: int = logging.INFO) -> None:
    """Send this process's logs to `<folder>/<process>.jsonl` (rotated), or to standard error where there is no folder.

    Libraries speak at warnings and above only: below that some of them print requests.
    """
    handler = _handler(process, folder)
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("governance").setLevel(level)


def _handler(process: str, folder: Path | None) -> logging.Handler:
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return logging.handlers.RotatingFileHandler(
                folder / f"{process}.jsonl", maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8", delay=True
            )
        except OSError:
            pass  # another machine of the cluster may not have the folder; its logs then are Ray's
    return logging.StreamHandler(sys.stderr)


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _error(error: BaseException) -> dict[str, object]:
    """Type and places of an exception; its text only where it is ours."""
    frames = traceback.extract_tb(error.__traceback__)
    found: dict[str, object] = {
        "type": type(error).__name__,
        "at": [f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-8:]],
    }
    if isinstance(error, GovernanceError):
        found["text"] = _short(str(error))
    if error.__cause__ is not None:
        found["cause"] = _error(error.__cause__)
    return found
