"""The rows that records become: the same however batches are cut, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from agents.errors import Retryable
from orchestration.reading import tables
from orchestration.reading.database import Database, open_database
from orchestration.reading.folding import Batch, fold
from orchestration.reading.following import seen
from orchestration.settings import Settings
from tests.unit.reading.world import T0, World, everything, folded, rows_of


def test_every_kind_of_record_becomes_rows(database: Database, settings: Settings) -> None:
    folded(database, everything(World(settings.prefix)))
    counted = {name: len(rows) for name, rows in rows_of(database).items()}
    assert {name for name, count in counted.items() if count == 0} == set()
    assert counted["incidents"] == 2
    assert counted["incident_changes"] == 3
    assert counted["held"] == 5
    assert counted["waiting"] == 3
    assert counted["signals"] == 1
    assert counted["safeguards"] == 1
    assert counted["checkpoints"] == 1
    with database.reading() as connection:
        total = select(func.sum(tables.flow.c.count)).where(tables.flow.c.width_ms == 3_600_000)
        assert connection.scalar(total) == 343  # 341 at the gate, 2 final


@pytest.mark.parametrize(("size", "order"), [(13, ()), (29, ("verdicts", "signals")), (70, ("rulings", "held"))])
def test_rows_do_not_depend_on_how_batches_are_cut(
    database: Database, settings: Settings, size: int, order: tuple[str, ...]
) -> None:
    world = everything(World(settings.prefix))
    folded(database, world)
    whole = rows_of(database)
    database.clear()
    database.prepare({})
    folded(database, world, size, order)
    again = rows_of(database)
    for name, rows in whole.items():
        assert again[name] == rows, name


def test_records_that_break_the_contract_are_kept_out_and_counted(database: Database, settings: Settings) -> None:
    world = everything(World(settings.prefix))
    folded(database, world)
    kept_out = {row[0].rpartition(".")[2]: row[2] for row in rows_of(database)["unreadable"]}
    assert kept_out == {"incidents": 1, "reviews": 1, "signals": 1, "verdicts": 1}


def test_what_a_database_cannot_hold_stops_nothing(database: Database, settings: Settings) -> None:
    world = World(settings.prefix)
    world.incident("aaaa-0001", title="a\x00b")
    world.incident("aaaa-0002", count=2**70)
    world.incident("aaaa-0003")
    world.gate(0, rules=["a\x00b"])
    world.gate(1)
    folded(database, world)
    rows = rows_of(database)
    assert [row[0] for row in rows["incidents"]] == ["aaaa-0001", "aaaa-0003"]
    assert sum(row[2] for row in rows["unreadable"] if row[0].endswith("incidents")) == 1
    assert rows["versions"][0][-1] >= 1


def test_values_of_decisions_never_enter_the_read_model(database: Database, settings: Settings) -> None:
    world = everything(World(settings.prefix))
    folded(database, world)
    assert "secret" not in repr(rows_of(database))


def test_reasons_in_words_go_when_the_wait_ends(database: Database, settings: Settings) -> None:
    world = World(settings.prefix)
    world.holds(3, text="client 8231 was declined")
    folded(database, world)
    assert "client 8231" in repr(rows_of(database))
    world.final(3, "rejected", "i/0", T0 + 1)
    folded(database, world)
    assert "client 8231" not in repr(rows_of(database))


def test_another_projection_s_rows_are_not_written_twice(database: Database, settings: Settings) -> None:
    world = World(settings.prefix)
    world.gate(0)
    folded(database, world)
    place = (world.name("verdicts"), 0)
    with pytest.raises(Retryable, match="another projection"):
        fold(database, world.prefix, Batch({place: world.topics[place]}, {place: 1}, {place: 0}))
    assert rows_of(database)["versions"][0][-1] == 1


def test_a_read_model_of_another_kafka_is_made_anew(settings: Settings) -> None:
    world, database = World(settings.prefix), open_database(settings)
    assert database.prepare({"cluster": "a"})
    world.gate(0)
    folded(database, world)
    assert database.prepare({"cluster": "a"})
    assert len(rows_of(database)["versions"]) == 1
    assert not database.prepare({"cluster": "b"})
    assert rows_of(database)["versions"] == []
    database.close()


def test_one_process_at_a_time_may_write(settings: Settings) -> None:
    first, second = open_database(settings), open_database(settings)
    first.prepare({})
    with first.lock() as mine, second.lock() as theirs:
        assert (mine, theirs) == (True, False)
    with second.lock() as mine:
        assert mine
    first.close()
    second.close()


def test_a_newer_version_drops_the_older_one_once_nobody_writes_to_it(settings: Settings) -> None:
    old, new = open_database(settings, schema=1), open_database(settings, schema=2)
    old.prepare({})
    new.prepare({})
    with old.lock() as mine:
        assert mine
        assert new.drop_others() == []
    assert new.drop_others() == [old.name]
    assert old.facts() == {}
    old.close()
    new.close()


def test_who_does_not_project_hears_which_incidents_were_spoken_of(database: Database, settings: Settings) -> None:
    world = World(settings.prefix)
    first, second = world.incident("aaaa-0001"), world.incident("aaaa-0002")
    world.incident("aaaa-0003")
    folded(database, world)
    before = seen(database)
    assert before.moved(before) == frozenset()
    world.summary(first, at=T0 + 5)
    world.delivery(f"{second.incident}/0/mail/0", "sent", T0 + 6)
    folded(database, world)
    after = seen(database)
    assert after.moved(before) == {world.name("triage"), world.name("notifications")}
    assert after.incidents_since(before, database) == {"aaaa-0001", "aaaa-0002"}
    world.incident("aaaa-0003", revision=1, at=T0 + 9)
    folded(database, world)
    assert "aaaa-0003" in seen(database).incidents_since(after, database)


def test_a_read_model_that_was_deleted_is_missed_at_once(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, prefix="gim", data_dir=tmp_path)
    world, database = World("gim"), open_database(settings)
    database.prepare({})
    world.incident()
    folded(database, world)
    assert database.file is not None
    for file in database.file.parent.glob("*.db*"):
        file.unlink()
    place = (world.name("incidents"), 0)
    with pytest.raises(Retryable):  # whoever projects opens again, and makes it anew
        fold(database, "gim", Batch({}, {place: 2}, {place: 1}))
    database.prepare({})
    folded(database, world)
    assert [row[0] for row in rows_of(database)["incidents"]] == ["7f29-k1mq"]
    database.close()
