"""The facts of an incident, each a sentence with its figures and an id, from what is known alone: the same gives the same.

They are what a reviewer reads, what a summary cites, and all that an LLM is told. Every text in them is made of figures, of
the configuration's own words, and of names that it declares; anything else is reduced (fields.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from agents.events import Effect, SignalData, SignalStatus
from agents.monitor.agent import strength
from agents.policy.reasons import clean
from agents.told_events import FactData
from agents.triage.fields import reduced
from agents.triage.seen import Seen
from agents.triage.words import (
    capital,
    count,
    figure,
    listed,
    metric_words,
    moment,
    part_words,
    plural,
    share,
    span,
)

LONGEST = 600
"""Characters of a fact."""
MOST_SIGNALS, MOST_BESIDE, MOST_FEATURES, MOST_SEGMENTS, MOST_CHANGES = 3, 3, 3, 3, 6
BESIDE = "beside"
"""Among the values of a signal's fact: it is of another monitor, which is named, at the same time."""
PROPOSAL = "proposal"
"""Among the values of a fact: it is about a change that needs a second person, which no LLM is asked about."""
LATELY_MS = 14 * 86_400_000
Found = tuple[str, str, Mapping[str, float | str | None], str]
"""Kind, text, values, source."""


def gather(seen: Seen) -> tuple[FactData, ...]:
    """All facts, in the order in which a reviewer wants them; ids f1, f2, …"""
    found: list[Found] = []
    for part in (_counts, _held, _rules, _signals, _features, _segments, _beside, _changes, _similar, _sample):
        found += part(seen)
    return tuple(
        FactData.model_validate(
            {"id": f"f{number}", "kind": kind, "text": clean(text, LONGEST), "values": dict(values), "source": source}
        )
        for number, (kind, text, values, source) in enumerate(found, 1)
    )


def subject(seen: Seen) -> str:
    """`credit-limit 2.2.0, sex female`; what is not declared is said to be a model or a version."""
    one = seen.incident
    parts = [model_words(seen, one.model, one.version)] if one.model else []
    parts += [part_words(seen.names.shown(one.segment))] if one.segment else []
    return ", ".join(parts) or "the installation itself"


def model_words(seen: Seen, model: str | None, version: str | None) -> str:
    """A model and its version, by their names."""
    named, which = seen.names.shown(model), "" if version is None else seen.names.shown(version)
    named = f"model {named}" if named.startswith("‹") else named
    if which in ("", "*"):
        return named + (", all versions" if which else "")
    return f"{named}, version {which}" if which.startswith("‹") or named.startswith("model ‹") else f"{named} {which}"


def cause_name(seen: Seen) -> str:
    """The rule, monitor, safeguard or fault, by its name; all are the configuration's or ours, or else reduced."""
    cause = seen.incident.cause
    ours = cause.partition("/")[0] in (
        "record",
        "safeguard",
        "lane",
        "standing",
        "evidence",
        "channel",
        "audit",
        "observe",
        "assess",
        "join",
        "notify",
        "policy",
        "archive",
        "triage",
        "assist",
        "release",
        "escalation",
        "change",
    )
    plain = clean(cause, 120) == cause and " " not in cause and cause.isascii() and len(cause) <= 80
    return cause if cause in seen.names.known or (ours and plain) else reduced(cause)


def _counts(seen: Seen) -> Iterator[Found]:
    one = seen.incident
    if one.proposal is not None:
        text = f"{seen.names.shown(one.proposal.author)} proposes a change of the {one.proposal.kind}"
        text += f", {one.proposal.digest[:15]}, on {moment(one.opened_ms)}; it needs a second person."
        yield "count", text, {PROPOSAL: one.proposal.kind}, one.proposal.digest
        return
    about_model = seen.rule is not None or one.cause.startswith(("record/", "safeguard/"))
    lasted = one.last_ms - one.first_ms
    over = f" over {span(lasted)}" if lasted >= 60_000 else ""
    noun = "decision" if one.model is not None else "record"
    whose = f" of {subject(seen)}" if one.model is not None else ""
    many = f"{plural(one.count, noun)}{whose} flagged" if about_model else f"{plural(max(one.flags, 1), 'flag')}{whose}"
    when = f"first {moment(one.first_ms)}, last {moment(one.last_ms)}"
    text = f"{many} by {cause_name(seen)}{over}: {when}."
    values: dict[str, float | str | None] = {"count": one.count, "flags": one.flags, "first_ms": one.first_ms}
    if one.inhibited_by:
        values["inhibited_by"] = one.inhibited_by
    yield "count", text, values, one.incident
    if one.previous:
        text = f"It came before: incident {one.previous} had the same cause and is resolved."
        yield "count", text, {"previous": one.previous}, one.previous


