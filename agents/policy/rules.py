"""Rules over batches: which rules match each decision, which could not be evaluated, and what the strictest asks for.

Promise to the policy agent: `judge` gives a row the same reasons alone and in any batch; a rule that cannot be evaluated
is named and takes its `on_unknown` effect, never none. All rules of a model run in one Polars select; rows that share
the same reasons share one tuple, so that an agent prepares each combination once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from agents.configuration import Configuration, canonical
from agents.errors import Misconfigured
from agents.events import STRICTNESS, Effect
from agents.frames import decision_columns
from agents.policy import safeguards
from agents.policy.anomalies import Known, anomalies, asked, single
from agents.policy.calendars import OpenHours, Times
from agents.policy.columns import is_of_decision, signal_of
from agents.policy.compilation import Compiled, Matched, Problem, compile_all
from agents.policy.lasting import lasting
from agents.policy.past import LATE_MS
from agents.policy.safeguards import Who
from agents.policy.surroundings import Circumstances, needs_broker_time, needs_who, surroundings, type_of

__all__ = ["Judged", "Matched", "RuleSet", "compiled", "effect_of", "needed_columns"]

NOBODY = Who(frozenset(), [], [])
Combo = tuple[Matched, ...]
Bits = npt.NDArray[np.bool_]
Meaning = list[tuple[int, Matched]]  # by column of bits: the reason's place among a decision's reasons, and the reason


@dataclass
class Judged:
    """The reasons of each row of a batch."""

    combos: list[Combo]
    """Distinct combinations of reasons in this batch; combos[0] is ()."""
    rows: list[int]
    """A row each: the index of its combination."""


class Stands(Protocol):
    """What rules need of a Standing."""

    @property
    def circumstances(self) -> Circumstances: ...
    @property
    def anomalies(self) -> Known: ...


def effect_of(combo: Combo) -> Effect:
    """The strictest applied effect; allow where there is none."""
    return max((one.effect for one in combo if one.applied), key=STRICTNESS.index, default=Effect.ALLOW)


@dataclass(frozen=True)
class _Plan:
    """All rules of one model, ready to run."""

    rules: Sequence[Compiled]
    select: Sequence[pl.Expr]
    outcomes: Sequence[tuple[Matched, Matched]]
    """A rule each: when it matches, when it cannot be evaluated."""
    extra: Sequence[str]
    """Columns that do not come with the decision."""
    columns: frozenset[str]
    calendar: OpenHours | None
    needs_who: bool
    lasting: Mapping[int, Compiled]
    """Rules with `for` or `keep_firing_for`, by their place; `select` leaves them out."""
    features: Mapping[str, pl.DataType]
    """What anomaly scores are made from; empty where no rule asks for them."""
    profile: str
    """The digest of what they are made with; empty where the model declares none."""

    def scored(self, frame: pl.DataFrame, wanted: Sequence[str], standing: Stands) -> list[pl.Series]:
        """The wanted columns of ANOMALY; raises NotReady where the profile is not there."""
        return anomalies(wanted, frame, self.profile, standing.anomalies)


class RuleSet:
    """The rules of one configuration, compiled once; raises Misconfigured with every mistake in them."""

    def __init__(self, configuration: Configuration) -> None:
        problems: list[Problem] = []
        by_model = compile_all(configuration, problems)
        if problems:
            raise Misconfigured("the policies cannot be used:\n" + "\n".join(map(str, problems)))
        self._configuration = configuration
        self._plans = {model: self._plan(model, rules) for model, rules in by_model.items()}
        self._named = {one.name: one for rules in by_model.values() for one in rules}

    def columns(self, model: str) -> frozenset[str]:
        """The decision's columns that `judge` needs in its frame."""
        return self._plans[model].columns

    def extra(self, model: str) -> frozenset[str]:
        """The columns that conditions read and that do not come with the decision."""
        return frozenset(self._plans[model].extra)

    def rule(self, name: str) -> Compiled:
        """The rule of a name as verdicts have it, with its policy; raises KeyError for a disabled or unknown one."""
        return self._named[name]

    def rules(self, model: str) -> Sequence[Compiled]:
        """The rules that a model's decisions are judged by."""
        return self._plans[model].rules

    def judge(self, model: str, frame: pl.DataFrame, times_ms: Times, standing: Stands) -> Judged:
        """Judge decisions of one declared model.

        `frame` has at least `columns(model)`; `times_ms` are the times that calendars go by (broker or event, as the
        model's clock says), UTC, one a row.
        """
        plan, height = self._plans[model], len(times_ms)
        orders = standing.circumstances.safeguards
        if not plan.rules and not orders:
            return Judged([()], [0] * height)
        who = self._who(model, frame) if orders or plan.needs_who else NOBODY
        bits, meaning = np.zeros((height, 0), dtype=np.bool_), Meaning()
        if plan.rules:
            frame = _complete(plan, frame, who, times_ms, standing)
            answers = _answers(plan, frame, who, times_ms, standing.circumstances)
            bits, meaning = _bits(answers, plan.outcomes)
        ordered = safeguards.reasons(orders, who)
        if ordered:
            bits = np.column_stack([bits, *(rows for _, rows in ordered)])
            meaning += [(len(plan.rules) + place, matched) for place, (matched, _) in enumerate(ordered)]
        return _combine(bits, meaning)

    def around(
        self, model: str, row: Mapping[str, object], time_ms: int, standing: Stands, wanted: Sequence[str]
    ) -> dict[str, object]:
        """Columns that do not come with the decision, for one decision of a declared model given by its columns."""
        names = frozenset({model, str(row.get("model.name") or model)})
        version, caller, broker = row.get("model.version"), row.get("caller"), row.get("broker_time_ms")
        who = Who(names, [None if version is None else str(version)], [None if caller is None else str(caller)])
        known = broker if isinstance(broker, int) else time_ms
        time, calendar = np.array([time_ms], dtype=np.int64), self._plans[model].calendar
        values = surroundings(wanted, who, [known], time, calendar, standing.circumstances)
        features, unusual = self._plans[model].features, asked(wanted)
        scored = self._plans[model].scored(single(row, features), unusual, standing) if unusual else []
        return {name: value[0] for name, value in values.items()} | {one.name: one[0] for one in scored}

    @cached_property
    def profiles(self) -> Mapping[str, str]:
        """The digest of its profile, for each model whose rules ask for anomaly scores."""
        return {model: plan.profile for model, plan in self._plans.items() if plan.features}

    @cached_property
    def memory(self) -> Mapping[str, int]:
        """How far back, in ms before its newest record, each monitor's signals have to be remembered; only those that are."""
        found: dict[str, int] = {}
        for one in self._named.values():
            if one.lasts:
                reach = round((one.rule.for_ + one.rule.keep_firing_for) * 1000) + LATE_MS
                read = {signal_of(name)[0] for name in one.columns if name.startswith("signals.")}
                found |= {monitor: max(reach, found.get(monitor, 0)) for monitor in read}
        return found

    def _plan(self, model: str, rules: Sequence[Compiled]) -> _Plan:
        declared = self._configuration.models[model].calendar
        calendar = None if declared is None else OpenHours(declared, self._configuration.calendars[declared])
        used = frozenset().union(*(one.columns for one in rules))
        extra = sorted(name for name in used if not is_of_decision(name))
        own = {name for name in used if is_of_decision(name)} | {"caller", "model.version"}
        if any(needs_broker_time(name) for name in extra):
            own.add("broker_time_ms")
        if model == self._configuration.undeclared:
            own.add("model.name")
        features = self._features(model) if any(asked(one.columns | {*one.reason.columns}) for one in rules) else {}
        own |= features.keys()
        return _Plan(
            rules,
            [one.expression.alias(str(index)) for index, one in enumerate(rules) if not one.lasts],
            [(one.outcome(True), one.outcome(False)) for one in rules],
            extra,
            frozenset(own),
            calendar,
            any(needs_who(name) for name in extra),
            {index: one for index, one in enumerate(rules) if one.lasts},
            features,
            self._configuration.models[model].profile or "",
        )

    def _features(self, model: str) -> dict[str, pl.DataType]:
        columns = decision_columns(self._configuration.models[model])
        return {name: kind for name, kind in columns.items() if name.startswith("features.")}

    def _who(self, model: str, frame: pl.DataFrame) -> Who:
        names = {model}
        if model == self._configuration.undeclared and len(frame):
            names |= set(frame["model.name"].drop_nulls().unique().to_list())
        return Who(frozenset(names), frame["model.version"].to_list(), frame["caller"].to_list())


