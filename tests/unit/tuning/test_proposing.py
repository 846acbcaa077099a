"""Proposals from rulings: chosen on one period, stated on another, refused below a stated n, and never made of noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.configuration import Configuration
from agents.frames import decision_columns
from agents.people_events import Resolution
from agents.policy.compilation import Compiled
from agents.policy.rules import compiled
from agents.tuning.alarms import Alarm, ShareProposal, propose_shares
from agents.tuning.estimates import clopper_pearson, share
from agents.tuning.judged import Answer, Judged, about, halves, usable, weight_of
from agents.tuning.proposing import Proposal, Refused, Terms, propose
from agents.tuning.thresholds import thresholds


def configuration(when: str, **rule: object) -> Configuration:
    return Configuration.model_validate(
        {
            "models": {"credit": {"features": {"amount": "numeric"}, "labels": {"approve": {}, "decline": {}}}},
            "policies": [{"policy": "p", "rules": [{"id": "r", "when": when, "effect": "hold", **rule}]}],
        }
    )


def rule_of(when: str, **more: object) -> tuple[Compiled, pl.Schema]:
    found = configuration(when, **more)
    columns = pl.Schema(decision_columns(found.models["credit"]))
    return compiled(found).rule("p/r"), columns


def held(seed: int, n: int, warranted_below: float, noise: float = 0.0) -> list[Judged]:
    """Holds of `output.score < 0.7`: people withheld those below a number of their own."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 0.7, n)
    right = (scores < warranted_below) ^ (rng.uniform(size=n) < noise)
    return [
        Judged(f"d/0/{i}", i, "credit", ("p/r",), bool(right[i]), 1.0, {"output.score": float(scores[i])})
        for i in range(n)
    ]


def only(found: list[Proposal | Refused], kind: str) -> Proposal:
    return next(one for one in found if isinstance(one, Proposal) and one.kind == kind)


def test_a_number_that_people_go_by_is_found_and_its_effect_told() -> None:
    rule, columns = rule_of("output.score < 0.7")
    found = only(propose(rule, columns, held(1, 400, 0.4), Terms()), "stricter")
    threshold = thresholds(found.after)[0]
    assert 0.37 < threshold.number < 0.43
    assert found.saved is not None
    assert found.saved.value > 0.9
    assert found.lost is not None
    assert found.lost.upper <= 0.1
    assert found.before == "output.score < 0.7"
    assert found.judged_on == 200


def test_what_is_stated_comes_from_judgements_that_chose_nothing() -> None:
    """Pure noise: whatever fits the earlier half, the later half does not confirm."""
    rule, columns = rule_of("output.score < 0.7")
    proposed = 0
    for seed in range(40):
        judged = [
            replace(one, warranted=bool(np.random.default_rng([seed, i]).integers(2)))
            for i, one in enumerate(held(seed, 200, 0))
        ]
        proposed += any(isinstance(one, Proposal) for one in propose(rule, columns, judged, Terms()))
    assert proposed == 0


def test_few_judgements_are_told_not_used() -> None:
    rule, columns = rule_of("output.score < 0.7")
    (found,) = propose(rule, columns, held(2, 40, 0.4), Terms())
    assert isinstance(found, Refused)
    assert found.why == "40 usable judgements (20 earlier, 20 later); 60 are needed, 30 in each period"


def test_a_rule_whose_holds_all_go_out_is_proposed_to_log() -> None:
    rule, columns = rule_of("output.score < 0.7")
    found = only(propose(rule, columns, held(3, 400, -1.0), Terms()), "log")
    assert (found.before, found.after) == ("effect: hold", "effect: log")
    assert found.lost is not None
    assert found.lost.upper < 0.05


def test_what_another_rule_holds_too_is_neither_saved_nor_lost() -> None:
    rule, columns = rule_of("output.score < 0.7")
    judged = [replace(one, rules=("p/r", "p/s")) if i % 4 == 0 else one for i, one in enumerate(held(1, 800, 0.4))]
    found = only(propose(rule, columns, judged, Terms()), "stricter")
    needless = [one for one in halves(judged)[1] if not one.warranted]
    number = thresholds(found.after)[0].number
    spared = [one for one in needless if one.alone and float(str(one.row["output.score"])) >= number]
    assert found.saved is not None
    assert found.saved.value == pytest.approx(len(spared) / len(needless))
    assert found.saved.value < 0.8
    logged = only(propose(rule, columns, [replace(one, warranted=False) for one in judged], Terms()), "log")
    assert logged.saved is not None
    assert logged.saved.value == pytest.approx(sum(one.alone for one in halves(judged)[1]) / 400)


def test_what_the_rule_would_not_hold_today_does_not_count() -> None:
    """It held below 0.7, and holds below 0.5 now: what was saved by that is not promised again."""
    rule, columns = rule_of("output.score < 0.5")
    judged = held(1, 800, 0.4)
    found = only(propose(rule, columns, judged, Terms()), "stricter")
    today = [one for one in judged if float(str(one.row["output.score"])) < 0.5]
    assert found.fitted_on + found.judged_on == len(today)
    assert found.saved is not None
    assert found.saved.n == sum(not one.warranted for one in halves(today)[1])


def test_what_the_archive_has_lost_makes_no_number_look_safe() -> None:
    """Of nearly all warranted holds the bytes are gone: whether a number would keep those nobody knows."""
    rule, columns = rule_of("output.score < 0.7")
    judged = [replace(one, row={}) if one.warranted and i % 12 else one for i, one in enumerate(held(1, 400, 0.4))]
    assert not [one for one in propose(rule, columns, judged, Terms()) if isinstance(one, Proposal)]
    (found,) = propose(rule, columns, [replace(one, row={}) for one in judged[:380]] + judged[380:], Terms())
    assert isinstance(found, Refused)
    assert found.why.endswith("of 400 judged decisions; 30 of each period are needed")


