"""What `govern config check` says of channels that cannot work, before somebody waits for a message in vain."""

from __future__ import annotations

from typing import Any

import pytest

from agents.escalation.declared import Escalation
from orchestration.notify.gaps import gaps
from tests.unit.commands.world import alone, typed
from tests.unit.notify.test_notify_docs import shown


def found(channel: dict[str, Any]) -> list[str]:
    """What is said of one channel."""
    declared = {"channels": {"one": channel}, "console_url": "https://console.bank.example"}
    return gaps(Escalation.model_validate(declared))


@pytest.mark.parametrize(
    ("channel", "told"),
    [
        ({"kind": "email", "url": "smtps://mail.bank.example"}, ["kind email needs `sender`"]),
        ({"kind": "teams"}, ["kind teams needs `url`"]),
        ({"kind": "webhook", "url": "https://desk.bank.example"}, ["kind webhook needs `secret`"]),
        ({"kind": "slack"}, ["kind slack needs `secret` (a bot's token) or `url` (an incoming webhook)"]),
        ({"kind": "teams", "url": "secret:hook"}, []),
        ({"kind": "slack", "secret": "bot"}, []),
    ],
)
def test_what_a_channel_lacks_is_told(channel: dict[str, Any], told: list[str]) -> None:
    assert found(channel) == [f"channel one: {one}" for one in told]


def test_a_url_that_would_be_refused_is_told_beforehand() -> None:
    assert "is not encrypted" in found({"kind": "teams", "url": "http://hooks.bank.example"})[0]
    assert "holds credentials" in found({"kind": "teams", "url": "https://me:pw@hooks.bank.example"})[0]
    assert found({"kind": "teams", "url": "http://hooks.bank.example", "allow_private": True}) == []


def test_people_whom_no_channel_reaches_are_named() -> None:
    declared = {
        "people": {"ann": {"name": "Ann", "email": "ann@bank.example"}, "ben": {"name": "Ben"}},
        "teams": {"risk": {"members": ["ann", "ben"]}},
        "channels": {"chat": {"kind": "slack", "secret": "bot"}},
    }
    said = gaps(Escalation.model_validate(declared))
    assert said[0].startswith("messages have no link")
    assert said[1].startswith("no channel reaches ann, ben:")
    assert gaps(Escalation()) == [], "whoever declares no channel is told nothing of channels"


def test_the_page_s_configuration_has_no_gaps() -> None:
    assert gaps(shown().escalation) == []


def test_config_check_says_it(tmp_path, monkeypatch, capsys) -> None:
    alone(tmp_path, monkeypatch)
    text = "models: {credit: {}}\nescalation: {channels: {desk: {kind: webhook}}}\n"
    (tmp_path / "governance.yaml").write_text(text)
    said = typed(["config", "check", "governance.yaml"], capsys)
    assert "channel desk: kind webhook needs `url`" in said
    assert "channel desk: kind webhook needs `secret`" in said


def test_the_check_says_who_gets_the_week_of_each_model(tmp_path, monkeypatch, capsys) -> None:
    alone(tmp_path, monkeypatch)
    text = "models: {credit-limit: {}}\nescalation: {digest: {at: 07:30}, teams: {risk: {}}}\n"
    (tmp_path / "governance.yaml").write_text(text)
    said = typed(["config", "check", "governance.yaml"], capsys)
    assert "digest of credit-limit: nobody gets it; give risk a channel of its own" in said
