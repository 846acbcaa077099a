"""Live flow: how many decisions a second become what, by model, over the last quarter of an hour."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agents.configuration import Configuration
from orchestration.console.charts import spark
from orchestration.console.pages.asking import database
from orchestration.console.pages.overviews import Flow, LiveView, Stream
from orchestration.console.parts import parts_of
from orchestration.console.rendering import render
from orchestration.console.words import MINUTE
from orchestration.reading.database import Database
from orchestration.reading.overview import Flowed, flowed, models

BUCKET = 5_000
WINDOW = 15 * MINUTE
RECENT = 12
"""Buckets whose mean is `now`: the last minute."""
STREAMS = (
    ("allow", "goes out"),
    ("log", "goes out, flagged"),
    ("hold", "held for a person"),
    ("block", "withheld"),
    ("released", "let out by a person"),
    ("withheld", "withheld by a person or deadline"),
    ("duplicate", "repeated"),
)
ALWAYS = ("allow", "hold", "block")


async def page(request: Request) -> Response:
    """The page; models belong to no team."""
    parts = parts_of(request)
    view = await run_in_threadpool(made, database(request), parts.configuration(), parts.clock())
    return render(request, "live.html", view=view)


def made(base: Database, configuration: Configuration | None, now_ms: int) -> LiveView:
    """The page's view."""
    seen: dict[str, int | None] = {}
    for one in models(base, now_ms):
        if one.decisions:
            seen[one.model] = max(seen.get(one.model) or 0, one.last_ms or 0)
    until = now_ms - now_ms % BUCKET  # the bucket that is being filled would look like a fall
    flows = []
    for name, last_ms in seen.items():
        course = flowed(base, until - WINDOW, until, BUCKET, name)
        declared = configuration.models.get(name) if configuration is not None else None
        flows.append(Flow(name, declared.mode.value if declared is not None else "", _streams(course), last_ms))
    return LiveView(
        "What became of decisions in the last 15 minutes. Per second is the mean of the last minute.", tuple(flows)
    )


def _streams(course: tuple[Flowed, ...]) -> tuple[Stream, ...]:
    found = []
    for effect, words in STREAMS:
        counts = [one.counts.get(effect, 0) for one in course]
        if not any(counts) and effect not in ALWAYS:
            continue
        recent = counts[-RECENT:]
        line = spark(words, [value * 1000 / BUCKET for value in counts], effect, wide=True)
        found.append(Stream(effect, words, sum(recent) * 1000 / (BUCKET * max(len(recent), 1)), sum(counts), line))
    return tuple(found)
