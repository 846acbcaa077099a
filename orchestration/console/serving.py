"""The console as a process: the read model is kept fresh and pages are served, in one event loop, until it is told to end.

Where nobody can sign in yet it listens on loopback alone, and moves to where it shall listen once somebody can. Elsewhere than
on loopback it wants https in front of it, because browsers keep its cookies from plain http.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import psutil
import uvicorn

from agents.errors import Misconfigured, Retryable
from orchestration.answer_links import secret_of
from orchestration.console.app import make_app
from orchestration.console.in_force import InForce
from orchestration.console.listening import listen, listening_file, loopback
from orchestration.console.live import Feed
from orchestration.console.oidc import provider_of
from orchestration.console.parts import Parts
from orchestration.console.protocol import Prompt
from orchestration.console.records import KafkaRecords
from orchestration.console.sending import KafkaSender
from orchestration.console.standing import no_way_in, read_only
from orchestration.reading.projection import Projection
from orchestration.settings import Settings
from orchestration.signing_keys import console_key

READY_S = 10.0
HEADERS = 32 * 1024
CONNECTIONS = 500
GRACE_S = 3
LOOK_S = 2.0
"""While nobody can sign in, it is looked so often whether somebody can now."""

Report = Callable[[str], None]


async def serve(settings: Settings, report: Report = lambda line: None) -> None:
    """Serve until SIGINT or SIGTERM. `settings` say where Kafka is.

    Raises Misconfigured where it cannot listen as asked, or its keys or databases cannot be used.
    """
    in_force, projection, feed = InForce(settings), Projection(settings), Feed()
    key = console_key(settings)
    sender = KafkaSender(settings, key)
    parts = Parts(
        settings,
        in_force.configuration,
        reading=projection.database,
        key=key,
        sender=sender,
        provider=provider_of(settings),
        links=secret_of(settings),
        records=KafkaRecords(settings),
        feed=feed,
    )
    following = asyncio.create_task(in_force.follow())
    projecting = asyncio.create_task(projection.run(lambda changed: feed.changed(changed.topics, changed.incidents)))
    try:
        if not await in_force.ready(READY_S):
            report("Kafka does not answer yet; pages are read-only until it does")
        while await served(parts, projecting, report):
            pass
    finally:
        await ended(following, projecting)
        await sender.close()


async def ended(*tasks: asyncio.Task[None], again_s: float = 1.0) -> None:
    """Cancel tasks until they have ended: a client that is just being closed, or an answer that comes at that very moment,
    may swallow one cancellation, and a task that follows topics would then go on for ever.
    """
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=again_s)
    await asyncio.gather(*tasks, return_exceptions=True)


async def served(parts: Parts, projecting: asyncio.Task[None], report: Report) -> bool:
    """Serve at the address that fits who can sign in; True where it is to be done again, at another one."""
    settings, closed = parts.settings, no_way_in(parts)
    host = settings.console_host if closed is None else "127.0.0.1"
    _check_encryption(settings, host, parts)
    listener = listen(host, settings.console_port)
    url = _url(settings, host, parts)
    report(f"the console is at {url}")
    for why in filter(None, (closed, read_only(parts))):
        report(f"note: {why}")
    if closed is None or loopback(settings.console_host):
        return await _serve(parts, listener, url, projecting)
    opening = asyncio.create_task(_way_in(parts, report))
    try:
        return await _serve(parts, listener, url, projecting, opening)
    finally:
        opening.cancel()


async def _way_in(parts: Parts, report: Report) -> None:
    """Return once somebody can sign in and the console can listen where it shall; report once what stands against it."""
    said = ""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            if await asyncio.to_thread(no_way_in, parts) is not None:
                continue
            _check_encryption(parts.settings, parts.settings.console_host, parts)
        except Retryable:
            continue
        except Misconfigured as error:
            if str(error) != said:
                said = str(error)
                report(f"note: the console goes on answering to this machine alone: {said}")
            continue
        report(f"somebody can sign in now: the console moves to {parts.settings.console_host}")
        return


async def _serve(
    parts: Parts,
    listener: socket.socket,
    url: str,
    projecting: asyncio.Task[None],
    opening: asyncio.Task[None] | None = None,
) -> bool:
    """Serve until it is told to end, or until `opening` is done: then True, and nobody listens there any more."""
    settings = parts.settings
    cert, key = settings.console_tls_cert, settings.console_tls_key
    config = uvicorn.Config(
        make_app(settings, parts),
        http=Prompt,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=HEADERS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=CONNECTIONS,
        ssl_certfile=str(cert) if cert else None,
        ssl_keyfile=str(key) if key else None,
    )
    server = uvicorn.Server(config)
    note = listening_file(settings)
    note.parent.mkdir(parents=True, exist_ok=True)
    mine = {"pid": os.getpid(), "created": psutil.Process().create_time(), "url": url}
    note.write_text(json.dumps(mine))
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # uvicorn raises it again once it has ended
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.wait({serving, projecting, *filter(None, (opening,))}, return_when=asyncio.FIRST_COMPLETED)
        moves = opening is not None and opening.done() and not serving.done()
        if moves or projecting.done():
            server.should_exit = True
            await serving
        if projecting.done():  # a fault that somebody must mend: pages would only grow old
            projecting.result()
        serving.result()
        return moves
    finally:
        listener.close()
        if _noted(note) == mine["pid"]:
            note.unlink(missing_ok=True)


def _noted(note: Path) -> int | None:
    try:
        return int(json.loads(note.read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


def _check_encryption(settings: Settings, host: str, parts: Parts) -> None:
    if settings.console_tls_cert is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                settings.console_tls_cert, settings.console_tls_key
            )
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(
                f"cannot use the console's certificate ({error}); check GOVERN_CONSOLE_TLS_CERT and GOVERN_CONSOLE_TLS_KEY"
            ) from error
    configuration = parts.configuration()
    public = (configuration.escalation.console_url or "") if configuration is not None else ""
    known = settings.console_tls_cert is not None or settings.console_hosts or public.startswith("https://")
    if not loopback(host) and not known:
        raise Misconfigured(
            f"on {host} the console would be reached by plain http, from which browsers keep its cookies: give "
            "GOVERN_CONSOLE_TLS_CERT and GOVERN_CONSOLE_TLS_KEY, or put a proxy with https before it and set "
            "escalation.console_url"
        )


def _url(settings: Settings, host: str, parts: Parts) -> str:
    configuration = parts.configuration()
    if configuration is not None and configuration.escalation.console_url and not loopback(host):
        return configuration.escalation.console_url
    scheme = "https" if settings.console_tls_cert is not None else "http"
    name = "localhost" if loopback(host) else host
    return f"{scheme}://{name}:{settings.console_port}"
