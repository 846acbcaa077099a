"""What becomes of a decision, as many share it: the route, and the verdict's bytes but for the decision's own.

Nearly all decisions of a batch end alike, so a verdict's JSON is made once for each way to end and kept while nothing
that stands changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from agents import __version__
from agents.events import Effect, Kind, Mode
from agents.frames import Fault
from agents.policy.rules import Matched, effect_of
from agents.policy.standing import Standing
from agents.policy.window import Seen

ROUTES = {Effect.ALLOW: "released", Effect.LOG: "released", Effect.HOLD: "held", Effect.BLOCK: "withheld"}
DEAD = "dead-letters"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What many records of a batch share: the end of their verdicts' JSON, and where they go."""

    tail: str
    """Verdict JSON after the decision's position, up to the commitment's value."""
    route: str | None
    """Short name of the topic that gets the decision; None: its verdict is all."""
    reasons: tuple[Matched, ...]
    model: str | None
    version: str | None
    skewed: bool = False


class Outcomes:
    """The outcomes under what stands, each made when first asked for."""

    def __init__(self, key_id: str) -> None:
        """`key_id` names the salt key of the commitments."""
        self._key_id = key_id
        self._standing = Standing()
        self._tails: dict[tuple[object, ...], Outcome] = {}

    def switch(self, standing: Standing) -> None:
        """From now on this stands."""
        self._standing = standing
        self._tails.clear()

    def of_decision(
        self, reasons: tuple[Matched, ...], mode: Mode, model: str, version: str, *, skewed: bool = False
    ) -> Outcome:
        """A decision that these reasons were found for; in the order of the rules."""
        key = (reasons, mode, model, version, skewed)
        found = self._tails.get(key)
        if found is None:
            effect = effect_of(reasons)
            route = ROUTES[effect] if mode is Mode.GATE else None
            found = self._outcome(Kind.DECISION, effect, mode, model, version, reasons, route, skewed)
            self._tails[key] = found
        return found

    def of_repeat(self, seen: Seen, mode: Mode, model: str, version: str) -> Outcome:
        """A decision whose id was seen before."""
        key = (seen, mode, model, version)
        found = self._tails.get(key)
        if found is None:
            if seen == "duplicate":
                found = self._outcome(Kind.DUPLICATE, None, mode, model, version, (), None)
            else:
                reasons = (Matched("record/conflict", Effect.BLOCK, "matched", True),)
                route = "withheld" if mode is Mode.GATE else None
                found = self._outcome(Kind.CONFLICT, Effect.BLOCK, mode, model, version, reasons, route)
            self._tails[key] = found
        return found

    def of_fault(self, fault: Fault) -> Outcome:
        """A record that is no decision, or one of an undeclared model."""
        key = (fault.kind, fault.model, fault.version)
        found = self._tails.get(key)
        if found is None:
            declared = self._standing.configuration.models.get(fault.model or "")
            mode = declared.mode if declared else Mode.GATE
            reasons = (Matched(f"record/{fault.kind.value}", Effect.BLOCK, "matched", True),)
            found = self._outcome(fault.kind, Effect.BLOCK, mode, fault.model, fault.version, reasons, DEAD)
            self._tails[key] = found
        return found

    def _outcome(
        self,
        kind: Kind,
        effect: Effect | None,
        mode: Mode,
        model: str | None,
        version: str | None,
        reasons: tuple[Matched, ...],
        route: str | None,
        skewed: bool = False,
    ) -> Outcome:
        told = [
            {"rule": reason.rule, "effect": reason.effect.value, "outcome": reason.outcome, "applied": reason.applied}
            for reason in reasons
        ]
        shared = {
            "stage": "gate",
            "mode": mode.value,
            "kind": kind.value,
            "effect": effect.value if effect else None,
            "model": model,
            "version": version,
            "reasons": told,
            "skewed": skewed,
            "as_of": self._standing.as_of.model_dump(),
            "config": self._standing.digest,
            "code": __version__,
            "commitment": {"alg": "sha256", "key": self._key_id, "value": ""},
        }
        tail = json.dumps(shared, separators=(",", ":"), ensure_ascii=False)[1:-3]  # … "value":"
        return Outcome(tail, route, reasons, model, version, skewed)
