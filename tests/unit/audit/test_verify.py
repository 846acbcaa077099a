"""What an auditor learns: honest evidence passes, and whatever was done to it is found, with its place."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from agents.audit import entry as entries
from agents.audit.notes import Checkpoint, Signer, split_note
from agents.audit.tiles import LogState, bundle_path, extend, split_bundle
from agents.audit.verify import Key, Report, Unusable, main, verify
from agents.records import Plain
from orchestration.cli.audit import zipapp
from orchestration.log_store import LogStore
from tests.unit.audit.conftest import Operator, plain, verdict, write_small_store

VERDICTS = "gim/verdicts/0"


def check(operator: Operator, *since: bytes, key: str | None = None) -> Report:
    return verify(operator.folder, Key(key or operator.key), [(f"kept-{at}", note) for at, note in enumerate(since)])


def test_honest_evidence_is_consistent_and_complete(small):
    report = check(small)
    assert [str(finding) for finding in report.findings] == []
    assert {log.origin: log.tree.size for log in report.logs} == {
        "gim/config/0": 3,
        "gim/root": 6,
        "gim/verdicts/0": 270,
        "gim/verdicts/1": 7,
    }
    assert [log.notes for log in report.logs] == [[], [], [], []]
    assert report.as_json()["anchored"] is None  # nothing from outside was given


def test_a_kept_checkpoint_of_a_log_anchors_its_leaves(small):
    note = small.append("verdicts", 0, [verdict(270)])
    small.append("verdicts", 0, [verdict(271)])
    small.close()
    report = check(small, note)
    anchored = {log.origin: log.anchored_to for log in report.logs}
    assert report.ok
    assert anchored[VERDICTS] == 271
    assert anchored["gim/config/0"] == 0


def test_a_kept_checkpoint_of_the_root_log_anchors_every_log(small):
    note = LogStore(str(small.folder)).read("gim/root/checkpoint")
    small.append("verdicts", 0, [verdict(270)])
    small.close()
    report = check(small, note)
    assert report.ok
    assert {log.origin: log.anchored_to for log in report.logs} == {
        "gim/config/0": 3,
        "gim/root": 6,
        "gim/verdicts/0": 270,
        "gim/verdicts/1": 7,
    }


def test_evidence_goes_on_after_any_number_of_batches(operator):
    for offset in range(0, 600, 37):
        operator.append("verdicts", 0, [verdict(at) for at in range(offset, offset + 37)])
        if offset % 5 == 0:
            operator.close()
    operator.close()
    report = check(operator)
    assert report.ok, report.as_text()
    assert {log.origin: log.tree.size for log in report.logs}[VERDICTS] == 629


def test_a_third_level_of_tiles_is_checked(operator):
    state = LogState("gim/config/0")
    data = [entries.encode(plain("config", offset))[0] for offset in range(66_000)]
    state, files, root = extend(state, data)
    store = LogStore(str(operator.folder))
    store.write({path: data for path, data in files.items() if "/tile/" in path})
    store.write_checkpoint(operator.signer.sign(Checkpoint(state.origin, state.size, root).text()))
    report = check(operator)
    assert {finding.what for finding in report.findings} == {
        "the checkpoint file is missing",
        "gim/root has no checkpoint of this log",
    }
    top = operator.folder / "gim/config/0/tile/2/000.p/1"
    top.write_bytes(bytes(32))
    assert any(finding.file == "tile/2/000.p/1" and finding.leaf == 0 for finding in check(operator).findings)


# --- tampering --------------------------------------------------------------------------------------------------------


def test_another_key_is_refused(small):
    other = str(Signer("gim", b"o" * 32).verifier)
    report = check(small, key=other)
    assert not report.ok
    assert {finding.file for finding in report.findings if "not signed by the key" in finding.what} == {"checkpoint"}
    assert sum("not signed by the key" in finding.what for finding in report.findings) == 4  # each log's


def test_resigning_everything_with_another_key_is_found(tmp_path):
    honest = write_small_store(tmp_path / "honest")
    forged = Operator(tmp_path / "forged", Signer("gim", b"o" * 32))
    forged.append("verdicts", 0, [verdict(0)])
    forged.close()
    report = check(forged, key=honest.key)
    assert {finding.log for finding in report.findings if finding.field == "signature"} == {"gim/root", VERDICTS}


def test_a_checkpoint_signed_anew_for_altered_leaves_is_found_by_the_root_log(small):
    """The operator's own key rewrites one log: tiles, bundles and checkpoint are in order, the root log disagrees."""
    log = small.folder / VERDICTS
    shutil.rmtree(log / "tile")
    (log / "checkpoint").unlink()
    del small.states[VERDICTS]
    small.append("verdicts", 0, [verdict(offset, extra="rewritten" if offset == 150 else "") for offset in range(270)])
    found = [finding for finding in check(small).findings if "another root than leaf" in finding.what]
    assert [(finding.log, finding.kind, finding.leaf) for finding in found] == [
        (VERDICTS, "consistent", 0),  # leaf 17 had a long text: not even the first 100 leaves are the same
        (VERDICTS, "consistent", 0),
        (VERDICTS, "consistent", 0),
    ]


