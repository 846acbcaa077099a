"""Leaf entries and commitments: every field counts, nothing is ambiguous, and the format stays as it was published."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.audit import verify
from agents.audit.agent import EVIDENCE, audit, origin
from agents.audit.commitment import Committer, canonical, check
from agents.audit.entry import LIMIT, Digest, decode, decode_headers, encode
from agents.audit.notes import Signer
from agents.audit.tiles import LogState
from agents.errors import Inconsistent
from agents.records import Plain, position

GOLDEN = Path(__file__).parents[2] / "golden" / "audit"
nullable = st.none() | st.binary(max_size=40)
headers = st.lists(st.tuples(st.text(max_size=10), nullable), max_size=4)
records = st.builds(
    Plain,
    st.text(min_size=1, max_size=20),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(-1, 2**62),
    nullable,
    nullable,
    headers,
)
BIG = 70_000


def fields(record: Plain) -> tuple[object, ...]:
    return (
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        tuple(record.headers),
        record.value,
    )


@given(records)
def test_an_entry_gives_back_the_whole_record(record):
    data, blobs = encode(record)
    found = decode(data)
    assert fields(found) == fields(record)  # type: ignore[arg-type]
    assert not blobs
    assert tuple(verify.decode(data)) == fields(record)  # the verifier's own reading, field by field


@given(records, records)
def test_different_records_have_different_entries(one, other):
    assert (encode(one)[0] == encode(other)[0]) is (fields(one) == fields(other))


@given(records, st.data())
def test_a_cut_or_lengthened_entry_is_refused_by_both_readers(record, data):
    whole = encode(record)[0]
    for wrong in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"\0"):
        with pytest.raises(Inconsistent):
            decode(wrong)
        with pytest.raises(verify.Bad):
            verify.decode(wrong)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_crash_a_reader(data):
    for reader, error in ((decode, Inconsistent), (verify.decode, verify.Bad)):
        try:
            reader(b"\x01" + data)
        except error:
            continue


@pytest.mark.parametrize("part", ["key", "value", "headers"])
def test_null_and_empty_differ(part):
    base = {"key": b"k", "value": b"v", "headers": [("h", b"x")]}
    null = base | ({"headers": [("h", None)]} if part == "headers" else {part: None})
    empty = base | ({"headers": [("h", b"")]} if part == "headers" else {part: b""})
    assert encode(Plain("t", 0, 0, 0, **null))[0] != encode(Plain("t", 0, 0, 0, **empty))[0]


def test_headers_keep_their_order_and_their_doubles():
    pairs = [("b", b"1"), ("a", b"2"), ("b", b"1")]
    assert decode(encode(Plain("t", 0, 0, 0, None, None, pairs))[0]).headers == tuple(pairs)


@pytest.mark.parametrize(
    ("key", "header", "value", "replaced"),
    [
        (10, 10, BIG, ["value"]),
        (10, BIG, 10, ["value", "headers"]),
        (10, BIG, None, ["headers"]),
        (BIG, 10, BIG, ["value", "headers", "key"]),
        (BIG, None, None, ["headers", "key"]),
        (20_000, 20_000, 30_000, ["value"]),
        (10, 64_000, 2_000, ["value"]),
    ],
)
def test_a_large_record_keeps_its_fields_as_blobs(key, header, value, replaced):
    """Value first, then headers, then key, and only while the entry would not fit."""
    pairs = [] if header is None else [("h", b"h" * header), ("null", None)]
    record = Plain("gim.verdicts", 3, 9, 7, b"k" * key, None if value is None else b"v" * value, pairs)
    data, blobs = encode(record)
    found = decode(data)
    digests = {name: getattr(found, name) for name in ("value", "headers", "key")}
    assert [name for name, part in digests.items() if isinstance(part, Digest)] == replaced
    assert len(data) <= LIMIT
    assert {hashlib.sha256(blob).hexdigest() for blob in blobs.values()} == set(blobs)
    assert len(blobs) == len(replaced)
    whole = verify.with_blobs(verify.decode(data), blobs.get)
    assert tuple(whole) == fields(record)
    if isinstance(found.headers, Digest):
        assert decode_headers(blobs[found.headers.sha256]) == tuple(pairs)


def test_the_limit_itself_still_fits():
    base = len(encode(Plain("t", 0, 0, 0, None, b""))[0])
    assert not encode(Plain("t", 0, 0, 0, None, b"v" * (LIMIT - base)))[1]
    data, blobs = encode(Plain("t", 0, 0, 0, None, b"v" * (LIMIT - base + 1)))
    assert len(blobs) == 1
    verify.decode(data)


def test_a_digest_where_none_was_needed_is_refused_by_the_verifier():
    data, _ = encode(Plain("t", 0, 0, 0, None, b"v" * BIG))
    with pytest.raises(verify.Bad, match="would have fitted"):
        verify.decode(data[:-8] + (10).to_bytes(8, "big"))


def golden_records() -> dict[str, Plain]:
    """One of each kind; the bytes under tests/golden/audit are format version 1 and stay as they are."""
    own = [("govern-seq", b"17"), ("govern-writer", b"gim-policy-gim.decisions-0")]
    return {
        "usual": Plain("gim.verdicts", 0, 42, 1_700_000_000_123, b"gim.decisions/0/17", b'{"id":"x"}', own),
        "nulls": Plain("gim.config", 0, 0, -1, None, None, [("h", None), ("h", b"")]),
        "empty": Plain("gim.config", 2**31 - 1, 2**62, 0, b"", b"", []),
        "unicode": Plain("gim.rulings", 1, 5, 1, "schlüssel".encode(), b"wert", [("ü", "€".encode())]),
        "large": Plain("gim.triage", 0, 7, 2, b"k", b"v" * BIG, [("h", b"x")]),
    }


def test_the_entry_format_is_the_published_one():
    golden = json.loads((GOLDEN / "entries-v1.json").read_text())
    assert {name: encode(record)[0].hex() for name, record in golden_records().items()} == golden


def test_a_log_is_the_published_one():
    """Root, checkpoint and file names of a log of 300 known records, with the key of 32 zero bytes."""
    records = [Plain("gim.config", 0, n, n, b"k%d" % n, b"v%d" % n, [("h", None)]) for n in range(300)]
    step = audit(LogState("gim/config/0"), records)
    note = Signer("gim", bytes(32)).sign(step.text)
    assert note.decode() == (GOLDEN / "checkpoint-v1.txt").read_text()
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in sorted(step.files.items())}
    assert digests == json.loads((GOLDEN / "files-v1.json").read_text())


# --- commitments ------------------------------------------------------------------------------------------------------

COMMITTER = Committer("gim-1", bytes(range(32)))


@given(records)
def test_a_commitment_opens_with_its_salt_and_nothing_else(record):
    place = position(record)
    value = COMMITTER.value(place, record.key, record.headers, record.value)
    salt = COMMITTER.salt(place)
    assert salt == hmac.digest(bytes(range(32)), place.encode(), "sha256")
    body = canonical(record.key, record.headers, record.value)
    assert value == hashlib.sha256(salt + body).hexdigest()
    assert check(salt, value, record.key, record.headers, record.value)
    assert not check(salt, value, record.key, record.headers, (record.value or b"") + b"x")
    assert not check(salt, value, record.key, [*record.headers, ("x", None)], record.value)
    assert not check(bytes(32), value, record.key, record.headers, record.value)
    assert COMMITTER.value(place + "0", record.key, record.headers, record.value) != value


def test_the_commitment_is_the_published_one():
    golden = json.loads((GOLDEN / "commitments-v1.json").read_text())
    made = {
        name: COMMITTER.value(position(record), record.key, record.headers, record.value)
        for name, record in golden_records().items()
    }
    assert made == golden


def test_a_salt_key_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        Committer("x", b"short")


# --- the audit step ---------------------------------------------------------------------------------------------------


def test_the_root_log_leaves_out_its_own_checkpoints():
    records = [
        Plain("gim.checkpoints", 0, n, 0, key, b"note")
        for n, key in enumerate([b"gim/verdicts/0", b"gim/root", b"gim/config/0"])
    ]
    step = audit(LogState("gim/root"), records)
    assert (step.leaves, step.state.size, step.checkpoint.size) == (2, 2, 2)
    assert step.text.splitlines()[:2] == ["gim/root", "2"]
    other = audit(LogState("gim/config/0"), [Plain("gim.config", 0, 0, 0, b"gim/root", b"")])
    assert other.leaves == 1  # the rule is the root log's alone


def test_blobs_go_to_the_folder_of_the_log():
    step = audit(LogState("gim/triage/0"), [golden_records()["large"]])
    blob = hashlib.sha256(b"v" * BIG).hexdigest()
    assert step.files[f"gim/triage/0/blobs/{blob}"] == b"v" * BIG


def test_records_out_of_order_are_refused():
    one, two = (Plain("gim.config", 0, n, 0, None, b"") for n in (1, 2))
    for wrong in ([two, one], [one, one], [one, Plain("gim.config", 1, 2, 0, None, b"")]):
        with pytest.raises(Inconsistent, match="offset order"):
            audit(LogState("gim/config/0"), wrong)


def test_every_evidence_topic_has_its_log():
    assert [origin("gim", topic, 2) for topic in EVIDENCE][:2] == ["gim/verdicts/2", "gim/incidents/2"]
    assert len(set(EVIDENCE)) == 10
    assert not {"outcomes", "dead-letters", "checkpoints"} & set(EVIDENCE)
