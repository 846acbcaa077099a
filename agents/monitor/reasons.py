"""Why does a model say what it says? The feature that moved each decision most, and what share of the moving proxies do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor.contract import Floats, Ints, State, View, fixed
from agents.monitor.shares import MARGIN

PREFIX = "feature_attributions."
TOP = 20
"""Top reasons that are told apart."""
LEAST = 1_000


class Reasons:
    """What a profile knows of the reference's attributions."""

    def __init__(self, section: State, proxies: Mapping[str, Sequence[str]]) -> None:
        """Read what `fitted` wrote; `proxies`: protected attribute → features that stand for it."""
        self.names: list[str] = section["names"]
        self.top: list[str] = section["top"]
        self.reference: Ints = section["counts"]
        self.mass: Floats = section["mass"]
        self.proxies = {name: [one for one in some if one in self.names] for name, some in proxies.items()}
        known = isinstance(self.names, list) and isinstance(self.top, list) and set(self.top) <= set(self.names)
        if not known or self.reference.shape != (len(self.top) + 2,) or self.mass.shape != (len(self.names),):
            raise Misconfigured("the profile's attributions are damaged; fit the profile again")
        place = {name: code for code, name in enumerate(self.top)}
        self._code = np.array([*(place.get(name, len(self.top)) for name in self.names), len(self.top) + 1])
        self._proxy = np.array([[name in some for name in self.names] for some in self.proxies.values()], dtype=float)
        self.n_ref = int(self.reference[:-1].sum())

    @property
    def columns(self) -> frozenset[str]:
        """The decision columns that it reads."""
        return frozenset(f"{PREFIX}{name}" for name in self.names)

    def count(self, view: View) -> dict[str, Ints]:
        """`reasons`: by top reason, all others, none given. `proxies`: decisions with reasons, then each attribute's mass."""
        moves = _moves(view.frame, self.names)
        total = moves.sum(axis=1)
        given = total > 0
        top = np.where(given, moves.argmax(axis=1), len(self.names))
        found = {"reasons": view.tally(self._code[top], len(self.top) + 2)}
        if self.proxies:
            part = (moves @ self._proxy.T) / np.where(given, total, 1.0)[:, None]
            one = np.zeros(view.height, dtype=np.int64)
            mass = [view.tally(one, 1, fixed(share)) for share in part.T]
            found["proxies"] = np.concatenate([view.per_stretch(given), *mass], axis=1)
        return found

    def usual_mass(self) -> Floats:
        """The largest share of the moving that is still usual for each attribute's proxies: MARGIN × an upper bound."""
        mean = np.array([self.mass[row > 0].sum() for row in self._proxy])
        noise = 3.09 * np.sqrt(mean * (1 - mean) / max(self.n_ref, 1))  # a share's variance is at most m(1 - m)
        return np.asarray(np.minimum(MARGIN * (mean + noise), 1.0))


def fitted(frame: pl.DataFrame, declaration: Model) -> State | None:
    """A section from reference decisions; None where fewer than LEAST have attributions."""
    names = [name for name in declaration.features if f"{PREFIX}{name}" in frame.columns]
    if not names:
        return None
    moves = _moves(frame, names)
    total = moves.sum(axis=1)
    given = total > 0
    if given.sum() < LEAST:
        return None
    by_feature = np.bincount(moves[given].argmax(axis=1), minlength=len(names))
    order = [place for place in np.argsort(-by_feature, kind="stable")[:TOP] if by_feature[place]]
    rest = int(by_feature.sum() - by_feature[order].sum())
    counts = np.array([*by_feature[order], rest, int((~given).sum())], dtype=np.int64)
    mass = (moves[given] / total[given, None]).mean(axis=0)
    return {"names": names, "top": [names[place] for place in order], "counts": counts, "mass": mass}


def _moves(frame: pl.DataFrame, names: Sequence[str]) -> Floats:
    """How much each feature moved each decision, whichever way; 0 where nothing is known."""
    found = np.empty((frame.height, len(names)), order="F")
    for place, name in enumerate(names):
        column = f"{PREFIX}{name}"
        found[:, place] = np.abs(frame[column].to_numpy()) if column in frame.columns else 0.0
    return np.nan_to_num(found, copy=False, nan=0.0, posinf=0.0)
