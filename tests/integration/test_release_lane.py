"""Held decisions on a real Kafka: what a ruling lets out is byte for byte what the producer sent, and goes out once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agents.audit.commitment import check
from agents.errors import OffsetsLost
from agents.events import Verdict
from orchestration import config_topic, keys
from orchestration.bootstrap import lane_names
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import create_topics, flags_of, produce
from tests.integration.monitored import deployment, lanes_of, running, until
from tests.integration.releasing import CONFIGURATION, Sent, decision, exact, own, pending, rule, ruling, said, topic

LANES = ("policy", "release")
EVERY: list[Sent] = [
    decision(0),
    decision(1),
    decision(2, key=None),
    decision(3, binary=True),
    decision(4, binary=True, key=None),
    decision(5, key=b""),
    decision(6, large=True),
    decision(7, unsure=False),
]
"""Held by `unsure`, but for 6 (held by two rules) and 7 (released at once)."""


async def started(broker: LocalKafka, prefix: str, folder: Path) -> Settings:
    settings = await deployment(broker, prefix, folder, CONFIGURATION, partitions=1)
    await produce(broker, settings.topic("decisions"), EVERY, partition=0)
    return settings


def through(settings: Settings, end: int = 1_000) -> dict[str, int]:
    return {f"{settings.topic('decisions')}/0": end}


async def ended(settings: Settings, count: int) -> bool:
    """So many decisions have a final verdict, and the lane's tombstones are there."""
    finals = [one for one in await topic(settings, "verdicts") if said(one)["stage"] == "final"]
    return len(finals) >= count


