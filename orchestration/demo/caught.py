"""What monitors caught, and how soon: each cause that the traffic holds against the first alarm that is about it.

Delays are counted twice: in decisions of the model version from the first affected one to the last that monitors had counted
when they raised the alarm, and in seconds between the two on Kafka. Nothing here asks a lane.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.events import SignalData, SignalStatus
from agents.records import Record
from orchestration.demo import assistant
from orchestration.demo.check import Check
from orchestration.demo.model import NAME, TUNED
from orchestration.demo.population import Client, Groups
from orchestration.demo.traffic import PARTNER, Call
from orchestration.signals_topic import Standing

GAP, HOLDS = "approval_gap", "fairness/hold-declines"
GROUP = "age_band=under 26"
RATIO, WITHIN = 0.7, 8_000
"""The true ratio is below the first, and the alarm comes within so many decisions of the new version."""


@dataclass(frozen=True)
class Made:
    """A decision that was sent."""

    call: Call
    position: str
    label: str | None
    at_ms: int
    """When the broker took it."""


@dataclass(frozen=True)
class Raised:
    """A signal with the broker's time and its offset on `signals`."""

    data: SignalData
    at_ms: int
    offset: int
    counted: int
    """Decisions of its model and version that monitors had counted by then."""
    through: Mapping[int, int] = field(default_factory=dict)
    """Partition of decisions → the offset up to which those were counted; partitions need not be equally far."""


@dataclass(frozen=True)
class Cause:
    """Something that goes wrong, and the monitor that is there for it."""

    what: str
    monitor: str
    affects: Callable[[Call], bool]
    model: str = NAME
    version: str = TUNED
    named: str = ""
    """What the alarm's group must contain."""


CAUSES = (
    Cause("approval gap", GAP, lambda call: True, named=GROUP),
    Cause("behaviour after fine-tuning", "behaviour", lambda call: True, named="score"),
    Cause("drift of inputs", "drift", lambda call: call.upstream == "thousands"),
    Cause("anomalous decisions", "anomalies", lambda call: call.upstream == "cents"),
    Cause("after-hours misuse", "after_hours", lambda call: call.caller == PARTNER and call.wrong == "after hours"),
    Cause(
        "injected prompts",
        "prompt_risk",
        lambda call: call.wrong == "injected prompt",
        assistant.NAME,
        assistant.VERSION,
        "prompt injection",
    ),
    Cause(
        "personal data in prompts",
        "prompt_risk",
        lambda call: call.wrong == "personal data",
        assistant.NAME,
        assistant.VERSION,
        "personal data",
    ),
)


@dataclass(frozen=True)
class Caught:
    """One cause, and the first alarm about it."""

    cause: Cause
    alarm: Raised | None
    decisions: int = 0
    """Of that model and version, from the first affected one on, that were counted by the alarm."""
    affected: int = 0
    """How many of these were affected; 0: the alarm came before there was a cause."""
    seconds: float = 0.0
    words: SignalData | None = None
    """The alarm as it was told best: by the last signal that says where the decisions in question gather, if one does."""


def raised(signals: Iterable[Standing], observations: Iterable[Record]) -> list[Raised]:
    """Signals with what had been counted when they were raised; observations of every partition, in order."""
    counts: dict[tuple[str, str, int], list[tuple[int, int]]] = {}
    ends: dict[tuple[str, str, int], list[tuple[int, int]]] = {}
    for record in observations:
        data = json.loads(record.value or b"{}")["data"]
        if "model" in data:
            rows = counts.setdefault((data["model"], data["version"], record.partition), [])
            rows.append((record.offset, data["n"] + (rows[-1][1] if rows else 0)))
            inputs = data["inputs"]
            ends.setdefault((data["model"], data["version"], record.partition), []).append(
                (inputs["partition"], inputs["end"])
            )
    found = []
    for one in signals:
        place = one.data.observations
        key = (one.data.model, one.data.version, place.partition) if place is not None else ("", "", 0)
        rows = counts.get(key, [])
        until = bisect_left(rows, (place.end, 0)) if place is not None else 0
        through: dict[int, int] = {}
        for partition, end in ends.get(key, [])[:until]:
            through[partition] = max(end, through.get(partition, 0))
        found.append(Raised(one.data, one.time_ms, one.offset, rows[until - 1][1] if until else 0, through))
    return found


def caught(made: Sequence[Made], raised: Sequence[Raised]) -> list[Caught]:
    """Every cause with its first alarm; `made`: decisions in the order of sending, no repeats or malformed ones."""
    return [_caught(cause, made, raised) for cause in CAUSES]


def checks(
    found: Sequence[Caught],
    made: Sequence[Made],
    raised: Sequence[Raised],
    groups: Mapping[int, Groups],
    clients: Sequence[Client],
) -> list[Check]:
    """What must hold of a run that is long enough: all caught, none before its cause, the first week quiet."""
    late = [one for one in found if one.alarm is None]
    early = [one for one in found if one.alarm is not None and not one.affected]
    problems = [f"no alarm about {one.cause.what}" for one in late]
    problems += [f"{one.cause.monitor} alarmed about {one.cause.what} before there was any" for one in early]
    ratio, fair = true_ratio(made, groups, clients), next(one for one in found if one.cause.monitor == GAP)
    gap = [] if ratio < RATIO else [f"the true ratio of {TUNED} is {ratio:.2f}, not below {RATIO}"]
    if fair.alarm is not None and fair.decisions > WITHIN:
        gap.append(f"the alarm came only after {fair.decisions:,} decisions")
    told = f"after {fair.decisions:,} decisions" if fair.alarm is not None else "never"
    return [
        quiet(made, raised),
        Check(f"all {len(found)} causes were caught, each after it began", tuple(problems)),
        Check(
            f"version {TUNED} really approves clients under 26 {ratio:.2f} times as often as those who fare best; "
            f"the alarm came {told} (of {WITHIN:,} at most)",
            tuple(gap),
        ),
    ]


