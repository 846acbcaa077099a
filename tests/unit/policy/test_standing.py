"""Standing: folded from records, refusing what breaks the contract, and rendering reasons."""

import json

import pytest

from agents.configuration import Configuration
from agents.events import AsOf, Severity
from agents.policy.rules import Matched
from agents.policy.standing import Standing
from agents.records import Plain

ONE = Configuration.model_validate({"models": {"m": {"features": {"x": "numeric"}}}})
TWO = Configuration.model_validate(
    {
        "models": {"m": {"features": {"x": "numeric?"}, "calendar": "office"}},
        "calendars": {"office": {"zone": "UTC", "hours": {}}},
        "monitors": {"drift": {}},
        "policies": [
            {
                "policy": "p",
                "rules": [
                    {
                        "id": "big",
                        "when": "features.x > 10",
                        "effect": "hold",
                        "severity": "error",
                        "team": "risk",
                        "labels": {"control": "AC-2"},
                        "reason": "{caller} asked for {features.x}, drift {signals.drift.status}, {calendar.name}",
                    },
                    {"id": "plain", "when": "features.x > 10 AND NOT calendar.open", "effect": "log"},
                ],
            }
        ],
    }
)
EMPTY_POLICY = {
    "models": {"m": {}},
    "policies": [{"policy": "p", "rules": [{"id": "a", "when": "x >", "effect": "log"}]}],
}


def config(offset, configuration, **changes):
    document = configuration if isinstance(configuration, dict) else configuration.document()
    digest = Configuration.model_validate(document).digest()
    data = {"digest": digest, "document": document} | changes
    return record(offset, "config", "current", "governance.configuration.v1", data)


def record(offset, topic, key, kind, data, at=1000):
    event = {"specversion": "1.0", "id": f"{offset}", "source": "/t", "type": kind, "data": data}
    value = None if data is None else json.dumps(event).encode()
    return Plain(f"gim.{topic}", 0, offset, at, key.encode(), value)


def signal(offset, **more):
    data = {"model": "m", "version": "1", "monitor": "drift", "status": "alarm"} | more
    return record(offset, "signals", '["m","1","drift",null,null]', "governance.signal.v1", data)


def test_nothing_may_be_decided_before_a_configuration_arrives():
    assert not Standing().ready
    standing, refused = Standing().fold("config", [config(0, ONE)])
    assert (standing.ready, standing.digest, refused) == (True, ONE.digest(), [])
    assert standing.as_of == AsOf(config=1, signals=0, safeguards=0)


def test_the_newest_configuration_is_in_force():
    standing, _ = Standing().fold("config", [config(3, ONE), config(7, TWO)])
    assert standing.configuration == TWO
    assert standing.as_of.config == 8


def test_a_configuration_that_cannot_be_used_is_refused_and_the_one_before_stands():
    for bad, told in [
        (config(5, TWO, digest=ONE.digest()), "its digest is"),
        (config(5, EMPTY_POLICY), "policies.0.rules.0.when"),
        (record(5, "config", "current", "governance.configuration.v1", {"digest": 1}), "data.digest"),
        (record(5, "config", "other", "governance.configuration.v1", {}), "its key is not `current`"),
        (Plain("gim.config", 0, 5, 0, b"current", b"\xff not json"), "Invalid JSON"),
    ]:
        standing, refused = Standing().fold("config", [config(4, ONE), bad])
        assert standing.digest == ONE.digest()
        assert standing.as_of.config == 6
        assert len(refused) == 1
        assert str(refused[0]).startswith("gim.config/0/5 is refused: ")
        assert told in str(refused[0])


def test_a_document_with_defaults_spelled_out_is_not_canonical():
    document = ONE.document() | {"duplicate_window": 100_000}
    _, refused = Standing().fold("config", [config(0, document)])
    assert len(refused) == 1


def test_a_tombstone_removes_the_configuration():
    standing, refused = Standing.of(ONE).fold("config", [Plain("gim.config", 0, 9, 0, b"current", None)])
    assert (standing.ready, refused) == (False, [])


def test_signals_are_kept_by_key_and_removed_by_tombstones():
    standing, refused = Standing.of(TWO).fold("signals", [signal(0), signal(1, status="ok")])
    assert refused == []
    assert [one.data.status for one in standing.circumstances.signals.values()] == ["ok"]
    gone, _ = standing.fold("signals", [Plain("gim.signals", 0, 2, 0, b'["m","1","drift",null,null]', None)])
    assert gone.circumstances.signals == {}
    assert gone.as_of.signals == 3
    assert standing.circumstances.signals != {}  # a Standing never changes


