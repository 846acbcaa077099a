"""`govern tune`: what people's rulings say about thresholds, rules and monitors, as a diff that nobody has applied."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agents.tuning.alarms import ShareProposal
from agents.tuning.estimates import Estimate
from agents.tuning.proposing import Proposal, Terms
from orchestration.archive import Archive
from orchestration.cli import reading
from orchestration.cli.progress import progress
from orchestration.config_files import load
from orchestration.judgements import gather
from orchestration.tuning import Tuned, name_of, together
from orchestration.tuning import tune as propose_all


def tune(
    path: Annotated[
        Path, typer.Argument(help="The configuration on disk that proposals are made for.", show_default=False)
    ],
    lose: Annotated[
        float,
        typer.Option(help="A proposal may lose at most this share of warranted holds (95 % interval).", min=0, max=1),
    ] = 0.1,
    least: Annotated[int, typer.Option(help="Judgements of a rule without which nothing is proposed.", min=20)] = 60,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the first proposal of each rule and monitor into this file, for `git apply`."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Propose changes to thresholds, rules and monitors from what people ruled; applies nothing.

    Chosen on the earlier rulings, judged on the later ones. Bulk answers, deadlines and answers about fairness teach nothing
    and are left out. Example: govern tune config/ --out tune.diff
    """
    configuration = load(path)
    settings = reading.connected()
    database = reading.opened(settings)
    try:
        with progress("reading what people ruled") as report, database.reading() as connection:
            gathered = gather(connection, Archive(settings.archive_url), configuration, report)
    finally:
        database.close()
    found = propose_all(path, configuration, gathered, Terms(least=least, lose=lose))
    screen = Console(highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(document(found), ensure_ascii=False))
    else:
        _show(screen, found, out)
    if out is not None:
        made = together(path, configuration, found.proposals)
        out.write_text(made.diff, encoding="utf-8")
        for name in () if as_json else made.left:
            screen.print(f"not in {out}: another proposal for {name}", style="dim", markup=False)


def document(found: Tuned) -> dict[str, Any]:
    """As JSON values: proposals with their intervals, refusals with why, what was left out."""
    return {
        "judgements": len(found.gathered.judged),
        "alarms": len(found.gathered.alarms),
        "left_out": dict(found.gathered.left_out),
        "proposals": [
            {"why": one.why, **asdict(one), "diff": diff}
            for one, diff in zip(found.proposals, found.diffs, strict=True)
        ],
        "refused": [asdict(one) for one in found.refused],
    }


def _show(console: Console, found: Tuned, out: Path | None) -> None:
    gathered = found.gathered
    left = ", ".join(f"{count:,} {why}" for why, count in gathered.left_out.most_common())
    console.print(
        f"{len(gathered.judged):,} judgements and {len(gathered.alarms):,} alarms"
        + (f"; left out: {left}" if left else "")
    )
    for one, diff in zip(found.proposals, found.diffs, strict=True):
        console.print(f"\n[bold]{name_of(one)}[/bold]: {one.why}")
        console.print(
            f"  chosen on {one.fitted_on:,} earlier judgements, judged on {one.judged_on:,} later ones", style="dim"
        )
        for label, estimate in _effects(one):
            console.print(f"  {label}: {estimate.counted()} of {estimate.total:,.0f}")
        console.print(diff or "  the file does not let itself be changed in place: edit it by hand", markup=False)
    for refused in found.refused:
        console.print(f"{refused.rule}: {refused.why}", style="dim", markup=False)
    if found.proposals:
        console.print("nothing was applied; " + (f"git apply {out}" if out else "--out FILE writes the diffs"))
    else:
        console.print("nothing to propose")


def _effects(one: Proposal | ShareProposal) -> list[tuple[str, Estimate]]:
    named = [("needless ones saved", one.saved), ("warranted ones lost", one.lost)]
    if isinstance(one, Proposal):
        named += [("misses caught", one.caught), ("further holds warranted", one.further)]
    return [(label, estimate) for label, estimate in named if estimate is not None and estimate.n]
