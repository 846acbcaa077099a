"""Safeguards: what each standing order does to a decision, and to which ones it applies.

| kind | effect | why |
| --- | --- | --- |
| quarantine | hold | somebody looks at each decision of the version |
| hold_all | hold | as it says |
| limit_rate | hold | what is over the limit waits; the order itself is lifted or renewed by escalation |
| fallback | block | the business gets `withheld` with the reason, and uses its fallback |
| pause_caller | block | the caller must stop; holding would only fill the queue |

An order names a model, and may name a version or a caller; without them it is for all of the model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agents.events import Effect, SafeguardData
from agents.policy.compilation import Matched

EFFECTS = {
    "quarantine": Effect.HOLD,
    "hold_all": Effect.HOLD,
    "limit_rate": Effect.HOLD,
    "fallback": Effect.BLOCK,
    "pause_caller": Effect.BLOCK,
}
COLUMN_OF = {
    "quarantine": "safeguard.quarantined",
    "fallback": "safeguard.fallback",
    "hold_all": "safeguard.hold_all",
    "pause_caller": "safeguard.paused_caller",
    "limit_rate": "safeguard.limit",
}
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Who:
    """Whose decisions a batch holds: the model's names, and versions and callers a row."""

    names: frozenset[str]
    """As the decisions say it, and as it is declared."""
    versions: list[str | None]
    callers: list[str | None]


def reaches(order: SafeguardData, who: Who) -> Flags:
    """The rows that a standing order is for."""
    if not order.active or order.model not in who.names:
        return np.zeros(len(who.versions), dtype=np.bool_)
    rows = np.ones(len(who.versions), dtype=np.bool_)
    if order.version is not None:
        rows &= np.array([version == order.version for version in who.versions], dtype=np.bool_)
    if order.caller is not None:
        rows &= np.array([caller == order.caller for caller in who.callers], dtype=np.bool_)
    return rows


def reasons(orders: Mapping[str, SafeguardData], who: Who) -> list[tuple[Matched, Flags]]:
    """What active orders do to the rows of a batch, in the order of their ids."""
    found = []
    for name in sorted(orders):
        rows = reaches(orders[name], who)
        if rows.any():
            found.append((Matched(f"safeguard/{name}", EFFECTS[orders[name].kind], "matched", True), rows))
    return found


def column(name: str, orders: Mapping[str, SafeguardData], who: Who) -> Flags:
    """The value of a `safeguard.…` column, row by row."""
    rows = np.zeros(len(who.versions), dtype=np.bool_)
    for order in orders.values():
        if COLUMN_OF[order.kind] == name:
            rows |= reaches(order, who)
    return rows
