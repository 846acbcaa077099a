"""What watching a file came to, in plain words and as files: signals, metrics, and a report on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.errors import Misconfigured
from agents.events import SignalData, SignalStatus
from agents.monitor.agent import strength
from agents.monitor.compilation import Watched
from agents.triage.words import dated
from orchestration.signal_records import Signals
from orchestration.watching import Findings, Turn, held

SIGNALS, METRICS = "signals.ndjson", "metrics.json"
COLOURS = {"allow": "green", "log": "cyan", "hold": "yellow", "block": "red"}
STATUS = {"alarm": "red", "warn": "yellow", "ok": "green"}
MOST_TURNS = 12
MOST_DRIFT = 8
MOST_GROUPS = 24


def write(out: Path, findings: Findings) -> list[Path]:
    """signals.ndjson and metrics.json in a folder; raises Misconfigured where it cannot be written."""
    numbered = Signals("watch")
    lines = [numbered.records([one], one.clock_ms or 0)[0].value or b"" for one in findings.signals]
    return write_files(out, lines, metrics(findings.final, findings.waiting, findings.decisions) | _more(findings))


def write_files(out: Path, signals: Sequence[bytes], document: Mapping[str, Any]) -> list[Path]:
    """Both files, whole or not at all."""
    texts = {
        SIGNALS: b"".join(line + b"\n" for line in signals),
        METRICS: json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in texts.items():
            fresh = out / f".{name}.new"
            fresh.write_bytes(data)
            fresh.replace(out / name)
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}; give another --out") from error
    return [out / name for name in texts]


def metrics(final: Sequence[SignalData], waiting: Mapping[str, str], decisions: int) -> dict[str, Any]:
    """Every monitor's last judgement, as JSON values."""
    return {
        "decisions": decisions,
        "monitors": [one.model_dump(mode="json", exclude_none=True) for one in final],
        "waiting": dict(waiting),
    }


def _more(findings: Findings) -> dict[str, Any]:
    return {
        "effects": held(findings),
        "rules": {name: vars(one) for name, one in sorted(findings.rules.items())},
        "reference": findings.reference,
        "profiles": {model: one.digest for model, one in findings.profiles.items()},
        "refused": dict(findings.refused),
        "unknown": list(findings.unknown),
    }


def show(console: Console, findings: Findings, watched: Mapping[str, Watched]) -> None:
    """Everything, for a person."""
    console.print(_headline(findings, watched), soft_wrap=True)
    for reason, count in findings.refused.most_common(5):
        console.print(f"[red]refused[/red] {count:,}: {escape(reason)}", soft_wrap=True)
    console.print("would be: " + ", ".join(f"[{COLOURS[k]}]{k} {n:,}[/]" for k, n in held(findings).items()))
    if findings.rules:
        console.print(_rules(findings))
    _turns(console, findings, watched)
    groups = groups_table(findings)
    if groups.row_count:
        console.print(groups)
    drift = drift_table(findings)
    if drift.row_count:
        console.print(drift)
    for told in findings.unknown:
        console.print(f"[yellow]unknown[/yellow] {escape(told)}", soft_wrap=True)
    for name, why in findings.waiting.items():
        console.print(f"[yellow]waits[/yellow] {escape(name)}: {escape(why)}", soft_wrap=True)
    for model, profile in findings.profiles.items():
        for remark in profile.remarks[:8]:
            console.print(f"[dim]reference of {escape(model)}: {escape(remark)}[/dim]", soft_wrap=True)


def _headline(findings: Findings, watched: Mapping[str, Watched]) -> str:
    names = [one.name for each in watched.values() for one in each.monitors]
    span = ""
    if findings.timed and findings.blocks:
        span = f" ({when(findings.began_ms)} to {when(findings.blocks[-1].clock_ms)})"
    told = f"{findings.decisions:,} decisions of {escape(', '.join(watched))}{span}, {len(names)} monitors"
    return told + (f"; the first {findings.reference:,} are the reference" if findings.reference else "")


def _rules(findings: Findings) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("rule", no_wrap=True)
    table.add_column("effect")
    table.add_column("decisions", justify="right")
    table.add_column("what it says of the first", overflow="fold")
    for name, one in sorted(findings.rules.items(), key=lambda item: (-item[1].count, item[0])):
        words = [one.reason] if one.reason else []
        words += [f"{one.unknown:,} could not be evaluated"] if one.unknown else []
        words += [] if one.applied else ["recorded only"]
        effect = f"[{COLOURS[one.effect]}]{one.effect}[/]"
        table.add_row(escape(name), effect, f"{one.count:,}", escape("; ".join(words)))
    return table


