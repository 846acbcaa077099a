"""What the demo's screen says: steps, live figures, and the report at the end; fits terminals of 80 columns and more."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.configuration import Configuration
from agents.events import Effect, SignalData
from agents.triage.fields import spoken
from orchestration.console.words import two_sentences
from orchestration.demo.caught import GAP, GROUP, Caught, Held
from orchestration.demo.check import Check, Outcome
from orchestration.demo.flow import Said, Seen
from orchestration.demo.model import NAME, TREES, CreditModel
from orchestration.demo.people import Seen as People

COLOURS = {"allow": "green", "log": "cyan", "hold": "yellow", "block": "red", "malformed": "magenta"}
WORDS = {
    "allow": "released",
    "log": "released and flagged",
    "hold": "held for a person",
    "block": "withheld",
    "malformed": "malformed, dead-lettered",
    "undeclared": "of an undeclared model, dead-lettered",
    "duplicate": "doubles, left out",
    "conflict": "id used twice, withheld",
}
STATUS = {"alarm": "bold red", "warn": "yellow", "ok": "green", "insufficient": "dim", "none": "dim"}
"""The worst first."""
SEVERITY = {"info": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
SEVERITIES = list(SEVERITY)
ASKED = 8
"""Incidents that the screen lists."""
LINE_S = 3.0  # between lines where there is no terminal
WIDEST = 150
TAIPEI = timedelta(hours=8)


class Screen:
    """Writes to standard output; live where that is a terminal, line by line elsewhere."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else 120
        self.console = Console(highlight=False, width=width)
        self.console.width = min(self.console.width, WIDEST)
        self._said = 0.0

    def title(self, count: int) -> None:
        """What is about to happen."""
        self.console.print(
            f"[bold]Governance in Motion[/bold]: {count:,} real credit decisions, governed as they happen\n"
        )

    @contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """A spinner while something takes its time; told more, it says so. Nothing stays on the screen."""
        if not self.console.is_terminal:
            yield lambda line: None
            return
        with self.console.status(f"{what} …") as status:
            yield lambda line: status.update(f"{what}: {line} …")

    def tick(self, what: str, remark: str = "") -> None:
        """Something is done."""
        self.console.print(_ticked(what, remark))

    def learnt(self, first: CreditModel, tuned: CreditModel, unseen: int) -> None:
        """About the models."""
        self.tick(
            f"version {first.version} learnt on {first.learnt_on:,} real clients; right about {first.accuracy:.0%} of "
            f"{unseen:,} others (AUC {first.auc:.2f}); it never sees sex, marriage, age or education"
        )
        self.tick(
            f"version {tuned.version} is the same with {TREES} more trees, fine-tuned on a skewed sample of "
            f"{tuned.learnt_on:,} rows (AUC {tuned.auc:.2f}); it goes live in the second week"
        )

    @contextmanager
    def live(self, seen: Seen) -> Iterator[None]:
        """Show the figures as they change."""
        self.console.print()
        if not self.console.is_terminal:
            yield
            self.console.print(_line(seen), soft_wrap=True)
            return
        with Live(get_renderable=lambda: _figures(seen), console=self.console, refresh_per_second=8, transient=True):
            yield
        self.console.print(_figures(seen))

    def told(self, seen: Seen) -> None:
        """Something changed; without a terminal this is a line every few seconds."""
        if not self.console.is_terminal and seen.judged and time.monotonic() - self._said > LINE_S:
            self._said = time.monotonic()
            self.console.print(_line(seen), soft_wrap=True)

    def outcome(self, outcome: Outcome) -> None:
        """Counts by effect, and each rule with an example."""
        self.console.print("\n[bold]What became of them[/bold]")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(justify="right")
        table.add_column(style="bold")
        table.add_column()
        decided = {name: outcome.effects[name] for name in ("allow", "log", "hold", "block")}
        decided["block"] -= sum(outcome.kinds[name] for name in ("malformed", "undeclared", "conflict"))
        for name, count in decided.items():
            table.add_row(f"{count:,}", Text(name, COLOURS[name]), WORDS[name])
        for name in ("duplicate", "conflict", "malformed", "undeclared"):
            table.add_row(f"{outcome.kinds[name]:,}", Text(name, COLOURS.get(name, "magenta")), WORDS[name])
        self.console.print(Padding(table, (0, 0, 0, 2)))
        self.console.print("\n[bold]Rules that matched[/bold], each with an example")
        self.console.print(Padding(_rules(outcome), (0, 0, 0, 2)))

    def caught(self, found: Sequence[Caught], acted: Held) -> None:
        """What monitors alarmed about, how soon, and in their own words."""
        self.heading("What was caught")
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("what", style="bold", no_wrap=True)
        table.add_column("decisions", justify="right", no_wrap=True)
        table.add_column("seconds", justify="right", no_wrap=True)
        table.add_column("what the monitor says", overflow="fold")
        for one in found:
            alarm = one.alarm
            told = ("", "", Text("no alarm", "red"))
            if alarm is not None:
                told = f"{one.decisions:,}", f"{one.seconds:.1f}", Text(_named(one.words or alarm.data))
            table.add_row(one.cause.what, *told)
        if acted.first is not None:
            place = _short(acted.first.position)
            words = (
                f"{place} was the first; its verdict came {acted.seconds:.1f} s after the alarm; {acted.count:,} in all"
            )
            seconds = next((one.seconds for one in found if one.cause.monitor == GAP), 0.0) + acted.seconds
            table.add_row("declines held", f"{acted.decisions:,}", f"{seconds:.1f}", Text(words))
        self.console.print(Padding(table, (0, 0, 0, 2)))
        self.console.print(
            Text("  decisions and seconds count from the first that was affected, by that model and version", "dim")
        )

    def people(self, met: People) -> None:
        """Incidents with what people were told, and what scripted reviewers answered."""
        self.heading("What people were asked")
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("incident", no_wrap=True)
        table.add_column("severity", no_wrap=True)
        table.add_column("team", no_wrap=True)
        table.add_column("what they were told", overflow="fold")
        ordered = sorted(met.incidents, key=lambda one: (-SEVERITIES.index(one.severity.value), one.opened_ms))
        for one in ordered[:ASKED]:
            triage = met.triage.get(one.incident)
            words = spoken(two_sentences(triage.summary)[0]) if triage is not None else one.title
            colour = SEVERITY[one.severity.value]
            table.add_row(one.incident, Text(one.severity.value, colour), one.team or "", Text(words))
        self.console.print(Padding(table, (0, 0, 0, 2)))
        if len(ordered) > ASKED:
            self.remark(f"and {len(ordered) - ASKED:,} more")
        self.heading("What they answered")
        self.remark("scripted: each signed in on the console, opened decisions and sent the form, as a browser does")
        for answer in met.answers:
            done = "let go out" if answer.ruling.effect is Effect.ALLOW else "withheld"
            several = "1 decision" if answer.decisions == 1 else f"{answer.decisions:,} decisions"
            self.tick(
                f'{answer.who}: {several} of {answer.incident.incident} {done}: "{answer.why}"',
                f"{answer.seconds:.1f} s after the answer",
            )

    def invite(self, url: str, passwords: Mapping[str, str], configuration: Configuration, *, stays: bool) -> None:
        """Where to go on by hand, and as whom."""
        self.console.print(f"  The console is at [bold]{url}[/bold]", soft_wrap=True)
        self.console.print("  Incidents wait for an answer there. Sign in as one of")
        declared = configuration.escalation
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for person, password in passwords.items():
            one = declared.people[person]
            teams = [name for name, team in declared.teams.items() if person in team.members]
            does = "answers for " + ", ".join(teams) if teams else ", ".join(one.roles) + ": reads everything"
            table.add_row(person, Text(password, "cyan"), Text(f"{one.name}, {does}", "dim"))
        self.console.print(Padding(table, (0, 0, 0, 4)))
        self.remark("It runs on; govern down ends it." if stays else "Ctrl-C ends the console and everything else.")

    def checks(self, checks: Sequence[Check]) -> None:
        """What holds and what does not."""
        for check in checks:
            self.console.print(_ticked(check.what, ok=check.ok))
            for problem in check.problems:
                self.console.print(Padding(Text(problem, "red"), (0, 0, 0, 4)))

    def remark(self, text: str) -> None:
        """Something that explains what is not there."""
        self.console.print(Padding(Text(text, "dim"), (0, 0, 0, 2)))

    def heading(self, text: str) -> None:
        """A part of the report begins."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def places(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names on the left, what they are on the right."""
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(overflow="fold")
        for left, right in rows:
            table.add_row(left, Text(right))
        self.console.print(Padding(table, (0, 0, 0, 2)))

    def commands(self, lines: Sequence[str]) -> None:
        """Command lines, each in one piece, so that they can be copied."""
        for line in lines:
            self.console.print(f"  {line}", markup=False, soft_wrap=True)

    def say(self, text: str, *, ok: bool) -> None:
        """The last line."""
        self.console.print(Text(text, "bold green" if ok else "bold red"))


