"""`govern config …`: start, check and compare configurations on disk. What is in force is orchestration/config_topic.py's."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agents.configuration import Configuration
from agents.errors import Misconfigured, NotReady, Retryable
from agents.escalation.digesting import remarks
from agents.escalation.proposals import Proposed
from agents.monitor.changes import changes
from agents.policy.differences import differences, lines_of
from orchestration import anomaly_scores, config_topic, deployment, second_person, signing_keys, topics
from orchestration.cli.progress import progress
from orchestration.config_files import files_of, load, schema_text, start
from orchestration.extensions import kinds
from orchestration.profile_store import ProfileStore
from orchestration.reviewing import Effective, Pending
from orchestration.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check and compare configurations.")
Where = Annotated[Path, typer.Argument(help="A folder of YAML files, or one file.", show_default=False)]
Person = Annotated[str | None, typer.Option(help="Who signs; left out: the only person whose key lies here.")]
KeyFile = Annotated[Path | None, typer.Option("--key", help="The private key's file, where it is not in keys_dir.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for what becomes of it.")]


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write it; made if missing.")]) -> None:
    """Write a commented first configuration, and the schema that editors complete from."""
    for file in start(folder):
        typer.echo(f"wrote {file}")
    typer.echo(f"next: govern config check {folder}   and   govern policy test {folder}")


@app.command()
def check(
    path: Where,
    history: Annotated[
        Path | None,
        typer.Option(
            help="Recorded decisions (a file, or a folder such as the archive): forecast what people are asked."
        ),
    ] = None,
    per_day: Annotated[
        float, typer.Option("--rulings-per-day", min=0.1, help="With --history: decisions that one person rules a day.")
    ] = 20.0,
) -> None:
    """Read a configuration, compile its rules and its monitors; every mistake with file, line and mend.

    With --history also what its holds would ask of each team. Example: govern config check config/ --history var/archive
    """
    configuration = load(path, Settings())
    typer.echo(f"ok: {summary(configuration)} in {len(files_of(path))} file(s)")
    typer.echo(configuration.digest())
    for line in _unscored(configuration):
        typer.echo(line)
    if configuration.escalation.channels:
        from orchestration.notify.gaps import gaps  # clients of channels, for configurations with channels only

        for line in gaps(configuration.escalation):
            typer.echo(line)
    for line in remarks(configuration):
        typer.echo(line)
    if configuration.monitors:
        from orchestration.cli.monitors import waiting_of  # the kinds of monitors take a second to import

        for line in waiting_of(configuration):
            typer.echo(line)
    if history is not None:
        _forecast(configuration, history, per_day)


@app.command()
def diff(before: Where, after: Where) -> None:
    """Show what differs between two configurations, rule by rule; exit status 1 where they differ."""
    old, new = load(before), load(after)
    found = differences(old, new)
    if not found:
        typer.echo("no difference")
        return
    for line in (*lines_of(found), *fates(old, new)):
        typer.echo(line)
    raise SystemExit(1)


@app.command()
def schema(out: Annotated[Path | None, typer.Option(help="A file; standard output if left out.")] = None) -> None:
    """Print the JSON Schema of configuration files, for editors."""
    if out is None:
        typer.echo(schema_text(), nl=False)
    else:
        out.write_text(schema_text(), encoding="utf-8")
        typer.echo(f"wrote {out}")


@app.command()
def apply(
    path: Where,
    note: Annotated[str, typer.Option(help="Why; kept in the history and the evidence.")] = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait until every lane reports it; 0: do not wait.")] = 30,
) -> None:
    """Put a configuration in force, whole; returns when every running lane has reported its digest.

    Example: govern config apply config/ --note "raise the hold threshold, ticket 812"
    """
    configuration = load(path, Settings())
    settings = _connected()
    asyncio.run(topics.ensure(settings))
    before = asyncio.run(config_topic.current(settings))
    applied = asyncio.run(config_topic.apply(settings, configuration, note))
    typer.echo(f"{'applied' if applied.changed else 'in force already'}: {summary(configuration)}\n{applied.digest}")
    if before is not None and applied.changed:
        for line in fates(before.configuration(), configuration):
            typer.echo(line)
    _reported(settings, applied.digest, wait)


@app.command()
def history() -> None:
    """List what was applied, newest last: when, by whom, digest and note."""
    table = Table("offset", "applied (UTC)", "by", "digest", "note", box=None)
    for one in asyncio.run(config_topic.history(_connected())):
        when = datetime.fromtimestamp(one.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(str(one.offset), when, one.by or "", one.digest[:19], one.note or "")
    if not table.row_count:
        typer.echo("nothing was ever applied; start with: govern config apply DIR")
        return
    Console(highlight=False).print(table)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Argument(help="Beginning of a digest; the one before, if left out.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait until every lane reports it; 0: do not wait.")] = 30,
) -> None:
    """Put an earlier configuration in force again, as a new record of the history.

    Example: govern config rollback sha256:73ff6af4
    """
    settings = _connected()
    applied = asyncio.run(config_topic.rollback(settings, to))
    typer.echo(f"{'back to' if applied.changed else 'in force already:'} {applied.digest}")
    _reported(settings, applied.digest, wait)


@app.command(epilog='Example: govern config propose config/ --reason "raise the hold threshold, ticket 812"')
def propose(
    what: Annotated[str, typer.Argument(help="A folder, a file, or the digest of an earlier configuration.")],
    reason: Annotated[str, typer.Option(help="What changes, and why: the other person reads it.")],
    person: Person = None,
    key: KeyFile = None,
    wait: Wait = 30,
) -> None:
    """Propose a configuration, signed: nothing changes until another author approves it."""
    settings = _connected()
    configuration = _proposed(settings, what)
    author, signing = signing_keys.own(settings, person, key)
    before = _in_force(settings)
    if before.digest == configuration.digest():
        typer.echo(f"in force already: {before.digest}")
        return
    for line in lines_of(differences(before.configuration(), configuration)):
        typer.echo(line)
    found = asyncio.run(second_person.propose(settings, configuration, author, signing, reason, wait))
    typer.echo(f"{found.text}\n{configuration.digest()}")
    if isinstance(found, Effective) and found.incident is not None:
        typer.echo(f"next, by another author: govern config approve {found.incident.incident} --reason …")


@app.command(epilog='Example: govern config approve 7f29-k1mq --reason "replayed last week: 40 fewer holds a day"')
def approve(
    incident: Annotated[str, typer.Argument(help="The proposal's id, as `govern config proposals` lists it.")],
    reason: Annotated[str, typer.Option(help="Why you agree; it is signed, and kept.")],
    person: Person = None,
    key: KeyFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask after showing what changes.")] = False,
    wait: Wait = 30,
) -> None:
    """Show what somebody else proposed, agree to it, signed, and put it in force. Repeating it does no harm."""
    from orchestration.cli import answering  # the read model takes a moment to import

    settings = _connected()
    before = _in_force(settings)
    if (before.note or "").endswith(f"({incident})"):
        typer.echo(f"in force already: {before.digest}\nby {before.by}: {before.note}")
        return
    one = _proposal(settings, incident, before)
    assert one.incident.proposal is not None, "a proposal's incident has one"
    configuration = second_person.kept(settings, one.incident.proposal.digest)
    typer.echo(f"{one.incident.proposal.author} proposes: {one.incident.proposal.text}")
    for line in (
        *lines_of(differences(before.configuration(), configuration)),
        *fates(before.configuration(), configuration),
    ):
        typer.echo(line)
    if not one.approved:
        approver, signing = signing_keys.own(settings, person, key)
        answering.confirmed(f"approve this as {approver}, and put it in force?", yes)
        told = asyncio.run(second_person.answer(settings, one, "approve", approver, signing, reason, wait))
        typer.echo(told.text)
        if isinstance(told, Pending):
            raise Retryable("nothing is in force yet; run the same command again once escalation runs")
        if deployment.ray_runs(settings) and deployment.find(settings) is not None:
            asyncio.run(_came_into_force(settings, configuration.digest(), wait))
    applied = asyncio.run(config_topic.enact(settings, incident))  # does nothing where the deployment has done it
    typer.echo(f"in force: {summary(configuration)}\n{applied.digest}")
    typer.echo(f"by {applied.by}: {applied.note}")
    _reported(settings, applied.digest, wait)


@app.command(epilog='Example: govern config reject 7f29-k1mq --reason "it would hold 412 a day"')
def reject(
    incident: Annotated[str, typer.Argument(help="The proposal's id, as `govern config proposals` lists it.")],
    reason: Annotated[str, typer.Option(help="Why not; it is signed, and kept.")],
    person: Person = None,
    key: KeyFile = None,
    wait: Wait = 30,
) -> None:
    """Turn down what somebody else proposed, signed. Its author takes one back with `govern incidents resolve ID`."""
    settings = _connected()
    one = _proposal(settings, incident, _in_force(settings))
    author, signing = signing_keys.own(settings, person, key)
    typer.echo(asyncio.run(second_person.answer(settings, one, "reject", author, signing, reason, wait)).text)


@app.command()
def proposals(as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False) -> None:
    """List what was proposed since the configuration in force was applied: id, author, state, digest, words."""
    settings = _connected()
    found = asyncio.run(second_person.since(settings, _in_force(settings).time_ms)).proposed
    rows = [second_person.told(one) for one in found]
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    table = Table("id", "author", "state", "digest", "what", box=None)
    for row in rows:
        table.add_row(row["incident"], row["author"], row["state"], row["digest"][:19], row["text"])
    if not rows:
        typer.echo("nothing is proposed; start with: govern config propose DIR --reason …")
        return
    Console(highlight=False).print(table)


def _proposed(settings: Settings, what: str) -> Configuration:
    """The configuration of a folder or file, or an earlier one by its digest."""
    if not what.startswith("sha256:"):
        return load(Path(what), settings)
    found = [one for one in asyncio.run(config_topic.history(settings)) if one.digest.startswith(what)]
    if not found:
        raise Misconfigured(f"no configuration {what!r} in the history; `govern config history` lists them")
    return found[-1].configuration()


async def _came_into_force(settings: Settings, digest: str, within_s: float) -> None:
    """Wait for the deployment to put it in force, which it does by itself; at most so long."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found = await config_topic.current(settings)
        if found is not None and found.digest == digest:
            return
        await asyncio.sleep(0.3)


