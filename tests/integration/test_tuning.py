"""`govern tune` and `govern stats` on a real deployment: decisions held by lanes, signed answers, blind judgements, an archive.

What they say is worked out here a second time, from what the test sent and answered, and by judging the archived decisions
again with the proposed configuration.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy.stats import binomtest

from agents.events import Position
from agents.people_events import IncidentData, ReviewData, shown_digest
from agents.records import Plain
from orchestration import config_topic, reviewing, signing_keys
from orchestration.archive import Archive
from orchestration.config_files import load
from orchestration.console.pages.blind import offered
from orchestration.forecasting import forecasts
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.reading.fresh import fresh
from orchestration.replay import Judge
from orchestration.settings import Settings
from tests.integration.monitored import deployment, lanes_of, running, send, tick, until
from tests.integration.test_escalation_lane import newest
from tests.integration.test_reviewing_commands import govern, objects
from tests.unit.escalation.lane import signal

SHARE = 0.03
ROUNDS = 2
PREFIX = "tuned"
"""Not of this run alone: which decisions are drawn for blind review follows from their positions."""


def document(keys: Mapping[str, str], console: str) -> dict[str, Any]:
    """Rules of which people will think differently, and who answers."""
    rules = [
        {"id": "unsure", "when": "output.score < 0.7", "effect": "hold", "reason": "score {output.score}"},
        {"id": "large", "when": "features.amount > 900", "effect": "hold"},
        {"id": "rare", "when": "features.amount = 3", "effect": "hold"},
        {"id": "late", "when": "features.amount = 7", "effect": "hold"},
        {"id": "unfair", "when": "signals.gap.status = 'alarm' AND features.amount = 5", "effect": "hold"},
    ]
    model = {
        "mode": "gate",
        "versions": ["1", "2"],
        "features": {"amount": "numeric"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "groups": {"sex": ["female", "male"]},
    }
    people = {one: {"name": one, "roles": ["reviewer"], "keys": [key]} for one, key in keys.items()}
    chains = {
        "default": {"deadline": "1d", "at_deadline": "withhold"},
        "short": {"deadline": "1s", "at_deadline": "release"},
    }
    return {
        "models": {"credit": model},
        "monitors": {"gap": {"kind": "disparate_impact", "attributes": ["sex"]}},
        "policies": [{"policy": "doubts", "rules": rules}],
        "escalation": {
            "people": people,
            "teams": {"credit": {"members": list(people)}},
            "routes": [{"cause": "doubts/late", "to": "credit", "chain": "short"}],
            "chains": chains,
            "console_keys": {"console": console},
            "blind_sample": SHARE,
            "bulk": {"items": 500, "sample": 5},
        },
    }


class World:
    """What the model decided: by offset its score, amount and version; partition 0 holds all of it."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, int, str]] = []
        self.groups: dict[str, list[int]] = {}
        self.chance = random.Random(7)

    def add(self, group: str, count: int, low: float, high: float, amount: int, version: str = "1") -> None:
        for _ in range(count):
            self.groups.setdefault(group, []).append(len(self.rows))
            self.rows.append((round(self.chance.uniform(low, high), 4), amount, version))

    def records(self) -> list[tuple[bytes, bytes]]:
        found = []
        for number, (score, amount, version) in enumerate(self.rows):
            data = {
                "model": {"name": "credit", "version": version},
                "features": {"amount": amount},
                "output": {"label": "decline", "score": score},
            }
            event = {"specversion": "1.0", "type": "governance.decision.v1", "id": f"d{number}", "source": "/t"}
            found.append((b"k%d" % number, json.dumps(event | {"data": data}).encode()))
        return found


def world() -> World:
    """Two rounds of what people will think warranted below a score of 0.4, and what surrounds it."""
    found = World()
    for turn in range(ROUNDS):
        found.add(f"bad {turn}", 45, 0.0, 0.39, 10)
        found.add(f"good {turn}", 30, 0.41, 0.69, 10)
        found.add(f"both {turn}", 6, 0.41, 0.69, 950)
    found.add("large", 40, 0.71, 1.0, 950)
    found.add("large 2", 20, 0.71, 1.0, 950, "2")
    found.add("rare", 8, 0.71, 1.0, 3)
    found.add("late", 6, 0.71, 1.0, 7)
    found.add("unfair", 5, 0.71, 1.0, 5)
    found.add("bulk", 12, 0.0, 0.69, 10, "2")
    for version in "12":
        found.add("out", 800, 0.71, 1.0, 10, version)
    return found


