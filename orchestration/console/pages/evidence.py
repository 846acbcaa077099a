"""Evidence: how far each log is signed, where that is kept besides, and the commands with which an outsider checks it."""

from __future__ import annotations

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from orchestration import keys
from orchestration.console.pages.asking import database
from orchestration.console.pages.overviews import EvidenceView, LogRow
from orchestration.console.parts import parts_of
from orchestration.console.rendering import render
from orchestration.reading.database import Database
from orchestration.reading.health import heads
from orchestration.settings import Settings


async def page(request: Request) -> Response:
    """The page; it holds nothing that an auditor would not be given."""
    view = await run_in_threadpool(made, database(request), parts_of(request).settings)
    return render(request, "evidence.html", view=view)


def made(base: Database, settings: Settings) -> EvidenceView:
    """The page's view."""
    logs = [LogRow(one.origin, one.size, one.time_ms, one.root) for one in heads(base)]
    root = f"{settings.prefix}/root"
    anchor = (
        f"Every checkpoint is also published to {settings.publish}, outside this service. Whoever keeps a copy can show "
        "later that nothing was rewritten."
        if settings.publish
        else "Checkpoints are not published anywhere else yet, so only a copy that somebody keeps shows a rewriting. "
        "Set GOVERN_PUBLISH to a place outside the operator's hands."
    )
    return EvidenceView(
        logs=tuple(sorted(logs, key=lambda one: (one.origin != root, one.origin))),
        anchor=anchor,
        verifier=_verifier(settings),
        commands=_commands(settings),
    )


def _verifier(settings: Settings) -> str:
    path: Path = keys.paths(settings.prefix, settings.keys_dir).verifier
    try:
        return f"Public key: {path.read_text().strip()}"
    except OSError:
        return "The public key is not on this machine; `govern audit keygen` made it, and your auditor has a copy."


def _commands(settings: Settings) -> tuple[tuple[str, str], ...]:
    since = f" --since {settings.publish}" if settings.publish else ""
    return (
        (
            "Check every log against the public key, offline, with your own copy of the key:",
            f"govern audit verify {settings.store_url} --key auditor.verifier{since}",
        ),
        (
            "The same with one file that needs Python and the package cryptography only:",
            "govern audit verifier --out verifier.pyz",
        ),
        (
            "Prove one verdict to somebody who has the public key and nothing else:",
            f"govern audit prove {settings.topic('decisions')}/0/0/gate --out proof.json",
        ),
        ("Check such a proof:", "govern audit check-proof proof.json --key auditor.verifier"),
    )
