"""Signals that speak of all versions of a model: rules read them for a decision of any version, waiting ones too."""

from agents.policy.standing import Standing
from tests.unit.policy.test_lasting import MINUTE, at, configuration, folded, judge, told

SILENT = "signals.volume.status = 'alarm'"
WATCHED = {"monitors": {"volume": {}, "gap": {"kind": "parity"}}}


def of_all(offset, moment, status="ok", **more):
    """What `volume` says of all versions."""
    return told(offset, moment, status, monitor="volume", version="*", scope="model", **more)


def test_a_rule_reads_it_for_a_decision_of_any_version():
    chosen = configuration({"when": SILENT}, {"when": "signals.volume.estimate < 0.5"}, **WATCHED)
    standing = folded(chosen, of_all(0, 0, "alarm", estimate=0.1, since_ms=0))
    rows = [{"time": MINUTE, "version": version} for version in ("1", "2", "never seen", "*")]
    assert judge(standing, *rows) == [["r0 matched", "r1 matched"]] * 4
    over, _ = standing.fold("signals", [of_all(1, 2 * MINUTE, estimate=1.0)])
    assert judge(over, *rows) == [[]] * 4
    gone, _ = standing.fold("signals", [of_all(1, 2 * MINUTE, removed=True)])
    assert judge(gone, *rows) == [["r1 unknown"]] * 4


def test_how_long_it_stood_and_what_it_is_called_are_known_for_any_version():
    chosen = configuration({"when": "signals.volume.held_ms >= 60000 AND signals.volume.age_ms >= 120000"}, **WATCHED)
    standing = folded(chosen, of_all(0, MINUTE, "alarm", since_ms=MINUTE))
    assert at(standing, 2 * MINUTE, 3 * MINUTE, version="7") == ["no", "matched"]
    named = folded(configuration({"when": SILENT, "reason": "volume stands at {signals.volume.estimate}"}, **WATCHED),
                   of_all(0, 0, "alarm", estimate=0.25))  # fmt: skip
    row = {"model.name": "m", "model.version": "7", "event_time_ms": 1, "broker_time_ms": 1, "caller": None}
    assert named.around(row, ["signals.volume.status"]) == {"signals.volume.status": "alarm"}
    assert named.around({**row, "model.version": None}, ["signals.volume.status"]) == {"signals.volume.status": "alarm"}


def test_waiting_and_lingering_rules_look_back_at_it_for_any_version():
    chosen = configuration({"when": SILENT, "for": "5m", "keep_firing_for": "10m"}, **WATCHED)
    standing = folded(chosen, of_all(0, 0), of_all(1, 10 * MINUTE, "alarm"), of_all(2, 20 * MINUTE))
    for version in ("1", "2", "never seen"):
        found = at(standing, 12 * MINUTE, 29 * MINUTE, 31 * MINUTE, version=version)
        assert found == ["no", "matched", "no"], version
    again = at(folded(chosen, of_all(0, 0), of_all(1, 10 * MINUTE, "alarm")), 14 * MINUTE, 15 * MINUTE)
    assert again == ["no", "matched"]


def test_what_is_said_of_a_version_that_is_called_like_all_of_them_is_of_that_version_alone():
    chosen = configuration({"when": "signals.gap.status = 'alarm'"}, {"when": SILENT, "for": "1m"}, **WATCHED)
    standing = folded(chosen, told(0, 0, "alarm", version="*"), told(1, 0, "alarm", monitor="volume", version="*"))
    assert judge(standing, {"time": 5 * MINUTE, "version": "1"}) == [[]]
    assert judge(standing, {"time": 5 * MINUTE, "version": "*"}) == [["r0 matched", "r1 matched"]]


def test_without_any_signal_the_status_is_none():
    standing = Standing.of(configuration({"when": "signals.volume.status = 'none'"}, **WATCHED))
    assert at(standing, MINUTE) == ["matched"]
