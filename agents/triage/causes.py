"""What an incident is probably due to and what to do next, by rule: from the kind of monitor or rule, and what changed.

A table says what each kind of monitor points at. Evidence of the incident then moves it: a new version that differs from the
old one, a rule that holds many decisions while every monitor is quiet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.events import Effect, Severity, SignalData, SignalStatus
from agents.people_events import Resolution
from agents.told_events import Advice, CauseKind
from agents.triage.seen import Seen

ORDER = (Severity.INFO, Severity.WARNING, Severity.ERROR, Severity.CRITICAL)
BY_KIND: Mapping[str, tuple[CauseKind, tuple[CauseKind, ...]]] = {
    "disparate_impact": ("bias", ("data_drift", "model_change", "data_quality")),
    "parity": ("bias", ("data_drift", "model_change", "data_quality")),
    "opportunity": ("bias", ("data_drift", "model_change", "data_quality")),
    "false_positive_rate": ("bias", ("data_drift", "model_change", "data_quality")),
    "scoring_rate": ("bias", ("data_drift", "model_change", "data_quality")),
    "data_drift": ("data_drift", ("data_quality", "operations")),
    "behaviour": ("model_change", ("data_drift", "bias")),
    "anomaly": ("single_case", ("data_quality", "data_drift", "attack")),
    "operations": ("operations", ("data_quality", "model_change")),
    "volume": ("operations", ("misuse", "attack")),
    "call_rate": ("misuse", ("attack", "operations")),
    "after_hours": ("misuse", ("attack", "operations")),
    "strangers": ("misuse", ("model_change", "attack", "operations")),
    "prompt_risk": ("attack", ("misuse",)),
    "unusual_tools": ("misuse", ("attack", "model_change")),
    "calibration": ("data_drift", ("model_change", "data_quality")),
    "performance": ("data_drift", ("model_change", "data_quality")),
    "label_coverage": ("data_quality", ("operations",)),
}
"""Kind of monitor → what it points at, and what else it may be."""
BY_FAULT: Mapping[str, CauseKind] = {
    "record/malformed": "data_quality",
    "record/conflict": "data_quality",
    "record/undeclared": "model_change",
}
MANY = 200
"""Flagged decisions from which a rule on decisions' own values is perhaps too strict rather than about a single case."""
FEW = 5
ALIKE = 0.5
"""Likeness from which the way that past incidents ended counts."""


@dataclass(frozen=True)
class Judged:
    """What is suspected and advised, and what else an LLM may say instead."""

    cause: CauseKind
    action: Advice
    causes: tuple[CauseKind, ...]
    """That are plausible; the suspected one first."""
    actions: tuple[Advice, ...]
    """That are open; the advised one first."""
    severities: tuple[Severity, ...]
    """As it is, and one step more."""
    teams: tuple[str, ...]
    """To add by rule."""
    further: tuple[str, ...]
    """Declared teams that may be added."""


def judge(seen: Seen, like_teams: tuple[str, ...] = ()) -> Judged:
    """Of one incident. `like_teams`: who answered incidents like this one, the likeliest first."""
    cause = _cause(seen)
    action = _action(seen, cause)
    causes = dict.fromkeys((cause, *_alternatives(seen), "unknown"))
    actions = dict.fromkeys((action, *_open(seen, cause)))
    at = ORDER.index(seen.incident.severity)
    declared, there = set(seen.configuration.escalation.teams), {seen.incident.team, *seen.incident.teams}
    wanted = [team for signal in seen.about[:1] if (team := seen.owner(signal.monitor))]
    wanted += [team for signal in seen.beside if (team := seen.owner(signal.monitor))][:2]
    wanted += list(like_teams[:1])
    teams = tuple(team for team in dict.fromkeys(wanted) if team in declared and team not in there)
    further = tuple(sorted(declared - there))
    return Judged(cause, action, tuple(causes), tuple(actions), ORDER[at : at + 2], teams, further)


def worst(seen: Seen) -> SignalData | None:
    """The signal that speaks for the incident."""
    return seen.about[0] if seen.about else None


def new_version_differs(seen: Seen) -> bool:
    """Whether its version is new, in alarm or warning, and another version of the model is not."""
    signal = worst(seen)
    if signal is None or signal.scope == "model" or seen.incident.version in (None, "*"):
        return False
    others = seen.elsewhere(signal)
    bad = signal.status in (SignalStatus.ALARM, SignalStatus.WARN)
    return bad and bool(others) and all(other.status is SignalStatus.OK for other in others if other.version != "*")


