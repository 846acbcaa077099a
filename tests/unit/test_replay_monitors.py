"""`govern replay --decisions` with monitors: their signals and figures beside the verdicts, and rules that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.configuration import Configuration
from agents.events import Signal, SignalStatus, Verdict
from orchestration import decision_file
from orchestration.file_monitors import BLOCK
from orchestration.replay import replay

DOCUMENT: dict[str, Any] = {
    "models": {
        "limit": {
            "mode": "gate",
            "clock": "event",
            "versions": ["1"],
            "features": {"x": "numeric"},
            "labels": {"yes": {"favourable": True}, "no": {}},
            "groups": {"sex": ["f", "m"]},
            "arl": 10_000,
        }
    },
    "monitors": {"disparate_impact": {}},
    "policies": [
        {
            "policy": "p",
            "rules": [
                {
                    "id": "unequal",
                    "when": "signals.disparate_impact.status = 'alarm' AND output.label = 'no'",
                    "effect": "hold",
                    "reason": "ratio {signals.disparate_impact.estimate}",
                },
                {"id": "late", "when": "monitor.lag_ms > 1000", "effect": "log", "on_unknown": "allow"},
            ],
        }
    ],
}
COUNT = 4_200


def lines(seed: int = 0) -> tuple[list[bytes], dict[str, dict[str, str | None]]]:
    """Events and attributes; women get `yes` a quarter as often. Some lines are broken, some twice."""
    random = np.random.default_rng(seed)
    found, attributes = [], {}
    for number in range(COUNT):
        sex = "f" if random.random() < 0.4 else "m"
        label = "yes" if random.random() < (0.15 if sex == "f" else 0.6) else "no"
        attributes[f"c{number}"] = {"sex": sex}
        event = {
            "specversion": "1.0", "type": "governance.decision.v1", "id": f"d{number}", "source": "/s",
            "subject": f"c{number}", "time": f"2026-03-02T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
            "data": {"model": {"name": "limit", "version": "1"}, "features": {"x": 1}, "output": {"label": label}},
        }  # fmt: skip
        found.append(json.dumps(event).encode())
        if number % 500 == 7:
            found += [b"broken", found[-1], b""]
    return found, attributes


def ran(folder: Path, attributes: dict[str, dict[str, str | None]], text: list[bytes]) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "d.ndjson"
    file.write_bytes(b"\n".join(text) + b"\n")
    replay(file, Configuration.model_validate(DOCUMENT), folder / "out", attributes=attributes)
    return {one.name: one.read_bytes() for one in sorted((folder / "out").iterdir())}


def test_signals_and_figures_stand_beside_the_verdicts(tmp_path):
    text, attributes = lines()
    written = ran(tmp_path, attributes, text)
    assert {"verdicts.ndjson", "signals.ndjson", "metrics.json"} <= set(written)
    signals = [Signal.model_validate_json(one) for one in written["signals.ndjson"].splitlines()]
    alarm = next(one.data for one in signals if one.data.status is SignalStatus.ALARM)
    assert (alarm.monitor, alarm.group, alarm.reference) == ("disparate_impact", "sex=f", "sex=m")
    metrics = json.loads(written["metrics.json"])
    assert metrics["decisions"] == COUNT  # neither broken lines nor duplicates
    (women,) = [one for one in metrics["monitors"] if one["group"] == "sex=f"]
    assert women["status"] == "alarm"
    assert women["coverage"] == 1.0
    assert json.loads(written["summary.json"])["alarms"][0].startswith("2026-03-02 ")


def test_rules_read_signals_of_earlier_blocks_only_and_verdicts_record_as_of(tmp_path):
    text, attributes = lines()
    written = ran(tmp_path, attributes, text)
    verdicts = [Verdict.model_validate_json(one).data for one in written["verdicts.ndjson"].splitlines()]
    held = [one.decision.offset for one in verdicts if any(why.rule == "p/unequal" for why in one.reasons)]
    assert held
    assert min(held) >= BLOCK
    first = next(one for one in verdicts if one.decision.offset == min(held))
    assert first.as_of.signals > 0
    assert {one.as_of.signals for one in verdicts if one.decision.offset < BLOCK} == {0}
    no = [json.loads(one)["data"]["output"]["label"] if one.startswith(b"{") else "" for one in text]
    block = min(held) // BLOCK * BLOCK
    decisions = {one.decision.offset for one in verdicts if one.kind == "decision"}
    expected = [place for place in sorted(decisions) if place >= block and no[place] == "no"]
    assert held == expected


@pytest.mark.parametrize("size", [37, 1_000, 5_000])
def test_the_same_file_gives_the_same_bytes_however_it_is_read(tmp_path, monkeypatch, size):
    text, attributes = lines()
    expected = ran(tmp_path / "a", attributes, text)
    monkeypatch.setattr(decision_file, "BATCH", size)
    found = ran(tmp_path / "b", attributes, text)
    for name in ("verdicts.ndjson", "signals.ndjson", "metrics.json", "summary.json", "dead-letters.ndjson"):
        assert found[name] == expected[name], name


def test_without_monitors_nothing_of_an_earlier_run_stays_behind(tmp_path):
    text, attributes = lines()
    ran(tmp_path, attributes, text)
    plain = {name: value for name, value in DOCUMENT.items() if name == "models"}
    replay(tmp_path / "d.ndjson", Configuration.model_validate(plain), tmp_path / "out")
    assert not (tmp_path / "out" / "signals.ndjson").exists()
    assert not (tmp_path / "out" / "metrics.json").exists()