def _proposal(settings: Settings, incident: str, in_force: config_topic.Applied) -> Proposed:
    """A proposal on top of the configuration in force."""
    found = asyncio.run(second_person.since(settings, in_force.time_ms)).proposed
    one = next((one for one in found if one.incident.incident == incident), None)
    if one is None:
        raise Misconfigured(
            f"there is no proposal {incident} since the configuration in force was applied; "
            "`govern config proposals` lists them, and an older one has to be proposed again"
        )
    return one


def _in_force(settings: Settings) -> config_topic.Applied:
    found = asyncio.run(config_topic.current(settings))
    if found is None:
        raise Misconfigured("nothing is in force yet, so nobody has to agree: start with `govern config apply DIR`")
    return found


def _forecast(configuration: Configuration, history: Path, per_day: float) -> None:
    """Tell what people would be asked; exit status 1 where they could not keep up."""
    from orchestration.forecasting import forecasts  # judges with monitors: a second of imports

    kept = ProfileStore(Settings().profiles_url)
    with progress(f"judging {history.name}") as report:
        found = forecasts(configuration, history, per_day, kept.of, report)
    for one in found:
        typer.echo(one.told())
    if not found:
        typer.echo("nothing would be held")
    if any(one.bad for one in found):
        raise SystemExit(1)


