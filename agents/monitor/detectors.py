"""E-detectors: how strongly a stream speaks against a null, watched all the time with a bound on false alarms.

Shiryaev-Roberts form (Shin, Ramdas, Rinaldo, "E-detectors", 2022): M ← (M + w)·E for each block, where E has expectation
at most 1 under the null given the past, and w, known before the block's outcomes, is what the block adds to the budget's
clock (decisions, or time). Then P(M ≥ A within a clock of T) ≤ T/A, whatever the null's parameters do meanwhile; a family
of detectors whose shares sum to at most 1 keeps that bound together when each is scaled by its share.

All functions work on arrays of any shape, one element a detector: a monitor's groups, a study's streams. Logarithms are
rounded to 2⁻³², because log and exp differ by a last bit between processors and the results must not.
"""

from __future__ import annotations

import numpy as np

from agents.monitor.contract import Floats, Ints

NEVER = -np.inf
_GRAIN = 2.0**32


def rounded(values: Floats) -> Floats:
    """To multiples of 2⁻³²; infinities stay."""
    return np.asarray(np.rint(values * _GRAIN) / _GRAIN)


def grown(log_m: Floats, weight: Floats | float, log_e: Floats) -> Floats:
    """One step of Shiryaev-Roberts, in logarithms: log((M + w)·E); from -inf.

    >>> float(np.exp(grown(np.array(NEVER), 5.0, np.array(0.0))).round(6))
    5.0
    """
    with np.errstate(divide="ignore"):
        return rounded(np.logaddexp(log_m, np.log(weight)) + log_e)


def mixed(log_m: Floats, log_share: Floats) -> Floats:
    """The logarithm of Σ share·M over the last axis: one detector out of several alternatives whose shares sum to 1."""
    shifted = log_m + log_share
    top = shifted.max(axis=-1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return rounded(np.where(np.isfinite(top), safe + np.log(np.exp(shifted - safe[..., None]).sum(axis=-1)), NEVER))


def binomial_log_e(n: Ints | Floats, k: Ints | Floats, p0: Floats | float, a: Floats | float) -> Floats:
    """log E of k successes in n against the null P ≤ p0, betting on `a` > p0 (for P ≥ p0: on a < p0).

    k·log(a/p0) + (n-k)·log((1-a)/(1-p0)); its expectation is at most 1 for every p of the null.
    """
    gain = rounded(np.log(np.divide(a, p0)))
    loss = rounded(np.log1p(-np.asarray(a)) - np.log1p(-np.asarray(p0)))
    return np.asarray(k * gain + (n - k) * loss)


def left_zero(cusum: Floats, log_e: Floats) -> tuple[Floats, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """The CUSUM max(0, S + log E), and where it rests at 0: the change, if there is one, came after that moment."""
    found = np.maximum(0.0, cusum + log_e)
    return found, found <= 0.0
