"""Monitors of users' own: found by their entry point, held to be what they say, and used like the product's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from agents.errors import Misconfigured
from agents.monitor import Watch
from orchestration import extensions

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "bank_monitors.py"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python finds distributions in."""
    monkeypatch.syspath_prepend(tmp_path)
    extensions.kinds.cache_clear()
    yield tmp_path
    extensions.kinds.cache_clear()
    sys.modules.pop("bank_monitors", None)


def install(site: Path, entry: str) -> None:
    """A distribution with the example and an entry point."""
    (site / "bank_monitors.py").write_text(EXAMPLE.read_text())
    info = site / "bank_monitors-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bank-monitors\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{extensions.GROUP}]\n{entry}\n")


def test_a_monitor_of_another_distribution_watches_like_any_other(site: Path) -> None:
    install(site, "round_sums = bank_monitors:RoundSums")
    found = extensions.kinds()
    assert "round_sums" in found
    assert "disparate_impact" in found
    random = np.random.default_rng(0)
    amount = random.integers(1_000, 90_000, 4_000).astype(float)
    amount[2_000:] = np.where(random.random(2_000) < 0.4, 20_000.0, amount[2_000:])
    model = {"features": {"amount": "numeric"}, "labels": {"approve": {}, "decline": {}}, "arl": 1_000_000}
    watch = Watch({"loans": model}, {"round_sums": {"feature": "amount"}}, kinds=found)
    signals = watch.feed(pl.DataFrame({"amount": amount, "label": ["approve"] * 4_000, "caller": ["portal"] * 4_000}))
    alarms = [one for one in signals if one.status == "alarm"]
    assert alarms
    assert "round sums" in (alarms[0].text or "")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("round_sums = bank_monitors:Nothing", "cannot be loaded"),
        ("round_sums = no_such_module:RoundSums", "cannot be loaded"),
        ("round_sums = bank_monitors:RoundSumsOptions", "is no subclass of"),
        ("other_name = bank_monitors:RoundSums", "its `kind` must be 'other_name'"),
        ("data_drift_of_mine = bank_monitors:RoundSums", "its `kind` must be"),
        ("disparate_impact = bank_monitors:RoundSums", "there is a kind of monitor of this name already"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named_with_the_reason(site: Path, entry: str, told: str) -> None:
    install(site, entry)
    with pytest.raises(Misconfigured, match="entry point") as raised:
        extensions.kinds()
    assert told in str(raised.value)
    assert "of bank-monitors" in str(raised.value)
