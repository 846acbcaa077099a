"""What data drift says, in plain words for flags and pages."""

from __future__ import annotations

from agents.events import SignalStatus
from agents.monitor.contract import Judgement

MODERATE, MAJOR = 0.1, 0.25
"""PSI below the first is minor, above the second major: the trade's custom."""
SHIFTED = 0.05
"""A mean rank further from ½ than this is worth saying where to."""


def size_of(psi: float) -> str:
    """In the trade's words.

    >>> [size_of(psi) for psi in (0.05, 0.1, 0.3)]
    ['minor', 'moderate', 'major']
    """
    return "minor" if psi < MODERATE else "moderate" if psi <= MAJOR else "major"


def moved(judgement: Judgement) -> bool:
    """Whether it says that something is different."""
    return judgement.status in (SignalStatus.ALARM, SignalStatus.WARN)


def told_of_feature(judgement: Judgement, name: str, label: str) -> str:
    """`label`: the bin that is most different."""
    detail = judgement.detail
    if not moved(judgement):
        return f"{name} is distributed as in the reference: {_size(judgement)}"
    shares = f"{detail['share']:.1%} of the decisions, {detail['reference_share']:.1%} of the reference"
    return f"{name} has moved{_way(detail.get('mean_rank', 0.5))}: {_size(judgement)}; {label}: {shares}"


def told_of_pair(judgement: Judgement, name: str) -> str:
    """`name`: `a & b`."""
    detail = judgement.detail
    how = "differently" if moved(judgement) else "as in the reference"
    told = f"{name} go together {how}: on the same side of their usual values in {detail['share']:.0%} of the decisions"
    return f"{told}, in {detail['reference_share']:.0%} of the reference"


def told_of_isolation(judgement: Judgement) -> str:
    """How unusual inputs are taken together: the isolation score."""
    detail = judgement.detail
    shares = (
        f"{detail['share']:.1%} of the decisions are as unusual as {detail['reference_share']:.1%} of the reference"
    )
    how = "differ from the reference" if moved(judgement) else "are as in the reference"
    return f"the inputs taken together {how}: {shares}; isolation score: {_size(judgement)}"


def told_of_all(judgement: Judgement, largest: str) -> str:
    """`largest`: the feature with the largest PSI."""
    size = f"{largest}: {_size(judgement)}"
    if not moved(judgement):
        return f"the inputs are distributed as in the reference; most different is {size}"
    count, pairs = (int(judgement.detail[f"{part}_in_alarm"]) for part in ("features", "pairs"))
    if pairs and not count:
        what = "a pair of inputs goes" if pairs == 1 else f"{pairs} pairs of inputs go"
        return f"{what} together differently from the reference, while each by itself has moved little"
    if judgement.status is SignalStatus.ALARM and not count:
        return "the inputs taken together are not those of the reference, while each by itself and each pair has moved little"
    what = f"{count} inputs have" if count > 1 else "an input has" if count else "the inputs seem to have"
    return f"{what} moved away from the reference; most of all {size}"


def _size(judgement: Judgement) -> str:
    return f"PSI {judgement.detail['psi']:.2f} ({size_of(judgement.detail['psi'])})"


def _way(mean_rank: float) -> str:
    if abs(mean_rank - 0.5) <= SHIFTED:
        return ""
    return " to higher values" if mean_rank > 0.5 else " to lower values"
