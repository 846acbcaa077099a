"""Log store, archive, keys and commands: what stays on disk, what is refused, what a user reads."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agents.audit.notes import Checkpoint, Signer
from agents.audit.tiles import LogState, extend, load
from agents.errors import Inconsistent, Misconfigured
from agents.records import Plain
from orchestration import keys
from orchestration.archive import Archive, Expired
from orchestration.cli.audit import app
from orchestration.evidence_topic import compare, stored_records, topic_of
from orchestration.log_store import LogStore, publish
from tests.unit.audit.conftest import Operator, decided, plain, verdict, write_small_store

RUN = CliRunner()


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each store is tried as a folder and as an fsspec URL."""
    return str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}"


def checkpoint(size: int, root: bytes = bytes(32)) -> bytes:
    return Signer("gim", bytes(32)).sign(Checkpoint("gim/config/0", size, root).text())


# --- log store --------------------------------------------------------------------------------------------------------


def test_what_was_written_is_read_and_a_log_goes_on_from_it(url):
    store = LogStore(url)
    state, files, _ = extend(LogState("gim/config/0"), [b"%d" % n for n in range(300)])
    store.write(files)
    store.write(files)  # after a crash the same again
    assert {path: LogStore(url).read(path) for path in files} == files
    assert load(LogStore(url).read, "gim/config/0", 300) == state
    with pytest.raises(FileNotFoundError):
        store.read("gim/config/0/checkpoint")


def test_a_full_file_with_other_bytes_stops_the_lane_and_nothing_is_written(url):
    store = LogStore(url)
    store.write(extend(LogState("gim/config/0"), [b"a"] * 256)[1])
    other = extend(LogState("gim/config/0"), [b"b"] * 257)[1]
    with pytest.raises(Inconsistent, match="tile/entries/000 is there with other bytes"):
        store.write(other)
    with pytest.raises(FileNotFoundError):
        store.read("gim/config/0/tile/entries/001.p/1")
    blob = f"gim/config/0/blobs/{'a' * 64}"
    store.write({blob: b"1"})
    with pytest.raises(Inconsistent):
        store.write({blob: b"2"})


def test_partial_files_go_when_the_tile_is_full(url):
    store = LogStore(url)
    state, files, _ = extend(LogState("gim/config/0"), [b"a"] * 200)
    store.write(files)
    assert len(store.read("gim/config/0/tile/0/000.p/200")) == 6400
    store.write(extend(state, [b"a"] * 56)[1])
    for path in ("gim/config/0/tile/0/000.p/200", "gim/config/0/tile/entries/000.p/200"):
        with pytest.raises(FileNotFoundError):
            store.read(path)


def test_a_checkpoint_never_becomes_smaller(url):
    store = LogStore(url)
    assert store.checkpoint("gim/config/0") is None
    for note in (checkpoint(5), checkpoint(5), checkpoint(3)):
        store.write_checkpoint(note)
    assert store.checkpoint("gim/config/0") == checkpoint(5)
    store.write_checkpoint(checkpoint(6))
    assert store.checkpoint("gim/config/0") == checkpoint(6)
    with pytest.raises(Inconsistent, match="forked"):
        store.write_checkpoint(checkpoint(6, b"x" * 32))
    publish(checkpoint(6), url + "-elsewhere")
    assert LogStore(url + "-elsewhere").checkpoint("gim/config/0") == checkpoint(6)


