"""Fitted trees of scikit-learn as plain arrays, and predictions from these alone: what a profile can carry and anyone can read.

Nothing is unpickled and no private class of scikit-learn is rebuilt: reading checks every index, so arrays from anywhere
can at worst give wrong figures. Predictions equal scikit-learn's to 1e-12 and cost less than its own (docs/statistics.md).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, IsolationForest

from agents.errors import Misconfigured
from agents.monitor.contract import Floats, Ints, State

LEAVES = 16
"""Most leaves of a boosted tree: one bit each."""
DEPTH = 64
NODES = 2_000_000
CHUNK = 256
"""Rows predicted together: their intermediate arrays stay in the processor's cache."""
_BIT_PLACE = np.zeros(1 << LEAVES, dtype=np.uint8)
_BIT_PLACE[1 << np.arange(LEAVES)] = np.arange(LEAVES)
_NODE_ARRAYS = {"feature": "i4", "threshold": "f8", "left": "i4", "right": "i4", "value": "f8", "missing_left": "b1"}
_KINDS = {"i4": np.int32, "f8": np.float64, "b1": np.bool_}


class Boosted:
    """A gradient-boosted regressor or binary classifier with at most 16 leaves a tree; missing values (NaN) as fitted.

    A tree is a word of 16 bits, a bit for each leaf still possible. For each feature a table says, by the place of a value
    among all thresholds on it, which leaves of every tree remain; the tables' words are joined by AND, and one bit is left
    (after Lucchese et al., "QuickScorer", 2015, made exact from both sides).
    """

    def __init__(self, section: State) -> None:
        """Read what `exported` wrote; raises Misconfigured where it is not that."""
        nodes, starts = _read(section)
        self.features = _whole(section, "features", 1, 1_000_000)
        _check(nodes["feature"] < self.features, "a tree splits on a feature that does not exist")
        self.baseline = float(section["baseline"])
        _check(bool(np.isfinite(self.baseline)), "the baseline is no number")
        self.link = section["link"]
        _check(self.link in ("identity", "logit"), "the link is unknown")
        trees = len(starts) - 1
        self._values = np.zeros((trees, LEAVES))
        self._tables: list[tuple[int, Floats, npt.NDArray[np.uint16]]] = []
        masks = self._masks(nodes, starts)
        start = np.array([(1 << count) - 1 for count in self._counts], dtype=np.uint16)
        for feature in sorted(masks):
            thresholds = np.unique([one[0] for one in masks[feature]])
            table = np.full((len(thresholds) + 2, trees), 0xFFFF, dtype=np.uint16) & start
            for threshold, tree, left, right, missing_left in masks[feature]:
                place = int(np.searchsorted(thresholds, threshold))
                table[: place + 1, tree] &= np.uint16(0xFFFF ^ right)
                table[place + 1 : -1, tree] &= np.uint16(0xFFFF ^ left)
                table[-1, tree] &= np.uint16(0xFFFF ^ (right if missing_left else left))
            self._tables.append((feature, thresholds, table))
        self._start = start
        self._offset = np.arange(trees, dtype=np.int64) * LEAVES

    def _masks(self, nodes: dict[str, Any], starts: Ints) -> dict[int, list[tuple[float, int, int, int, bool]]]:
        """For each feature (threshold, tree, the left leaves, the right leaves, where what is missing goes)."""
        found: dict[int, list[tuple[float, int, int, int, bool]]] = {}
        self._counts: list[int] = []
        for tree, (first, end) in enumerate(pairwise(starts)):
            below = [0] * int(end - first)
            leaves = 0
            for node in range(int(end - first) - 1, -1, -1):  # children stand behind their parents
                at = int(first) + node
                if nodes["left"][at] < 0:
                    _check(leaves < LEAVES, f"a tree has more than {LEAVES} leaves")
                    self._values[tree, leaves] = nodes["value"][at]
                    below[node] = 1 << leaves
                    leaves += 1
                    continue
                left, right = below[nodes["left"][at]], below[nodes["right"][at]]
                _check(left & right == 0, "a node has two parents")
                below[node] = left | right
                one = (float(nodes["threshold"][at]), tree, left, right, bool(nodes["missing_left"][at]))
                found.setdefault(int(nodes["feature"][at]), []).append(one)
            _check(below[0] == (1 << leaves) - 1, "a node has no parent")
            self._counts.append(leaves)
        return found

    def raw(self, matrix: Floats) -> Floats:
        """The sum of the trees for rows (n, features): a regressor's prediction, a classifier's log odds."""
        _shaped(matrix, self.features)
        places = []
        for feature, thresholds, _ in self._tables:
            column = np.ascontiguousarray(matrix[:, feature])
            place = np.searchsorted(thresholds, column)
            place[np.isnan(column)] = len(thresholds) + 1
            places.append(place)
        found = np.empty(len(matrix))
        for first in range(0, len(matrix), CHUNK):
            rows = slice(first, first + CHUNK)
            words = np.tile(self._start, (len(matrix[rows]), 1))
            for place, (_, _, table) in zip(places, self._tables, strict=True):
                words &= table[place[rows]]
            found[rows] = self._values.take(_BIT_PLACE[words] + self._offset).sum(axis=1)
        return found + self.baseline

    def predict(self, matrix: Floats) -> Floats:
        """The prediction, for a classifier the probability of its second class."""
        raw = self.raw(matrix)
        return np.asarray(expit(raw)) if self.link == "logit" else raw


