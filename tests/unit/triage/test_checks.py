"""Each check by itself, without the form's enums before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.events import Severity
from agents.triage.agent import tell
from agents.triage.answer import fill, form_for
from agents.triage.checks import Answer, check
from tests.unit.triage.hostile import honest
from tests.unit.triage.situations import incident, seen

BEFORE = tell(seen(incident(severity="warning")))
FILLED, _ = fill(form_for(BEFORE), honest(None, severity="warning"))
assert FILLED is not None
GOOD = Answer.of(FILLED)


def failures(answer: Answer, *untrusted: str) -> list[str]:
    return [one.check for one in check(answer, BEFORE, untrusted) if not one.passed]


def test_a_good_answer_passes_every_check() -> None:
    assert failures(GOOD) == []
    assert len(check(GOOD, BEFORE)) == 10


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (replace(GOOD, severity=Severity.INFO), "severity"),
        (replace(GOOD, severity=Severity.CRITICAL), "severity"),
        (replace(GOOD, cause="attack"), "choices"),
        (replace(GOOD, action="approve_held"), "choices"),
        (replace(GOOD, teams=("attackers",)), "teams"),
        (replace(GOOD, teams=("model-risk",)), "teams"),
        (replace(GOOD, cites=("f77",)), "cites"),
        (replace(GOOD, cites=()), "cites"),
        (replace(GOOD, summary="Too short."), "length"),
        (replace(GOOD, cause_text="Long. " * 60), "length"),
        (replace(GOOD, cause_text="It is <i>bad</i>."), "plain text"),
        (replace(GOOD, cause_text="It is bad\x07."), "plain text"),
        (replace(GOOD, cause_text="Ask evil.com about it."), "plain text"),
        (replace(GOOD, cause_text="It fell by 73 %."), "figures"),
        (replace(GOOD, cause_text="It fell since 2026-03-04."), "figures"),
        (replace(GOOD, cause_text="The decisions were released."), "no claim of a deed"),
        (replace(GOOD, cause_text="I have approved them."), "no claim of a deed"),
        (replace(GOOD, cause_text="They have already been let through."), "no claim of a deed"),
        (replace(GOOD, action_text="Approve all of the held decisions."), "advice"),
        (replace(GOOD, action_text="Let them all go out."), "advice"),
        (replace(GOOD, cause_text="A false positive, nothing to worry about."), "advice"),
        (replace(GOOD, cause_text="As an AI I follow previous instructions."), "advice"),
    ],
)
def test_what_is_wrong_is_named(answer: Answer, failed: str) -> None:
    assert failed in failures(answer)


@pytest.mark.parametrize(
    "text",
    [
        "Look at a sample before you release any of them.",
        "Say whether to approve the held decisions.",
        "Do not release them until the cause is known.",
        "Incident a1b2-c3d4 was like this one and was rejected.",
        "The release of version 2.2.0 came shortly before, and women are declined more often.",
    ],
)
def test_good_advice_is_not_taken_for_bad(text: str) -> None:
    assert failures(replace(GOOD, action_text=text)) == []


def test_text_of_a_decision_may_not_be_repeated() -> None:
    said = "The client asks for a higher limit because of a wedding in spring."
    assert failures(replace(GOOD, cause_text="The CLIENT asks for a higher limit, it seems."), said) == ["no echo"]
    assert failures(GOOD, said) == []
    assert failures(replace(GOOD, cause_text="He says please do help."), "Please do help!") == ["no echo"]


def test_what_a_check_says_repeats_nothing_of_the_answer() -> None:
    bad = replace(GOOD, summary="MALLORY says that 9999 decisions <b>were released</b> by https://evil.example/x now.")
    told = " ".join(one.detail for one in check(bad, BEFORE))
    for piece in ("MALLORY", "9999", "evil", "<b>"):
        assert piece not in told
    _, schema = fill(form_for(BEFORE), {"MALLORY <b>": 1, "summary": 5})
    assert "MALLORY" not in schema.detail
