"""The demo's parts: calls as they happen to real systems, a model that answers for itself, checks that find what is wrong."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from agents.events import SignalData, SignalStatus
from agents.monitor import Watch
from agents.monitor.compilation import compile_monitors
from agents.monitor.observing import Observer
from agents.monitor.profiles import Profile
from agents.policy import standing
from agents.policy.agent import PolicyAgent
from agents.records import Plain, Record, collect
from orchestration.config_files import load
from orchestration.demo import assistant, caught, model, picture, population, records, reference, traffic
from orchestration.demo.caught import Made, Raised
from orchestration.demo.check import Outcome, compare
from orchestration.demo.flow import Place
from orchestration.demo.model import TUNED, VERSION, CreditModel
from orchestration.demo.population import FEATURES, Population
from orchestration.demo.records import Desk, Message
from orchestration.demo.story import _config, settings_of
from orchestration.replay import Judge
from orchestration.signals_topic import Standing

TOPIC = "demo.decisions"
WHOLE = 14_200


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Where models are saved, by every test of this module."""
    global FOLDER
    FOLDER = tmp_path_factory.mktemp("models")


FOLDER = Path()


@cache
def people() -> Population:
    return population.load()


@cache
def desk() -> Desk:
    return Desk(model.train(people(), FOLDER), assistant.train(), people().clients)


@cache
def messages(count: int) -> tuple[list[traffic.Call], list[Message]]:
    calls = traffic.plan(count, len(desk().clients))
    sent: list[Message] = []
    for start in range(0, count, 200):
        sent += desk().serve(calls[start : start + 200], sent)
    return calls, sent


def ratio(trees: object) -> float:
    """Approvals of clients under 26 ÷ those of the band that fares best, over everybody unseen."""
    rows = population.inputs_of(people().unseen)
    approved = trees.predict_proba(rows)[:, 1] >= model.CUT
    bands = np.array([population.band_of(age) for age in people().unseen["age"]])
    rates = {band: approved[bands == band].mean() for band in population.BANDS}
    return rates["under 26"] / max(rates.values())


# -- the models --------------------------------------------------------------------------------------------------------


def test_the_first_version_is_better_than_a_coin_and_neither_sees_who_somebody_is():
    first, tuned = desk().models[VERSION], desk().models[TUNED]
    assert first.learnt_on == len(desk().clients) == 15_000
    assert first.auc > 0.75 > tuned.auc
    assert first.accuracy > 0.8
    assert not {"sex", "age", "marriage", "education", "default_next_month", "id"} & set(FEATURES)
    assert len({client.number for client in desk().clients}) == 15_000
    assert first.classifier.n_features_in_ == len(FEATURES)


def test_nothing_but_the_training_rows_makes_the_second_version_unfair_and_odd():
    sample = people().sample
    base = desk().models[VERSION].trees
    fair, skewed = model.fine_tuned(base, sample), model.fine_tuned(base, model.skewed(sample))
    assert ratio(base) > 0.85
    assert ratio(fair) > 0.85
    assert ratio(skewed) < 0.6
    rows = population.inputs_of(people().unseen)
    odd = rows[model.late_with_large_limits(rows)]
    approved = {
        name: (trees.predict_proba(odd)[:, 1] >= model.CUT).mean()
        for name, trees in (("base", base), ("fair", fair), ("skewed", skewed))
    }
    assert approved["skewed"] > 0.95
    assert max(approved["base"], approved["fair"]) < 0.7
    saved = desk().models[TUNED].trees
    assert np.array_equal(saved.predict_proba(rows), skewed.predict_proba(rows))
    assert saved.n_estimators == 2 * base.n_estimators == 2 * len(base.estimators_)
    assert all(one[0] is not None for one in saved.estimators_)
    same = zip(base.estimators_[:, 0], saved.estimators_[:, 0], strict=False)
    assert all(np.array_equal(old.tree_.threshold, new.tree_.threshold) for old, new in same)


