"""Who pressed a button in Slack: verified by Slack's signature, then mapped to a declared person. Nothing is decided here.

For the endpoint that Slack's interactivity posts to. `answer_of` takes the raw request and returns an SlackAnswer, or raises
NotFromSlack, which the endpoint answers with 401 and records nowhere. The scheme is Slack's v0: HMAC-SHA256 of
`v0:<timestamp>:<raw body>` by the app's signing secret, in hex, with a timestamp no older than five minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs

from agents.errors import Misconfigured, Poison
from agents.escalation.declared import Escalation
from orchestration.notify.slack import ACKNOWLEDGE, OPEN
from orchestration.secrets import secret

WINDOW_S = 300
BODY_BYTES = 256 * 1024
_ACTIONS: dict[str, Literal["acknowledge", "open"]] = {ACKNOWLEDGE: "acknowledge", OPEN: "open"}


class NotFromSlack(Poison):
    """The request is not proved to come from Slack, or says nothing that we asked."""

    reason = "not-from-slack"


@dataclass(frozen=True, slots=True)
class SlackAnswer:
    """A button that somebody pressed.

    `open` is a link's button: Slack reports it too, and wants 200. `acknowledge` counts for `person` if that is not None:
    the endpoint writes the review, signed by the console's key, with `login` naming this request.
    """

    channel: str
    """Our channel's name, by whose signing secret the request was verified."""
    action: Literal["acknowledge", "open"]
    incident: str | None
    """What the button was for; null for `open`."""
    user: str
    """Slack's id of the user."""
    person: str | None
    """Whose `contacts` on this channel is that id; null where nobody's, or more than one's."""
    response_url: str | None
    """Where Slack takes a reply to be shown; only on hooks.slack.com, else null."""
    trigger: str
    """Slack's id of this press: the same when Slack repeats the request."""


def verify_slack(headers: Mapping[str, str], body: bytes, signing_secret: str, now: float) -> None:
    """Return if the request is Slack's; `now` in seconds since 1970, UTC. Names of headers count in any case.

    Raises NotFromSlack where a header is missing, the timestamp is more than WINDOW_S away, or the signature differs.
    """
    given = {name.lower(): value for name, value in headers.items()}
    stamp, said = given.get("x-slack-request-timestamp", ""), given.get("x-slack-signature", "")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12) or not said:
        raise NotFromSlack("the request has no X-Slack-Request-Timestamp and X-Slack-Signature")
    if abs(now - int(stamp)) > WINDOW_S:
        raise NotFromSlack("the request's timestamp is more than five minutes away: repeated, or the clock is wrong")
    if not signing_secret:
        raise NotFromSlack("there is no signing secret to verify with")
    wanted = "v0=" + hmac.new(signing_secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), said.encode("utf-8", "replace")):
        raise NotFromSlack("the request's signature is not Slack's")


def answer_of(headers: Mapping[str, str], body: bytes, escalation: Escalation, now: float) -> SlackAnswer:
    """Verify a request against every Slack channel that declares `signing`, and read it.

    Raises NotFromSlack, and Misconfigured where no such channel is declared or none of their secrets is there.
    """
    if len(body) > BODY_BYTES:
        raise NotFromSlack("the request is larger than any of Slack's")
    channels = {
        name: one.signing
        for name, one in escalation.channels.items()
        if one.kind == "slack" and one.signing is not None
    }
    if not channels:
        raise Misconfigured("no channel of kind slack declares `signing`, the name of the app's signing secret")
    missing, refused = None, NotFromSlack("the request's signature is not Slack's")
    for name, signing in channels.items():
        try:
            verify_slack(headers, body, secret(signing), now)
            return read(body, name, escalation)
        except Misconfigured as error:
            missing = error
        except NotFromSlack as error:
            refused = error
    raise missing or refused


def read(body: bytes, channel: str, escalation: Escalation) -> SlackAnswer:
    """What a verified body says. Raises NotFromSlack where it is no press of one of our buttons."""
    payload = _payload(body)
    user, actions = payload.get("user"), payload.get("actions")
    action = actions[0] if isinstance(actions, list) and len(actions) == 1 else None
    if payload.get("type") != "block_actions" or not isinstance(user, dict) or not isinstance(action, dict):
        raise NotFromSlack("the request is no press of a button")
    pressed, who = _ACTIONS.get(str(action.get("action_id"))), user.get("id")
    if pressed is None or not isinstance(who, str) or not who:
        raise NotFromSlack("the button is none of ours")
    incident = action.get("value") if pressed == "acknowledge" else None
    if pressed == "acknowledge" and not (isinstance(incident, str) and 0 < len(incident) <= 64):
        raise NotFromSlack("the button names no incident")
    url = payload.get("response_url")
    known = isinstance(url, str) and url.startswith("https://hooks.slack.com/")
    trigger = str(action.get("action_ts") or payload.get("trigger_id") or "")[:64]
    person = person_of(escalation, channel, who)
    return SlackAnswer(channel, pressed, incident, who, person, url if known else None, trigger)


def person_of(escalation: Escalation, channel: str, user: str) -> str | None:
    """The one declared person whose contact on this channel is the Slack user; None where there is none, or several."""
    found = [person for person, member in escalation.people.items() if member.contacts.get(channel) == user]
    return found[0] if len(found) == 1 else None


def _payload(body: bytes) -> dict[str, Any]:
    try:
        fields = parse_qs(body.decode("utf-8"), strict_parsing=True, max_num_fields=16)
        (text,) = fields["payload"]
        found = json.loads(text)
    except (ValueError, KeyError, RecursionError):
        raise NotFromSlack("the request has no payload that can be read") from None
    if not isinstance(found, dict):
        raise NotFromSlack("the request has no payload that can be read")
    return found