def test_a_fork_of_the_same_size_is_found_by_a_kept_checkpoint(tmp_path):
    honest, fork = Operator(tmp_path / "a"), Operator(tmp_path / "b")
    for operator, text in ((honest, ""), (fork, "fork")):
        operator.append("verdicts", 0, [verdict(0), verdict(1)])
        operator.append("verdicts", 0, [verdict(2, extra=text)])
        operator.close()
    kept = LogStore(str(honest.folder)).read(f"{VERDICTS}/checkpoint")
    assert check(fork).ok  # alone it looks right: that is why checkpoints are published
    found = check(fork, kept).findings
    assert [(finding.log, finding.kind) for finding in found] == [(VERDICTS, "anchored")]
    assert "rewritten or forked" in found[0].what
    assert found[0].leaf == 2  # the first two leaves still fit


def test_a_whole_store_rewritten_by_the_operator_is_found_by_a_kept_root_checkpoint(tmp_path):
    honest, fork = Operator(tmp_path / "a"), Operator(tmp_path / "b")
    for operator, text in ((honest, ""), (fork, "fork")):
        operator.append("verdicts", 0, [verdict(0, extra=text)])
        operator.close()
    kept = LogStore(str(honest.folder)).read("gim/root/checkpoint")
    assert [(f.log, f.kind) for f in check(fork, kept).findings] == [("gim/root", "anchored")]


def test_a_store_rolled_back_to_an_older_state_is_found_by_a_kept_checkpoint(tmp_path):
    operator = Operator(tmp_path / "evidence")
    operator.append("verdicts", 0, [verdict(0)])
    operator.close()
    shutil.copytree(operator.folder, tmp_path / "old")
    operator.append("verdicts", 0, [verdict(1)])
    operator.close()
    kept = LogStore(str(operator.folder)).read(f"{VERDICTS}/checkpoint")
    operator.folder = tmp_path / "old"
    assert check(operator).ok
    found = check(operator, kept).findings
    assert [(f.log, f.kind, f.leaf) for f in found if "cut short" in f.what] == [(VERDICTS, "anchored", 1)]


def test_a_log_cut_short_with_an_older_genuine_checkpoint_is_found(tmp_path):
    operator = Operator(tmp_path / "evidence")
    operator.append("verdicts", 0, [verdict(offset) for offset in range(10)])
    operator.close()
    shutil.copytree(operator.folder / VERDICTS, tmp_path / "old")
    operator.append("verdicts", 0, [verdict(offset) for offset in range(10, 20)])
    operator.close()
    shutil.rmtree(operator.folder / VERDICTS)
    shutil.copytree(tmp_path / "old", operator.folder / VERDICTS)
    found = check(operator).findings
    assert any("older than gim/root says: 10 leaves, 20" in f.what and f.file == "checkpoint" for f in found)
    assert any("missing" in f.what and f.file == "tile/entries/000.p/20" for f in found)


def test_a_checkpoint_file_rolled_back_alone_is_found(tmp_path):
    operator = Operator(tmp_path / "evidence")
    old = operator.append("verdicts", 0, [verdict(0)])
    operator.append("verdicts", 0, [verdict(1)])
    operator.close()
    (operator.folder / VERDICTS / "checkpoint").write_bytes(old)
    assert [(f.log, f.file) for f in check(operator).findings] == [(VERDICTS, "checkpoint")]


def test_a_removed_log_is_found(small):
    shutil.rmtree(small.folder / "gim/config")
    assert {f.log for f in check(small).findings} == {"gim/config/0"}


def test_a_removed_root_log_is_found(small):
    shutil.rmtree(small.folder / "gim/root")
    report = check(small)
    assert any(f.log == "gim/root" and f.file == "checkpoint" for f in report.findings)
    assert not report.as_json()["complete"]


def test_a_checkpoint_of_another_log_is_refused(small):
    shutil.copy(small.folder / "gim/config/0/checkpoint", small.folder / "gim/verdicts/1/checkpoint")
    assert any("is of the log gim/config/0" in f.what and f.log == "gim/verdicts/1" for f in check(small).findings)


def test_a_kept_checkpoint_that_is_not_signed_is_refused(small):
    forged = small.signer.sign("gim/verdicts/0\n1\n" + "A" * 43 + "=\n").replace(b"\n1\n", b"\n2\n")
    found = check(small, forged).findings
    assert [(f.kind, f.file) for f in found] == [("anchored", "kept-0")]