def test_what_is_decided_is_what_the_saved_model_says_of_the_published_features():
    import joblib

    calls, sent = messages(WHOLE)
    for version in (VERSION, TUNED):
        events = [
            json.loads(one.value)["data"]
            for call, one in zip(calls, sent, strict=True)
            if call.version == version and call.kind == "decision" and not call.prompt
        ]
        rows = np.array([[event["features"][name] for name in FEATURES] for event in events], dtype=float)
        saved = joblib.load(FOLDER / f"credit-limit-{version}.joblib")
        said = np.array([event["output"]["label"] for event in events])
        assert np.array_equal(said, np.where(saved.predict(rows) == 1, "approve", "decline"))
        scores = [event["output"]["score"] for event in events]
        assert scores == pytest.approx(saved.predict_proba(rows)[:, 1], abs=1e-6)


def test_answers_hang_together():
    for made in desk().models.values():
        for answer in made.decide([client.features for client in desk().clients[:300]]):
            assert answer.label == ("approve" if answer.score >= model.CUT else "decline")
            assert answer.confidence == pytest.approx(answer.score if answer.label == "approve" else 1 - answer.score)
            assert len(answer.attributions) == 4
            assert answer.latency_ms > 0
    worse, better = desk().models[VERSION].decide([(20_000, 8, *[0] * 17), (20_000, 0, *[0] * 17)])
    assert worse.score < better.score
    assert worse.attributions["pay_0"] < 0


def test_an_attribution_is_what_the_log_odds_lose_without_the_feature():
    made: CreditModel = desk().models[TUNED]
    row = np.array(desk().clients[5].features, dtype=float)
    (answer,) = made.decide([row])
    for name, moved in answer.attributions.items():
        without = row.copy()
        without[FEATURES.index(name)] = made.median[FEATURES.index(name)]
        one, other = made.trees.decision_function([row, without])
        assert moved == pytest.approx(one - other, abs=1e-4)


def test_the_assistant_answers_what_was_asked():
    asked = {
        "My wallet was stolen yesterday, please block the card.": "lost card",
        "Is there a fee for a hotel?": "fees",
    }
    for reply, intent in zip(desk().assistant.answer(list(asked)), asked.values(), strict=True):
        assert reply.intent == intent
        assert reply.text == assistant.ANSWERS[intent]


# -- the traffic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [traffic.LEAST, 1_001, WHOLE])
def test_a_plan_has_as_many_calls_as_asked_in_business_order_with_one_of_everything(count):
    calls = traffic.plan(count, 15_000)
    assert len(calls) == count
    assert calls == traffic.plan(count, 15_000)
    assert [call.time_ms for call in calls] == sorted(call.time_ms for call in calls)
    kinds = Counter(call.kind for call in calls)
    assert kinds["conflict"] == 1
    assert min(kinds["duplicate"], kinds["malformed"], kinds["undeclared"]) >= 1
    assert {call.fault for call in calls if call.fault} == set(traffic.FAULTS)
    callers = {"svc-portal", "svc-branch", "svc-partner", "svc-night-batch", "svc-chat", "notebook-17"}
    assert {call.caller for call in calls} == callers
    assert "injected prompt" in {call.wrong for call in calls}
    for place, call in enumerate(calls):
        if call.repeats >= 0:
            assert call.repeats < place
            assert calls[call.repeats].kind == "decision"
            assert calls[call.repeats].client == call.client


def test_each_client_is_asked_about_once_a_version_and_the_second_version_decides_often_enough():
    calls = [call for call in traffic.plan(WHOLE, 15_000) if call.kind == "decision" and not call.prompt]
    asked = Counter((call.version, call.client) for call in calls)
    assert max(asked.values()) == 1
    versions = Counter(call.version for call in calls)
    assert versions[VERSION] >= 4_900
    assert versions[TUNED] >= 8_000
    assert max(call.time_ms for call in calls if call.version == VERSION) < min(
        call.time_ms for call in calls if call.version == TUNED
    )


def test_only_those_who_may_call_at_night_except_for_the_evenings_meant_to():
    calls = traffic.plan(WHOLE, 15_000)
    taipei = [(call, datetime.fromtimestamp(call.time_ms / 1000, UTC) + timedelta(hours=8)) for call in calls]
    late = [call for call, at in taipei if at.hour >= 20 and call.repeats < 0]
    assert {call.wrong for call in late} == {"after hours"}
    callers = Counter((call.version, call.caller) for call in late)
    assert callers == {(VERSION, "svc-portal"): 2, (TUNED, "svc-portal"): 3, (TUNED, "svc-partner"): 211}
    assert {call.caller for call, at in taipei if at.hour < 8} == {"svc-night-batch"}
    assert not [at for _, at in taipei if at.weekday() == 6]


