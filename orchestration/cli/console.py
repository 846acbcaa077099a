"""`govern console`: serve the pages on which people see what waits for them and answer it."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Annotated

import typer
from rich.console import Console

from agents.errors import Misconfigured
from orchestration import deployment
from orchestration.console import process
from orchestration.settings import Settings

out = Console(highlight=False, soft_wrap=True)


def console(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="GOVERN_CONSOLE_HOST, or 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Its port.", show_default="GOVERN_CONSOLE_PORT, or 8088")
    ] = None,
) -> None:
    """Serve the console until Ctrl-C: the queue, incidents, decisions and evidence, and the forms to answer.

    `govern up` runs it in the background already. Without an account it listens on loopback, is read-only and says why.

    Example: govern console --port 9000
    """
    given = {name: value for name, value in (("console_host", host), ("console_port", port)) if value is not None}
    settings = deployment.located(Settings()).model_copy(update=given)
    there = process.running(settings)
    if there is not None:
        raise Misconfigured(
            f"a console of this data folder runs already: {there.url} (pid {there.pid}); `govern down` ends it, where "
            "`govern up` started it"
        )
    settings = deployment.with_kafka(settings, out.print)
    from orchestration.console.serving import (
        serve,
    )  # templates, database and server: 0.5 s that --help need not wait for

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("governance").setLevel(logging.INFO)
    try:
        asyncio.run(serve(settings, lambda line: out.print(line, markup=False)))
    except KeyboardInterrupt:
        sys.exit(130)
