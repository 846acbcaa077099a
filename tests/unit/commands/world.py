"""Files and a clean place for commands that are tried as a person types them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from orchestration.cli.main import main


def decisions(count: int = 2_400, seed: int = 0, unfair: bool = True) -> pl.DataFrame:
    """A credit model's decisions as a bank has them: version 2, the last 40 %, treats women worse, and `income` moves."""
    random = np.random.default_rng(seed)
    second = np.arange(count) >= count * 0.6
    sex = random.choice(["female", "male"], count)
    income = random.normal(size=count) + 1.5 * second * unfair
    favoured = np.where(second & (sex == "female") & unfair, 0.15, 0.6)
    approved = random.random(count) < favoured
    score = np.where(approved, 0.5 + 0.5 * random.random(count), 0.5 * random.random(count))
    times = np.datetime64("2026-01-01T00:00:00", "ms") + np.arange(count) * np.timedelta64(
        90 * 86_400_000 // count, "ms"
    )
    return pl.DataFrame(
        {
            "request_id": [f"r{place}" for place in range(count)],
            "client_id": [f"c{place}" for place in range(count)],
            "at": times,
            "model_version": np.where(second, "2", "1").tolist(),
            "income": income.round(4),
            "debt": random.exponential(size=count).round(4),
            "channel": random.choice(["web", "branch"], count).tolist(),
            "decision": np.where(approved, "approve", "decline").tolist(),
            "score": score.round(4),
            "sex": sex.tolist(),
            "age": random.integers(18, 80, count),
        }
    )


def alone(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """The folder as the only place that commands know of."""
    patch.chdir(folder)
    patch.setenv("GOVERN_KEYS_DIR", str(folder / "keys"))
    patch.setenv("GOVERN_DATA_DIR", str(folder / "var"))
    return folder


def typed(words: Sequence[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    """What `govern …` prints, standard error after standard output."""
    code = 0
    try:
        main(list(words))
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    said = capsys.readouterr()
    assert code == status, (code, said.out, said.err)
    return said.out + said.err