# --- completeness -----------------------------------------------------------------------------------------------------


def complete(operator: Operator, records: list[Plain]) -> list[tuple[str, int | None, str | None, str]]:
    operator.append("verdicts", 0, records)
    operator.close()
    report = check(operator)
    assert report.as_json()["consistent"]
    return [(f.log, f.leaf, f.field, f.what) for f in report.findings]


def test_a_record_lost_before_the_audit_shows(operator):
    found = complete(operator, [verdict(0), verdict(1), verdict(3), verdict(4)])
    assert [place[:3] for place in found] == [(VERDICTS, 2, "headers")]
    assert "records 2 to 2 of writer gim-policy-gim.decisions-0 are missing" in found[0][3]


def test_a_loss_at_the_very_beginning_shows(operator):
    assert "records 0 to 0" in complete(operator, [verdict(1), verdict(2)])[0][3]


def test_two_writers_under_one_name_show(operator):
    """A zombie goes on numbering where it was, in the midst of its successor's records."""
    records = [verdict(0), verdict(1), verdict(2), replace(verdict(1, decision=7), offset=3), verdict(4, seq=3)]
    found = complete(operator, records)
    assert "two writers under one name (a zombie)" in found[0][3]
    assert found[0][:2] == (VERDICTS, 3)


def test_a_decision_judged_twice_shows(operator):
    found = complete(operator, [verdict(0), verdict(1), verdict(2, decision=1)])
    assert found[0][:3] == (VERDICTS, 2, "key")
    assert "second gate verdict of decision gim.decisions/0/1" in found[0][3]


def test_a_second_final_verdict_shows(operator):
    finals = [verdict(offset, decision=0, stage="final") for offset in (1, 2)]
    assert "second final verdict" in complete(operator, [verdict(0), *finals])[0][3]


def test_several_writers_of_one_partition_are_counted_apart(operator):
    other = verdict(1, seq=0, writer="gim-policy-existing-0", decision=1)
    assert complete(operator, [verdict(0), other, verdict(2, seq=1)]) == []


