"""Makes sure that the package `agents` is ours: another distribution claims that name, and importing it would govern nothing.

Only the standard library is used here, because this runs before anything of ours is imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

MARK = "governance.verdict.v1"


class WrongAgents(ImportError):
    """The name `agents` leads to somebody else's package."""


def check() -> None:
    """Raise WrongAgents, with the mend, unless `agents` is the package that belongs to this `orchestration`."""
    found = importlib.util.find_spec("agents")
    place = Path(found.origin).resolve().parent if found is not None and found.origin else None
    problem = refusal(place, Path(__file__).resolve().parent.parent / "agents")
    if problem:
        raise WrongAgents(problem)


def refusal(found: Path | None, ours: Path) -> str | None:
    """Why the package at `found` is not ours, as a sentence with the mend; None where it is."""
    if found == ours:
        return None
    contract = found / "events.py" if found is not None else None
    if contract is not None and contract.is_file() and MARK in contract.read_text(encoding="utf-8"):
        return None  # agents and orchestration installed in two places, both of this project
    where = f"{found}" if found is not None else "nowhere"
    return (
        f"the Python package `agents` is found at {where}, not at {ours}: another distribution of that name is installed, "
        "or comes first on the path. Give Governance in Motion an environment of its own (`make venv`), or remove the "
        "other one (`pip uninstall openai-agents agents`)"
    )
