"""A held decision as it lies on `held`: what holds it, written by the policy agent and read by the release agent.

Promise: what `read` gives is byte for byte what the producer published, and `causes` names every reason that an answer
must be about. A record that cannot be read so is refused by name; nothing is guessed, so nothing is released by a guess.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agents.errors import Poison
from agents.events import Effect
from agents.policy.compilation import Matched
from agents.policy.flags import dedup_key
from agents.records import Header, Plain, Record

ROOM = 63_000
"""Bytes that our headers may add to a held record: topics of outputs take 64 KiB more than decisions does."""


class Causes(msgspec.Struct, frozen=True):
    """The header `govern-causes`: what holds a decision, and what the policy agent judged it by."""

    model: str
    version: str
    rules: tuple[str, ...]
    """The applied reasons whose effect is hold, as verdicts name them."""
    more: bool = False
    """There are reasons that found no room here: a ruling can reject the decision, but none releases it."""
    unknown: tuple[str, ...] = ()
    """Those of `rules` that could not be evaluated."""
    skewed: bool = False
    as_of: dict[str, int] = {}
    """Of the gate verdict, as is `config`."""
    config: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The dedup_key of each rule: what rulings name."""
        return tuple(dedup_key(rule, self.model, self.version) for rule in self.rules)


class BadHeld(Poison):
    """A record of `held` that no policy lane wrote so."""

    reason = "bad-held"


@dataclass(frozen=True, slots=True)
class Held:
    """One held decision, with the producer's exact bytes."""

    topic: str
    """Where the decision stands; full Kafka name."""
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Sequence[Header]
    timestamp: int
    """The broker's time of the held record, ms since 1970 UTC."""
    causes: Causes
    reasons: tuple[Mapping[str, Any], ...]
    """{rule, effect, text} as rendered when it was held."""

    @property
    def position(self) -> str:
        """`<topic>/<partition>/<offset>` of the decision."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def original(self) -> Plain:
        """The record that its producer published, but for the broker's time, which is that of the holding."""
        return Plain(self.topic, self.partition, self.offset, self.timestamp, self.key, self.value, self.headers)


_decode = msgspec.json.Decoder(Causes).decode
_NOTHING = Causes("", "", (), more=True)


def causes_header(
    reasons: Sequence[Matched],
    model: str | None,
    version: str | None,
    judged_by: dict[str, object],
    room: int,
) -> Header:
    """`govern-causes` of a decision held for these reasons; at most `room` bytes of names, then it says `more`.

    `judged_by`: `as_of` and `config` of the gate verdict, `skewed`; the final verdict repeats them.
    """
    holding = [one for one in reasons if one.applied and one.effect is Effect.HOLD]
    document: dict[str, object] = {"model": model, "version": version}
    told = document | {"rules": [one.rule for one in holding]}
    unknown = [one.rule for one in holding if one.outcome == "unknown"]
    told |= {"unknown": unknown} if unknown else {}
    value = _json(told | judged_by)
    if len(value) <= room:
        return "govern-causes", value
    rules: list[str] = []
    room -= len(_json(document | {"rules": [], "more": True} | judged_by))
    for one in holding:
        room -= len(_json(one.rule)) + 1
        if room < 0:
            break
        rules.append(one.rule)
    return "govern-causes", _json(document | {"rules": rules, "more": True} | judged_by)


def causes(record: Record) -> Causes:
    """What holds a record of `held`; where it does not say so in our words, something that nothing releases."""
    found = last(record.headers, "govern-causes")
    try:
        return _NOTHING if found is None else _decode(found)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NOTHING


def place_of(key: bytes | None) -> tuple[str, int, int]:
    """Topic, partition and offset that a key of `held` names; raises BadHeld."""
    topic, _, rest = (key or b"").decode(errors="replace").partition("/")
    partition, _, offset = rest.partition("/")
    if not topic or not partition.isdecimal() or not offset.isdecimal():
        raise BadHeld("the key is not <topic>/<partition>/<offset> of a decision")
    return topic, int(partition), int(offset)


def read(record: Record) -> Held:
    """The decision as its producer published it; raises BadHeld."""
    topic, partition, offset = place_of(record.key)
    headers = record.headers
    ours = next((at for at, (name, _) in enumerate(headers) if name == "govern-verdict"), None)
    if ours is None or record.value is None:
        raise BadHeld("the record has no value, or no header govern-verdict")
    own, key = headers[ours:], last(headers[ours:], "govern-key")
    try:
        reasons = json.loads(last(own, "govern-reasons") or b"[]")
        exact = None if key is None else base64.b64decode(key, validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadHeld(f"govern-reasons or govern-key cannot be read: {error}") from error
    return Held(
        topic,
        partition,
        offset,
        exact,
        record.value,
        tuple(headers[:ours]),
        record.timestamp,
        causes(record),
        tuple(reasons),
    )


def last(headers: Sequence[Header], name: str) -> bytes | None:
    """The last header of a name, as a reader of ours takes it."""
    return next((value for found, value in reversed(headers) if found == name), None)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