def compiled(configuration: Configuration) -> RuleSet:
    """The RuleSet of a configuration; the latest few are kept, because several parts of a lane ask for the same one."""
    return _compiled(canonical(configuration.document()))


def needed_columns(configuration: Configuration) -> frozenset[str]:
    """The decision's columns that the rules of any model read."""
    rules = compiled(configuration)
    return frozenset().union(*(rules.columns(model) for model in configuration.models))


@lru_cache(maxsize=4)
def _compiled(document: bytes) -> RuleSet:
    return RuleSet(Configuration.model_validate(json.loads(document)))


def _complete(plan: _Plan, frame: pl.DataFrame, who: Who, times_ms: Times, standing: Stands) -> pl.DataFrame:
    """The frame with what does not come with the decision."""
    if not plan.extra:
        return frame
    broker = frame["broker_time_ms"].to_list() if any(map(needs_broker_time, plan.extra)) else []
    values = surroundings(plan.extra, who, broker, times_ms, plan.calendar, standing.circumstances)
    made = [pl.Series(name, value, dtype=type_of(name)) for name, value in values.items()]
    unusual = asked(plan.extra)
    return frame.with_columns([*made, *(plan.scored(frame, unusual, standing) if unusual else ())])


def _answers(plan: _Plan, frame: pl.DataFrame, who: Who, times_ms: Times, circumstances: Circumstances) -> pl.DataFrame:
    """A Boolean column a rule, in the order of the rules."""
    answers = frame.select(plan.select)
    if not plan.lasting:
        return answers
    return pl.DataFrame(
        [
            lasting(plan.lasting[place], frame, who, times_ms, circumstances).alias(str(place))
            if place in plan.lasting
            else answers[str(place)]
            for place in range(len(plan.rules))
        ]
    )


