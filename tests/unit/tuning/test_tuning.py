"""From the read model and the archive to a diff of the file on disk that says exactly what was proposed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, create_engine

from agents.people_events import Resolution, ReviewData, RulingData
from agents.records import Plain
from agents.tuning.alarms import ShareProposal
from agents.tuning.estimates import share
from agents.tuning.proposing import Proposal, Terms
from orchestration.archive import Archive
from orchestration.config_files import load
from orchestration.judgements import gather
from orchestration.reading import tables
from orchestration.tuning import together, tune
from orchestration.yaml_edit import NotEditable, documents, entry, literal_replaced, rewritten, with_entry

CONFIG = """\
# the bank's rules
models:
  credit:
    features: {amount: numeric}
    labels: {approve: {favourable: true}, decline: {}}
    groups: {sex: [female, male]}
monitors:
  drift: {kind: volume}
  gap: {kind: disparate_impact, attributes: [sex]}
policies:
  - policy: doubts
    rules:
      - id: unsure
        when: >-           # folded on purpose
          output.score < 0.7
          AND features.amount > 1000
        effect: hold       # a person looks
      - id: unfair
        when: signals.gap.status = 'alarm'
        effect: hold
"""
N = 240


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "governance.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Decisions with scores spread over 0 … 0.7."""
    archive = Archive(str(tmp_path / "archive"))
    archive.append("gim.decisions", 0, [decision(offset) for offset in range(N)])
    return archive


def score(offset: int) -> float:
    return round(float(np.random.default_rng(offset).uniform(0, 0.7)), 3)


def decision(offset: int) -> Plain:
    value = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": str(offset),
        "source": "/credit",
        "time": "2026-03-02T09:00:00Z",
        "data": {
            "model": {"name": "credit", "version": "1"},
            "features": {"amount": 2000},
            "output": {"label": "decline", "score": score(offset)},
        },
    }
    return Plain("gim.decisions", 0, offset, 1_772_442_000_000, None, json.dumps(value).encode())


@pytest.fixture
def database() -> Connection:
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    return engine.connect()


def answered(
    database: Connection, offset: int, resolution: Resolution, kind: str | None, rule: str = "doubts/unsure"
) -> None:
    """A held decision, and the ruling that ended it."""
    effect = "allow" if resolution is Resolution.APPROVED else "block"
    ruling = RulingData(incident="i", resolution=resolution, effect=effect, keys=(), kind=kind, opened=1)
    database.execute(
        tables.rulings.insert(),
        {
            "id": f"i/{offset}",
            "offset": offset,
            "time_ms": offset,
            "incident": "i",
            "resolution": resolution.value,
            "effect": effect,
            "kind": kind,
            "items": 1,
            "opened": 1,
            "shown_ms": 0.0,
            "reason": "",
            "people": [],
            "late_ms": 0,
            "data": ruling.model_dump_json(),
        },
    )
    database.execute(
        tables.held.insert(),
        {
            "topic": "gim.decisions",
            "partition": 0,
            "offset": offset,
            "model": "credit",
            "version": "1",
            "rules": [rule],
            "held_ms": offset,
            "resolution": resolution.value,
            "effect": effect,
            "ended_ms": offset,
            "causationid": f"i/{offset}",
        },
    )


def test_a_diff_says_what_people_went_by_and_leaves_the_file_as_it_was(
    folder: Path, archive: Archive, database: Connection
) -> None:
    for offset in range(N):
        withheld = score(offset) < 0.4
        answered(database, offset, Resolution.REJECTED if withheld else Resolution.APPROVED, "individual")
    configuration = load(folder)
    found = tune(folder, configuration, gather(database, archive, configuration), Terms())
    (proposal,) = found.proposals
    assert isinstance(proposal, Proposal)
    assert proposal.rule == "doubts/unsure"
    (diff,) = found.diffs
    changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed[0] == "-          output.score < 0.7"
    assert changed[1].startswith("+          output.score < 0.4") or changed[1].startswith(
        "+          output.score < 0.3"
    )
    assert len(changed) == 2
    assert (folder / "governance.yaml").read_text() == CONFIG