def test_a_file_that_was_half_written_is_never_seen(tmp_path):
    """The process is killed while it writes, at a place of its own choosing: readers see the old file or the new one."""
    program = (
        "import os, sys; from orchestration import log_store\n"
        "store = log_store.LogStore(sys.argv[1]); store.write({'gim/c/0/tile/0/000.p/1': b'old'})\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), 9)\n"
        "store.write({'gim/c/0/tile/0/000.p/1': b'new' * 100})\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert LogStore(str(tmp_path)).read("gim/c/0/tile/0/000.p/1") == b"old"


def test_paths_outside_the_store_are_refused(url):
    for path in ("../x", "/etc/x", "a/../../x"):
        with pytest.raises(ValueError, match="not a path under the store"):
            LogStore(url).read(path)
    with pytest.raises(Misconfigured, match="cannot be opened"):
        LogStore("nonsense://x")


# --- archive ----------------------------------------------------------------------------------------------------------


def decision(offset: int, text: str = "") -> Plain:
    key, headers, value = decided(offset)
    return Plain("gim.decisions", 1, offset, 1000 * offset, key, (value or b"") + text.encode(), tuple(headers))


def test_archived_decisions_are_given_back_byte_for_byte(url):
    archive = Archive(url)
    archive.append("gim.decisions", 1, [decision(n) for n in (3, 4, 7)])
    archive.append("gim.decisions", 1, [decision(n) for n in (8, 9)])
    archive.append("gim.decisions", 1, [])
    assert [archive.read("gim.decisions", 1, n) for n in (3, 7, 8, 9)] == [decision(n) for n in (3, 7, 8, 9)]
    assert [archive.read("gim.decisions", 1, n) for n in (2, 5, 10)] == [None, None, None]  # markers have none
    assert archive.read("gim.decisions", 2, 3) is None
    assert [record.offset for record in archive.scan("gim.decisions", 1, 4, 9)] == [4, 7, 8]
    assert archive.partitions() == [("gim.decisions", 1)]
    nulls = Plain("t", 0, 1, 0, None, None, (("h", None), ("h", b"")))
    archive.append("t", 0, [nulls])
    assert archive.read("t", 0, 1) == nulls


def test_a_lane_that_died_before_its_commit_leaves_no_double(url):
    archive = Archive(url)
    archive.append("gim.decisions", 1, [decision(n) for n in range(5)])
    archive.append("gim.decisions", 1, [decision(n) for n in range(5, 8)])
    archive.append("gim.decisions", 1, [decision(n) for n in range(5, 10)])  # the lane again, with other batches
    archive.append("gim.decisions", 1, [decision(n) for n in range(5, 8)])  # the same batch again
    archive.append("gim.decisions", 1, [decision(n) for n in range(10, 12)])
    assert list(archive.scan("gim.decisions", 1, 0, 100)) == [decision(n) for n in range(12)]
    assert list(archive.scan("gim.decisions", 1, 6, 11)) == [decision(n) for n in range(6, 11)]


def test_an_overtaken_lane_that_wakes_cannot_remove_what_its_successor_archived(url):
    zombie, successor = Archive(url), Archive(url)
    zombie.append("gim.decisions", 1, [decision(n) for n in range(5)])
    for first in (5, 10, 15):
        successor.append("gim.decisions", 1, [decision(n) for n in range(first, first + 5)])
    zombie.append("gim.decisions", 1, [decision(n) for n in range(5, 7)])  # written before the fence stops its commit
    assert list(successor.scan("gim.decisions", 1, 0, 100)) == [decision(n) for n in range(20)]
    assert successor.read("gim.decisions", 1, 19) == decision(19)


@given(
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 12)), max_size=12),
    st.sets(st.integers(0, 39)),
    st.integers(0, 45),
    st.integers(0, 45),
    st.integers(1, 50),
)
def test_whatever_overlaps_each_archived_record_is_read_once_and_in_order(spans, markers, start, end, count):
    """Ranges that lanes wrote in any order, with gaps where transaction markers take offsets."""
    archive = Archive(f"memory://{secrets.token_hex(8)}")
    there = set()
    for first, length in spans:
        offsets = [n for n in range(first, min(first + length, 40)) if n not in markers]
        archive.append("t", 1, [decision(n) for n in offsets])
        there |= set(offsets)
    wanted = [n for n in sorted(there) if start <= n < end]
    assert [record.offset for record in archive.scan("t", 1, start, end)] == wanted
    before = [n for n in sorted(there) if n < end]
    found = archive.offset_before("t", 1, end, count)
    assert [n for n in before if n >= found] == before[-count:]


def test_an_expired_decision_says_so(url):
    archive = Archive(url)
    for first in (0, 10, 20):
        archive.append("gim.decisions", 1, [decision(n) for n in range(first, first + 10)])
    assert archive.expire("gim.decisions", 1, retention_ms=10_000, now_ms=15_000) == 0
    assert archive.expire("gim.decisions", 1, retention_ms=5_000, now_ms=15_000) == 1
    with pytest.raises(Expired, match=r"gim.decisions/1/3 has expired"):
        archive.read("gim.decisions", 1, 3)
    assert archive.read("gim.decisions", 1, 10) == decision(10)
    assert archive.expire("gim.decisions", 1, retention_ms=0, now_ms=10**9) == 2
    with pytest.raises(Expired):
        archive.read("gim.decisions", 1, 29)
    assert archive.read("gim.decisions", 1, 30) is None


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_made_once_and_read_by_their_owner_only(tmp_path):
    made = keys.generate("gim", tmp_path / "keys")
    assert [path.stat().st_mode & 0o777 for path in (made.signer, made.salt, made.verifier)] == [0o600, 0o600, 0o644]
    assert keys.load_signer(made.signer).verifier == keys.load_verifier(made.verifier)
    salts = keys.load_salt(made.salt)
    assert salts.key_id.startswith("gim-")
    assert salts.salt("a/0/1") == keys.load_salt(made.salt).salt("a/0/1")
    with pytest.raises(Misconfigured, match="never replaced"):
        keys.generate("gim", tmp_path / "keys")
    for load_, path in ((keys.load_signer, made.signer), (keys.load_salt, made.salt)):
        path.chmod(0o640)
        with pytest.raises(Misconfigured, match="chmod 600"):
            load_(path)
        path.chmod(0o600)
        path.write_text("nonsense")
        with pytest.raises(Misconfigured):
            load_(path)
    with pytest.raises(Misconfigured, match="govern audit keygen"):
        keys.load_signer(tmp_path / "none")


