"""Each channel on a real server: what arrives, what no title can do to it, what a server's answer means."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest

from agents.escalation.declared import Escalation
from orchestration.notify import pagerduty, slack, teams, webhook
from orchestration.notify.errand import addressed
from orchestration.notify.faults import NotSent, Undeliverable, Unreachable
from orchestration.notify.message import HEADLINE
from orchestration.notify.sending import send
from tests.receivers import Says, certificate, http_receiver
from tests.unit.notify.parts import HOSTILE, NOW, data, errand, message


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that channels of these tests name."""
    monkeypatch.setenv("GOVERN_SECRET_BOT", "xoxb-17")
    monkeypatch.setenv("GOVERN_SECRET_ROUTING", "R0UT1NGKEY")
    monkeypatch.setenv("GOVERN_SECRET_HMAC", "top-secret")


# -- what is said ------------------------------------------------------------------------------------------------------


def test_a_message_fits_a_lock_screen_and_says_how_bad_it_is_first() -> None:
    said = message()
    assert said.headline == "Critical: credit-limit 2.1.0: 312 decisions held by lending/odd-case, answer by 14:05 UTC"
    long = message(title="credit-limit " + "a" * 200, kind="escalate", severity="warning")
    assert len(long.headline) == HEADLINE
    assert long.headline.startswith("Warning: credit-limit aaa")
    assert long.lines[0] == "credit-limit " + "a" * 200, "what was cut stands in the text"


@pytest.mark.parametrize(
    ("kind", "title", "told"),
    [
        ("resolve", "credit: decisions held", "Resolved: credit: decisions held"),
        ("resolve", "Resolved: credit: decisions held", "Resolved: credit: decisions held"),
        ("remind", "credit: decisions held", "Still open: credit: decisions held"),
        ("overdue", "credit: decisions held", "Overdue: credit: decisions held"),
        ("digest", "credit: a quiet week", "credit: a quiet week"),
        ("digest", "\u200b", "Governance in Motion"),
    ],
)
def test_what_has_happened_is_said_once(kind: str, title: str, told: str) -> None:
    assert message(kind=kind, title=title).headline == told


def test_what_is_late_says_so() -> None:
    assert message(late_ms=60_000).lines == message().lines
    assert message(late_ms=35 * 60_000).lines[-1] == "Sent 35 min late: it was written at 2026-03-02 08:39 UTC."


def test_the_deadline_is_counted_down() -> None:
    assert message(deadline_ms=NOW + 45 * 60_000).countdown == "Time left: 45 min"
    assert message(deadline_ms=NOW + 4 * 3_600_000 - 1).countdown == "Time left: 3 h 59 min"
    assert message(deadline_ms=NOW - 3 * 3_600_000).countdown == "The deadline passed 3 h ago"
    assert message(deadline_ms=NOW + 60_000, kind="resolve").countdown is None


def test_the_only_link_is_ours() -> None:
    hostile = message(title=HOSTILE, lines=[HOSTILE], path='/incidents/"><script>?a=1 b')
    for text in (hostile.headline, *hostile.lines):
        assert "://evil" not in text.replace("hxxps://evil", "")
        assert "www.evil" not in text
        assert text.isprintable()
    assert hostile.link == "https://console.bank.example/incidents/%22%3E%3Cscript%3E?a=1%20b"
    assert message(console=None).link is None
    assert message(console="javascript:alert(1)//").link is None


# -- Slack -------------------------------------------------------------------------------------------------------------


async def test_slack_s_webhook_gets_plain_text_blocks_and_a_button_that_links() -> None:
    with http_receiver() as receiver:
        await slack.send(
            errand({"kind": "slack", "url": f"{receiver.url}/services/T/B/x"}, title=HOSTILE, lines=[HOSTILE])
        )
    (got,) = receiver.got
    said = got.document
    assert got.path == "/services/T/B/x"
    assert "<!channel>" not in said["text"]
    assert said["text"].startswith("Critical: &lt;!channel&gt;")
    assert {block["text"]["type"] for block in said["blocks"] if "text" in block} == {"plain_text"}
    (button,) = said["blocks"][-1]["elements"]
    assert button["url"] == "https://console.bank.example/incidents/7f29-k1mq"
    assert len(said["blocks"][0]["text"]["text"]) <= 150


async def test_people_are_mentioned_by_slack_s_webhook_by_their_ids_only() -> None:
    with http_receiver() as receiver:
        await slack.send(errand({"kind": "slack", "url": receiver.url}, "U012AB3CD", "<!here>", "channel"))
    texts = [block["text"]["text"] for block in receiver.got[0].document["blocks"] if "text" in block]
    assert texts[-1] == "<@U012AB3CD>"


