"""`govern notify …`: try a channel before it is needed, and see what became of every message."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.escalation.declared import Escalation
from agents.events import Severity
from agents.told_events import NotificationData
from orchestration import config_files, config_topic, deployment
from orchestration.kafka import Broker
from orchestration.notify.faults import NotSent
from orchestration.notify.history import Told, told
from orchestration.notify.message import Message, moment, plain, span
from orchestration.notify.sending import send
from orchestration.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Try a channel; list messages and what became of them."
)
COLOURS = {"sent": "green", "failed": "bold red", "retrying": "yellow", "waiting": "yellow", "skipped": "dim"}


@app.command("test")
def try_channel(
    channel: Annotated[str, typer.Option(help="A channel that the configuration declares.")],
    to: Annotated[
        list[str] | None, typer.Option(help="A person, by name; again for more. Left out: the channel's `to`.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Files to take it from; left out: the configuration in force.")
    ] = None,
) -> None:
    """Send a test message by one channel, now and from this machine, and tell what came back.

    Exit status 1 where it did not go out. Secrets are read from this shell's environment. PagerDuty gets an event of
    severity info, and right after it one that resolves it.

    Example: govern notify test --channel chat

    Example: govern notify test --channel mail --to ann --config config
    """
    configuration = config_files.load(config) if config is not None else asyncio.run(_in_force())
    escalation = configuration.escalation
    _known(escalation, channel, to or [])
    kinds = ("trigger", "resolve") if escalation.channels[channel].kind == "pagerduty" else ("trigger",)
    began = time.monotonic()
    try:
        for message in _messages(channel, tuple(to or ()), kinds, escalation):
            sent = asyncio.run(send(escalation, message))
    except NotSent as error:
        typer.echo(f"not sent after {time.monotonic() - began:.1f} s: {error}", err=True)
        raise typer.Exit(1) from None
    more = f" ({sent.detail})" if sent.detail else ""
    typer.echo(
        f"sent by {escalation.channels[channel].kind} in {time.monotonic() - began:.1f} s{more}; has it arrived?"
    )


@app.command("list")
def list_messages(
    everything: Annotated[bool, typer.Option("--all", help="Also what was sent or skipped, the newest 200.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List messages that wait, are tried again, or were given up.

    Example: govern notify list --all
    """
    found = asyncio.run(_history(_connected()))
    shown = found[-200:] if everything else [one for one in found if one.open or one.state == "failed"][-200:]
    if as_json:
        for one in shown:
            typer.echo(json.dumps(_document(one), ensure_ascii=False))
        return
    sent = sum(one.state == "sent" for one in found)
    if not shown:
        typer.echo(f"nothing waits, nothing was given up; {sent:,} messages sent in all (--all lists the newest)")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("written", "state", "channel", "incident", "message", "attempts", "what came back"):
        table.add_column(name, overflow="fold", justify="right" if name == "attempts" else "left")
    now_ms = int(time.time() * 1000)
    for one in shown:
        delivery = one.delivery
        table.add_row(
            moment(one.recorded_ms),
            f"[{COLOURS[one.state]}]{one.state}[/]" + (f" {span(now_ms - one.recorded_ms)}" if one.open else ""),
            one.data.channel,
            _text(one.data.incident),
            _text(one.data.title),
            str(delivery.attempts) if delivery else "",
            _text(delivery.detail) if delivery else "",
        )
    Console(highlight=False).print(table)


def _text(text: str) -> str:
    """A text from elsewhere for a terminal, without Rich's own markup."""
    return plain(text, 120).replace("[", "\\[")


def _messages(channel: str, to: tuple[str, ...], kinds: tuple[str, ...], escalation: Escalation) -> list[Message]:
    """Test messages; those of one call are of one made-up incident."""
    incident, now_ms = f"test-{uuid.uuid4().hex[:8]}", int(time.time() * 1000)
    lines = ("If you can read this, the channel works.", "No decision waits: nothing is to be done.")
    found = []
    for kind in kinds:
        data = NotificationData.model_validate(
            {
                "incident": incident,
                "kind": kind,
                "channel": channel,
                "to": to,
                "severity": Severity.INFO,
                "title": "Test of a channel of Governance in Motion",
                "lines": lines,
                "dedup": incident,
            }
        )
        found.append(Message(f"{incident}/{kind}", Settings().prefix, data, now_ms, now_ms, escalation.console_url))
    return found


def _known(escalation: Escalation, channel: str, people: list[str]) -> None:
    if channel not in escalation.channels:
        there = ", ".join(sorted(escalation.channels)) or "none"
        raise Misconfigured(f"there is no channel {channel!r}; declared under escalation.channels: {there}")
    unknown = [one for one in people if one not in escalation.people]
    if unknown:
        raise Misconfigured(
            f"{unknown[0]!r} is nobody; people are {', '.join(sorted(escalation.people)) or 'not declared'}"
        )


async def _in_force() -> Configuration:
    applied = await config_topic.current(_connected())
    if applied is None:
        raise Misconfigured("no configuration is in force: `govern config apply DIR`, or name files with --config")
    return applied.configuration()


async def _history(settings: Settings) -> list[Told]:
    return told(await Broker(settings).read_all(settings.topic("notifications")))


def _document(one: Told) -> dict[str, object]:
    delivery = one.delivery
    return {
        "id": one.id,
        "state": one.state,
        "written_ms": one.recorded_ms,
        "done_ms": None if one.open else one.delivered_ms,
        "attempts": delivery.attempts if delivery else 0,
        "detail": delivery.detail if delivery else "",
        **one.data.model_dump(mode="json", exclude_none=True),
    }


def _connected() -> Settings:
    return deployment.with_kafka(deployment.located(Settings()))
