"""The demo's parts: calls as they happen to real systems, a model that answers for itself, checks that find what is wrong."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from agents.records import Plain, Record, collect
from orchestration.config_files import load
from orchestration.demo import traffic
from orchestration.demo.check import Outcome, compare
from orchestration.demo.flow import Place
from orchestration.demo.model import FEATURES, Client, CreditModel, train
from orchestration.demo.story import _config, settings_of
from orchestration.replay import Judge

TOPIC = "demo.decisions"


@cache
def trained() -> tuple[CreditModel, list[Client]]:
    return train()


@cache
def messages(count: int) -> tuple[list[traffic.Call], list[traffic.Message]]:
    model, clients = trained()
    calls, sent = traffic.plan(count, len(clients)), []
    for number, call in enumerate(calls):
        who = clients[call.client]
        (answer,) = model.decide([who])
        new = traffic.message(number, call, answer, who.number, who.features)
        sent.append(new if call.repeats < 0 else traffic.again(call, sent[call.repeats]))
    return calls, sent


def test_the_model_is_better_than_a_coin_and_never_sees_who_somebody_is():
    model, clients = trained()
    assert model.learnt_on == len(clients) == 15_000
    assert model.auc > 0.7
    assert model.accuracy > 0.8
    assert not {"sex", "age", "marriage", "education", "default_next_month", "id"} & set(FEATURES)
    assert len({client.number for client in clients}) == 15_000


def test_answers_hang_together():
    model, clients = trained()
    for answer in model.decide(clients[:300]):
        assert answer.label == ("approve" if answer.score >= 0.5 else "decline")
        assert answer.confidence == pytest.approx(max(answer.score, 1 - answer.score))
        assert len(answer.attributions) == 4
        assert answer.latency_ms > 0
    late = Client(0, (20_000, 8, *[0] * 17))
    on_time = Client(0, (20_000, 0, *[0] * 17))
    worse, better = model.decide([late, on_time])
    assert worse.score < better.score
    assert worse.attributions["pay_0"] < 0


@pytest.mark.parametrize("count", [traffic.LEAST, 1_001, 12_000])
def test_a_plan_has_as_many_calls_as_asked_in_business_order_with_one_of_everything(count):
    calls = traffic.plan(count, 15_000)
    assert len(calls) == count
    assert calls == traffic.plan(count, 15_000)
    assert [call.time_ms for call in calls] == sorted(call.time_ms for call in calls)
    kinds = Counter(call.kind for call in calls)
    assert kinds["conflict"] == 1
    assert min(kinds["duplicate"], kinds["malformed"], kinds["undeclared"]) >= 1
    assert {call.fault for call in calls if call.fault} == set(traffic.FAULTS)
    assert {call.caller for call in calls} == {"svc-portal", "svc-branch", "svc-night-batch", "notebook-17"}
    for place, call in enumerate(calls):
        if call.repeats >= 0:
            assert call.repeats < place
            assert calls[call.repeats].kind == "decision"
            assert calls[call.repeats].client == call.client


def test_only_those_who_may_call_at_night_except_for_the_evenings_meant_to():
    calls = traffic.plan(12_000, 15_000)
    taipei = [(call, datetime.fromtimestamp(call.time_ms / 1000, UTC) + timedelta(hours=8)) for call in calls]
    late = [call for call, at in taipei if at.hour >= 22 and call.repeats < 0]
    assert len(late) == 80
    assert {call.caller for call in late} == {"svc-portal"}
    assert {call.caller for call, at in taipei if at.hour < 8} == {"svc-night-batch"}
    assert not [at for _, at in taipei if at.weekday() == 6]


def test_the_demos_policies_find_each_record_to_be_what_it_was_sent_as():
    _, sent = messages(1_001)
    records = [Plain("file", 0, at, 0, one.key, one.value, one.headers) for at, one in enumerate(sent)]
    verdicts = [json.loads(value or b"")["data"] for _, value, _ in Judge(load(_config())).judge(records)["verdicts"]]
    assert [one["kind"] for one in verdicts] == [one.kind for one in sent]
    rules = Counter(reason["rule"] for one in verdicts for reason in one["reasons"])
    assert rules["access/after-hours"] == 6
    assert (
        min(rules["quality/low-confidence"], rules["lending/approved-though-late"], rules["access/unknown-caller"]) >= 1
    )
    assert rules["quality/label-against-score"] == 0


# -- the checks --------------------------------------------------------------------------------------------------------


def judged(count: int = 200) -> tuple[dict[Place, traffic.Message], dict[str, list[Record]]]:
    """What Kafka would hold after a run, from the pure agent."""
    from agents.audit.commitment import Committer
    from agents.policy.agent import PolicyAgent
    from agents.policy.standing import Standing

    _, sent = messages(count)
    configuration = load(_config())
    agent = PolicyAgent("demo", TOPIC, 0, Committer("k", bytes(32)), configuration)
    records = [Plain(TOPIC, 0, at, 0, one.key, one.value, one.headers) for at, one in enumerate(sent)]
    found: dict[str, list[Record]] = {"released": [], "held": [], "withheld": [], "dead-letters": [], "flags": []}
    for (topic, _), some in collect(agent.decide(records, Standing.of(configuration))).items():
        found[topic.removeprefix("demo.")] = [
            Plain(topic, 0, at, 0, key, value, tuple(headers)) for at, (key, value, headers) in enumerate(some)
        ]
    return {(0, at): one for at, one in enumerate(sent)}, found


def checked(sent: dict[Place, traffic.Message], found: dict[str, list[Record]]) -> Outcome:
    return compare(TOPIC, sent, found, found["flags"])


def test_a_clean_run_passes_and_is_told_with_examples():
    sent, found = judged()
    outcome = checked(sent, found)
    assert [check.problems for check in outcome.checks] == [(), ()]
    assert sum(outcome.kinds.values()) == 200
    late = outcome.rules["access/after-hours"]
    assert (late.effect, late.count) == ("block", 1)
    assert late.text.startswith("svc-portal called credit-limit on a ")
    assert outcome.rules["record/undeclared"].text == "model credit-line-beta is not declared"
    assert not outcome.rules["stricter-confidence/below-two-thirds"].applied
    assert outcome.example in {late.position, outcome.rules["access/unknown-version"].position}


def plain(record: Record, **changes: object) -> Plain:
    fields = {name: getattr(record, name) for name in Plain.__slots__}
    return Plain(**{**fields, **changes})


def drop_verdict(found):
    return found["verdicts"].pop(5)


def double_verdict(found):
    found["verdicts"].append(found["verdicts"][5])


def release_twice(found):
    found["released"].append(found["released"][0])


def lose_held(found):
    found["held"].pop()


def alter_value(found):
    found["released"][3] = plain(found["released"][3], value=found["released"][3].value + b" ")


def alter_key(found):
    found["withheld"][0] = plain(found["withheld"][0], key=b"other")


def drop_header(found):
    found["released"][3] = plain(found["released"][3], headers=found["released"][3].headers[1:])


def release_held(found):
    found["released"].append(found["held"].pop())


def invent(found):
    header = ("govern-verdict", f"{TOPIC}/0/9999/gate".encode())
    found["released"].append(Plain("demo.released", 0, 999, 0, b"k", b"{}", (header,)))


def mistake_kind(found):
    at = next(n for n, one in enumerate(found["verdicts"]) if b'"kind":"malformed"' in one.value)
    one = found["verdicts"][at]
    found["verdicts"][at] = plain(one, value=one.value.replace(b'"kind":"malformed"', b'"kind":"undeclared"'))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (drop_verdict, "demo.decisions/0/5 has no verdict"),
        (double_verdict, "demo.decisions/0/5 has two verdicts"),
        (release_twice, "should be in released, is in ['released', 'released']"),
        (lose_held, "should be in held, is in none"),
        (alter_value, "is not what was sent"),
        (alter_key, "is not what was sent"),
        (drop_header, "is not what was sent"),
        (release_held, "should be in held, is in ['released']"),
        (invent, "released of demo.decisions/0/9999 is not what was sent"),
        (mistake_kind, "was sent as malformed and found to be undeclared"),
    ],
)
def test_whatever_goes_wrong_is_found_and_named(harm, says):
    sent, found = judged()
    harm(found)
    problems = [problem for check in checked(sent, found).checks for problem in check.problems]
    assert any(says in problem for problem in problems), problems


def test_the_demo_never_touches_the_deployment_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_PREFIX", "bank")
    monkeypatch.setenv("GOVERN_BOOTSTRAP_SERVERS", "kafka.example:9092")
    monkeypatch.setenv("GOVERN_RAY_ADDRESS", "ray.example:6379")
    monkeypatch.setenv("GOVERN_STORE", "s3://evidence")
    monkeypatch.setenv("GOVERN_KEYS_DIR", str(tmp_path / "keys"))
    settings = settings_of(tmp_path / "demo")
    assert (settings.prefix, settings.bootstrap_servers, settings.ray_address) == ("demo", None, None)
    assert settings.store_url == str(tmp_path / "demo" / "evidence")
    assert settings.keys_dir == tmp_path / "demo-keys"
