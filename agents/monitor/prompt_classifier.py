"""A small classifier of prompt injection: character n-grams, hashed, and a logistic regression with whole-number weights.

It reads phrases that no pattern lists, and is wrong more often. Whole numbers make its score the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_matrix, vstack
from sklearn.linear_model import LogisticRegression

from agents.monitor.contract import Floats, Ints, State
from agents.monitor.prompt_detectors import INJECTION, plain
from agents.monitor.prompt_weights import WEIGHTS
from agents.monitor.state import unpacked

BITS = 13
"""Weights: 2^BITS."""
SIZES = (3, 4, 5)
"""Bytes in an n-gram."""
WINDOW = 120
"""Places of a text that are scored together; a long text scores as its worst window, so nothing dilutes an attack."""
LONGEST = 20_000
"""Bytes of a text that are read."""
SHORT = 30
"""Shorter texts score as if they had so many places."""
RARITY = 5
"""Among the texts to learn from half are attacks; among prompts fewer are."""
STRIDE = 8
"""Places between the beginnings of two windows."""
_MULTIPLIER = np.uint32(2_654_435_761)

_TABLE = np.arange(256, dtype=np.uint8)
_TABLE[65:91] += 32
_TABLE[48:58] = 48
_TABLE[[9, 10, 13]] = 32
"""Upper case as lower case, digits alike, every space a space."""


class Classifier:
    """The detector: scores in 0..1; at CUT an attack is as likely as not, where one prompt in RARITY is one."""

    name, family = "classifier", f"{INJECTION} by classifier"

    def __init__(self, weights: State | None = None) -> None:
        """`weights`: what `trained` gives; not given: those that came with the product."""
        kept = unpacked(WEIGHTS) if weights is None else weights
        self._weights = kept["weights"].astype(np.int32)
        self._scale, self._intercept = float(kept["scale"]), float(kept["intercept"])

    def find(self, texts: pl.Series) -> Floats:
        if not len(texts):
            return np.zeros(0)
        sums, begin, end, starts, windows = self._windows(texts)
        score = (sums[end] - sums[begin]) / np.sqrt(np.maximum(end - begin, SHORT))
        best = np.full(len(texts), -np.inf)
        some = windows > 0
        best[some] = np.maximum.reduceat(score, starts[some]) if some.any() else []
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-(best * self._scale + self._intercept))))

    def worst(self, text: str) -> str:
        """The window of a text that scores highest: what it looks like an attack for."""
        sums, begin, end, _, windows = self._windows(pl.Series([text]))
        if not windows[0]:
            return ""
        place = int(((sums[end] - sums[begin]) / np.sqrt(np.maximum(end - begin, SHORT))).argmax())
        return text.encode()[int(begin[place]) : int(end[place])].decode(errors="ignore")

    def _windows(self, texts: pl.Series) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Running sums of weights; begin and end of every window, text by text; each text's first window, and how many."""
        grams, starts, lengths = _grams(texts)
        sums = np.zeros(grams.shape[1] + 1, dtype=np.int64)
        np.cumsum(self._weights[grams].sum(axis=0), out=sums[1:])
        windows = np.where(lengths > 0, np.maximum(lengths - WINDOW, 0) // STRIDE + 1, 0)
        first = np.cumsum(windows) - windows
        begin = np.repeat(starts - first * STRIDE, windows) + np.arange(windows.sum()) * STRIDE
        end = np.minimum(begin + WINDOW + STRIDE - 1, np.repeat(starts + lengths, windows))
        return sums, begin, end, first, windows


def _grams(texts: pl.Series) -> tuple[npt.NDArray[np.uint32], Ints, Ints]:
    """Hashes of the n-grams that begin at each place, (sizes, places), and each text's first place and places."""
    encoded = [text.encode()[:LONGEST] for text in texts.to_list()]
    data = _TABLE[np.frombuffer(b"".join(b" " + one + b"    " for one in encoded), dtype=np.uint8)].astype(np.uint32)
    lengths = np.array([len(one) for one in encoded], dtype=np.int64)
    padded = np.concatenate([[0], np.cumsum(lengths + 5)])[:-1]
    keep = np.repeat(padded - np.concatenate([[0], np.cumsum(lengths)])[:-1], lengths) + np.arange(lengths.sum())
    rows = []
    running = np.zeros(len(data), dtype=np.uint32)
    for size in range(1, max(SIZES) + 1):
        running = running * np.uint32(257)
        running[: len(data) - size + 1] += data[size - 1 :]
        if size in SIZES:
            mixed = (running[keep] + np.uint32(size)) * _MULTIPLIER
            mixed ^= mixed >> np.uint32(15)
            rows.append((mixed * _MULTIPLIER) >> np.uint32(32 - BITS))
    return np.stack(rows), np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(np.int64), lengths


def _features(text: str) -> csr_matrix:
    """A text's counts as the score has them, all windows together."""
    grams, _, lengths = _grams(pl.Series([text]))
    counts = np.bincount(grams.ravel(), minlength=2**BITS) / np.sqrt(max(int(lengths[0]), SHORT))
    return csr_matrix(counts)


def trained(texts: Sequence[str], attacks: Sequence[bool], strength: float = 0.3, rounds: int = 3) -> State:
    """Weights for a Classifier, learnt by scikit-learn; `strength` is its C.

    Because a text scores as its worst window, each round learns from the worst windows of the round before as well.
    """
    cleaned = plain(pl.Series(texts))
    rows, labels = [_features(text) for text in cleaned], list(attacks)
    found = _fitted(rows, labels, strength)
    for _ in range(rounds):
        before = Classifier(found)
        rows += [_features(before.worst(text)) for text in cleaned]
        labels += list(attacks)
        found = _fitted(rows, labels, strength)
    return found


def _fitted(rows: Sequence[csr_matrix], labels: Sequence[bool], strength: float) -> State:
    model = LogisticRegression(C=strength, max_iter=2_000, random_state=0).fit(vstack(rows), np.asarray(labels))
    scale = float(np.abs(model.coef_[0]).max()) / 127
    weights = np.rint(model.coef_[0] / scale).astype(np.int16)
    return {"weights": weights, "scale": scale, "intercept": float(model.intercept_[0] - np.log(RARITY - 1))}