def test_a_verdict_without_number_is_incomplete(operator):
    assert "no proper govern-seq" in complete(operator, [replace(verdict(0), headers=())])[0][3]


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_what_and_where_and_exits_by_the_result(small, tmp_path, capsys):
    key = tmp_path / "gim.verifier"
    key.write_text(small.key + "\n")
    kept = tmp_path / "kept"
    kept.write_bytes((small.folder / VERDICTS / "checkpoint").read_bytes())
    assert main(["verify", str(small.folder), "--key", str(key), "--since", str(kept)]) == 0
    assert "gim/verdicts/0: 270 leaves, consistent, anchored to leaf 270, complete" in capsys.readouterr().out
    assert main(["verify", str(small.folder), "--key", str(key), "--since", str(small.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["anchored"] is True

    bundle = small.folder / VERDICTS / bundle_path(0)
    bundle.write_bytes(bundle.read_bytes().replace(b"gim.decisions/0/33", b"gim.decisions/0/34", 1))
    assert main(["verify", str(small.folder), "--key", str(key), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["consistent"], report["anchored"], report["complete"]) == (False, False, None, True)
    assert [(f["log"], f["leaf"], f["file"]) for f in report["findings"]] == [(VERDICTS, 33, "tile/entries/000")]

    assert main(["verify", str(tmp_path / "nothing"), "--key", str(key)]) == 2
    assert main(["verify", str(small.folder), "--key", str(kept)]) == 2
    assert "cannot check" in capsys.readouterr().err


def test_the_zipapp_checks_evidence_alone(small, tmp_path):
    """In an interpreter that cannot see this project, and with nothing but `cryptography`."""
    app, key = tmp_path / "verifier.pyz", tmp_path / "key"
    app.write_bytes(zipapp())
    assert zipapp() == app.read_bytes()
    key.write_text(small.key)
    assert zipfile.ZipFile(app).namelist() == ["__main__.py"]
    command = [sys.executable, "-I", str(app), "verify", str(small.folder), "--key", str(key), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(done.stdout)["ok"] is True


def test_the_verifier_is_one_file_that_a_person_can_read():
    source = Path(sys.modules[verify.__module__].__file__ or "").read_text()
    imports = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imports - set(sys.stdlib_module_names) == {"cryptography"}
    assert len(source.splitlines()) <= 800


def test_a_damaged_key_file_is_no_key():
    for text in ("", "gim", "gim+00000000+AAAA", "gim+1234abcd+" + "A" * 44, "a\nb"):
        with pytest.raises(Unusable):
            Key(text)


def test_entries_in_the_store_are_what_was_written(small):
    bundle = (small.folder / VERDICTS / bundle_path(0)).read_bytes()
    assert entries.decode(split_bundle(bundle)[33]).key == b"gim.decisions/0/33"
    note = (small.folder / VERDICTS / "checkpoint").read_bytes()
    assert split_note(note)[0].splitlines()[:2] == [VERDICTS, "270"]
    assert hashlib.sha256(b"").hexdigest() not in bundle.hex()


def test_the_report_reads_as_a_sentence_for_each_fault(small, tmp_path, capsys):
    key = tmp_path / "key"
    key.write_text(small.key)
    tile = small.folder / VERDICTS / "tile/1/000.p/1"
    tile.write_bytes(bytes(32))
    assert main(["verify", str(small.folder), "--key", str(key)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert "gim/verdicts/0: 270 leaves, NOT CONSISTENT, anchored: not shown (no --since), complete" in printed
    assert printed[-2:] == [
        "WRONG gim/verdicts/0 leaf 0 [tile/1/000.p/1]: hash 0 is not that of leaves 0 to 255",
        "FAILED: 1 things are wrong",
    ]
    with pytest.raises(SystemExit):
        main(["verify"])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["verify", str(small.folder), "--key", str(key), "--since", str(empty)]) == 2


@pytest.mark.parametrize(
    ("record", "field", "what"),
    [
        (replace(verdict(0), value=b"no JSON"), "value", "JSON object"),
        (replace(verdict(0), value=None), "value", "JSON object"),
        (replace(verdict(0), key=b"gim.decisions/0/1"), "key", "not those of one decision"),
        (replace(verdict(0), key=None), "key", "not those of one decision"),
        (replace(verdict(0), topic="gim.flags"), "topic", "another topic"),
        (replace(verdict(0), partition=1), "partition", "another partition"),
    ],
)
def test_a_record_that_does_not_belong_is_named_even_when_it_was_signed(operator, record, field, what):
    operator.append("verdicts", 0, [record])
    operator.close()
    found = check(operator).findings
    assert [(f.log, f.leaf, f.field) for f in found] == [(VERDICTS, 0, field)]
    assert what in found[0].what


def test_offsets_that_do_not_increase_across_batches_are_found(operator):
    operator.append("verdicts", 0, [verdict(0, at=5)])
    operator.append("verdicts", 0, [verdict(1, at=5)])
    operator.close()
    assert [(f.leaf, f.field, f.what) for f in check(operator).findings] == [(1, "offset", "offset 5 comes after 5")]


def test_checkpoints_that_go_backwards_are_found(operator):
    old = operator.append("verdicts", 0, [verdict(0)])
    operator.append("verdicts", 0, [verdict(1)])
    operator.published.append(Plain("gim.checkpoints", 0, 99, 1, b"gim/verdicts/0", old))
    operator.close()
    found = check(operator).findings
    assert [(f.log, f.leaf, f.kind) for f in found] == [("gim/root", 2, "complete")]
    assert "go backwards: 1 leaves after 2" in found[0].what


@pytest.mark.parametrize("value", [None, b"junk", b"gim/verdicts/0\n1\n\n"])
def test_a_record_of_the_root_log_that_is_no_checkpoint_is_found(operator, value):
    operator.append("verdicts", 0, [verdict(0)])
    operator.published.append(Plain("gim.checkpoints", 0, 99, 1, b"gim/verdicts/0", value))
    operator.close()
    assert [(f.log, f.leaf) for f in check(operator).findings] == [("gim/root", 1)]


def test_a_checkpoint_under_another_logs_key_is_found(operator):
    note = operator.append("verdicts", 0, [verdict(0)])
    operator.published.append(Plain("gim.checkpoints", 0, 99, 1, b"gim/verdicts/1", note))
    operator.close()
    assert [(f.log, f.leaf, f.field) for f in check(operator).findings] == [("gim/root", 1, "key")]


def test_a_stray_file_is_mentioned_and_harms_nothing(small):
    (small.folder / VERDICTS / "tile/0/.000.123.new").write_bytes(b"left by a killed writer")
    report = check(small)
    assert report.ok
    assert [log.notes for log in report.logs if log.origin == VERDICTS] == [
        ["1 files are not part of the signed log, the first is tile/0/.000.123.new"]
    ]


def test_files_beyond_the_checkpoint_are_no_evidence_and_no_fault(small):
    """A lane died after writing its files: nothing was signed, and when it comes back it writes them again."""
    state, files, _ = extend(small.states[VERDICTS], [entries.encode(verdict(270))[0]])
    LogStore(str(small.folder)).write(files)
    report = check(small)
    assert report.ok, report.as_text()
    assert state.size == 271
    assert {log.origin: log.tree.size for log in report.logs}[VERDICTS] == 270
