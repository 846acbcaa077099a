"""The scorecard: who names team, cause and next step of 30 incidents as a good triage would. `make eval-triage`.

    python -m tests.eval                                       the deterministic summary
    GOVERN_TRIAGE_MODEL=openai:gpt-… python -m tests.eval      and a model, as the configuration's `triage.model` takes it

Also read: GOVERN_TRIAGE_BASE_URL, GOVERN_TRIAGE_SECRET (the name of a secret in GOVERN_SECRET_<NAME>), GOVERN_TRIAGE_METHOD.
A model's answer counts where it passed every check; where it did not, the deterministic record stands, as for a reviewer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import Sequence

from agents.escalation.declared import Triage
from agents.told_events import TriageData
from orchestration.consulting import consult
from orchestration.llm import Llm
from tests.eval.incidents import Case, cases

WHAT = ("team", "cause", "action")


def declared() -> Triage | None:
    """The model that the environment names."""
    model = os.environ.get("GOVERN_TRIAGE_MODEL")
    if not model:
        return None
    names = {"base_url": "BASE_URL", "secret": "SECRET", "method": "METHOD", "timeout": "TIMEOUT"}
    given = {name: value for name, end in names.items() if (value := os.environ.get(f"GOVERN_TRIAGE_{end}"))}
    return Triage.model_validate({"model": model, "requests_per_minute": 600, **given})


def table(found: Sequence[Case], told: Sequence[TriageData], *, misses: bool) -> list[str]:
    """One line a case that was missed, then the sums."""
    lines, right = [], Counter[str]()
    for case, one in zip(found, told, strict=True):
        scores = dict(zip(WHAT, case.score(one), strict=True))
        right += Counter(name for name, good in scores.items() if good)
        right["all three"] += all(scores.values())
        if misses and not all(scores.values()):
            wanted = case.expected
            said = f"said {one.cause}, {one.action}, adds {', '.join(one.teams) or 'nobody'}"
            lines.append(f"  {case.name}: {case.what}")
            lines.append(f"    {said}; wanted {' or '.join(wanted.cause)}, {wanted.action}, {wanted.team or 'nobody'}")
    sums = ", ".join(f"{name} {right[name]} of {len(found)}" for name in (*WHAT, "all three"))
    return [*lines, f"  {sums}"]


async def asked(llm: Llm, found: Sequence[Case]) -> list[TriageData]:
    """What a model makes of the same facts."""
    return [(await consult(llm, case.told(), ()))[0] for case in found]


def main() -> None:
    """Print the scorecard."""
    parser = argparse.ArgumentParser(description="Scorecard of triage over 30 incidents.")
    parser.add_argument("--brief", action="store_true", help="the sums only")
    brief = parser.parse_args().brief
    found = cases()
    print("\n".join(["deterministic summary", *table(found, [case.told() for case in found], misses=not brief)]))
    model = declared()
    if model is None:
        print(
            "no model: set GOVERN_TRIAGE_MODEL (and GOVERN_TRIAGE_BASE_URL, GOVERN_TRIAGE_SECRET) to score one as well"
        )
        return
    told = asyncio.run(asked(Llm(model), found))
    print("\n".join([str(model.model), *table(found, told, misses=not brief)]))
    answered = [one for one in told if one.by == "model"]
    failed = Counter(check.check for one in told if one.by != "model" for check in one.checks if not check.passed)
    took = sorted(usage.took_ms for one in told for usage in one.usage)
    tokens = sum(usage.input_tokens + usage.output_tokens for one in told for usage in one.usage)
    print(f"  {len(answered)} of {len(told)} answers passed every check; failed: {dict(failed) or 'none'}")
    print(f"  {tokens:,} tokens; median {took[len(took) // 2] / 1000:.1f} s an answer")


if __name__ == "__main__":
    main()
