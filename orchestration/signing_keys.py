"""Private keys that answers are signed with: the console's, made when first used, and people's own for the command line.

    <keys_dir>/<prefix>.console.key            mode 0600   signs what signed-in people answer in the console
    <keys_dir>/<prefix>.person.<person>.key    mode 0600   a person's own, for `govern review`, `govern config approve`, …

Each file holds `ed25519-private:<base64 of 32 bytes>`. The public halves stand in the configuration. What others can read is
refused, and a key is never replaced.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from agents.dsse import Private
from agents.errors import Misconfigured
from agents.escalation.declared import Person
from orchestration import keys
from orchestration.settings import Settings

PREFIX = "ed25519-private:"
_PERSON: TypeAdapter[str] = TypeAdapter(Person)


def person_path(settings: Settings, person: str, folder: Path | None = None) -> Path:
    """Where a person's own key lies, whether it is there or not; raises Misconfigured for a name that nobody can have."""
    try:
        _PERSON.validate_python(person)
    except ValidationError as error:
        raise Misconfigured(
            f"{person!r} is no person's id; use the one under escalation.people: small letters, digits, . _ @ -"
        ) from error
    return (folder or settings.keys_dir).expanduser() / f"{settings.prefix}.person.{person}.key"


def console_path(settings: Settings, folder: Path | None = None) -> Path:
    """Where the console's key lies."""
    return (folder or settings.keys_dir).expanduser() / f"{settings.prefix}.console.key"


def console_lines(public: str, name: str = "console") -> str:
    """The configuration's lines for a console's public key; two keys have two names.

    >>> print(console_lines("ed25519:AAAA"))
    escalation:
      console_keys:
        console: ed25519:AAAA
    """
    return f"escalation:\n  console_keys:\n    {name}: {public}"


def found(settings: Settings, folder: Path | None = None) -> list[tuple[str, Path]]:
    """Whose keys lie here, the console's first: (`console` or the person, file)."""
    console, start, end = console_path(settings, folder), f"{settings.prefix}.person.", ".key"
    people = sorted(console.parent.glob(f"{start}*{end}"))
    named = [(path.name.removeprefix(start).removesuffix(end), path) for path in people]
    return [("console", console), *named] if console.exists() else named


def make(path: Path, settings: Settings) -> Private:
    """A new key in a new file.

    Raises Misconfigured: there is one already, or the folder lies in a git work tree or in the evidence store.
    """
    path = path.expanduser().absolute()
    keys.refuse_place(path.parent, settings.store_url)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    seed = secrets.token_bytes(32)
    try:
        keys.write_file(path, PREFIX + base64.b64encode(seed).decode(), 0o600)
    except FileExistsError as error:
        raise Misconfigured(
            f"{path} is there already, and a key is never replaced: move it away, or use it (`govern key show`)"
        ) from error
    return Private(seed)


def load(path: Path, mend: str = "govern key new --person NAME") -> Private:
    """The key in a file; raises Misconfigured: missing (`mend` makes one), damaged, or readable by group or others."""
    text = keys.read_secret(path, mend)
    try:
        seed = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        seed = b""
    if not text.startswith(PREFIX) or len(seed) != 32:
        raise Misconfigured(
            f"{path} does not hold a private key of the form {PREFIX}<base64>; restore it from its copy"
        )
    return Private(seed)


def person_key(settings: Settings, person: str, file: Path | None = None) -> Private:
    """A person's own key: from a named file, or from its place in `keys_dir`."""
    return load(file or person_path(settings, person), f"govern key new --person {person}")


def own(settings: Settings, person: str | None = None, file: Path | None = None) -> tuple[str, Private]:
    """Who signs on this machine, and with which key: the person named, or the only one whose key lies in `keys_dir`.

    Raises Misconfigured where that is not clear, or the key cannot be used.
    """
    if person is None:
        names = [name for name, path in found(settings) if path != console_path(settings)]
        if len(names) != 1:
            those = f"there are keys of {', '.join(names)}" if names else "no person's key is here"
            raise Misconfigured(
                f"who signs? {those}; give --person, and make a key with `govern key new --person NAME`"
            )
        person = names[0]
    return person, person_key(settings, person, file)


def console_key(settings: Settings) -> Private:
    """The key of this deployment's console, made at first use; two consoles that start at once get the same."""
    path = console_path(settings)
    if not path.exists():
        try:
            return make(path, settings)
        except Misconfigured:
            if not path.exists():
                raise
    return load(path)
