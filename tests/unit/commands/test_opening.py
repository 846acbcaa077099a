"""A decision opened on the command line shows each person what the console would: by role, reasons included."""

from __future__ import annotations

import pytest

from agents.configuration import Configuration
from agents.events import Position
from agents.records import Plain
from orchestration.cli import opening
from orchestration.console.records import Fetched
from orchestration.reading.held import HeldItem, Reason
from orchestration.settings import Settings

CONFIGURATION = Configuration.model_validate(
    {
        "models": {"credit": {"domain": "credit", "features": {"income": "numeric"}, "labels": {"yes": {}}}},
        "policies": [
            {
                "policy": "lending",
                "rules": [
                    {
                        "id": "poor",
                        "when": "features.income < 9",
                        "effect": "hold",
                        "reason": "{features.income} is low",
                    }
                ],
            }
        ],
        "escalation": {
            "people": {
                "ann": {"name": "Ann", "roles": ["reviewer"]},
                "ada": {"name": "Ada", "roles": ["admin"]},
            }
        },
    }
)
DECISION = b"""{"specversion": "1.0", "type": "governance.decision.v1", "id": "1", "source": "/credit", "subject": "client-8",
 "data": {"model": {"name": "credit", "version": "2"}, "features": {"income": 4321}, "output": {"label": "yes"}}}"""
ITEM = HeldItem(
    decision=Position(topic="gim.decisions", partition=0, offset=7),
    model="credit",
    version="2",
    rules=("lending/poor",),
    held_ms=1,
    verdict_offset=7,
    resolution=None,
    effect=None,
    ended_ms=None,
    final_offset=None,
    causationid=None,
    bytes_at=(0, 1),
    reasons=(Reason(rule="lending/poor", effect="hold", text="4321 is low"),),
)


@pytest.mark.parametrize(("person", "sees"), [("ann", True), ("ada", False)])
async def test_values_of_a_decision_and_its_reasons_are_for_reviewers(
    person: str, sees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def decision(*_: object) -> Fetched:
        return Fetched(Plain("gim.decisions", 0, 7, 1, b"client-8", DECISION, ()))

    monkeypatch.setattr(opening.KafkaRecords, "decision", decision)
    (found,) = await opening.opened_decisions(Settings(), CONFIGURATION, person, [ITEM])
    out = opening.Console(record=True, width=100)
    opening.print_opened(out, found)
    for told in (out.export_text(), str(found.document)):
        assert ("4321" in told) is sees
        assert ("client-8" in str(found.document)) is sees
    assert found.readable is sees
