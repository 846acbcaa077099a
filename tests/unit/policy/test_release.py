"""What rulings make of held decisions: the same in whatever order they are seen, and nothing released without leave."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.policy import release as release_module
from agents.policy.flags import dedup_key
from agents.policy.release import Release
from agents.policy.ruled import BadRuling, Ruled, ruled_of
from agents.records import Plain

RULES = ("p/a", "p/b", "p/c")
TOPIC = "gim.decisions"


def key(rule: str, version: str = "1") -> str:
    return dedup_key(rule, "loan", version)


def holding(at: int, held_at: int, rules: Sequence[str], more: bool = False, topic: str = TOPIC) -> Plain:
    """A record of `held`."""
    causes = {"model": "loan", "version": "1", "rules": list(rules)} | ({"more": True} if more else {})
    headers = (("govern-verdict", b"x"), ("govern-causes", json.dumps(causes).encode()))
    return Plain("gim.held", 0, held_at, 0, f"{topic}/0/{at}".encode(), b"{}", headers)


def ruling(at: int, rules: Sequence[str], effect: str = "allow", **more: object) -> Plain:
    """A record of `rulings`."""
    resolution = {"allow": "approved", "block": "rejected", "hold": "responded"}[effect]
    data = {"incident": "7f29-k1mq", "resolution": resolution, "effect": effect, "keys": [key(one) for one in rules]}
    data |= {"through": {f"{TOPIC}/0": 1_000}} | more
    event = {
        "specversion": "1.0",
        "type": "governance.ruling.v1",
        "id": f"7f29-k1mq/{at}",
        "source": "/g",
        "data": data,
    }
    return Plain("gim.rulings", 0, at, 5_000 + at, b"7f29-k1mq", json.dumps(event).encode())


def folded(records: Sequence[Plain]) -> Release:
    """Held records and rulings, in this order."""
    release = Release(0)
    for record in records:
        if record.topic == "gim.held":
            release.see([record])
        elif (ruled := ruled_of(record, 0)) is not None:
            release.rule(ruled)
    return release


def decided(release: Release) -> dict[int, str]:
    """Offset on `held` → the ruling that decides the decision, and how; everything due is taken and ended."""
    found: dict[int, str] = {}
    while (due := release.take(3)) is not None:
        assert not set(due.offsets) & found.keys(), "a decision is due once"
        found |= dict.fromkeys(due.offsets, f"{due.ruled.action} by {due.ruled.id}")
        release.end(TOPIC, [offset - 100 for offset in due.offsets])
    assert release.due == 0
    return found


def by_hand(held: Sequence[Plain], rulings: Sequence[Plain]) -> dict[int, str]:
    """The law in its plainest words: decision by decision, ruling by ruling."""
    found = {}
    for one in held:
        causes = json.loads(dict(one.headers)["govern-causes"] or b"")
        left, position = {key(rule) for rule in causes["rules"]}, int((one.key or b"").rpartition(b"/")[2])
        mine = set(left)
        for record in rulings:
            data = json.loads(record.value or b"")["data"]
            items = data.get("items")
            end = data["through"].get(f"{TOPIC}/0", 0)
            within = position < end if items is None else position in [item["offset"] for item in items]
            if not within or not mine & set(data["keys"]):
                continue
            name = f"7f29-k1mq/{record.offset}"
            if data["resolution"] == "edited":
                found[one.offset] = f"edit by {name}"
            elif data["effect"] == "block":
                found[one.offset] = f"withhold by {name}"
            elif data["effect"] == "allow":
                left -= set(data["keys"])
                if not left and not causes.get("more"):
                    found[one.offset] = f"release by {name}"
            if one.offset in found:
                break
    return found


some_rules = st.lists(st.sampled_from(RULES), min_size=1, unique=True)


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Plain], list[Plain], list[Plain]]:
    """Held records, rulings, and both interleaved at will."""
    held = [
        holding(at, at + 100, draw(some_rules), draw(st.booleans()) and draw(st.booleans()))
        for at in sorted(draw(st.sets(st.integers(0, 30), max_size=20)))
    ]
    rulings = []
    for at in range(draw(st.integers(0, 6))):
        more: dict[str, object] = {"through": {f"{TOPIC}/0": draw(st.integers(0, 31))}}
        if draw(st.booleans()):
            offsets = draw(st.lists(st.integers(0, 30), max_size=8))
            more["items"] = [{"topic": TOPIC, "partition": 0, "offset": offset} for offset in offsets]
        if draw(st.integers(0, 5)) == 0:
            more |= {"resolution": "edited", "edit": {"label": "approve"}}
        rulings.append(ruling(at, draw(some_rules), draw(st.sampled_from(["allow", "allow", "block", "hold"])), **more))
    flags = draw(st.permutations([True] * len(held) + [False] * len(rulings)))
    left, right = iter(held), iter(rulings)
    return held, rulings, [next(left) if flag else next(right) for flag in flags]


@settings(max_examples=300, deadline=None)
@given(stories())
def test_what_is_decided_does_not_depend_on_the_order_in_which_held_and_rulings_are_read(story) -> None:
    held, rulings, mixed = story
    expected = by_hand(held, rulings)
    assert decided(folded(mixed)) == expected
    assert decided(folded([*rulings, *held])) == expected
    whole = Release(0)
    whole.see(held)
    for record in rulings:
        if (ruled := ruled_of(record, 0)) is not None:
            whole.rule(ruled)
    assert decided(whole) == expected


@settings(max_examples=200, deadline=None)
@given(stories(), st.integers(0, 6), st.integers(0, 20))
def test_a_start_from_what_was_kept_goes_on_as_if_nothing_had_happened(story, at: int, done: int) -> None:
    held, rulings, _ = story
    first = Release(0)
    first.see(held)
    for record in rulings[:at]:
        if (ruled := ruled_of(record, 0)) is not None:
            first.rule(ruled)
    found, expected = {}, by_hand(held, rulings)
    while len(found) < done and (due := first.take(3)) is not None:
        found |= dict.fromkeys(due.offsets, f"{due.ruled.action} by {due.ruled.id}")
        first.end(TOPIC, [offset - 100 for offset in due.offsets])
    first.settle(at)
    committed = first.progress(at, at)
    again = Release(0)
    again.see([one for one in held if one.offset not in found])
    for ruled in first.kept(committed):
        again.rule(Ruled.of_plain(json.loads(json.dumps(ruled.plain()))))
    for record in rulings[committed:]:
        if (told := ruled_of(record, 0)) is not None:
            again.rule(told)
    assert found | decided(again) == expected


def test_a_decision_with_two_causes_waits_for_both_and_one_rejection_is_enough() -> None:
    pair = holding(1, 101, ["p/a", "p/b"])
    assert decided(folded([pair, ruling(0, ["p/a"])])) == {}
    assert decided(folded([pair, ruling(0, ["p/a"]), ruling(1, ["p/b"])])) == {101: "release by 7f29-k1mq/1"}
    assert decided(folded([pair, ruling(0, ["p/a"]), ruling(1, ["p/b"], "block")])) == {101: "withhold by 7f29-k1mq/1"}
    assert decided(folded([pair, ruling(0, ["p/a"], "block"), ruling(1, ["p/a", "p/b"])])) == {
        101: "withhold by 7f29-k1mq/0"
    }


def test_an_answer_covers_what_was_shown_and_no_later_decision() -> None:
    found = decided(
        folded([holding(at, at + 100, ["p/a"]) for at in range(6)] + [ruling(0, ["p/a"], through={f"{TOPIC}/0": 3})])
    )
    assert sorted(found) == [100, 101, 102]
    other = ruling(0, ["p/a"], through={f"{TOPIC}/1": 3, "gim.other/0": 9})
    assert decided(folded([holding(1, 101, ["p/a"]), other])) == {}


def test_a_deadline_that_allows_counts_as_an_allowing_ruling() -> None:
    expired = ruling(0, ["p/a"], resolution="expired")
    assert decided(folded([holding(1, 101, ["p/a"]), expired])) == {101: "release by 7f29-k1mq/0"}
    blocked = ruling(0, ["p/a"], "block", resolution="expired")
    assert decided(folded([holding(1, 101, ["p/a"]), blocked])) == {101: "withhold by 7f29-k1mq/0"}


def test_a_record_that_does_not_name_all_that_holds_it_can_be_rejected_and_never_released() -> None:
    more = holding(1, 101, ["p/a"], more=True)
    silent = Plain("gim.held", 0, 102, 0, b"gim.decisions/0/2", b"{}", ())
    assert decided(folded([more, silent, ruling(0, list(RULES))])) == {}
    assert decided(folded([more, silent, ruling(0, ["p/a"], "block")])) == {101: "withhold by 7f29-k1mq/0"}


def test_a_ruling_is_done_when_its_decisions_have_ended_and_kept_while_one_waits_for_more() -> None:
    release = folded([holding(1, 101, ["p/a", "p/b"]), holding(2, 102, ["p/a"]), ruling(0, ["p/a"])])
    release.settle(1)
    assert release.progress(1, 1) == 0, "a decision is still due"
    assert decided(release) == {102: "release by 7f29-k1mq/0"}
    release.settle(1)
    assert (release.progress(1, 1), [one.id for one in release.kept(1)]) == (1, ["7f29-k1mq/0"])
    assert release.progress(1, 0) == 0, "held may have more that was not seen yet"
    release.rule(ruled_of(ruling(1, ["p/b"]), 0))  # type: ignore[arg-type]
    assert decided(release) == {101: "release by 7f29-k1mq/1"}
    release.settle(2)
    assert (release.progress(2, 2), release.kept(2), release.pending) == (2, [], 0)


def test_an_answer_about_one_decision_does_not_wait_behind_thousands() -> None:
    many = [holding(at, at + 100, ["p/a"]) for at in range(50)]
    one = ruling(1, ["p/b"], items=[{"topic": TOPIC, "partition": 0, "offset": 50}])
    release = folded([*many, holding(50, 150, ["p/b"]), ruling(0, ["p/a"]), one])
    due = release.take(10)
    assert due is not None
    assert (due.ruled.id, due.offsets) == ("7f29-k1mq/1", [150])
    assert release.progress(2, 2) == 0
    release.end(TOPIC, [50])
    assert release.take(10).offsets == list(range(100, 110))  # type: ignore[union-attr]


def test_a_tombstone_ends_the_wait_and_a_key_that_nobody_wrote_so_is_counted() -> None:
    release = folded([holding(1, 101, ["p/a"]), holding(2, 102, ["p/a"])])
    release.see(
        [Plain("gim.held", 0, 103, 0, b"gim.decisions/0/1", None), Plain("gim.held", 0, 104, 0, b"nonsense", b"")]
    )
    assert (release.pending, release.bad) == (1, 1)
    release.rule(ruled_of(ruling(0, ["p/a"]), 0))  # type: ignore[arg-type]
    assert decided(release) == {102: "release by 7f29-k1mq/0"}


def test_a_decision_that_is_held_again_or_out_of_order_waits_as_what_came_last_says() -> None:
    again = [holding(5, 105, ["p/a"]), ruling(0, ["p/a"], items=[]), holding(3, 103, ["p/b"]), holding(5, 106, ["p/b"])]
    release = folded(again)
    assert release.pending == 2
    release.rule(ruled_of(ruling(1, ["p/a"]), 0))  # type: ignore[arg-type]
    assert release.take(9) is None
    release.rule(ruled_of(ruling(2, ["p/b"]), 0))  # type: ignore[arg-type]
    assert release.take(9).offsets == [103, 106]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"nonsense", "no CloudEvent"),
        (b'{"type":"governance.ruling.v1","specversion":"1.0","id":"a","source":"b","data":{}}', "data.incident"),
    ],
)
def test_a_broken_ruling_has_no_effect_and_is_named(value: bytes, told: str) -> None:
    with pytest.raises(BadRuling, match=told):
        ruled_of(Plain("gim.rulings", 0, 7, 0, None, value), 0)


def test_an_edit_that_says_nothing_has_no_effect() -> None:
    with pytest.raises(BadRuling, match="not what"):
        ruled_of(ruling(0, ["p/a"], resolution="edited"), 0)


def test_refusals_and_questions_decide_nothing() -> None:
    refusal = {"type": "governance.refusal.v1", "id": "x", "source": "/g", "specversion": "1.0", "data": {}}
    assert ruled_of(Plain("gim.rulings", 0, 7, 0, None, json.dumps(refusal).encode()), 0) is None
    assert ruled_of(ruling(0, ["p/a"], "hold"), 0) is None


def test_a_hundred_thousand_held_decisions_take_ten_megabytes_at_most() -> None:
    combos = [RULES[: 1 + number % 3] for number in range(20)]
    tracemalloc.start()
    release = Release(0)
    for start in range(0, 100_000, 5_000):
        release.see([holding(at, at + 100, combos[at % 20]) for at in range(start, start + 5_000)])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert release.pending == 100_000
    assert kept < 10e6, "a million must fit in 200 MB"


@settings(max_examples=200, deadline=None)
@given(stories())
def test_forgetting_what_has_ended_changes_nothing_for_what_still_waits(story) -> None:
    held, rulings, mixed = story
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release_module, "COMPACT", 0)  # forget as early as can be
        release, found = Release(0), {}
        for record in mixed:
            if record.topic == "gim.held":
                release.see([record])
            elif (ruled := ruled_of(record, 0)) is not None:
                release.rule(ruled)
            found |= decided(release)
        assert found == by_hand(held, rulings)
        assert release.pending == len(held) - len(found)


def test_a_fresh_version_with_each_decision_does_not_fill_the_memory_once_decisions_have_ended() -> None:
    release = Release(0)

    def hold_and_end(first: int, count: int) -> None:
        for start in range(first, first + count, 500):
            release.see([versioned(at) for at in range(start, start + 500)])
            release.end(TOPIC, range(start, start + 500))

    def versioned(at: int) -> Plain:
        causes = {"model": "loan", "version": f"v{at}", "rules": ["p/a"]}
        headers = (("govern-verdict", b"x"), ("govern-causes", json.dumps(causes).encode()))
        return Plain("gim.held", 0, at, 0, f"{TOPIC}/0/{at}".encode(), b"{}", headers)

    tracemalloc.start()
    try:
        hold_and_end(0, 9_000)
        before = tracemalloc.get_traced_memory()[0]
        hold_and_end(9_000, 18_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert release.pending == 0
    assert grown < 6_000_000