def test_watermarks_are_kept_by_model():
    told = record(0, "signals", '["watermark","m"]', "governance.watermark.v1", {"model": "m", "lag_ms": 40}, at=7)
    standing, refused = Standing().fold("signals", [told])
    assert (standing.circumstances.watermarks, refused) == ({"m": (40.0, 7)}, [])
    gone, _ = standing.fold("signals", [Plain("gim.signals", 0, 1, 0, b'["watermark","m"]', None)])
    assert gone.circumstances.watermarks == {}


def test_safeguards_are_kept_by_id_and_removed_by_tombstones():
    order = record(
        0, "safeguards", "q-1", "governance.safeguard.v1", {"kind": "hold_all", "model": "m", "active": True}
    )
    standing, refused = Standing().fold("safeguards", [order])
    assert (list(standing.circumstances.safeguards), refused) == (["q-1"], [])
    gone, _ = standing.fold("safeguards", [Plain("gim.safeguards", 0, 1, 0, b"q-1", None)])
    assert gone.circumstances.safeguards == {}


@pytest.mark.parametrize(
    ("topic", "bad", "told"),
    [
        ("signals", signal(1, version="2"), "is not that of its content"),
        ("signals", signal(1, status="fine"), "data.status"),
        (
            "signals",
            record(1, "signals", '["watermark","n"]', "governance.watermark.v1", {"model": "m", "lag_ms": 1}),
            "key",
        ),
        ("signals", record(1, "signals", '["watermark",', "governance.watermark.v1", {"model": "m", "lag_ms": 1}), ""),
        ("safeguards", record(1, "safeguards", "", "governance.safeguard.v1", {}), "empty"),
        (
            "safeguards",
            record(
                1, "safeguards", "s", "governance.safeguard.v1", {"kind": "pause_caller", "model": "m", "active": True}
            ),
            "names none",
        ),
        ("safeguards", record(1, "safeguards", "s", "governance.safeguard.v1", {"kind": "stop"}), "data"),
    ],
)
def test_a_bad_record_is_refused_with_its_place_and_what_stood_stands(topic, bad, told):
    before, _ = Standing.of(TWO).fold("signals", [signal(0)])
    after, refused = before.fold(topic, [bad])
    assert after.circumstances == before.circumstances
    assert getattr(after.as_of, topic) == 2
    assert [told in str(one) and f"gim.{topic}/0/1" in str(one) for one in refused] == [True]


ROW = {"model.name": "m", "model.version": "1", "caller": "svc\n\x1b[31m", "features.x": 20.0, "broker_time_ms": 0}


def test_a_reason_is_rendered_from_the_decision_and_what_stands():
    standing, _ = Standing.of(TWO).fold("signals", [signal(0)])
    told = standing.render(Matched("p/big", standing.rules.rule("p/big").rule.effect, "matched", True), ROW)
    assert told == "svc [31m asked for 20, drift alarm, office"


def test_a_rule_without_a_reason_names_itself_and_an_unknown_one_says_what_is_missing():
    standing = Standing.of(TWO)
    assert standing.render(standing.rules.rule("p/plain").outcome(True), ROW) == "rule p/plain matched"
    unknown = standing.rules.rule("p/big").outcome(False)
    told = standing.render(unknown, ROW | {"features.x": None})
    assert told.startswith("could not be evaluated (missing: features.x): svc [31m asked for missing, drift none")


def test_a_safeguards_reason_is_its_own():
    data = {"kind": "hold_all", "model": "m", "active": True, "reason": "drift\nseen"}
    standing, _ = Standing.of(TWO).fold("safeguards", [record(0, "safeguards", "s", "governance.safeguard.v1", data)])
    matched = Matched("safeguard/s", standing.rules.rule("p/big").rule.effect, "matched", True)
    assert standing.render(matched, ROW) == "drift seen"
    assert standing.cause(matched).severity is Severity.WARNING


def test_a_flag_gets_severity_team_and_labels_of_its_rule():
    standing = Standing.of(TWO)
    cause = standing.cause(standing.rules.rule("p/big").outcome(True))
    assert (cause.severity, cause.team, cause.labels) == (Severity.ERROR, "risk", {"control": "AC-2"})


def test_nothing_new_leaves_the_very_same_standing():
    standing = Standing.of(ONE)
    assert standing.fold("signals", []) == (standing, [])
    assert standing.fold("signals", [])[0] is standing


def test_a_start_with_many_signals_does_not_copy_them_each_time():
    def one(number):
        data = {"model": "m", "version": str(number), "monitor": "drift", "status": "ok"}
        return record(number, "signals", f'["m","{number}","drift",null,null]', "governance.signal.v1", data)

    standing, refused = Standing().fold("signals", [one(number) for number in range(3000)])
    assert (len(standing.circumstances.signals), refused, standing.as_of.signals) == (3000, [], 3000)