async def test_the_bot_posts_to_each_person_and_threads_by_incident() -> None:
    said = [Says(body=json.dumps({"ok": True, "ts": f"17.{n}"}).encode()) for n in range(2)]
    chat = {"kind": "slack", "secret": "bot", "signing": "bot"}
    with http_receiver(*said, then=Says(body=b'{"ok": true, "ts": "18.0"}')) as receiver:
        sent = await slack.send(errand({**chat, "url": receiver.url}, "U1ANN", "U2BOB"))
        later = errand({**chat, "url": receiver.url}, "U2BOB", kind="overdue")
        object.__setattr__(later.message, "thread", sent.reference)
        await slack.send(later)
    first, second, third = (one.document for one in receiver.got)
    assert (first["channel"], second["channel"]) == ("U1ANN", "U2BOB")
    assert receiver.got[0].headers["authorization"] == "Bearer xoxb-17"
    assert "thread_ts" not in first
    assert (third["thread_ts"], third["reply_broadcast"]) == ("17.1", True)
    assert "U1ANN" not in (sent.reference or ""), "no user's id is recorded"
    actions = {one["action_id"]: one for one in first["blocks"][-1]["elements"]}
    assert actions["govern-acknowledge"]["value"] == "7f29-k1mq"


async def test_a_person_whom_the_bot_reached_is_not_told_twice_when_another_is_tried_again() -> None:
    well, ill = Says(body=b'{"ok": true, "ts": "1.0"}'), Says(status=500)
    with http_receiver(well, ill, well) as receiver:
        going = errand({"kind": "slack", "secret": "bot", "url": receiver.url}, "U1ANN", "U2BOB")
        with pytest.raises(NotSent, match="answered 500"):
            await slack.send(going)
        sent = await slack.send(going)
    assert [one.document["channel"] for one in receiver.got] == ["U1ANN", "U2BOB", "U2BOB"]
    assert len((sent.reference or "").split()) == 2


@pytest.mark.parametrize(
    ("word", "kind"), [("channel_not_found", Unreachable), ("invalid_auth", Undeliverable), ("fatal_error", NotSent)]
)
async def test_slack_s_refusals_are_sorted_although_it_answers_200(word: str, kind: type[NotSent]) -> None:
    said = Says(body=json.dumps({"ok": False, "error": word}).encode())
    with http_receiver(said) as receiver, pytest.raises(NotSent, match=word) as refused:
        await slack.send(errand({"kind": "slack", "secret": "bot", "url": receiver.url}, "C1"))
    assert type(refused.value) is kind


# -- Teams, PagerDuty --------------------------------------------------------------------------------------------------


