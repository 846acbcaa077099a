"""Attacks on the console: each is tried against the whole application, and none succeeds.

The table is in attacks_inside.py and attacks_outside.py. Everybody's browser is real but for its engine: cookies, origins and
fetch metadata are as browsers send them. What an engine decides (CSP, cookie prefixes, scanners) stands in
tests/e2e/test_console_attacks.py; texts from decisions in test_hostile_texts.py; webhook URLs in tests/unit/notify.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.console import attacks_inside, attacks_outside
from tests.unit.console.attacking import ATTACKS
from tests.unit.console.served import serve


@pytest.mark.parametrize("name", ATTACKS)
async def test_no_attack_succeeds(name: str, tmp_path: Path) -> None:
    assert await ATTACKS[name](serve(tmp_path)) is None


def test_the_table_holds_both_files() -> None:
    homes = {function.__module__ for function in ATTACKS.values()}
    assert homes == {attacks_inside.__name__, attacks_outside.__name__}
    assert len(ATTACKS) >= 50
