"""What the monitor of behaviour says, part by part: the figures of a judgement, and plain words for flags and pages.

It only reads: the monitor's state as `Behaviour.start` lays it out, and what the profile says is usual. Residuals are told of
everywhere, or in an alarm of the tenths that raised it, since its onset.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.monitor.ball import psi_of
from agents.monitor.bernoulli import Share
from agents.monitor.contract import FIXED_POINT, Floats, Guarantee, Ints, Judgement, State
from agents.monitor.flips import Flipped
from agents.monitor.lifts import Lift
from agents.monitor.paired import Paired
from agents.monitor.reasons import Reasons
from agents.monitor.shifts import Shift
from agents.monitor.surrogate import DECILES, Surrogate

GUARANTEE: Guarantee = "simulated"
REFERENCE = "what the profile's version would have said"


def of_residuals(state: State, old: Surrogate | Paired, shift: Shift, where: Sequence[Lift]) -> Judgement:
    """How far decisions are off what was expected, on average; `where`: the features that go with flips."""
    told = shift.tell(state["residuals"])
    since = bool(told.onset_n)
    rows = told.named if since else np.ones(DECILES, dtype=np.bool_)
    n = np.where(rows, state["decisions"][int(since)], 0)
    mean = state["off"][int(since)] / FIXED_POINT / np.maximum(n, 1)
    enough = bool(n.sum() > 0)
    effects = shift.ball.effects(state["residuals"]["ball"], since=since)
    detail = {"psi": float(effects.psi[0][rows].max()) if enough else 0.0}
    detail |= {f"decile {one + 1}": float((mean - old.usual)[one]) for one in np.flatnonzero(told.named & (n > 0))}
    return told.judgement(
        group="score" if old.by_score else "answer",
        metric="residual",
        estimate=float(((mean - old.usual) * n).sum() / n.sum()) if enough else None,
        guarantee=GUARANTEE,
        reference=REFERENCE,
        coverage=_coverage(state),
        detail=detail | _gathered(where),
    )


def of_flips(state: State, found: Flipped, where: Sequence[Lift]) -> Judgement:
    """How often answers are not the expected ones, of everybody or of a group."""
    one = found.share
    detail = {"flips": float(one.k), "usual": one.p0}
    detail |= {f"decile {tenth + 1}": 1.0 for tenth in found.tenths}
    return one.judgement(
        f"flips & {one.name}" if one.name else "flips",
        "flip_rate",
        GUARANTEE,
        detail | (_gathered(where) if not one.name else {}),
        reference=REFERENCE,
        coverage=_coverage(state),
    )


def of_reasons(state: State, reasons: Reasons, shift: Shift) -> Judgement:
    """Which reasons come first now, and which used to; `state` is the shift's."""
    told, ball = shift.tell(state), state["ball"]
    counts = ball["since"][0, 0, 0] if told.onset_n else shift.ball.profile(ball)[0, 0, 0]
    now, usual = (one / max(float(one.sum()), 1e-9) for one in (counts, reasons.reference))
    names = [*reasons.top, "other features", "none given"]
    detail = {f"now {names[place]}": float(now[place]) for place in np.argsort(usual - now, kind="stable")[:3]}
    detail |= {f"usual {name.removeprefix('now ')}": float(usual[names.index(name[4:])]) for name in [*detail]}
    return told.judgement(
        group="reasons",
        metric="psi",
        estimate=float(psi_of(_smooth(counts), shift.ball.pi[0, 0])) if float(counts.sum()) else None,
        guarantee=GUARANTEE,
        reference="the reasons that the profile's version gave",
        detail=detail,
    )


def of_proxies(one: Share) -> Judgement:
    """How much of the reasons comes from what stands for a protected attribute."""
    return one.judgement(f"proxies of {one.name}", "attribution_share", GUARANTEE, {"usual": one.p0})


def sentence(judgement: Judgement) -> str:
    """What `Monitor.sentence` promises."""
    group, detail = judgement.group or "", judgement.detail
    if judgement.estimate is None:
        return f"Too few decisions yet to compare the {group} with those of the profile's version"
    where = [name.removeprefix("lift ") for name in detail if name.startswith("lift ")]
    gathered = f"; mostly where {', '.join(where)}" if where else ""
    if judgement.metric == "residual":
        way = "higher" if judgement.estimate > 0 else "lower"
        size = f"{abs(judgement.estimate):.3g} {way} than the profile's version would have given"
        return f"The {group}s are on average {size}{_tenths(judgement)}{gathered}"
    if judgement.metric == "flip_rate":
        whose = f" of {group.removeprefix('flips & ')}" if " & " in group else ""
        told = f"{judgement.estimate:.1%} of the answers{whose} are not those expected of the profile's version"
        return f"{told}; usual are at most {detail['usual']:.1%}{_tenths(judgement)}{gathered}"
    if judgement.metric == "attribution_share":
        return (
            f"{judgement.estimate:.1%} of what moves the decisions comes from {group}; usual are {judgement.reference}"
        )
    gains = [name.removeprefix("now ") for name in detail if name.startswith("now ")]
    told = ", ".join(f"{one} {detail['usual ' + one]:.0%} → {detail['now ' + one]:.0%}" for one in gains)
    return f"What moves decisions most, before and now: {told}"


def end(judgement: Judgement) -> str:
    """What `Monitor.clears` promises."""
    if judgement.metric in ("flip_rate", "attribution_share"):
        return f"ends when there is strong evidence that the share is below {judgement.detail['usual']:.1%} again"
    return "ends when recent decisions speak no more for a difference than chance would"


def _tenths(judgement: Judgement) -> str:
    """Which tenths an alarm names."""
    names = [name.removeprefix("decile ") for name in judgement.detail if name.startswith("decile ")]
    some = 0 < len(names) < DECILES and judgement.onset_n
    return f" in tenth {', '.join(names)} of what was expected" if some else ""


def _coverage(state: State) -> float | None:
    """Share of decisions with the old version's score, where it is asked for."""
    every, covered = state.get("covered", (0, 0))
    return float(covered / every) if every else None


def _gathered(where: Sequence[Lift]) -> dict[str, float]:
    return {f"lift {one.where}": one.lift for one in where}


def _smooth(counts: Ints | Floats) -> Floats:
    return np.asarray((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))
