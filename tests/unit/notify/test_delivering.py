"""Attempts: repeated with pauses, given up at last, one channel never waiting for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from orchestration.notify.delivering import AT_ONCE, Delivering, Patience, Result
from orchestration.notify.errand import Sent
from orchestration.notify.faults import NotSent, Undeliverable, Unreachable
from orchestration.notify.outbox import Entry, Outbox
from tests.unit.notify.parts import record

QUICK = Patience(attempts=3, within_s=5, first_s=0.01, longest_s=0.02)


async def worked_off(
    outbox: Outbox, send: Callable[[Entry], Awaitable[Sent]], count: int, patience: Patience = QUICK
) -> list[Result]:
    """Results of an outbox, once so many are final."""
    delivering = Delivering(outbox, send, lambda down: patience)
    found: list[Result] = []
    until = time.monotonic() + 10
    while sum(one.outcome != "retrying" for one in found) < count:
        delivering.wake()
        await delivering.wait(0.05)
        found += delivering.take()
        assert time.monotonic() < until, found
    await delivering.end(0)
    return found


def outbox_of(*said: tuple[str, str, str]) -> Outbox:
    """An outbox with (incident, kind, channel) in order."""
    outbox = Outbox()
    for offset, (incident, kind, channel) in enumerate(said):
        outbox.see(record(offset, incident, kind, channel), known=False)
    return outbox


async def test_a_fault_that_passes_is_tried_again_and_each_attempt_told() -> None:
    tries: list[float] = []

    async def send(entry: Entry) -> Sent:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise NotSent("answered 500")
        return Sent("fine")

    found = await worked_off(outbox_of(("a", "trigger", "chat")), send, 1)
    assert [(one.outcome, one.attempts) for one in found] == [("retrying", 1), ("retrying", 2), ("sent", 3)]
    assert found[0].detail == "answered 500"
    assert found[-1].detail == "fine"


async def test_after_the_last_attempt_it_is_given_up_and_the_channel_is_down_until_it_works() -> None:
    async def refuse(entry: Entry) -> Sent:
        raise NotSent("answered 500")

    outbox = outbox_of(("a", "trigger", "chat"))
    delivering = Delivering(outbox, refuse, lambda down: Patience(1, 1, 0, 0) if down else QUICK)
    delivering.wake()
    while "chat" not in delivering.down:
        assert set(delivering.troubled) <= {"chat"}
        await delivering.wait(0.05)
        results = delivering.take()
    assert (results[-1].outcome, results[-1].attempts, results[-1].detail) == ("failed", 3, "answered 500")
    outbox.see(record(1, "b"), known=False)
    delivering.wake()
    await asyncio.sleep(0.05)
    assert [(one.outcome, one.attempts) for one in delivering.take()] == [("failed", 1)], (
        "a dead channel is not asked long"
    )

    async def well(entry: Entry) -> Sent:
        return Sent()

    delivering.send = well
    outbox.see(record(2, "c"), known=False)
    delivering.wake()
    await asyncio.sleep(0.05)
    assert delivering.down == delivering.troubled == {}


async def test_what_cannot_be_mended_by_waiting_is_given_up_at_once() -> None:
    async def send(entry: Entry) -> Sent:
        raise Undeliverable("there is no secret 'bot'")

    found = await worked_off(outbox_of(("a", "trigger", "chat")), send, 1)
    assert [(one.outcome, one.attempts) for one in found] == [("failed", 1)]


async def test_people_whom_a_channel_does_not_reach_do_not_make_it_a_dead_one() -> None:
    async def send(entry: Entry) -> Sent:
        raise Unreachable("Slack refuses: user_not_found")

    delivering = Delivering(outbox_of(("a", "trigger", "chat")), send)
    delivering.wake()
    await delivering.wait(1)
    (result,) = delivering.take()
    assert (result.outcome, result.attempts, result.missed) == ("failed", 1, 1)
    assert delivering.down == {}


async def test_a_channel_that_hangs_delays_no_other_and_is_asked_by_few_at_once() -> None:
    hanging, most, sent = 0, 0, []

    async def send(entry: Entry) -> Sent:
        nonlocal hanging, most
        if entry.data.channel == "mail":
            hanging += 1
            most = max(most, hanging)
            await asyncio.sleep(30)
        sent.append(entry.data.incident)
        return Sent()

    said = [(f"i{n}", "trigger", "mail") for n in range(20)] + [("x", "trigger", "chat")]
    began = time.monotonic()
    found = await worked_off(outbox_of(*said), send, 1)
    assert time.monotonic() - began < 1
    assert (sent, found[0].entry.data.channel) == (["x"], "chat")
    assert most == AT_ONCE


async def test_one_message_that_fails_does_not_hold_up_other_incidents_of_its_channel() -> None:
    async def send(entry: Entry) -> Sent:
        if entry.data.incident == "bad":
            raise NotSent("answered 500")
        return Sent()

    patience = Patience(attempts=100, within_s=60, first_s=0.5, longest_s=1)
    found = await worked_off(outbox_of(("bad", "trigger", "chat"), ("good", "trigger", "chat")), send, 1, patience)
    assert [one.entry.data.incident for one in found if one.outcome == "sent"] == ["good"]


async def test_a_channel_that_asks_for_quiet_gets_it_from_every_line() -> None:
    tries: list[tuple[str, float]] = []

    async def send(entry: Entry) -> Sent:
        tries.append((entry.data.incident, time.monotonic()))
        if len(tries) == 1:
            raise NotSent("answered 429", after_s=0.4)
        return Sent()

    outbox = outbox_of(("a", "trigger", "chat"))
    delivering = Delivering(outbox, send, lambda down: QUICK)
    delivering.wake()
    await asyncio.sleep(0.05)
    outbox.see(record(1, "b"), known=False)
    delivering.wake()
    await asyncio.sleep(0.6)
    assert sorted(incident for incident, _at in tries) == ["a", "a", "b"]
    assert min(at for _incident, at in tries[1:]) - tries[0][1] >= 0.39


async def test_a_resolve_that_overtakes_an_unsent_trigger_cancels_both() -> None:
    async def send(entry: Entry) -> Sent:
        raise NotSent("answered 500")

    patience = Patience(attempts=100, within_s=60, first_s=0.05, longest_s=0.05)
    outbox = outbox_of(("a", "trigger", "chat"))
    delivering = Delivering(outbox, send, lambda down: patience)
    delivering.wake()
    await asyncio.sleep(0.1)
    outbox.see(record(1, "a", "resolve"), known=False)
    until = time.monotonic() + 5
    found: list[Result] = []
    while len(outbox) and time.monotonic() < until:
        await delivering.wait(0.05)
        found += delivering.take()
    found += delivering.take()
    assert [one.outcome for one in found if one.outcome != "retrying"] == ["skipped", "skipped"]


async def test_a_trigger_goes_out_before_its_acknowledgement_however_long_it_takes() -> None:
    sent: list[str] = []

    async def send(entry: Entry) -> Sent:
        if entry.data.kind == "trigger" and entry.attempts < 3:
            raise NotSent("answered 500")
        sent.append(entry.data.kind)
        return Sent()

    await worked_off(outbox_of(("a", "trigger", "chat"), ("a", "acknowledge", "chat")), send, 2)
    assert sent == ["trigger", "acknowledge"]


async def test_a_fault_of_the_program_is_not_swallowed() -> None:
    async def send(entry: Entry) -> Sent:
        raise ZeroDivisionError

    delivering = Delivering(outbox_of(("a", "trigger", "chat")), send)
    delivering.wake()
    await asyncio.sleep(0.05)
    with pytest.raises(ZeroDivisionError):
        delivering.wake()


async def test_an_end_waits_for_what_is_on_its_way_and_begins_nothing() -> None:
    began: list[str] = []

    async def send(entry: Entry) -> Sent:
        began.append(entry.data.kind)
        await asyncio.sleep(0.2)
        return Sent()

    delivering = Delivering(outbox_of(("a", "trigger", "chat"), ("a", "remind", "chat")), send)
    delivering.wake()
    await asyncio.sleep(0.05)
    await delivering.end(5)
    assert [one.outcome for one in delivering.take()] == ["sent"]
    assert began == ["trigger"]