class Reviewer:
    """Somebody who answers as the command line does: signed with a key of their own."""

    def __init__(self, settings: Settings, person: str) -> None:
        self.settings, self.person = settings, person
        self.topic = settings.topic("decisions")
        self.key = signing_keys.person_key(settings, person)

    def places(self, offsets: Sequence[int]) -> tuple[Position, ...]:
        return tuple(Position(topic=self.topic, partition=0, offset=one) for one in offsets)

    async def answer(
        self,
        action: str,
        found: IncidentData,
        items: Sequence[int] | None = None,
        opened: Sequence[Position] | None = None,
    ) -> None:
        """Answer single decisions, each opened, or (no items) all of the incident with what was `opened`."""
        looked = self.places(items or ()) if opened is None else tuple(opened)
        count = found.held if items is None else len(items)
        review = ReviewData(
            action=action,  # type: ignore[arg-type]
            person=self.person,
            incident=found.incident,
            shown=shown_digest(found),
            through=dict(found.through) if items is None else {},
            items=None if items is None else self.places(items),
            reason="as I see it",
            opened=looked,
            kind="bulk" if not looked else "individual" if len(looked) >= count else "sample",
        )
        source = reviewing.person_source(self.settings, self.person)
        sent = await reviewing.send(self.settings, review, self.key, source)
        outcome = await reviewing.outcome(self.settings, sent, 60)
        assert isinstance(outcome, reviewing.Effective), outcome.text


