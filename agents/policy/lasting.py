"""Rules that wait and rules that linger: `for` and `keep_firing_for`, answered from what stood before a decision.

Promise to the rules: the answer depends on the decision, its own time and what stands, never on another decision. With
`for: d` a rule matches where its condition is true for this decision under every state of the signals that stood in the
d before it, the present one included; with `keep_firing_for: d`, where that held at some moment of the last d. SQL's three
values hold: one `false` ends the waiting, one `true` is enough to linger, and what then hangs on an unknown is unknown.
While a signal was not there, nothing is known of it, and an answer that hangs on it is no.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from agents.policy.calendars import Times
from agents.policy.columns import signal_of
from agents.policy.compilation import Compiled
from agents.policy.past import BEFORE, State, Values
from agents.policy.safeguards import Who
from agents.policy.surroundings import Circumstances, type_of

NO, UNKNOWN, YES = 0, 1, 2  # so that AND is the least and OR the greatest, as in SQL
AFTER = 2**62
Answers = npt.NDArray[np.int8]
Rows = npt.NDArray[np.int64]


def lasting(one: Compiled, frame: pl.DataFrame, who: Who, times_ms: Times, circumstances: Circumstances) -> pl.Series:
    """The answer of a lasting rule for each row: true, false or null.

    `frame` has what the rule reads, with signals as they stand now; `times_ms` are the rows' times on the model's clock.
    """
    columns = sorted(name for name in one.columns if name.startswith("signals."))
    codes, versions = _coded(who.versions)
    answers = np.zeros(len(times_ms), dtype=np.int8)
    for code, version in enumerate(versions):
        rows = np.flatnonzero(codes == code)
        states = circumstances.stood(columns, who.names, version)
        part = frame if len(versions) == 1 else frame[rows]
        answers[rows] = _Span(one, part, times_ms[rows], columns, states).answers()
    told = pl.Series(answers)
    return pl.select(pl.when(told == UNKNOWN).then(None).otherwise(told == YES).alias("answer"))["answer"]


def alone(one: Compiled, frame: pl.DataFrame, present: Collection[str]) -> bool | None:
    """The answer for a frame of one row whose signals have stood long enough; `present`: the monitors that have one."""
    columns = sorted(name for name in one.columns if name.startswith("signals."))
    there = [signal_of(name)[0] in present for name in columns]
    values = tuple(frame[name][0] if known else None for name, known in zip(columns, there, strict=True))
    state = State(BEFORE, values, all(there))
    found = int(_Span(one, frame, np.zeros(1, dtype=np.int64), columns, [state]).under(0)[0])
    return None if found == UNKNOWN else found == YES


class _Span:
    """Decisions of one version, and the states that stood before them."""

    def __init__(
        self, one: Compiled, frame: pl.DataFrame, times_ms: Times, columns: Sequence[str], states: Sequence[State]
    ) -> None:
        self._one, self._times, self._columns, self._states = one, times_ms, columns, states
        self._own = frame.select(sorted(one.columns - set(columns))).get_columns()
        self._height = len(frame)
        self._waits, self._lingers = _ms(one.rule.for_), _ms(one.rule.keep_firing_for)
        self._starts = np.array([state.from_ms for state in states], dtype=np.int64)
        self._ends = np.append(self._starts[1:], AFTER)
        self._known: dict[tuple[Values, bool], Answers] = {}

    def answers(self) -> Answers:
        """An answer a row."""
        found = self.under(len(self._states) - 1)  # what stands now counts, even where its time is after the decision's
        if self._waits:
            found = np.minimum(found, self._throughout(self._times)) if found.any() else found
        if not self._lingers or (found == YES).all():
            return found
        earliest = self._times - self._lingers
        found = np.maximum(found, self._throughout(earliest))
        for moment in self._turns(int(earliest.min()), int(self._times.max())):
            rows = np.flatnonzero((earliest < moment) & (moment <= self._times) & (found != YES))
            if len(rows):
                found[rows] = np.maximum(found[rows], self._throughout(np.full(len(rows), moment), rows))
        return found

    def under(self, number: int) -> Answers:
        """What the condition says under one state; equal states are asked once."""
        state = self._states[number]
        key = (state.values, state.whole)
        known = self._known.get(key)
        if known is None:
            told = [
                pl.repeat(value, self._height, dtype=type_of(name), eager=True).alias(name)
                for name, value in zip(self._columns, state.values, strict=True)
            ]
            answer = pl.DataFrame([*self._own, *told]).select(self._one.expression.alias("answer"))["answer"]
            unknown = UNKNOWN if state.whole else NO
            known = self._known[key] = (answer.cast(pl.Int8) * YES).fill_null(unknown).to_numpy().astype(np.int8)
        return known

    def _throughout(self, moments: Times, rows: Rows | None = None) -> Answers:
        """Whether it held throughout the waiting time up to a moment, a row each."""
        rows = np.arange(self._height) if rows is None else rows
        first = np.searchsorted(self._ends, moments - self._waits, side="right")
        last = np.searchsorted(self._starts, moments, side="right") - 1
        found = np.full(len(rows), YES, dtype=np.int8)
        spans = first * len(self._states) + last
        for span in np.unique(spans).tolist():
            low, high = divmod(span, len(self._states))
            some = np.flatnonzero(spans == span)
            for number in range(high, low - 1, -1):
                found[some] = np.minimum(found[some], self.under(number)[rows[some]])
                if not found[some].any():
                    break
        return found

    def _turns(self, after: int, until: int) -> list[int]:
        """Moments at which `_throughout` may change."""
        turns = {*self._starts.tolist(), *(self._ends + self._waits).tolist()}
        return sorted(turn for turn in turns if after < turn <= until)


def _coded(versions: Sequence[str | None]) -> tuple[Rows, list[str | None]]:
    """A number for each row's version, and the versions by number."""
    if versions and versions.count(versions[0]) == len(versions):
        return np.zeros(len(versions), dtype=np.int64), [versions[0]]
    numbers: dict[str | None, int] = {}
    codes = [numbers.setdefault(version, len(numbers)) for version in versions]
    return np.array(codes, dtype=np.int64), list(numbers)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
