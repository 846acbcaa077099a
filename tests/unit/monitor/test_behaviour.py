"""A new version against the old: a changed concept is caught within hundreds of decisions, changed inputs are no alarm."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta
from sklearn.metrics import r2_score

from agents.configuration import Feature, Model
from agents.errors import Misconfigured
from agents.monitor.behaviour import Behaviour, BehaviourOptions
from agents.monitor.contract import Budget, Judgement, Setting, State, Step, View, of_stretch
from agents.monitor.encoding import Encoder
from agents.monitor.flips import usual_flips
from agents.monitor.lifts import Lifts
from agents.monitor.lifts import fitted as fitted_lifts
from agents.monitor.reasons import Reasons
from agents.monitor.reasons import fitted as fitted_reasons
from agents.monitor.state import packed, unpacked
from agents.monitor.surrogate import Surrogate

NAMES = ["income", "debt", "limit", "tenure"]
MODEL = Model.model_validate(
    {
        "features": {**dict.fromkeys(NAMES, "numeric?"), "product": "categorical?"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "groups": {"age_band": ["young", "old"]},
        "arl": 1_000_000,
    }
)
BATCH = 125


def decisions(
    count: int, seed: int, version: int = 1, shift: float = 0.0, scored: bool = True
) -> tuple[pl.DataFrame, np.ndarray]:
    """Version 2 makes the opposite of `debt`; the young have smaller limits; attributions are the terms of the sum."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)) + shift
    age = random.integers(0, 2, count)
    x[:, 2] += age - 0.5
    product = random.choice(["loan", "card"], count)
    terms = x * np.array([1.2, -0.8 if version == 1 else 0.8, 0.4, 0.0])
    score = 1.0 / (1.0 + np.exp(-(terms.sum(axis=1) + 0.5 * (product == "loan") + 0.2 * random.normal(size=count))))
    columns = {f"features.{name}": x[:, place] for place, name in enumerate(NAMES)}
    columns |= {"features.product": product, "output.label": np.where(score >= 0.5, "approve", "decline")}
    columns |= {f"feature_attributions.{name}": terms[:, place] for place, name in enumerate(NAMES)}
    return pl.DataFrame(columns | ({"output.score": score} if scored else {})), age


def view(made: tuple[pl.DataFrame, np.ndarray], batch: int = BATCH) -> View:
    frame, age = made
    stretch = np.arange(frame.height) // batch
    return View(frame, stretch, int(stretch[-1]) + 1, {"age_band": age}, np.arange(frame.height) * 1_000)


def kept(section: State) -> State:
    found: State = unpacked(json.loads(json.dumps(packed(section))))
    return found


@pytest.fixture(scope="module")
def fitted() -> tuple[State, list[str]]:
    found, remarks = Behaviour.fit(view(decisions(4_000, 1)), MODEL)
    assert found is not None
    return kept(found), list(remarks)


@pytest.fixture(scope="module")
def section(fitted: tuple[State, list[str]]) -> State:
    return fitted[0]


@pytest.fixture(scope="module")
def unscored() -> State:
    found, _ = Behaviour.fit(view(decisions(3_000, 1, scored=False)), MODEL)
    assert found is not None
    return kept(found)


def monitor(section: State | None, **options: Any) -> Behaviour:
    return Behaviour(Setting("b", "m", MODEL, BehaviourOptions(**options), Budget(1e6), 1.0, section))


def run(one: Behaviour, *parts: View) -> tuple[dict[str | None, int], list[Judgement]]:
    """Group → decisions until its alarm; and what is said at the end."""
    state, found, seen = one.start(), {}, 0
    for part in parts:
        counts = one.observe(part)
        for place in range(part.stretches):
            seen += BATCH
            one.step(state, of_stretch(counts, place), Step(BATCH, float(BATCH), seen * 1_000, place))
            for judgement in one.judge(state):
                if judgement.status.value == "alarm":
                    found.setdefault(judgement.group, seen)
    return found, one.judge(state)


def test_a_changed_concept_is_caught_in_hundreds_of_decisions_and_its_feature_named(section: State) -> None:
    one = monitor(section)
    found, said = run(one, view(decisions(2_000, 2)), view(decisions(1_000, 3, version=2)))
    assert 2_000 < min(found.values()) <= 2_375
    assert {"score", "flips", "flips & age_band=young", "flips & age_band=old"} <= set(found)
    flips = next(judgement for judgement in said if judgement.group == "flips")
    assert "debt" in one.sentence(flips)
    assert flips.estimate is not None
    assert flips.estimate > 0.2


