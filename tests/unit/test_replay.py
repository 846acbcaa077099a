"""`govern replay --decisions`: what somebody who tries a configuration on a file gets."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.audit.commitment import check
from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import Verdict
from agents.records import Plain
from orchestration import decision_file
from orchestration.archive import Archive
from orchestration.cli.main import command
from orchestration.replay import SALT, Replayed, replay

MODELS = {
    "limit": {
        "mode": "gate",
        "clock": "event",
        "versions": ["1"],
        "features": {"x": "numeric"},
        "labels": {"yes": {"favourable": True}, "no": {}},
    }
}


def configuration(hold_below: float = 0.6, **more: Any) -> Configuration:
    rules = [
        {
            "id": "unsure",
            "when": f"output.confidence < {hold_below}",
            "effect": "hold",
            "reason": "only {output.confidence}",
        },
        {"id": "large", "when": "features.x > 100", "effect": "block", "reason": "{features.x} is too much"},
    ]
    audit = [{"id": "watched", "when": "features.x > 50", "effect": "block"}]
    policies = [
        {"policy": "p", "rules": rules},
        {"policy": "q", "mode": "audit", "rules": audit},
    ]
    return Configuration.model_validate({"models": MODELS, "policies": policies, **more})


def decision(number: int, x: object = 1, confidence: object = 0.9, **more: Any) -> bytes:
    data = {
        "model": {"name": "limit", "version": "1"},
        "features": {"x": x},
        "output": {"label": "yes", "confidence": confidence},
    }
    event = {"specversion": "1.0", "type": "governance.decision.v1", "id": f"d{number}", "source": "/s", "data": data}
    return json.dumps(event | {"time": f"2026-03-02T09:{number % 60:02d}:00Z"} | more).encode()


def ran(tmp_path: Path, lines: list[bytes], using: Configuration, before: Configuration | None = None) -> Replayed:
    file = tmp_path / "decisions.ndjson"
    file.write_bytes(b"\n".join(lines) + b"\n")
    return replay(file, using, tmp_path / "out", before)


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_every_line_gets_its_verdict_with_the_lines_number_as_offset(tmp_path):
    lines = [decision(0), decision(1, x=200), b"", decision(2, confidence=0.5), b"{", decision(0), decision(0, x=2)]
    result = ran(tmp_path, lines, configuration())

    verdicts = [Verdict.model_validate(one).data for one in read(tmp_path / "out" / "verdicts.ndjson")]
    found = [(one.decision.offset, one.kind, one.effect, [why.rule for why in one.reasons]) for one in verdicts]
    assert found == [
        (0, "decision", "allow", []),
        (1, "decision", "block", ["p/large", "q/watched"]),
        (3, "decision", "hold", ["p/unsure"]),
        (4, "malformed", "block", ["record/malformed"]),
        (5, "duplicate", None, []),
        (6, "conflict", "block", ["record/conflict"]),
    ]
    assert {one.decision.topic for one in verdicts} == {"file"}
    assert result.tally.effects == {"allow": 1, "log": 0, "hold": 1, "block": 3}
    assert result.tally.kinds == {"decision": 3, "malformed": 1, "duplicate": 1, "conflict": 1}
    large, watched = result.tally.rules["p/large"], result.tally.rules["q/watched"]
    assert (large.count, large.first, large.not_applied, large.reason) == (1, 1, 0, "200 is too much")
    assert (watched.count, watched.not_applied, watched.reason) == (1, 1, "")
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == json.loads(json.dumps(result.document()))


def test_broken_lines_are_dead_lettered_with_the_reason_and_their_bytes(tmp_path):
    lines = [
        b"no json",
        b"\xff\xfe",
        decision(1, x="many"),
        decision(2, data={"model": {"name": "other", "version": "1"}}),
    ]
    ran(tmp_path, lines, configuration())
    letters = read(tmp_path / "out" / "dead-letters.ndjson")
    assert [(one["offset"], one["kind"], one["reason"]) for one in letters] == [
        (0, "malformed", "not-json"),
        (1, "malformed", "not-utf8"),
        (2, "malformed", "wrong-field-type"),
        (3, "undeclared", "undeclared-model"),
    ]
    assert letters[0]["value"] == "no json"
    assert base64.b64decode(letters[1]["value_base64"]) == b"\xff\xfe"
    assert letters[2]["value"].encode() == lines[2]


def test_a_line_too_long_is_refused_without_being_read_whole(tmp_path, monkeypatch):
    file = tmp_path / "d"
    file.write_bytes(decision(0) + b"\n" + b"[" + b"1," * 5_000 + b"1]\n" + decision(1) + b"\n" + b"2" * 1_000)
    (batch,) = decision_file.batches(file, limit=500)
    assert [(one.offset, len(one.value)) for one in batch] == [
        (0, len(decision(0))),
        (1, 501),
        (2, len(decision(1))),
        (3, 501),
    ]


def test_flags_are_summed_over_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(decision_file, "BATCH", 10)
    ran(tmp_path, [decision(n, x=200 + n) for n in range(45)], configuration())
    (flag,) = [one["data"] for one in read(tmp_path / "out" / "flags.ndjson")]
    assert flag["dedup_key"] == '["p/large","limit","1",null]'
    assert (flag["count"], flag["first_offset"], flag["last_offset"]) == (45, 0, 44)
    assert flag["sample"] == list(range(20))
    assert flag["reason"] == "200 is too much"


LINES = st.lists(
    st.one_of(
        st.builds(decision, st.integers(0, 5), x=st.sampled_from([1, 60, 200]), confidence=st.sampled_from([0.5, 0.9])),
        st.sampled_from([b"", b"{", b"\xff", decision(3, x=None)]),
    ),
    max_size=30,
)


@settings(max_examples=30, deadline=None)
@given(LINES, st.integers(1, 7))
def test_the_same_file_gives_the_same_bytes_however_it_is_cut_into_batches(tmp_path_factory, lines, size):
    whole, cut = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    ran(whole, lines, configuration(), configuration(0.4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision_file, "BATCH", size)
        ran(cut, lines, configuration(), configuration(0.4))
    for name in ("verdicts", "dead-letters", "diff"):
        assert (whole / "out" / f"{name}.ndjson").read_bytes() == (cut / "out" / f"{name}.ndjson").read_bytes()
    assert (whole / "out" / "summary.json").read_bytes() == (cut / "out" / "summary.json").read_bytes()
    assert len(read(whole / "out" / "verdicts.ndjson")) == len([line for line in lines if line])


def test_diff_says_what_would_change_and_by_which_rules(tmp_path):
    lines = [
        decision(0, confidence=0.5),
        decision(1, confidence=0.65),
        decision(2, x=200),
        decision(3, x=200, confidence=0.65),
    ]
    result = ran(tmp_path, lines, configuration(0.7), before=configuration(0.6))
    assert read(tmp_path / "out" / "diff.ndjson") == [
        {
            "offset": 1,
            "model": "limit",
            "before": "allow",
            "after": "hold",
            "no_longer": [],
            "now": ["p/unsure (hold)"],
        }
    ]
    assert result.changes is not None
    assert (result.changes.changed, result.changes.other_reasons) == (1, 1)
    assert result.changes.transitions == {"allow → hold": 1}
    assert result.changes.before == configuration(0.6).digest()


def test_without_diff_no_old_diff_stays_behind(tmp_path):
    ran(tmp_path, [decision(0)], configuration(), configuration(0.4))
    ran(tmp_path, [decision(0)], configuration())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dead-letters.ndjson",
        "flags.ndjson",
        "summary.json",
        "verdicts.ndjson",
    ]


def test_the_archives_parquet_keeps_offsets_headers_and_broker_times(tmp_path):
    binary = json.loads(decision(1, x=200))
    data = json.dumps(binary.pop("data")).encode()
    binary_headers = [
        ("content-type", b"application/json"),
        *((f"ce_{key}", text.encode()) for key, text in binary.items()),
    ]
    records = [
        Plain("gim.decisions", 0, 7, 1_000, b"k", decision(0)),
        Plain("gim.decisions", 0, 9, 2_000, None, data, tuple(binary_headers)),
        Plain("gim.decisions", 0, 12, 1_500, None, None, (("h", None),)),
    ]
    Archive(str(tmp_path)).append("gim.decisions", 0, records)
    (file,) = tmp_path.rglob("*.parquet")
    replay(file, configuration(), tmp_path / "out")
    verdicts = [Verdict.model_validate(one) for one in read(tmp_path / "out" / "verdicts.ndjson")]
    assert [(one.id, one.data.effect) for one in verdicts] == [
        ("file/0/7/gate", "allow"),
        ("file/0/9/gate", "block"),
        ("file/0/12/gate", "block"),
    ]
    assert [one.time.timestamp() for one in verdicts if one.time] == [1.0, 2.0, 2.0]
    for verdict, record in zip(verdicts, records, strict=True):
        salt = SALT.salt(f"file/0/{record.offset}")
        assert check(salt, verdict.data.commitment.value, record.key, record.headers, record.value)
    assert verdicts[0].data.commitment.key == "replay"


def test_a_file_that_is_no_file_of_decisions_is_named(tmp_path):
    with pytest.raises(Misconfigured, match="there is no file"):
        replay(tmp_path / "nope", configuration(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(Misconfigured, match="damaged"):
        replay(bad, configuration(), tmp_path / "out")
    other = tmp_path / "other.parquet"
    pl.DataFrame({"offset": [1], "value": ["text"]}).write_parquet(other)
    with pytest.raises(Misconfigured, match="has no column 'timestamp' of type Int64"):
        replay(other, configuration(), tmp_path / "out")
    (tmp_path / "taken").write_text("")
    (tmp_path / "d").write_bytes(decision(0))
    with pytest.raises(Misconfigured, match="cannot be written"):
        replay(tmp_path / "d", configuration(), tmp_path / "taken" / "out")


def test_the_command_shows_effects_rules_and_changes(tmp_path, capsys):
    new, old = tmp_path / "new.yaml", tmp_path / "old.yaml"
    for path, limit in ((new, 0.7), (old, 0.6)):
        path.write_text(json.dumps(configuration(limit).document()))
    file = tmp_path / "d.ndjson"
    file.write_bytes(decision(0, confidence=0.65) + b"\nbroken\n")
    options = ["--decisions", str(file), "--config", str(new), "--out", str(tmp_path / "out"), "--diff", str(old)]
    run = command("replay")
    with pytest.raises(SystemExit) as ended:
        run(args=options, prog_name="govern replay")
    assert ended.value.code in (0, None)
    said = capsys.readouterr().out
    assert "2 records by" in said
    assert "hold 1, block 1 (among them 1 malformed)" in said
    assert "only 0.65" in said
    assert "1 of 2 come out otherwise" in said
    assert "allow → hold" in said
    with pytest.raises(SystemExit):
        run(args=[*options, "--json"], prog_name="govern replay")
    assert json.loads(capsys.readouterr().out)["changes"]["transitions"] == {"allow → hold": 1}
    with pytest.raises(Misconfigured, match="give either an ID"):
        run(args=["--decisions", str(file)], prog_name="govern replay")