def test_answers_that_nobody_thought_about_teach_nothing(folder: Path, archive: Archive, database: Connection) -> None:
    answered(database, 1, Resolution.APPROVED, "bulk")
    answered(database, 2, Resolution.EXPIRED, None)
    answered(database, 3, Resolution.APPROVED, "individual", rule="doubts/unfair")
    answered(database, 4, Resolution.REJECTED, "individual")
    configuration = load(folder)
    found = gather(database, archive, configuration)
    assert [(one.position, one.warranted) for one in found.judged] == [("gim.decisions/0/4", True)]
    assert dict(found.left_out) == {"bulk": 1, "expired": 1, "fairness": 1}


def test_of_a_sample_only_what_was_opened_counts_and_stands_for_the_rest(
    folder: Path, archive: Archive, database: Connection
) -> None:
    opened = [{"topic": "gim.decisions", "partition": 0, "offset": offset} for offset in (3, 7)]
    answered(database, 3, Resolution.APPROVED, "sample")
    for offset in (5, 7, 9):
        answered(database, offset, Resolution.APPROVED, "sample")
        database.execute(tables.rulings.delete().where(tables.rulings.c.id == f"i/{offset}"))
        database.execute(tables.held.update().where(tables.held.c.offset == offset).values(causationid="i/3"))
    review = ReviewData(action="approve", person="ann", incident="i", kind="sample", opened=opened)
    row = {
        "position": "gim.reviews/0/11",
        "partition": 0,
        "offset": 11,
        "id": "r",
        "time_ms": 1,
        "action": "approve",
        "person": "ann",
        "opened": 2,
    }
    row |= {"shown_ms": 0.0, "reason": "", "console": True, "data": review.model_dump_json(exclude_none=True)}
    database.execute(tables.reviews.insert(), row)
    database.execute(tables.ruling_reviews.insert(), {"ruling": "i/3", "review": "gim.reviews/0/11"})
    found = gather(database, archive, load(folder))
    assert [(one.position, one.weight) for one in found.judged] == [
        ("gim.decisions/0/3", 2.0),
        ("gim.decisions/0/7", 2.0),
    ]


def reviewed(database: Connection, offset: int, data: ReviewData, *, ruling: str = "", refused: bool = False) -> None:
    """A review on its topic, what it led to, and whether it was refused."""
    row = {
        "position": f"gim.reviews/0/{offset}",
        "partition": 0,
        "offset": offset,
        "id": str(offset),
        "time_ms": offset,
    }
    row |= {"action": data.action, "person": data.person, "incident": data.incident, "opened": len(data.opened)}
    row |= {"shown_ms": 0.0, "reason": "", "console": True, "data": data.model_dump_json(exclude_none=True)}
    database.execute(tables.reviews.insert(), row)
    if ruling:
        database.execute(tables.ruling_reviews.insert(), {"ruling": ruling, "review": f"gim.reviews/0/{offset}"})
    if refused:
        against = {"offset": offset, "time_ms": offset, "review_partition": 0, "review_offset": offset}
        database.execute(tables.refusals.insert(), against | {"reason": "unsigned", "detail": ""})


def test_what_was_opened_and_ended_by_another_answer_weighs_nothing(
    folder: Path, archive: Archive, database: Connection
) -> None:
    """Four were ended by one answer, one of them opened; two more were opened that another answer ended."""
    answered(database, 3, Resolution.APPROVED, "sample")
    for offset in (5, 7, 9):
        answered(database, offset, Resolution.APPROVED, "sample")
        database.execute(tables.held.update().where(tables.held.c.offset == offset).values(causationid="i/3"))
    opened = [{"topic": "gim.decisions", "partition": 0, "offset": offset} for offset in (3, 20, 21)]
    data = ReviewData.model_validate(
        {"action": "approve", "person": "ann", "incident": "i", "kind": "sample", "opened": opened}
    )
    reviewed(database, 11, data, ruling="i/3")
    found = gather(database, archive, load(folder))
    assert [(one.position, one.weight) for one in found.judged] == [("gim.decisions/0/3", 4.0)]


