"""The outbox on a real Kafka: at least once through kill -9, a dead channel flagged, lines that do not wait for each other."""

from __future__ import annotations

import asyncio
import json
import time

from orchestration import config_topic
from orchestration.notify.delivering import Patience
from tests.integration.kafka_fixtures import flags_of
from tests.integration.monitored import deployment, lanes_of, running, until
from tests.integration.notifying import (
    configured,
    deliveries,
    done,
    hook,
    lane,
    outcomes,
    post,
    retrying,
    run_until_killed,
    told,
)
from tests.receivers import Says, http_receiver
from tests.unit.commands.world import typed


async def test_a_message_is_sent_once_and_recorded_with_its_incident_s_key(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    with http_receiver() as receiver:
        settings = await deployment(broker, prefix, tmp_path, configured(hook=hook(receiver.url)))
        (made,) = lanes_of(settings, configured(), ["notify"])
        async with running(made):
            await post(settings, broker, told("7f29-k1mq", 0, "hook"))
            await until(lambda: done(settings, 1))
        async with running(lane(settings)):  # a second life finds nothing to do
            await asyncio.sleep(1)
    assert [one.document["data"]["dedup"] for one in receiver.got] == ["7f29-k1mq"]
    assert receiver.got[0].document["data"]["url"].startswith("https://console.bank.example/l/"), "an answer link"
    (delivery,) = await deliveries(settings)
    assert (delivery["outcome"], delivery["attempts"], delivery["channel"]) == ("sent", 1, "hook")


async def test_killed_between_sending_and_recording_it_sends_again_under_the_same_id_and_only_that(
    broker, prefix, tmp_path, monkeypatch
):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    with http_receiver() as receiver:
        settings = await deployment(broker, prefix, tmp_path, configured(hook=hook(receiver.url)))
        async with running(lane(settings)):
            await post(settings, broker, told("aaaa-0001", 0, "hook"))
            await until(lambda: done(settings, 1))
        await post(settings, broker, told("bbbb-0002", 0, "hook"))
        # 1: the opening's transaction commits past it; 2: that of its result, which is never begun.
        died = await asyncio.to_thread(run_until_killed, settings, "notify/*@prepared#2")
        assert died == -9
        assert [one.document["data"]["incident"] for one in receiver.got] == ["aaaa-0001", "bbbb-0002"]
        assert [one for one, _outcome in await outcomes(settings)] == ["aaaa-0001/0/hook/0"]
        async with running(lane(settings)):
            await until(lambda: done(settings, 2))
            await asyncio.sleep(0.5)
    assert [one.headers["webhook-id"] for one in receiver.got] == [
        "aaaa-0001/0/hook/0",
        "bbbb-0002/0/hook/0",
        "bbbb-0002/0/hook/0",
    ]
    assert await outcomes(settings) == [("aaaa-0001/0/hook/0", "sent"), ("bbbb-0002/0/hook/0", "sent")]


async def test_after_kill_9_the_end_of_an_incident_is_told_where_its_beginning_may_have_arrived(
    broker, prefix, tmp_path, monkeypatch
):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    with http_receiver() as receiver:
        settings = await deployment(broker, prefix, tmp_path, configured(hook=hook(receiver.url)))
        async with running(lane(settings)):
            await asyncio.sleep(0.3)
        await post(settings, broker, told("aaaa-0001", 0, "hook"))
        assert await asyncio.to_thread(run_until_killed, settings, "notify/*@prepared#2") == -9
        await post(settings, broker, told("aaaa-0001", 1, "hook", "resolve"), told("cccc-0003", 0, "hook"))
        await post(settings, broker, told("cccc-0003", 1, "hook", "resolve"))
        async with running(lane(settings)):
            await until(lambda: done(settings, 4))
    kinds = [(one.document["data"]["incident"], one.document["data"]["kind"]) for one in receiver.got]
    assert kinds == [("aaaa-0001", "trigger"), ("aaaa-0001", "resolve")], "of the other one nobody has heard"
    assert dict(await outcomes(settings)) == {
        "aaaa-0001/0/hook/0": "skipped",
        "aaaa-0001/1/hook/0": "sent",
        "cccc-0003/0/hook/0": "skipped",
        "cccc-0003/1/hook/0": "skipped",
    }


async def test_a_dead_channel_is_flagged_for_the_incident_and_delays_no_other(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    with http_receiver(then=Says(hang_s=30)) as hanging, http_receiver() as well:
        configuration = configured(dead=hook(hanging.url), well=hook(well.url), gone=hook("http://127.0.0.1:9"))
        settings = await deployment(broker, prefix, tmp_path, configuration)
        async with running(lane(settings)):
            await asyncio.sleep(0.5)
            began = time.time()
            await post(
                settings,
                broker,
                *(told(f"aaaa-000{n}", 0, "dead") for n in range(6)),
                told("aaaa-0001", 0, "gone"),
                told("aaaa-0001", 0, "well"),
            )
            (got,) = await asyncio.to_thread(well.wait, 1)
            assert got.at - began < 3, "the hanging channel holds up nobody else"
            await until(lambda: done(settings, 2))
    assert dict(await outcomes(settings)) == {"aaaa-0001/0/gone/0": "failed", "aaaa-0001/0/well/0": "sent"}
    (flag,) = await flags_of(settings)
    assert flag["dedup_key"] == '["channel/gone",null,null,null]'
    assert (flag["severity"], flag["effect"]) == ("error", None)
    assert flag["labels"] == {"incident": "aaaa-0001", "notification": "aaaa-0001/0/gone/0", "channel": "gone"}
    assert "given up after 3 attempts: 127.0.0.1 cannot be reached: connection refused" in flag["reason"]


async def test_somebody_who_cannot_be_reached_is_flagged_and_the_channel_goes_on(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_SECRET_BOT", "xoxb-1")
    gone = Says(body=b'{"ok": false, "error": "user_not_found"}')
    with http_receiver(gone, then=Says(body=b'{"ok": true, "ts": "1.0"}')) as receiver:
        chat = {"kind": "slack", "url": receiver.url, "secret": "bot", "to": "C1", "allow_private": True}
        settings = await deployment(broker, prefix, tmp_path, configured(chat=chat))
        made = lane(settings)
        async with running(made):
            await post(settings, broker, told("aaaa-0001", 0, "chat", to=["ann"]))
            await until(lambda: done(settings, 1))
            await post(settings, broker, told("bbbb-0002", 0, "chat", to=["ann", "nobody"]))
            await until(lambda: done(settings, 2))
            assert made.status.detail == ""
    assert await outcomes(settings) == [("aaaa-0001/0/chat/0", "failed"), ("bbbb-0002/0/chat/0", "sent")]
    first, second = await flags_of(settings, 2)
    assert first["dedup_key"] == second["dedup_key"] == '["contact/chat",null,null,null]'
    assert (first["severity"], first["labels"]["incident"]) == ("error", "aaaa-0001")
    assert (second["severity"], second["labels"].get("incident")) == ("warning", None)
    assert "U0ANN" not in json.dumps([first, second])


async def test_a_mended_channel_is_used_by_what_is_being_tried(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    with http_receiver() as receiver:
        settings = await deployment(broker, prefix, tmp_path, configured(hook=hook("http://127.0.0.1:9")))
        patient = Patience(attempts=100, within_s=60, first_s=0.1, longest_s=0.3)
        async with running(lane(settings, patient)):
            await post(settings, broker, told("aaaa-0001", 0, "hook"))
            await until(lambda: retrying(settings))
            await config_topic.apply(settings, configured(hook=hook(receiver.url)))
            await until(lambda: done(settings, 1))
    assert await outcomes(settings) == [("aaaa-0001/0/hook/0", "sent")]
    assert len(receiver.got) == 1


async def test_what_is_no_notification_is_flagged_and_holds_up_nothing(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    with http_receiver() as receiver:
        settings = await deployment(broker, prefix, tmp_path, configured(hook=hook(receiver.url)))
        async with running(lane(settings)):
            await post(settings, broker, (b"x", b'{"type":"governance.notification.v1"}'), told("aaaa-0001", 0, "hook"))
            await until(lambda: done(settings, 1))
    assert len(receiver.got) == 1
    assert [one["dedup_key"] for one in await flags_of(settings)] == ['["notify/malformed",null,null,null]']


async def test_slack_answers_stay_in_one_thread_over_a_restart(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_SECRET_BOT", "xoxb-1")
    said = Says(body=b'{"ok": true, "ts": "1503435956.000247"}')
    with http_receiver(then=said) as receiver:
        chat = {"kind": "slack", "url": receiver.url, "secret": "bot", "to": "#governance", "allow_private": True}
        settings = await deployment(broker, prefix, tmp_path, configured(chat=chat))
        async with running(lane(settings)):
            await post(settings, broker, told("aaaa-0001", 0, "chat"))
            await until(lambda: done(settings, 1))
        async with running(lane(settings)):
            await post(
                settings, broker, told("aaaa-0001", 1, "chat", "resolve"), told("bbbb-0002", 0, "chat", to=["ann"])
            )
            await until(lambda: done(settings, 3))
    sent = {(one.document["channel"], one.document.get("thread_ts")) for one in receiver.got}
    assert sent == {("#governance", None), ("#governance", "1503435956.000247"), ("U0ANN", None)}


async def test_the_commands_list_what_became_of_messages(broker, prefix, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    for name, value in (
        ("PREFIX", prefix),
        ("BOOTSTRAP_SERVERS", broker.bootstrap_servers),
        ("DATA_DIR", str(tmp_path)),
    ):
        monkeypatch.setenv(f"GOVERN_{name}", value)
    with http_receiver() as receiver:
        configuration = configured(hook=hook(receiver.url), gone=hook("http://127.0.0.1:9"))
        settings = await deployment(broker, prefix, tmp_path, configuration)
        async with running(lane(settings)):
            await post(settings, broker, told("aaaa-0001", 0, "hook"), told("aaaa-0001", 0, "gone"))
            await until(lambda: done(settings, 2))
        await post(settings, broker, told("bbbb-0002", 0, "hook"))
        lines = (await asyncio.to_thread(typed, ["notify", "list", "--json"], capsys)).splitlines()
        found = {one["id"]: one for one in map(json.loads, lines)}
        assert {name: one["state"] for name, one in found.items()} == {
            "aaaa-0001/0/gone/0": "failed",
            "bbbb-0002/0/hook/0": "waiting",
        }
        assert found["aaaa-0001/0/gone/0"]["attempts"] == 3
        table = await asyncio.to_thread(typed, ["notify", "list", "--all"], capsys)
        assert "connection refused" in " ".join(table.split())
        assert "sent" in table
        said = await asyncio.to_thread(typed, ["notify", "test", "--channel", "hook"], capsys)
        assert "sent by webhook" in said
