"""The 30 incidents as triage sees them: data files beside this one, each with what a good triage says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agents.configuration import Configuration
from agents.configuration_yaml import read_configuration
from agents.events import SignalData
from agents.people_events import IncidentData, Resolution
from agents.policy.surroundings import signal_key
from agents.strict import Seconds, Strict
from agents.told_events import Advice, CauseKind, Similar, TriageData
from agents.triage.agent import tell
from agents.triage.seen import Change, Seen

HERE = Path(__file__).parent
NOW_MS = 1_772_442_843_120  # 2026-03-02 09:14 UTC
DAY_MS = 86_400_000


class Expected(Strict):
    """What a good triage says."""

    team: str | None
    """Who should be told in the end: the owner, or a team that triage adds."""
    cause: tuple[CauseKind, ...]
    """Any of these."""
    action: Advice


class Ago(Strict):
    """How long ago."""

    ago: Seconds


@dataclass(frozen=True)
class Case:
    """One incident and what is expected."""

    name: str
    what: str
    seen: Seen
    like_teams: tuple[str, ...]
    expected: Expected

    def told(self) -> TriageData:
        """The deterministic record."""
        return tell(self.seen, self.like_teams)

    def score(self, told: TriageData) -> tuple[bool, bool, bool]:
        """Whether team, cause and action are right."""
        owner = self.seen.incident.team
        teams = {owner, *told.teams}
        return self.expected.team in teams, told.cause in self.expected.cause, told.action == self.expected.action


def configuration() -> Configuration:
    """The bank that they happen at."""
    file = HERE / "configuration.yaml"
    return read_configuration([(str(file), file.read_text("utf-8"))])


def cases() -> list[Case]:
    """All of them, in the order of their files."""
    bank = configuration()
    found = []
    for file in sorted(HERE.glob("*.yaml")):
        if file.stem != "configuration":
            rows = yaml.safe_load(file.read_text("utf-8"))
            found += [_case(f"{file.stem}-{number}", row, bank) for number, row in enumerate(rows, 1)]
    return found


def _case(name: str, row: Mapping[str, Any], bank: Configuration) -> Case:
    similar = [{"title": "t", **one} for one in row.get("similar", ())]
    teams = tuple(team for one in similar if (team := one.pop("team", None)))
    signals = [_signal(one) for one in row.get("signals", ())]
    seen = Seen(
        incident=_incident(name, row["incident"]),
        now_ms=NOW_MS,
        configuration=bank,
        digest=bank.digest(),
        signals={signal_key(one): one for one in signals},
        changes=tuple(
            Change(NOW_MS - _ms(one["ago"]), one["kind"], one["text"], "", row["incident"].get("model"))
            for one in row.get("changes", ())
        ),
        versions={version: NOW_MS - _ms(ago) for version, ago in row.get("versions", {}).items()},
        similar=tuple(Similar(**{**one, "resolution": Resolution(one["resolution"])}) for one in similar),
    )
    return Case(name, row["what"], seen, teams, Expected.model_validate(row["expect"]))


def _incident(name: str, given: Mapping[str, Any]) -> IncidentData:
    key = f'["{given["cause"]}"]'
    usual = {
        "incident": f"{name[:4]}-{name[-1]}000",
        "revision": 0,
        "change": "triggered",
        "status": "triggered",
        "title": given["cause"],
        "group": key,
        "keys": [key],
        "count": 1,
        "flags": 1,
        "opened_ms": NOW_MS - 600_000,
        "first_ms": NOW_MS - 600_000,
        "last_ms": NOW_MS - 60_000,
        "deadline_ms": NOW_MS + 8 * 3_600_000 if given.get("held") else None,
    }
    return IncidentData.model_validate({**usual, **given})


def _signal(given: Mapping[str, Any]) -> SignalData:
    usual = {
        "model": "credit-limit",
        "e_value": 5_000_000.0,
        "guarantee": "proved",
        "budget_unit": "decisions",
        "onset_ms": NOW_MS - 3_600_000,
        "onset_n": 900,
    }
    return SignalData.model_validate({**usual, **given})


def _ms(text: str) -> int:
    return round(Ago(ago=text).ago * 1000)  # type: ignore[arg-type]
