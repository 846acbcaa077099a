"""What becomes of held decisions that a ruling decides: final verdicts, exact bytes onward, tombstones, amended decisions.

Promise to the release lane: the bytes follow from the held record and the ruling alone (and, for an amended decision of a
mapped topic, from the mapping): whoever makes them again gets the same, but for the count in `govern-seq`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from agents import __version__
from agents.audit.commitment import Committer
from agents.policy.edits import Amended, CannotAmend, Seal, amend
from agents.policy.held import Held
from agents.policy.ruled import Ruled
from agents.policy.times import iso
from agents.records import Message, Place, Record, Stretch

Translate = Callable[[str], Callable[[Record], bytes] | None]
"""Topic of decisions → what makes structured CloudEvents of its records; None where they are such already."""


@dataclass
class Finals:
    """Makes the records; counts its verdicts."""

    prefix: str
    partition: int
    writer: str
    """The lane's transactional id."""
    committer: Committer
    limit: int
    """Bytes of the largest record that topics of decisions take."""
    sequence: int = 0
    """The next `govern-seq` among this writer's verdicts."""
    refused: list[CannotAmend] = field(default_factory=list)
    """Decisions that were withheld as edited and could not be amended; whoever reads empties it."""

    def outputs(self, found: Sequence[Held], ruled: Ruled, translate: Translate) -> Iterator[Stretch]:
        """What a ruling makes of these decisions; the tombstones end them on `held`."""
        names = [one.position.encode() for one in found]
        committed = self.committer.values(names, [one.original for one in found])
        yield (
            self._place("verdicts"),
            [self._verdict(one, ruled, name, value) for one, name, value in zip(found, names, committed, strict=True)],
        )
        route = "released" if ruled.action == "release" else "withheld"
        yield self._place(route), [self._onward(one, ruled) for one in found]
        if ruled.action == "edit":
            yield from self._amended(found, ruled, translate)
        yield self._place("held"), [(name, None, ()) for name in names]

    def _verdict(self, one: Held, ruled: Ruled, name: bytes, committed: str) -> Message:
        causes, unknown = one.causes, set(one.causes.unknown)
        event = {
            "specversion": "1.0",
            "type": "governance.verdict.v1",
            "id": f"{one.position}/final",
            "source": f"/{self.prefix}/release",
            "time": iso(max(ruled.time_ms, 0)),
            "causationid": ruled.id,
            "data": {
                "decision": {"topic": one.topic, "partition": one.partition, "offset": one.offset},
                "stage": "final",
                "mode": "gate",
                "kind": "decision",
                "effect": "allow" if ruled.action == "release" else "block",
                "resolution": ruled.resolution.value,
                "model": causes.model,
                "version": causes.version,
                "reasons": [
                    {
                        "rule": rule,
                        "effect": "hold",
                        "outcome": "unknown" if rule in unknown else "matched",
                        "applied": True,
                    }
                    for rule in causes.rules
                ],
                "skewed": causes.skewed,
                "as_of": causes.as_of,
                "config": causes.config,
                "code": __version__,
                "commitment": {"alg": "sha256", "key": self.committer.key_id, "value": committed},
            },
        }
        number = b"%d" % self.sequence
        self.sequence += 1
        return name, _json(event), [("govern-seq", number), ("govern-writer", self.writer.encode())]

    def _onward(self, one: Held, ruled: Ruled) -> Message:
        """The producer's exact bytes, with the final verdict's id; a withheld one says why."""
        headers = [*one.headers, ("govern-verdict", f"{one.position}/final".encode())]
        if ruled.action != "release":
            told = f"{ruled.resolution.value}: {ruled.reason}" if ruled.reason else ruled.resolution.value
            reasons = [*one.reasons, {"rule": f"ruling/{ruled.id}", "effect": "block", "text": told}]
            headers.append(("govern-reasons", _json(reasons)))
        return one.key, one.value, headers

    def _amended(self, found: Sequence[Held], ruled: Ruled, translate: Translate) -> Iterator[Stretch]:
        assert ruled.edit is not None, "an editing ruling says what"
        seal, places = Seal(self.committer.salt("edits")), dict[Place, list[Message]]()
        for one in found:
            try:
                made = amend(self.prefix, one, ruled.id, ruled.keys, ruled.edit, seal, translate(one.topic))
                if _size(made) > self.limit:
                    raise CannotAmend(f"{one.position} cannot be amended: it would have more than {self.limit:,} bytes")
            except CannotAmend as error:
                self.refused.append(error)
                continue
            places.setdefault((made.topic, made.partition), []).append((made.key, made.value, made.headers))
        yield from places.items()

    def _place(self, short: str) -> Place:
        return f"{self.prefix}.{short}", self.partition


def _size(made: Amended) -> int:
    headers = sum(len(name) + len(value or b"") + 20 for name, value in made.headers)
    return len(made.key or b"") + len(made.value) + headers + 200


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
