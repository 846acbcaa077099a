"""What the console itself costs: pages over a socket, a sign-in, an answer until it stands on `reviews`.

`python -m tests.benchmarks.bench_console`; a broker of its own, half a minute. Pages are those of the tests' bad night, the
read model is SQLite, one person clicks at a time. What the lanes then need is bench_escalation's and bench_release's.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from argon2 import PasswordHasher

from agents.dsse import Private
from agents.people_events import ReviewData
from orchestration import topics
from orchestration.console.sending import KafkaSender
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.unit.console.example import GAP
from tests.unit.console.serve import serving
from tests.unit.console.served import PASSWORD

TURNS = 200


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        with serving(Path(folder)) as console, httpx.Client(base_url=console.url) as browser:
            browser.headers["sec-fetch-site"] = "same-origin"
            cookie = _signed_in(browser)
            browser.headers["cookie"] = (
                cookie  # httpx keeps Secure cookies from plain http, browsers do not on loopback
            )
            _tell("the queue", _times(lambda: browser.get("/").raise_for_status()))
            _tell("an incident with its charts", _times(lambda: browser.get(f"/incidents/{GAP}").raise_for_status()))
        hasher = PasswordHasher()
        hashed = hasher.hash(PASSWORD)
        _tell("a password checked (argon2id, 64 MiB)", _times(lambda: hasher.verify(hashed, PASSWORD), 20))
        _tell("an answer signed and on `reviews`", asyncio.run(_answers(Path(folder))))


async def _answers(folder: Path) -> list[float]:
    kafka = LocalKafka(folder / "kafka")
    kafka.start()
    try:
        settings = Settings(
            _env_file=None, prefix="bench", bootstrap_servers=kafka.bootstrap_servers, data_dir=folder / "var"
        )  # type: ignore[call-arg]
        await topics.ensure(settings)
        sender = KafkaSender(settings, Private(b"k" * 32))
        data = ReviewData(action="approve", person="dana", login="sha256:" + "0" * 64, incident="7f29-k1mq", reason="x")
        await sender.send("console/first", data)  # opens the connection
        found = []
        for number in range(TURNS):
            began = time.perf_counter()
            await sender.send(f"console/{number}", data)
            found.append(time.perf_counter() - began)
        await sender.close()
        return found
    finally:
        kafka.stop()


def _signed_in(browser: httpx.Client) -> str:
    form = browser.get("/sign-in")
    token = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert token is not None
    before = form.headers["set-cookie"].partition(";")[0]
    fields = {"csrf": token[1], "person": "ana", "password": PASSWORD, "next": "/"}
    done = browser.post("/sign-in", data=fields, headers={"cookie": before})
    assert done.status_code == 303, done.text
    cookies = [one.partition(";")[0] for one in done.headers.get_list("set-cookie")]
    return next(one for one in cookies if one.startswith("__Host-govern="))


def _times(what: Callable[[], object], turns: int = TURNS) -> list[float]:
    what()
    found = []
    for _ in range(turns):
        began = time.perf_counter()
        what()
        found.append(time.perf_counter() - began)
    return found


def _tell(what: str, times: list[float]) -> None:
    cut = statistics.quantiles(times, n=20)
    print(
        f"{what:<40} median {statistics.median(times) * 1000:7.1f} ms   p95 {cut[-1] * 1000:7.1f} ms   n {len(times)}"
    )


if __name__ == "__main__":
    main()
