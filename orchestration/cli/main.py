"""Assembles `govern` from its groups; a group is imported only when it is called, so `--help` stays quick."""

from __future__ import annotations

import codecs
import difflib
import importlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table

from agents import __version__
from agents.errors import GovernanceError

INTERRUPTED = 130

# name -> (module, attribute, one line for --help); an attribute is a Typer app (a group) or a function (a command).
GROUPS: dict[str, tuple[str, str, str]] = {
    "init": ("orchestration.cli.init", "init", "Write a first configuration from a file of decisions, or a topic."),
    "watch": (
        "orchestration.cli.watch",
        "watch",
        "Show what rules and monitors would have said of a file, with pictures.",
    ),
    "kafka": ("orchestration.cli.kafka", "app", "Start, stop and inspect the local Apache Kafka."),
    "topics": ("orchestration.cli.topics", "app", "Plan, create and check the topics and their ACLs."),
    "config": ("orchestration.cli.config", "app", "Check, compare, propose, apply and roll back the configuration."),
    "policy": ("orchestration.cli.policy", "app", "Test and explain policies; list the columns a condition can use."),
    "signals": ("orchestration.cli.signals", "app", "List what monitors say; explain a signal from its observations."),
    "monitors": (
        "orchestration.cli.monitors",
        "app",
        "List kinds of monitors; share the budget; plan what is noticed when.",
    ),
    "profile": ("orchestration.cli.profile", "app", "Fit what decisions are compared with, and show how good it is."),
    "notify": ("orchestration.cli.notify", "app", "Try a channel; list messages and what became of them."),
    "key": ("orchestration.cli.key", "app", "Make and show the keys that people sign answers with."),
    "incidents": ("orchestration.cli.incidents", "app", "List, show, take and close incidents."),
    "review": ("orchestration.cli.review", "app", "Answer held decisions: approve, edit, reject, respond."),
    "silence": ("orchestration.cli.silence", "app", "Mute the messages of incidents for a while."),
    "stats": ("orchestration.cli.stats", "stats", "Show precision, times, agreement, bulk share and backlog."),
    "digest": (
        "orchestration.cli.digest",
        "digest",
        "Print a week of a model on one page: quiet or not, what changed.",
    ),
    "tune": ("orchestration.cli.tune", "tune", "Propose changes of rules and monitors from what people ruled."),
    "audit": ("orchestration.cli.audit", "app", "Make keys, verify evidence, prove one decision."),
    "schema": ("orchestration.cli.schema", "app", "Export the contract as JSON Schema and AsyncAPI."),
    "replay": ("orchestration.cli.replay", "replay", "Judge a file of decisions again, or re-execute a recorded one."),
    "up": ("orchestration.cli.run", "up", "Start governing: Kafka, Ray, supervisor and lanes."),
    "status": ("orchestration.cli.run", "status", "Show lanes, lag, rates, configuration and checkpoints."),
    "console": ("orchestration.cli.console", "console", "Serve the pages on which people see and answer."),
    "user": ("orchestration.cli.user", "app", "Make, list and disable accounts of the console."),
    "down": ("orchestration.cli.run", "down", "Drain the lanes and stop."),
    "demo": ("orchestration.cli.demo", "demo", "Govern 14,000 real decisions: a skewed model goes live and is caught."),
}


HELP = "Governance in Motion: every decision of a model or agent judged in flight, with evidence."
TRY = "Try: govern demo   |   govern up   |   govern policy test config/demo"


def main(argv: Sequence[str] | None = None) -> None:
    """Run `govern`; an error we raised on purpose ends as one clear line and exit status 1."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _print_anywhere()
    if not arguments or arguments[0] in ("-h", "--help"):
        _help()
    elif arguments[0] == "--version":
        print(f"govern {__version__}")
    elif arguments[0] not in GROUPS:
        near = difflib.get_close_matches(arguments[0], GROUPS, 1)
        _fail(
            f"there is no command {arguments[0]!r}"
            + (f"; did you mean {near[0]!r}?" if near else "; see govern --help")
        )
    else:
        try:
            command(arguments[0])(args=arguments[1:], prog_name=f"govern {arguments[0]}")
        except GovernanceError as error:
            _fail(str(error), 1)
        except KeyboardInterrupt:  # while a module is imported, or where nothing else takes it
            _fail("interrupted", INTERRUPTED)


def command(name: str) -> Callable[..., object]:
    """The command or group of this name, ready to be called with `args` and `prog_name`; imports only its module."""
    module, attribute, _summary = GROUPS[name]
    target = getattr(importlib.import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
        single.command(name)(target)
        target = single
    return typer.main.get_command(target)


def _print_anywhere() -> None:
    """Let no letter that the terminal's encoding lacks end a command that has done its work: print it as JSON escapes it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("as-json", _escaped)
        sys.stdout.reconfigure(errors="as-json")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _help() -> None:
    console = Console(highlight=False)
    console.print(f"[bold]Usage:[/bold] govern COMMAND \\[OPTIONS] ...\n\n{HELP}\n{TRY}\n", soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name, (_, _, summary) in GROUPS.items():
        table.add_row(f"[cyan]{name}[/cyan]", summary)
    console.print(table)
    console.print("\n`govern COMMAND --help` shows options and examples.")


def _fail(message: str, status: int = 2) -> NoReturn:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[red]govern:[/red] ", end="")
    console.print(message, markup=False)
    sys.exit(status)
