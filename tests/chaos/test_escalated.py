"""The escalation lane killed at every point loses and doubles nothing; and the outsider who says so sees what it must."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestration.kill_points import POINTS, Point
from orchestration.local_kafka import LocalKafka
from tests.chaos import escalated, escalation_campaign
from tests.chaos.checker import Seen
from tests.unit.escalation.lane import Lane, flag

Topics = dict[str, list[Seen]]


@pytest.fixture(scope="module")
def whole() -> Topics:
    """What the lane writes of three causes, of which one is answered twice, one acknowledged, one told on."""
    lane = Lane(escalation_campaign.configuration())
    sent: list[bytes] = []
    for number in range(9):
        sent.append(flag(f"lending/r{number % 3}", count=4, first=4 * number))
        lane.flags(sent[-1])
    lane.wait(6)
    first, second, _ = lane.incidents.values()
    reviews = []
    for person, action, incident in (
        ("bob", "approve", first),
        ("cy", "reject", first),
        ("bob", "acknowledge", second),
    ):
        reviews.append(lane.signed(person, action, incident))
        lane.step(reviews=[reviews[-1]])
    lane.wait(30)
    topics = {name: lane.written[name] for name in ("incidents", "rulings", "notifications")}
    topics |= {"flags": [(None, one, ()) for one in sent], "reviews": [(None, one, ()) for one in reviews]}
    return {
        name: [Seen(0, at, key, value, tuple(headers)) for at, (key, value, headers) in enumerate(found)]
        for name, found in topics.items()
    }


def test_what_the_lane_writes_is_whole(whole: Topics) -> None:
    assert escalated.check(whole) == []
    assert len(whole["rulings"]) == 2
    assert len(whole["notifications"]) == 5, "three triggers, one end, one step further"


def test_every_broken_promise_is_named(whole: Topics) -> None:
    def said(name: str, change: Callable[[list[Seen]], list[Seen]]) -> set[tuple[str, str]]:
        return {(one.kind, one.where.split()[0]) for one in escalated.check({**whole, name: change(whole[name])})}

    assert ("lost", "flags") in said("flags", lambda all_: [*all_, all_[0]])
    assert ("doubled", "flags") in said("flags", lambda all_: all_[1:])
    assert ("lost", "incident") in said("incidents", lambda all_: [one for one in all_ if _revision(one) != 1])
    assert ("doubled", "incident") in said("incidents", lambda all_: [*all_, all_[-1]])
    assert ("lost", "incidents") in said("incidents", lambda all_: all_[1:])
    assert ("lost", "review") in said("rulings", lambda all_: all_[:1])
    assert ("doubled", "review") in said("rulings", lambda all_: [*all_, all_[0]])
    assert ("doubled", "ruling") in said("rulings", lambda all_: [*all_, all_[0]])
    assert ("lost", "notification") in said("notifications", lambda all_: all_[:-1])
    assert ("lost", "incident") in said("notifications", lambda all_: all_[1:])
    assert ("doubled", "notification") in said("notifications", lambda all_: [*all_, all_[0]])
    assert ("unknown", "notification") in said(
        "notifications", lambda all_: [*all_, _changed(all_[0], id="x/7/mail/0")]
    )


def _revision(one: Seen) -> int:
    return int(json.loads(one.value or b"")["data"]["revision"])


def _changed(one: Seen, **fields: Any) -> Seen:
    return replace(one, value=json.dumps({**json.loads(one.value or b""), **fields}).encode())


async def _campaign(
    broker: LocalKafka, folder: Path, prefix: str, hits: int, at_least: int, points: tuple[Point, ...]
) -> None:
    settings = await escalation_campaign.prepare(broker, folder, prefix)
    result = await escalation_campaign.run(settings, hits, rate=100, at_least=at_least, points=points, show=True)
    print(result.table())
    assert result.problems == []
    assert result.hits == dict.fromkeys(points, hits)
    assert result.aborted > 0, "no aborted transaction was seen"
    assert min(result.flags, result.incidents, result.again) > 0


async def test_no_incident_is_lost_or_doubled_whatever_dies_around_a_commit(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    await _campaign(broker, tmp_path, prefix, 1, 0, ("half-written", "committing"))


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_three_kills_at_each_point_lose_and_double_no_incident_ruling_or_message(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    await _campaign(broker, tmp_path, prefix, 3, 5_000, POINTS)
