"""Answers on a real Kafka: what was sent takes effect, is refused with its reason, or waits; changes of two people."""

import asyncio
import base64
import json
import re
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from agents.configuration import Configuration
from agents.dsse import Private
from agents.errors import Misconfigured
from agents.people_events import ReviewData, Ruling, SilenceData
from orchestration import config_topic, keys, reviewing, second_person, signing_keys
from orchestration.cli.main import main
from orchestration.local_kafka import LocalKafka
from orchestration.reviewing import Desk, Effective, Pending, Refused
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import produce
from tests.integration.monitored import deployment, lanes_of, running

HOUR = 3_600_000


def configured(settings_of: dict[str, Private], second: bool = True, note: str = "Ann") -> Configuration:
    keys = {name: [key.public.text] for name, key in settings_of.items()}
    people = {
        "ann": {"name": note, "roles": ["author", "reviewer"], "keys": keys["ann"]},
        "ben": {"name": "Ben", "roles": ["author"], "keys": keys["ben"]},
        "eve": {"name": "Eve", "roles": ["viewer"], "keys": keys["eve"]},
    }
    more = {"second_person": ["configuration"]} if second else {}
    return Configuration.model_validate({"escalation": {"people": people, **more}})


@pytest.fixture
def people() -> dict[str, Private]:
    return {name: Private(bytes([number]) * 32) for number, name in enumerate(("ann", "ben", "eve"), 1)}


def muted(person: str, **changes) -> ReviewData:
    start = int(time.time() * 1000)
    silence = SilenceData(matchers={"model": "credit"}, starts_ms=start, ends_ms=start + HOUR, comment="known")
    return ReviewData(action="silence", person=person, silence=silence, **changes)


async def test_an_answer_waits_takes_effect_or_is_refused_and_the_sender_is_told(
    broker: LocalKafka, prefix: str, tmp_path: Path, people: dict[str, Private]
) -> None:
    configuration = configured(people, second=False)
    settings = await deployment(broker, prefix, tmp_path, configuration)
    source = reviewing.person_source(settings, "ann")
    async with Desk(settings, people["ann"], source) as desk:
        sent = await desk.send(muted("ann"), id="01JQFIRST")
        waits = await desk.outcome(sent, 0.5)
        assert isinstance(waits, Pending)
        assert "no lane has taken it up yet" in waits.text
        async with running(*lanes_of(settings, configuration, ("escalation",))):
            found = await desk.outcome(sent, 30)
            assert isinstance(found, Effective), found
            assert found.text == "your silence took effect"
            again = await desk.outcome(await desk.send(muted("ann"), id="01JQFIRST"), 30)
            assert isinstance(again, Refused)
            assert again.refusal.reason == "repeated"
            still = await desk.outcome(sent, 5)
            assert isinstance(still, Effective)  # what became of the first is as it was
            assert await reviewing.find(settings, "01JQFIRST") == sent
            assert await reviewing.find(settings, "01JQOTHER") is None
            forged = await reviewing.send(settings, muted("ben"), people["eve"], source)
            told = await reviewing.outcome(settings, forged, 30)
            assert isinstance(told, Refused)
            assert told.refusal.reason == "unknown-key"
            assert told.text.startswith("refused (unknown-key): the key that the signature names is eve's")
            eve = await desk.outcome(await reviewing.send(settings, muted("eve"), people["eve"], source), 30)
            assert isinstance(eve, Refused)
            assert eve.refusal.reason == "wrong-role"
            await produce(broker, settings.topic("reviews"), [b"\xff", b"{}", (b"k", None)], partition=0)
            last = await desk.outcome(await desk.send(muted("ann")), 30)
            assert isinstance(last, Effective)  # rubbish holds nothing up


async def test_a_configuration_is_changed_by_two_people_or_not_at_all(
    broker: LocalKafka, prefix: str, tmp_path: Path, people: dict[str, Private]
) -> None:
    first = configured(people)
    second = configured(people, note="Ann B.")
    settings = await deployment(broker, prefix, tmp_path, first)
    with pytest.raises(
        Misconfigured, match=r"needs a second person, and sha256:.* has none; propose it: govern config propose"
    ):
        await config_topic.apply(settings, second)
    async with running(*lanes_of(settings, first, ("escalation",))):
        proposed = await second_person.propose(settings, second, "ann", people["ann"], "a new name", 30)
        assert isinstance(proposed, Effective), proposed
        name = re.search(r"proposed as (\S+);", proposed.text)[1]
        one = await proposal(settings, name)
        assert second_person.told(one)["state"] == "waits"
        with pytest.raises(Misconfigured, match=f"nobody has approved {name} yet"):
            await config_topic.apply(settings, second)
        with pytest.raises(Misconfigured, match=r"refused \(requester\)"):
            await second_person.answer(settings, one, "approve", "ann", people["ann"], "I like it", 30)
        with pytest.raises(Misconfigured, match=r"refused \(wrong-role\)"):
            await second_person.answer(settings, one, "approve", "eve", people["eve"], "why not", 30)
        await forge(broker, settings, name)
        with pytest.raises(Misconfigured, match="not there or not signed as it must be"):
            await config_topic.apply(settings, second)