def _cause(seen: Seen) -> CauseKind:
    one, fault = seen.incident, BY_FAULT.get(seen.incident.cause)
    if fault is not None:
        return fault
    kinds = [seen.kind(monitor) for monitor in seen.monitors]
    known = next((kind for kind in kinds if kind in BY_KIND), None)
    if known is not None:
        return _of_kind(seen, known)
    if seen.rule is not None:
        return _of_rule(seen, seen.rule[1].when)
    if one.cause.startswith("safeguard/") or one.model is None or one.proposal is not None:
        return "operations"
    return "unknown"


def _of_kind(seen: Seen, kind: str) -> CauseKind:
    cause, signal = BY_KIND[kind][0], worst(seen)
    group = (signal.group if signal is not None else seen.incident.segment) or ""
    metric = signal.metric if signal is not None else ""
    if kind == "strangers" and "version" in group:
        return "model_change"
    if kind == "operations" and (metric == "missing_rate" or group.startswith("feature=")):
        return "data_quality"
    if cause in ("data_drift", "operations") and kind in ("performance", "calibration", "operations"):
        drifted = any(seen.kind(other.monitor) == "data_drift" for other in seen.beside)
        return "model_change" if seen.newest_version and not drifted else cause
    return cause


def _of_rule(seen: Seen, when: str) -> CauseKind:
    """By the columns that it looks at, the most telling first."""
    one = seen.incident
    table: tuple[tuple[str, CauseKind], ...] = (
        ("prompt", "attack"),
        ("model.version_declared", "model_change"),
        ("safeguard.", "operations"),
        ("monitor.lag_ms", "operations"),
        ("latency_ms", "operations"),
        ("action.tool", "misuse"),
        ("caller", "misuse"),
        ("calendar.", "misuse"),
    )
    found = next((cause for column, cause in table if column in when), None)
    if found == "misuse" and "action.tool" in when and one.effect is Effect.HOLD and one.count < MANY:
        return "single_case"  # that somebody looks at an agent's action before it is done is what the rule is for
    if found is not None:
        return found
    if "anomaly." in when and one.count < MANY:
        return "single_case"
    if "IS NULL" in when.upper():
        return "data_quality"
    if one.count >= MANY:
        drifted = any(seen.kind(signal.monitor) == "data_drift" for signal in seen.beside)
        return "data_drift" if drifted else "policy_too_strict"
    return "single_case"


def _alternatives(seen: Seen) -> list[CauseKind]:
    found: list[CauseKind] = []
    for monitor in seen.monitors:
        main, others = BY_KIND.get(seen.kind(monitor), ("unknown", ()))
        found += [main, *others]
    if seen.rule is not None:
        found += ["policy_too_strict", "single_case", "data_quality"]
    if seen.newest_version:
        found.append("model_change")
    for signal in seen.beside:
        found.append(BY_KIND.get(seen.kind(signal.monitor), ("unknown", ()))[0])
    return found


def _action(seen: Seen, cause: CauseKind) -> Advice:
    one = seen.incident
    if cause in ("bias", "model_change") and new_version_differs(seen):
        return "quarantine_version"
    if cause in ("misuse", "attack") and caller(seen) is not None:
        return "pause_caller"
    if one.held and cause != "policy_too_strict":
        return "review_held"
    by_cause: Mapping[CauseKind, Advice] = {"data_quality": "fix_data", "policy_too_strict": "tune_rule"}
    if cause in by_cause:
        return by_cause[cause]
    mild = one.severity is Severity.INFO or (cause == "single_case" and one.severity is Severity.WARNING)
    return "watch" if mild and one.effect is not Effect.BLOCK else "investigate"


def caller(seen: Seen) -> str | None:
    """The one caller that it is about, where its signal names one; whether it is declared is another matter."""
    signal = worst(seen)
    named = (signal.group if signal is not None else seen.incident.segment) or ""
    kind, _, name = named.partition("=")
    return name if kind == "caller" and name else None


def _open(seen: Seen, cause: CauseKind) -> list[Advice]:
    """Advice that an LLM may give as well: nothing that lets decisions go unless people did so in incidents like it."""
    one = seen.incident
    found: list[Advice] = ["investigate"]
    found += ["review_held"] if one.held else []
    found += ["quarantine_version", "fall_back"] if new_version_differs(seen) else []
    found += ["pause_caller"] if caller(seen) is not None else []
    found += ["fix_data"] if cause in ("data_quality", "data_drift") or "data_quality" in _alternatives(seen) else []
    found += ["tune_rule"] if seen.rule is not None and cause != "attack" else []
    if not one.held and one.effect is not Effect.BLOCK and one.severity in (Severity.INFO, Severity.WARNING):
        found.append("watch")
    ended = [other.resolution for other in seen.similar if other.likeness >= ALIKE]
    if one.held and len(ended) >= 2 and set(ended) == {Resolution.APPROVED}:
        found.append("approve_held")
    if one.held and len(ended) >= 2 and set(ended) == {Resolution.REJECTED}:
        found.append("reject_held")
    return found
