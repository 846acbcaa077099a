"""Slack's button "Acknowledge": a request that Slack signed becomes a review that the console signs, for the person whose
Slack id it is. Nothing else can be answered from Slack.
"""

from __future__ import annotations

import hashlib
import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from agents.errors import Misconfigured, Retryable
from agents.people_events import ReviewData
from orchestration.console.parts import parts_of
from orchestration.console.standing import read_only
from orchestration.notify.slack_answers import NotFromSlack, answer_of

log = logging.getLogger("governance.console")


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
        return PlainTextResponse("")
    if parts.sender is None or (why := await run_in_threadpool(read_only, parts)) is not None:
        log.warning("Acknowledge from Slack was not sent: %s", why if parts.sender is not None else "no key")
        return PlainTextResponse("")
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
        await parts.sender.send(f"slack/{name[:32]}", data)
    except Retryable as error:
        return PlainTextResponse(str(error), 503)  # Slack tries again: the id is the same, so it counts once
    return PlainTextResponse("")


ROUTES = (Route("/slack/interactive", interactive, methods=["POST"]),)
