"""How long cases wait for their labels here, and which models' labels would come too late.

Promise to operators: a configuration whose labels mature after their cases have expired is refused where it stands, before
a join lane meets it and fails.
"""

from __future__ import annotations

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.policy.problems import Problem
from orchestration.settings import DAY_MS, Settings


def remembered_ms(settings: Settings) -> tuple[int, int]:
    """How long a case is remembered, and how long an outcome waits for its case: together what the topics keep."""
    kept = int(settings.label_retention_days * DAY_MS)
    patience = min(DAY_MS, kept // 10)
    return kept - patience, patience


def problems(configuration: Configuration, settings: Settings) -> list[Problem]:
    """Models whose `label_maturity` is as long as cases are remembered, or longer.

    >>> late = Configuration(models={"credit": {"outcomes": {"repaid": {}}, "label_maturity": "180d"}})
    >>> print(*problems(late, Settings()), sep="\\n")  # doctest: +ELLIPSIS
    models.credit.label_maturity: a label may take 180 days, but cases are remembered for 179: they expire before ...
    """
    remembered, _ = remembered_ms(settings)
    return [
        Problem(
            ("models", name, "label_maturity"),
            f"a label may take {_days(model.label_maturity * 1000)}, but cases are remembered for "
            f"{remembered / DAY_MS:.4g}: they expire before their labels count",
            f"shorten it, or set GOVERN_LABEL_RETENTION_DAYS (now {settings.label_retention_days:g}), here and where "
            f"lanes run, to more than {_kept_ms(model.label_maturity * 1000) / DAY_MS:.4g}",
        )
        for name, model in configuration.models.items()
        if model.outcomes and model.label_maturity * 1000 >= remembered
    ]


def check(configuration: Configuration, settings: Settings) -> None:
    """Raises Misconfigured with all of `problems`; for configurations that stand in no file."""
    found = problems(configuration, settings)
    if found:
        raise Misconfigured("\n".join(map(str, found)))


def _kept_ms(maturity_ms: float) -> float:
    """What the topics must keep, so that a case is remembered for so long: see `remembered_ms`."""
    return min(maturity_ms / 0.9, maturity_ms + DAY_MS)


def _days(ms: float) -> str:
    return f"{ms / DAY_MS:.4g} days"
