"""Which flags are one incident, what an incident is called, and which one speaks for which others.

Promise: the same flags get the same groups and ids wherever and whenever they are folded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.escalation.declared import Grouping
from agents.events import ALL_VERSIONS
from agents.people_events import IncidentData

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32: no letter that reads like a digit, none that makes words."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A dedup_key taken apart."""

    cause: str
    model: str | None = None
    version: str | None = None
    segment: str | None = None


def parse(dedup_key: str) -> Cause:
    """From `[cause, model, version, segment]`; raises ValueError where the text is no such array.

    >>> parse('["gap","credit",null,"sex=female"]')
    Cause(cause='gap', model='credit', version=None, segment='sex=female')
    """
    try:
        found = json.loads(dedup_key)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{dedup_key[:120]!r} is no dedup_key: {error}") from error
    if not isinstance(found, list) or len(found) != 4 or not isinstance(found[0], str) or not found[0]:
        raise ValueError(f"{dedup_key[:120]!r} is no dedup_key: it must be [cause, model, version, segment]")
    if not all(part is None or isinstance(part, str) for part in found[1:]):
        raise ValueError(f"{dedup_key[:120]!r} is no dedup_key: model, version and segment are text or null")
    return Cause(*found)


def group_of(cause: Cause, group_by: Sequence[Grouping]) -> str:
    """What the flags of one incident have in common: a JSON array of the `group_by` fields.

    >>> group_of(Cause("gap", "credit", "2", "eu"), ("cause", "model"))
    '["gap","credit"]'
    """
    return json.dumps([getattr(cause, name) for name in group_by], separators=(",", ":"), ensure_ascii=False)


def incident_id(group: str, opening: str, taken: Callable[[str], bool]) -> str:
    """Eight letters and digits from the group and the id of what opened the incident; one that is taken gets another.

    >>> incident_id('["gap","credit"]', "f1", lambda one: False)
    's325-nrek'
    >>> incident_id('["gap","credit"]', "f1", lambda one: one == "s325-nrek") == "s325-nrek"
    False
    """
    number = 0
    while True:
        salt = f"\n{number}" if number else ""
        digest = hashlib.sha256(f"{group}\n{opening}{salt}".encode()).digest()
        bits = int.from_bytes(digest[:5])
        letters = "".join(CROCKFORD[bits >> shift & 31] for shift in range(35, -5, -5))
        name = f"{letters[:4]}-{letters[4:]}"
        if not taken(name):
            return name
        number += 1


def speaks_for(wide: IncidentData, narrow: IncidentData) -> bool:
    """Whether an incident of a whole model, or of all segments, stands for one of its versions or segments."""
    if wide.incident == narrow.incident or wide.cause != narrow.cause or wide.model != narrow.model:
        return False
    if wide.model is None or wide.proposal is not None or narrow.proposal is not None:
        return False
    wide_version, narrow_version = _one(wide.version), _one(narrow.version)
    same = (wide_version, wide.segment) == (narrow_version, narrow.segment)
    return not same and wide_version in (None, narrow_version) and wide.segment in (None, narrow.segment)


def _one(version: str | None) -> str | None:
    return None if version == ALL_VERSIONS else version