async def test_what_was_approved_is_applied_once_with_both_names(
    broker: LocalKafka, prefix: str, tmp_path: Path, people: dict[str, Private]
) -> None:
    first = configured(people)
    second, third = configured(people, note="Ann B."), configured(people, note="Ann C.")
    settings = await deployment(broker, prefix, tmp_path, first)
    async with running(*lanes_of(settings, first, ("escalation",))):
        for wanted in (second, third):
            await second_person.propose(settings, wanted, "ann", people["ann"], "a new name", 30)
        names = {one.incident.proposal.digest: one.incident.incident for one in (await proposals(settings))}
        one = await proposal(settings, names[second.digest()])
        found = await second_person.answer(settings, one, "approve", "ben", people["ben"], "checked", 30)
        assert isinstance(found, Effective)
        assert found.ruling is not None
        assert found.ruling.people == ("ben",)
        with pytest.raises(Misconfigured, match="nobody has approved"):
            await config_topic.apply(settings, third)  # an agreement to another one is none to this
        applied = await config_topic.apply(settings, second_person.kept(settings, second.digest()))
        assert applied.changed
        assert (applied.by, applied.note) == ("ann, approved by ben", f"a new name ({one.incident.incident})")
        assert not (await config_topic.apply(settings, second)).changed
        with pytest.raises(Misconfigured, match="needs a second person"):
            await config_topic.rollback(settings)
        with pytest.raises(Misconfigured, match="has none; propose it"):  # proposed against what is no longer in force
            await config_topic.apply(settings, third)
        assert await proposals(settings) == []


async def proposals(settings: Settings) -> list:
    current = await config_topic.current(settings)
    return list((await second_person.since(settings, current.time_ms)).proposed)


async def proposal(settings: Settings, name: str):
    return next(one for one in await proposals(settings) if one.incident.incident == name)


async def forge(broker: LocalKafka, settings: Settings, incident: str) -> None:
    """A ruling that nobody's review stands behind, as somebody with access to the topic could write it."""
    ruling = Ruling.model_validate(
        {
            "id": f"{incident}/0",
            "source": f"/{settings.prefix}/escalation",
            "data": {
                "incident": incident,
                "resolution": "approved",
                "effect": "allow",
                "keys": [],
                "people": ["ben"],
                "reviews": [f"{settings.topic('reviews')}/0/999"],
            },
        }
    )
    value = ruling.model_dump_json(exclude_none=True).encode()
    await produce(broker, settings.topic("rulings"), [(incident.encode(), value)], partition=0)


async def test_two_people_change_a_configuration_from_the_command_line(
    broker: LocalKafka,
    prefix: str,
    tmp_path: Path,
    people: dict[str, Private],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = configured(people), configured(people, note="Ann B.")
    settings = await deployment(broker, prefix, tmp_path, first)
    monkeypatch.chdir(tmp_path)
    for name in ("prefix", "bootstrap_servers", "data_dir", "keys_dir"):
        monkeypatch.setenv(f"GOVERN_{name.upper()}", str(getattr(settings, name)))
    for name in ("ann", "ben"):
        text = signing_keys.PREFIX + base64.b64encode(people[name].seed).decode()
        keys.write_file(signing_keys.person_path(settings, name), text, 0o600)
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(second.document()))
    third = tmp_path / "third.yaml"
    third.write_text(yaml.safe_dump(configured(people, note="Ann C.").document()))

    async def govern(*words: str) -> str:
        with suppress(SystemExit):  # a command that is done ends so too
            await asyncio.to_thread(main, words)
        out, err = capsys.readouterr()
        assert err == ""
        return out

    async with running(*lanes_of(settings, first, ("escalation",))):
        with pytest.raises(SystemExit):
            await asyncio.to_thread(main, ["config", "apply", "new.yaml", "--wait", "0"])
        assert "needs a second person" in capsys.readouterr().err
        told = await govern("config", "propose", "new.yaml", "--reason", "a new name", "--person", "ann")
        assert "~ escalation people: ann.name" in told  # what changes is shown
        name = re.search(r"govern config approve (\S+) --reason", told)[1]
        other = await govern("config", "propose", str(third), "--reason", "another name", "--person", "ann")
        no = re.search(r"govern config approve (\S+) --reason", other)[1]
        assert "rejected" in await govern("config", "reject", no, "--reason", "one is enough", "--person", "ben")
        row, turned_down = json.loads(await govern("config", "proposals", "--json"))
        assert (turned_down["incident"], turned_down["state"]) == (no, "rejected by ben")
        assert (row["incident"], row["author"], row["state"]) == (name, "ann", "waits")
        agree = ("config", "approve", name, "--reason", "checked", "--person", "ben", "--yes", "--wait", "20")
        told = await govern(*agree)
        assert f"by ann, approved by ben: a new name ({name})" in told
        assert (await config_topic.current(settings)).digest == second.digest()
        assert "in force already" in await govern(*agree)  # again, no harm
