"""`govern user …`: who may sign in to the console. What a person may do there stands in the configuration, not here."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.escalation.declared import Member
from orchestration import config_topic, deployment
from orchestration.console.accounts import SHORTEST, Accounts
from orchestration.console.database import open_database
from orchestration.console.parts import wall_clock_ms
from orchestration.settings import Settings

app = typer.Typer(
    help="Make, list and disable accounts of the console.\n\n"
    "An account holds a password and nothing else: roles and teams are those of escalation.people and escalation.teams.",
    no_args_is_help=True,
    add_completion=False,
)
Person = Annotated[str, typer.Argument(help="A person of escalation.people, for example dana.")]
Stdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input, for scripts.")]
From = Annotated[
    Path | None,
    typer.Option("--config", metavar="CONFIG_DIR", help="Look people up here, not in the configuration in force."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.command()
def add(person: Person, password_stdin: Stdin = False, config: From = None) -> None:
    """Give a declared person an account; asks for the password.

    Example: govern user add dana
    """
    settings = deployment.located(Settings())
    member = _declared(settings, person, config)
    _accounts(settings).add(person, _password(person, password_stdin))
    roles = ", ".join(member.roles) or "none"
    typer.echo(f"{person} ({member.name}) can sign in now; roles: {roles}")


@app.command("list")
def list_accounts(as_json: AsJson = False) -> None:
    """List the accounts.

    Example: govern user list
    """
    found = _accounts(deployment.located(Settings())).every()
    if as_json:
        typer.echo(json.dumps([{name: getattr(one, name) for name in one.__slots__} for one in found]))
        return
    if not found:
        typer.echo("nobody has an account; make one: govern user add PERSON")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("person", "state", "made", "password of"):
        table.add_column(name)
    for one in found:
        locked = f"locked until {_when(one.locked_until_ms)}" if one.locked_until_ms else "may sign in"
        table.add_row(one.person, "disabled" if one.disabled else locked, _when(one.created_ms), _when(one.changed_ms))
    Console(highlight=False).print(table)


@app.command()
def disable(person: Person) -> None:
    """Keep a person out, at once: every session ends. The account stays.

    Example: govern user disable dana
    """
    ended = _accounts(deployment.located(Settings())).disable(person)
    typer.echo(f"{person} cannot sign in any more; {ended} sessions ended")


@app.command()
def enable(person: Person) -> None:
    """Let a disabled or locked person in again.

    Example: govern user enable dana
    """
    _accounts(deployment.located(Settings())).enable(person)
    typer.echo(f"{person} can sign in again")


@app.command()
def passwd(person: Person, password_stdin: Stdin = False) -> None:
    """Set another password; every session of the person ends.

    Example: govern user passwd dana
    """
    ended = _accounts(deployment.located(Settings())).set_password(person, _password(person, password_stdin))
    typer.echo(f"{person} has another password; {ended} sessions ended")


def _accounts(settings: Settings) -> Accounts:
    return Accounts(open_database(settings), wall_clock_ms)


def _declared(settings: Settings, person: str, config: Path | None) -> Member:
    """What the configuration says of a person. Raises Misconfigured with the lines to add."""
    found = _configuration(settings, config)
    people = found.escalation.people if found is not None else {}
    member = people.get(person)
    if member is None:
        where = "no configuration is in force" if found is None else f"the configuration declares no person {person}"
        known = f" (it declares {', '.join(sorted(people))})" if people else ""
        raise Misconfigured(
            f"{where}{known}. Add these lines, apply them, and try again:\n"
            f"escalation:\n  people:\n    {person}: {{name: FIRST LAST, roles: [reviewer]}}"
        )
    return member


def _configuration(settings: Settings, config: Path | None) -> Configuration | None:
    if config is not None:
        from orchestration import config_files  # compiles policies

        return config_files.load(config, settings)
    applied = asyncio.run(config_topic.current(deployment.with_kafka(settings)))
    return applied.configuration() if applied is not None else None


def _password(person: str, stdin: bool) -> str:
    if stdin:
        text = sys.stdin.readline().rstrip("\r\n")
        if not text:
            raise Misconfigured("there is no password on standard input")
        return text
    if not sys.stdin.isatty():
        raise Misconfigured("there is no terminal to ask for the password on; use --password-stdin")
    first = getpass.getpass(f"password for {person} (at least {SHORTEST} characters): ")
    if first != getpass.getpass("the same again: "):
        raise Misconfigured("the two differ; nothing was changed")
    return first


def _when(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
