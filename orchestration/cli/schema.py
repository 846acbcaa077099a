"""`govern schema`: the contract as files that other programs' tools understand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml

from agents.errors import Misconfigured
from agents.schemas import asyncapi, json_schemas

app = typer.Typer(no_args_is_help=True, help="Export the contract as JSON Schema and AsyncAPI.")


@app.callback()
def _group() -> None:
    """Export the contract as JSON Schema and AsyncAPI."""


def files() -> dict[str, str]:
    """File name → text of everything that `export` writes."""
    found = {
        f"{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in json_schemas().items()
    }
    found["asyncapi.yaml"] = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=100)
    return found


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The folder to write to, or to compare with.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a file differs.")] = False,
) -> None:
    """Write a JSON Schema of every event and one AsyncAPI document.

    Example: govern schema export --out docs/schemas
    """
    wanted = files()
    if check:
        _compare(out, wanted)
        typer.echo(f"{len(wanted)} files in {out} are current")
        return
    out.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        (out / name).write_text(text, encoding="utf-8")
    typer.echo(f"wrote {len(wanted)} files to {out}")


def _compare(out: Path, wanted: dict[str, str]) -> None:
    present = {path.name for pattern in ("*.schema.json", "asyncapi.yaml") for path in out.glob(pattern)}
    stale = [name for name, text in wanted.items() if name not in present or (out / name).read_text("utf-8") != text]
    stale += sorted(present - set(wanted))
    if stale:
        raise Misconfigured(f"{out}: not current: {', '.join(stale)}; run: govern schema export --out {out}")
