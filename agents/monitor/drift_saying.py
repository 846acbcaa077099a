"""What data drift says: how large differences are, of all inputs together, of each feature, of each pair, of isolation.

It only reads the monitor's state (drift.py): evidence decides there what is an alarm, here effect sizes are put beside it, and
a large PSI by itself is a warning. The words are those of drift_words.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agents.events import SignalStatus
from agents.monitor.ball import Ball, Effects
from agents.monitor.contract import Floats, Judgement, State
from agents.monitor.drift_profile import Reference, mid_ranks
from agents.monitor.drift_words import told_of_all, told_of_feature, told_of_isolation, told_of_pair

WARNING = 10.0
"""A warning is raised at this fraction of the evidence that an alarm needs."""
UNUSUAL = 0.95
"""Inputs beyond this share of the reference's isolation scores are told of."""
LEAST = 500
"""Decisions before there is a judgement."""
BELIEVED = 1_000
"""Decisions, here and in the reference, from which on a PSI alone may warn."""


class Saying:
    """Judgements and sentences on the state of one monitor; holds no state of the stream."""

    def __init__(self, reference: Reference, balls: Mapping[str, Ball], limit: float, psi_warn: float | None) -> None:
        """`balls`: the detectors by part, `features` and where they are watched `pairs` and `isolation`."""
        self.reference, self.balls, self.limit, self.psi_warn = reference, balls, limit, psi_warn
        self.names, self.pairs = reference.binning.names, reference.concordance.pairs
        self._ranks = mid_ranks(balls["features"])

    def judge(self, state: State, strength: dict[str, Floats]) -> list[Judgement]:
        """One of everything, one of each feature, of isolation, and of each pair that was ever worth a word.

        `strength`: each member's part of the budget-scaled evidence, by part.
        """
        members = [self._feature(state, strength["features"], row) for row in self._effects(state, "features")]
        pairs: list[Judgement] = []
        if "pairs" in self.balls:
            pairs += [self._pair(state, strength["pairs"], one) for one in self._effects(state, "pairs")]
        if "isolation" in self.balls:
            pairs += [self._isolated(state, strength["isolation"], one) for one in self._effects(state, "isolation")]
        return [self._overall(state, strength, members, pairs), *members, *pairs]

    def _effects(self, state: State, part: str) -> list[tuple[int, Effects]]:
        """Effect sizes by member: of what came since the onset where there is one to speak of, else of the recent profile."""
        ball, mine = self.balls[part], state[part]
        recent, since = (ball.effects(mine["ball"], one) for one in (False, True))
        onset = (mine["alarm"] | mine["warn"]) & (since.n[0] >= ball.block)
        rows = np.flatnonzero(mine["told"]).tolist() if part == "pairs" else range(ball.features)
        found = []
        for row in rows:
            one = since if onset[row] else recent
            found.append((row, Effects(*(values[0, row] for values in (one.psi, one.js, one.n, one.q, one.pi)))))
        return found

    def _status(self, state: State, part: str, row: int, effects: Effects) -> SignalStatus:
        mine, warn = state[part], self.psi_warn
        if mine["alarm"][row]:
            return SignalStatus.ALARM
        if state["seen"] < LEAST:
            return SignalStatus.INSUFFICIENT
        behind = min(float(effects.n), float(self.balls[part].n_ref[:, row].sum()))
        large = warn is not None and behind >= BELIEVED and effects.psi >= warn
        return SignalStatus.WARN if mine["warn"][row] or large else SignalStatus.OK

    def _judgement(
        self, state: State, part: str, strength: Floats, row: int, effects: Effects, **more: Any
    ) -> Judgement:
        mine = state[part]
        status = self._status(state, part, row, effects)
        n, moment = (values[0, row] for values in self.balls[part].onset(mine["ball"]))
        onset = status in (SignalStatus.ALARM, SignalStatus.WARN) and n > 0
        return Judgement(
            status=status,
            n=round(float(effects.n)),
            e_value=float(max(strength[row], mine["raised"][row] if mine["alarm"][row] else 0.0)),
            guarantee="proved",
            reference="profile",
            onset_ms=int(moment) if onset else None,
            onset_n=int(n) if onset else None,
            **more,
        )

    def _feature(self, state: State, strength: Floats, told: tuple[int, Effects]) -> Judgement:
        row, effects = told
        used = self.reference.binning.bins[row].size
        q, pi = effects.q[:used], effects.pi[:used]
        most = int(((q - pi) * np.log(q / pi)).argmax())
        detail = {"psi": float(effects.psi), "js": float(effects.js), "bin": float(most)}
        detail |= {"share": float(q[most]), "reference_share": float(pi[most])}
        detail |= {"missing": float(q[-1]), "reference_missing": float(pi[-1])}
        ranks = self._ranks[row]
        if ranks is not None:
            detail["mean_rank"] = float((q * ranks).sum() / q[:-1].sum())
        known = effects.n > 0
        return self._judgement(
            state,
            "features",
            strength,
            row,
            effects,
            group=f"feature={self.names[row]}",
            metric="psi",
            estimate=float(effects.psi) if known else None,
            detail=detail,
        )

    def _pair(self, state: State, strength: Floats, told: tuple[int, Effects]) -> Judgement:
        row, effects = told
        detail = {"psi": float(effects.psi), "js": float(effects.js)}
        detail |= {"share": float(effects.q[0]), "reference_share": float(effects.pi[0])}
        name = " & ".join(self.pairs[row])
        return self._judgement(
            state,
            "pairs",
            strength,
            row,
            effects,
            group=f"pair={name}",
            metric="concordance",
            estimate=float(effects.q[0]) if effects.n > 0 else None,
            detail=detail,
        )

    def _isolated(self, state: State, strength: Floats, told: tuple[int, Effects]) -> Judgement:
        """The most unusual twentieth of the reference's inputs is what figures are told of."""
        row, effects = told
        rank = np.cumsum(effects.pi)
        rare = rank - effects.pi >= UNUSUAL - 1e-3
        detail = {"psi": float(effects.psi), "js": float(effects.js)}
        detail |= {"share": float(effects.q[rare].sum()), "reference_share": float(effects.pi[rare].sum())}
        known = effects.n > 0
        return self._judgement(
            state,
            "isolation",
            strength,
            row,
            effects,
            group="inputs taken together",
            metric="psi",
            estimate=float(effects.psi) if known else None,
            detail=detail,
        )

    def _overall(
        self, state: State, strength: dict[str, Floats], members: list[Judgement], pairs: list[Judgement]
    ) -> Judgement:
        order = (SignalStatus.ALARM, SignalStatus.WARN, SignalStatus.OK, SignalStatus.INSUFFICIENT)
        status = min((one.status for one in (*members, *pairs)), key=order.index)
        total = sum(float(one.sum()) for one in strength.values())
        if status is SignalStatus.OK and total >= self.limit / WARNING:
            status = SignalStatus.WARN
        same = [one for one in (*members, *pairs) if one.status is status] or members
        named = max(same, key=lambda one: (one.e_value or 0.0, one.detail["psi"]))
        largest = max(range(len(members)), key=lambda row: members[row].detail["psi"])
        detail = {"feature": float(largest), "psi": members[largest].detail["psi"], "js": members[largest].detail["js"]}
        pairs_only = [one for one in pairs if one.metric == "concordance"]
        for name, found in (("features", members), ("pairs", pairs_only)):
            detail[f"{name}_in_alarm"] = float(sum(one.status is SignalStatus.ALARM for one in found))
        return Judgement(
            status=status,
            metric="psi",
            estimate=members[largest].estimate,
            n=members[largest].n,
            e_value=max(total, named.e_value or 0.0) if status is SignalStatus.ALARM else total,
            guarantee="proved",
            reference="profile",
            onset_ms=named.onset_ms,
            onset_n=named.onset_n,
            detail=detail,
        )

    def sentence(self, judgement: Judgement) -> str:
        """What `Monitor.sentence` promises."""
        kind, _, name = (judgement.group or "").partition("=")
        if judgement.estimate is None or judgement.status is SignalStatus.INSUFFICIENT:
            return f"too few decisions yet to compare {name or 'the inputs'} with the reference"
        if not name and judgement.group:
            return told_of_isolation(judgement)
        if kind == "pair":
            return told_of_pair(judgement, name)
        if kind == "feature":
            return told_of_feature(judgement, name, self._label(name, int(judgement.detail["bin"])))
        return told_of_all(judgement, self.names[int(judgement.detail["feature"])])

    def _label(self, name: str, place: int) -> str:
        return self.reference.binning.bins[self.names.index(name)].label(place)