def _held(seen: Seen) -> Iterator[Found]:
    one = seen.incident
    if one.held:
        text = f"{plural(one.held, 'decision')} {'is' if one.held == 1 else 'are'} held and waiting for an answer."
        yield "held", text, {"held": one.held}, one.incident
    for limit, what in ((one.deadline_ms, "The deadline"), (one.statutory_ms, "The statutory deadline")):
        if limit is not None:
            left = limit - seen.now_ms
            when = f"in {span(left)}" if left > 0 else f"passed {span(-left)} ago"
            then = f"; then {_at_deadline(seen)}" if limit == one.deadline_ms and one.held else ""
            yield "deadline", f"{what} is {moment(limit)} ({when}){then}.", {"deadline_ms": limit}, one.chain


def _at_deadline(seen: Seen) -> str:
    chain = seen.configuration.escalation.chains.get(seen.incident.chain)
    return {
        "release": "what is held goes out",
        "withhold": "what is held is withheld",
        "escalate": "the next people are asked, and decisions stay held",
        None: "nothing happens by itself",
    }[chain.at_deadline if chain is not None else None]


def _rules(seen: Seen) -> Iterator[Found]:
    if seen.rule is None:
        return
    policy, rule = seen.rule
    does = {
        Effect.HOLD: "holds them",
        Effect.BLOCK: "blocks them",
        Effect.LOG: "lets them go and flags them",
        Effect.ALLOW: "allows them",
    }
    mode = {"enforce": "in force", "audit": "in audit mode, so it changes nothing", "disabled": "disabled"}[policy.mode]
    says = f" What it is for: {clean(policy.description, 200).rstrip('.')}." if policy.description else ""
    text = f"Rule {policy.policy}/{rule.id} {does[rule.effect]} when {clean(rule.when, 300)} ({mode}).{says}"
    yield "rule", text, {"effect": rule.effect.value, "severity": rule.severity.value}, f"{policy.policy}/{rule.id}"


def _signals(seen: Seen) -> Iterator[Found]:
    for signal in seen.about[:MOST_SIGNALS]:
        yield "signal", capital(described(seen, signal)), _values(signal), _key(seen, signal)
    if seen.about:
        yield from _before_after(seen, seen.about[0])


def described(seen: Seen, signal: SignalData) -> str:
    """One signal in a sentence: whose, where, what, how large, of how many, since when, how strong."""
    whose = model_words(seen, signal.model, "*" if signal.scope == "model" else signal.version)
    where = where_of(seen, signal)
    about = f"the monitor {signal.monitor} on {whose}{', ' if where else ''}{where}"
    return f"{about}: the {judged(signal, own_time=seen.own_time)}."


def judged(signal: SignalData, *, own_time: bool = False, whole: bool = True) -> str:
    """What a signal says, without whose it is: `approval-rate ratio is 0.62 (interval 0.55 to 0.70, n = 4,210); …`.

    `own_time`: its times are those that decisions carry. Without `whole` it is fit for a summary: neither how many decisions
    came since then, nor how many could be counted.
    """
    metric = metric_name(signal)
    parts = [f"{metric} is not known yet"]
    if signal.estimate is not None:
        inside = []
        if signal.lower is not None and signal.upper is not None:
            low, high = (figure(bound, signal.metric) for bound in (signal.lower, signal.upper))
            inside.append(f"interval {low} to {high}")
        if signal.n is not None:
            inside.append(f"n = {count(signal.n)}")
        bounds = f" ({', '.join(inside)})" if inside else ""
        parts = [f"{metric} is {figure(signal.estimate, signal.metric)}{bounds}"]
    since = signal.onset_ms if signal.onset_ms is not None else signal.since_ms
    when = f" since about {moment(since)}" if since is not None and since > 0 else ""
    when += " in the decisions' own time" if when and own_time else ""
    parts.append(_STATUS[signal.status] + when)
    if signal.onset_n and whole:
        parts.append(f"{plural(signal.onset_n, 'decision')} since then")
    if signal.status is SignalStatus.ALARM and signal.e_value is not None and signal.budget_unit is not None:
        strong = strength(signal.e_value, signal.budget_unit)
        parts.append(f"strength of the alarm: {strong} ({signal.guarantee or 'no guarantee'})")
    if signal.coverage is not None and signal.coverage < 0.995 and whole:
        parts.append(f"{share(signal.coverage)} of the decisions could be counted")
    return "; ".join(parts)


