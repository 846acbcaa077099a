"""docs/notifications.md does what it says: its configuration works, its channels send, its receiver verifies what is sent."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from agents.configuration import Configuration
from agents.configuration_yaml import read_configuration
from agents.told_events import NotificationData
from orchestration.notify import webhook
from orchestration.notify.errand import Errand, addressed
from orchestration.notify.message import Message
from orchestration.notify.sending import send
from tests.receivers import Says, http_receiver
from tests.unit.commands.world import alone, typed
from tests.unit.notify.parts import NOW, data, errand, message
from tests.unit.test_docs import ROOT, blocks, fenced

PAGE = "docs/notifications.md"


def shown() -> Configuration:
    """The page's configuration."""
    (text,) = fenced(PAGE, "yaml")
    return read_configuration([(PAGE, text)])


def verified(*arguments: Any, **more: Any) -> bool:
    """The page's receiver."""
    (code,) = fenced(PAGE, "python")
    place: dict[str, Any] = {}
    exec(compile(code, PAGE, "exec"), place)
    return bool(place["verified"](*arguments, **more))


def test_the_configuration_works_and_reaches_the_people_it_names() -> None:
    escalation = shown().escalation
    assert {one.kind for one in escalation.channels.values()} == {"email", "slack", "teams", "pagerduty", "webhook"}
    assert addressed(escalation, data(channel="mail", to=["ann", "ben"]))[0] == (
        "ann@bank.example",
        "ben.ortiz@bank.example",
    )
    assert addressed(escalation, data(channel="pager", to=["ben"]))[0] == ("secret:pager-ben",)
    assert addressed(escalation, data(channel="chat"))[0] == ("C0123456789",)


async def test_every_channel_of_the_page_sends_once_its_secrets_and_addresses_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with http_receiver(then=Says(body=b'{"ok": true, "ts": "1.0"}')) as receiver:
        for name in ("SLACK_BOT", "PAGER", "PAGER_BEN", "DESK"):
            monkeypatch.setenv(f"GOVERN_SECRET_{name}", "value")
        monkeypatch.setenv("GOVERN_SECRET_TEAMS_WORKFLOW", receiver.url)
        declared = shown().escalation
        here = {
            name: one.model_copy(
                update={"allow_private": True} | ({} if name == "room" else {"url": f"{receiver.url}/{name}"})
            )
            for name, one in declared.channels.items()
            if name != "mail"
        }
        escalation = declared.model_copy(update={"channels": here})
        for name in here:
            await send(escalation, Message("i/0", "gim", data(channel=name), NOW, NOW, escalation.console_url))
    assert [one.path for one in receiver.got] == ["/chat", "/", "/pager", "/desk"]


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "any text"])
async def test_the_receiver_verifies_what_is_sent_and_nothing_else(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVERN_SECRET_HMAC", secret)
    sent = errand({"kind": "webhook", "secret": "hmac"})
    now_ms = int(time.time() * 1000)
    fresh = Message(sent.message.id, "bank", sent.message.data, now_ms, now_ms)
    with http_receiver() as receiver:
        channel = sent.channel.model_copy(update={"url": receiver.url})
        await webhook.send(Errand("hook", channel, fresh))
    (got,) = receiver.got
    assert verified(got.headers, got.body, secret)
    assert not verified(got.headers, got.body + b" ", secret)
    assert not verified(got.headers, got.body, "another")
    assert not verified({**got.headers, "webhook-id": "other"}, got.body, secret)
    assert not verified(got.headers, got.body, secret, now=time.time() + 301)
    assert not verified(got.headers, got.body, secret, now=time.time() - 302)
    assert not verified({}, got.body, secret)


def test_the_page_tells_every_field_of_the_event() -> None:
    said = webhook.event(message(team="risk", deadline_ms=NOW))["data"]
    rows = [line.split("|")[1] for line in (ROOT / PAGE).read_text().splitlines() if line.startswith("| ")]
    told = {name.strip() for row in rows for name in row.split(",")}
    assert set(said) <= told
    kinds = next(line for line in (ROOT / PAGE).read_text().splitlines() if line.startswith("| kind"))
    wanted = NotificationData.model_fields["kind"].annotation
    assert all(kind in kinds for kind in wanted.__args__)  # type: ignore[union-attr]


def test_the_message_shown_is_the_message_sent() -> None:
    shown_lines = next(block for block in blocks((ROOT / PAGE).read_text()) if "Critical: credit-limit" in block)
    made = message(deadline_ms=NOW + 291 * 60_000)
    said = "\n".join((made.headline, *made.lines, made.countdown or ""))
    assert said in shown_lines
    assert "Open it: https://console.bank.example/l/" in shown_lines


def test_slack_s_manifest_asks_for_what_is_used() -> None:
    text = (ROOT / PAGE).read_text()
    manifest = json.loads(text[text.index("    ```json") :].split("```")[1].removeprefix("json"))
    assert manifest["oauth_config"]["scopes"]["bot"] == ["chat:write"]
    assert manifest["settings"]["interactivity"]["request_url"].endswith("/slack/interactive")


def test_a_channel_is_tried_from_the_command_line(tmp_path, monkeypatch, capsys) -> None:
    alone(tmp_path, monkeypatch)
    monkeypatch.setenv("GOVERN_SECRET_DESK", "k")
    with http_receiver(Says(), Says(500, b"out of order")) as receiver:
        desk = f"{{kind: webhook, url: '{receiver.url}', secret: desk, allow_private: true}}"
        (tmp_path / "governance.yaml").write_text(
            f"models: {{credit: {{}}}}\nescalation: {{channels: {{desk: {desk}}}}}\n"
        )
        command = ["notify", "test", "--channel", "desk", "--config", "governance.yaml"]
        assert "sent by webhook in" in typed(command, capsys)
        assert "127.0.0.1 answered 500: out of order" in typed(command, capsys, status=1)
        assert receiver.got[0].document["data"]["title"] == "Test of a channel of Governance in Motion"
    monkeypatch.delenv("GOVERN_SECRET_DESK")
    assert "set GOVERN_SECRET_DESK" in typed(command, capsys, status=1)
    assert "there is no channel 'mail'; declared under escalation.channels: desk" in typed(
        ["notify", "test", "--channel", "mail", "--config", "governance.yaml"], capsys, status=1
    )