def shown(path: Path | str) -> str:
    """A path as short as it can be typed from here."""
    absolute, home = Path(path).absolute(), Path.home()
    if absolute.is_relative_to(Path.cwd()):
        return str(absolute.relative_to(Path.cwd()))
    return f"~{os.sep}{absolute.relative_to(home)}" if absolute.is_relative_to(home) else str(absolute)


def _ticked(what: str, remark: str = "", *, ok: bool = True) -> RenderableType:
    """A line with a mark before it; wrapped lines stay right of the mark."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(Text("✓", "green") if ok else Text("✗", "bold red"), Text.assemble(what, (f"  {remark}", "dim")))
    return Padding(grid, (0, 0, 0, 2))


def _figures(seen: Seen) -> RenderableType:
    rate = seen.sent / seen.seconds if seen.seconds > 0.2 else 0.0
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("sent", _bar(seen, f"{seen.sent:,} of {seen.total:,}, {rate:,.0f} a second"))
    table.add_row("business time", Text(_when(seen.business_ms)))
    table.add_row("judged", Text(f"{seen.judged:,}   {seen.waiting:,} to go", ""))
    table.add_row("", _effects(seen))
    flag = f'{seen.flagged:,}   the last: "{seen.last_flag}"' if seen.flagged else "none yet"
    table.add_row("flags", Text(flag, no_wrap=True, overflow="ellipsis"))
    if NAME in seen.deciding:
        version = seen.deciding[NAME]
        table.add_row("approval ratio", _approvals(seen.signals.get((version, GAP), {}), version))
        for model in seen.deciding:
            table.add_row(model, _monitors(seen, model))
    table.add_row("evidence", Text(_evidence(seen)))
    return Padding(table, (0, 0, 0, 2))


def _bar(seen: Seen, text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(ProgressBar(seen.total, seen.sent, width=30), text)
    return grid


def _effects(seen: Seen) -> Text:
    parts = []
    for name in ("allow", "log", "hold", "block"):
        parts.append(Text(f"{name} {seen.effects[name]:,}", COLOURS[name]))
    dead = seen.effects["malformed"] + seen.effects["undeclared"]
    parts.append(Text(f"dead letters {dead:,}", "magenta"))
    parts.append(Text(f"doubles {seen.effects['duplicate'] + seen.effects['conflict']:,}", "dim"))
    return Text("   ").join(parts)


def _approvals(signals: Mapping[tuple[str, str | None, str | None], Said], version: str) -> Text:
    """Of the group that the demo is about."""
    said = signals.get((NAME, None, GROUP))
    if said is None or said.estimate is None:
        return Text(f"{version}: too few of them yet", "dim")
    bounds = "" if said.lower is None or said.upper is None else f" ({said.lower:.2f} to {said.upper:.2f})"
    told = f"{version}: {said.estimate:.2f}{bounds}, {GROUP.partition('=')[2]} against the best band   "
    return Text(told).append(said.status, STATUS[said.status])


def _monitors(seen: Seen, model: str) -> Text:
    """Each monitor of the version that decides now, with its worst status; alarms first."""
    found = {}
    for (version, monitor), signals in seen.signals.items():
        own = [one.status for one in signals.values() if one.model == model]
        if own and version == seen.deciding[model]:
            found[monitor] = min(own, key=list(STATUS).index)
    if not found:
        return Text("nothing said yet", "dim")
    parts = []
    for monitor, status in sorted(found.items(), key=lambda item: (list(STATUS).index(item[1]), item[0])):
        told = f"\N{NO-BREAK SPACE}{status}" if status in ("alarm", "warn") else ""
        parts.append(Text(f"{monitor}{told}", STATUS[status]))
    return Text("   ").join(parts)


def _evidence(seen: Seen) -> str:
    if not seen.checkpoints:
        return "no checkpoint yet"
    verdicts = sum(size for log, size in seen.checkpoints.items() if "/verdicts/" in log)
    ago = max(0.0, time.monotonic() - seen.checkpoint_at) if not seen.ended else 0.0
    told = f", the last checkpoint {ago:.0f} s ago" if ago >= 1 else ", the last checkpoint just now"
    return f"{verdicts:,} verdicts under signed checkpoints" + ("" if seen.ended else told)


def _when(ms: int) -> str:
    if not ms:
        return ""
    return (datetime.fromtimestamp(ms / 1000, UTC) + TAIPEI).strftime("%A %-d %B, %H:%M in Taipei")


def _line(seen: Seen) -> str:
    effects = ", ".join(f"{name} {seen.effects[name]:,}" for name in WORDS if seen.effects[name])
    told = f"  {seen.seconds:3.0f} s: {seen.sent:,} sent, {seen.waiting:,} wait; {effects}; {seen.flagged:,} flags"
    alarms = {
        monitor
        for (_, monitor), signals in seen.signals.items()
        if any(one.status == "alarm" for one in signals.values())
    }
    return f"{told}; alarms: {', '.join(sorted(alarms))}" if alarms else told


def _rules(outcome: Outcome) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("rule", no_wrap=True)
    table.add_column("effect", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("for example", no_wrap=True)
    table.add_column("where it says", overflow="fold")
    for name, hit in sorted(outcome.rules.items(), key=lambda item: (-item[1].count, item[0])):
        words = hit.text or ("recorded only: its policy is in audit mode" if not hit.applied else "")
        colour = COLOURS.get(hit.effect, "default") if hit.applied else "dim"
        table.add_row(name, Text(hit.effect, colour), f"{hit.count:,}", _short(hit.position), Text(words))
    return table


def _named(data: SignalData) -> str:
    """A signal's sentence, with the group or feature in front where the sentence does not name it."""
    text, group = data.text or "", (data.group or "").rpartition("=")[2]
    return text if not group or group in text else f"{group}: {text}"


def _short(position: str) -> str:
    """Without the topic, which is the same for all: partition and offset."""
    return position.split("/", 1)[-1]
