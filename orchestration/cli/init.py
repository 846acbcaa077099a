"""`govern init`: from a file of decisions, or a topic, to a first configuration that works; a guess to correct."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.policy.testing import run_tests
from orchestration import keys, sample
from orchestration.config_files import FIRST_FILE, load
from orchestration.guessing import Guess, guess, labels_of
from orchestration.settings import Settings
from orchestration.starter import Starter, text_of

STARTERS: Mapping[str, Callable[[Guess, Model, int], bool]] = {
    "disparate_impact": lambda guess, model, rows: bool(guess.groups),
    "data_drift": lambda guess, model, rows: bool(guess.features),
    "behaviour": lambda guess, model, rows: len(model.versions) > 1,
    "anomaly": lambda guess, model, rows: rows >= 20_000,
    "strangers": lambda guess, model, rows: bool(model.callers),
    "prompt_risk": lambda guess, model, rows: model.kind == "generation",
}
"""Kinds that a first configuration has, and when: each takes a part of the budget, so none that has nothing to say."""


def init(
    source: Annotated[str, typer.Argument(metavar="FILE|TOPIC", help="CSV, Parquet or NDJSON; or a Kafka topic.")],
    label: Annotated[str | None, typer.Option(help="The column with the model's answer.")] = None,
    favourable: Annotated[str | None, typer.Option(help="The answer that people hope for.")] = None,
    score: Annotated[str | None, typer.Option(help="The column with the model's score.")] = None,
    groups: Annotated[
        str | None, typer.Option(help="Columns with protected attributes, by commas; '' for none.", show_default=False)
    ] = None,
    time: Annotated[str | None, typer.Option(help="The column with the decision's time.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name; by default the file's.")] = None,
    out: Annotated[Path, typer.Option(help="The folder that the configuration goes to.")] = Path("."),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the guesses.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a configuration that is there.")] = False,
) -> None:
    """Write a first configuration from decisions that you have, with rules whose tests pass, and a key.

    Guesses which column is what and asks at most five questions on a terminal; flags answer them beforehand.

    Example: govern init decisions.csv

    Example: govern init decisions.csv --label decision --favourable approve --groups sex,age --yes
    """
    target = out / FIRST_FILE
    if target.exists() and not force:
        raise Misconfigured(f"{target} is there already; --force replaces it, --out names another folder")
    given = sample.of(source, Settings())
    chosen = None if groups is None else [one.strip() for one in groups.split(",") if one.strip()]
    told: dict[str, Any] = {"label": label, "favourable": favourable, "score": score, "time": time, "groups": chosen}
    found = guess(given.frame, **told)
    if sys.stdin.isatty() and not yes:
        found = guess(given.frame, **_asked(given.frame, found, told))
    if found.label is None and not given.generation:
        few = [one for one in given.frame.columns if 2 <= given.frame[one].n_unique() <= 20]
        raise Misconfigured(f"no column looks like the model's answer; give --label with one of {', '.join(few)}")
    starter = _starter(given, found, model)
    _write(target, text_of(starter))
    _tell(found, given.frame, target)
    _key(Settings())
    typer.echo(f"next: govern config check {target}   and   govern watch {source} --config {target}")


def _starter(given: sample.Sample, found: Guess, model: str | None) -> Starter:
    from orchestration.extensions import kinds  # every kind of monitor: a second of imports

    frame = given.frame
    callers = _few(frame, found.caller, 20)
    declared = {
        "kind": "generation" if given.generation else "prediction",
        "features": dict(found.features),
        "labels": {one: {"favourable": one == found.favourable} for one in labels_of(frame, found.label)},
        "groups": found.groups,
        "callers": list(callers),
        "versions": list(_few(frame, found.version, 50)) or ["1"],
    }
    declaration = Model.model_validate(declared)
    fits = [
        name
        for name, sensible in STARTERS.items()
        if (kind := kinds().get(name)) is not None
        and sensible(found, declaration, frame.height)
        and kind.applies(declaration, kind.options_type()) is None
    ]
    name = model or given.model
    return Starter(
        re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model",
        given.called,
        given.topic,
        frame,
        found,
        fits,
        callers,
        declaration.versions,
        given.generation,
    )


def _few(frame: pl.DataFrame, column: str | None, most: int) -> Sequence[str]:
    """The values of a column, where there are not too many."""
    if column is None:
        return ()
    values = frame[column].drop_nulls().cast(pl.String).unique(maintain_order=True).to_list()
    return sorted(values) if len(values) <= most else ()


def _asked(frame: pl.DataFrame, found: Guess, told: Mapping[str, Any]) -> dict[str, Any]:
    """What a person says; Enter takes the guess."""
    signal.siginterrupt(signal.SIGINT, True)  # Polars' handler lets a read go on after Ctrl-C, for ever
    answers = dict(told)

    def ask(name: str, question: str, default: str | None) -> None:
        answer = str(typer.prompt(question, default=default or "", show_default=bool(default))).strip()
        answers[name] = answer or None

    typer.echo(f"columns: {', '.join(frame.columns)}\nEnter takes what stands in brackets.")
    if told["label"] is None:
        ask("label", "Which column is the model's answer?", found.label)
    if told["favourable"] is None and answers["label"] in frame.columns:
        said = labels_of(frame, answers["label"])
        again = guess(frame, label=answers["label"]).favourable
        ask("favourable", f"Which answer do people hope for: {', '.join(said[:10])}?", again)
    if told["score"] is None:
        ask("score", "Which column is its score?", found.score)
    if told["groups"] is None:
        answer = typer.prompt("Which columns are protected attributes (by commas)?", default=",".join(found.groups))
        answers["groups"] = [one.strip() for one in answer.split(",") if one.strip()]
    if told["time"] is None:
        ask("time", "Which column is the time of the decision?", found.time)
    return answers


def _write(target: Path, text: str) -> None:
    """The file, whole or not at all, and only if it is sound: what its own tests say counts."""
    fresh = target.with_name(f".{target.name}.new.yaml")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        failed = [one for one in run_tests(load(fresh)) if not one.passed]
        assert not failed, f"a starter's tests pass: {failed}"
        fresh.replace(target)
    except OSError as error:
        raise Misconfigured(f"{target} cannot be written: {error.strerror}; give another --out") from error
    finally:
        fresh.unlink(missing_ok=True)


def _tell(found: Guess, frame: pl.DataFrame, target: Path) -> None:
    said = ", ".join(labels_of(frame, found.label)[:10])
    rows = {
        "answer": found.label and f"{found.label} ({said}; hoped for: {found.favourable})",
        "score": found.score,
        "protected": "; ".join(f"{name} ({', '.join(values)})" for name, values in found.groups.items()),
        "time": found.time,
        "subject": found.subject,
        "id": found.id,
        "version": found.version,
        "caller": found.caller,
        "outcome": found.outcome and f"{found.outcome} (for: govern profile fit --outcome {found.outcome})",
        "features": ", ".join(found.features),
        "left out": "; ".join(f"{name}: {why}" for name, why in found.left_out.items()),
    }
    for name, value in rows.items():
        if value:
            typer.echo(f"{name:<10} {value}")
    typer.echo(f"wrote {target}")


def _key(settings: Settings) -> None:
    """The key that `govern up` would make."""
    there = keys.paths(settings.prefix, settings.keys_dir)
    if there.signer.exists() or there.salt.exists():
        typer.echo(f"key {there.signer} is there already")
        return
    made = keys.generate(settings.prefix, settings.keys_dir, settings.store_url)
    typer.echo(f"made the key {made.signer}; auditors check with {made.verifier}")
