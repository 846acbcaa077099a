"""The weekly message as each channel shows it: from what the escalation lane writes to what a phone gets."""

from __future__ import annotations

import json
from typing import Any

from agents.escalation.declared import Channel
from agents.told_events import Notification, NotificationData
from orchestration.notify import email, pagerduty, slack, teams, webhook
from orchestration.notify.errand import Errand
from orchestration.notify.message import Message
from orchestration.notify.outbox import Outbox
from tests.unit.escalation.lane import Lane, flag
from tests.unit.escalation.test_digests import begun, to, weekly
from tests.unit.notify.parts import NOW, record

URL = "https://console.bank.example"
PAGE = f"{URL}/models/credit/weeks/2026-W10"
TITLE = "credit: 1 incident open, 3 decisions wait"


def digest(held: int = 3) -> NotificationData:
    """What the lane writes of a week."""
    lane = begun(Lane(weekly(console_url=URL)))
    if held:
        lane.flags(flag(count=held))
    to(lane, "2026-03-09 08:00")
    (found,) = [one for one in lane.told if one.kind == "digest"]
    return found


def message(held: int = 3, late_ms: int = 0) -> Message:
    return Message(
        "digest/credit/2026-W10/mail", "gim", digest(held), NOW - late_ms, NOW, URL, links=b"answers are elsewhere"
    )


def errand(kind: str, **more: Any) -> Errand:
    channel = {"kind": kind, "sender": "governance@bank.example", "allow_private": True, **more}
    return Errand("here", Channel.model_validate(channel), message())


def test_the_lock_screen_says_the_model_and_whether_the_week_was_quiet() -> None:
    assert message(0).headline == "credit: quiet week"
    assert message().headline == TITLE
    assert message().link == PAGE


def test_a_mail_says_it_in_plain_text_and_in_html_with_one_link() -> None:
    mail = email.written(errand("email"), ["risk@bank.example"])
    assert mail["Subject"] == TITLE
    assert mail["Importance"] is None
    plain, rich = (part.get_content() for part in mail.iter_parts())  # type: ignore[union-attr]
    for line in ("Week 10, 2 to 8 March 2026", "1 incident began: 1 warning", "3 decisions wait for an answer"):
        assert line in plain
        assert line in rich
    assert PAGE in plain
    assert rich.count("<a href=") == 1
    assert f'<a href="{PAGE}"' in rich
    assert "Severity" not in plain


def test_each_week_is_a_thread_of_its_own_so_that_none_hides_in_an_older_one() -> None:
    ours = email.written(errand("email"), ["risk@bank.example"])["References"]
    other = digest().model_copy(update={"dedup": "gim/digest/credit/2026-W11"})
    found = Errand("here", errand("email").channel, Message("x", "gim", other, NOW, NOW, URL))
    assert email.written(found, ["risk@bank.example"])["References"] != ours


def test_slack_shows_it_with_a_link_and_no_button_to_acknowledge() -> None:
    found = slack.content(errand("slack", secret="bot", signing="signing"), ())
    assert found["text"] == TITLE
    buttons = [one for block in found["blocks"] if block["type"] == "actions" for one in block["elements"]]
    assert [(one["action_id"], one["url"]) for one in buttons] == [(slack.OPEN, PAGE)]
    assert "1 incident began: 1 warning" in json.dumps(found)


def test_teams_shows_a_card_with_a_link() -> None:
    found = teams.card(message())
    assert found["summary"] == TITLE
    card = found["attachments"][0]["content"]
    assert card["actions"][0]["url"] == PAGE
    assert "3 decisions wait for an answer" in json.dumps(card)


def test_a_webhook_says_which_model_and_week_and_nobody_s_name() -> None:
    data = webhook.event(message())["data"]
    assert (data["kind"], data["incident"], data["severity"]) == ("digest", "digest/credit/2026-W10", "info")
    assert (data["headline"], data["url"], data["dedup"]) == (TITLE, PAGE, "gim/digest/credit/2026-W10")
    assert not {"to", "deadline"} & set(data)
    assert not any(person in json.dumps(data) for person in digest().to)


async def test_nobody_is_ever_paged_by_it() -> None:
    """Its URL leads nowhere: an attempt to post would fail."""
    sent = await pagerduty.send(errand("pagerduty", url="http://127.0.0.1:9/v2/enqueue", secret="not-there"))
    assert sent.detail == "not sent on: a digest pages nobody"


def test_one_that_goes_out_hours_late_says_so_once_more() -> None:
    assert message(late_ms=3 * 3_600_000).lines[-1] == "Sent 3 h late: it was written at 2026-03-02 06:14 UTC."


def test_what_is_resolved_meanwhile_does_not_make_it_pointless() -> None:
    outbox = Outbox()
    data = digest().model_dump(exclude={"incident", "kind", "channel", "dedup"})
    entry = outbox.see(record(0, "digest/credit/2026-W10", "digest", "mail", **data), known=False)
    outbox.see(record(1, "7f29-k1mq", "resolve", "mail"), known=False)
    assert entry is not None
    assert outbox.pointless(entry) is None


def test_its_id_names_model_week_and_channel_so_a_step_decided_again_gives_the_same() -> None:
    lane = begun(Lane(weekly()))
    to(lane, "2026-03-09 08:00")
    events = [Notification.model_validate_json(one) for one in lane.bytes_of("notifications")]
    assert [one.id for one in events] == ["digest/credit/2026-W10/mail"]
    assert [key for key, _, _ in lane.written["notifications"]] == [b"digest/credit/2026-W10/mail"]
