"""What puts approved changes in force sees their rulings alone, and says so where it cannot."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from orchestration.enacting import Enacting, approves
from orchestration.settings import Settings

KEY = '["change/configuration",null,null,"7f29-k1mq"]'


def ruling(**more: Any) -> bytes:
    data = {"incident": "7f29-k1mq", "resolution": "approved", "effect": "allow", "keys": [KEY], **more}
    event = {"specversion": "1.0", "type": "governance.ruling.v1", "id": "7f29-k1mq/0", "source": "/gim/escalation"}
    return json.dumps({**event, "data": data}).encode()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (ruling(), "7f29-k1mq"),
        (ruling(resolution="rejected", effect="block"), None),
        (ruling(resolution="responded", effect="hold", response="is it approved?"), None),
        (ruling(keys=['["lending/approved","credit","1",null]']), None),
        (ruling(incident="0000-0000"), None),
        (ruling(keys=['["change/safeguard",null,null,"7f29-k1mq"]']), None),
        (b'"approved" and no ruling', None),
        (None, None),
    ],
)
def test_only_an_approved_proposal_of_a_configuration_is_put_in_force(value: bytes | None, found: str | None) -> None:
    assert approves(value) == found


def test_where_it_cannot_go_on_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(_env_file=None, prefix="gim", data_dir=tmp_path, bootstrap_servers="127.0.0.1:9")  # type: ignore[call-arg]
    one = Enacting(settings)
    assert one.problem == ""
    one.start()
    wait_for(lambda: one.problem.startswith("approved changes wait: Kafka"))
    one.close()

    async def ended() -> None:
        await asyncio.sleep(0)

    dead = Enacting(settings)
    monkeypatch.setattr(dead, "run", ended)
    dead.start()
    wait_for(lambda: "a fault of the program ended" in dead.problem)


def wait_for(what: Any) -> None:
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)
