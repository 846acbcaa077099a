"""Was a version ever unfair since its start? The audit form of the fairness monitors, for reports and reviews.

The monitors' alarms ask whether something is wrong now, and may err once in a budget. This asks of the whole life so far, and
errs with probability at most α in all of it, however often it is asked: a mean over bets and starts of Π E (ratio.py), told
from 1/α on.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents.monitor.impact import Gap
from agents.monitor.watch import Watch


@dataclass(frozen=True, slots=True)
class Ever:
    """What is known of one group in the whole life of a version."""

    model: str
    version: str
    monitor: str
    segment: str | None
    group: str
    unfair: bool
    """Beyond the monitor's level at some time; wrong with probability at most α, all groups of the monitor together."""
    p: float
    """The smallest α at which that would be said."""


def ever_unfair(watch: Watch, alpha: float | None = None) -> list[Ever]:
    """Each group of each fairness monitor of a `Watch`. `alpha`: in place of the monitors' option `audit` (0.05).

    Raises ValueError where `alpha` is no probability.
    """
    if alpha is not None and not 0 < alpha < 1:
        raise ValueError(f"alpha is a probability between 0 and 1, not {alpha}")
    found = []
    for model, assessor in watch.assessors.items():
        monitors = {one.name: one for one in assessor.watched.monitors}
        for (version, name), state in assessor.states.items():
            monitor = monitors[name]
            if isinstance(monitor, Gap):
                level = monitor.setting.options.audit if alpha is None else alpha
                for one in monitor.judge(state):
                    p = one.detail["ever_p"]
                    found.append(Ever(model, version, name, one.segment, one.group or "", p <= level, p))
    return found
