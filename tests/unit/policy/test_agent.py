"""The policy agent: one verdict a record, the same bytes in any batches and after any restart, exact bytes everywhere."""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.audit.commitment import Committer, check
from agents.configuration import Configuration
from agents.errors import NotReady
from agents.events import Effect, Flag, Mode, SafeguardData, Verdict
from agents.policy.agent import PolicyAgent
from agents.policy.standing import Standing
from agents.records import Plain
from orchestration import config_files
from tests.chaos import stream

CHAOS = Path(__file__).parents[2] / "chaos" / "config"
GOLDEN = Path(__file__).parents[2] / "golden" / "policy"
CONFIGURATION = config_files.load(CHAOS).model_copy(update={"duplicate_window": 60})
STANDING = Standing.of(CONFIGURATION)
START = 1_772_442_843_120
Outputs = dict[tuple[str, int], list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]]


def records(count: int, seed: int = 5) -> list[Plain]:
    """A stretch of the crash tests' stream; some offsets are missing, as markers take them."""
    found, offset = [], 0
    for number, (key, value, headers) in enumerate(itertools.islice(stream.decisions(seed), count)):
        offset += 2 if number % 7 == 3 else 1
        found.append(Plain("gim.decisions", 0, offset, START + number // 3, key, value, tuple(headers)))
    return found


RECORDS = records(300)


def agent(configuration: Configuration = CONFIGURATION) -> PolicyAgent:
    return PolicyAgent("gim", "gim.decisions", 0, Committer("salt-1", bytes(32)), configuration)


def judge(batches: Sequence[Sequence[Plain]], standing: Standing = STANDING, one: PolicyAgent | None = None) -> Outputs:
    if one is None:
        one = agent(standing.configuration)
        one.restore(None)
    found: Outputs = {}
    for batch in batches:
        for place, messages in one.decide(batch, standing):
            found.setdefault(place, []).extend((key, value, list(headers)) for key, value, headers in messages)
    return found


def split(whole: Sequence[Plain], cuts: Sequence[int]) -> list[Sequence[Plain]]:
    edges = [0, *sorted(set(cuts)), len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(edges) if a < b]


def summed(outputs: Outputs) -> Counter[str]:
    found: Counter[str] = Counter()
    for _, value, _ in outputs.get(("gim.flags", 0), ()):
        data = Flag.model_validate_json(value or b"").data
        found[data.dedup_key] += data.count
    return found


def without_flags(outputs: Outputs) -> Outputs:
    return {place: messages for place, messages in outputs.items() if place[0] != "gim.flags"}


WHOLE = judge([RECORDS])
cuts = st.lists(st.integers(1, len(RECORDS) - 1), max_size=12)


@settings(max_examples=40, deadline=None)
@given(cuts)
def test_batches_change_no_byte_but_the_number_of_flags(at: list[int]) -> None:
    found = judge(split(RECORDS, at))
    assert without_flags(found) == without_flags(WHOLE)
    assert summed(found) == summed(WHOLE)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 299), st.integers(0, 299))
def test_a_restart_at_any_point_from_any_older_snapshot_changes_no_byte(first: int, second: int) -> None:
    snapshot_at, dead_at = sorted((first, second))
    before = agent()
    before.restore(None)
    outputs = judge([RECORDS[:snapshot_at]] if snapshot_at else [], one=before)
    snapshot = before.snapshot() if snapshot_at else None
    if snapshot_at < dead_at:
        for place, messages in judge([RECORDS[snapshot_at:dead_at]], one=before).items():
            outputs.setdefault(place, []).extend(messages)
    after = agent()
    after.restore(snapshot)
    after.recall(RECORDS[max(0, snapshot_at - after.reach) : snapshot_at])
    if snapshot is not None:
        after.fold(RECORDS[snapshot_at:dead_at])
    else:
        after = agent()
        after.restore(None)
        outputs, dead_at = {}, 0
    for place, messages in judge([RECORDS[dead_at:]], one=after).items():
        outputs.setdefault(place, []).extend(messages)
    assert without_flags(outputs) == without_flags(WHOLE)


def test_every_record_gets_one_verdict_in_order_that_fits_the_contract_and_commits_to_its_bytes() -> None:
    committer = Committer("salt-1", bytes(32))
    verdicts = WHOLE["gim.verdicts", 0]
    assert len(verdicts) == len(RECORDS)
    for number, (record, (key, value, headers)) in enumerate(zip(RECORDS, verdicts, strict=True)):
        verdict = Verdict.model_validate_json(value or b"")
        place = f"gim.decisions/0/{record.offset}"
        assert (key or b"").decode() == place
        assert verdict.id == f"{place}/gate"
        assert dict(headers) == {
            "govern-seq": str(number).encode(),
            "govern-writer": b"gim.policy.gim.decisions.0",
        }
        salt = committer.salt(place)
        assert check(salt, verdict.data.commitment.value, record.key, record.headers, record.value)
        for secret in (record.key or b"client", b"portal", b"/chaos"):
            assert secret not in (value or b""), "a verdict must not name whom or what it is about"