def test_a_condition_with_or_is_left_alone() -> None:
    rule, columns = rule_of("output.score < 0.7 OR features.amount > 5")
    (found,) = propose(rule, columns, held(4, 200, 0.4), Terms())
    assert isinstance(found, Refused)
    assert "nothing better" in found.why


def test_misses_among_released_decisions_widen_a_rule() -> None:
    rule, columns = rule_of("output.score < 0.7")
    rng = np.random.default_rng(5)
    scores = rng.uniform(0.7, 1.0, 600)
    blind = [
        Judged(f"d/0/{i}", i, "credit", (), bool(score < 0.8), 200.0, {"output.score": float(score)})
        for i, score in enumerate(scores)
    ]
    found = only(propose(rule, columns, blind, Terms()), "wider")
    assert thresholds(found.after)[0].number == pytest.approx(0.8, abs=0.2)
    assert found.caught is not None
    assert found.caught.value > 0.9
    assert found.further is not None
    assert found.further.lower >= 0.2
    assert found.further.total == pytest.approx(
        200 * sum(s for s in map(bool, scores[300:] < thresholds(found.after)[0].number))
    )


def test_misses_widen_nothing_where_the_row_does_not_say_all() -> None:
    rule, columns = rule_of("output.score < 0.7 AND monitor.lag_ms < 5")
    blind = [Judged(f"d/0/{i}", i, "credit", (), i % 2 == 0, 200.0, {"output.score": 0.75}) for i in range(200)]
    (found,) = propose(rule, columns, blind, Terms())
    assert isinstance(found, Refused)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(Resolution.APPROVED, "individual", 1, 1, False), None),
        (Answer(Resolution.REJECTED, "sample", 90, 9, False), None),
        (Answer(Resolution.APPROVED, "bulk", 500, 5, False), "bulk"),
        (Answer(Resolution.EXPIRED, None, 12, 0, False), "expired"),
        (Answer(Resolution.RESPONDED, "individual", 1, 1, False), "asked back"),
        (Answer(Resolution.REJECTED, "individual", 1, 1, True), "fairness"),
    ],
)
def test_which_answers_teach_something(answer: Answer, why: str | None) -> None:
    assert usable(answer) == why


def test_an_opened_decision_of_a_sample_stands_for_those_not_opened() -> None:
    assert weight_of(Answer(Resolution.APPROVED, "sample", 90, 9, False)) == 10.0
    assert weight_of(Answer(Resolution.APPROVED, "individual", 1, 1, False)) == 1.0


@given(st.lists(st.integers(0, 9), max_size=60))
def test_one_moment_never_stands_on_both_sides(times: list[int]) -> None:
    judged = [Judged(f"d/0/{i}", at, "m", ("p/r",), True, 1.0) for i, at in enumerate(times)]
    earlier, later = halves(judged)
    assert len(earlier) + len(later) == len(judged)
    assert not {one.time_ms for one in earlier} & {one.time_ms for one in later}


def test_only_what_the_rule_held_and_blind_ones_of_its_models_count() -> None:
    judged = [
        Judged("d/0/1", 1, "credit", ("p/r", "p/s"), True, 1.0),
        Judged("d/0/2", 1, "credit", ("p/s",), True, 1.0),
        Judged("d/0/3", 1, "credit", (), True, 200.0),
        Judged("d/0/4", 1, "other", (), True, 200.0),
    ]
    assert [one.position for one in about(judged, "p/r", {"credit"})] == ["d/0/1", "d/0/3"]


def test_intervals_are_clopper_and_pearsons() -> None:
    """Values of Clopper and Pearson (1934) as textbooks give them: 5 of 20."""
    lower, upper = clopper_pearson(5, 20)
    assert (round(lower, 4), round(upper, 4)) == (0.0866, 0.4910)


def test_unequal_weights_widen_an_interval() -> None:
    equal = share([True, False] * 50, [1.0] * 100)
    uneven = share([True, False] * 50, [1.0, 1.0, 20.0, 20.0] * 25)
    assert equal.value == uneven.value == 0.5
    assert uneven.upper - uneven.lower > equal.upper - equal.lower


def test_a_shared_budget_is_cut_for_a_monitor_that_cries_wolf() -> None:
    alarms = [Alarm(f"i{i}", "drift", i, real=i % 4 == 0, strength=30.0 if i % 4 == 0 else 1.5) for i in range(80)]
    (found,) = propose_shares(alarms, {"drift": 2.0})
    assert isinstance(found, ShareProposal)
    assert (found.before, found.after) == (2.0, 1.0)
    assert found.saved.value == 1.0
    assert found.lost.value == 0.0


def test_a_monitor_whose_real_alarms_are_weak_keeps_its_share() -> None:
    alarms = [Alarm(f"i{i}", "drift", i, real=i % 2 == 0, strength=1.5) for i in range(80)]
    (found,) = propose_shares(alarms, {"drift": 2.0})
    assert isinstance(found, Refused)


def test_few_alarms_are_told_not_used() -> None:
    (found,) = propose_shares([Alarm("i", "drift", 1, False, 1.5)], {"drift": 2.0})
    assert isinstance(found, Refused)
    assert found.why == "1 alarms that people judged; 20 are needed"
