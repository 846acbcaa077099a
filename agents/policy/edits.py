"""Amended decisions: what a person put in a model's place, sealed so that only ours counts.

An amended decision is a record on a topic of decisions like any other, and is judged like any other, but for the causes
that the person answered. The header `govern-edit` says which, and its HMAC covers the place, the key, all other headers and the
value: whoever alters or moves one byte of it makes a record that the reader refuses.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from agents.audit.commitment import canonical
from agents.decoding import FAILURES
from agents.envelope import STRUCTURED, attributes
from agents.errors import Malformed, Poison
from agents.events import ID_LIMIT
from agents.people_events import Edit
from agents.policy.held import Held
from agents.records import OWN_HEADERS, Header, Record

HEADER = "govern-edit"
_VERSION = b"govern-edit-v1\0"


class CannotAmend(Poison):
    """A decision whose bytes cannot be changed as the person asked; the original is withheld all the same."""

    reason = "cannot-amend"


class _Sealed(msgspec.Struct):
    ruling: str
    rules: tuple[str, ...]
    mac: str


_decode = msgspec.json.Decoder(_Sealed).decode


@dataclass(frozen=True, slots=True)
class Seal:
    """Makes and checks `govern-edit`; `key` is a secret of the deployment (`Committer.salt("edits")`)."""

    key: bytes

    def header(
        self, topic: str, partition: int, ruling: str, rules: Sequence[str], key: bytes | None, headers: Sequence[Header],
        value: bytes,
    ) -> Header:  # fmt: skip
        """The header that lets a record pass: it comes last, behind `headers`."""
        mac = self._mac(topic, partition, ruling, rules, key, headers, value)
        document = {"ruling": ruling, "rules": list(rules), "mac": mac}
        return HEADER, json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    def answered(self, record: Record) -> tuple[str, ...]:
        """The rules that a person answered, of a record with headers of ours.

        Raises Malformed where it has any other header of ours, or one that is not of this deployment's making.
        """
        own, said = _said(record)
        others = [header for header in record.headers if header is not own]
        value = record.value or b""
        mac = self._mac(record.topic, record.partition, said.ruling, said.rules, record.key, others, value)
        if not hmac.compare_digest(mac.encode(), said.mac.encode()):
            raise Malformed(
                f"the header `{HEADER}` is not of this deployment, or the record was altered", "forged-edit"
            )
        return said.rules

    def _mac(
        self, topic: str, partition: int, ruling: str, rules: Sequence[str], key: bytes | None, headers: Sequence[Header],
        value: bytes,
    ) -> str:  # fmt: skip
        said = json.dumps([topic, partition, ruling, list(rules)], separators=(",", ":"), ensure_ascii=False)
        signed = _VERSION + hashlib.sha256(said.encode()).digest() + canonical(key, headers, value)
        return hmac.new(self.key, signed, hashlib.sha256).hexdigest()


def taken_at_its_word(record: Record) -> tuple[str, ...]:
    """The same without the secret, for a replay: the seal was checked when the record was judged."""
    return _said(record)[1].rules


def is_amended(record: Record) -> bool:
    """Whether a record that was judged as a decision is one that a person amended."""
    return any(name == HEADER for name, _ in record.headers)


def _said(record: Record) -> tuple[Header, _Sealed]:
    """The one header of ours that a record may have; raises Malformed where it has another, or more."""
    ours = [header for header in record.headers if header[0].lower().startswith(OWN_HEADERS)]
    if len(ours) != 1 or ours[0][0] != HEADER:
        raise Malformed(f"a producer's record must not have headers that start with `{OWN_HEADERS}`", "own-header")
    try:
        return ours[0], _decode(ours[0][1] or b"")
    except FAILURES:
        raise Malformed(f"the header `{HEADER}` cannot be read", "forged-edit") from None


@dataclass(frozen=True, slots=True)
class Amended:
    """A record to be written."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: tuple[Header, ...]


def amend(
    prefix: str,
    held: Held,
    ruling: str,
    keys: frozenset[str],
    edit: Edit,
    seal: Seal,
    translate: Callable[[Record], bytes] | None = None,
) -> Amended:
    """The decision with the person's output: same topic, partition, key and other bytes; id, source and causationid new.

    `keys`: the dedup_keys that the ruling answers. `translate`: for a decision of a mapped topic, what makes a structured
    CloudEvent of it; such a one goes to `<prefix>.decisions`, since nothing says where in a foreign format ids belong.
    Raises CannotAmend.
    """
    topic, headers, value = held.topic, [one for one in held.headers if one[0] != HEADER], held.value
    try:
        if translate is not None:
            topic, value = f"{prefix}.decisions", translate(held.original)
            headers = [("content-type", STRUCTURED)]
            found = None
        else:
            found = attributes(headers)
        named = {
            "id": amended_id(ruling, held.position),
            "source": f"govern/{prefix}/edits",
            "causationid": _original_id(found, value),
        }
        if found is None:
            value = _with_output(value, edit, named)
        else:
            value = _output(value, edit)
            headers = [
                one for one in headers if one[0].removeprefix("ce_") not in named or not one[0].startswith("ce_")
            ]
            headers += [(f"ce_{name}", text.encode()) for name, text in named.items()]
    except Poison as error:
        raise CannotAmend(f"{held.position} cannot be amended: {error}") from error
    except (*FAILURES, KeyError) as error:
        raise CannotAmend(f"{held.position} cannot be amended: its bytes are not what was judged") from error
    rules = [rule for rule, key in zip(held.causes.rules, held.causes.keys, strict=True) if key in keys]
    sealed = seal.header(topic, held.partition, ruling, rules, held.key, headers, value)
    return Amended(topic, held.partition, held.key, value, (*headers, sealed))


def amended_id(ruling: str, position: str) -> str:
    """The id of an amended decision: `<ruling>/<position>`, or with the position's digest where that is too long."""
    whole = f"{ruling}/{position}"
    return whole if len(whole) <= ID_LIMIT else f"{ruling}/{hashlib.sha256(position.encode()).hexdigest()}"


_Members = dict[str, msgspec.Raw]
_members = msgspec.json.Decoder(_Members).decode
_encode = msgspec.json.encode


def _original_id(found: dict[str, str] | None, value: bytes) -> str:
    return found["id"] if found is not None else str(msgspec.json.decode(_members(value)["id"]))


def _with_output(value: bytes, edit: Edit, named: dict[str, str]) -> bytes:
    """A structured decision with another output and other names; every other member keeps its bytes."""
    event = _members(value)
    data = _output(bytes(event["data"]), edit)
    return _encode(
        event | {name: msgspec.Raw(_encode(text)) for name, text in named.items()} | {"data": msgspec.Raw(data)}
    )


def _output(data: bytes, edit: Edit) -> bytes:
    """The data of a decision with another output."""
    members = _members(data)
    old = members.get("output", msgspec.Raw(b"null"))
    output = {} if bytes(old).strip() == b"null" else _members(old)
    new = {name: msgspec.Raw(_encode(given)) for name, given in edit.model_dump(exclude_none=True).items()}
    return _encode(members | {"output": msgspec.Raw(_encode(output | new))})
