"""Secrets planted everywhere, a run with people, channels that repeat them when they refuse: nothing left behind shows one.

What is searched: every record of every topic with its headers, every file of the deployment but the keys themselves (evidence,
archive, databases), everything that was logged, pages, error pages, and what commands print.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from agents.configuration import Configuration
from agents.errors import GovernanceError
from orchestration import checkpoints, config_topic, signing_keys, topics
from orchestration.answer_links import secret_of
from orchestration.console import process
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.notify_lane import NotifyLane
from orchestration.reading.database import open_database
from orchestration.settings import Settings
from orchestration.work import LaneName, Pace
from tests.integration.kafka_fixtures import flags_of
from tests.integration.monitored import deployment, event, lanes_of, running, send, tick, until
from tests.integration.notifying import QUICK, deliveries, outcomes
from tests.integration.test_console import PASSWORD, hidden, known_console, serving
from tests.integration.test_escalation_lane import configuration, newest
from tests.receivers import Got, Says, http_receiver, smtp_receiver
from tests.unit.commands.world import main

NAMED = ("SMTP", "BOT", "SIGNING", "ROOM", "PAGER", "ANN_PAGER", "HOOK")
SENT = ("chat", "room", "pager", "desk")
"""Channels on HTTP; each refuses what comes first and repeats all that it was sent."""


def declared(settings: Settings, chat: str, hook: str, mail: int) -> Configuration:
    """Every kind of channel, each with a secret; all of them are told."""
    document = known_console(settings, configuration()).document()
    at = {"allow_private": True}
    document["escalation"] |= {
        "console_url": "https://localhost:8088",
        "channels": {
            "mail": {"kind": "email", "url": f"smtp://127.0.0.1:{mail}", "secret": "smtp", "sender": "g@bank.example", **at},
            "chat": {"kind": "slack", "url": chat, "secret": "bot", "signing": "signing", "to": "C1", **at},
            "room": {"kind": "teams", "url": "secret:room", **at},
            "pager": {"kind": "pagerduty", "url": hook, "secret": "pager", **at},
            "desk": {"kind": "webhook", "url": hook, "secret": "hook", **at},
        },
        "chains": {"default": {"steps": [{"tell": ["on_call", "team"], "channels": ["mail", "pager"]}]}},
    }  # fmt: skip
    document["escalation"]["teams"]["credit"]["channels"] = list(SENT)
    document["escalation"]["people"]["ann"]["contacts"] = {"pager": "secret:ann-pager"}
    return Configuration.model_validate(document)


class Planted:
    """Secrets by name; each is found in any form that a text, an address or a record would hold it in."""

    def __init__(self) -> None:
        self.forms: dict[str, tuple[bytes, ...]] = {}

    def add(self, name: str, value: str) -> str:
        raw = value.encode()
        texts = {value, quote(value, safe=""), json.dumps(value)[1:-1], raw.hex()}
        texts |= {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
        self.forms[name] = tuple(one.encode() for one in texts)
        return value

    def found(self, where: str, content: bytes) -> list[str]:
        return [f"{name} in {where}" for name, forms in self.forms.items() if any(form in content for form in forms)]


def linked(got: Got) -> bytes:
    return b" ".join(re.findall(rb"https?://[^\s\"]+", got.body))


REPEATED: tuple[Callable[[Got], bytes], ...] = (
    linked,
    lambda got: f"{got.path} {got.headers.get('authorization')}".encode(),
    lambda got: got.body,
)
"""What of a request an answer repeats, one part after the other, as no more than a line is kept."""


def refusals() -> list[Says]:
    """What a receiver says first."""
    return [Says(status, b"you sent ", echo=one) for status in (500, 500, 400, 403) for one in REPEATED]


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """Everything that anybody logs here, down to the last detail, with tracebacks."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, before = logging.StreamHandler(stream), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("aiokafka").setLevel(logging.INFO)  # else every request of the protocol
    logging.getLogger("mail.log").setLevel(logging.INFO)  # the test's own SMTP server, which is told the password
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        for name in ("aiokafka", "mail.log"):
            logging.getLogger(name).setLevel(logging.NOTSET)