def quiet(made: Sequence[Made], raised: Sequence[Raised]) -> Check:
    """No alarm while version 2.1.0 decided."""
    live = min(one.call.time_ms for one in made if one.call.version == TUNED)
    before = [one.data for one in raised if one.data.clock_ms is not None and one.data.clock_ms < live]
    alarms = [one for one in before if one.status is SignalStatus.ALARM]
    count = sum(one.call.time_ms < live for one in made)
    problems = tuple(f"{one.monitor} of {one.model} {one.version}: {one.text}" for one in alarms[:5])
    return Check(f"no alarm in the first week: {count:,} decisions, {len(before):,} signals", problems)


def true_ratio(made: Iterable[Made], groups: Mapping[int, Groups], clients: Sequence[Client]) -> float:
    """The impact ratio of version 2.2.0 for clients under 26, over everybody it decided on: from who they really are."""
    rates = approvals(made, groups, clients)
    return rates["under 26"] / max(rates.values())


def approvals(made: Iterable[Made], groups: Mapping[int, Groups], clients: Sequence[Client]) -> dict[str, float]:
    """Age band → the share of its clients whom version 2.2.0 approved."""
    counts: dict[str, list[int]] = {}
    for one in made:
        if (one.call.model, one.call.version) == (NAME, TUNED):
            band = groups[clients[one.call.client].number]["age_band"]
            row = counts.setdefault(band, [0, 0])
            row[0] += 1
            row[1] += one.label == "approve"
    return {band: favoured / count for band, (count, favoured) in counts.items()}


@dataclass(frozen=True)
class Held:
    """The rule that acted on the alarm."""

    check: Check
    first: Made | None = None
    """The first decision that it held."""
    count: int = 0
    decisions: int = 0
    """Of the version, before that first one, from its go-live on."""
    seconds: float = 0.0
    """Between the alarm and the first such verdict, on Kafka."""


def held(
    made: Sequence[Made],
    verdicts: Mapping[str, Mapping[str, Any]],
    judged_ms: Mapping[str, int],
    alarm: Raised | None,
) -> Held:
    """Check that from the alarm on all declines of version 2.2.0 are held, and nothing else is because of it.

    `verdicts` and when they were written: by the decision's position. What a lane knew of the alarm stands in its
    verdicts (`as_of`).
    """
    if alarm is None:
        return Held(Check("declines are held once the approval gap alarms", ("there was no such alarm",)))
    wrong, hit, missed = [], [], 0
    ours = [one for one in made if (one.call.model, one.call.version) == (NAME, TUNED)]
    for one in ours:
        data = verdicts[one.position]
        acted = any(reason["rule"] == HOLDS for reason in data["reasons"])
        due = data["as_of"]["signals"] > alarm.offset and one.label == "decline"
        if acted != due:
            missed += 1
            wrong.append(f"{one.position} ({one.label}) was {'held' if acted else 'not held'} because of the gap")
        if acted:
            hit.append(one)
    if not hit:
        wrong.append("no decision was held because of it")
    what = (
        f"once it alarmed, all {len(hit):,} declines of version {TUNED} were held, whatever the group, and no approval"
    )
    blocked = sum(verdicts[one.position]["effect"] == "block" for one in hit)
    what += f" ({blocked:,} of them are blocked by another rule as well)" if blocked else ""
    check = Check(what, (*wrong[:5], *([f"… {missed:,} in all"] if missed > 5 else [])))
    if not hit:
        return Held(check)
    first, soonest = hit[0], min(judged_ms[one.position] for one in hit)
    return Held(check, first, len(hit), ours.index(first) + 1, (soonest - alarm.at_ms) / 1000)


def _caught(cause: Cause, made: Sequence[Made], raised: Sequence[Raised]) -> Caught:
    ours = [one for one in made if (one.call.model, one.call.version) == (cause.model, cause.version)]
    first = next((one for one in ours if cause.affects(one.call)), None)
    about = sorted((one for one in raised if _about(one.data, cause)), key=lambda one: one.offset)
    if not about or first is None:
        return Caught(cause, None)
    alarm = about[0]
    since = [one for one in ours[ours.index(first) :] if _counted(one, alarm)]
    affected = sum(cause.affects(one.call) for one in since)
    words = next((one.data for one in reversed(about) if "mostly where" in (one.data.text or "")), alarm.data)
    return Caught(cause, alarm, len(since), affected, (alarm.at_ms - first.at_ms) / 1000, words)


def _counted(one: Made, alarm: Raised) -> bool:
    """Monitors had counted it when the alarm was raised."""
    _, partition, offset = one.position.rsplit("/", 2)
    return int(offset) < alarm.through.get(int(partition), 0)


def _about(data: SignalData, cause: Cause) -> bool:
    place = (data.model, data.version, data.monitor) == (cause.model, cause.version, cause.monitor)
    return place and data.status is SignalStatus.ALARM and cause.named in (data.group or "")
