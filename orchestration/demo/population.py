"""The demo's people: real clients of a card issuer, in one half that models learn on and one half that they decide for.

What a model is told of a client (`FEATURES`) and who a client is (`groups`) are kept apart: no model ever gets the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt
import polars as pl

SEED = 20260302
FEATURES = (
    "limit_bal",
    *("pay_0", "pay_2", "pay_3", "pay_4", "pay_5", "pay_6"),
    *(f"bill_amt{month}" for month in range(1, 7)),
    *(f"pay_amt{month}" for month in range(1, 7)),
)
BANDS = {"under 26": 26, "26 to 39": 40, "40 to 54": 55, "55 and over": 200}
"""Age band → the age that it stays below."""
ATTRIBUTES = ("sex", "age_band", "education", "marriage")
PLACE = {name: place for place, name in enumerate(FEATURES)}

Groups = Mapping[str, str]
"""Protected attribute → the group that somebody belongs to."""
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Client:
    """What a model is told of a client whom it has not seen."""

    number: int
    features: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """Rows that a model learns on."""

    inputs: Floats
    """A row for each client, in the order of FEATURES."""
    pays: npt.NDArray[np.int64]
    """1: the client pays, 0: defaults next month."""
    ages: npt.NDArray[np.int64]
    """For choosing rows; no model gets them."""


@dataclass(frozen=True)
class Population:
    """Both halves, in a fixed random order."""

    learnt: pl.DataFrame
    unseen: pl.DataFrame

    @property
    def sample(self) -> Sample:
        """The rows of the first half, as they are."""
        return Sample(inputs_of(self.learnt), pays_of(self.learnt), self.learnt["age"].to_numpy().astype(np.int64))

    @property
    def clients(self) -> list[Client]:
        """The second half, as models see them."""
        return _clients(self.unseen)

    @property
    def reference(self) -> list[Client]:
        """The first half, as models see them."""
        return _clients(self.learnt)

    @property
    def groups(self) -> dict[int, Groups]:
        """Client's number → the groups that they really belong to; second half only."""
        return {row["id"]: _groups(row) for row in self.unseen.iter_rows(named=True)}

    @property
    def reference_groups(self) -> dict[int, Groups]:
        """The same of the first half."""
        return {row["id"]: _groups(row) for row in self.learnt.iter_rows(named=True)}


def load() -> Population:
    """Everybody."""
    found = resources.files("orchestration.demo").joinpath("data", "credit_default.parquet").read_bytes()
    everybody = pl.read_parquet(found)
    order = np.random.default_rng(SEED).permutation(len(everybody))
    half = len(order) // 2
    return Population(everybody[order[:half]], everybody[order[half:]])


def inputs_of(frame: pl.DataFrame) -> Floats:
    """The features as a model takes them: a row for each client."""
    return frame.select(FEATURES).to_numpy().astype(np.float64)


def pays_of(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Whether each client pays."""
    return 1 - frame["default_next_month"].to_numpy().astype(np.int64)


def band_of(age: int) -> str:
    """The age band.

    >>> band_of(25), band_of(26), band_of(79)
    ('under 26', '26 to 39', '55 and over')
    """
    return next(name for name, below in BANDS.items() if age < below)


def _clients(frame: pl.DataFrame) -> list[Client]:
    return [Client(row[0], row[1:]) for row in frame.select("id", *FEATURES).iter_rows()]


def _groups(row: Mapping[str, object]) -> Groups:
    found = {name: str(row[name]) for name in ATTRIBUTES if name != "age_band"}
    return {**found, "age_band": band_of(int(str(row["age"])))}
