"""More open incidents than triage remembers, and more models than anybody has: it tells each once, and stays small."""

import pytest

from agents.triage import agent as triage
from agents.triage.changes import MOST_MODELS, Lately
from agents.triage.fields import Names
from tests.unit.triage.situations import CONFIGURATION, NOW_MS, incident
from tests.unit.triage.test_telling import Steps, configured, of

DIGEST = "sha256:" + "0" * 64


def test_an_incident_that_triage_forgot_among_others_is_not_told_again_for_its_own_summary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triage, "MOST_OPEN", 3)
    steps, names = Steps(), [f"aaaa-000{number}" for number in range(6)]
    steps.step(NOW_MS, configured(CONFIGURATION))
    told = steps.step(NOW_MS + 1, *(of(incident(incident=name, cause="lending/x")) for name in names))
    assert [one.incident for one in told] == names
    for revision in (1, 2):
        more = {"cause": "lending/x", "revision": revision, "change": "triaged", "triage": DIGEST}
        told = steps.step(NOW_MS + 1 + revision, *(of(incident(incident=name, **more)) for name in names))
        assert told == [], "or it and the escalation agent would answer each other for ever"
    more = {"cause": "lending/x", "revision": 3, "change": "worsened", "triage": DIGEST, "severity": "critical"}
    assert len(steps.step(NOW_MS + 5, of(incident(incident=names[0], **more)))) == 1, "what became worse is told"


def test_models_that_somebody_invents_do_not_fill_the_memory_of_what_changed() -> None:
    lately = Lately()
    for number in range(3 * MOST_MODELS):
        lately.met(f"m{number}", "1", Names(frozenset()), number)
    assert len(lately.versions) == MOST_MODELS
    assert f"m{3 * MOST_MODELS - 1}" in lately.versions