class Isolation:
    """An isolation forest; rows come without missing values (encoding.py says what stands for them)."""

    def __init__(self, section: State) -> None:
        """Read what `exported` wrote; raises Misconfigured where it is not that."""
        nodes, starts = _read(section)
        self.features = _whole(section, "features", 1, 1_000_000)
        _check(nodes["feature"] < self.features, "a tree splits on a feature that does not exist")
        self.normal = float(section["normal"])
        _check(self.normal > 0 and bool(np.isfinite(self.normal)), "the usual path length is no positive number")
        leaf = nodes["left"] < 0
        own = np.arange(len(leaf))
        offset = np.repeat(starts[:-1], np.diff(starts))
        both = [np.where(leaf, own, nodes[side] + offset) for side in ("left", "right")]
        self._child = np.stack(both, axis=1).astype(np.int32).ravel()
        self._feature = np.where(leaf, 0, nodes["feature"]).astype(np.int32)
        self._threshold = _not_above(np.where(leaf, np.inf, nodes["threshold"]))
        self._value = nodes["value"]
        self._roots = starts[:-1].astype(np.int32)
        self.depth = _depth(nodes, starts)

    def path_lengths(self, matrix: Floats) -> Floats:
        """Mean path length over the trees for rows (n, features), without NaN; short paths are unusual rows."""
        _shaped(matrix, self.features)
        single = np.ascontiguousarray(matrix, dtype=np.float32)  # as scikit-learn compares
        found = np.empty(len(single))
        for first in range(0, len(single), CHUNK):
            rows = single[first : first + CHUNK]
            base = (np.arange(len(rows), dtype=np.int32) * self.features)[:, None]
            flat = rows.ravel()
            at = np.tile(self._roots, (len(rows), 1))
            for _ in range(self.depth):
                beyond = flat.take(self._feature.take(at) + base) > self._threshold.take(at)
                at = self._child.take(at * 2 + beyond)
            found[first : first + CHUNK] = self._value.take(at).sum(axis=1)
        return found / len(self._roots)

    def score(self, matrix: Floats) -> Floats:
        """2^(-mean path length ÷ the usual one), 0 … 1: minus scikit-learn's `score_samples`; large is unusual."""
        return np.asarray(np.exp2(-self.path_lengths(matrix) / self.normal))


# -- from scikit-learn ------------------------------------------------------------------------------------------------


def exported_boosted(model: HistGradientBoostingRegressor | HistGradientBoostingClassifier) -> State:
    """A fitted model without categorical splits as arrays; for a classifier, of two classes."""
    rounds = model._predictors
    if any(len(one) != 1 for one in rounds):
        raise ValueError("only regressors and classifiers of two classes can be kept")
    trees = [one[0].nodes for one in rounds]
    if any(tree["is_categorical"].any() for tree in trees):
        raise ValueError("categorical splits cannot be kept; encode categories as numbers")
    parts = []
    for tree in trees:
        leaf = tree["is_leaf"].astype(bool)
        parts.append(
            {
                "feature": np.where(leaf, 0, tree["feature_idx"]),
                "threshold": np.where(leaf, 0.0, tree["num_threshold"]),
                "left": np.where(leaf, -1, tree["left"].astype(np.int64)),
                "right": np.where(leaf, -1, tree["right"].astype(np.int64)),
                "value": np.where(leaf, tree["value"], 0.0),
                "missing_left": tree["missing_go_to_left"].astype(bool) & ~leaf,
            }
        )
    classifier = isinstance(model, HistGradientBoostingClassifier)
    baseline = float(np.ravel(model._baseline_prediction)[0])
    about = {"baseline": baseline, "link": "logit" if classifier else "identity"}
    return _joined(parts) | {"features": int(model.n_features_in_), **about}


