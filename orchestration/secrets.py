"""Secrets that the configuration only names: read from this process's environment, or a file, at the moment of use.

Promise, to whoever sends or signs: a secret is never printed, logged or kept in an error's text, and a file that others
can read is refused. Read anew each time, so that a rotated file counts at once.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from agents.errors import Misconfigured

SECRET_URL = "secret:"
"""A URL that is itself a secret is declared as `secret:<name>`."""


def variable(name: str) -> str:
    """The variable that a secret is read from.

    >>> variable("slack-hook")
    'GOVERN_SECRET_SLACK_HOOK'
    """
    return "GOVERN_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def secret(name: str) -> str:
    """The secret of this name, without white space around it: from GOVERN_SECRET_<NAME>, or from the file that
    GOVERN_SECRET_<NAME>_FILE names, which only its owner may read.

    Raises Misconfigured where there is none, it is empty, or the file cannot be used; the message has the mend, never the
    value.
    """
    named = variable(name)
    given, file = os.environ.get(named, "").strip(), os.environ.get(f"{named}_FILE", "")
    if given:
        return given
    if not file:
        raise Misconfigured(
            f"there is no secret {name!r}: set {named}, or {named}_FILE to a file that only its owner can read, "
            "where `govern up` runs (a local Ray that runs already keeps its old environment: `govern down` first)"
        )
    return _text(Path(file).expanduser(), f"{named}_FILE")


def resolve_url(url: str) -> str:
    """The URL itself: `secret:<name>` is looked up, anything else comes back as it is.

    Raises Misconfigured as `secret` does.

    >>> resolve_url("https://example.org/hook")
    'https://example.org/hook'
    """
    return secret(url.removeprefix(SECRET_URL)) if url.startswith(SECRET_URL) else url


def _text(path: Path, named: str) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise Misconfigured(f"{path} can be read by others (mode {mode:04o}); mend it: chmod 600 {path}")
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        # `from None`: that error's own text shows a part of the secret.
        raise Misconfigured(f"{path} ({named}) is no UTF-8 text; write the secret as text") from None
    except PermissionError as error:
        raise Misconfigured(f"{path} ({named}) cannot be read by this user; run as its owner") from error
    except OSError as error:
        raise Misconfigured(f"{path} ({named}) cannot be read: {error.strerror}; correct {named}") from error
    if not text:
        raise Misconfigured(f"{path} ({named}) is empty; write the secret into it")
    return text
