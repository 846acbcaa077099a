"""Attacks on a held incident: none takes effect, each is recorded with its reason, and the real answer counts."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dsse import Private
from agents.people_events import REVIEW_KIND, IncidentData, Review, ReviewData, shown_digest
from tests.unit.escalation.lane import HOUR, KEYS, Lane, declared, flag

NUMBERS = itertools.count()
CONSOLE, OLD = Private(b"c" * 32), Private(b"o" * 32)
OTHERS = {
    "string": "something else",
    "number": 7,
    "boolean": True,
    "list": [],
    "object": {},
}


def lane(**more: Any) -> Lane:
    """Three decisions held, an incident of the team credit, a console beside people's own keys."""
    configuration = declared(console_keys={"main": CONSOLE.public.text}, **more)
    return Lane(configuration).flags(flag(count=3, severity="error")).wait(6)


def signed(data: dict[str, Any], key: Private, source: str = "/gim/elsewhere") -> bytes:
    review = Review(id=f"01JQ{next(NUMBERS)}", source=source, data=ReviewData.model_validate(data))
    material = base64.b64encode(key.sign(REVIEW_KIND, review.statement()).encode()).decode()
    return review.model_copy(update={"dssematerial": material}).model_dump_json(exclude_none=True).encode()


def approval(incident: IncidentData, person: str = "bob", **more: Any) -> dict[str, Any]:
    known = {"incident": incident.incident, "shown": shown_digest(incident), "through": incident.through}
    return {"action": "approve", "person": person, "reason": "as I see it", **known, **more}


def altered(value: Any) -> Iterator[Any]:
    """A JSON value with one thing in it changed, for each thing in it, and with each key left out."""
    if isinstance(value, dict):
        for key in value:
            yield {name: one for name, one in value.items() if name != key}
            for inner in altered(value[key]):
                yield {**value, key: inner}
    elif isinstance(value, list):
        yield [*value, "more"]
    else:
        yield from (other for other in OTHERS.values() if type(other) is not type(value) or other != value)


def attacks(incident: IncidentData) -> dict[str, bytes]:
    """Every kind of a false answer to one incident, by what it is."""
    good = approval(incident)
    return {
        "no session": signed(approval(incident, "cy"), CONSOLE),
        "another's session": signed(approval(incident, "cy", login="sha256:5e55"), KEYS["bob"]),
        "another's key": signed(approval(incident, "bob"), KEYS["ann"]),
        "a made-up name": signed(approval(incident, "mallory", login="sha256:5e55"), CONSOLE),
        "an expired link": signed({**good, "not_after_ms": 1}, KEYS["bob"]),
        "an old key": signed(good, OLD),
        "no signature": Review(id="x", source="/gim/x", data=ReviewData.model_validate(good))
        .model_dump_json()
        .encode(),
        "another team": signed(approval(incident, "dee"), KEYS["dee"]),
        "another deployment": signed(good, KEYS["bob"], source="/bank/bob"),
        "stale": signed({**good, "shown": "sha256:" + "0" * 64}, KEYS["bob"]),
        "beyond what was flagged": signed({**good, "through": {"gim.decisions/0": 10**9}}, KEYS["bob"]),
        "another incident": signed({**good, "incident": "0000-0000"}, KEYS["bob"]),
        "without a reason": signed({**good, "reason": ""}, KEYS["bob"]),
    }


def test_no_false_answer_takes_effect_and_each_is_recorded_with_its_reason() -> None:
    world = lane()
    shown, history = world.one, len(world.history)
    for number, (name, value) in enumerate(attacks(shown).items(), 1):
        world.step(reviews=[value])
        assert world.rulings == [], name
        assert len(world.refusals) == number, name
        assert len(world.refusals[-1]["detail"]) > 20, name
        assert world.refusals[-1]["review"]["offset"] == number - 1
    assert len(world.history) == history
    assert world.one == shown
    reasons = [one["reason"] for one in world.refusals]
    assert reasons == [
        "no-login",
        "unknown-key",
        "unknown-key",
        "unknown-person",
        "expired",
        "unknown-key",
        "unsigned",
        "other-team",
        "malformed",
        "stale",
        "out-of-scope",
        "unknown-incident",
        "no-reason",
    ]
    world.answer("bob", "approve", shown)
    assert len(world.rulings) == 1