def test_verdicts_stay_as_they_were_published() -> None:
    lines = [json.loads(line) for line in (GOLDEN / "records.ndjson").read_text().splitlines()]
    frozen = [
        Plain(
            "gim.decisions",
            0,
            line["offset"],
            line["timestamp"],
            _bytes(line["key"]),
            _bytes(line["value"]),
            tuple((name, _bytes(value)) for name, value in line["headers"]),
        )
        for line in lines
    ]
    configuration = config_files.load(GOLDEN / "config").model_copy(update={"duplicate_window": 60})
    found = judge([frozen], Standing.of(configuration))
    written = b"\n".join(value or b"" for _, value, _ in found["gim.verdicts", 0]) + b"\n"
    assert written == (GOLDEN / "verdicts.ndjson").read_bytes(), "format v1 of verdicts may not change"


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def test_what_goes_on_carries_the_producers_bytes_and_ours_behind_them() -> None:
    by_place = {f"gim.decisions/0/{record.offset}/gate".encode(): record for record in RECORDS}
    seen = Counter()
    for name in ("released", "held", "withheld", "dead-letters"):
        for key, value, headers in WHOLE[f"gim.{name}", 0]:
            place = [data for header, data in headers if header == "govern-verdict"][-1]
            record = by_place[place or b""]
            seen[name] += 1
            assert value == record.value
            assert headers[: len(record.headers)] == list(record.headers)
            if name == "held":
                assert base64.b64decode(dict(headers)["govern-key"] or b"") == record.key
                assert key == place.removesuffix(b"/gate")  # type: ignore[union-attr]
            else:
                assert key == record.key
    assert min(seen.values()) > 0


def test_a_held_record_without_a_key_has_no_key_header() -> None:
    value = json.loads(RECORDS[0].value or b"{}")
    value["data"]["output"] |= {"confidence": 0.1, "score": 0.5}
    value["data"]["features"]["amount"] = 1
    record = Plain("gim.decisions", 0, 0, START, None, json.dumps(value).encode())
    (_, _, headers), *rest = judge([[record]])["gim.held", 0]
    assert rest == []
    assert "govern-key" not in dict(headers)
    assert json.loads(dict(headers)["govern-reasons"] or b"") == [
        {"rule": "limits/hold-unsure", "effect": "hold", "text": "confidence 0.1"}
    ]


def test_observing_judges_flags_and_dead_letters_but_moves_nothing() -> None:
    models = {name: model.model_copy(update={"mode": Mode.OBSERVE}) for name, model in CONFIGURATION.models.items()}
    found = judge([RECORDS], Standing.of(CONFIGURATION.model_copy(update={"models": models})))
    assert {place for place, _ in found} == {"gim.verdicts", "gim.flags", "gim.dead-letters"}
    effects = Counter(json.loads(value or b"")["data"]["effect"] for _, value, _ in found["gim.verdicts", 0])
    gated = Counter(json.loads(value or b"")["data"]["effect"] for _, value, _ in WHOLE["gim.verdicts", 0])
    assert effects == gated
    assert summed(found) == summed(WHOLE)


def test_a_flag_says_whether_what_it_names_was_in_the_path() -> None:
    configured = {name: model.mode for name, model in CONFIGURATION.models.items()}
    flags = [Flag.model_validate_json(value or b"").data for _, value, _ in WHOLE["gim.flags", 0]]
    held = [one for one in flags if one.effect is Effect.HOLD]
    assert held
    for one in held:
        assert one.mode is configured.get(json.loads(one.dedup_key)[1], one.mode) is not None
    assert {one.mode for one in flags if one.dedup_key.startswith('["record/')} == {None}


def test_what_a_rule_blocks_is_not_flagged_as_held_since_nobody_could_open_or_answer_it() -> None:
    verdicts = [Verdict.model_validate_json(value or b"").data for _, value, _ in WHOLE["gim.verdicts", 0]]
    by_effect = {
        effect: {
            one.decision.offset
            for one in verdicts
            if one.effect is effect and "limits/hold-unsure" in [reason.rule for reason in one.reasons]
        }
        for effect in (Effect.HOLD, Effect.BLOCK)
    }
    assert by_effect[Effect.BLOCK], "some are both"
    flags = [Flag.model_validate_json(value or b"").data for _, value, _ in WHOLE["gim.flags", 0]]
    held = [one for one in flags if one.effect is Effect.HOLD]
    assert sum(one.count for one in held) == len(by_effect[Effect.HOLD])
    assert {offset for one in held for offset in one.sample} <= by_effect[Effect.HOLD]


