"""Reviewers on the command line, with the real lanes: what is held is seen, looked into, answered, and goes out or stays."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.configuration import Configuration
from orchestration import config_topic, signing_keys
from orchestration.cli import main
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from tests.integration.monitored import deployment, event, lanes_of, running, send, tick, until
from tests.unit.escalation.lane import declared

POLICIES = [
    {
        "policy": "lending",
        "rules": [
            {
                "id": "declines",
                "when": "output.label = 'decline'",
                "effect": "hold",
                "team": "credit",
                "reason": "{model.name} {model.version} declined",
            }
        ],
    }
]


def configuration(keys: dict[str, str]) -> Configuration:
    document = declared().document()
    for person, key in keys.items():
        document["escalation"]["people"][person]["keys"] = [key]
    document["escalation"]["bulk"] = {"items": 10, "sample": 2}
    model = {
        "mode": "gate",
        "domain": "credit",
        "features": {"income": "numeric"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "answers": {"reject": "withhold: a loan officer decides"},
    }
    return Configuration.model_validate({**document, "models": {"credit": model}, "policies": POLICIES})


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


def _run(arguments: tuple[str, ...]) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


async def govern(*arguments: str) -> Done:
    """A command as a reviewer types it; the environment says which deployment."""
    return await asyncio.to_thread(_run, arguments)


async def objects(*arguments: str) -> list[dict[str, Any]]:
    """What it prints with --json."""
    done = await govern(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_a_reviewer_works_from_the_command_line(
    broker: LocalKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await deployment(broker, prefix, tmp_path, Configuration())
    keys = {
        person: signing_keys.make(signing_keys.person_path(settings, person), settings) for person in ("ann", "bob")
    }
    declared_ = configuration({person: key.public.text for person, key in keys.items()})
    await config_topic.apply(settings, declared_)
    for name, value in (
        ("PREFIX", prefix),
        ("BOOTSTRAP_SERVERS", str(settings.bootstrap_servers)),
        ("DATA_DIR", str(settings.data_dir)),
        ("KEYS_DIR", str(settings.keys_dir)),
    ):
        monkeypatch.setenv(f"GOVERN_{name}", value)
    monkeypatch.setenv("COLUMNS", "80")

    async def ticking() -> None:
        while True:
            await tick(settings, broker)
            await asyncio.sleep(0.2)

    clock = asyncio.create_task(ticking())
    try:
        async with running(*lanes_of(settings, declared_, ("policy", "escalation", "release"))):
            await send(settings, broker, "decisions", [event(n, "1", "decline") for n in range(14)])
            listed: list[dict[str, Any]] = []

            async def held() -> bool:
                listed[:] = await objects("incidents", "list")
                return [one["waiting"] for one in listed] == [14]

            await until(held, 60)
            name = listed[0]["id"]

            shown = await govern("incidents", "show", name)
            assert "14 wait for an answer" in shown.stdout
            assert max(map(len, shown.stdout.splitlines())) <= 80
            places = [one["decision"] for one in await objects("review", "held", name)]
            assert len(places) == 14

            (decision,) = await objects("review", "open", name, places[0], "--person", "ann")
            assert decision["decision"]["data"]["features"] == {"income": 1.0}
            assert decision["reasons"] == [{"rule": "lending/declines", "text": "credit 1 declined"}]

            taken = await govern("incidents", "ack", name, "--person", "ann")
            assert taken.returncode == 0, taken.stderr
            twice = await govern("incidents", "ack", name, "--person", "ann")
            assert (twice.returncode, twice.stdout.partition(":")[0]) == (0, "you have it already")
            again = await govern("incidents", "ack", name, "--person", "bob")
            assert again.returncode == 1
            assert "ann acknowledged it before you" in again.stderr

            nobody = await govern("review", "approve", name, "--reason", "fine", "--person", "ann")
            assert nobody.returncode == 1
            assert "14 held decisions: let them go out? Nobody can be asked here: say --yes" in " ".join(
                nobody.stderr.split()
            )

            some = ["--item", places[0], "--item", places[1]]
            (one,) = await objects(
                "review", "reject", name, *some, "--reason", "typing error", "--person", "ann", "--yes", "--open", "2"
            )
            assert (one["outcome"], one["ruling"]["kind"], one["ruling"]["opened"]) == ("effective", "individual", 2)

            unseen = await govern("review", "approve", name, "-r", "all fine", "--person", "ann", "-y")
            assert unseen.returncode == 1
            assert "refused (not-opened)" in unseen.stderr

            group = [word for place in places[2:8] for word in ("--item", place)]
            (six,) = await objects("review", "approve", name, *group, "--reason", "alike", "--person", "bob", "--yes")
            assert (six["outcome"], six["ruling"]["kind"]) == ("effective", "bulk")
            together = await govern("review", "approve", name, "-r", "all fine", "--person", "bob", "-y")
            assert together.returncode == 1
            told = "you have ruled 6 of this incident's decisions in groups; with these 6 that is above 10:"
            assert f"{told} unless you open each of them" in " ".join(together.stdout.split()), "before it is sent"
            assert f"refused (not-opened): {told} somebody else must agree" in " ".join(together.stderr.split())

            first = await govern("review", "approve", name, "-r", "looked", "--person", "bob", "-y", "--open", "2")
            assert first.returncode == 0, first.stderr
            assert "1 more person" in first.stdout
            second = await govern("review", "approve", name, "-r", "looked", "--person", "ann", "-y", "--open", "2")
            assert second.returncode == 0, second.stderr

            async def out() -> bool:
                found = 0
                for partition in range(settings.partitions):
                    found += len(await Broker(settings).read_all(settings.topic("released"), partition))
                return found == 12

            await until(out)
            late = await govern("review", "reject", name, "-r", "too late", "--person", "ann", "-y")
            assert late.returncode == 1
            assert "waits for an answer: it was approved" in " ".join(late.stderr.split())

            (shown_now,) = await objects("incidents", "show", name)
            assert shown_now["held_by_resolution"] == {"approved": 12, "rejected": 2}
            assert [one["refused"] for one in shown_now["answers"]] == [
                None, "already-ruled", None, "not-opened", None, "not-opened", None, None,
            ]  # fmt: skip

            muted = await govern(
                "silence",
                "add",
                "--cause",
                "lending/declines",
                "--team",
                "credit",
                "--for",
                "2h",
                "-r",
                "known",
                "--person",
                "bob",
            )
            assert muted.returncode == 0, muted.stderr
            (silence,) = await objects("silence", "list")
            assert (silence["matchers"], silence["state"]) == (
                {"cause": "lending/declines", "team": "credit"},
                "stands",
            )
            ended = await govern("silence", "end", silence["id"][:20], "--person", "bob")
            assert ended.returncode == 0, ended.stderr
            assert await objects("silence", "list") == []

            (figures,) = await objects("stats")
            assert figures["rulings"] == {"approved": 2, "rejected": 1}
            assert figures["refusals"] == {"already-ruled": 1, "not-opened": 2}
            assert figures["acknowledge"]["n"] == 1
    finally:
        clock.cancel()
        await asyncio.gather(clock, return_exceptions=True)


@pytest.mark.parametrize("arguments", ["config history", "config proposals", "notify list", "signals list", "stats"])
async def test_a_command_before_the_first_start_says_what_is_missing_in_a_line(
    arguments: str, broker: LocalKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVERN_PREFIX", prefix)
    monkeypatch.setenv("GOVERN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GOVERN_BOOTSTRAP_SERVERS", str(broker.bootstrap_servers))
    done = await govern(*arguments.split())
    assert done.returncode == 1
    assert f"there is no topic {prefix}." in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    monkeypatch.setenv("GOVERN_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    away = await govern(*arguments.split())
    assert away.returncode == 1
    assert "GOVERN_BOOTSTRAP_SERVERS" in away.stderr
    assert "Traceback" not in away.stderr