def test_a_changed_concept_is_caught_from_answers_alone(unscored: State) -> None:
    found, _ = run(
        monitor(unscored), view(decisions(2_000, 2, scored=False)), view(decisions(1_000, 3, 2, scored=False))
    )
    assert 2_000 < min(found.values()) <= 2_500


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_inputs_that_shift_are_no_alarm(shift: float, section: State) -> None:
    found, _ = run(monitor(section), view(decisions(6_000, 4, shift=shift)))
    assert {name for name in found if name != "reasons"} == set()


def test_inputs_that_move_towards_the_cut_make_more_flips_and_no_alarm(section: State) -> None:
    one = monitor(section)
    frame, age = decisions(20_000, 15)
    surrogate = Surrogate(section)
    assert surrogate.cut is not None
    expected = surrogate.trees.predict(surrogate.encoder.matrix(frame))
    near = np.flatnonzero(np.abs(expected - surrogate.cut.at) < 0.15)[:4_000]
    found, said = run(one, view((frame[near], age[near])))
    flips = next(judgement for judgement in said if judgement.group == "flips")
    assert flips.estimate is not None
    assert flips.estimate > 2 * section["flips"][:, 1].sum() / section["flips"][:, 0].sum()
    assert {name for name in found if name != "reasons"} == set()


def test_a_group_s_own_share_of_flips_is_usual_where_it_is_known_and_larger() -> None:
    everybody = np.array([[1_000, 50], [1_000, 50]])
    group = np.array([[300, 60], [100, 90]])
    usual = usual_flips(everybody)
    assert usual == pytest.approx(np.full(2, 1.25 * beta(51, 950).ppf(0.999)))
    assert usual_flips(everybody, group) == pytest.approx([1.25 * beta(61, 240).ppf(0.999), usual[1]])


SHADOWED = MODEL.model_copy(update={"features": {**MODEL.features, "old_score": Feature(type="numeric", missing=True)}})


def paired(count: int, seed: int, version: int = 1, shift: float = 0.0, less: float = 0.0, odd: float = 0.0) -> View:
    """Decisions that carry the old version's score but for one in five; `less`: the new scores are lower by so much."""
    frame, age = decisions(count, seed, 1, shift)
    random = np.random.default_rng(seed)
    old = frame["output.score"].to_numpy()
    new = decisions(count, seed, version, shift)[0]["output.score"].to_numpy() - less
    new = np.where(random.random(count) < odd, 1.0 - old, new)
    frame = frame.with_columns(
        pl.Series("output.score", new),
        pl.Series("output.label", np.where(new >= 0.5, "approve", "decline")),
        pl.Series(
            "features.old_score", [None if one < 0.2 else x for one, x in zip(random.random(count), old, strict=True)]
        ),
    )
    return view((frame, age))


def shadowed(section: State | None) -> Behaviour:
    options = BehaviourOptions(shadow_score="old_score")
    return Behaviour(Setting("b", "m", SHADOWED, options, Budget(1e6), 1.0, section))


def test_with_the_old_version_s_own_scores_small_changes_show_long_before_a_surrogate_tells(section: State) -> None:
    quiet, changed = paired(2_000, 31), paired(1_500, 32, less=0.03)
    found, said = run(shadowed(section), quiet, changed)
    assert 2_000 < found["score"] <= 2_250
    assert said[0].estimate == pytest.approx(-0.03, abs=0.002)
    assert said[0].coverage == pytest.approx(0.8, abs=0.03)
    later, _ = run(monitor(section), quiet, changed)
    assert later["score"] >= found["score"] + 500, "against the surrogate its error hides the change for long"
    assert min(run(shadowed(section), quiet, paired(3_000, 33, odd=0.1))[0].values()) <= 2_500
    assert run(shadowed(section), quiet, paired(1_500, 34, version=2))[0]["flips"] <= 2_250


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_with_the_old_version_s_own_scores_no_shift_of_inputs_and_no_odd_decision_is_an_alarm(
    shift: float, section: State
) -> None:
    found, _ = run(shadowed(section), paired(8_000, 35, shift=shift, odd=0.005))
    assert {name for name in found if name != "reasons"} == set()


