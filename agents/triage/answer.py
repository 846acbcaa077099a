"""The form that an LLM fills in for one incident: flat, every choice narrowed to what this incident allows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from agents.told_events import Allowed, Check, TriageData

LONGEST_SUMMARY, LONGEST_TEXT, MOST_QUESTIONS, MOST_TEAMS, MOST_CITES = 700, 300, 3, 3, 8


class Form(BaseModel):
    """What all forms have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SHORT_SUMMARY, SHORT_TEXT, FEW_QUESTIONS, FEW_CITES = 400, 160, 2, 4
"""Bounds that stand in the form itself."""


def form_for(record: TriageData, *, bounded: bool = False) -> type[Form]:
    """The form for a deterministic record; its JSON Schema goes to the provider.

    `bounded`: lengths are part of it. Servers that hold a model to a grammar need them, or a small one never ends; hosted
    providers do not all take them. checks.py looks at lengths in any case.
    """
    allowed = allowed_of(record)
    facts = tuple(one.id for one in record.facts) or ("f1",)
    text = _text(SHORT_TEXT, bounded)
    fields: dict[str, Any] = {
        "summary": (
            _text(SHORT_SUMMARY, bounded),
            Field(
                description=f"Two or three sentences, at most {SHORT_SUMMARY if bounded else LONGEST_SUMMARY} characters."
            ),
        ),
        "cause": (_one_of(allowed.causes), Field(description="The most likely cause.")),
        "cause_text": (text, Field(description="Why, in one sentence.")),
        "severity": (_one_of(tuple(one.value for one in allowed.severities)), Field(description="How bad it is.")),
        "action": (_one_of(allowed.actions), Field(description="What to do next.")),
        "action_text": (text, Field(description="How, in one sentence.")),
        "questions": (
            _list(text, bounded, FEW_QUESTIONS),
            Field(description=f"At most {FEW_QUESTIONS if bounded else MOST_QUESTIONS} questions for the reviewer."),
        ),
        "cites": (_list(_one_of(facts), bounded, FEW_CITES), Field(description="Ids of the facts that this rests on.")),
    }
    if allowed.teams:
        teams = _list(_one_of(allowed.teams), bounded, MOST_TEAMS)
        fields["teams"] = (teams, Field(description="Teams to add; usually none."))
    return create_model("Triage", __base__=Form, __doc__="A summary of one incident for its reviewer.", **fields)


def _text(longest: int, bounded: bool) -> Any:
    return Annotated[str, Field(max_length=longest)] if bounded else str


def _list(of: Any, bounded: bool, most: int) -> Any:
    return Annotated[list[of], Field(max_length=most)] if bounded else list[of]


def allowed_of(record: TriageData) -> Allowed:
    """What the record leaves open; one that does not say leaves nothing open."""
    return record.allowed or Allowed(causes=(record.cause,), actions=(record.action,), severities=(record.severity,))


def fill(form: type[Form], raw: Any) -> tuple[Form | None, Check]:
    """The filled form, or None where it does not fit; the check says which fields, and quotes nothing of the answer."""
    if isinstance(raw, dict):  # a list that is left out is an empty one
        raw = {**{name: [] for name in ("teams", "questions") if name in form.model_fields}, **raw}
    try:
        return form.model_validate(raw), Check(check="schema", passed=True)
    except ValidationError as error:
        told = [
            f"{'.'.join(str(part) for part in one['loc'] if isinstance(part, int) or part in form.model_fields) or 'answer'}"
            f" ({one['type'].replace('_', ' ')})"
            for one in error.errors(include_url=False, include_input=False)
        ]
        return None, Check(check="schema", passed=False, detail=f"does not fit the form: {', '.join(told[:6])}")


def _one_of(values: tuple[str, ...]) -> Any:
    return Annotated[Literal[values], Field()]
