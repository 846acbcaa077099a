"""No text is too long or too strange for a channel: whatever is said, a message keeps what each vendor documents."""

from __future__ import annotations

import email as parsing
import json
from collections.abc import Iterator
from email import policy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.notify import email, pagerduty, slack, teams, webhook
from orchestration.notify.message import HEADLINE, Message
from tests.unit.notify.parts import HOSTILE, NOW, data, errand

KINDS = ("trigger", "acknowledge", "resolve", "escalate", "remind", "overdue", "digest", "question")
IDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=256)
WORST = ("𝔘" * 4000, "漢" * 4000, "<&>" * 1300, '"\\' * 2000, "a" * 4000, HOSTILE * 20, "\u202e" * 4000, "")
TEXTS = st.sampled_from(WORST) | st.text(max_size=400)


@st.composite
def notes(draw: st.DrawFn) -> Message:
    """Messages of any text and length, as the topic `notifications` could hold them."""
    incident = draw(IDS)
    found = data(
        incident=incident,
        kind=draw(st.sampled_from(KINDS)),
        severity=draw(st.sampled_from(("info", "warning", "error", "critical"))),
        title=draw(TEXTS),
        lines=draw(st.lists(TEXTS, max_size=40)),
        path=f"/incidents/{incident}",
        dedup=draw(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=600)),
        team=draw(st.none() | st.just("t" * 128)),
        deadline_ms=draw(st.none() | st.integers(NOW - 10**12, NOW + 10**12)),
    )
    late = draw(st.sampled_from((0, 3_600_000)))
    links = draw(st.none() | st.just(b"k" * 32))
    return Message(f"{incident}/0/chat/0", "bank", found, NOW - late, NOW, "https://console.bank.example", None, links)


def bare(message: Message, **channel: Any) -> Any:
    found = errand({"kind": "slack", **channel})
    object.__setattr__(found, "message", message)
    return found


@given(notes())
@settings(max_examples=60, deadline=None)
def test_the_first_line_is_one_line_that_fits_a_lock_screen(message: Message) -> None:
    assert 0 < len(message.headline) <= HEADLINE
    assert message.headline.isprintable()


@given(notes(), st.lists(st.just("U012AB3CD"), max_size=40))
@settings(max_examples=60, deadline=None)
def test_slack_takes_it(message: Message, people: list[str]) -> None:
    """docs.slack.dev/reference/block-kit: 50 blocks, header 150, section 3,000, context 10 elements, button text 75,
    value 2,000, url 3,000, action_id 255; text of a message 4,000 advised. Only mentions are mrkdwn, and `text` is escaped.
    """
    said = slack.content(bare(message, signing="signing"), people)
    assert len(said["blocks"]) <= 50
    assert len(said["text"]) <= 4_000
    assert not set(said["text"]) & set("<>")
    assert "&" not in said["text"].replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    for block in said["blocks"]:
        if block["type"] == "header":
            assert 0 < units(block["text"]["text"]) <= 150
        elif block["type"] == "section":
            assert 0 < units(block["text"]["text"]) <= 3_000
            assert block["text"]["type"] == "plain_text" or set(block["text"]["text"].split()) == {"<@U012AB3CD>"}
        elif block["type"] == "context":
            assert len(block["elements"]) <= 10
        else:
            assert block["type"] == "actions"
            assert len(block["elements"]) <= 25
            for button in block["elements"]:
                assert 0 < len(button["text"]["text"]) <= 75
                assert len(button["action_id"]) <= 255
                assert len(button.get("value", "")) <= 2_000
                assert len(button.get("url", "")) <= 3_000


@given(notes())
@settings(max_examples=60, deadline=None)
def test_teams_takes_it(message: Message) -> None:
    """learn.microsoft.com, webhooks: 28 KB at most; a card's version is the first that has its elements, 1.2 for text runs."""
    said = teams.card(message)
    for encoding in ("utf-8", "utf-16-le"):
        assert len(json.dumps(said, ensure_ascii=False).encode(encoding)) <= 28 * 1024
    (attached,) = said["attachments"]
    card = attached["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.2")
    assert card["fallbackText"] == said["summary"] == message.headline
    assert {run["text"] != "" for block in card["body"] for run in block["inlines"]} == {True}
    assert {one["type"] for one in card.get("actions", ())} <= {"Action.OpenUrl"}


@given(notes())
@settings(max_examples=60, deadline=None)
def test_pagerduty_takes_it(message: Message) -> None:
    """developer.pagerduty.com, Events API v2: summary 1,024, dedup_key 255, four severities, 512 KB; links have an href."""
    event = pagerduty.event(message, "R" * 32)
    assert len(json.dumps(event).encode()) <= 512 * 1024
    assert event["event_action"] in ("trigger", "acknowledge", "resolve")
    assert 0 < len(event["dedup_key"]) <= 255
    assert all(link["href"].startswith("https://") and link["text"] for link in event.get("links", ()))
    if event["event_action"] == "trigger":
        assert 0 < len(event["payload"]["summary"]) <= 1024
        assert event["payload"]["source"]
        assert event["payload"]["severity"] in ("critical", "error", "warning", "info")


@given(notes())
@settings(max_examples=60, deadline=None)
def test_a_webhook_gets_a_valid_cloudevent_and_headers_that_http_allows(message: Message) -> None:
    """CloudEvents 1.0: id, source, specversion and type are there and not empty; 64 KB at most should pass everywhere."""
    event = webhook.event(message)
    assert event["specversion"] == "1.0"
    assert all(isinstance(event[name], str) and event[name] for name in ("id", "source", "type", "subject", "time"))
    assert len(json.dumps(event, ensure_ascii=False).encode()) <= 64 * 1024
    identity = webhook.identity(message.id)
    assert identity.isascii()
    assert identity.isprintable()
    assert len(identity) <= 512


@given(notes())
@settings(max_examples=60, deadline=None)
def test_a_mail_keeps_the_rules_of_mail(message: Message) -> None:
    """RFC 5322: lines of 998 bytes at most; one Subject; plain text of 72 columns but for the link; threads by incident."""
    channel = {"kind": "email", "url": "smtps://mail.bank.example", "sender": "governance@bank.example"}
    found = bare(message, **channel)
    raw = email.written(found, ["ann@bank.example"]).as_bytes()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    mail = parsing.message_from_bytes(raw, policy=policy.default)
    assert mail["Subject"] == message.headline
    assert mail["References"] == mail["In-Reply-To"] != mail["Message-ID"]
    assert len(mail.get_all("To", [])) == 1
    plain, marked = (part.get_content() for part in mail.iter_parts())  # type: ignore[attr-defined]
    assert all(len(line) <= 72 for line in columns(plain))
    assert marked.count("<a ") == int(message.link is not None)


def columns(text: str) -> Iterator[str]:
    """Its lines, without the one with the link."""
    return (line for line in text.splitlines() if not line.startswith("https://console.bank.example/"))


def units(text: str) -> int:
    """Characters as JavaScript counts them, which nobody's limit counts stricter."""
    return len(text.encode("utf-16-le")) // 2
