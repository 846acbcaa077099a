"""The operator's secrets: the key that signs checkpoints, the key that salts commitments; made once, kept with care.

    <name>.signer     PRIVATE+KEY+…  mode 0600   the audit lanes sign with it
    <name>.salt       SALT+KEY+…     mode 0600   the policy lanes commit with it
    <name>.verifier   name+hash+key              goes to auditors, by another way than the evidence

Secrets lie outside the repository and outside the evidence store, and only their owner may read them: a key that others
can read is refused, not used with a warning.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from agents.audit.commitment import KEY_BYTES, Committer
from agents.audit.notes import Signer, Verifier
from agents.errors import Misconfigured

DEFAULT_DIR = Path("~/.config/governance-in-motion/keys")
_SALT = "SALT+KEY+"


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the keys of one prefix lie."""

    signer: Path
    salt: Path
    verifier: Path


def paths(name: str, folder: Path = DEFAULT_DIR) -> Keys:
    """The key files of a prefix in a folder, whether they are there or not."""
    folder = folder.expanduser()
    return Keys(folder / f"{name}.signer", folder / f"{name}.salt", folder / f"{name}.verifier")


def generate(name: str, folder: Path = DEFAULT_DIR, store: str | None = None) -> Keys:
    """Make the keys of a prefix. `store` is the evidence store, which must not hold them.

    Raises:
        Misconfigured: keys of that name are there already, the name does not fit a key, or the folder lies in a git work
            tree or in the store.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise Misconfigured(f"{name!r} does not fit a key; use the topic prefix: letters, digits, dots, dashes")
    folder = folder.expanduser().resolve()
    refuse_place(folder, store)
    found = paths(name, folder)
    for path in (found.signer, found.salt, found.verifier):
        if path.exists():
            raise Misconfigured(
                f"{path} is there already; evidence is signed with it, so it is never replaced: move it away"
            )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = Signer(name, secrets.token_bytes(32))
    salt_id = f"{name}-{secrets.token_hex(4)}"
    write_file(found.signer, signer.encoded(), 0o600)
    write_file(found.salt, f"{_SALT}{salt_id}+{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}", 0o600)
    write_file(found.verifier, str(signer.verifier), 0o644)
    return found


def load_signer(path: Path) -> Signer:
    """The key that signs checkpoints.

    Raises:
        Misconfigured: missing, damaged, or readable by group or others.
    """
    return Signer.parse(read_secret(path))


def load_salt(path: Path) -> Committer:
    """What commits to decisions, with its salt key.

    Raises:
        Misconfigured: missing, damaged, or readable by group or others.
    """
    matched = re.fullmatch(re.escape(_SALT) + r"([^\s+]+)\+([A-Za-z0-9+/]+={0,2})", read_secret(path))
    if matched is None:
        raise Misconfigured(f"{path} does not hold a salt key of the form SALT+KEY+id+base64")
    try:
        return Committer(matched[1], base64.b64decode(matched[2], validate=True))
    except (binascii.Error, ValueError) as error:
        raise Misconfigured(f"{path} is damaged: {error}; restore it from its copy") from error


def load_verifier(path: Path) -> Verifier:
    """The public key that auditors check with.

    Raises:
        Misconfigured: missing or damaged.
    """
    return Verifier.parse(_text(path))


def refuse_place(folder: Path, store: str | None) -> None:
    """Raises Misconfigured where secrets in a folder would be committed to git, or handed out with the evidence."""
    for parent in (folder, *folder.parents):
        if (parent / ".git").exists():
            raise Misconfigured(
                f"{folder} lies in the git work tree {parent}: secrets would be committed; give --dir elsewhere"
            )
    if store and "://" not in store.removeprefix("file://"):
        evidence = Path(store.removeprefix("file://")).expanduser().resolve()
        if folder.is_relative_to(evidence):
            raise Misconfigured(
                f"{folder} lies in the evidence store {evidence}, which is handed out; give --dir elsewhere"
            )


def write_file(path: Path, text: str, mode: int) -> None:
    """A new file with one line, there whole or not at all; raises FileExistsError where there is one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    finally:
        partial.unlink()


def read_secret(path: Path, mend: str = "govern audit keygen") -> str:
    """A secret's text. Raises Misconfigured: missing (`mend` makes one), or readable by group or others."""
    text = _text(path, mend)
    mode = stat.S_IMODE(path.expanduser().stat().st_mode)
    if mode & 0o077:
        raise Misconfigured(f"{path} can be read by others (mode {mode:04o}); mend it: chmod 600 {path}")
    return text


def _text(path: Path, mend: str = "govern audit keygen") -> str:
    try:
        return path.expanduser().read_text().strip()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Misconfigured(f"there is no key {path}; make one: {mend}") from error
    except PermissionError as error:
        raise Misconfigured(f"{path} cannot be read by this user; run as its owner") from error
