"""What time does to an incident: steps of its chain, repeats, deadlines, the end of silences and of alarms.

Promise: each thing happens once, in the order of its time; what is overdue after a downtime happens once, not as often as
it would have, and says how late it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agents.escalation.declared import Chain, Step
from agents.escalation.desk import LATE_MS, Desk
from agents.escalation.incidents import Live
from agents.escalation.messages import counted, lasting, listed
from agents.escalation.rights import may_rule
from agents.escalation.telling import Told, tell
from agents.events import Effect
from agents.people_events import Change, Resolution, RulingData, Status

GRACE_MS = 2_000
"""So long after a deadline answers that were given before it are still read: topics reach a lane in any order."""
GROWTH_MS = (1_000, 5_000, 30_000, 300_000)
"""An incident whose counts alone change is written at most so often: at first, soon, later while decisions wait, else."""


def plan(desk: Desk, live: Live) -> None:
    """Put what comes next of an incident on the agenda; to be called after whatever changed it."""
    desk.plan(live, following(desk, live))


def following(desk: Desk, live: Live) -> tuple[int, str] | None:
    """When something is due next, and what; the first of this order where several are at the same time."""
    found: list[tuple[int, str]] = []
    data, chain = live.data, desk.chain(live)
    if live.open:
        if data.deadline_ms is not None:
            found.append((data.deadline_ms + GRACE_MS, "deadline"))
        if data.statutory_ms is not None and not live.warned:
            found.append((data.statutory_ms - _ms(chain.warn_before), "warning"))
        if data.statutory_ms is not None and not live.lapsed:
            found.append((data.statutory_ms, "lapse"))
        quiet = desk.desks.declared.resolve_after
        if live.quiet_ms is not None and quiet and not data.held:
            found.append((live.quiet_ms + _ms(quiet), "quiet"))
        if data.silenced_by is not None:
            silence = desk.state.silences.get(data.silenced_by)
            found.append((silence.data.ends_ms if silence is not None else desk.now_ms, "unmute"))
        if not live.muted:
            found += _chain(desk, live, chain)
            found += [(desk.desks.opens(team, desk.now_ms), f"opening {team}") for team in live.at_open]
    if live.dirty:
        found.append((live.written_ms + pause(live), "growth"))
    return min(found, key=lambda one: one[0], default=None)


def _chain(desk: Desk, live: Live, chain: Chain) -> list[tuple[int, str]]:
    """The next step, or the next repeat of the last one."""
    if not desk.desks.staffed or not (live.data.status is Status.TRIGGERED or live.insisting):
        return []
    found = []
    for number in live.left:
        if number < len(chain.steps):
            step = chain.steps[number]
            due = live.base_ms + max(_ms(step.after), _ms(chain.group_wait))
            due = desk.desks.opens(live.data.team, due) if step.only_when_open else due
            found.append((due, f"step {number}"))
    if not found and chain.repeat_interval:
        due = live.repeated_ms + _ms(chain.repeat_interval)
        last = chain.steps[-1]
        found.append((desk.desks.opens(live.data.team, due) if last.only_when_open else due, "repeat"))
    return [min(found, key=lambda one: one[0])] if found else []


def pause(live: Live) -> int:
    """How long counts alone wait for a record: a share of the incident's age.

    Somebody who looks at once sees nearly all there is; what lasts for weeks stays small.
    """
    least, soon, waiting, most = GROWTH_MS
    age = live.written_ms - live.data.opened_ms
    return min(max(least, min(soon, age // 4), age // 20), waiting if live.data.held else most)


def fire(desk: Desk, live: Live, what: str, due_ms: int) -> None:
    """Do what is due."""
    if what == "growth":
        desk.write(live, "grew", said=grown(live))
    elif what == "deadline":
        deadline(desk, live, due_ms - GRACE_MS)
    elif what == "warning":
        live.warned = True
        restart(desk, live)
        left = max(0, (live.data.statutory_ms or 0) - desk.now_ms)
        _step(
            desk, live, 0, due_ms, ("overdue",), f"{lasting(left)} until the statutory deadline: the chain starts again"
        )
    elif what == "lapse":
        live.warned = live.lapsed = True
        told = Told() if muted(desk, live) else desk.present(live)
        send = [("overdue", told, ("The statutory deadline has passed",))]
        desk.write(live, "overdue", said="the statutory deadline has passed", due_ms=due_ms, send=send)
    elif what == "quiet":
        since = lasting(desk.now_ms - (live.quiet_ms or 0))
        resolve(desk, live, None, f"its alarm ended {since} ago", due_ms=due_ms)
    elif what == "unmute":
        unmute(desk, live, due_ms)
    elif what.startswith("opening "):
        opening(desk, live, what.removeprefix("opening "))
    elif what == "repeat":
        _step(desk, live, len(desk.chain(live).steps) - 1, due_ms, ("told",), "")
    else:
        number = int(what.removeprefix("step "))
        _step(desk, live, number, due_ms, ("escalated",) if number else ("told",), "")


def opening(desk: Desk, live: Live, team: str) -> None:
    """A team's business opens: it hears what triage said of the incident outside its hours."""
    live.at_open = tuple(one for one in live.at_open if one != team)
    if muted(desk, live):
        return
    own = team == live.data.team
    told = desk.present(live) if own else tell(desk.desks, Step(tell=(f"team:{team}",)), desk.situation(live))
    desk.write(
        live,
        "told",
        said=f"business opens for {team}; {words(told)}",
        send=[("escalate", told, tuple(told.passed.values()))],
        told=merged(live.data.told, told.people),
        with_=merged(live.data.with_, told.people),
    )