def doubled(gap: int) -> list[Plain]:
    """A decision, `gap` others, and the decision again."""
    key, value, _ = stream.decision(random.Random(1), "twice", 0)
    others = [stream.decision(random.Random(n), f"other-{n}", n) for n in range(gap)]
    listed = [(key, value), *((k, v) for k, v, _ in others), (key, value)]
    return [Plain("gim.decisions", 0, n, START, k, v) for n, (k, v) in enumerate(listed)]


@pytest.mark.parametrize(("gap", "kind"), [(0, "duplicate"), (59, "duplicate"), (60, "decision"), (75, "decision")])
def test_a_duplicate_is_known_within_the_window_and_not_beyond(gap: int, kind: str) -> None:
    verdicts = judge([doubled(gap)])["gim.verdicts", 0]
    assert json.loads(verdicts[-1][1] or b"")["data"]["kind"] == kind


def test_a_window_of_another_size_starts_anew_at_the_switch() -> None:
    pair = doubled(3)
    one = agent()
    one.restore(None)
    judge([pair[:-1]], one=one)
    wider = Standing.of(CONFIGURATION.model_copy(update={"duplicate_window": 61}))
    verdicts = judge([pair[-1:]], wider, one)["gim.verdicts", 0]
    assert json.loads(verdicts[0][1] or b"")["data"]["kind"] == "decision"
    assert one.snapshot().window_from == {"gim.decisions/0": pair[-1].offset}


def test_a_conflict_is_withheld_flagged_and_told() -> None:
    first, second = doubled(0)
    value = (second.value or b"").replace(b'"portal"', b'"porter"')
    outputs = judge([[first, Plain("gim.decisions", 0, 1, START, second.key, value)]])
    (_, got, headers), *rest = outputs["gim.withheld", 0]
    assert (got, rest) == (value, [])
    assert json.loads(dict(headers)["govern-reasons"] or b"")[0]["rule"] == "record/conflict"
    assert summed(outputs)['["record/conflict","loan","1.0.0",null]'] == 1


def test_a_safeguard_holds_what_no_rule_touches() -> None:
    order = SafeguardData(kind="hold_all", model="loan", active=True, reason="fraud ring in the news")
    now = STANDING.circumstances
    standing = replace(STANDING, circumstances=replace(now, safeguards={"sg-1": order}))
    plain = next(
        record
        for record, (_, value, _) in zip(RECORDS, WHOLE["gim.verdicts", 0], strict=True)
        if json.loads(value or b"")["data"]["effect"] == "allow"
    )
    outputs = judge([[plain]], standing)
    assert dict(outputs["gim.held", 0][0][2])["govern-reasons"] == (
        b'[{"rule":"safeguard/sg-1","effect":"hold","text":"fraud ring in the news"}]'
    )
    assert ("gim.released", 0) not in outputs


def test_verdicts_follow_what_stands_at_the_batch_boundary() -> None:
    one = agent()
    one.restore(None)
    later = replace(STANDING, as_of=STANDING.as_of.model_copy(update={"signals": 7}))
    found = judge([RECORDS[:10]], one=one)["gim.verdicts", 0] + judge([RECORDS[10:20]], later, one)["gim.verdicts", 0]
    assert [json.loads(value or b"")["data"]["as_of"]["signals"] for _, value, _ in found] == [0] * 10 + [7] * 10


def test_times_never_go_back() -> None:
    clocks = [START, START + 50, START + 20, START + 60]
    given_ = [
        Plain("gim.decisions", 0, n, at, r.key, r.value) for n, (at, r) in enumerate(zip(clocks, RECORDS, strict=False))
    ]
    times = [json.loads(value or b"")["time"][-4:-1] for _, value, _ in judge([given_])["gim.verdicts", 0]]
    assert times == ["120", "170", "170", "180"]


def test_a_configuration_that_went_and_came_back_while_the_lane_was_down_makes_it_open_again() -> None:
    pair = doubled(3)
    before = agent()
    before.restore(None)
    judge([pair[:-1]], one=before)
    wider = CONFIGURATION.model_copy(update={"duplicate_window": 61})
    reopened = agent(wider)  # opened while the other configuration stood: the window was not filled
    reopened.restore(before.snapshot())
    reopened.recall(pair[:-1])
    with pytest.raises(NotReady):
        judge([pair[-1:]], STANDING, reopened)