def exported_isolation(model: IsolationForest) -> State:
    """A fitted forest over all features as arrays; a leaf's value is its path length, the rows left in it included."""
    parts = []
    for one, features in zip(model.estimators_, model.estimators_features_, strict=True):
        tree = one.tree_
        leaf = tree.children_left < 0
        depth = np.zeros(tree.node_count)
        for node in np.flatnonzero(~leaf):
            depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
        parts.append(
            {
                "feature": np.where(leaf, 0, features[np.maximum(tree.feature, 0)]),
                "threshold": np.where(leaf, 0.0, tree.threshold),
                "left": tree.children_left,
                "right": tree.children_right,
                "value": np.where(leaf, depth + usual_path(tree.n_node_samples), 0.0),
                "missing_left": np.zeros(tree.node_count, dtype=np.bool_),
            }
        )
    normal = float(usual_path(np.array([model.max_samples_]))[0])
    return _joined(parts) | {"features": int(model.n_features_in_), "normal": normal}


def usual_path(rows: npt.NDArray[Any]) -> Floats:
    """Mean path length of an unsuccessful search among so many rows: 2(ln(n-1) + γ) - 2(n-1)/n (Liu, Ting, Zhou, 2008).

    >>> usual_path(np.array([1, 2, 256])).round(4).tolist()
    [0.0, 1.0, 10.2448]
    """
    n = np.maximum(np.asarray(rows, dtype=np.float64), 3.0)
    path = 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, path))


def _joined(parts: list[dict[str, Any]]) -> State:
    found: State = {
        name: np.concatenate([one[name] for one in parts]).astype(_KINDS[kind]) for name, kind in _NODE_ARRAYS.items()
    }
    found["starts"] = np.cumsum([0] + [len(one["left"]) for one in parts]).astype(np.int64)
    return found


# -- reading ----------------------------------------------------------------------------------------------------------


def _check(holds: Any, told: str) -> None:
    if not np.all(holds):
        raise Misconfigured(f"the profile's trees are damaged: {told}; fit the profile again")


def _whole(section: State, name: str, least: int, most: int) -> int:
    found = section.get(name)
    _check(isinstance(found, int) and not isinstance(found, bool), f"{name!r} is no whole number")
    _check(least <= int(found or 0) <= most, f"{name!r} is out of range")
    return int(found or 0)


def _read(section: State) -> tuple[dict[str, Any], Ints]:
    """Arrays a node, and where each tree starts; children are places within their tree, behind their parent, -1: none."""
    nodes = {}
    starts = section.get("starts")
    _check(isinstance(starts, np.ndarray) and starts.dtype == np.int64 and starts.ndim == 1, "no starts of trees")
    assert starts is not None
    _check(2 <= len(starts) <= NODES and starts[0] == 0, "no starts of trees")
    _check(np.diff(starts) >= 1, "an empty tree")
    _check(starts[-1] <= NODES, "too many nodes")
    for name, kind in _NODE_ARRAYS.items():
        one = section.get(name)
        _check(isinstance(one, np.ndarray) and one.dtype == _KINDS[kind], f"{name!r} is no array of {kind}")
        assert one is not None
        _check(one.shape == (int(starts[-1]),), f"{name!r} has not one element a node")
        nodes[name] = one
    size = np.repeat(np.diff(starts), np.diff(starts))
    own = np.arange(int(starts[-1])) - np.repeat(starts[:-1], np.diff(starts))
    left, right = nodes["left"], nodes["right"]
    leaf = left < 0
    _check((right < 0) == leaf, "a node has one child")
    _check(leaf | ((left > own) & (left < size)), "a child is outside its tree")
    _check(leaf | ((right > own) & (right < size) & (right != left)), "a child is outside its tree")
    _check(nodes["feature"] >= 0, "a tree splits on a feature that does not exist")
    _check(~np.isnan(nodes["threshold"]), "a threshold is no number")
    _check(np.isfinite(nodes["value"]), "a value is no number")
    return nodes, starts


def _depth(nodes: dict[str, Any], starts: Ints) -> int:
    """Steps from the roots to the deepest leaf."""
    offset = np.repeat(starts[:-1], np.diff(starts))
    level, found = starts[:-1], 0
    while True:
        level = level[nodes["left"][level] >= 0]
        if not len(level):
            return found
        level = np.unique(np.concatenate([nodes[side][level] + offset[level] for side in ("left", "right")]))
        found += 1
        _check(found <= DEPTH, f"a tree is deeper than {DEPTH}")


def _not_above(thresholds: Floats) -> npt.NDArray[np.float32]:
    """Each as the largest single-precision number that is not above it: comparisons of such numbers come out the same."""
    single = thresholds.astype(np.float32)
    return np.where(single > thresholds, np.nextafter(single, np.float32(-np.inf)), single)


def _shaped(matrix: Floats, features: int) -> None:
    if matrix.ndim != 2 or matrix.shape[1] != features:
        raise ValueError(f"rows of {features} features are needed, not an array of shape {matrix.shape}")
