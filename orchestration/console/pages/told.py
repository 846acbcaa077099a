"""What triage says of an incident, as a page tells it: in words, with the time as pages write it, and how old it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from agents.people_events import IncidentData
from agents.told_events import FactData, TriageData
from agents.triage.fields import reduced, spoken
from orchestration.console.pages.queue import counted
from orchestration.console.pages.views import Fact, Told
from orchestration.console.words import ADVICE, CAUSES, count, several, two_sentences

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
SOURCES = {
    "rule": ("the rules", "/policies"),
    "signal": ("what monitors say", "/models"),
    "before_after": ("what monitors say", "/models"),
    "feature": ("what monitors say", "/models"),
    "segment": ("what monitors say", "/models"),
    "count": ("the live flow", "/live"),
    "deadline": ("who is on call", "/people"),
}
"""Kind of a fact → where it can be looked up."""


def told_of(said: TriageData | None, deterministic: TriageData | None, data: IncidentData, waiting: int) -> Told | None:
    """What an incident's page tells of its summary; `waiting`: decisions that wait now."""
    if said is None:
        return None

    def read(text: str) -> str:
        return readable(text, data)

    facts = said.facts or (deterministic.facts if deterministic is not None else ())
    instead = said.instead or (deterministic.instead if deterministic is not None and said.by == "model" else None)
    first, more = two_sentences(read(said.summary))
    return Told(
        sentences=first,
        more=more,
        cause=CAUSES.get(said.cause, said.cause),
        advice=ADVICE.get(said.action, said.action),
        by_model=(said.usage[-1].model if said.usage else "a model") if said.by == "model" else "",
        cause_text=read(said.cause_text),
        advice_text=read(said.action_text),
        questions=tuple(read(one) for one in said.questions),
        facts=tuple(_fact(one, one.id in said.cites, read(one.text)) for one in facts),
        checks=tuple((one.check.replace("_", " "), one.passed, one.detail) for one in said.checks),
        instead=instead or "",
        then=_then(facts, data, waiting),
    )


def readable(text: str, data: IncidentData) -> str:
    """A text of triage in words. Names that the page shows anyway stand for themselves, in quotes, if they are plain names."""
    for name in (data.model, data.version):
        if name and _NAME.fullmatch(name):
            text = text.replace(reduced(name), f"“{name}”")
    return dated(spoken(text))


def _then(facts: Sequence[FactData], data: IncidentData, waiting: int) -> str:
    """How far the incident has come since its summary was written."""
    figures = {name: value for one in facts if one.kind in ("held", "count") for name, value in one.values.items()}
    held, count_then = figures.get("held"), figures.get("count")
    if isinstance(held, int | float):
        now = "nothing waits any more" if not waiting else f"{several(waiting, 'waits', 'wait')} now"
        return f"Written when {several(int(held), 'was', 'were')} held; {now}." if held != waiting else ""
    if isinstance(count_then, int | float) and count_then and count_then != data.count and "/" in data.cause:
        return f"Written after {counted(data.cause, int(count_then))}; {count(data.count)} by now."
    return ""


def _fact(one: FactData, cited: bool, text: str) -> Fact:
    words, url = SOURCES.get(one.kind, ("", ""))
    return Fact(one.id, text, one.kind, words, url, cited)


def dated(text: str) -> str:
    r"""A text with its moments as pages write them, none broken over lines.

    >>> dated("since 2026-03-02 09:14 UTC")
    'since 2\xa0Mar\xa02026, 09:14\xa0UTC'
    """

    def said(found: re.Match[str]) -> str:
        try:
            at = datetime.strptime(f"{found[1]}+0000", "%Y-%m-%d %H:%M%z")
        except ValueError:
            return found[0]  # a sender's digits that are no date
        return f"{at.day}\u00a0{at:%b}\u00a0{at.year}, {at:%H:%M}\u00a0UTC"

    return _MOMENT.sub(said, text)


_MOMENT = re.compile(r"\b(\d{4}-\d{2}-\d{2} \d{2}:\d{2}) UTC")
