"""What flags and signals make of incidents: opened, grown, worsened, quiet; and told anew where a channel is dead.

Promise: however a stream of flags is cut into batches, the incidents are the same, record by record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.escalation import digesting, messages, timing
from agents.escalation.desk import Desk, Heard
from agents.escalation.grouping import Cause, group_of, incident_id, parse
from agents.escalation.incidents import MOST_KEYS, MOST_KIN, Live, rank
from agents.escalation.routing import Routed, route
from agents.escalation.samples import gather
from agents.escalation.telling import Told, again
from agents.events import Effect, Flag, FlagData, Mode, Position, Severity, SignalData, SignalStatus
from agents.people_events import Change, IncidentData, Status, shown_digest
from agents.policy.flags import dedup_key

LOUD = (SignalStatus.WARN, SignalStatus.ALARM)


def flag(desk: Desk, event: Flag, at_ms: int, read_ms: int) -> None:
    """Count a flag in its incident, or open one. Raises ValueError: no dedup_key.

    `at_ms`: the broker's time of the flag; `read_ms`: when it was read, from when what it holds waits.
    """
    data, cause = event.data, parse(event.data.dedup_key)
    group, live = _place(desk, cause, data.dedup_key)
    if cause.cause.startswith("channel/"):
        # Before anybody is told of it: not by this one.
        desk.state.bury(_channel(event), desk.state.dead.get(_channel(event), ""))
    if live is None:
        live = _open(desk, event, cause, group, at_ms, read_ms)
    else:
        _grow(desk, live, event, cause, at_ms, read_ms)
    if cause.cause.startswith("channel/"):
        desk.state.bury(_channel(event), live.data.incident)
    if cause.cause.startswith(("channel/", "contact/")):
        _lost(desk, live, event, only_these=cause.cause.startswith("contact/"))
        digesting.elsewhere(desk, data.labels.get("incident"), _channel(event))
    timing.plan(desk, live)


def _place(desk: Desk, cause: Cause, key: str) -> tuple[str, Live | None]:
    """The group of a flag and its open incident: the one that knows its key, else its group's.

    Versions and segments may come from whoever calls a model. Where MOST_KIN of them have incidents of one cause, further
    ones share an incident of the whole model, which speaks for all: nobody is told of each. So do models that nobody
    declared, in an incident of none.
    """
    group_by = desk.desks.declared.group_by
    group, known = group_of(cause, group_by), desk.state.find(desk.by_key.get(key))
    if known is not None and known.open:
        return known.data.group, known
    live = desk.state.current(group)
    if live is None and len(desk.kin.get((cause.cause, cause.model), ())) >= MOST_KIN:
        group = group_of(Cause(cause.cause, cause.model), group_by)
        live = desk.state.current(group)
    if live is None and desk.undeclared(cause.model) and desk.strangers(cause.cause, MOST_KIN):
        group = group_of(Cause(cause.cause), group_by)
        live = desk.state.current(group)
    return group, live if live is not None and len(live.data.keys) < MOST_KEYS else None


def _open(desk: Desk, event: Flag, cause: Cause, group: str, at_ms: int, read_ms: int) -> Live:
    data, group_by = event.data, desk.desks.declared.group_by
    own, of_none = group_of(cause, group_by), group_of(Cause(cause.cause), group_by)
    routed = route(desk.desks, cause.cause, cause.model, data.team, data.severity, data.labels, desk.now_ms)
    name = incident_id(group, event.id, desk.state.known)
    chain = desk.desks.chain(routed.chain)
    statutory = chain.statutory_deadline
    began = IncidentData.model_validate(
        {
            "incident": name,
            "revision": 0,
            "change": "triggered",
            "status": Status.TRIGGERED,
            "severity": data.severity,
            "title": "",
            "cause": cause.cause,
            "model": cause.model if group == own or group != of_none else None,
            "version": cause.version if group == own and "version" in group_by else None,
            "segment": cause.segment if group == own and "segment" in group_by else None,
            "group": group,
            "keys": (),
            "reason": data.reason[:4000],
            "labels": data.labels,
            "team": routed.team,
            "chain": routed.chain,
            "count": 0,
            "opened_ms": max(desk.now_ms, 0),
            "first_ms": at_ms,
            "last_ms": at_ms,
            "statutory_ms": at_ms + round(statutory * 1000) if statutory is not None else None,
            "previous": desk.state.groups.get(group),
        }
    )
    live = Live(began, desk.state.opened, data.severity, desk.now_ms, left=tuple(range(len(chain.steps))))
    desk.state.add(live)
    _count(desk, live, event, at_ms, read_ms)
    desk.state.update(live, title=messages.title(live.data))
    desk.index(live)
    begin(desk, live, messages.counted(data.count, "decision") if data.effect else "", at_ms)
    for narrow in desk.narrower(live):
        if not narrow.muted and timing.mute(desk, narrow):
            desk.write(narrow, "inhibited", said=timing.muted_by(narrow))
            timing.plan(desk, narrow)
    return live


def begin(desk: Desk, live: Live, said: str, at_ms: int) -> None:
    """The first record of an incident that was just opened, with its first message where nothing mutes it.

    `at_ms`: when what opened it came; read much later, the message says so.
    """
    told, words = None, timing.muted_by(live) if timing.mute(desk, live) else ""
    if not live.muted:
        told, words = timing.first_step(desk, live)
    changes: tuple[Change, ...] = ("triggered",)
    fields: dict[str, Any] = {}
    if told is not None:
        changes = ("triggered", "told")
        fields = {"told": tuple(told.people), "with_": tuple(told.people)}
    elif live.muted:
        changes = ("triggered", "inhibited" if live.data.inhibited_by is not None else "silenced")
    desk.write(
        live,
        *changes,
        said="; ".join(part for part in (said, words) if part),
        due_ms=at_ms,
        send=[("trigger", told, tuple(told.passed.values()))] if told is not None else (),
        **fields,
    )


def _grow(desk: Desk, live: Live, event: Flag, cause: Cause, at_ms: int, read_ms: int) -> None:
    """Count; write at once what people act on, the rest once in a while."""
    shown, before, waited = live.shown[-1].digest, live.data, live.data.held
    _count(desk, live, event, at_ms, read_ms)
    data = live.data
    if rank(event.data.severity) > rank(live.flagged):
        live.flagged = event.data.severity
        labels = {**data.labels, **event.data.labels}
        desk.state.update(live, labels=labels, severity=max(data.severity, live.flagged, key=rank))
        desk.state.update(live, title=messages.title(live.data))
        worsened(desk, live, before.severity, event.data.team, cause)
        return
    if data.effect is not before.effect or (data.held > 0) is not (waited > 0):
        desk.state.update(live, title=messages.title(data))
    live.dirty = True
    if (
        shown_digest(live.data) != shown
        or (data.held > 0 and not waited)
        or desk.now_ms - live.written_ms >= timing.pause(live)
    ):
        desk.write(live, "grew", said=timing.grown(live))


def worsened(desk: Desk, live: Live, before: Severity, team: str | None, cause: Cause) -> None:
    """A worse severity: routed anew, and told to those whom it is with, or by the new chain."""
    data = live.data
    routed = route(desk.desks, cause.cause, cause.model, team, live.flagged, data.labels, desk.now_ms)
    said = f"{before.value} before, {data.severity.value} now"
    told, why = Told(), ""
    if routed != Routed(data.team, data.chain):
        _reroute(desk, live, routed)
        told_now, words = (None, "") if timing.muted(desk, live) else timing.first_step(desk, live)
        told, why = told_now or Told(), words
    elif not timing.muted(desk, live):
        told = desk.present(live)
        why = timing.words(told) if told.people else ""
    desk.write(
        live,
        "worsened",
        said="; ".join(part for part in (said, why) if part),
        send=[("escalate", told, ())],
        told=timing.merged(live.data.told, told.people),
        with_=timing.merged(live.data.with_, told.people),
    )


def adopt(desk: Desk, live: Live) -> None:
    """A new team for an incident whose team is not declared (any more), asked from the first step on."""
    data, declared = live.data, desk.desks.declared
    if data.team in declared.teams or not declared.teams or data.proposal is not None:
        return
    cause = parse(data.keys[0])
    routed = route(desk.desks, cause.cause, cause.model, None, live.flagged, data.labels, desk.now_ms)
    live.base_ms, live.left = desk.now_ms, tuple(range(len(desk.desks.chain(routed.chain).steps)))
    desk.state.update(live, team=routed.team, chain=routed.chain)
    due_by(desk, live)
    timing.muted(desk, live)  # a silence of the team that had it is none of the new one's
    desk.write(live, "escalated", said=f"now with {routed.team}")


def forsaken(desk: Desk, live: Live) -> None:
    """An incident is with nobody who is not declared (any more): where that leaves nobody, others are asked."""
    people = desk.desks.declared.people
    gone = [one for one in live.data.with_ if one not in people]
    if not gone or not people:
        return
    desk.state.update(live, with_=tuple(one for one in live.data.with_ if one in people))
    live.dirty = True
    if not live.data.with_:
        timing.restart(desk, live)
        desk.write(live, "escalated", said=f"{messages.listed(gone)} cannot be asked any more: the chain starts again")


def _reroute(desk: Desk, live: Live, routed: Routed) -> None:
    """By another chain from its first step on; the owner stays, another team is added."""
    data, chain = live.data, desk.desks.chain(routed.chain)
    teams = data.teams
    if routed.team is not None and routed.team not in (data.team, *teams):
        teams = (*teams, routed.team)
    statutory = chain.statutory_deadline
    fields: dict[str, object] = {"teams": teams}
    if data.team is None:
        fields = {"team": routed.team}
    if routed.chain != data.chain:
        live.base_ms, live.left = desk.now_ms, tuple(range(len(chain.steps)))
        live.insisting = data.status is not Status.TRIGGERED
        fields["chain"] = routed.chain
        if statutory is not None:
            until = data.first_ms + round(statutory * 1000)
            fields["statutory_ms"] = min(until, data.statutory_ms or until)
    desk.state.update(live, **fields)
    due_by(desk, live)


def _count(desk: Desk, live: Live, event: Flag, at_ms: int, read_ms: int) -> None:
    """Counts, times, keys, sample and `through`; without effect: it was no decision that is flagged."""
    data, told = event.data, live.data
    fields: dict[str, object] = {
        "count": told.count + data.count,
        "flags": told.flags + 1,
        "first_ms": min(told.first_ms, at_ms),
        "last_ms": max(told.last_ms, at_ms),
    }
    stranger = told.model is None and parse(data.dedup_key).model is not None and data.effect is not Effect.HOLD
    if data.dedup_key not in told.keys and not (stranger and told.keys):  # nobody rules on what was refused
        fields["keys"] = (*told.keys, data.dedup_key)
        desk.by_key[data.dedup_key] = told.incident
    if data.effect is not None:
        place, end = f"{data.topic}/{data.partition}", data.last_offset + 1
        if told.effect is None or data.effect.strictness > told.effect.strictness:
            fields["effect"] = data.effect
        fields["through"] = {**told.through, place: max(end, told.through.get(place, 0))}
        places = [Position(topic=data.topic, partition=data.partition, offset=one) for one in data.sample[:20]]
        fields["sample"] = gather(told.incident, told.sample, places)
        if data.effect is Effect.HOLD and gated(desk, data):
            live.hold(place, end, data.count, read_ms, data.held or data.sample)
    desk.state.update(live, **fields)
    waits(desk, live)
    if event.source.endswith("/monitor") and data.dedup_key not in live.monitors:
        live.monitors = (*live.monitors, data.dedup_key)
    if data.dedup_key in live.monitors:
        _listen(desk, live)


def gated(desk: Desk, data: FlagData) -> bool:
    """Whether what is flagged as held really is: its model was in the path. A flag that does not say so goes by what is now."""
    if data.mode is not None:
        return data.mode is Mode.GATE
    configuration = desk.desks.configuration
    model = configuration.models.get(parse(data.dedup_key).model or "")
    if model is None and configuration.undeclared is not None:
        model = configuration.models[configuration.undeclared]
    return model is not None and model.mode is Mode.GATE


def waits(desk: Desk, live: Live) -> None:
    """How many held decisions wait, and by when they need an answer."""
    (held, since), before = live.waiting(), live.waits_since_ms
    desk.state.update(live, held=held)
    if since != before:
        live.waits_since_ms = since
        due_by(desk, live)


def due_by(desk: Desk, live: Live) -> None:
    """The deadline of what waits, from when the first of it began to wait.

    Never one that has passed already, as a new configuration or chain could make it: that counts from now, since nobody
    was told of it. One that people were told of and that is still to come is not put off by that.
    """
    chain, since, stands = desk.chain(live), live.waits_since_ms, live.data.deadline_ms
    due = since + round(chain.deadline * 1000) if chain.deadline is not None and since is not None else None
    if due is not None and due != stands and due <= desk.now_ms:
        anew = desk.now_ms + round((chain.deadline or 0) * 1000)
        due = min(anew, stands) if stands is not None and stands > desk.now_ms else anew
    if stands != due:
        desk.state.update(live, deadline_ms=due)


# -- signals -----------------------------------------------------------------------------------------------------------


def key_of_signal(data: SignalData) -> str:
    """The dedup_key of the flags that accompany a signal (as agents/monitor/agent.py makes them)."""
    where = " ".join(part for part in (data.segment, data.group) if part) or None
    return dedup_key(data.monitor, data.model, None if data.scope == "model" else data.version, where)


def signal(desk: Desk, key: str, heard: Heard | None) -> None:
    """A signal changed, or was withdrawn (None)."""
    before = desk.signals.get(key)
    if heard is None:
        desk.signals.pop(key, None)
    else:
        desk.signals[key] = heard
    if (before is not None and before.loud) is (heard is not None and heard.loud) and before is not None:
        return
    live = desk.state.find(desk.by_key.get(key))
    if live is None or not live.open or key not in live.monitors:
        return
    was = live.quiet_ms
    _listen(desk, live)
    if live.quiet_ms is not None and was is None:
        desk.write(
            live, "calmed", said="the alarm ended" if live.data.labels.get("status") == "alarm" else "the warning ended"
        )
    elif was is not None and live.quiet_ms is None and before is not None:
        desk.write(live, "worsened", said="it is back")
    else:
        live.dirty = True  # its flag was read before it: nothing that people act on
    timing.plan(desk, live)


def _listen(desk: Desk, live: Live) -> None:
    """Since when all of its monitors are quiet; only where every one of its keys is a monitor's."""
    live.loud = tuple(key for key in live.monitors if (found := desk.signals.get(key)) is not None and found.loud)
    calm = not live.loud and len(live.monitors) == len(live.data.keys)
    live.quiet_ms = (live.quiet_ms if live.quiet_ms is not None else desk.now_ms) if calm else None
    heard = next((desk.signals[key] for key in live.monitors if key in desk.signals), None)
    if heard is not None and live.data.signal is None:
        desk.state.update(live, signal=heard.source)
    desk.state.touched.add(live.data.incident)


