"""What finds prompt injection and personal data in prompts: the interface, for detectors of the product and your own.

class Presidio:                                   # one of your own: a name, a family, and `find`
    name, family = "presidio", "personal data"
    def find(self, texts):                        # a Polars Series of texts, none null → bools, or scores in 0..1
        return np.array([bool(analyzer.analyze(text, language="en")) for text in texts])

class MyPrompts(PromptRisk):                      # a kind of monitor with it, registered by an entry point
    kind, detectors = "my_prompts", (*PromptRisk.detectors, Presidio())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from agents.monitor.contract import Bools, Floats

INJECTION, PERSONAL = "prompt injection", "personal data"
CUT = 0.5
"""A score from here on is a finding."""
_INVISIBLE = "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"


@runtime_checkable
class Detector(Protocol):
    """Finds something in texts. Pure: the same text gives the same answer, on every machine."""

    @property
    def name(self) -> str:
        """What it finds, in a word."""

    @property
    def family(self) -> str:
        """INJECTION, PERSONAL or a family of its own; a family is watched as one."""

    def find(self, texts: pl.Series) -> Bools | Floats:
        """For each text (none is null), whether it is there; or a score in 0..1, CUT and more is a finding."""


def plain(texts: pl.Series) -> pl.Series:
    """Texts as detectors get them: null as empty, look-alike letters (NFKC) as the plain ones, invisible ones gone."""
    texts = texts.fill_null("")
    odd = texts.str.len_bytes() != texts.str.len_chars()
    if not odd.any():
        return texts
    cleaned = texts.filter(odd).str.normalize("NFKC").str.replace_all(_INVISIBLE, "")
    return texts.scatter(odd.arg_true(), cleaned)


def prompt_findings(texts: pl.Series | Sequence[str | None], detectors: Sequence[Detector]) -> Mapping[str, Bools]:
    """By detector's name: whether it found something, a row each. What flags of single decisions are made of."""
    series = plain(texts if isinstance(texts, pl.Series) else pl.Series(texts, dtype=pl.String))
    return {one.name: np.asarray(one.find(series), dtype=np.float64) >= CUT for one in detectors}
