"""Proposals for monitors, from what became of their alarms: a smaller or larger share of the budget of false alarms.

A monitor's alarm is raised when its strength reaches the budget divided by its share. Halving the share doubles that
limit: the alarms that would still be raised are those whose strength reached it, which their signals tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.tuning.estimates import Estimate, share
from agents.tuning.proposing import Refused

LEAST = 20
STEPS = (2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm that people dealt with."""

    incident: str
    monitor: str
    time_ms: int
    real: bool
    """What the person who resolved it said: a real problem."""
    strength: float
    """The largest e_value ÷ limit while it lasted: 1 is just an alarm."""


@dataclass(frozen=True, slots=True)
class ShareProposal:
    """Another share of the budget for one monitor, with its effect on the later alarms."""

    monitor: str
    before: float
    after: float
    fitted_on: int
    judged_on: int
    saved: Estimate
    """Of the alarms that were no problem, the share that would not have been raised."""
    lost: Estimate
    """Of the real ones, the share that would not."""

    @property
    def why(self) -> str:
        """In a sentence."""
        return (
            f"a share of {self.after:g} instead of {self.before:g} saves {self.saved} of the alarms that were no problem "
            f"and loses {self.lost} of the real ones"
        )


def propose_shares(
    alarms: Sequence[Alarm], shares: Mapping[str, float], lose: float = 0.1, least: int = LEAST
) -> list[ShareProposal | Refused]:
    """For each monitor with alarms: a smaller share where that spares people without losing what was real."""
    found: list[ShareProposal | Refused] = []
    for monitor in sorted({one.monitor for one in alarms} & shares.keys()):
        mine = sorted((one for one in alarms if one.monitor == monitor), key=lambda one: (one.time_ms, one.incident))
        if len(mine) < least:
            found.append(Refused(monitor, f"{len(mine):,} alarms that people judged; {least:,} are needed"))
            continue
        earlier, later = mine[: len(mine) // 2], mine[len(mine) // 2 :]
        best = _best(earlier, lose)
        if best is None:
            found.append(Refused(monitor, f"no smaller share spares anybody, by {len(mine):,} alarms"))
            continue
        saved, lost = _effect(later, best)
        if lost.n and (lost.value > lose or saved.lower <= 0):
            found.append(Refused(monitor, "what fits the earlier alarms does not hold for the later ones"))
            continue
        found.append(
            ShareProposal(monitor, shares[monitor], shares[monitor] / best, len(earlier), len(later), saved, lost)
        )
    return found


def _best(alarms: Sequence[Alarm], lose: float) -> float | None:
    fitting = [(step, _effect(alarms, step)) for step in STEPS]
    kept = [
        (saved.value, -step) for step, (saved, lost) in fitting if saved.n and saved.value > 0 and not lost.value > lose
    ]
    return -max(kept)[1] if kept else None


def _effect(alarms: Sequence[Alarm], step: float) -> tuple[Estimate, Estimate]:
    gone = {real: [one.strength < step for one in alarms if one.real is real] for real in (False, True)}
    saved, lost = (share(gone[real], [1.0] * len(gone[real])) for real in (False, True))
    return saved, lost