def _bits(answers: pl.DataFrame, outcomes: Sequence[tuple[Matched, Matched]]) -> tuple[Bits, Meaning]:
    """A column a reason, and what each column means: first the rules as matched, then as unknown where any row is."""
    unknown = [index for index, count in enumerate(answers.null_count().row(0)) if count]
    meaning = [(index, matched) for index, (matched, _) in enumerate(outcomes)]
    if not unknown:
        return answers.to_numpy(), meaning
    missing = answers.select(pl.nth(*unknown).is_null()).to_numpy()
    known = answers.with_columns(pl.nth(*unknown).fill_null(False)).to_numpy()
    return np.column_stack([known, missing]), meaning + [(index, outcomes[index][1]) for index in unknown]


def _combine(bits: Bits, meaning: Meaning) -> Judged:
    """Number the distinct rows of `bits`; a row without any is number 0. Only rows with a reason cost anything."""
    numbers, combos = [0] * len(bits), list[Combo]([()])
    hit = np.flatnonzero(bits.any(axis=1))
    if not len(hit):
        return Judged(combos, numbers)
    chosen = bits[hit]
    packed = np.packbits(chosen, axis=1)
    width, raw = packed.shape[1], packed.tobytes()
    known: dict[bytes, int] = {}
    for place, row in enumerate(hit.tolist()):
        key = raw[place * width : (place + 1) * width]
        number = known.get(key)
        if number is None:
            number = known[key] = len(combos)
            reasons = sorted((meaning[column] for column in np.flatnonzero(chosen[place])), key=itemgetter(0))
            combos.append(tuple(reason for _, reason in reasons))
        numbers[row] = number
    return Judged(combos, numbers)
