"""Laws of reading: a record's answer is its own, nothing a producer writes raises, both descriptions of a decision agree."""

import json
from operator import itemgetter

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from agents.events import Decision
from agents.frames import Batch, Reader
from agents.records import Plain
from tests.poison import CONFIGURATION, CORPUS, GOOD, decision, encode, event

READER = Reader(CONFIGURATION)
SMALL = [case for case in (*CORPUS, *GOOD) if len(case.value or b"") < 10_000]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def record(value: bytes | None, headers=()) -> Plain:
    return Plain("gim.decisions", 0, 0, 1_772_442_843_500, None, value, headers)


def answers(batch: Batch) -> list[tuple]:
    """Each row's answer, in order."""
    rows = [(row, fault) for row, fault in batch.faults.items()]
    for group in batch.groups:
        values = zip(group.rows, group.versions, group.event_times, group.frame.rows(), strict=True)
        rows += [(row, (group.model, group.declared, *rest)) for row, *rest in values]
    found = [answer for _, answer in sorted(rows, key=itemgetter(0))]
    return list(zip(batch.identities, batch.fingerprints, found, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(SMALL), max_size=12))
def test_reading_a_batch_is_reading_its_rows(cases):
    records = [case.record(offset) for offset, case in enumerate(cases)]
    alone = [answer for one in records for answer in answers(READER.read([one]))]
    assert answers(READER.read(records)) == alone


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(SMALL), min_size=1, max_size=8), st.data())
def test_reading_in_any_two_parts_gives_the_same_frames(cases, data):
    records = [case.record(offset) for offset, case in enumerate(cases)]
    cut = data.draw(st.integers(0, len(records)))
    frames: dict[str, list[pl.DataFrame]] = {}
    for part in (records[:cut], records[cut:]):
        for group in READER.read(part).groups:
            frames.setdefault(group.model, []).append(group.frame)
    for group in READER.read(records).groups:
        assert_frame_equal(group.frame, pl.concat(frames[group.model]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=4), st.integers(0, 400), st.integers(0, 12))
def test_no_bytes_raise(noise, insert, place, length):
    good = decision()
    for value in (noise, good[:place] + insert + good[place + length :]):
        batch = READER.read([record(value)])
        assert len(batch.faults) + len(batch.groups) == 1
        assert READER.identify([record(value)]) == (batch.identities, batch.fingerprints)


names = st.sampled_from(
    ["content-type", "ce_id", "ce_source", "ce_type", "ce_specversion", "ce_time", "govern-x", "ce_"]
)
texts = st.sampled_from([b"application/json", b"1.0", b"governance.decision.v1", b"x", b"", None]) | st.binary(
    max_size=8
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(names | st.text(max_size=6), texts), max_size=7), st.none() | st.binary(max_size=30))
def test_no_headers_raise(headers, value):
    batch = READER.read([record(value, headers), record(decision(), headers)])
    assert len(batch.faults) + sum(len(group.rows) for group in batch.groups) == 2
    assert READER.identify([record(value, headers), record(decision(), headers)])[0] == batch.identities


fields = st.sampled_from(["specversion", "type", "id", "source", "time", "subject", "data", "datacontenttype"])
parts = st.sampled_from(
    ["model", "caller", "features", "output", "action", "feature_attributions", "latency_ms", "groups"]
)


def without_undeclared(document: dict) -> dict:
    """The document less features and attributions that the model does not declare: the hot path ignores those."""
    data = dict(document["data"])
    for part in ("features", "feature_attributions"):
        if isinstance(data.get(part), dict):
            declared = CONFIGURATION.models["credit-limit"].features
            data[part] = {name: value for name, value in data[part].items() if name in declared}
    return {**document, "data": data}


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(fields, json_values, max_size=1), st.dictionaries(parts, json_values, max_size=2))
def test_no_json_raises_and_what_is_read_is_a_decision(envelope, data):
    document = event(data=data)
    document |= envelope
    value = json.dumps(document).encode(errors="replace")
    batch = READER.read([record(value)])
    assert len(batch.faults) + len(batch.groups) == 1
    assert answers(READER.read([record(value)] * 3)) == answers(batch) * 3
    if batch.groups:
        Decision.model_validate_json(json.dumps(without_undeclared(document)))


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_no_document_raises(value):
    encoded = json.dumps(value).encode(errors="replace")
    assert len(READER.read([record(encoded)]).faults) == 1


finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)
ids = st.text(min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "features": st.fixed_dictionaries(
                {"limit_bal": finite}, optional={"pay_0": st.none() | finite, "product": st.text(max_size=9)}
            )
        },
        optional={
            "caller": st.none() | ids,
            "purpose": ids,
            "latency_ms": st.floats(0, 1e9),
            "output": st.fixed_dictionaries(
                {"label": st.sampled_from(["approve", "decline"])}, optional={"score": finite}
            ),
            "feature_attributions": st.dictionaries(st.sampled_from(["limit_bal", "pay_0"]), finite),
        },
    ),
    ids,
)
def test_the_hot_path_and_the_published_model_agree(data, id_):
    value = encode(event(id_, data))
    try:
        expected = Decision.model_validate_json(value)
    except ValidationError:
        expected = None
    batch = READER.read([record(value)])
    assert (expected is not None) == bool(batch.groups)
    if expected is not None:
        row = READER.row(record(value))
        assert row["id"] == expected.id
        assert row["caller"] == expected.data.caller
        assert row["features.limit_bal"] == float(expected.data.features["limit_bal"])
        assert row["output.score"] == expected.data.output.score
        assert row["features.product"] == expected.data.features.get("product")