@pytest.mark.long
async def test_tuning_says_what_people_of_a_deployment_ruled(
    broker: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, folder = world(), tmp_path / "data"
    settings = await _deployed(broker, folder, tmp_path / "governance.yaml")
    monkeypatch.chdir(tmp_path)
    for name in ("PREFIX", "BOOTSTRAP_SERVERS", "DATA_DIR", "KEYS_DIR", "PARTITIONS"):
        monkeypatch.setenv(f"GOVERN_{name}", str(getattr(settings, name.lower())))
    declared = load(tmp_path / "governance.yaml")
    await send(settings, broker, "signals", [signal("alarm")])
    async with running(*lanes_of(settings, declared, ("policy", "archive", "escalation", "release"))):
        await send(settings, broker, "decisions", made.records(), partition=0)
        opened = await _answered(settings, broker, made)
        labels = await _labelled(settings, made)
    await _asks(settings)
    await _agree(settings, made, opened, labels)


async def _asks(settings: Settings) -> None:
    """The archive that the lane made, as a history: those that two rules held are asked once of the team that both go to.

    Those that an alarm held are not among them: the history's monitors know nobody's group.
    """
    archive = Path(settings.archive_url)
    assert len(list(archive.rglob("*.parquet"))) >= 1
    found = forecasts(load(Path("governance.yaml")), archive)
    assert [(one.team, one.held, one.people) for one in found] == [("credit", 242, 2), ("credit", 6, 2)]
    checked = await govern("config", "check", "governance.yaml", "--history", str(archive))
    assert checked.returncode == 1
    told = (
        f"credit: would hold {242 * 24:,} a day; your 2 reviewers rule about 40; "
        "at that rate the backlog passes the deadline on day 2"
    )
    assert told in checked.stdout.splitlines()


async def _deployed(broker: LocalKafka, folder: Path, path: Path) -> Settings:
    from agents.configuration import Configuration

    settings = await deployment(broker, PREFIX, folder, Configuration(), partitions=1, audit_interval_ms=1_000)
    keys = {
        one: signing_keys.make(signing_keys.person_path(settings, one), settings).public.text for one in ("ann", "bob")
    }
    path.write_text(yaml.safe_dump(document(keys, signing_keys.console_key(settings).public.text), sort_keys=False))
    await config_topic.apply(settings, load(path))
    return settings


async def _answered(settings: Settings, broker: LocalKafka, made: World) -> dict[str, list[int]]:
    """Every answer of the story; returns which decisions of a sample were opened, by the group that was answered."""
    expected = {"unsure 1": 162, "large 1": 52, "large 2": 20, "rare 1": 8, "unfair 1": 5, "unsure 2": 12}

    async def incidents() -> dict[str, IncidentData]:
        found = (await newest(settings)).values()
        return {f"{one.cause.removeprefix('doubts/')} {one.version}": one for one in found}

    async def held() -> bool:
        await tick(settings, broker)
        found = await incidents()
        ended = found.get("late 1")
        counted = {name: found[name].held for name in expected if name in found}
        return counted == expected and ended is not None and ended.status == "resolved"

    await until(held, 90)
    there, ann, bob = await incidents(), Reviewer(settings, "ann"), Reviewer(settings, "bob")
    opened = {"large": made.groups["large"][:4] + made.groups["both 0"][:1], "large 2": made.groups["large 2"][:4]}
    await ann.answer("approve", there["large 1"], opened=ann.places(opened["large"]))
    await bob.answer("reject", there["large 2"], opened=bob.places(opened["large 2"]))
    for turn in range(ROUNDS):
        await ann.answer("reject", there["unsure 1"], made.groups[f"bad {turn}"])
        await bob.answer("approve", there["unsure 1"], made.groups[f"good {turn}"] + made.groups[f"both {turn}"])
    await bob.answer("reject", there["rare 1"], made.groups["rare"])
    await ann.answer("reject", there["unfair 1"], made.groups["unfair"])
    await ann.answer("approve", there["unsure 2"], opened=())

    async def done() -> bool:
        archive = Archive(settings.archive_url)
        kept = [one.offset for one in archive.scan(settings.topic("decisions"), 0, 0, 10**9)]
        out = [len(await Broker(settings).read_all(settings.topic(one))) for one in ("released", "withheld")]
        return len(kept) == sum(out) == len(made.rows)

    await until(done, 60)
    return opened


async def _labelled(settings: Settings, made: World) -> dict[int, bool]:
    """Bob judges all that is offered to him, on the console; ann judges one of them too, and one that was not drawn."""
    key, topic, said = signing_keys.console_key(settings), settings.topic("decisions"), dict[int, bool]()
    async with reviewing.Desk(settings, key, reviewing.console_source(settings)) as desk:

        async def judge(person: str, offset: int) -> reviewing.Sent:
            agrees = made.rows[offset][0] >= 0.8
            at = Position(topic=topic, partition=0, offset=offset)
            data = ReviewData(action="label", person=person, login="a-session", decision=at, agrees=agrees, reason="so")
            said.setdefault(offset, agrees)
            return await desk.send(data)

        while True:
            database = await fresh(settings)
            left = offered(database, "bob", SHARE)
            database.close()
            if not left:
                break
            for one in left:
                sent = await judge("bob", one.offset)
            assert isinstance(await desk.outcome(sent, 60), reviewing.Effective)
        drawn = dict(said)
        await judge("ann", next(iter(drawn)))
        near = (one for one in made.groups["out"] if SHARE <= _draw(topic, one) < 0.05)
        sent = await judge("ann", next(near))
        assert isinstance(await desk.outcome(sent, 60), reviewing.Effective)
    assert set(drawn) == {one for one in made.groups["out"] if _draw(topic, one) < SHARE}
    return drawn


def _draw(topic: str, offset: int) -> float:
    """An auditor's own draw (docs/tuning.md): the first eight bytes of a digest of the position, as a number below 1."""
    digest = hashlib.sha256(b"governance-in-motion/blind-sample/1\n" + f"{topic}/0/{offset}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


async def _agree(settings: Settings, made: World, opened: Mapping[str, list[int]], labels: Mapping[int, bool]) -> None:
    """The commands' figures against those of the test's own arithmetic."""
    (tuned,) = await objects("tune", "governance.yaml", "--least", "40", "--out", "tune.diff")
    (figures,) = await objects("stats")
    bad = sum(len(made.groups[f"bad {turn}"]) for turn in range(ROUNDS))
    needless = sum(len(made.groups[f"{one} {turn}"]) for turn in range(ROUNDS) for one in ("good", "both"))
    both = sum(len(made.groups[f"both {turn}"]) for turn in range(ROUNDS))

    rules = {one["name"]: one for one in figures["rules"]}
    assert set(rules) == {"doubts/unsure", "doubts/large", "doubts/rare"}, "fairness, bulk and deadlines say nothing"
    exact = binomtest(bad, bad + needless).proportion_ci(0.95, "exact")
    unsure = rules["doubts/unsure"]
    assert unsure["n"] == bad + needless
    assert [unsure[one] for one in ("share", "lower", "upper")] == pytest.approx(
        [bad / (bad + needless), exact.low, exact.high]
    )
    # Four of the 40 that the answer ended were opened, each standing for ten; the fifth was ended by another answer.
    assert rules["doubts/large"]["n"] == 4 + 4 + both
    assert rules["doubts/large"]["share"] == pytest.approx(4 * (20 / 4) / (4 * (20 / 4) + 4 * (40 / 4) + both))
    left_out = {"bulk": 12, "expired": 6, "fairness": 5}
    assert figures["left_out"] == left_out
    assert tuned["left_out"] == {**left_out, "second opinion": 1, "not in the blind sample": 1}
    assert tuned["judgements"] == bad + needless + len(opened["large"]) - 1 + len(opened["large 2"]) + 8 + len(labels)
    assert (figures["blind"]["n"], figures["expired"]) == (len(labels) + 2, 1)
    assert figures["bulk_rulings"] == pytest.approx(1 / 9)

    refused = {one["rule"]: one["why"] for one in tuned["refused"]}
    assert refused["doubts/rare"] == "8 usable judgements (0 earlier, 8 later); 40 are needed, 20 in each period"
    assert refused["doubts/large"].startswith(f"{4 + 4 + both} usable judgements")
    assert refused["doubts/unfair"].startswith("0 usable judgements")
    assert refused["doubts/late"].startswith("0 usable judgements")
    assert "doubts/unsure" not in refused

    proposals = {one["kind"]: one for one in tuned["proposals"]}
    assert {one["rule"] for one in tuned["proposals"]} == {"doubts/unsure"}
    _saves(settings, made, proposals["stricter"])
    _catches(settings, made, proposals["wider"], labels)


def _saves(settings: Settings, made: World, proposal: dict[str, Any]) -> None:
    """Judged again by the changed file, exactly what is said to be saved goes out, of the later of two rounds."""
    subprocess.run(["git", "apply", "tune.diff"], check=True, timeout=60)
    changed = load(Path("governance.yaml"))
    assert changed.policies[0].rules[0].when == proposal["after"] != proposal["before"] == "output.score < 0.7"
    held = _held(settings, changed)
    good, both, bad = (set(made.groups[f"{one} 1"]) for one in ("good", "both", "bad"))
    assert (proposal["fitted_on"], proposal["judged_on"]) == (81, 81)
    saved, lost = proposal["saved"], proposal["lost"]
    assert saved["n"] == saved["total"] == len(good | both)
    assert saved["value"] == pytest.approx(len((good | both) - held) / len(good | both))
    assert len(good - held) > 25, "nearly all of what people let go out"
    assert both <= held, "what another rule holds as well stays held, and is not called saved"
    assert lost["n"] == len(bad)
    assert lost["value"] == len(bad - held) / len(bad) == 0
    exact = binomtest(len((good | both) - held), len(good | both)).proportion_ci(0.95, "exact")
    assert (saved["lower"], saved["upper"]) == pytest.approx((exact.low, exact.high))


def _catches(settings: Settings, made: World, proposal: dict[str, Any], labels: Mapping[int, bool]) -> None:
    """The same for a wider number, of the later half of what was judged blind, each standing for 1 ÷ the share."""
    text = Path("governance.yaml").read_text()
    before = load(Path("governance.yaml")).policies[0].rules[0].when
    wider = Path("wider.yaml")
    wider.write_text(text.replace(before, proposal["after"]))
    held = _held(settings, load(wider))
    order = list(labels)
    later = set(order[len(order) - proposal["judged_on"] :])
    assert abs(proposal["judged_on"] - len(order) / 2) <= 3
    caught = {one for one in later if one in held}
    misses = {one for one in later if not labels[one]}
    assert proposal["further"]["n"] == len(caught)
    assert proposal["further"]["total"] == pytest.approx(len(caught) / SHARE)
    assert proposal["further"]["value"] == pytest.approx(len(caught & misses) / len(caught))
    assert proposal["caught"]["value"] == pytest.approx(len(caught & misses) / len(misses))
    assert proposal["caught"]["total"] == pytest.approx(len(misses) / SHARE)
    assert proposal["caught"]["value"] > 0.7


def _held(settings: Settings, configuration: Any) -> set[int]:
    """Which archived decisions a configuration holds."""
    topic = settings.topic("decisions")
    records: list[Plain] = list(Archive(settings.archive_url).scan(topic, 0, 0, 10**9))
    _, told = Judge(configuration).judged(records)
    return {one.decision.offset for one in told if one.effect == "hold"}