def test_decisions_without_the_old_score_are_left_out_and_told_of_as_coverage(section: State) -> None:
    one = shadowed(section)
    bare = view(decisions(1_000, 36, version=2))
    without = View(
        bare.frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("features.old_score")),
        *(bare.stretch, bare.stretches, bare.groups, bare.times_ms),
    )
    found, said = run(one, without)
    assert {name for name in found if name != "reasons"} == set()
    assert (said[0].status.value, said[0].coverage) == ("insufficient", 0.0)
    assert "features.old_score" in one.columns()


def test_shadow_scores_need_a_numeric_feature_and_a_profile_with_scores(section: State, unscored: State) -> None:
    applies = Behaviour.applies(MODEL, BehaviourOptions(shadow_score="old"))
    assert applies is not None
    assert "declare it" in applies
    assert Behaviour.applies(SHADOWED, BehaviourOptions(shadow_score="old_score")) is None
    assert shadowed(section).ready is None
    assert "own scores" in (shadowed(unscored).ready or "")
    with pytest.raises(Misconfigured, match="own scores are damaged"):
        shadowed(section | {"paired": section["paired"] | {"grain": 0.0}})


def test_the_residual_alarm_says_how_much_lower_and_ends_when_the_old_behaviour_is_back(section: State) -> None:
    one = monitor(section)
    frame, age = decisions(1_000, 5)
    lower = frame.with_columns(pl.col("output.score") - 0.25)
    _, said = run(one, view(decisions(1_000, 6)), view((lower, age)))
    assert said[0].status.value == "alarm"
    assert said[0].estimate == pytest.approx(-0.25, abs=0.03)
    assert "lower than the profile's version" in one.sentence(said[0])
    assert said[0].onset_n is not None
    assert said[0].onset_n <= 1_125
    _, after = run(one, view((lower[:250], age[:250])), view(decisions(12_000, 7)))
    assert after[0].status.value == "ok"


def test_a_rise_of_the_part_that_proxies_play_is_noticed(section: State) -> None:
    one = monitor(section, proxies={"age_band": ["limit"]})
    frame, age = decisions(2_000, 8)
    more = frame.with_columns(pl.col("feature_attributions.limit") * 4)
    found, said = run(one, view((more, age)))
    assert "proxies of age_band" in found
    assert "reasons" in found
    mass = frame.select(pl.col(f"feature_attributions.{name}").abs() for name in NAMES).to_numpy()
    moved = mass * np.array([1, 1, 4, 1])
    judgement = next(judgement for judgement in said if judgement.group == "proxies of age_band")
    assert judgement.estimate == pytest.approx((moved[:, 2] / moved.sum(axis=1)).mean(), abs=0.02)
    assert "proxies of age_band" not in run(one, view((frame, age)))[0]


def test_the_surrogate_foretells_the_score_as_well_as_its_remark_says(fitted: tuple[State, list[str]]) -> None:
    section, remarks = fitted
    surrogate = Surrogate(section)
    frame, _ = decisions(4_000, 9)
    expected = surrogate.trees.predict(surrogate.encoder.matrix(frame))
    told = float(remarks[0].split("%")[0].split()[-1]) / 100
    assert told == pytest.approx(r2_score(frame["output.score"], expected), abs=0.03)
    assert "held-out" in remarks[0]


def test_reference_residuals_fill_their_bins_as_new_decisions_do(section: State) -> None:
    surrogate = Surrogate(section)
    frame, _ = decisions(20_000, 10)
    at = surrogate.residuals(surrogate.encoder.matrix(frame), frame["output.score"].to_numpy())
    assert np.bincount(at.decile, minlength=10) / 20_000 == pytest.approx(0.1, abs=0.02)
    for decile in range(10):
        usual = surrogate.reference[decile] / surrogate.reference[decile].sum()
        now = np.bincount(at.code[at.decile == decile], minlength=len(usual)) / (at.decile == decile).sum()
        assert np.abs(now - usual).max() < 0.08


def test_restarted_from_a_kept_state_it_goes_on_to_the_last_bit(section: State) -> None:
    one = monitor(section, proxies={"age_band": ["limit"]})
    counts = one.observe(view(decisions(1_000, 11, version=2)))
    straight, restarted = one.start(), one.start()
    for place in range(8):
        restarted = kept(restarted)
        for state in (straight, restarted):
            one.step(state, of_stretch(counts, place), Step(BATCH, float(BATCH), place, place))
    assert json.dumps(packed(straight)) == json.dumps(packed(restarted))
    assert one.judge(straight) == one.judge(restarted)