def test_keys_do_not_go_where_they_would_be_handed_out(tmp_path):
    (tmp_path / "repo/.git").mkdir(parents=True)
    with pytest.raises(Misconfigured, match="git work tree"):
        keys.generate("gim", tmp_path / "repo/keys")
    with pytest.raises(Misconfigured, match="evidence store"):
        keys.generate("gim", tmp_path / "evidence/keys", str(tmp_path / "evidence"))
    with pytest.raises(Misconfigured, match="does not fit"):
        keys.generate("a+b", tmp_path)
    assert not list(tmp_path.rglob("*.signer"))
    made = keys.generate("gim", tmp_path / "keys", "s3://bucket/evidence")
    made.salt.write_text("SALT+KEY+x+AAAA")
    with pytest.raises(Misconfigured, match="damaged"):
        keys.load_salt(made.salt)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_the_commands_lead_from_keys_to_a_proof(tmp_path):
    folder, store, archive = tmp_path / "keys", tmp_path / "evidence", tmp_path / "archive"
    made = RUN.invoke(app, ["keygen", "--dir", str(folder), "--store", str(store)])
    assert made.exit_code == 0, made.output
    assert "gim.verifier" in made.output
    assert "PRIVATE" not in made.output
    verifier = folder / "gim.verifier"

    operator = Operator(store, keys.load_signer(folder / "gim.signer"))
    salts = keys.load_salt(folder / "gim.salt")
    decisions = [Plain("gim.decisions", 0, n, 5, *decided(n)[::2], tuple(decided(n)[1])) for n in range(300)]
    record = verdict(7)
    value = json.loads(record.value or b"")
    position = "gim.decisions/0/7"
    value["data"]["commitment"]["value"] = salts.value(position, *decided(7))
    verdicts = [verdict(n) for n in range(300)]
    verdicts[7] = Plain("gim.verdicts", 0, 7, 1, record.key, json.dumps(value).encode(), record.headers)
    operator.append("verdicts", 0, verdicts)
    operator.close()
    Archive(str(archive)).append("gim.decisions", 0, decisions)

    arguments = ["--store", str(store), "--archive", str(archive), "--dir", str(folder)]
    for more, size in (([], "it judged"), (["--disclose"], "it judged exactly this decision, gim.decisions/0/7")):
        proof = tmp_path / f"proof{len(more)}.json"
        done = RUN.invoke(app, ["prove", f"{position}/gate", "--out", str(proof), *arguments, *more])
        assert done.exit_code == 0, done.output
        checked = RUN.invoke(app, ["check-proof", str(proof), "--key", str(verifier)])
        assert checked.exit_code == 0, checked.output
        assert "record gim.verdicts/0/7 is leaf 7 of gim/verdicts/0 (300 leaves, signed)" in checked.output
        assert (size in checked.output) is bool(more)
    assert RUN.invoke(app, ["verify", str(store), "--key", str(verifier)]).exit_code == 0
    app_file = tmp_path / "verifier.pyz"
    assert RUN.invoke(app, ["verifier", "--out", str(app_file)]).exit_code == 0
    command = [
        sys.executable,
        "-I",
        str(app_file),
        "check-proof",
        str(tmp_path / "proof1.json"),
        "--key",
        str(verifier),
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0

    # Whatever is changed in the proof, it no longer holds.
    document = json.loads((tmp_path / "proof1.json").read_text())
    other = json.loads((tmp_path / "proof1.json").read_text().replace('"index": 7', '"index": 8'))
    wrong = [
        other,
        {**document, "format": "x"},
        {**document, "origin": "gim/verdicts/1"},
        {**document, "inclusion": []},
    ]
    wrong += [{**document, "checkpoint": document["checkpoint"].replace("300", "301")}]
    wrong += [{**document, "entry": document["entry"][:-8] + "AAAAAAA="}]
    for name, changed in (("key", None), ("value", "AAAA"), ("headers", []), ("salt", "AAAA")):
        wrong.append({**document, "disclosed": {**document["disclosed"], name: changed}})
    wrong.append({**document, "disclosed": {}})
    for at, changed_document in enumerate(wrong):
        path = tmp_path / f"wrong{at}.json"
        path.write_text(json.dumps(changed_document))
        assert RUN.invoke(app, ["check-proof", str(path), "--key", str(verifier)]).exit_code == 1, at
    (tmp_path / "none.json").write_text("no JSON")
    assert RUN.invoke(app, ["check-proof", str(tmp_path / "none.json"), "--key", str(verifier)]).exit_code == 2


def test_a_proof_of_a_record_with_blobs_carries_them(tmp_path):
    operator = write_small_store(tmp_path / "evidence")
    key, proof = tmp_path / "key", tmp_path / "proof.json"
    key.write_text(operator.key)
    for offset in (17, 260):
        arguments = ["prove", f"gim.decisions/0/{offset}/gate", "--store", str(operator.folder), "--out", str(proof)]
        assert RUN.invoke(app, arguments).exit_code == 0
        assert RUN.invoke(app, ["check-proof", str(proof), "--key", str(key)]).exit_code == 0
        document = json.loads(proof.read_text())
        digest = next(iter(document["blobs"]))
        for wrong in ({}, {digest: "AAAA"}):
            proof.write_text(json.dumps({**document, "blobs": wrong}))
            assert RUN.invoke(app, ["check-proof", str(proof), "--key", str(key)]).exit_code == 1


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ("nonsense", "not a verdict's id"),
        ("gim.decisions/0/999/gate", "no verdict"),
        ("gim.decisions/9/1/gate", "no log"),
    ],
)
def test_a_verdict_that_is_not_there_is_said_to_be_missing(tmp_path, identity, message):
    operator = write_small_store(tmp_path / "evidence")
    done = RUN.invoke(app, ["prove", identity, "--store", str(operator.folder)])
    assert isinstance(done.exception, Misconfigured)
    assert message in str(done.exception)