def metric_name(signal: SignalData) -> str:
    """`approval-rate ratio`."""
    return metric_words(signal.metric)


_STATUS = {
    SignalStatus.ALARM: "alarm",
    SignalStatus.WARN: "warning",
    SignalStatus.OK: "in order",
    SignalStatus.INSUFFICIENT: "too few decisions for a judgement",
    SignalStatus.NONE: "not judged yet",
}


def where_of(seen: Seen, signal: SignalData) -> str:
    """`sex female against male, product loan`; empty for everything."""
    parts = [part_words(seen.names.shown(part)) for part in (signal.group, signal.segment) if part]
    against = seen.names.shown(signal.reference) if signal.reference and "=" in signal.reference else "‹"
    if parts and not against.startswith("‹"):
        attribute = (signal.group or "").partition("=")[0] + "="
        parts[0] += f" against {part_words(against.removeprefix(attribute))}"
    return ", ".join(parts)


def _before_after(seen: Seen, signal: SignalData) -> Iterator[Found]:
    detail = signal.detail
    if "rate" in detail and "reference_rate" in detail and signal.group:
        yield _rates(seen, signal)
    pairs = (
        ("share", "reference_share", "now", "in the reference"),
        ("tail", "tail_usually", "now", "usually"),
        ("recent", "reference", "recently", "in the reference"),
    )
    told = (signal.group or "").startswith("feature=") and signal.metric == "psi"  # as a fact of its own (_features)
    for one, other, now, before in () if told else pairs:
        if one in detail and other in detail:
            sizes = f"{share(detail[one])} {now}, against {share(detail[other])} {before}"
            text = f"{capital(one)}: {sizes}."
            yield "before_after", text, {one: detail[one], other: detail[other]}, _key(seen, signal)
            break
    for limit in ("usual", "allowed"):
        if limit in detail and signal.estimate is not None:
            size = figure(signal.estimate, signal.metric or "rate")
            name = capital(metric_name(signal))
            text = f"{name}: {size} now, usually at most {share(detail[limit])}."
            yield "before_after", text, {"now": signal.estimate, limit: detail[limit]}, _key(seen, signal)
            break
    for old in [other for other in seen.elsewhere(signal) if other.version != "*"][:2]:
        assert old.estimate is not None
        size = f"{metric_name(old)} {figure(old.estimate, old.metric)}"
        many = f" (n = {count(old.n)})" if old.n is not None else ""
        text = f"For comparison, version {seen.names.shown(old.version)}: {size}{many}, {_STATUS[old.status]}."
        yield "before_after", text, {"estimate": old.estimate, "n": old.n}, _key(seen, old)


def _rates(seen: Seen, signal: SignalData) -> Found:
    """A group's rate and its reference's."""
    detail = signal.detail
    names = [part_words(seen.names.shown(one)) for one in (signal.group, signal.reference)]
    sizes = [
        f"{share(detail[rate])} of {name}" + (f" (n = {count(detail[n])})" if n in detail else "")
        for name, rate, n in ((names[0], "rate", "n_group"), (names[1], "reference_rate", "n_reference"))
    ]
    text = f"The favourable answer goes to {sizes[0]}, and to {sizes[1]}."
    return (
        "before_after",
        text,
        {"rate": detail["rate"], "reference_rate": detail["reference_rate"]},
        _key(seen, signal),
    )