def first_step(desk: Desk, live: Live) -> tuple[Told | None, str]:
    """Take the first step at once where it is due at the trigger; whom it tells, and the timeline's words for it."""
    due = _chain(desk, live, desk.chain(live))
    if not due or due[0][0] > desk.now_ms or not due[0][1].startswith("step "):
        return None, ""
    return _take(desk, live, int(due[0][1].removeprefix("step ")))


def _step(desk: Desk, live: Live, number: int, due_ms: int, changes: tuple[Change, ...], said: str) -> None:
    """Tell whom a step names, unless a silence began since."""
    if live.muted:
        desk.write(live, *changes, said=said, due_ms=due_ms)
        return
    if mute(desk, live):
        desk.write(live, "silenced", said=muted_by(live))
        return
    repeating = number not in live.left
    told, in_words = _take(desk, live, number)
    kind = (
        "remind" if repeating and changes == ("told",) else "escalate" if number or changes != ("told",) else "trigger"
    )
    desk.write(
        live,
        *changes,
        said="; ".join(part for part in (said, in_words) if part),
        due_ms=due_ms,
        send=[(kind, told, tuple(told.passed.values()))],
        told=merged(live.data.told, told.people),
        with_=merged(live.data.with_, told.people) if number and not repeating else tuple(told.people),
    )


def _take(desk: Desk, live: Live, number: int) -> tuple[Told, str]:
    chain = desk.chain(live)
    told = tell(desk.desks, chain.steps[number], desk.situation(live))
    live.left = tuple(one for one in live.left if one > number)
    live.repeated_ms = desk.now_ms
    desk.state.update(live, step=number)
    return told, words(told)


def words(told: Told) -> str:
    """`told ann by mail; bob has 25 open items, so it goes to ann`."""
    parts = [f"told {listed(people)} by {channel}" for channel, people in told.messages.items()]
    parts += [f"told {channel}" for channel in told.rooms]
    parts += list(told.passed.values())
    if told.unreached:
        parts.append(f"no channel reaches {listed(told.unreached)}")
    return "; ".join(parts) or "there is nobody to tell"