def test_nothing_of_a_signed_answer_can_be_changed_on_its_way() -> None:
    world = lane()
    good = json.loads(world.signed("bob", "approve", world.one))
    forged = [one for one in altered(good) if spelled_out(one) != good]
    assert len(forged) > 60
    for one in forged:
        before = len(world.refusals)
        world.step(reviews=[json.dumps(one).encode()])
        assert len(world.refusals) == before + 1, one
        assert world.refusals[-1]["reason"] in ("malformed", "unsigned", "unknown-key", "bad-signature"), one
    assert world.rulings == []
    world.step(reviews=[json.dumps(good).encode()])
    assert len(world.rulings) == 1


def test_an_answer_sent_again_counts_once_also_after_a_restart() -> None:
    world = lane()
    good = world.signed("bob", "approve", world.one)
    world.step(reviews=[good, good]).restart().step(reviews=[good])
    assert len(world.rulings) == 1
    assert [one["reason"] for one in world.refusals] == ["repeated", "repeated"]


def test_of_two_at_once_the_first_counts_and_the_second_is_told() -> None:
    world = lane()
    first, second = (
        world.signed(person, action, world.one) for person, action in (("bob", "reject"), ("cy", "approve"))
    )
    world.step(reviews=[first, second])
    (ruling,) = world.rulings
    assert ruling.people == ("bob",)
    assert [one["reason"] for one in world.refusals] == ["already-ruled"]
    assert "rejected by bob" in world.refusals[0]["detail"]


@pytest.mark.parametrize("at_deadline", ["release", "withhold"])
def test_an_answer_after_the_deadline_changes_nothing(at_deadline: str) -> None:
    world = lane(chains={"default": {"deadline": "1h", "at_deadline": at_deadline}})
    shown = world.one
    good = world.signed("bob", "approve", shown)
    world.wait(HOUR / 1000 + 60).step(reviews=[good])
    (ruling,) = world.rulings
    assert ruling.people == ()
    assert [one["reason"] for one in world.refusals] == ["late"]


def test_whoever_asked_for_it_cannot_answer_it() -> None:
    world = Lane(declared()).flags(flag(count=1, labels={"requester": "bob"})).wait(6)
    world.answer("bob", "approve", world.one)
    assert world.rulings == []
    assert [one["reason"] for one in world.refusals] == ["requester"]
    world.answer("cy", "approve", world.one)
    assert len(world.rulings) == 1


def spelled_out(one: Any) -> Any:
    """What leaving out a field that has its default anyway means."""
    if not isinstance(one, dict) or not isinstance(one.get("data"), dict):
        return one
    data = {"opened": [], "shown_ms": 0.0, **one["data"]}
    return {"specversion": "1.0", "type": "governance.review.v1", **one, "data": data}


ANSWERS_OF_PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cy", "dee"]),
        st.sampled_from(["approve", "reject", "edit", "respond", "acknowledge"]),
        st.sampled_from([None, 0, 1, 2]),  # all of them, or a single one
        st.booleans(),  # on what was shown at first, or now
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(given_answers=ANSWERS_OF_PEOPLE, needed=st.integers(1, 3), restarts=st.sets(st.integers(0, 11)))
def test_whoever_answers_what_in_which_order_each_decision_is_ruled_once_by_enough_people(
    given_answers: list[tuple[str, str, int | None, bool]], needed: int, restarts: set[int]
) -> None:
    world = lane(chains={"default": {"quorum": {"people": needed}}})
    first = world.one
    for number, (person, action, item, old) in enumerate(given_answers):
        more: dict[str, Any] = {"edit": {"label": "approve"}} if action == "edit" else {}
        more |= {"response": "why?"} if action == "respond" else {}
        if item is not None and action != "acknowledge":
            more |= {"items": [{"topic": "gim.decisions", "partition": 0, "offset": item}], "through": {}}
        world.answer(person, action, first if old else world.one, **more)
        if number in restarts:
            world.restart()
    ruled: dict[int, int] = {}
    for ruling in world.rulings:
        if ruling.effect.value == "hold":
            continue
        offsets = range(3) if ruling.items is None else [one.offset for one in ruling.items]
        for offset in offsets:
            ruled[offset] = ruled.get(offset, 0) + 1
        assert len(set(ruling.people)) == len(ruling.people) == len(ruling.reviews)
        assert len(ruling.people) >= (1 if ruling.resolution.value == "rejected" else needed)
        assert set(ruling.people) <= {"ann", "bob", "cy"}  # dee is of another team
    single = {one.offset for ruling in world.rulings if ruling.items is not None for one in ruling.items}
    assert all(times == 1 for offset, times in ruled.items() if offset not in single)
    assert all(times <= 2 for times in ruled.values())  # a whole answer says again what was said of single ones
    assert len(world.rulings) + len(world.refusals) <= len(given_answers)
