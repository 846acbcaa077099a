"""What an LLM is told of one incident: the facts as displayed, what is open to it, and a fenced sample of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.told_events import Check, TriageData
from agents.triage.answer import allowed_of
from agents.triage.checks import Answer
from agents.triage.fields import Fenced

FEWER = 10
"""Facts that remain where all are more than a model takes."""


def question(record: TriageData, sample: Sequence[Fenced] = (), *, short: bool = False) -> str:
    """The incident in words; `short`: the first facts only, and no sample."""
    allowed = allowed_of(record)
    facts = record.facts[:FEWER] if short else record.facts
    lines = [f"Incident {record.incident}. Its severity is {record.severity.value}."]
    lines += ["", "Facts:", *(f"{one.id} ({one.kind.replace('_', ' ')}): {one.text}" for one in facts)]
    lines += ["", f"By rule the cause is taken for {record.cause}, and the advice is {record.action}."]
    lines += [f"Open to you are: cause {', '.join(allowed.causes)};"]
    lines += [f"action {', '.join(allowed.actions)}; severity {', '.join(allowed.severities)};"]
    lines += [f"teams to add: {', '.join(allowed.teams) or 'none'}."]
    if sample and not short:
        lines += ["", "Some of the decisions:"]
        lines += [one.block(f"{record.incident}/{number}") for number, one in enumerate(sample, 1)]
    return "\n".join(lines)


def failed(checks: Sequence[Check]) -> str:
    """The checks that failed, a line each, for the request to mend them."""
    return "\n".join(f"- {one.check}: {one.detail}" for one in checks if not one.passed)


def told_by_model(record: TriageData, answer: Answer, **evidence: Any) -> TriageData:
    """The record of an answer that passed its checks: teams are only added to those of the deterministic record."""
    return record.model_copy(
        update={
            "by": "model",
            "summary": answer.summary,
            "cause": answer.cause,
            "cause_text": answer.cause_text,
            "severity": answer.severity,
            "action": answer.action,
            "action_text": answer.action_text,
            "teams": tuple(dict.fromkeys((*record.teams, *answer.teams))),
            "questions": answer.questions,
            "cites": answer.cites,
            **evidence,
        }
    )


def told_instead(record: TriageData, why: str, **evidence: Any) -> TriageData:
    """The deterministic record once more, saying why it stands although a model was asked."""
    return record.model_copy(update={"instead": why, **evidence})