def test_a_judgement_blind_counts_once_and_only_of_what_was_drawn(
    folder: Path, archive: Archive, database: Connection
) -> None:
    """The share was 1 % and became all of it: what is kept of draws ends at BLIND_SHARE, so none stands for less than 20."""
    hour = {"model": "credit", "version": "1", "time_ms": 5, "start_ms": 0, "topic": "gim.decisions", "partition": 0}
    database.execute(tables.blind.insert(), [hour | {"offset": 10, "draw": 0.004}, hour | {"offset": 11, "draw": 0.03}])
    for offset, (time_ms, part) in enumerate(((0, 0.01), (50, 1.0))):
        document = json.dumps({"escalation": {"blind_sample": part}})
        row = {"offset": offset, "time_ms": time_ms, "digest": "", "changed": [], "document": document}
        database.execute(tables.configurations.insert(), row)

    def label(number: int, offset: int, *, refused: bool = False) -> None:
        place = {"topic": "gim.decisions", "partition": 0, "offset": offset}
        data = ReviewData.model_validate({"action": "label", "person": "ann", "decision": place, "agrees": False})
        reviewed(database, number, data, refused=refused)

    label(1, 10, refused=True)
    label(2, 10)
    label(3, 11)
    label(4, 10)
    label(60, 11)
    found = gather(database, archive, load(folder))
    assert [(one.position, one.weight, one.time_ms) for one in found.judged] == [
        ("gim.decisions/0/10", 100.0, 2),
        ("gim.decisions/0/11", 20.0, 60),
    ]
    assert dict(found.left_out) == {"not in the blind sample": 1, "second opinion": 1}


def test_what_was_refused_says_nothing_of_an_alarm_and_alarms_about_groups_teach_nothing(
    folder: Path, archive: Archive, database: Connection
) -> None:
    for name, monitor in (("aaaa", "drift"), ("bbbb", "gap")):
        signal = {"model": "credit", "version": "1", "monitor": monitor}
        row = {
            "id": name,
            "revision": 1,
            "status": "resolved",
            "severity": "error",
            "rank": 2,
            "title": "",
            "reason": "",
        }
        row |= {
            "cause": monitor,
            "chain": "default",
            "count": 1,
            "held": 0,
            "opened_ms": 5,
            "first_ms": 5,
            "last_ms": 5,
        }
        row |= {"changed_ms": 9, "resolved_ms": 9, "shown": "", "data": json.dumps({"signal": signal})}
        database.execute(tables.incidents.insert(), row)
        point = {
            "key": json.dumps(["credit", "1", monitor, None, None], separators=(",", ":")),
            "width_ms": 1,
            "stretch": 6,
        }
        database.execute(
            tables.signal_points.insert(), point | {"time_ms": 6, "status": "alarm", "e_value": 30.0, "limit": 10.0}
        )
    for number, (name, agrees, refused) in enumerate(
        (("aaaa", True, True), ("aaaa", False, False), ("aaaa", True, True), ("bbbb", True, False))
    ):
        data = ReviewData(action="resolve", person="ann", incident=name, agrees=agrees)
        reviewed(database, number, data, refused=refused)
    found = gather(database, archive, load(folder))
    assert [(one.monitor, one.real, one.strength) for one in found.alarms] == [("drift", False, 3.0)]
    assert dict(found.left_out) == {"fairness": 1}