def merged(before: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    """Those before, then whoever is new."""
    return tuple(dict.fromkeys((*before, *more)))


def grown(live: Live) -> str:
    """The counts in words."""
    data = live.data
    waiting = f", {data.held:,} wait" if data.held else ""
    return f"{data.count:,} so far{waiting}"


# -- deadlines ---------------------------------------------------------------------------------------------------------


def deadline(desk: Desk, live: Live, due_ms: int) -> None:
    """Release, withhold or escalate what is held, as the chain says."""
    chain, data = desk.chain(live), live.data
    if chain.at_deadline is None or chain.deadline is None or not data.held:
        desk.write(live, "grew", said="nothing waits for the deadline any more", deadline_ms=None)
        return
    if chain.at_deadline == "escalate":
        renewed, length = due_ms, max(1, _ms(chain.deadline))
        renewed += ((desk.now_ms - renewed) // length + 1) * length
        desk.state.update(live, deadline_ms=renewed)
        restart(desk, live)
        _step(desk, live, 0, due_ms, ("overdue", "escalated"), "no answer by the deadline: the chain starts again")
        return
    effect = Effect.ALLOW if chain.at_deadline == "release" else Effect.BLOCK
    late = max(0, desk.now_ms - due_ms)
    whole = RulingData(
        incident=data.incident,
        resolution=Resolution.EXPIRED,
        effect=effect,
        keys=data.keys,
        through=data.through,
        reason=f"no answer by the deadline; the chain {data.chain} says {chain.at_deadline}",
        late_ms=late if late > LATE_MS else 0,
    )
    case, against = live.case(chain), [one for one in live.votes if one.action == "reject"]
    rejected = [one for one in against if effect is Effect.ALLOW and may_rule(one.person, case, desk.desks.declared)]
    for vote in rejected:
        reason = f"{vote.person} rejected them, and nobody else did by the deadline"
        fields = {"effect": Effect.BLOCK, "through": vote.through, "items": vote.items, "reason": reason}
        desk.rule(live, whole.model_copy(update=fields))
    left, _ = live.waiting()
    desk.rule(live, whole)
    what = "released" if effect is Effect.ALLOW else "withheld"
    but = f"; what {listed(dict.fromkeys(one.person for one in rejected))} rejected is withheld" if rejected else ""
    said = f"no answer by the deadline: {counted(left, 'held decision')} {'is' if left == 1 else 'are'} {what}{but}"
    resolve(desk, live, Resolution.EXPIRED, said, "resolved", "overdue", due_ms=due_ms)


def restart(desk: Desk, live: Live) -> None:
    """The chain counts from now, whoever has acknowledged."""
    live.base_ms, live.insisting = desk.now_ms, True
    live.left = tuple(range(len(desk.chain(live).steps)))
    desk.state.update(live, acknowledged_by=None, acknowledged_ms=None)  # so that somebody can take it again


def resolve(
    desk: Desk,
    live: Live,
    resolution: Resolution | None,
    said: str,
    *changes: Change,
    by: str | None = None,
    due_ms: int | None = None,
) -> None:
    """End an incident; those that it stood for speak for themselves from now on."""
    narrower = desk.inhibited(live)
    live.left, live.insisting, live.at_open, live.votes = (), False, (), ()
    desk.state.update(live, held=0 if resolution is not None else live.data.held)
    desk.resolve(live, resolution, said, *changes, by=by, due_ms=due_ms)
    plan(desk, live)
    for one in narrower:
        unmute(desk, one, desk.now_ms)
        plan(desk, one)


# -- muting ------------------------------------------------------------------------------------------------------------


def mute(desk: Desk, live: Live) -> bool:
    """Mute it where a wider incident or a silence says so; True where it is muted now and was not before."""
    wider, silence = desk.wider(live), desk.state.silenced(live.data)
    named = (wider.data.incident if wider is not None else None, silence.id if silence is not None else None)
    desk.state.update(live, inhibited_by=named[0], silenced_by=named[1])
    if named == (None, None) or live.muted:
        return False
    live.paused_ms = desk.now_ms
    return True


def muted(desk: Desk, live: Live) -> bool:
    """Whether nobody may be told now; what began to mute it since, or does not any more, is taken note of.

    A silence of warnings mutes no error, and a wider incident stands for none that is worse: an incident may outgrow both.
    """
    if not live.muted:
        mute(desk, live)
    elif desk.wider(live) is None and desk.state.silenced(live.data) is None:
        unmute(desk, live, desk.now_ms)
    return live.muted


def muted_by(live: Live) -> str:
    """Why nobody is told, for the timeline."""
    if live.data.inhibited_by is not None:
        return f"the wider incident {live.data.inhibited_by} stands for it"
    return f"silenced by {live.data.silenced_by}"


def unmute(desk: Desk, live: Live, due_ms: int) -> None:
    """What muted it is over: unless something else does, the chain goes on where it stopped."""
    was = live.data
    wider, silence = desk.wider(live), desk.state.silenced(live.data)
    changes: Change = "inhibited" if was.inhibited_by is not None else "silenced"
    fields: dict[str, Any] = {
        "inhibited_by": wider.data.incident if wider is not None else None,
        "silenced_by": silence.id if silence is not None else None,
    }
    if wider is not None or silence is not None:
        if fields != {"inhibited_by": was.inhibited_by, "silenced_by": was.silenced_by}:
            desk.write(live, changes, said="still muted by another", due_ms=due_ms, **fields)
        return
    since, now = live.paused_ms if live.paused_ms is not None else desk.now_ms, desk.now_ms
    # A chain that began anew meanwhile has waited from there on, not from when messages were muted.
    live.base_ms += max(0, now - max(since, live.base_ms))
    live.repeated_ms, live.paused_ms = live.repeated_ms + now - since, None
    desk.write(live, changes, said="no longer muted", due_ms=due_ms, **fields)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
