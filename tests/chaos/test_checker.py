"""The checker itself: an honest view passes, and each of six seeded faults is named."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agents.audit.commitment import Committer
from agents.audit.entry import encode
from agents.people_events import Resolution
from agents.policy.agent import PolicyAgent
from agents.policy.finals import Finals
from agents.policy.held import read
from agents.policy.ruled import Ruled
from agents.policy.standing import Standing
from agents.records import Plain, collect
from orchestration import config_files
from tests.chaos import stream
from tests.chaos.checker import Problem, Rule, Seen, View, check

KEY = '["limits/hold-unsure","loan","1.0.0",null]'
OUTPUTS = ("verdicts", "released", "held", "withheld", "dead-letters", "flags")


@pytest.fixture(scope="module")
def honest() -> View:
    """What an undisturbed lane makes of 1,500 decisions."""
    configuration = config_files.load(Path(__file__).parent / "config")
    records = [
        Plain("gim.decisions", 0, offset, 1_772_442_843_120 + offset, key, value, tuple(headers))
        for offset, (key, value, headers) in enumerate(itertools.islice(stream.decisions(7), 1500))
    ]
    agent = PolicyAgent(
        prefix="gim",
        topic="gim.decisions",
        partition=0,
        committer=Committer("test", bytes(32)),
        configuration=configuration,
    )
    agent.restore(None)
    outputs = collect(agent.decide(records, Standing.of(configuration)))
    topics = {"decisions": [Seen(0, one.offset, one.key, one.value, tuple(one.headers)) for one in records]}
    for name in OUTPUTS:
        messages = outputs.get((f"gim.{name}", 0), ())
        topics[name] = [Seen(0, n, key, value, tuple(headers)) for n, (key, value, headers) in enumerate(messages)]
    leaves = [
        encode(Plain("gim.verdicts", 0, one.offset, 0, one.key, one.value, one.headers))[0]
        for one in topics["verdicts"]
    ]
    return View(topics, {0: leaves})


def problems(view: View) -> set[str]:
    return {problem.kind for problem in check(view, "gim", Rule(), view.topics["decisions"])}


def test_an_honest_run_has_no_problem_and_holds_every_kind_of_record(honest: View) -> None:
    assert check(honest, "gim", Rule(), honest.topics["decisions"]) == []
    assert all(honest.topics[name] for name in OUTPUTS)


def ruling(effect: str = "allow", **more: object) -> Seen:
    """A ruling over everything that is held."""
    data = {"resolution": "approved" if effect == "allow" else "rejected", "effect": effect, "keys": [KEY]}
    data |= {"through": {"gim.decisions/0": 1500}} | more
    event = {"type": "governance.ruling.v1", "id": "7f29-k1mq/0", "data": data}
    return Seen(0, 0, None, json.dumps(event).encode())


@pytest.fixture(scope="module")
def ruled(honest: View) -> View:
    """The same after one ruling has let out what was held."""
    view = copy.deepcopy(honest)
    view.leaves = None
    by = Ruled(0, "7f29-k1mq/0", 0, "release", Resolution.APPROVED, "", frozenset([KEY]), {"gim.decisions": 1500})
    maker = Finals("gim", 0, "gim.release.gim.held.0", Committer("test", bytes(32)), 10**6)
    found = [read(Plain("gim.held", 0, one.offset, 0, one.key, one.value, one.headers)) for one in view.topics["held"]]
    for (topic, _), messages in collect(maker.outputs(found, by, lambda _: None)).items():
        there = view.topics[topic.removeprefix("gim.")]
        there += [
            Seen(0, len(there) + n, key, value, tuple(headers)) for n, (key, value, headers) in enumerate(messages)
        ]
    view.topics["rulings"] = [ruling()]
    return view


def test_what_a_ruling_lets_out_once_has_no_problem(ruled: View) -> None:
    assert check(ruled, "gim", Rule()) == []


@pytest.mark.parametrize(
    ("topic", "change", "kinds"),
    [
        ("verdicts", lambda all_: all_[:-1], {"lost"}),
        ("verdicts", lambda all_: [*all_, all_[-1]], {"doubled"}),
        ("released", lambda all_: all_[:-1], {"lost"}),
        ("released", lambda all_: [*all_, all_[-1]], {"doubled"}),
        ("held", lambda all_: all_[:-1], {"lost"}),
        ("held", lambda all_: [*all_, all_[-1]], {"doubled"}),
        ("withheld", lambda all_: [*all_, replace(all_[0], headers=(("govern-verdict", b"x/final"),))], {"unknown"}),
        ("rulings", lambda _: [], {"without-leave"}),
        ("rulings", lambda _: [ruling("block")], {"wrong-effect", "without-leave", "lost"}),
        ("rulings", lambda _: [ruling(items=[])], {"without-leave"}),
        ("rulings", lambda _: [ruling(keys=["[]"])], {"without-leave"}),
        ("rulings", lambda _: [ruling(resolution="expired")], {"wrong-effect"}),
    ],
)
def test_a_broken_promise_about_what_was_held_is_named(ruled: View, topic: str, change, kinds: set[str]) -> None:
    view = View({**ruled.topics, topic: change(ruled.topics[topic])})
    assert {one.kind for one in check(view, "gim", Rule())} == kinds


def test_a_lost_decision_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    del view.topics["released"][17]
    found = check(view, "gim", Rule())
    assert [problem.kind for problem in found] == ["lost"]
    assert "released" in found[0].detail


def test_a_lost_verdict_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    gone = view.topics["verdicts"].pop()
    view.leaves[0].pop()  # type: ignore[index]
    assert check(view, "gim", Rule()) == [Problem("lost", (gone.key or b"").decode(), "no verdict")]


def test_a_doubled_decision_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    view.topics["released"].append(view.topics["released"][3])
    assert problems(view) == {"doubled"}


def test_a_doubled_verdict_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    view.topics["verdicts"].append(replace(view.topics["verdicts"][0], offset=10_000))
    assert "doubled" in problems(view)


def test_a_release_without_an_allowing_verdict_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    blocked = view.topics["withheld"].pop(0)
    view.topics["released"].append(blocked)
    assert problems(view) == {"lost", "without-leave"}


def test_a_release_without_any_verdict_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    forged = [("govern-verdict", b"gim.decisions/0/999999/gate")]
    view.topics["released"].append(replace(view.topics["released"][0], headers=tuple(forged)))
    assert problems(view) == {"unknown"}


def test_a_wrong_effect_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    place = next(n for n, one in enumerate(view.topics["verdicts"]) if b'"effect":"block"' in (one.value or b""))
    verdict = view.topics["verdicts"][place]
    value = (verdict.value or b"").replace(b'"effect":"block"', b'"effect":"allow"', 1)
    view.topics["verdicts"][place] = replace(verdict, value=value)
    assert problems(view) == {"wrong-effect", "unaudited"}


def test_altered_bytes_are_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    one = view.topics["held"][0]
    view.topics["held"][0] = replace(one, value=(one.value or b"").replace(b"amount", b"amounT"))
    assert problems(view) == {"altered"}


def test_an_altered_header_or_key_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    view.topics["released"][0] = replace(view.topics["released"][0], key=b"another")
    assert problems(view) == {"altered"}


def test_a_missing_leaf_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    del view.leaves[0][700]  # type: ignore[index]
    assert problems(view) == {"unaudited"}


def test_a_wrong_count_of_flags_is_named(honest: View) -> None:
    view = copy.deepcopy(honest)
    view.topics["flags"].append(view.topics["flags"][0])
    assert problems(view) == {"wrong-effect"}
