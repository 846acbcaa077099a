"""The blind sample: uniform, and the same for everybody."""

from __future__ import annotations

from scipy.stats import binomtest, kstest

from agents.tuning.blind import rank

POSITIONS = [f"gim.decisions/{number % 4}/{number}" for number in range(40_000)]


def test_ranks_are_uniform_also_within_a_partition() -> None:
    assert kstest([rank(one) for one in POSITIONS], "uniform").pvalue > 0.001
    assert kstest([rank(one) for one in POSITIONS if "/3/" in one], "uniform").pvalue > 0.001


def test_the_share_is_met() -> None:
    taken = sum(rank(one) < 0.005 for one in POSITIONS)
    assert binomtest(taken, len(POSITIONS), 0.005).pvalue > 0.001


def test_ranks_are_the_same_for_everybody_and_for_ever() -> None:
    assert rank("gim.decisions/3/17") == 5175778772693869294 / 2**64
    assert len({rank(one) for one in POSITIONS}) == len(POSITIONS)