# -- dead channels -----------------------------------------------------------------------------------------------------


def _lost(desk: Desk, live: Live, event: Flag, *, only_these: bool) -> None:
    """What a channel did not deliver is told by another one. `only_these`: it works for others, so it is not dead, and each
    channel is tried once for these people.
    """
    labels, channel = event.data.labels, _channel(event)
    lost = desk.state.find(labels.get("incident"))
    if lost is None or not lost.open or lost is live:
        return
    case = replace(desk.situation(lost), elsewhere=True)
    if only_these:
        case = replace(case, dead={*case.dead, *lost.reached, channel})
    people = lost.reached.get(channel, []) if only_these else lost.reached.pop(channel, [])
    if timing.muted(desk, lost):
        desk.write(lost, "told", said=f"a message by {channel} did not arrive; it is muted, so nobody is told again")
        return
    told = again(desk.desks, people or lost.data.with_, not people, case)
    said = f"a message by {channel} did not arrive; {timing.words(told)}"
    why = f"{channel} does not {'reach somebody' if only_these else 'deliver'}, so this comes by another way"
    desk.write(
        lost,
        "told",
        said=said,
        send=[("trigger", told, (why,))],
        told=timing.merged(lost.data.told, told.people),
    )
    timing.plan(desk, lost)


def _channel(event: Flag) -> str:
    return event.data.labels.get("channel") or parse(event.data.dedup_key).cause.partition("/")[2]
