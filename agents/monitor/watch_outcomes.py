"""Late labels for the library: decisions that were fed become cases, and the lanes' own join gives them out when mature.

Outcomes come as they are at hand: a mapping from decisions' ids, dicts or a frame with `id` and `outcome` (and `source`,
`revision`, `time`, where there are any), or events. One without a time is known when it is fed. The clock is that of each
model's decisions, or the `now` of whoever feeds. A decision without an id can have no outcome.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from agents.configuration import Configuration, Model
from agents.errors import Malformed, Misconfigured
from agents.monitor.case_records import key_of
from agents.monitor.contract import Bools, Counts, Ints, Monitor, Scope
from agents.monitor.counting import arrays
from agents.monitor.intake import Table, frame_of
from agents.monitor.join_agent import JoinAgent
from agents.monitor.joining import DAY_MS
from agents.monitor.profiles import Profile
from agents.policy.times import iso
from agents.records import Plain

NOWHERE = "/"
"""The source of decisions that name none."""
MEMORY_MS = 400 * DAY_MS
"""How long beyond their maturity decisions remember, and outcomes wait for their decision."""


@dataclass(frozen=True, slots=True)
class Mature:
    """Counts of matured cases of one version, as an observation has them."""

    model: str
    version: str
    n: int
    clock_ms: int
    counts: Mapping[str, Counts]
    scope: Scope


class Outcomes:
    """Cases and outcomes of a Watch."""

    def __init__(
        self, configuration: Configuration, profiles: Mapping[str, Profile], kinds: Mapping[str, type[Monitor]]
    ) -> None:
        longest = max(one.label_maturity for one in configuration.models.values())
        kept = round(longest * 1000) + MEMORY_MS
        self._agent = JoinAgent(
            "watch", "cases", 0, _by_event(configuration), profiles, retention_ms=kept, patience_ms=kept, kinds=kinds
        )
        self._sources: dict[str, str] = {}
        self._number = 0
        self._now_ms = 0

    def switch(self, configuration: Configuration, profiles: Mapping[str, Profile]) -> None:
        """Count by another configuration from now on."""
        self._agent.switch(_by_event(configuration), profiles)

    def columns(self, model: str) -> frozenset[str]:
        """What a case is made of; nothing where no monitor of the model watches late labels."""
        monitors = self._agent.counters[model].monitors if model in self._agent.counters else []
        if not monitors:
            return frozenset()
        segments = {column for one in monitors for column in getattr(one, "segments", {}).values()}
        return frozenset({"output.label", "output.score", *segments})

    def decided(
        self, table: Table, declaration: Model, clock: Ints, groups: Mapping[str, Ints], once: Bools | None
    ) -> list[Mature]:
        """Remember decisions that wait for their outcome; what has become mature meanwhile."""
        if not self.columns(table.model):
            return []
        self._now_ms = max(self._now_ms, int(clock[-1]))
        return self._taken(list(self._cases(table, declaration, clock, groups, once)), [])

    def happened(self, given: Any, now: int | None = None) -> list[Mature]:
        """Take outcomes; what is mature with them. Raises Misconfigured or Malformed for those that cannot be taken."""
        if now is not None:
            self._now_ms = max(self._now_ms, now)
            clocks = self._agent.join.clocks
            clocks |= {model: max(clocks.get(model, -1), now) for model in self._agent.counters}
        return self._taken([], [self._record(one) for one in _rows(given)])

    def _taken(self, cases: list[Plain], outcomes: list[Plain]) -> list[Mature]:
        found = []
        for _, messages in self._agent.take(cases, outcomes, ()):
            for _, value, _ in messages:
                data = json.loads(value or b"")["data"]
                counts = arrays(data["counts"])
                scope = data.get("scope", "version")
                found.append(Mature(data["model"], data["version"], data["n"], data["clock_ms"], counts, scope))
        refused = self._agent.refused
        if refused:
            first = refused[0]
            refused.clear()
            raise Malformed(str(first), first.reason)
        return found

    def _cases(
        self, table: Table, declaration: Model, clock: Ints, groups: Mapping[str, Ints], once: Bools | None
    ) -> Iterator[Plain]:
        frame = table.frame
        labels, scores = frame["output.label"].to_list(), frame["output.score"].to_list()
        segments = {name: frame[name].to_list() for name in self.columns(table.model) if not name.startswith("output.")}
        known = {name: codes.tolist() for name, codes in groups.items()}
        for row, identity in enumerate(table.identities):
            if identity is None:
                continue
            source, _, id_ = identity.partition("\0")
            source = source or NOWHERE
            self._sources[id_] = source
            data = {
                "decision": {"source": source, "id": id_},
                "model": table.model,
                "version": table.versions[row],
                "label": labels[row],
                "score": scores[row],
                "groups": {
                    name: declaration.groups[name][codes[row]] for name, codes in known.items() if codes[row] >= 0
                },
                "segments": {name: values[row] for name, values in segments.items() if values[row] is not None},
                "once": True if once is None else bool(once[row]),
                "decided_ms": int(clock[row]),
            }
            event = {"specversion": "1.0", "type": "governance.case.v1", "data": data}
            yield self._plain(key_of(source, id_), event)

    def _record(self, given: Mapping[str, Any]) -> Plain:
        if "specversion" in given:
            decision = given.get("data", {}).get("decision", {})
            return self._plain(key_of(str(decision.get("source")), str(decision.get("id"))), given)
        id_ = str(given["id"])
        source = str(given.get("source") or self._sources.get(id_, NOWHERE))
        data: dict[str, Any] = {"decision": {"source": source, "id": id_}, "outcome": str(given["outcome"])}
        if given.get("revision") is not None:
            data["revision"] = int(given["revision"])
        event = {"specversion": "1.0", "id": f"o{self._number}", "source": "/watch", "type": "governance.outcome.v1"}
        at = given.get("time")
        when = {} if at is None else {"time": at if isinstance(at, str) else iso(int(at))}
        return self._plain(key_of(source, id_), {**event, **when, "data": data})

    def _plain(self, key: bytes, event: Mapping[str, Any]) -> Plain:
        number = self._number
        self._number += 1
        return Plain("watch", 0, number, self._now_ms, key, json.dumps(event, ensure_ascii=False).encode())


def _by_event(configuration: Configuration) -> Configuration:
    """Whatever the models say, a library's clock is that of the decisions it is fed."""
    models = {name: model.model_copy(update={"clock": "event"}) for name, model in configuration.models.items()}
    return configuration.model_copy(update={"models": models})


def _rows(given: Any) -> Sequence[Mapping[str, Any]]:
    """Outcomes as dicts; raises Misconfigured where they lack an id or an outcome."""
    frame = frame_of(given)
    if frame is not None:
        rows: list[Any] = frame.with_columns(pl.selectors.datetime().dt.epoch("ms")).to_dicts()
    elif isinstance(given, Mapping) and "specversion" not in given:
        rows = [{"id": id_, "outcome": outcome} for id_, outcome in given.items()]
    elif isinstance(given, Mapping | str | bytes):
        rows = [given]
    elif isinstance(given, Iterable):
        rows = list(given)
    else:
        raise Misconfigured("outcomes must be a mapping from ids, dicts, events, a Polars or a pandas frame")
    found = [json.loads(one) if isinstance(one, str | bytes) else one for one in rows]
    for place, one in enumerate(found):
        if not isinstance(one, Mapping) or ("specversion" not in one and not {"id", "outcome"} <= set(one)):
            raise Misconfigured(f"outcome {place} lacks `id` or `outcome`: which decision, and what happened")
    return [one for one in found if one.get("outcome", "") is not None]