def _turns(console: Console, findings: Findings, watched: Mapping[str, Watched]) -> None:
    alarms = [one for one in findings.turns if one.signal.status is not SignalStatus.WARN]
    if not alarms:
        strongest = [one for one in findings.turns if one.signal.status is SignalStatus.WARN]
        console.print("[green]no alarm[/green]" + (f", {len(strongest)} warning(s)" if strongest else ""))
    for one in alarms[:MOST_TURNS]:
        colour = "red" if one.signal.status is SignalStatus.ALARM else "green"
        word = "alarm" if one.signal.status is SignalStatus.ALARM else "ended"
        console.print(f"[{colour}]{word}[/] {escape(sentence(one, watched, findings.timed))}", soft_wrap=True)
    if len(alarms) > MOST_TURNS:
        console.print(f"… and {len(alarms) - MOST_TURNS} more in {SIGNALS}")


def sentence(turn: Turn, watched: Mapping[str, Watched], timed: bool) -> str:
    """An alarm in words: when, which monitor, what, how strong, since when."""
    one = turn.signal
    at = f"{when(one.since_ms or 0)}, " if timed else ""
    where = f"{one.monitor} of {one.whose}"
    parts = [f"{at}by decision {turn.decision:,}: {where}: {one.text or one.metric or ''}"]
    if one.status is SignalStatus.ALARM and one.e_value is not None:
        parts.append(f"chance alone goes so far {strength(one.e_value, watched[one.model].budget.unit)}")
    if one.status is SignalStatus.ALARM and one.onset_n:
        since = f" ({when(one.onset_ms)})" if timed and one.onset_ms else ""
        parts.append(f"began about {one.onset_n:,} decisions before{since}")
    return "; ".join(parts)


def groups_table(findings: Findings) -> Table:
    """Rates, ratios and intervals of groups at the end."""
    table = Table(title="groups at the end", title_justify="left", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("group", "version", "decisions", "rate", "compared with", "estimate (95 %)", "status", "monitor"):
        table.add_column(name, justify="right" if name in ("decisions", "rate") else "left")
    rows = list(_of_groups(findings.final))
    if len(rows) > MOST_GROUPS:
        rows = sorted(rows, key=lambda one: -(one.e_value or 0.0))[:MOST_GROUPS]
        table.title = f"groups at the end, the {MOST_GROUPS} with the strongest evidence (all are in {METRICS})"
    for one in rows:
        detail = one.detail
        theirs = f"{detail['reference_rate']:.1%} of " if "reference_rate" in detail else ""
        estimate = "" if one.estimate is None else f"{one.estimate:.2f}"
        table.add_row(
            escape(" in ".join(part for part in (one.group, one.segment) if part)),
            escape(one.versions),
            f"{int(detail['n_group']):,}",
            f"{detail['rate']:.1%}" if "rate" in detail else "",
            escape(theirs + (one.reference or "")),
            estimate + (f" ({interval(one)})" if interval(one) else ""),
            f"[{STATUS.get(one.status.value, 'dim')}]{one.status.value}[/]",
            escape(one.monitor),
        )
    return table


def drift_table(findings: Findings) -> Table:
    """The features whose values have moved most."""
    found = sorted(drifting(findings.final), key=lambda one: -(one.estimate or 0.0))
    title = "most drifted" if len(found) <= MOST_DRIFT else f"most drifted, {MOST_DRIFT} of {len(found)}"
    table = Table(title=title, title_justify="left", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("feature", "version", "PSI", "status", "monitor"):
        table.add_column(name)
    for one in found[:MOST_DRIFT]:
        status = f"[{STATUS.get(one.status.value, 'dim')}]{one.status.value}[/]"
        table.add_row(escape(feature_of(one)), escape(one.versions), f"{one.estimate:.3f}", status, escape(one.monitor))
    return table


def drifting(final: Sequence[SignalData]) -> list[SignalData]:
    """Judgements that are a population stability index of one feature."""
    return [one for one in final if one.metric == "psi" and one.estimate is not None and one.group is not None]


def feature_of(one: SignalData) -> str:
    """What has drifted, by its own name."""
    return (one.group or "all").removeprefix("feature=").removeprefix("pair=")


def _of_groups(final: Sequence[SignalData]) -> Iterator[SignalData]:
    for one in final:
        if "n_group" in one.detail and one.status is not SignalStatus.NONE:
            yield one


def interval(one: SignalData) -> str:
    """`0.61 to 0.83`, or nothing."""
    if one.lower is None:
        return ""
    return f"{one.lower:.2f} to {one.upper:.2f}" if one.upper is not None else f"{one.lower:.2f} or more"


def when(ms: int) -> str:
    """A time to the minute, UTC.

    >>> when(1_772_442_843_120)
    '2026-03-02 09:14'
    """
    return dated(ms).strftime("%Y-%m-%d %H:%M")
