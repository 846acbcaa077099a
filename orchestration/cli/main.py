"""Assembles `govern` from its groups; a group is imported only when it is called, so `--help` stays quick."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click
import typer
from rich.console import Console

from agents.errors import GovernanceError

# name -> (module, attribute, one line for --help); an attribute is a Typer app (a group) or a function (a command).
GROUPS: dict[str, tuple[str, str, str]] = {
    "kafka": ("orchestration.cli.kafka", "app", "Start, stop and inspect the local Apache Kafka."),
    "topics": ("orchestration.cli.topics", "app", "Plan, create and check the topics and their ACLs."),
    "config": ("orchestration.cli.config", "app", "Check, compare, apply and roll back the configuration."),
    "policy": ("orchestration.cli.policy", "app", "Test and explain policies; list the columns a condition can use."),
    "audit": ("orchestration.cli.audit", "app", "Make keys, verify evidence, prove one decision."),
    "schema": ("orchestration.cli.schema", "app", "Export the contract as JSON Schema and AsyncAPI."),
    "replay": ("orchestration.cli.replay", "replay", "Judge a file of decisions again, or re-execute a recorded one."),
    "up": ("orchestration.cli.run", "up", "Start governing: Kafka, Ray, supervisor and lanes."),
    "status": ("orchestration.cli.run", "status", "Show lanes, lag, rates, configuration and checkpoints."),
    "down": ("orchestration.cli.run", "down", "Drain the lanes and stop."),
    "demo": ("orchestration.cli.demo", "demo", "Govern 12,000 real credit decisions and check the result."),
}


class LazyGroups(click.Group):
    """A click group that knows its commands by name and imports each at its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(GROUPS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in GROUPS:
            return None
        module, attribute, summary = GROUPS[name]
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            command = typer.main.get_command(target)
        else:
            single = typer.Typer(add_completion=False)
            single.command(name)(target)
            command = typer.main.get_command(single)
        command.name = name
        command.short_help = summary
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in GROUPS.items()])


def main(argv: Sequence[str] | None = None) -> None:
    """Run `govern`; an error we raised on purpose ends as one clear line and exit status 1."""
    group = LazyGroups(
        name="govern",
        help="Governance in Motion: every decision of a model or agent judged in flight, with evidence.\n\n"
        "Try: govern demo   |   govern up   |   govern policy test config/demo",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    try:
        group.main(args=list(argv) if argv is not None else None, prog_name="govern")
    except GovernanceError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]govern:[/red] {error}", markup=True)
        sys.exit(1)
