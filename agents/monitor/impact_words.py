"""What the fairness monitors say of a group and its reference: rates, effect and bounds, and plain words for flags and pages.

It only reads: the monitor's state as `Gap.start` lays it out (impact.py). In an alarm or a warning figures are those since
the onset, where both sides have decisions since then; else those since the version's start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from agents.events import SignalStatus
from agents.monitor.contract import Judgement, State
from agents.monitor.ratio import ESTABLISHED, Null, confidence_sequence

SMALL = 0.02
"""Groups with a smaller share of the decisions are marked as small, so that pages can list them apart."""


def judgement(
    state: State, at: tuple[int, int, int], strength: float, names: Sequence[str], metric: str, null: Null
) -> Judgement:
    """Of one group; `at`: the row of its table, the group and its reference, which are places in `names`."""
    row, group, ref = at
    watch, key = state["watch"], state["tables"][row]
    alarm = bool(state["alarm"][row, group])
    onset = alarm or bool(state["warn"][row, group])
    counts = [int(watch[f"on_{one}"][row, group]) for one in ("ng", "kg", "nr", "kr")] if onset else []
    if not counts or counts[0] == 0 or counts[2] == 0:
        onset = False
        counts = [int(watch[one][row, place]) for place in (group, ref) for one in ("all_n", "all_k")]
    ng, kg, nr, kr = counts
    total = int(watch["all_n"][row].sum())
    dn, dk = watch["dn"][row], watch["dk"][row]
    detail = {
        "rate": _share(kg, ng),
        "reference_rate": _share(kr, nr),
        "n_group": float(ng),
        "n_reference": float(nr),
        "k_group": float(kg),
        "k_reference": float(kr),
        "group_share": _share(int(watch["all_n"][row, group]), total),
    }
    if 0 < detail["group_share"] < SMALL:
        detail["small_group"] = 1.0
    if dn[group] > 0 and dn[ref] > 0:
        recent = _effect(dn[group], dk[group], dn[ref], dk[ref], null)
        detail |= {} if recent is None else {"recent": recent}
    return Judgement(
        status=_status(state, row, group),
        segment=key.partition("|")[2] or None,
        group=names[group],
        metric=metric,
        estimate=_effect(ng, kg, nr, kr, null),
        n=ng + nr,
        e_value=float(max(strength, state["raised"][row, group] if alarm else 0.0)),
        guarantee="proved",
        reference=names[ref],
        onset_ms=int(watch["on_ms"][row, group]) if onset else None,
        onset_n=int(watch["on_n"][row, group]) if onset else None,
        coverage=_share(total, total + int(state["unknown"][row])),
        detail=detail,
    )


def bounded(judgement: Judgement, null: Null) -> Judgement:
    """With its bounds (ratio.confidence_sequence)."""
    ng, kg, nr, kr = (int(judgement.detail[one]) for one in ("n_group", "k_group", "n_reference", "k_reference"))
    lower, upper = confidence_sequence(ng, kg, nr, kr, null)
    return replace(judgement, lower=lower, upper=upper)


def sentence(judgement: Judgement, outcome_words: str, null: Null) -> str:
    """What `Monitor.sentence` promises; `outcome_words`: `get the favourable answer`."""
    detail: Mapping[str, float] = judgement.detail
    where = f" within {judgement.segment}" if judgement.segment else ""
    small = " (under 2 % of the decisions)" if "small_group" in detail else ""
    if judgement.estimate is None:
        return f"{judgement.group}{where}: too few decisions to compare with {judgement.reference}"
    once = ""
    if "ever_unfair" in detail and judgement.status is not SignalStatus.ALARM:
        once = "; at some time since the version's start it was beyond the limit"
    return (
        f"{detail['rate']:.1%} of {judgement.group}{small} {outcome_words}, against "
        f"{detail['reference_rate']:.1%} of {judgement.reference}{where}: {_size(judgement, null)}{once}"
    )


def _size(judgement: Judgement, null: Null) -> str:
    known = judgement.lower is not None and judgement.upper is not None
    bounds = f" ({judgement.lower:.2f} to {judgement.upper:.2f})" if known else ""
    return f"{null} {judgement.estimate:.2f}{bounds}"


def _status(state: State, row: int, group: int) -> SignalStatus:
    if state["alarm"][row, group]:
        return SignalStatus.ALARM
    if state["watch"]["all_n"][row, group] < ESTABLISHED:
        return SignalStatus.INSUFFICIENT
    return SignalStatus.WARN if state["warn"][row, group] else SignalStatus.OK


def _effect(ng: float, kg: float, nr: float, kr: float, null: Null) -> float | None:
    if ng <= 0 or nr <= 0:
        return None
    if null == "difference":
        return float(kg / ng - kr / nr)
    return float((kg / ng) / (kr / nr)) if kr > 0 else None


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
