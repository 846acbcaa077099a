"""What a profile says of how a version behaves: a surrogate of it, and what is usual of its residuals, flips and reasons.

The monitor of behaviour reads this section, and nothing else of the reference: so whatever it compares new decisions with is
fitted here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.configuration import Model
from agents.monitor.contract import Bools, Ints, State, View
from agents.monitor.cuts import favourable_labels, favoured
from agents.monitor.groups import groupings_of
from agents.monitor.lifts import fitted as fitted_lifts
from agents.monitor.paired import fitted as fitted_paired
from agents.monitor.reasons import fitted as fitted_reasons
from agents.monitor.surrogate import DECILES, Fitted, fit


def fit_section(view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
    """The section of reference decisions, and remarks on what it cannot show; None where no surrogate can be fitted."""
    view = view.counted
    found = fit(view.frame, declaration)
    if found.section is None or found.encoder is None:
        return None, found.remarks
    trees = found.section["trees"]
    importance = np.bincount(trees["feature"][trees["left"] >= 0], minlength=len(found.encoder.names))
    section = found.section | {"lifts": fitted_lifts(found.matrix, found.encoder, importance.tolist())}
    section["flips"] = _flipped(found)
    section["groups"] = {
        name: _flipped(found, codes[found.rows] == code)
        for grouping, codes in ((one, one.codes(view)) for one in groupings_of(declaration))
        for code, name in enumerate(grouping.groups)
    }
    section["reasons"] = fitted_reasons(view.frame, declaration)
    section |= _own_scores(view, declaration) if section["by_score"] else {}
    remarks = list(found.remarks)
    if section["reasons"] is None:
        remarks.append("behaviour: the reference gives no reasons (`feature_attributions`); their shift is not seen")
    return section, remarks


def _flipped(found: Fitted, rows: Bools | None = None) -> Ints:
    """(deciles, 2): reference decisions with an answer, and flips among them."""
    marks = [one if rows is None else one & rows for one in (found.judged, found.flips)]
    return np.stack([np.bincount(found.decile[one], minlength=DECILES) for one in marks], axis=1).astype(np.int64)


def _own_scores(view: View, declaration: Model) -> State:
    """The part of a section for decisions that carry the old version's score."""
    answers = known = np.zeros(view.height, dtype=np.bool_)
    if favourable_labels(declaration) and "output.label" in view.frame.columns:
        answers, known = favoured(view.frame, favourable_labels(declaration))
    paired = fitted_paired(view.frame["output.score"].to_numpy(), answers, known)
    return {} if paired is None else {"paired": paired}
