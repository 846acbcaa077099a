"""Buttons pressed in Slack: only Slack's own requests count, only once in five minutes, only for declared people."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from agents.errors import Misconfigured
from agents.escalation.declared import Escalation
from orchestration.notify.slack_answers import NotFromSlack, answer_of, verify_slack

# The worked example of Slack's page "Verifying requests from Slack".
EXAMPLE_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
EXAMPLE_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121"
    b".803a0bc887a14d10d2c447fce8b6703c"
)
EXAMPLE = {
    "X-Slack-Request-Timestamp": "1531420618",
    "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}
AT = 1531420618
PEOPLE = Escalation.model_validate(
    {
        "people": {
            "ann": {"name": "Ann", "contacts": {"chat": "U1ANN"}},
            "bob": {"name": "Bob", "contacts": {"chat": "U2TWO"}},
            "cy": {"name": "Cy", "contacts": {"chat": "U2TWO"}},
        },
        "channels": {"chat": {"kind": "slack", "secret": "bot", "signing": "signs"}, "mail": {"kind": "email"}},
    }
)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's signing secret."""
    monkeypatch.setenv("GOVERN_SECRET_SIGNS", "s1gn1ng")


def pressed(user: str = "U1ANN", action: str = "govern-acknowledge", value: Any = "7f29-k1mq", **more: Any) -> bytes:
    """The body of a press."""
    made = {"action_id": action, "value": value, "type": "button", "action_ts": "1531420617.9"}
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "whoever"},
        "actions": [{name: one for name, one in made.items() if one is not None}],
        "response_url": "https://hooks.slack.com/actions/T1/2/x",
        **more,
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(body: bytes, at: int = AT, secret: str = "s1gn1ng") -> dict[str, str]:
    """The headers that Slack sends with it."""
    mac = hmac.new(secret.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={mac}"}


def test_slack_s_own_example_is_taken_within_five_minutes() -> None:
    verify_slack(EXAMPLE, EXAMPLE_BODY, EXAMPLE_SECRET, AT)
    verify_slack(EXAMPLE, EXAMPLE_BODY, EXAMPLE_SECRET, AT + 300)
    verify_slack(EXAMPLE, EXAMPLE_BODY, EXAMPLE_SECRET, AT - 300)


@pytest.mark.parametrize(
    ("headers", "body", "secret", "now", "told"),
    [
        (EXAMPLE, EXAMPLE_BODY, EXAMPLE_SECRET, AT + 301, "more than five minutes away"),
        (EXAMPLE, EXAMPLE_BODY, EXAMPLE_SECRET, AT - 301, "more than five minutes away"),
        (EXAMPLE, EXAMPLE_BODY + b"x", EXAMPLE_SECRET, AT, "is not Slack's"),
        (EXAMPLE, EXAMPLE_BODY, "another", AT, "is not Slack's"),
        (EXAMPLE, EXAMPLE_BODY, "", AT, "no signing secret"),
        (EXAMPLE | {"X-Slack-Signature": "v0=ü"}, EXAMPLE_BODY, EXAMPLE_SECRET, AT, "is not Slack's"),
        (EXAMPLE | {"X-Slack-Request-Timestamp": "٣"}, EXAMPLE_BODY, EXAMPLE_SECRET, AT, "has no X-Slack"),
        (EXAMPLE | {"X-Slack-Request-Timestamp": "1531420619"}, EXAMPLE_BODY, EXAMPLE_SECRET, AT, "is not Slack's"),
        ({}, EXAMPLE_BODY, EXAMPLE_SECRET, AT, "has no X-Slack"),
    ],
)
def test_whatever_is_not_slack_s_is_refused(headers: Any, body: bytes, secret: str, now: float, told: str) -> None:
    with pytest.raises(NotFromSlack, match=told):
        verify_slack(headers, body, secret, now)


def test_an_acknowledgement_is_of_the_person_whose_contact_it_is() -> None:
    body = pressed()
    found = answer_of(signed(body), body, PEOPLE, AT)
    assert (found.action, found.incident, found.person, found.channel) == ("acknowledge", "7f29-k1mq", "ann", "chat")
    assert found.response_url == "https://hooks.slack.com/actions/T1/2/x"
    assert found.trigger == "1531420617.9"


@pytest.mark.parametrize("user", ["U9NOBODY", "U2TWO", "ann"])
def test_a_user_who_is_nobody_or_two_people_is_no_person(user: str) -> None:
    body = pressed(user)
    assert answer_of(signed(body), body, PEOPLE, AT).person is None


def test_a_link_s_button_is_reported_and_asks_for_nothing() -> None:
    body = pressed(action="govern-open", value=None)
    assert (answer_of(signed(body), body, PEOPLE, AT).action, answer_of(signed(body), body, PEOPLE, AT).incident) == (
        "open",
        None,
    )


def test_a_reply_goes_to_slack_only() -> None:
    body = pressed(response_url="https://hooks.slack.com.evil.example/x")
    assert answer_of(signed(body), body, PEOPLE, AT).response_url is None


@pytest.mark.parametrize(
    "body",
    [
        pressed(action="govern-approve"),
        pressed(value=None),
        pressed(value={"incident": "x"}),
        pressed(value="x" * 65),
        pressed(type="view_submission"),
        pressed(actions=[]),
        pressed(user="U1ANN", actions="approve"),
        b"payload=%7B",
        b"payload=[]",
        b"payload=" + b"[" * 100_000,
        b"\xff\xfe",
        b"",
        b"payload=" + b"x" * 300_000,
    ],
)
def test_a_signed_request_that_presses_none_of_our_buttons_is_refused(body: bytes) -> None:
    with pytest.raises(NotFromSlack):
        answer_of(signed(body), body, PEOPLE, AT)


def test_a_forged_request_is_refused_and_a_missing_secret_told(monkeypatch: pytest.MonkeyPatch) -> None:
    body = pressed()
    with pytest.raises(NotFromSlack, match="is not Slack's"):
        answer_of(signed(body, secret="guessed"), body, PEOPLE, AT)
    with pytest.raises(Misconfigured, match="declares `signing`"):
        answer_of(signed(body), body, Escalation(), AT)
    monkeypatch.delenv("GOVERN_SECRET_SIGNS")
    with pytest.raises(Misconfigured, match="GOVERN_SECRET_SIGNS"):
        answer_of(signed(body), body, PEOPLE, AT)