def _connected() -> Settings:
    """The deployment that the environment names; its local Kafka is started if it does not run."""
    return deployment.with_kafka(deployment.located(Settings()), typer.echo)


def _reported(settings: Settings, digest: str, wait: float) -> None:
    """Wait until every policy lane that runs has reported the digest."""
    control = deployment.find(settings) if wait > 0 and deployment.ray_runs(settings) else None
    if control is None:
        if wait > 0:
            typer.echo("no lanes run here; they start with it: govern up")
        return
    until = time.monotonic() + wait
    while True:
        lanes = [row.report for row in control.status().lanes if row.report.lane.startswith("policy/")]
        late = [one.lane for one in lanes if one.configuration != digest]
        if lanes and not late:
            typer.echo(f"all {len(lanes)} policy lanes report it")
            return
        if time.monotonic() > until:
            raise Retryable(f"not reported by {', '.join(late)} after {wait:.0f} s; `govern status` says why")
        time.sleep(0.2)


def _unscored(configuration: Configuration) -> list[str]:
    """What rules that ask for anomaly scores would wait for, or never get."""
    try:
        return anomaly_scores.check(configuration, ProfileStore(Settings().profiles_url))
    except NotReady as error:
        return [f"lanes would wait and decide nothing: {error}"]


def summary(configuration: Configuration) -> str:
    """A configuration in a few words."""
    rules = sum(len(policy.rules) for policy in configuration.policies)
    tests = sum(len(rule.tests) for policy in configuration.policies for rule in policy.rules)
    return (
        f"{len(configuration.models)} model(s), {len(configuration.policies)} policy(ies) with {rules} rule(s) "
        f"and {tests} test(s), {len(configuration.calendars)} calendar(s), {len(configuration.monitors)} monitor(s)"
    )


def fates(before: Configuration, after: Configuration) -> list[str]:
    """What becomes of what monitors have gathered; nothing to say where nobody starts anew, is new or ends."""
    found = changes(before, after, kinds())
    told = [f"monitor {one}" for one in found if one.fate != "kept"]
    kept = len(found) - len(told)
    return [*told, f"{kept} monitor(s) keep what they have gathered"] if told and kept else told