def test_each_file_of_the_archive_is_read_once(
    folder: Path, archive: Archive, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for offset in range(0, N, 2):
        answered(database, offset, Resolution.APPROVED, "individual")
    archive.append("gim.decisions", 0, [decision(offset) for offset in range(N - 40, N + 20)])
    read: list[str] = []
    store = type(archive._store)
    original = store.read
    monkeypatch.setattr(store, "read", lambda self, path: read.append(path) or original(self, path))
    found = gather(database, archive, load(folder))
    assert [one.row["output.score"] for one in found.judged] == [score(offset) for offset in range(0, N, 2)]
    assert len([one for one in read if one.endswith(".parquet")]) == 1, (
        "the second one has nothing new that is asked for"
    )


def test_proposals_for_several_rules_are_one_diff_that_applies(folder: Path, tmp_path: Path) -> None:
    """Beside each other, where each diff by itself would name the other's old line."""
    path = folder / "governance.yaml"
    path.write_text(CONFIG.replace("      - id: unfair\n", "      - id: unfair2\n", 1))
    estimate = share([True], [1.0])
    before = "output.score < 0.7 AND features.amount > 1000"
    made = [
        Proposal("doubts/unsure", "stricter", before, before.replace("0.7", "0.5"), "", 9, 9),
        Proposal("doubts/unsure", "wider", before, before.replace("0.7", "0.9"), "", 9, 9),
        Proposal("doubts/unfair2", "log", "effect: hold", "effect: log", "", 9, 9),
        ShareProposal("drift", 1.0, 0.5, 10, 10, estimate, estimate),
    ]
    found = together(path, load(path), made)
    assert found.left == ("doubts/unsure",)
    changed = {line for line in found.diff.splitlines() if line[:1] == "+" and line[:3] != "+++"}
    assert changed == {
        "+          output.score < 0.5",
        "+        effect: log",
        "+  drift: {share: 0.5, kind: volume}",
    }
    patch = tmp_path / "tune.diff"
    patch.write_text(found.diff.replace(str(path), "governance.yaml"))
    subprocess.run(["git", "apply", str(patch)], cwd=folder, check=True, timeout=60)
    rules = load(path).policies[0].rules
    assert (rules[0].when, rules[1].effect.value) == (made[0].after, "log")


def test_decisions_that_expired_are_told(folder: Path, archive: Archive, database: Connection) -> None:
    answered(database, N + 5, Resolution.APPROVED, "individual")
    found = gather(database, archive, load(folder))
    assert found.left_out["bytes expired"] == 1
    assert found.judged[0].row == {}


def test_a_share_is_written_into_the_entry_of_its_monitor(folder: Path, archive: Archive, database: Connection) -> None:
    text = (folder / "governance.yaml").read_text()
    node = entry(entry(next(documents(text)), "monitors"), "drift")
    assert "  drift: {share: 0.5, kind: volume}\n" in with_entry(text, node, "share", "0.5")
    estimate = share([True], [1.0])
    proposal = ShareProposal("drift", 1.0, 0.5, 10, 10, estimate, estimate)
    from orchestration.tuning import _diff

    diff = _diff(folder, load(folder), proposal)
    assert "+  drift: {share: 0.5, kind: volume}" in diff.splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: {when: x < 0.7}", "a: {when: x < 0.6}"),
        ("a:\n  when: 'x < 0.7'  # why", "a:\n  when: 'x < 0.6'  # why"),
        ("a:\n  when: |\n    x <\n      0.7\n", "a:\n  when: |\n    x <\n      0.6\n"),
    ],
)
def test_a_number_changes_where_it_stands(text: str, expected: str) -> None:
    node = entry(entry(next(documents(text)), "a"), "when")
    value = str(node.value) if node is not None else ""
    start = value.index("0.7")
    assert rewritten(text, node, lambda raw: literal_replaced(raw, value, start, start + 3, "0.6")) == expected


def test_what_cannot_be_changed_in_place_is_refused() -> None:
    with pytest.raises(NotEditable, match="not found"):
        literal_replaced("something else", "x < 0.7", 4, 7, "0.6")
    with pytest.raises(NotEditable, match="no plain value"):
        rewritten("a: {}", None, lambda raw: raw)


@pytest.mark.parametrize(("kept", "weight"), [(3, 200.0), (tables.BLIND_EACH, 1 / 0.004)])
def test_a_blind_judgement_stands_for_what_its_draw_stood_for(
    folder: Path, archive: Archive, database: Connection, kept: int, weight: float
) -> None:
    """A full hour holds all draws below its largest, so fewer than the share were kept."""
    hour = {"model": "credit", "version": "1", "time_ms": 5, "start_ms": 0, "topic": "gim.decisions", "partition": 0}
    rows = [hour | {"offset": 10 + number, "draw": 0.004 * (number + 1) / kept} for number in range(kept)]
    database.execute(tables.blind.insert(), rows)
    labels = [(10, True, True), (11, False, True), (N + 7, True, False)]
    for place, (offset, agrees, _) in enumerate(labels):
        review = ReviewData(
            action="label",
            person="ann",
            decision={"topic": "gim.decisions", "partition": 0, "offset": offset},
            agrees=agrees,
        )
        row = {
            "position": f"gim.reviews/0/{place}",
            "partition": 0,
            "offset": place,
            "id": str(place),
            "time_ms": place,
            "action": "label",
            "person": "ann",
        }
        row |= {
            "opened": 0,
            "shown_ms": 0.0,
            "reason": "",
            "console": True,
            "data": review.model_dump_json(exclude_none=True),
        }
        database.execute(tables.reviews.insert(), row)
    found = gather(database, archive, load(folder))
    assert [(one.position, one.warranted, round(one.weight, 6)) for one in found.judged] == [
        ("gim.decisions/0/10", False, weight),
        ("gim.decisions/0/11", True, weight),
    ]
    assert dict(found.left_out) == {"no longer in the blind sample": 1}