def printed(*words: str) -> bytes:
    """What a command prints, whatever its status."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        main(list(words))
    return (out.getvalue() + err.getvalue()).encode()


async def records(settings: Settings) -> Iterable[tuple[str, bytes]]:
    """Every record of the deployment: keys, values, headers."""
    found = []
    for name in topics.BY_NAME:
        for partition in range(topics.partitions_of(topics.BY_NAME[name], settings)):
            for one in await Broker(settings).read_all(settings.topic(name), partition):
                headers = b" ".join(f"{key}={value!r}".encode() for key, value in one.headers)
                found.append((f"topic {name}", b"\n".join((one.key or b"", one.value or b"", headers))))
    return found


def files(folder: Path, but: Path) -> Iterable[tuple[str, bytes]]:
    return (
        (f"file {path.relative_to(folder)}", path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and but not in path.parents
    )


def private_keys(folder: Path) -> Mapping[str, str]:
    """The private halves that lie in a folder, without the words before them."""
    found = {}
    for path in folder.iterdir():
        if path.suffix != ".verifier":
            found[path.name] = re.split(r"[+:]", path.read_text().strip())[-1]
    return found


async def visited(console: Any, incident: str, planted: Planted) -> list[tuple[str, bytes]]:
    """Somebody signs in, follows a link, answers, and meets every kind of error page: what the pages said."""
    seen: list[tuple[str, bytes]] = []
    async with console.signed_in("ann") as browser:
        for name, value in browser.cookies.items():
            planted.add(f"cookie {name}", value)
        for path in (
            "/",
            f"/incidents/{incident}",
            "/people",
            "/evidence",
            "/account",
            "/nothing",
            "/l/forged",
            "/stats",
        ):
            page = await browser.get(path)
            seen.append((f"page {path} ({page.status_code})", page.content + repr(page.headers).encode()))
        page = await browser.get(f"/incidents/{incident}")
        await browser.post(f"/incidents/{incident}/answer", data={"csrf": "forged", "action": "approve"})
        await console.answer(browser, page, incident, "reject")
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    transport = httpx.ASGITransport(app=console.app, raise_app_exceptions=False)
    origin = {"sec-fetch-site": "same-origin"}
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost:8088", headers=origin) as stranger:
        form = await stranger.get("/sign-in")
        wrong = {"csrf": hidden(form, "csrf"), "person": "bob", "password": planted.add("typed", secrets.token_hex(12))}
        page = await stranger.post("/sign-in", data=wrong)
        seen.append(("page of a failed sign-in", page.content + repr(page.headers).encode()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("orchestration.console.pages.queue.queue", None)
            broken = await stranger.get("/", headers={"cookie": cookies})
        seen.append((f"page of a fault of ours ({broken.status_code})", broken.content))
    return seen


async def test_nothing_that_a_run_leaves_behind_shows_a_secret(
    broker: LocalKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Planted()
    for name in NAMED:
        monkeypatch.setenv(f"GOVERN_SECRET_{name}", planted.add(name, f"canary-{name}-{secrets.token_hex(8)}"))
    password = planted.add("SMTP password", f"pw-{secrets.token_hex(8)}")
    planted.add("OIDC", "canary-oidc-8d1f0a")
    monkeypatch.setenv("GOVERN_SECRET_SMTP", f"mailer:{password}")
    with (
        logged() as log,
        http_receiver(*refusals(), then=Says(echo=linked)) as chat,
        http_receiver(*refusals(), then=Says(202, echo=linked)) as hook,
        smtp_receiver(user="mailer", password=password) as mailbox,
    ):
        path = planted.add("path of ROOM", secrets.token_hex(12))
        monkeypatch.setenv("GOVERN_SECRET_ROOM", planted.add("ROOM", f"{hook.url}/{path}"))
        mailbox.answer += [f"554 you said {password}", f"451 you said {password}"]
        settings = await deployment(broker, prefix, tmp_path / "data", configuration(), keys_dir=tmp_path / "keys",
                                    oidc_client_secret="canary-oidc-8d1f0a")  # fmt: skip
        for person in ("ann", "bob"):
            signing_keys.make(signing_keys.person_path(settings, person), settings)
        found = declared(settings, chat.url, hook.url, mailbox.port)
        await config_topic.apply(settings, found)
        for name, value in private_keys(settings.keys_dir).items():
            planted.add(f"private key {name}", value)
        planted.add("account's password", PASSWORD)
        name = LaneName(settings.prefix, "notify", settings.topic("notifications"), 0)
        notify = NotifyLane(name, Broker(settings), Pace(1, 0, 300), lambda down: QUICK, secret_of(settings))
        details: list[str] = []
        async with (
            serving(settings) as console,
            running(*lanes_of(settings, found, ("policy", "escalation", "audit")), notify),
        ):
            await send(settings, broker, "decisions", [event(n, "1", "decline") for n in range(12)])

            async def told() -> bool:
                await tick(settings, broker)
                details.append(notify.status.detail)
                kinds = {one for _, one in await outcomes(settings)}
                return {"sent", "failed"} <= kinds and len(await outcomes(settings)) >= len(SENT)

            await until(told, 90)
            incident = next(key for key, one in (await newest(settings)).items() if one.held)
            bodies = b" ".join(got.body for got in [*chat.got, *hook.got])
            link = re.search(rb"/l/([\w-]+)", bodies)
            assert link is not None
            planted.add("answer-link token", link[1].decode())
            pages = await visited(console, incident, planted)
            await until(lambda: _kept(settings), 60)
        said = {
            " ".join(words): await asyncio.to_thread(_command, settings, *words)
            for words in (
                ("status",), ("status", "--json"), ("notify", "list", "--all"), ("notify", "list", "--all", "--json"),
                ("incidents", "list", "--json"), ("incidents", "show", incident, "--json"), ("key", "show"),
                ("user", "list", "--json"), ("stats", "--json"), ("notify", "test", "--channel", "room"),
                ("notify", "test", "--channel", "mail"),
            )
        }  # fmt: skip
    assert len(planted.forms) >= 16
    repeated = [one["detail"] for one in await deliveries(settings) if "you sent" in one["detail"]]
    assert any("/l/<link>" in one for one in repeated), "channels did repeat what they were sent"
    assert any("<secret>" in one for one in repeated)
    assert await flags_of(settings), "a dead channel is flagged"
    assert any("does not work" in one for one in details)
    assert any("(500)" in where for where, _ in pages)
    assert mailbox.logins, "the password was used"
    everything = [
        *(await records(settings)),
        *files(tmp_path, but=settings.keys_dir),
        *pages,
        *((f"govern {words}", content) for words, content in said.items()),
        ("the log", log.getvalue().encode()),
        ("status of the lane notify", "\n".join(details).encode()),
    ]
    places = {where.split()[0] for where, _ in everything}
    assert places >= {"topic", "file", "page", "govern", "the", "status"}
    assert sum(len(content) for _, content in everything) > 100_000
    leaked = sorted({leak for where, content in everything for leak in planted.found(where, content)})
    assert leaked == [], "\n".join(leaked)


async def _kept(settings: Settings) -> bool:
    """Whether evidence of it lies in the store."""
    return await checkpoints.newest(settings) is not None and any(Path(settings.store_url).rglob("tile"))


def _command(settings: Settings, *words: str) -> bytes:
    """A command with this deployment's settings, in a context of its own."""
    before = dict(os.environ)
    os.environ.update(process.environment(settings))
    try:
        return printed(*words)
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_what_is_searched_for_would_be_found() -> None:
    planted = Planted()
    planted.add("one", 'a/b+c"d')
    for text in (
        b'x a/b+c"d y',
        b"?k=a%2Fb%2Bc%22d",
        b'{"v": "a/b+c\\"d"}',
        base64.b64encode(b'a/b+c"d'),
        b'a/b+c"d'.hex().encode(),
    ):
        assert planted.found("there", text) == ["one in there"]
    assert planted.found("there", b"a/b") == []


@pytest.mark.parametrize("name", ["read_model", "accounts"])
def test_a_database_that_does_not_answer_is_told_without_its_password(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = "postgresql+pg8000://reader:canary-db-51ab@127.0.0.1:9/none"
    settings = Settings(_env_file=None, data_dir=tmp_path, **{name: url})  # type: ignore[call-arg]
    assert "canary" not in repr(settings)
    said = ""
    caplog.set_level(logging.DEBUG)
    if name == "read_model":
        with pytest.raises(GovernanceError) as failed:
            open_database(settings).facts()
        said = str(failed.value) + repr(failed.value.__cause__)
    said += _command(settings, "user", "list").decode()
    assert "does not answer" in said or "cannot" in said
    assert "canary" not in said + caplog.text