async def test_teams_gets_a_card_of_text_runs_which_know_no_markdown() -> None:
    with http_receiver(Says(202)) as receiver:
        await teams.send(errand({"kind": "teams", "url": receiver.url}, title=HOSTILE, deadline_ms=NOW + 60_000))
    (attached,) = receiver.got[0].document["attachments"]
    assert attached["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attached["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.2")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert {run["type"] for block in card["body"] for run in block["inlines"]} == {"TextRun"}
    assert card["actions"] == [
        {"type": "Action.OpenUrl", "title": "Open it", "url": "https://console.bank.example/incidents/7f29-k1mq"}
    ]


async def test_teams_connectors_that_say_200_to_what_they_did_not_deliver_are_not_believed() -> None:
    said = Says(body=b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413")
    with http_receiver(said) as receiver, pytest.raises(NotSent, match="could not deliver"):
        await teams.send(errand({"kind": "teams", "url": receiver.url}))


async def test_pagerduty_gets_trigger_acknowledge_and_resolve_under_one_key() -> None:
    kinds = ("trigger", "escalate", "acknowledge", "resolve")
    with http_receiver(then=Says(202, b'{"status":"success"}')) as receiver:
        for kind in kinds:
            await pagerduty.send(errand({"kind": "pagerduty", "url": receiver.url, "secret": "routing"}, kind=kind))
    events = [one.document for one in receiver.got]
    assert [one["event_action"] for one in events] == ["trigger", "trigger", "acknowledge", "resolve"]
    assert {(one["dedup_key"], one["routing_key"]) for one in events} == {("bank/7f29-k1mq", "R0UT1NGKEY")}
    payload = events[0]["payload"]
    assert payload["severity"] == "critical"
    assert (
        payload["summary"]
        == "Critical: credit-limit 2.1.0: 312 decisions held by lending/odd-case, answer by 14:05 UTC"
    )
    assert payload["source"] == "governance/bank"
    assert events[0]["links"] == [
        {"href": "https://console.bank.example/incidents/7f29-k1mq", "text": "Open it on the console"}
    ]
    assert "payload" not in events[3]


@pytest.mark.parametrize("severity", ["critical", "error", "warning", "info"])
def test_pagerduty_s_severities_are_ours(severity: str) -> None:
    assert pagerduty.event(message(severity=severity), "k")["payload"]["severity"] == severity


def test_pagerduty_s_key_is_never_too_long() -> None:
    long = pagerduty.dedup_key(message(dedup="x" * 300))
    assert len(long) <= 255
    assert long != pagerduty.dedup_key(message(dedup="x" * 301))


async def test_a_person_s_own_pagerduty_integration_is_read_from_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERN_SECRET_ANN", "ANNSKEY")
    with http_receiver(Says(202)) as receiver:
        await pagerduty.send(errand({"kind": "pagerduty", "url": receiver.url}, "secret:ann"))
    assert receiver.got[0].document["routing_key"] == "ANNSKEY"


# -- webhook -----------------------------------------------------------------------------------------------------------


def test_a_signature_is_that_of_the_standard_s_own_example() -> None:
    signed = webhook.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_webhook_gets_a_signed_cloudevent_that_names_nobody() -> None:
    with http_receiver(Says(204)) as receiver:
        await webhook.send(errand({"kind": "webhook", "url": receiver.url, "secret": "hmac"}, to=["ann"], team="risk"))
    (got,) = receiver.got
    assert got.headers["content-type"].startswith("application/cloudevents+json")
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    mac = base64.b64encode(hmac.new(b"top-secret", signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{mac}"
    event = got.document
    assert (event["specversion"], event["type"], event["source"]) == ("1.0", "governance.message.v1", "/bank/notify")
    assert event["id"] == got.headers["webhook-id"] == "7f29-k1mq/0/chat/0"
    assert event["data"]["url"] == "https://console.bank.example/incidents/7f29-k1mq"
    assert b"ann" not in got.body.replace(b"channel", b"")


async def test_a_webhook_without_a_key_is_refused_rather_than_sent_unsigned() -> None:
    with http_receiver() as receiver, pytest.raises(Undeliverable, match="has no `secret`"):
        await webhook.send(errand({"kind": "webhook", "url": receiver.url}))
    assert receiver.got == []


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "final", "after", "told"),
    [
        (Says(429, b"slow down", (("retry-after", "7"),)), False, 7.0, "answered 429: slow down"),
        (Says(429, b"", (("Retry-After", "99999"),)), False, 300.0, "answered 429"),
        (Says(503, b"", (("retry-after", "soon"),)), False, None, "answered 503"),
        (Says(500, b"oops"), False, None, "answered 500: oops"),
        (Says(400, b'{"errors":["no ann@bank.example"]}'), True, None, "<address>"),
        (Says(404, b"no_service"), True, None, "answered 404: no_service"),
        (Says(302, b"", (("location", "http://127.0.0.1/"),)), True, None, "redirects are not followed"),
    ],
)
async def test_an_answer_says_whether_to_try_again(said: Says, final: bool, after: float | None, told: str) -> None:
    with http_receiver(said) as receiver, pytest.raises(NotSent) as failed:
        await teams.send(errand({"kind": "teams", "url": f"{receiver.url}/secret-path"}))
    assert isinstance(failed.value, Undeliverable) is final
    assert failed.value.after_s == after
    assert told in str(failed.value)
    assert "secret-path" not in str(failed.value)
    assert "ann@" not in str(failed.value)


async def test_a_secret_that_a_server_sends_back_is_not_repeated() -> None:
    said = Says(400, b"bad key R0UT1NGKEY")
    with http_receiver(said) as receiver, pytest.raises(Undeliverable, match="bad key <secret>"):
        await pagerduty.send(errand({"kind": "pagerduty", "url": receiver.url, "secret": "routing"}))


async def test_a_certificate_that_nobody_trusts_ends_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, context = certificate(tmp_path, "127.0.0.1")
    with http_receiver(tls=context) as receiver:
        with pytest.raises(NotSent, match="certificate is not trusted"):
            await teams.send(errand({"kind": "teams", "url": receiver.url}))
        assert receiver.got == []
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        await teams.send(errand({"kind": "teams", "url": receiver.url}))
        assert len(receiver.got) == 1


# -- whom it reaches ---------------------------------------------------------------------------------------------------

PEOPLE = {
    "people": {
        "ann": {"name": "Ann", "email": "ann@bank.example", "contacts": {"chat": "U1ANN"}},
        "bob": {"name": "Bob", "contacts": {"mail": "bob.work@bank.example"}},
        "cy": {"name": "Cy"},
    },
    "channels": {
        "mail": {"kind": "email", "url": "smtps://mail.bank.example", "to": "risk@bank.example"},
        "chat": {"kind": "slack", "secret": "bot", "to": "C1"},
        "hook": {"kind": "webhook"},
    },
}


@pytest.mark.parametrize(
    ("channel", "to", "addresses", "missed"),
    [
        ("mail", [], ("risk@bank.example",), 0),
        ("mail", ["ann", "bob", "cy"], ("ann@bank.example", "bob.work@bank.example"), 1),
        ("chat", ["ann"], ("U1ANN",), 0),
        ("chat", [], ("C1",), 0),
        ("hook", ["cy"], (), 1),
    ],
)
def test_people_are_reached_at_what_they_declare_for_the_channel(
    channel: str, to: list[str], addresses: tuple[str, ...], missed: int
) -> None:
    declared = Escalation.model_validate(PEOPLE)
    assert addressed(declared, data(channel=channel, to=to)) == (addresses, missed)


async def test_nobody_reachable_is_told_with_the_mend() -> None:
    declared = Escalation.model_validate(PEOPLE)
    with pytest.raises(Unreachable, match="give them `email`, or `contacts"):
        await send(declared, message(channel="mail", to=["cy"]))
    with pytest.raises(Undeliverable, match="'pager' is not declared any more"):
        await send(declared, message(channel="pager"))
