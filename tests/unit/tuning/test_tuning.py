"""From the read model and the archive to a diff of the file on disk that says exactly what was proposed."""

from __future__ import annotations

import json
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
from orchestration.tuning import tune
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
