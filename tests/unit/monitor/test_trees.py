"""Trees as arrays: the same predictions as scikit-learn's, kept and read to the last bit, and no harm from hostile ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, IsolationForest

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor.encoding import Encoder
from agents.monitor.state import packed, unpacked
from agents.monitor.trees import Boosted, Isolation, exported_boosted, exported_isolation

FEATURES = 6
SETTINGS = {"max_iter": 25, "max_leaf_nodes": 15, "early_stopping": False}


def rows(count: int, seed: int, missing: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(seed)
    found = random.normal(size=(count, FEATURES))
    found[:, 1] = np.round(found[:, 1])
    found[:, 2] = random.integers(0, 4, count)
    found[random.random(found.shape) < missing] = np.nan
    return found


X = rows(3_000, 1)
Y = np.nan_to_num(X[:, 0]) + np.isnan(X[:, 3]) + (X[:, 2] == 2) * np.nan_to_num(X[:, 1])
NEW = np.concatenate(
    [rows(1_000, 2), np.full((1, FEATURES), np.nan), np.full((1, FEATURES), np.inf), -np.full((1, FEATURES), np.inf)]
)
FULL = np.nan_to_num(X, nan=-9.0)


@pytest.fixture(scope="module")
def boosted() -> dict[str, Any]:
    return exported_boosted(HistGradientBoostingRegressor(**SETTINGS).fit(X, Y))


@pytest.fixture(scope="module")
def isolation() -> dict[str, Any]:
    return exported_isolation(IsolationForest(n_estimators=20, max_samples=256, random_state=0).fit(FULL))


def kept(section: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = unpacked(json.loads(json.dumps(packed(section))))
    return found


def test_a_regressor_read_from_arrays_predicts_what_scikit_learn_predicts(boosted: dict[str, Any]) -> None:
    model = HistGradientBoostingRegressor(**SETTINGS).fit(X, Y)
    assert np.abs(Boosted(kept(boosted)).predict(NEW) - model.predict(NEW)).max() < 1e-12
    on_threshold = X[:200].copy()
    on_threshold[:, 0] = np.resize(boosted["threshold"][boosted["feature"] == 0], 200)
    assert np.abs(Boosted(boosted).predict(on_threshold) - model.predict(on_threshold)).max() < 1e-12


def test_a_classifier_read_from_arrays_predicts_what_scikit_learn_predicts() -> None:
    model = HistGradientBoostingClassifier(**SETTINGS).fit(X, Y > 0.5)
    found = Boosted(kept(exported_boosted(model))).predict(NEW)
    assert np.abs(found - model.predict_proba(NEW)[:, 1]).max() < 1e-12


def test_an_isolation_forest_read_from_arrays_scores_as_scikit_learn_scores(isolation: dict[str, Any]) -> None:
    model = IsolationForest(n_estimators=20, max_samples=256, random_state=0).fit(FULL)
    new = np.nan_to_num(NEW[:-2], nan=-9.0)
    forest = Isolation(kept(isolation))
    assert np.abs(forest.score(new) + model.score_samples(new)).max() < 1e-12
    near = FULL[:100].copy()
    near[:, 0] = np.resize(isolation["threshold"][isolation["feature"] == 0], 100)
    assert np.abs(forest.score(near) + model.score_samples(near)).max() < 1e-12


def test_trees_survive_being_kept_to_the_last_bit(boosted: dict[str, Any], isolation: dict[str, Any]) -> None:
    assert (Boosted(kept(boosted)).predict(NEW) == Boosted(boosted).predict(NEW)).all()
    assert (Isolation(kept(isolation)).score(FULL) == Isolation(isolation).score(FULL)).all()


def test_no_rows_and_one_row_are_predicted(boosted: dict[str, Any], isolation: dict[str, Any]) -> None:
    assert Boosted(boosted).predict(X[:0]).shape == (0,)
    assert Isolation(isolation).score(FULL[:0]).shape == (0,)
    assert Boosted(boosted).predict(X[5:6])[0] == Boosted(boosted).predict(X)[5]


def test_models_that_cannot_be_kept_are_refused() -> None:
    several = HistGradientBoostingClassifier(max_iter=2).fit(X[:300], np.arange(300) % 3)
    with pytest.raises(ValueError, match="two classes"):
        exported_boosted(several)
    categories = HistGradientBoostingRegressor(max_iter=5, categorical_features=[2]).fit(X, (X[:, 2] == 2) * 1.0)
    with pytest.raises(ValueError, match="categorical"):
        exported_boosted(categories)
    wide = exported_boosted(HistGradientBoostingRegressor(max_iter=2, max_leaf_nodes=31).fit(X, Y))
    with pytest.raises(Misconfigured, match="more than 16 leaves"):
        Boosted(wide)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("left", lambda one: np.minimum(one, 0), "outside its tree"),
        ("right", lambda one: one + 10_000, "outside its tree|one child"),
        ("right", lambda one: np.full_like(one, -1), "one child"),
        ("feature", lambda one: one + 1_000, "does not exist"),
        ("feature", lambda one: one - 1_000, "does not exist"),
        ("threshold", lambda one: one * np.nan, "threshold is no number"),
        ("value", lambda one: one + np.inf, "value is no number"),
        ("value", lambda one: one[:-1], "one element a node"),
        ("value", lambda one: one.astype(np.float32), "no array of f8"),
        ("value", lambda one: one.tolist(), "no array of f8"),
        ("starts", lambda one: one[::-1].copy(), "starts"),
        ("starts", lambda one: np.array([0, 0, 5]), "empty tree"),
        ("starts", lambda one: one * 100_000, "too many nodes"),
        ("starts", lambda one: None, "starts"),
        ("features", lambda one: 0, "out of range"),
        ("features", lambda one: "6", "no whole number"),
    ],
)
def test_hostile_arrays_are_refused_in_plain_words(
    name: str, change: Callable[[Any], Any], told: str, boosted: dict[str, Any], isolation: dict[str, Any]
) -> None:
    for read, section in ((Boosted, boosted), (Isolation, isolation)):
        with pytest.raises(Misconfigured, match=told):
            read({**section, name: change(section[name])})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_arrays_say_reading_either_refuses_or_predicts(data: st.DataObject) -> None:
    nodes = data.draw(st.integers(1, 9))
    whole = st.lists(st.integers(-2, nodes + 1), min_size=nodes, max_size=nodes)
    section: dict[str, Any] = {
        name: np.array(data.draw(whole), dtype=np.int32) for name in ("left", "right", "feature")
    }
    section |= {name: np.array(data.draw(whole), dtype=np.float64) for name in ("threshold", "value")}
    section |= {"missing_left": np.zeros(nodes, dtype=np.bool_), "starts": np.array([0, nodes]), "features": 3}
    section |= {"baseline": 0.0, "link": "identity", "normal": 1.0}
    for read in (Boosted, Isolation):
        try:
            found = read(section)
        except Misconfigured:
            continue
        assert np.isfinite((found.predict if isinstance(found, Boosted) else found.score)(np.zeros((3, 3)))).all()


# -- encoding ---------------------------------------------------------------------------------------------------------

MODEL = Model.model_validate({"features": {"a": "numeric?", "c": "categorical?", "void": "numeric?"}})


def frame(a: list[float | None], c: list[str | None]) -> pl.DataFrame:
    types = {"features.a": pl.Float64(), "features.c": pl.String(), "features.void": pl.Float64()}
    return pl.DataFrame({"features.a": a, "features.c": c, "features.void": [None] * len(a)}, schema=types)


def test_categories_become_places_by_frequency_and_new_ones_the_place_after() -> None:
    encoder = Encoder.fit(frame([1.0, None, 2.0, 3.0], ["x", "y", "y", None]), MODEL)
    again = Encoder.of(kept(encoder.section()))
    assert again == encoder
    assert again.names == ("a", "c")
    found = again.matrix(frame([None, 7.0, 8.0, 9.0], ["y", "x", "new", None]))
    assert np.array_equal(found, np.array([[np.nan, 0.0], [7.0, 1.0], [8.0, 2.0], [9.0, np.nan]]), equal_nan=True)


def test_a_column_that_is_not_there_is_missing() -> None:
    encoder = Encoder.fit(frame([1.0, 2.0], ["x", "y"]), MODEL)
    assert np.isnan(encoder.matrix(pl.DataFrame({"features.a": [1.0]}))[:, 1]).all()


@pytest.mark.parametrize(
    "change", [{"names": "ac"}, {"levels": [None]}, {"levels": [None, [1]]}, {"levels": [None, ["x", "x"]]}]
)
def test_damaged_features_are_refused(change: dict[str, Any]) -> None:
    encoder = Encoder.fit(frame([1.0, 2.0], ["x", "y"]), MODEL)
    with pytest.raises(Misconfigured, match="fit the profile again"):
        Encoder.of(encoder.section() | change)