async def test_a_ruling_lets_out_what_was_held_byte_for_byte_and_a_rejection_withholds_it_with_the_reason(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await started(broker, prefix, tmp_path)
    here = settings.topic("decisions")
    async with running(*lanes_of(settings, CONFIGURATION, LANES)):

        async def held() -> bool:
            return len(await pending(settings)) == 7

        await until(held)
        items = [{"topic": here, "partition": 0, "offset": 1}, {"topic": here, "partition": 0, "offset": 3}]
        await rule(
            settings,
            broker,
            ruling(0, ["unsure"], "block", items=items),
            ruling(1, ["unsure"], through=through(settings)),
        )
        await until(lambda: ended(settings, 6))
        released = {own(one)["govern-verdict"].decode(): one for one in await topic(settings, "released")}
        withheld = {own(one)["govern-verdict"].decode(): one for one in await topic(settings, "withheld")}
        assert {name: exact(one) for name, one in released.items()} == {
            f"{here}/0/7/gate": EVERY[7],
            **{f"{here}/0/{n}/final": EVERY[n] for n in (0, 2, 4, 5)},
        }
        assert {name: exact(one) for name, one in withheld.items()} == {f"{here}/0/{n}/final": EVERY[n] for n in (1, 3)}
        assert all(set(own(one)) == {"govern-verdict"} for one in released.values())
        assert json.loads(own(withheld[f"{here}/0/1/final"])["govern-reasons"]) == [
            {"rule": "p/unsure", "effect": "hold", "text": "not sure"},
            {"rule": "ruling/7f29-k1mq/0", "effect": "block", "text": "rejected: seen"},
        ]
        assert await pending(settings) == [f"{here}/0/6"], "one waits for the answer about its other cause"
        await rule(settings, broker, ruling(2, ["large"], through=through(settings)))
        await until(lambda: ended(settings, 7))
        assert await pending(settings) == []

    committer = keys.load_salt(keys.paths(prefix, settings.keys_dir).salt)
    gates, finals = {}, {}
    for record in await topic(settings, "verdicts"):
        verdict = Verdict.model_validate_json(record.value)
        (gates if verdict.data.stage == "gate" else finals)[verdict.data.decision.offset] = verdict, record
    assert sorted(finals) == [0, 1, 2, 3, 4, 5, 6]
    rulings = {json.loads(one.value)["id"]: one.timestamp for one in await topic(settings, "rulings")}
    for offset, (verdict, record) in finals.items():
        data, gate = verdict.data, gates[offset][0].data
        rejected = offset in (1, 3)
        assert (data.effect, data.resolution) == (("block", "rejected") if rejected else ("allow", "approved"))
        assert verdict.causationid == f"7f29-k1mq/{0 if rejected else 2 if offset == 6 else 1}"
        assert (data.model, data.version, data.as_of, data.config) == (
            gate.model,
            gate.version,
            gate.as_of,
            gate.config,
        )
        assert data.commitment == gate.commitment
        assert check(committer.salt(f"{here}/0/{offset}"), data.commitment.value, *_given(EVERY[offset]))
        assert verdict.time is not None
        assert round(verdict.time.timestamp() * 1000) == rulings[verdict.causationid or ""]
        assert own(record)["govern-writer"].decode() == f"{prefix}.release.{prefix}.held.0"
    numbers = [int(own(record)["govern-seq"]) for _, record in finals.values()]
    assert sorted(numbers) == list(range(7))


def _given(sent: Sent) -> tuple[bytes | None, list[tuple[str, bytes]], bytes]:
    key, value, headers = sent
    return key, headers, value


async def test_a_lane_that_comes_back_goes_on_with_answers_that_were_waiting_for_others(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await started(broker, prefix, tmp_path)
    async with running(*lanes_of(settings, CONFIGURATION, LANES)):
        await until(lambda: _held(settings, 7))
        await rule(settings, broker, ruling(0, ["unsure"], through=through(settings)))
        await until(lambda: ended(settings, 6))
        await _committed(settings, 1)
    async with running(*lanes_of(settings, CONFIGURATION, LANES)):
        await rule(settings, broker, b"nonsense", ruling(1, ["large"], through=through(settings)))
        await until(lambda: ended(settings, 7))
        await _committed(settings, 3)
    released = await topic(settings, "released")
    assert len(released) == len({own(one)["govern-verdict"] for one in released}) == 8
    assert [
        one["reason"].split(" has ")[1] for one in await flags_of(settings, 2) if "bad-ruling" in one["dedup_key"]
    ] == ["no effect: it is no CloudEvent"]


async def _held(settings: Settings, count: int) -> bool:
    return len(await pending(settings)) == count


async def _committed(settings: Settings, offset: int) -> None:
    """Wait until the lane's progress stands there."""
    group, place = f"{settings.prefix}.release.{settings.topic('held')}.0", (settings.topic("rulings"), 0)

    async def there() -> bool:
        return (await Broker(settings).committed(group, [place])).get(place) == offset

    await until(there)


async def test_an_edited_decision_is_withheld_and_what_the_person_put_in_its_place_goes_out_once(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await started(broker, prefix, tmp_path)
    here = settings.topic("decisions")
    change = {"resolution": "edited", "edit": {"label": "approve", "score": 0.5}, "through": through(settings)}
    async with running(*lanes_of(settings, CONFIGURATION, LANES)):
        await until(lambda: _held(settings, 7))
        await rule(settings, broker, ruling(0, ["unsure"], "block", **change))

        async def amended() -> bool:
            return len(await topic(settings, "released")) >= 7 and len(await pending(settings)) == 1

        await until(amended)
        withheld, decisions = await topic(settings, "withheld"), await topic(settings, "decisions")
        assert [exact(one) for one in withheld] == EVERY[:7]
        assert {
            said(one)["resolution"] for one in await topic(settings, "verdicts") if said(one)["stage"] == "final"
        } == {"edited"}
        made = decisions[8:]
        assert [one.key for one in made] == [one[0] for one in EVERY[:7]]
        first = json.loads(made[0].value)
        assert first == json.loads(EVERY[0][1]) | {
            "id": f"7f29-k1mq/0/{here}/0/0",
            "source": f"govern/{prefix}/edits",
            "causationid": "d0",
            "data": json.loads(EVERY[0][1])["data"] | {"output": {"label": "approve", "score": 0.5, "confidence": 0.1}},
        }
        assert b"[1, 2.5]" in made[0].value, "what nobody touched keeps its bytes"
        binary = dict(made[3].headers)
        assert (binary["ce_id"], binary["ce_causationid"], binary["trace"]) == (
            f"7f29-k1mq/0/{here}/0/3".encode(),
            b"d3",
            b"\x00\xff",
        )
        waiting = await pending(settings)
        assert waiting == [f"{here}/0/{made[6].offset}"], "a cause that nobody answered holds it again"
        held = next(one for one in await topic(settings, "held") if one.key.decode() == waiting[0] and one.value)
        assert json.loads(own(held)["govern-causes"])["rules"] == ["p/large"]
        verdict = next(
            one for one in await topic(settings, "verdicts") if one.key.decode() == f"{here}/0/{made[0].offset}"
        )
        assert (said(verdict)["effect"], said(verdict)["reasons"]) == (
            "allow",
            [{"rule": "p/unsure", "effect": "hold", "outcome": "matched", "applied": False}],
        )
        await rule(settings, broker, ruling(1, ["large"], through=through(settings)))
        await until(lambda: _held(settings, 0))
        # forged, altered or moved: none passes
        edited = dict(made[0].headers)["govern-edit"]
        forged = [
            (made[0].key, made[0].value.replace(b"approve", b"decline"), made[0].headers),
            (b"another", made[0].value, made[0].headers),
            (made[0].key, made[0].value, [*made[0].headers, ("trace", b"c")]),
            (made[3].key, made[3].value, [*made[3].headers[:-1], ("ce_subject", b"x"), made[3].headers[-1]]),
            (made[0].key, made[0].value, [*made[0].headers, ("govern-edit", edited)]),
            (made[0].key, made[0].value, [("govern-edit", edited.replace(b"p/unsure", b"p/large"))]),
        ]
        await produce(broker, here, forged, partition=0)

        async def buried() -> bool:
            return len(await topic(settings, "dead-letters")) == len(forged)

        await until(buried)
        assert len(await topic(settings, "released")) == 8


async def test_a_ruling_that_edits_megabytes_of_decisions_fits_their_topic(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION, partitions=1)
    await produce(broker, settings.topic("decisions"), [decision(n, text="x" * 5_000) for n in range(600)], partition=0)
    change = {"resolution": "edited", "edit": {"label": "approve"}, "through": through(settings, 600)}
    async with running(*lanes_of(settings, CONFIGURATION, LANES)):
        await until(lambda: _held(settings, 600))
        await rule(settings, broker, ruling(0, ["unsure"], "block", **change))

        async def out() -> bool:
            return len(await topic(settings, "released")) == 600

        await until(out)
    assert {json.loads(one.value)["causationid"] for one in await topic(settings, "released")} == {
        f"d{n}" for n in range(600)
    }


async def test_a_mapped_decision_is_amended_as_a_cloud_event_of_our_own(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    foreign = f"{prefix}-scores"
    mapping = {
        "topic": foreign,
        "model": "loan",
        "version": "1",
        "source": "/bank",
        "fields": {
            "id": "$.nr",
            "features.amount": "$.amount",
            "output.label": "$.said",
            "output.confidence": "$.sure",
            "output.score": "$.score",
        },
    }
    document = CONFIGURATION.document() | {"sources": [mapping]}
    configuration = type(CONFIGURATION).model_validate(document)
    await create_topics(broker, [foreign], settings={"message.timestamp.type": "LogAppendTime"})
    settings = await deployment(broker, prefix, tmp_path, configuration, partitions=1)
    sent = json.dumps({"nr": 17, "amount": 5, "said": "decline", "sure": 0.1, "score": 0.2}).encode()
    async with running(*lanes_of(settings, configuration, LANES)):
        await produce(broker, foreign, [(b"k", sent)], partition=0)
        await until(lambda: _held(settings, 1))
        change = {"resolution": "edited", "edit": {"label": "approve"}, "through": {f"{foreign}/0": 1}}
        await rule(settings, broker, ruling(0, ["unsure"], "block", **change))

        async def out() -> bool:
            return len(await topic(settings, "released")) == 1

        await until(out)
    [one], [withheld] = await topic(settings, "released"), await topic(settings, "withheld")
    assert (withheld.key, withheld.value) == (b"k", sent)
    event = json.loads(one.value)
    assert (one.key, event["causationid"], event["data"]["output"]["label"]) == (b"k", "17", "approve")
    assert event["data"]["features"] == {"amount": 5}


async def test_what_is_held_while_the_lane_is_away_is_let_out_by_the_ruling_that_was_there_before(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await started(broker, prefix, tmp_path)
    await rule(settings, broker, ruling(0, ["unsure", "large"], through=through(settings)))
    async with running(*lanes_of(settings, CONFIGURATION, ("policy",))):
        await until(lambda: _held(settings, 7))
    async with running(*lanes_of(settings, CONFIGURATION, ("release",))):
        await until(lambda: ended(settings, 7))
        await asyncio.sleep(0.2)
    assert len(await topic(settings, "released")) == 8


async def test_a_configuration_taken_away_holds_up_no_release(broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    settings = await started(broker, prefix, tmp_path)
    async with running(*lanes_of(settings, CONFIGURATION, ("policy",))):
        await until(lambda: _held(settings, 7))
    await config_topic.apply(settings, CONFIGURATION.model_copy(update={"policies": ()}))
    async with running(*lanes_of(settings, CONFIGURATION, ("release",))):
        await rule(settings, broker, ruling(0, ["unsure", "large"], through=through(settings)))
        await until(lambda: ended(settings, 7))


@pytest.mark.parametrize("partitions", [1, 3])
def test_there_is_one_release_lane_for_each_partition_of_held(partitions: int, tmp_path: Path) -> None:
    settings = Settings(prefix="t", data_dir=tmp_path, partitions=partitions)
    found = [one for one in lane_names(settings, None) if one.agent == "release"]
    assert [one.transactional_id for one in found] == [f"t.release.t.held.{n}" for n in range(partitions)]


async def test_a_lane_that_cannot_see_its_last_snapshot_or_tombstones_ends_loudly_and_lets_nothing_out_twice(
    broker: LocalKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.release_lane.RECOVERY_S", 0.5)
    settings = await started(broker, prefix, tmp_path)
    lane = f"{prefix}.release.{settings.topic('held')}.0".encode()
    async with running(*lanes_of(settings, CONFIGURATION, LANES)):
        await until(lambda: _held(settings, 7))
        await rule(settings, broker, ruling(0, ["unsure"], through=through(settings, 2)))
        await until(lambda: ended(settings, 2))
        await _committed(settings, 1)
    heads = [one for one in await topic(settings, "snapshots") if one.key == lane]
    newest = json.loads(heads[-1].value)
    place = (settings.topic("rulings"), 0)
    assert (await Broker(settings).noted(lane.decode(), [place]))[place] == (
        1,
        str(newest["data"]["state"]["snapshots"]),
    )
    older = newest | {"data": newest["data"] | {"state": {"snapshots": 0, "held": 0}}}
    await produce(broker, settings.topic("snapshots"), [(lane, json.dumps(older).encode())])
    with pytest.raises(OffsetsLost, match="lacks the snapshot"):
        await lanes_of(settings, CONFIGURATION, ("release",))[0].run()
    newest["data"]["state"]["held"] += 100
    await produce(broker, settings.topic("snapshots"), [(lane, json.dumps(newest).encode())])
    with pytest.raises(OffsetsLost, match="tombstones are lost"):
        await lanes_of(settings, CONFIGURATION, ("release",))[0].run()
    assert len(await topic(settings, "released")) == 3
