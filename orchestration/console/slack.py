"""Slack's button "Acknowledge": a request that Slack signed becomes a review that the console signs, for the person whose
Slack id it is. Nothing else can be answered from Slack. Whoever pressed for nothing is told so, in one sentence that only they
see.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from typing import Any

import httpx
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from agents.errors import GovernanceError, Misconfigured, Retryable
from agents.people_events import ReviewData
from orchestration.console.parts import Parts, parts_of
from orchestration.console.sending import Sender
from orchestration.console.standing import read_only
from orchestration.notify.slack_answers import NotFromSlack, SlackAnswer, answer_of

log = logging.getLogger("governance.console")
HOOKS = "https://hooks.slack.com/"
"""Where replies go, and nowhere else, whatever a request says."""
NOBODY = "This did not count: the configuration knows no person, or more than one, with your Slack id on this channel."
DISABLED = "This did not count: your account is disabled."
READ_ONLY = "This did not count: nothing can be answered through this console now; its pages say why."
WAIT_S = 5.0
"""So long it is waited for a refusal, after Slack has had its answer."""


async def interactive(request: Request) -> Response:
    """What Slack posts when somebody presses a button. Slack wants an answer within 3 s and repeats otherwise."""
    parts, body = parts_of(request), await request.body()
    configuration = parts.configuration()
    if configuration is None:
        return PlainTextResponse("no configuration is in force", 503)
    try:
        pressed = await run_in_threadpool(
            answer_of, dict(request.headers), body, configuration.escalation, parts.clock() / 1000
        )
    except NotFromSlack as error:
        return PlainTextResponse(str(error), 401)
    except Misconfigured as error:
        log.warning("a request from Slack: %s", error)
        return PlainTextResponse("not set up", 404)
    if pressed.action == "open":
        return PlainTextResponse("")
    if pressed.person is None:
        log.warning("a Slack user presses Acknowledge whom no one person's contacts on %s name", pressed.channel)
        return _not_taken(parts, pressed, NOBODY)
    if await run_in_threadpool(parts.accounts.disabled, pressed.person):
        log.warning("Acknowledge from Slack was not sent: the account of %s is disabled", pressed.person)
        return _not_taken(parts, pressed, DISABLED)
    if parts.sender is None or (why := await run_in_threadpool(read_only, parts)) is not None:
        log.warning("Acknowledge from Slack was not sent: %s", why if parts.sender is not None else "no key")
        return _not_taken(parts, pressed, READ_ONLY)
    press = "\0".join((pressed.channel, pressed.user, pressed.trigger, pressed.incident or ""))
    name = hashlib.sha256(press.encode()).hexdigest()
    data = ReviewData(
        action="acknowledge",
        person=pressed.person,
        login=f"sha256:{name}",
        incident=pressed.incident,
        reason="acknowledged in Slack",
    )
    try:
        receipt = await parts.sender.send(f"slack/{name[:32]}", data)
    except Retryable as error:
        return PlainTextResponse(str(error), 503)  # Slack tries again: the id is the same, so it counts once
    return PlainTextResponse("", background=BackgroundTask(_became, parts, pressed, parts.sender, receipt))


def _not_taken(parts: Parts, pressed: SlackAnswer, text: str) -> Response:
    return PlainTextResponse("", background=BackgroundTask(_say, parts, pressed, text))


async def _became(parts: Parts, pressed: SlackAnswer, sender: Sender, receipt: dict[str, Any]) -> None:
    """Say it where the answer was refused; that it counts, the incident itself says."""
    with suppress(GovernanceError):
        told = await sender.outcome(receipt, WAIT_S)
        if told.kind == "refused":
            await _say(parts, pressed, f"This did not count: {told.text}")


async def _say(parts: Parts, pressed: SlackAnswer, text: str) -> None:
    """One message that only the person who pressed sees; where it does not arrive, the log has said the same."""
    url = pressed.response_url
    if url is None or not url.startswith(HOOKS):
        return
    message = {"response_type": "ephemeral", "replace_original": False, "text": text}
    try:
        async with httpx.AsyncClient(
            transport=parts.outbound, timeout=5, trust_env=False, follow_redirects=False
        ) as slack:
            await slack.post(url, json=message)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.warning("Slack took no reply to a press of Acknowledge (%s)", type(error).__name__)


ROUTES = (Route("/slack/interactive", interactive, methods=["POST"]),)
