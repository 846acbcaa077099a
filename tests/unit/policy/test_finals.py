"""Held decisions say what holds them within their room, and end byte for byte; amended ones pass only as we sealed them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.audit.commitment import Committer
from agents.configuration import Configuration
from agents.events import Effect, Verdict
from agents.monitor.observing import Observer
from agents.people_events import Edit, Resolution
from agents.policy import held
from agents.policy.agent import PolicyAgent
from agents.policy.compilation import Matched
from agents.policy.edits import CannotAmend, Seal, amend, amended_id
from agents.policy.finals import Finals
from agents.policy.flags import dedup_key
from agents.policy.ruled import Ruled
from agents.policy.standing import Standing
from agents.records import Header, Message, Plain, collect
from orchestration import config_files
from orchestration.extensions import kinds
from orchestration.file_monitors import FileMonitors
from orchestration.replay import Judge

GOLDEN = Path(__file__).parents[2] / "golden" / "policy"
COMMITTER = Committer("salt-1", bytes(32))
SEAL = Seal(COMMITTER.salt("edits"))
KEY = dedup_key("limits/hold-unsure", "loan", "1.0.0")
CONFIGURATION = config_files.load(GOLDEN / "config").model_copy(update={"duplicate_window": 60})


def ruled(action: str = "release", resolution: str = "approved", **more: object) -> Ruled:
    names = {"reason": "looked at it", "keys": frozenset([KEY]), "through": {"gim.decisions": 10**6}} | more
    return Ruled(3, "7f29-k1mq/0", 1_772_500_000_000, action, Resolution(resolution), **names)  # type: ignore[arg-type]


def golden_records() -> list[Plain]:
    def raw(text: str | None) -> bytes | None:
        return None if text is None else base64.b64decode(text)

    return [
        Plain(
            "gim.decisions",
            0,
            line["offset"],
            line["timestamp"],
            raw(line["key"]),
            raw(line["value"]),
            tuple((name, raw(value)) for name, value in line["headers"]),
        )
        for line in map(json.loads, (GOLDEN / "records.ndjson").read_text().splitlines())
    ]


def judged(records: Sequence[Plain], configuration: Configuration = CONFIGURATION) -> dict[str, list[Message]]:
    """What the policy agent writes, by short topic."""
    agent = PolicyAgent("gim", "gim.decisions", records[0].partition, COMMITTER, configuration)
    agent.restore(None)
    made = collect(agent.decide(records, Standing.of(configuration)))
    return {topic.removeprefix("gim."): messages for (topic, _), messages in made.items()}


def as_held(messages: Sequence[Message]) -> list[Plain]:
    return [Plain("gim.held", 0, n, 7, key, value, tuple(headers)) for n, (key, value, headers) in enumerate(messages)]


def finals(records: Sequence[Plain], by: Ruled, limit: int = 10**6) -> dict[str, list[Message]]:
    maker = Finals("gim", 0, "gim.release.gim.held.0", COMMITTER, limit)
    made = collect(maker.outputs([held.read(one) for one in records], by, lambda _: None))
    return {topic.removeprefix("gim."): messages for (topic, _), messages in made.items()}


RECORDS = golden_records()
HELD = as_held(judged(RECORDS)["held"])


def test_what_held_records_say_and_final_verdicts_stay_as_they_were_published() -> None:
    causes = [(held.last(one.headers, "govern-causes") or b"").decode() for one in HELD]
    assert "\n".join(causes) + "\n" == (GOLDEN / "causes.ndjson").read_text(), "`govern-causes` may not change"
    approved = [value for _, value, _ in finals(HELD, ruled())["verdicts"]]
    rejected = [value for _, value, _ in finals(HELD[:1], ruled("withhold", "rejected"))["verdicts"]]
    written = b"\n".join(one or b"" for one in [*approved, *rejected]) + b"\n"
    assert written == (GOLDEN / "finals.ndjson").read_bytes(), "format v1 of final verdicts may not change"


def test_what_is_released_or_withheld_in_the_end_is_what_the_producer_sent() -> None:
    by_offset = {one.offset: one for one in RECORDS}
    for action, topic in (("release", "released"), ("withhold", "withheld")):
        made = finals(HELD, ruled(action, "approved" if action == "release" else "rejected"))
        assert set(made) == {"verdicts", topic, "held"}
        assert [(key, value) for key, value, _ in made["held"]] == [(one.key, None) for one in HELD]
        for message, verdict, one in zip(made[topic], made["verdicts"], HELD, strict=True):
            original = by_offset[held.place_of(one.key)[2]]
            key, value, headers = message
            assert (key, value, tuple(headers[: len(original.headers)])) == (
                original.key,
                original.value,
                original.headers,
            )
            assert headers[len(original.headers)] == ("govern-verdict", (one.key or b"") + b"/final")
            told = Verdict.model_validate_json(verdict[1] or b"")
            place = f"gim.decisions/0/{original.offset}"
            salted = COMMITTER.value(place, original.key, original.headers, original.value)
            assert told.data.commitment.value == salted


rule_names = st.text('abcdefghijkl-/"\\é漢', min_size=1, max_size=120)


@settings(max_examples=60, deadline=None)
@given(st.lists(rule_names, unique=True, max_size=300), st.integers(400, 20_000))
def test_causes_keep_within_their_room_and_say_so_where_one_is_left_out(names: list[str], room: int) -> None:
    reasons = [Matched(name, Effect.HOLD, "matched", True) for name in names]
    others = [Matched("p/log", Effect.LOG, "matched", True), Matched("p/audit", Effect.HOLD, "matched", False)]
    name, value = held.causes_header([*others, *reasons], "m", "1", {"config": "c"}, room)
    assert (name, len(value or b"") <= room) == ("govern-causes", True)
    found = held.causes(Plain("h", 0, 0, 0, b"t/0/1", b"", ((name, value),)))
    assert list(found.rules) == names[: len(found.rules)]
    assert found.more or len(found.rules) == len(names)
    if len(json.dumps(names).encode()) < room - 300:
        assert not found.more


def test_the_longest_key_and_reasons_leave_a_held_record_within_what_its_topic_takes() -> None:
    rules = [{"id": f"r{n:03}{'x' * 100}", "when": "TRUE", "effect": "hold", "reason": '"' * 900} for n in range(300)]
    document = CONFIGURATION.document() | {"policies": [{"policy": "p" * 60, "rules": rules}]}
    one = next(record for record in RECORDS if record.offset == held.place_of(HELD[0].key)[2])
    big = Plain(one.topic, 0, 0, one.timestamp, b"k" * 65_536, one.value, ())
    (_, value, headers), *_ = judged([big], Configuration.model_validate(document))["held"]
    ours = sum(len(name) + len(value or b"") + 10 for name, value in headers)
    assert ours - len(big.key or b"") < 65_536
    assert held.causes(as_held([(b"t/0/1", value, headers)])[0]).more


def amended(edit: Edit, one: Plain = HELD[0]) -> Plain:
    made = amend("gim", held.read(one), "7f29-k1mq/0", frozenset([KEY]), edit, SEAL)
    return Plain(made.topic, made.partition, 5_000, RECORDS[-1].timestamp, made.key, made.value, made.headers)


def test_an_amended_decision_is_recorded_with_what_was_answered_and_is_not_held_by_it_again() -> None:
    made = judged([amended(Edit(score=0.2))])
    [(_, value, _)] = made["verdicts"]
    data = Verdict.model_validate_json(value or b"").data
    assert data.kind == "decision"
    assert [(one.rule, one.applied) for one in data.reasons if one.effect is Effect.HOLD] == [
        ("limits/hold-unsure", False)
    ]
    assert "released" in made
    assert "held" not in made
    assert not [one for one in made.get("flags", ()) if b"hold-unsure" in (one[0] or b"")]


def test_any_other_rule_applies_to_an_amended_decision() -> None:
    [(_, _, headers)] = judged([amended(Edit(score=0.95))])["withheld"]
    told = json.loads(held.last(list(headers), "govern-reasons") or b"")
    assert [one["rule"] for one in told] == ["limits/block-high"]


def _changed(one: Plain, **changes: object) -> Plain:
    fields = {
        name: getattr(one, name) for name in ("topic", "partition", "offset", "timestamp", "key", "value", "headers")
    }
    return Plain(**{**fields, **changes})


@pytest.mark.parametrize("what", ["value", "key", "header", "rules", "partition", "twice", "other", "mac", "capital"])
def test_an_amended_decision_that_was_altered_moved_or_forged_is_malformed(what: str) -> None:
    one = amended(Edit(score=0.2))
    own, seal = one.headers[:-1], one.headers[-1]
    other = b'{"ruling":"x","rules":["limits/hold-unsure"],"mac":"' + b"0" * 64 + b'"}'
    forged: dict[str, dict[str, object]] = {
        "value": {"value": (one.value or b"") + b" "},
        "key": {"key": b"another"},
        "header": {"headers": (*own, ("trace", b"z"), seal)},
        "rules": {"headers": (*own, (seal[0], (seal[1] or b"").replace(b"limits/hold-unsure", b"limits/block-high")))},
        "partition": {"partition": 1},
        "twice": {"headers": (*own, seal, seal)},
        "other": {"headers": (*own, ("govern-verdict", b"x"), seal)},
        "mac": {"headers": (*own, (seal[0], other))},
        "capital": {"headers": (*own, ("Govern-Edit", seal[1]))},
    }
    made = judged([_changed(one, **forged[what])])
    assert set(made) == {"verdicts", "dead-letters", "flags"}
    assert json.loads(made["verdicts"][0][1] or b"")["data"]["kind"] == "malformed"


def test_monitors_count_no_amended_decision_and_call_none_malformed() -> None:
    monitors = {"gap": {"kind": "strangers"}}
    configuration = Configuration.model_validate(CONFIGURATION.document() | {"monitors": monitors})
    plain = [one for one in RECORDS if b'"loan"' in (one.value or b"")][:20]

    def counted(records: list[Plain]) -> list[object]:
        observer = Observer("gim", "gim.decisions", 0, configuration, sealed=SEAL.answered)
        found = collect(observer.take((), records))
        told = [json.loads(value or b"")["data"] for messages in found.values() for _, value, _ in messages]
        return [(one["n"], one["clock_ms"], one["counts"]) for one in told if "counts" in one]

    assert counted([amended(Edit(label="approve"))]) == []
    assert counted([*plain, amended(Edit(label="approve"))]) == counted(plain) != []


def test_a_replay_judges_amended_decisions_as_the_lane_did_and_no_monitor_counts_them() -> None:
    monitors = {"gap": {"kind": "strangers"}}
    configuration = Configuration.model_validate(CONFIGURATION.document() | {"monitors": monitors})
    judge = Judge(configuration, FileMonitors(configuration, kinds()))
    plain = next(one for one in RECORDS if b'"loan"' in (one.value or b"") and not one.headers)
    made = _changed(amended(Edit(score=0.2)), topic="file", offset=1)
    written, told = judge.judged([_changed(plain, topic="file", offset=0), made])
    assert [one.kind for one in told] == ["decision", "decision"]
    assert "held" not in written
    judge.end()
    assert judge.monitors is not None
    assert judge.monitors.watch.decisions == 1


def test_only_the_output_ids_and_source_of_an_amended_decision_are_new() -> None:
    before, after = json.loads(HELD[0].value or b""), json.loads(amended(Edit(label="approve", score=0.5)).value or b"")
    assert after["data"]["output"] == before["data"]["output"] | {"label": "approve", "score": 0.5}
    assert {name for name in after if after[name] != before.get(name)} == {"id", "source", "causationid", "data"}
    assert (after["causationid"], after["source"]) == (before["id"], "govern/gim/edits")
    assert after["data"] | {"output": 0} == before["data"] | {"output": 0}


@pytest.mark.parametrize("value", [b'{"data": 3}', b"[]", b'{"id":"a","data":{"output":[]}}'])
def test_bytes_that_are_no_decision_cannot_be_amended(value: bytes) -> None:
    with pytest.raises(CannotAmend):
        amended(Edit(label="approve"), _changed(HELD[0], value=value))


def test_a_decision_that_would_grow_too_large_is_withheld_and_not_amended() -> None:
    by = ruled("edit", "edited", edit=Edit(text="x" * 2_000))
    assert "decisions" in finals(HELD, by)
    small = finals(HELD, by, limit=1_500)
    assert "decisions" not in small
    assert len(small["withheld"]) == len(small["held"]) == len(HELD)


def test_an_amended_id_always_fits_the_contract() -> None:
    assert amended_id("7f29-k1mq/0", "gim.decisions/0/7") == "7f29-k1mq/0/gim.decisions/0/7"
    assert len(amended_id("7f29-k1mq/0", f"{'t' * 249}/0/7")) <= 256


def test_a_held_record_that_is_none_is_refused_by_name() -> None:
    good: tuple[Header, ...] = (("govern-verdict", b"x"),)
    for one in (
        Plain("gim.held", 0, 0, 0, b"nonsense", b"{}", good),
        Plain("gim.held", 0, 0, 0, b"t/0/1", b"{}", ()),
        Plain("gim.held", 0, 0, 0, b"t/0/1", None, good),
        Plain("gim.held", 0, 0, 0, b"t/0/1", b"{}", (*good, ("govern-key", b"%%%"))),
    ):
        with pytest.raises(held.BadHeld):
            held.read(one)
