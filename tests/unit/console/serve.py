"""The example on a real port: `python -m tests.unit.console.serve`, then sign in as ana, wei, ines, vic, audra or adam."""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from agents.people_events import ReviewData
from orchestration.console.accounts import Accounts
from orchestration.console.app import make_app
from orchestration.console.live import Feed
from orchestration.console.parts import Parts
from orchestration.settings import Settings
from tests.unit.console.example import NOW, Night, night
from tests.unit.console.served import KEY, LINKS, PASSWORD, QUICK, Lane

PEOPLE = ("ana", "wei", "ines", "vic", "audra", "adam", "otto")


@dataclass
class Serving:
    """A console that runs in a thread of this process."""

    url: str
    night: Night
    parts: Parts
    lane: Lane
    feed: Feed
    server: uvicorn.Server

    def changed(self, *incidents: str) -> None:
        """Fold what was added to the example, and tell open pages."""
        self.night.fold()
        self.feed.changed(frozenset({"incidents", "held"}), frozenset(incidents))

    def sent(self) -> list[ReviewData]:
        """Answers that were sent so far."""
        return [data for _, data in self.lane.sent]


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def serving(folder: Path, port: int = 0, hostile: str = "", accounts: bool = True) -> Iterator[Serving]:
    """The example's console on http://localhost:<port>, its clock standing at the example's now."""
    port = port or free_port()
    url = f"http://localhost:{port}"
    found = night(folder, url, hostile)
    settings = Settings(_env_file=None, data_dir=folder, console_port=port)  # type: ignore[call-arg]
    lane, feed, began = Lane(), Feed(), time.monotonic()
    parts = Parts(
        settings,
        lambda: found.configuration,
        reading=found.base,
        clock=lambda: NOW + int((time.monotonic() - began) * 1000),
        key=KEY,
        sender=lane,
        links=LINKS,
        records=found.content,
        feed=feed,
    )
    parts.__dict__["accounts"] = Accounts(parts.database, parts.clock, QUICK)
    for person in PEOPLE if accounts else ():
        parts.accounts.add(person, PASSWORD)
    server = uvicorn.Server(
        uvicorn.Config(make_app(settings, parts), port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    try:
        yield Serving(url, found, parts, lane, feed, server)
    finally:
        server.should_exit = True
        thread.join(10)
        found.base.close()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8188)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), parser.parse_args().port) as found:
        print(f"{found.url}  sign in as {', '.join(PEOPLE)} with: {PASSWORD}")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