def test_without_answers_or_with_too_few_there_is_no_section() -> None:
    frame, age = decisions(2_500, 12)
    for made, told in (
        ((frame.drop("output.score", "output.label"), age), "a score or a favourable label"),
        ((frame[:1_900], age[:1_900]), "2,000 reference decisions"),
        ((frame.with_columns(pl.lit(0.7).alias("output.score")), age), "said the same"),
    ):
        found, remarks = Behaviour.fit(view(made), MODEL)
        assert found is None
        assert told in remarks[0]
    assert monitor(None).ready is not None
    assert monitor(None).columns() == frozenset()


def test_proxies_that_are_not_declared_are_refused_with_the_mend() -> None:
    told = Behaviour.applies(MODEL, BehaviourOptions(proxies={"age_band": ("salary",)}))
    assert told is not None
    assert "'salary' is no feature" in told
    assert "'race' is no attribute" in (Behaviour.applies(MODEL, BehaviourOptions(proxies={"race": ("debt",)})) or "")
    assert Behaviour.applies(MODEL, BehaviourOptions(proxies={"age_band": ("limit",)})) is None


@pytest.mark.parametrize(
    "change",
    [
        {"deciles": np.zeros(3)},
        {"edges": np.full((10, 7), np.nan)},
        {"bins": np.full(10, 99)},
        {"reference": np.full((10, 9), -1)},
        {"usual": np.zeros(2)},
        {"names": ["income"], "levels": [None]},
    ],
)
def test_a_damaged_surrogate_is_refused(section: State, change: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="fit the profile again"):
        Surrogate(section | change)


def test_damaged_flips_are_refused(section: State) -> None:
    with pytest.raises(Misconfigured, match="flips are damaged"):
        monitor(section | {"flips": np.zeros(2, dtype=np.int64)})


# -- where decisions gather, and why ----------------------------------------------------------------------------------


def test_values_where_decisions_gather_are_named_with_their_lift() -> None:
    frame, age = decisions(5_000, 13)
    encoder = Encoder.fit(frame, MODEL)
    matrix = encoder.matrix(frame)
    lifts = Lifts(kept(fitted_lifts(matrix, encoder, [1.0] * 5)), encoder)
    random = np.random.default_rng(1)
    top = matrix[:, 1] >= np.quantile(matrix[:, 1], 0.8)
    marked = (random.random(5_000) < 0.02) | (top & (random.random(5_000) < 0.3))
    seen = view((frame, age))
    counts = lifts.count(seen, matrix, marked).sum(axis=0)
    assert counts[:, :, 0].sum(axis=1).tolist() == [5_000] * 5
    assert counts[:, :, 1].sum(axis=1).tolist() == [marked.sum()] * 5
    first = lifts.named(counts.astype(float))[0]
    assert first.feature == "debt"
    assert first.where.startswith("debt from 0.8")
    assert first.lift == pytest.approx(marked[top].mean() / marked.mean(), rel=0.02)
    assert [one.feature for one in lifts.named(counts.astype(float))] == ["debt"]


def test_top_reasons_are_counted_and_decisions_without_reasons_apart() -> None:
    frame, age = decisions(2_000, 14)
    reasons = Reasons(kept(fitted_reasons(frame, MODEL) or {}), {"age_band": ["limit"]})
    blank = frame[:10].with_columns(
        pl.lit(None, dtype=pl.Float64).alias(f"feature_attributions.{name}") for name in NAMES
    )
    found = reasons.count(view((pl.concat([frame[:90], blank]), age[:100])))
    moves = frame[:90].select(pl.col(f"feature_attributions.{name}").abs() for name in NAMES).to_numpy()
    by_name = dict(zip(reasons.top, found["reasons"][0], strict=False))
    assert {name: count for name, count in by_name.items() if count} == {
        name: int((moves.argmax(axis=1) == place).sum())
        for place, name in enumerate(NAMES)
        if (moves.argmax(axis=1) == place).any()
    }
    assert found["reasons"][0, -1] == 10
    assert found["proxies"][0, 0] == 90
    assert found["proxies"][0, 1] / 2**20 == pytest.approx((moves[:, 2] / moves.sum(axis=1)).sum(), abs=1e-3)