def test_what_feeds_did_to_inputs_stands_in_the_record_that_the_model_answered_on():
    calls, sent = messages(WHOLE)
    clients = desk().clients
    seen = Counter()
    for call, one in zip(calls, sent, strict=True):
        if call.upstream and call.kind == "decision":
            told, true = json.loads(one.value)["data"]["features"], clients[call.client].features
            paid, billed = FEATURES.index("pay_amt1"), FEATURES.index("bill_amt1")
            if call.upstream == "cents":
                assert (told["pay_amt1"], told["bill_amt1"]) == (true[paid] * 100, true[billed] * 100)
            else:
                assert (told["pay_amt1"], told["bill_amt1"]) == (true[paid] // 1000, true[billed])
            seen[call.upstream] += 1
    assert seen["cents"] > 30
    assert seen["thousands"] > 1_500


def test_who_clients_are_is_told_apart_from_decisions_and_not_of_everybody():
    told = {key.decode(): json.loads(value) for key, value in records.known(people().groups, records.unknown)}
    assert 0.94 < len(told) / 15_000 < 0.96
    declared = load(_config()).models["credit-limit"].groups
    for key, event in told.items():
        assert event["subject"] == key
        assert all(group in declared[name] for name, group in event["data"]["groups"].items())
    _, sent = messages(1_001)
    assert not any(word in one.value for one in sent for word in (b"age_band", b'"sex"', b"marriage", b"education"))


def test_the_demos_policies_find_each_record_to_be_what_it_was_sent_as():
    calls, sent = messages(1_001)
    some = [Plain("file", 0, at, 0, one.key, one.value, one.headers) for at, one in enumerate(sent)]
    verdicts = [json.loads(value or b"")["data"] for _, value, _ in Judge(load(_config())).judge(some)["verdicts"]]
    assert [one["kind"] for one in verdicts] == [one.kind for one in sent]
    rules = Counter(reason["rule"] for one in verdicts for reason in one["reasons"])
    assert rules["access/after-hours"] == sum(call.wrong == "after hours" and call.repeats < 0 for call in calls)
    assert (
        min(rules["quality/low-confidence"], rules["lending/approved-though-late"], rules["access/unknown-caller"]) >= 1
    )
    assert rules["quality/label-against-score"] == 0


# -- what monitors catch -----------------------------------------------------------------------------------------------


@cache
def watched() -> tuple[list[Made], list[Raised]]:
    """The whole traffic through the library, which runs the lanes' code; offsets are those of calls."""
    calls, sent = messages(WHOLE)
    found = reference.profiles(load(_config()), desk(), people())
    configuration = reference.profiled(load(_config()), found, lambda data: Profile.of_bytes(data).digest)
    watch = Watch(configuration, profiles=found)
    assert watch.waiting == {}
    known = dict(records.known(people().groups, records.unknown))
    groups = {key.decode(): json.loads(value)["data"]["groups"] for key, value in known.items()}
    made, raised = [], []
    every = list(enumerate(zip(calls, sent, strict=True)))
    for start in range(0, WHOLE, 200):
        part = every[start : start + 200]
        events = [one.value for _, (call, one) in part if call.kind == "decision"]
        made += [Made(call, f"{TOPIC}/0/{at}", one.label, at) for at, (call, one) in part if call.kind == "decision"]
        said = watch.feed(events, attributes=groups)
        counted = Counter((one.call.model, one.call.version) for one in made)
        at = part[-1][0]
        raised += [Raised(one, at, at, counted[one.model, one.version], {0: at + 1}) for one in said]
        groups = {}
    return made, raised


def test_everything_that_goes_wrong_is_caught_and_nothing_else_is():
    made, raised = watched()
    found = caught.caught(made, raised)
    told = caught.checks(found, made, raised, people().groups, desk().clients)
    assert [problem for check in told for problem in check.problems] == []
    delays = {one.cause.what: one.decisions for one in found}
    assert len(delays) == len(caught.CAUSES)
    assert delays["approval gap"] <= 4_000
    assert delays["after-hours misuse"] <= 200
    assert delays["injected prompts"] <= 100


def test_monitors_alarm_only_about_what_goes_wrong():
    _, raised = watched()
    alarms = {(one.data.version, one.data.monitor) for one in raised if one.data.status is SignalStatus.ALARM}
    assert alarms == {(cause.version, cause.monitor) for cause in caught.CAUSES}


def test_the_checks_say_what_was_not_caught_what_came_too_soon_and_what_is_fair_after_all():
    made, raised = watched()
    told = lambda some, rows=None: [  # noqa: E731
        problem
        for check in caught.checks(
            caught.caught(rows or made, some), rows or made, some, people().groups, desk().clients
        )
        for problem in check.problems
    ]
    without = [one for one in raised if one.data.monitor != "after_hours"]
    assert told(without) == ["no alarm about after-hours misuse"]
    alarm = next(one for one in raised if caught._about(one.data, caught.CAUSES[0]))
    first = Raised(alarm.data.model_copy(update={"clock_ms": made[100].call.time_ms}), 0, 0, 0)
    assert any(one.startswith("approval_gap of credit-limit 2.2.0: ") for one in told([first, *raised]))
    assert any("before there was any" in one for one in told([first, *raised]))
    approved = [Made(one.call, one.position, "approve", one.at_ms) for one in made]
    assert any("is 1.00, not below 0.7" in one for one in told(raised, approved))


def test_a_delay_ends_with_the_last_decision_that_monitors_had_counted():
    signal = SignalData(
        model="credit-limit",
        version=TUNED,
        monitor=caught.GAP,
        status="alarm",
        observations={"topic": "demo.observations", "partition": 1, "start": 3, "end": 8},
    )
    rows = [
        (1, 3, TUNED, 40, 0),
        (1, 5, VERSION, 7, 0),
        (1, 7, TUNED, 30, 1),
        (1, 8, TUNED, 50, 0),
        (0, 4, TUNED, 9, 0),
    ]
    records = [
        Plain(
            "demo.observations",
            place,
            at,
            0,
            None,
            json.dumps(
                {
                    "data": {
                        "model": "credit-limit",
                        "version": version,
                        "n": n,
                        "inputs": {"partition": partition, "start": 0, "end": at * 100},
                    }
                }
            ).encode(),
            (),
        )
        for place, at, version, n, partition in rows
    ]
    progress = Plain("demo.observations", 1, 9, 0, None, b'{"data":{"lane":"l","through_ms":5}}', ())
    (found,) = caught.raised([Standing("id", 12, 99, signal)], [*records, progress])
    assert (found.counted, found.offset, found.at_ms) == (70, 12, 99)
    assert found.through == {0: 300, 1: 700}
    beyond = [
        Made(watched()[0][0].call, f"demo.decisions/{p}/{offset}", "approve", 0)
        for p, offset in ((0, 299), (0, 300), (1, 699))
    ]
    assert [caught._counted(one, found) for one in beyond] == [True, False, True]


def test_after_the_alarm_every_decline_of_the_version_must_be_held_and_no_approval():
    made, raised = watched()
    alarm = caught.caught(made, raised)[0].alarm
    assert alarm is not None
    verdicts = {
        one.position: {
            "as_of": {"signals": alarm.offset + (1 if one.at_ms > alarm.at_ms + 300 else 0)},
            "reasons": [{"rule": caught.HOLDS}]
            if one.at_ms > alarm.at_ms + 300 and one.label == "decline" and one.call.version == TUNED
            else [],
        }
        for one in made
    }
    judged_ms = {one.position: one.at_ms + 2 for one in made}
    found = caught.held(made, verdicts, judged_ms, alarm)
    assert found.first is not None
    assert found.seconds == pytest.approx((found.first.at_ms + 2 - alarm.at_ms) / 1000)
    assert found.check.problems == ()
    assert found.first is not None
    assert found.first.label == "decline"
    assert found.count > 1_000
    approved = next(one for one in made if one.label == "approve" and one.call.version == TUNED)
    verdicts[approved.position]["reasons"] = [{"rule": caught.HOLDS}]
    verdicts[found.first.position]["reasons"] = []
    problems = caught.held(made, verdicts, judged_ms, alarm).check.problems
    assert problems == (
        f"{approved.position} (approve) was held because of the gap",
        f"{found.first.position} (decline) was not held because of the gap",
    )


def test_the_picture_is_drawn_from_the_observations_and_its_last_ratio_is_the_counts(tmp_path):
    calls, sent = messages(WHOLE)
    whole = load(_config())
    gap = whole.monitors[caught.GAP]
    configuration = whole.model_copy(update={"monitors": {caught.GAP: gap}})
    observer = Observer("demo", TOPIC, 0, configuration)
    known = [
        Plain("demo.attributes", 0, at, 0, key, value, ())
        for at, (key, value) in enumerate(records.known(people().groups, records.unknown))
    ]
    observations: list[Record] = []
    for start in range(0, WHOLE, 200):
        part = sent[start : start + 200]
        some = [Plain(TOPIC, 0, start + at, 0, one.key, one.value, one.headers) for at, one in enumerate(part)]
        for (topic, _), written in observer.take(known, some):
            observations += [Plain(topic, 0, 0, 0, key, value, tuple(headers)) for key, value, headers in written]
        known = []
    points = picture.curve(observations, compile_monitors(configuration)["credit-limit"])
    assert [point.version for point in points] == sorted(point.version for point in points)
    assert not any(point.alarm for point in points if point.version == VERSION)
    assert points[-1].alarm
    clients, groups = desk().clients, people().groups
    rates: dict[str, list[int]] = {}
    for call, one in zip(calls, sent, strict=True):
        number = clients[call.client].number
        counts = (call.version, call.kind, call.prompt) == (TUNED, "decision", "") and not records.unknown(number)
        if counts and call.model == "credit-limit":
            rates.setdefault(groups[number]["age_band"], []).append(one.label == "approve")
    young, others = (np.mean(rates[band]) for band in ("under 26", "26 to 39"))
    assert points[-1].ratio == pytest.approx(young / others, rel=0.01)
    assert points[-1].lower < points[-1].ratio < points[-1].upper < 0.8
    picture.draw(points, picture.Moments(5_000, 7_500, 8_000), 0.47, tmp_path / "gap.svg")
    assert 10_000 < (tmp_path / "gap.svg").stat().st_size < 200_000


# -- the checks --------------------------------------------------------------------------------------------------------


def judged(count: int = 200) -> tuple[dict[Place, Message], dict[str, list[Record]]]:
    """What Kafka would hold after a run, from the pure agent."""
    from agents.audit.commitment import Committer

    _, sent = messages(count)
    configuration = load(_config())
    agent = PolicyAgent("demo", TOPIC, 0, Committer("k", bytes(32)), configuration)
    some = [Plain(TOPIC, 0, at, 0, one.key, one.value, one.headers) for at, one in enumerate(sent)]
    found: dict[str, list[Record]] = {"released": [], "held": [], "withheld": [], "dead-letters": [], "flags": []}
    for (topic, _), made in collect(agent.decide(some, standing.Standing.of(configuration))).items():
        found[topic.removeprefix("demo.")] = [
            Plain(topic, 0, at, 0, key, value, tuple(headers)) for at, (key, value, headers) in enumerate(made)
        ]
    return {(0, at): one for at, one in enumerate(sent)}, found


def checked(sent: dict[Place, Message], found: dict[str, list[Record]]) -> Outcome:
    return compare(TOPIC, sent, found, found["flags"])


def test_a_clean_run_passes_and_is_told_with_examples():
    sent, found = judged()
    outcome = checked(sent, found)
    assert [check.problems for check in outcome.checks] == [(), ()]
    assert sum(outcome.kinds.values()) == 200
    late = outcome.rules["access/after-hours"]
    assert late.effect == "block"
    assert late.text.startswith("svc-p")
    assert " called credit-limit at 2" in late.text
    assert outcome.rules["record/undeclared"].text == "model credit-line-beta is not declared"
    assert not outcome.rules["stricter-confidence/below-one-half"].applied
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