def _features(seen: Seen) -> Iterator[Found]:
    """The inputs that moved most, by whichever monitor tells features apart."""
    found = [
        signal
        for _, signal in sorted(seen.signals.items())
        if signal.model == seen.incident.model
        and (signal.group or "").startswith("feature=")
        and signal.metric == "psi"
        and signal.estimate is not None
        and seen.incident.version in (None, "*", signal.version)
        and signal.status in (SignalStatus.ALARM, SignalStatus.WARN)
    ]
    found.sort(key=lambda signal: (-(signal.estimate or 0.0), signal.group or ""))
    for signal in found[:MOST_FEATURES]:
        assert signal.estimate is not None
        name = seen.names.shown((signal.group or "").removeprefix("feature="))
        detail = signal.detail
        moved = ""
        if "share" in detail and "reference_share" in detail:
            moved = f"; where it differs most: {share(detail['share'])} now, {share(detail['reference_share'])} before"
        n = f", n = {count(signal.n)}" if signal.n is not None else ""
        text = f"Input {name} has moved: PSI {signal.estimate:.2f}{n}{moved}."
        yield "feature", text, {"feature": name, "psi": signal.estimate}, _key(seen, signal)


def _segments(seen: Seen) -> Iterator[Found]:
    """Other parts of the traffic where the same monitor alarms or warns."""
    rest = [one for one in seen.about[MOST_SIGNALS:] if one.status in (SignalStatus.ALARM, SignalStatus.WARN)]
    for signal in [one for one in rest if not (one.group or "").startswith("feature=")][:MOST_SEGMENTS]:
        yield "segment", capital(described(seen, signal)), _values(signal), _key(seen, signal)


def _beside(seen: Seen) -> Iterator[Found]:
    worst: dict[str, SignalData] = {}
    for one in seen.beside:
        if not (one.group or "").startswith("feature="):
            worst.setdefault(one.monitor, one)
    for signal in list(worst.values())[:MOST_BESIDE]:
        text = f"At the same time, {described(seen, signal)}"
        yield "signal", text, {**_values(signal), BESIDE: signal.monitor}, _key(seen, signal)


def _changes(seen: Seen) -> Iterator[Found]:
    one = seen.incident
    found = [
        change
        for change in seen.changes
        if change.at_ms <= seen.now_ms and one.last_ms - change.at_ms <= LATELY_MS and change.model in (None, one.model)
    ]
    for change in found[-MOST_CHANGES:]:
        before = one.first_ms - change.at_ms
        when = f"{span(before)} before the first flag" if before >= 60_000 else "about when it began"
        when = when if before > -60_000 else f"{span(-before)} after the first flag"
        text = f"{capital(change.text)}, on {moment(change.at_ms)}, {when}."
        yield "change", text, {"at_ms": change.at_ms, "what": change.kind}, change.source
    for name, order in sorted(seen.safeguards.items()):
        if order.active and order.model == one.model:
            text = f"A safeguard is in force on {seen.names.shown(order.model)}: {order.kind.replace('_', ' ')}."
            yield "change", text, {"what": "safeguard", "kind": order.kind}, f"safeguard/{name}"


def _similar(seen: Seen) -> Iterator[Found]:
    for one in seen.similar:
        ended = f"ended {one.resolution.value}" if one.resolution is not None else "ended without an answer"
        text = f"Incident {one.incident} was like this one ({share(one.likeness)} alike) and {ended}."
        yield "similar", text, {"incident": one.incident, "likeness": one.likeness}, one.incident


def _sample(seen: Seen) -> Iterator[Found]:
    """What there is to open, and what its reason looks like; no text of a decision."""
    one = seen.incident
    told = [f"{plural(len(one.sample), 'decision')} of it can be opened"] if one.sample else []
    if one.reason:
        told.append(f"the first one's reason is {reduced(one.reason)}")
    if one.labels:
        labels = sorted(one.labels.items())[:5]
        told.append("labels: " + listed([f"{seen.names.shown(k)} {seen.names.shown(v)}" for k, v in labels]))
    if told:
        values: dict[str, float | str | None] = {"opened": len(one.sample)}
        yield "sample", capital("; ".join(told)) + ".", values, one.incident


def _values(signal: SignalData) -> dict[str, float | str | None]:
    return {
        "status": signal.status.value,
        "metric": signal.metric,
        "estimate": signal.estimate,
        "lower": signal.lower,
        "upper": signal.upper,
        "n": signal.n,
        "e_value": signal.e_value,
        "onset_ms": signal.onset_ms,
    }


def _key(seen: Seen, signal: SignalData) -> str:
    """The signal's id on its topic, as far as it may be shown."""
    names = (signal.version, signal.segment, signal.group)
    version, segment, group = (None if one is None else seen.names.shown(one) for one in names)
    return json.dumps(
        [signal.model, version, signal.monitor, segment, group], separators=(",", ":"), ensure_ascii=False
    )
