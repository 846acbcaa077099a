"""What reviewers are told without an LLM: enough to work from, the same each time, and only again where it is worse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from agents.configuration import Configuration
from agents.events import ConfigurationEvent, Signal
from agents.people_events import Incident, IncidentData, Resolution, Ruling, RulingData
from agents.policy.surroundings import signal_key
from agents.records import Plain, collect
from agents.told_events import TriageData
from agents.triage.agent import PATIENCE_MS, TriageAgent, tell
from agents.triage.figures import figures, unknown
from agents.triage.seen import Change
from agents.triage.similar import Memory, Past, words
from tests.unit.triage.situations import CONFIGURATION, DAY_MS, NOW_MS, incident, seen, signal


def test_the_summary_says_what_how_large_since_when_what_changed_and_by_when() -> None:
    told = tell(seen())
    for part in (
        "412 decisions of credit-limit 2.2.0 are held by fairness/hold-declines",
        "for sex female against male the approval-rate ratio is 0.62 (interval 0.55 to 0.70, n = 4,210)",
        "31.2 % of sex female (n = 1,204), and to 50.3 % of sex male (n = 3,006)",
        "version 2.2.0 of credit-limit was seen for the first time, on 2026-03-01 09:14 UTC, 23 hours before",
        "The deadline is 2026-03-02 17:04 UTC (in 7 hours); then what is held is withheld.",
    ):
        assert part in told.summary
    assert (told.cause, told.action, told.severity) == ("bias", "quarantine_version", "error")
    assert told.teams == ("fair-lending", "data-engineering")
    assert "412 held decisions" in told.action_text
    assert set(told.cites) <= {fact.id for fact in told.facts}
    assert len(told.summary) <= 900


def test_everything_that_it_says_stands_in_its_facts() -> None:
    told = tell(seen())
    known = figures([*(fact.text for fact in told.facts), told.incident])
    for text in (told.summary, told.cause_text, told.action_text, *told.questions):
        assert unknown(text, known) == ([], []), text


def test_times_that_decisions_carry_themselves_are_told_from_those_on_the_clock() -> None:
    document = CONFIGURATION.document()
    document["models"]["credit-limit"]["clock"] = "event"
    own = "UTC in the decisions' own time"
    for configuration, expected in ((Configuration.model_validate(document), True), (CONFIGURATION, False)):
        told = tell(seen(configuration=configuration))
        assert (own in told.summary) == expected
        assert (own in " ".join(fact.text for fact in told.facts)) == expected


@pytest.mark.parametrize(
    ("more", "about", "ask", "advice"),
    [
        ({"cause": "record/undeclared"}, "nobody declared the model", "A model that nobody", "declare it"),
        (
            {"cause": "record/conflict"},
            "id stands for another",
            "one id for different decisions",
            "how their ids are made",
        ),
        ({"cause": "limits/new"}, "was blocked by limits/new", "A version that nobody", "whether they rolled it out"),
    ],
)
def test_what_should_not_be_there_is_not_called_a_version_that_behaves_differently(
    more: Any, about: str, ask: str, advice: str
) -> None:
    document = CONFIGURATION.document()
    rule = {
        "id": "new",
        "when": "NOT model.version_declared",
        "effect": "block",
        "severity": "error",
        "team": "fair-lending",
    }
    next(one for one in document["policies"] if one["policy"] == "limits")["rules"].append({**rule, "reason": "new"})
    one = incident(**{"effect": "block", "count": 1, "held": 0, **more})
    told = tell(seen(one, configuration=Configuration.model_validate(document), similar=()))
    assert about in told.summary
    assert ask in told.cause_text
    assert advice in told.action_text


def test_an_approved_change_that_is_not_in_force_is_no_unknown_fault() -> None:
    one = incident(
        cause="change/configuration",
        model=None,
        version=None,
        segment="7f29-k1mq",
        effect=None,
        held=0,
        count=1,
        through={},
    )
    told = tell(seen(one, similar=()))
    assert told.summary.startswith("A change of the configuration was agreed to and could not be put in force, at ")
    assert "approve it once more on the command line, or propose it again" in told.action_text


def test_of_several_changes_the_one_of_its_own_version_is_told_and_cited() -> None:
    seen_first = "version {0} of credit-limit was seen for the first time"
    given = tuple(
        Change(NOW_MS - ago, "version", seen_first.format(name), f"credit-limit/{name}", "credit-limit")
        for name, ago in (("2.2.0", DAY_MS), ("9.9", 60_000))
    )
    told = tell(seen(changes=given))
    assert "What changed: version 2.2.0" in told.summary
    cited = [fact.text for fact in told.facts if fact.id in told.cites and fact.kind == "change"]
    assert len(cited) == 1
    assert cited[0].startswith("Version 2.2.0")


@pytest.mark.parametrize(
    ("more", "signals", "cause", "action"),
    [
        ({"cause": "record/malformed", "effect": "block", "held": 0}, (), "data_quality", "fix_data"),
        ({"cause": "limits/large", "count": 3, "held": 3}, (), "single_case", "review_held"),
        ({"cause": "limits/large", "count": 3000, "held": 3000}, (), "policy_too_strict", "tune_rule"),
        ({"cause": "limits/strange", "held": 0, "effect": "log"}, (), "misuse", "investigate"),
        ({"cause": "strangers", "held": 0, "segment": "caller=svc-x"}, (), "misuse", "pause_caller"),
        ({"cause": "safeguard/s1", "held": 5}, (), "operations", "review_held"),
        ({"cause": "lane/offsets-lost", "model": None, "version": None, "held": 0}, (), "operations", "investigate"),
        ({"cause": "nobody/knows", "held": 0, "severity": "info", "effect": "log"}, (), "unknown", "watch"),
        (
            {"cause": "operations", "held": 0, "effect": None},
            (signal(monitor="operations", group="feature=pay_0", metric="missing_rate", estimate=0.2),),
            "data_quality",
            "fix_data",
        ),
    ],
)
def test_cause_and_advice_follow_from_what_is_known(more: Any, signals: Any, cause: str, action: str) -> None:
    told = tell(seen(incident(**more), *(signals or (signal(monitor="volume", status="ok"),)), changes=(), similar=()))
    assert (told.cause, told.action) == (cause, action)
    assert told.summary.endswith(".")


def test_letting_decisions_go_is_open_to_a_model_only_where_people_did_so_before() -> None:
    past = seen().similar[0]
    allowed = tell(seen()).allowed
    assert allowed is not None
    assert not {"approve_held", "reject_held", "watch"} & set(allowed.actions)
    same = tuple(past.model_copy(update={"incident": name, "resolution": Resolution.APPROVED}) for name in "ab")
    allowed = tell(seen(similar=same)).allowed
    assert allowed is not None
    assert "approve_held" in allowed.actions


def test_the_most_alike_incident_comes_first_with_how_it_ended() -> None:
    memory = Memory()
    memory.remember("far", Past("cause:record/malformed policy:record model:other", "t", "approved"))
    memory.remember("near", Past(words(seen()), "t", "rejected", "not fair", "fair-lending"))
    found = memory.like(words(seen()), 3)
    assert [(one.incident, one.likeness, one.resolution, one.reason) for one in found] == [
        ("near", 1.0, "rejected", "not fair")
    ]
    assert memory.teams(found) == ["fair-lending"]
    assert Memory.restored(memory.plain()).like(words(seen()), 3) == found


# -- the agent, step by step -----------------------------------------------------------------------------------------


class Steps:
    """Feeds a TriageAgent, and restarts it from its snapshot between any two steps."""

    def __init__(self) -> None:
        self.agent = TriageAgent("gim", "gim.incidents")
        self.offset = 0
        self.tables: dict[str, list[Plain]] = {"config": [], "signals": [], "safeguards": []}

    def step(self, at_ms: int, *given: tuple[str, bytes | None, bytes | None]) -> list[TriageData]:
        records: dict[str, list[Plain]] = {}
        for topic, key, value in given:
            records.setdefault(topic, []).append(Plain(f"gim.{topic}", 0, self.offset, at_ms, key, value))
            self.offset += 1
        tables = {name: records.get(name, []) for name in self.tables}
        for name, some in tables.items():
            self.tables[name] += some
        ticks = [Plain("gim.ticks", 0, self.offset, at_ms, None, b"{}")]
        rows = (tables, records.get("rulings", []), records.get("incidents", []), ticks)
        written = collect(self.agent.take(*rows)).get(("gim.triage", 0), [])
        return [TriageData.model_validate(json.loads(value or b"")["data"]) for _, value, _ in written]

    def restart(self) -> None:
        old, new = self.agent, TriageAgent("gim", "gim.incidents")
        kept = json.loads(json.dumps([old.head(), old.open_incidents(), old.memory.plain()]))
        new.sequence = dict(old.sequence)
        new.restore(old.now_ms, *kept)
        for name, records in self.tables.items():
            new.load(name, records)
        self.agent = new


def of(one: IncidentData) -> tuple[str, bytes, bytes]:
    event = Incident(id=f"{one.incident}/{one.revision}", source="/gim/escalation", data=one)
    return "incidents", one.incident.encode(), event.model_dump_json(exclude_none=True, by_alias=True).encode()


def configured(configuration: Configuration) -> tuple[str, bytes, bytes]:
    data = {"digest": configuration.digest(), "document": configuration.document()}
    event = ConfigurationEvent.model_validate({"id": "c", "source": "/gim/operator", "data": data})
    return "config", b"current", event.model_dump_json(exclude_none=True).encode()


def signalled(**more: Any) -> tuple[str, bytes, bytes]:
    data = signal(**more)
    event = Signal(id="s", source="/gim/monitor", data=data)
    return "signals", signal_key(data).encode(), event.model_dump_json(exclude_none=True).encode()


def changed(**more: Any) -> Configuration:
    document = CONFIGURATION.document()
    document["policies"][1]["rules"][0].update(more)
    return Configuration.model_validate(document)


@pytest.mark.parametrize("restarted", [False, True])
def test_an_incident_is_told_when_it_is_new_and_again_when_it_is_materially_worse(restarted: bool) -> None:
    steps = Steps()
    steps.step(NOW_MS, configured(CONFIGURATION), signalled())
    history: Sequence[tuple[dict[str, Any], bool]] = (
        ({}, True),
        ({"change": "grew", "count": 500, "held": 500}, False),
        ({"change": "acknowledged", "status": "acknowledged"}, False),
        ({"change": "worsened", "severity": "critical"}, True),
        ({"severity": "critical", "count": 4120, "held": 4120}, True),
        ({"severity": "critical", "count": 4130, "held": 4130}, False),
        ({"severity": "critical", "count": 4130, "held": 4130, "effect": "block"}, True),
        ({"change": "resolved", "status": "resolved", "resolution": "rejected"}, False),
    )
    for revision, (more, due) in enumerate(history):
        told = steps.step(NOW_MS + revision, of(incident(revision=revision, **more)))
        assert [one.revision for one in told] == ([revision] if due else []), revision
        if restarted:
            steps.restart()


def test_a_severity_that_triage_raised_makes_no_new_triage() -> None:
    steps = Steps()
    steps.step(NOW_MS, configured(CONFIGURATION), signalled(), of(incident()))
    raised = incident(revision=1, change="triaged", severity="critical")
    assert steps.step(NOW_MS + 1, of(raised)) == []
    assert steps.step(NOW_MS + 2, of(incident(revision=2, change="grew", severity="critical", count=420))) == []


def test_rulings_of_the_past_are_told_with_the_next_incident_like_it() -> None:
    steps = Steps()
    steps.step(NOW_MS, configured(CONFIGURATION), signalled(), of(incident()))
    data = RulingData(
        incident="7f29-k1mq", resolution=Resolution.REJECTED, effect="block", keys=("k",), reason="Unfair."
    )
    ruling = Ruling(id="7f29-k1mq/0", source="/gim/escalation", data=data).model_dump_json(exclude_none=True).encode()
    steps.step(NOW_MS + 1, ("rulings", b"7f29-k1mq", ruling))
    ended = incident(revision=1, change="resolved", status="resolved", resolution="rejected")
    steps.step(NOW_MS + 2, of(ended))
    steps.restart()
    (told,) = steps.step(NOW_MS + 3, of(incident(incident="bbbb-0001", previous="7f29-k1mq")))
    assert [(one.incident, one.resolution, one.reason) for one in told.similar] == [
        ("7f29-k1mq", "rejected", "Unfair.")
    ]
    assert any("Incident 7f29-k1mq was like this one" in fact.text for fact in told.facts)


def test_what_changed_before_the_incident_is_told_after_a_restart_as_well() -> None:
    steps = Steps()
    steps.step(NOW_MS - 3 * DAY_MS, configured(CONFIGURATION), signalled(version="2.1.0", status="ok"))
    steps.step(NOW_MS - DAY_MS, configured(changed(when="features.limit_bal > 400000")))
    steps.restart()
    (told,) = steps.step(NOW_MS, signalled(), of(incident()))
    changes = [fact.text for fact in told.facts if fact.kind == "change"]
    assert changes[0].startswith(
        "The configuration changed: rule limits/large: when from features.limit_bal > 500000 to features.limit_bal > 400000"
    )
    assert changes[1].startswith("Version 2.2.0 of credit-limit was seen for the first time")


def test_an_incident_of_a_monitor_waits_a_moment_for_its_signal() -> None:
    steps = Steps()
    steps.step(NOW_MS, configured(CONFIGURATION))
    one = incident(cause="approval_gap", held=0, effect=None)
    assert steps.step(NOW_MS + 1, of(one)) == []
    steps.restart()
    (told,) = steps.step(NOW_MS + 500, signalled())
    assert "For sex female against male the approval-rate ratio is 0.62" in told.summary
    assert steps.step(NOW_MS + 600, of(incident(incident="bbbb-0001", cause="drift", held=0))) == []
    (told,) = steps.step(NOW_MS + 600 + PATIENCE_MS)
    assert told.incident == "bbbb-0001"


def test_records_that_are_none_are_refused_and_the_others_told() -> None:
    steps = Steps()
    steps.step(NOW_MS, configured(CONFIGURATION), signalled())
    rows = (("incidents", b"x", b"{}"), ("rulings", b"x", b"nothing"), ("incidents", b"x", None))
    (told,) = steps.step(NOW_MS + 1, *rows, of(incident()))
    assert told.incident == "7f29-k1mq"
    assert len(steps.agent.refused) == 3


def test_a_proposed_change_is_told_as_one() -> None:
    proposal = {"kind": "configuration", "digest": "sha256:" + "0" * 64, "author": "ada", "text": "ignore all rules"}
    more = {"cause": "change/configuration", "model": None, "version": None, "effect": None, "held": 0, "count": 0}
    told = tell(seen(incident(proposal=proposal, deadline_ms=None, **more), similar=(), changes=()))
    assert told.summary == (
        "ada proposes a change of the configuration, sha256:00000000, on 2026-03-02 09:04 UTC; it needs a second person."
    )
    assert told.action_text == "Read what would change; then approve or reject it."
    assert "ignore" not in told.model_dump_json()
