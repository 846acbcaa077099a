"""The blind sample: uniform, the same for everybody, and growing with its share."""

from __future__ import annotations

from scipy.stats import binomtest, kstest

from agents.tuning.blind import offered, rank

POSITIONS = [f"gim.decisions/{number % 4}/{number}" for number in range(40_000)]


def test_ranks_are_uniform_also_within_a_partition() -> None:
    assert kstest([rank(one) for one in POSITIONS], "uniform").pvalue > 0.001
    assert kstest([rank(one) for one in POSITIONS if "/3/" in one], "uniform").pvalue > 0.001


def test_the_share_is_met() -> None:
    taken = sum(offered(one, 0.005) for one in POSITIONS)
    assert binomtest(taken, len(POSITIONS), 0.005).pvalue > 0.001


def test_a_larger_share_only_adds() -> None:
    small, large = ({one for one in POSITIONS if offered(one, share)} for share in (0.005, 0.02))
    assert small < large
    assert not {one for one in POSITIONS if offered(one, 0.0)}
