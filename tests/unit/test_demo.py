"""The demo's parts: calls as they happen to real systems, and models that answer for themselves."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from agents.records import Plain
from orchestration.config_files import load
from orchestration.demo import assistant, model, population, records, traffic
from orchestration.demo.model import TUNED, VERSION, CreditModel
from orchestration.demo.population import FEATURES
from orchestration.demo.story import _config
from orchestration.demo.visitor import _Reading
from orchestration.replay import Judge
from tests.unit.demo_parts import WHOLE, desk, folder, messages, people


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
        saved = joblib.load(folder() / f"credit-limit-{version}.joblib")
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


def test_a_visitor_quotes_the_page_and_not_the_menu_around_it():
    read = _Reading()
    read.feed("<header>Queue Models</header><main><p>Your answer does not count: open the sample first.</p></main>")
    assert "".join(read.words).split() == ["Your", "answer", "does", "not", "count:", "open", "the", "sample", "first."]
