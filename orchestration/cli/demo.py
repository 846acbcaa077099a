"""`govern demo`: the whole system on real decisions, from an empty folder to the checks at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration.settings import Settings

LEAST, MOST = 200, 24_000  # so few still hold one of everything; each client is asked about at most once a version


def demo(
    count: Annotated[int, typer.Option(min=LEAST, max=MOST, help="How many decisions.")] = 14_200,
    fast: Annotated[bool, typer.Option("--fast", help="Send as fast as it goes, not at a visible rate.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="The demo's own folder, emptied first; else demo in GOVERN_DATA_DIR.")
    ] = None,
) -> None:
    """Govern real credit decisions with a local Kafka and a local Ray, and check everything at the end.

    A model learns on real clients and decides for others; then a version of it that was fine-tuned on a skewed sample goes
    live. Monitors notice what is wrong with it and with some of its callers, and rules act on that. Exit status 0:
    everything held and was caught; 1: something did not, or was not.

    Example: govern demo --keep
    """
    from orchestration.demo import story  # imports scikit-learn, which --help need not wait for

    try:
        held = story.run(folder or Settings().data_dir / "demo", count, fast=fast, keep=keep)
    except KeyboardInterrupt:
        print("interrupted; `govern demo` starts afresh", file=sys.stderr)
        raise typer.Exit(130) from None
    if not held:
        raise typer.Exit(1)
