"""Every trap of the corpus gets its answer, alone and among others, and moves no other record from its place."""

import random

import pytest

from agents.errors import Malformed, Undeclared
from agents.events import Kind
from agents.frames import Reader
from tests.poison import CONFIGURATION, CORPUS, GOOD, Case, decision

READER = Reader(CONFIGURATION)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_a_poisoned_record_is_named_and_in_no_group(case: Case):
    batch = READER.read([case.record()])
    fault = batch.faults[0]
    assert (fault.kind, fault.reason) == (case.kind, case.reason)
    assert batch.groups == []
    assert (batch.identities[0] is not None) == case.identified
    with pytest.raises(Undeclared if case.kind is Kind.UNDECLARED else Malformed) as caught:
        READER.row(case.record())
    assert caught.value.reason == case.reason


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_a_decision_that_only_looks_suspicious_is_read(case: Case):
    batch = READER.read([case.record()])
    assert batch.faults == {}
    assert [group.rows for group in batch.groups] == [[0]]
    assert batch.identities[0] is not None


def test_the_fault_says_which_model_where_that_can_be_read_and_printed():
    faults = {case.name: READER.read([case.record()]).faults[0] for case in CORPUS}
    assert (faults["a label nobody declared"].model, faults["a label nobody declared"].version) == (
        "credit-limit",
        "2.1.0",
    )
    assert (faults["a model nobody declared"].model, faults["a model nobody declared"].version) == ("shadow", "1")
    assert faults["forged verdict header"].model == "credit-limit"
    assert faults["path in a model name"].model is None
    assert faults["control character in a version"].version is None
    assert faults["very deep arrays"].model is None
    assert all(fault.model is None or fault.model.isascii() for fault in faults.values())


def test_the_detail_names_the_field_but_no_value():
    secret = "client 8231 owes 77341"
    bad = [
        {"output": {"label": secret}},
        {"features": {"limit_bal": secret}},
        {"output": {"score": 0.1, "confidence": 77341}},
        {"caller": 77341},
        {"feature_attributions": {"pay_0": secret}},
        {"groups": {secret: 1}},
        {"model": {"name": secret, "version": "1"}},
    ]
    cases = [Case("", decision(data=data), "") for data in bad] + [Case("", decision(time=secret), "")]
    for case in cases:
        fault = READER.read([case.record()]).faults[0]
        assert "77341" not in fault.detail
        assert "8231" not in fault.detail
        assert "`" in fault.detail, "the field is named"


@pytest.mark.parametrize("seed", range(2))
def test_poison_among_good_records_leaves_each_with_exactly_its_own_values(seed: int):
    shuffled = random.Random(seed)
    cases = [*CORPUS, *GOOD] + [Case("filler", decision(f"f-{i}", data={"latency_ms": i}), "") for i in range(400)]
    small = [case for case in cases if len(case.value or b"") < 1_000_000]
    shuffled.shuffle(small)
    records = [case.record(offset, timestamp=1_772_442_843_000 + offset) for offset, case in enumerate(small)]
    batch = READER.read(records)
    assert set(batch.faults) == {row for row, case in enumerate(small) if case.reason}
    assert {row: fault.reason for row, fault in batch.faults.items()} == {
        r: c.reason for r, c in enumerate(small) if c.reason
    }
    placed = sorted(row for group in batch.groups for row in group.rows)
    assert placed == [row for row, case in enumerate(small) if not case.reason]
    for group in batch.groups:
        assert group.rows == sorted(group.rows)
        assert group.frame.height == len(group.rows) == len(group.versions) == len(group.event_times)
        for index, row in enumerate(group.rows):
            assert group.frame.row(index, named=True) == READER.row(records[row])
            assert batch.identities[row] == f"{group.frame['source'][index]}\0{group.frame['id'][index]}"
    assert READER.identify(records) == (batch.identities, batch.fingerprints)


def test_a_batch_of_poison_alone_gives_faults_alone():
    batch = READER.read([case.record() for case in CORPUS])
    assert len(batch.faults) == len(CORPUS)
    assert batch.groups == []


def test_what_is_malformed_does_not_depend_on_the_columns_asked_for():
    few = Reader(CONFIGURATION, ["features.limit_bal"])
    none = Reader(CONFIGURATION, [])
    records = [case.record() for case in (*CORPUS, *GOOD)]
    expected = READER.read(records).faults
    assert few.read(records).faults == expected
    assert none.read(records).faults == expected


def test_the_answer_does_not_depend_on_how_deep_the_caller_stands_in_its_stack():
    case = next(case for case in GOOD if case.name == "as deep as allowed")

    def deeper(levels: int) -> int:
        return len(READER.read([case.record()]).faults) if levels == 0 else deeper(levels - 1)

    assert deeper(500) == 0