# --- evidence against its topic ---------------------------------------------------------------------------------------


def records(*offsets: int, key: bytes = b"k") -> list[Plain]:
    return [plain("config", offset, key, b"%d" % offset) for offset in offsets]


def test_a_topic_that_still_has_everything_agrees(tmp_path):
    operator = write_small_store(tmp_path / "evidence")
    read = LogStore(str(operator.folder)).read
    logged = list(stored_records(read, "gim/verdicts/0", 270))
    assert len(logged) == 270
    assert fields(logged[33]) == fields(verdict(33))
    assert fields(logged[260])[-1] == fields(verdict(260, extra="y" * 66_000))[-1]
    found = compare(logged, [*logged, verdict(270)], log_start=0, compacted=False, retention=True)
    assert (found.ok, found.same, found.pending) == (True, 270, 1)
    assert topic_of("gim/root") == ("gim.checkpoints", 0)


def fields(record: Plain) -> tuple[object, ...]:
    return record.topic, record.offset, record.timestamp, record.key, tuple(record.headers), record.value


def test_retention_and_compaction_explain_what_is_missing():
    logged = [*records(0, 1, 2), plain("config", 3, b"gone", None), *records(4)]
    kept = records(2, 4)
    aged = compare(logged, [*records(2), logged[3], *records(4)], log_start=2, compacted=False, retention=True)
    assert (aged.ok, aged.same, aged.by_retention) == (True, 3, 2)
    compacted = compare(logged, kept[1:], log_start=0, compacted=True, retention=False)
    assert (compacted.ok, compacted.same, compacted.by_compaction) == (True, 1, 4)


@pytest.mark.parametrize(
    ("kept", "settings", "message"),
    [
        (records(0, 2), {"compacted": False, "retention": True}, "offset 1: the log has this record"),
        (records(0, 1), {"compacted": True, "retention": False}, "offset 2: the log has this record"),
        (records(0, 1, 2)[1:], {"compacted": False, "retention": False, "log_start": 1}, "no retention"),
    ],
)
def test_a_missing_record_that_nothing_explains_is_an_error(kept, settings, message):
    found = compare(records(0, 1, 2), kept, **{"log_start": 0, **settings})
    assert message in found.errors[0]
    assert len(found.errors) == 1


def test_a_record_left_out_of_the_evidence_is_an_error():
    found = compare(records(0, 2), records(0, 1, 2), log_start=0, compacted=False, retention=True)
    assert "offset 1: gim.config/0 has this record, the log does not" in found.errors[0]


def test_a_record_with_other_bytes_is_an_error_and_names_the_field():
    changed = [plain("config", 0, b"k", b"other"), *records(1)]
    found = compare(records(0, 1), changed, log_start=0, compacted=False, retention=True)
    assert found.errors == ["offset 0: the topic's record has another value"]
