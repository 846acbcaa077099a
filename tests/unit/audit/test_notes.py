"""Signed notes and checkpoints: the published examples, and everything that must not pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.audit.notes import Checkpoint, Signer, Verifier, split_note
from agents.audit.verify import Bad, Key
from agents.errors import Inconsistent, Misconfigured

# The example of the signed-note package of the Go checksum database, and that of the C2SP specification.
SIGNER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
OTHER_VERIFIER = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
OTHER_SIGNATURE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
C2SP_VERIFIER = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
C2SP_CHECKPOINT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
NOTE = f"{TEXT}\n{SIGNATURE}".encode()


def test_the_reference_examples_verify_and_are_reproduced_byte_for_byte():
    assert Signer.parse(SIGNER).sign(TEXT) == NOTE
    assert str(Signer.parse(SIGNER).verifier) == VERIFIER
    assert Signer.parse(SIGNER).encoded() == SIGNER
    assert Verifier.parse(VERIFIER).open(NOTE) == TEXT
    assert Verifier.parse(C2SP_VERIFIER).open(C2SP_NOTE.encode()) == "This is an example message.\n"


def test_a_second_signature_by_another_key_is_tolerated():
    note = NOTE + OTHER_SIGNATURE.encode()
    assert Verifier.parse(VERIFIER).open(note) == TEXT
    assert Verifier.parse(OTHER_VERIFIER).open(note) == TEXT
    assert [name for name, _ in split_note(note)[1]] == ["PeterNeumann", "EnochRoot"]


def test_a_checkpoint_reads_as_the_specification_shows_it():
    found = Checkpoint.parse(C2SP_CHECKPOINT)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert found.text() == C2SP_CHECKPOINT
    assert Checkpoint.parse(C2SP_CHECKPOINT + "extension\n") == found


@pytest.mark.parametrize(
    "note",
    [
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n{SIGNATURE}"[:-1],
        f"{TEXT}{SIGNATURE}",
        f"{TEXT}\n{SIGNATURE.replace('— ', '- ')}",
        f"{TEXT}\n{SIGNATURE.replace('=', '')}",
        f"{TEXT}\n— PeterNeumann AAAA\n",
        f"{TEXT}\n— PeterNeumann\n",
        f"{TEXT}\r\n\n{SIGNATURE}",
        f"{TEXT}\n{OTHER_SIGNATURE}",
        f"{TEXT}x\n\n{SIGNATURE}",
        f"{TEXT}\n{SIGNATURE.replace('x08go', 'x08gp')}",
        f"{TEXT}\n{SIGNATURE.replace('nAM=', 'nAN=')}",
    ],
)
def test_a_note_that_is_not_exactly_right_is_refused(note):
    with pytest.raises(Inconsistent):
        Verifier.parse(VERIFIER).open(note.encode())
    with pytest.raises(Inconsistent):
        Verifier.parse(VERIFIER).open(b"\xff" + NOTE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gim/root\n1\n",
        C2SP_CHECKPOINT[:-1],
        C2SP_CHECKPOINT.replace("20852163", "020852163"),
        C2SP_CHECKPOINT.replace("20852163", "-1"),
        C2SP_CHECKPOINT.replace("20852163", "٣"),
        C2SP_CHECKPOINT.replace("q2I=", "q2J="),
        C2SP_CHECKPOINT.replace("CsUYapGG", ""),
        "\n1\n" + "A" * 43 + "=\n",
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused(text):
    with pytest.raises(Inconsistent):
        Checkpoint.parse(text)
    signer = Signer("example.com", bytes(32))
    if text.endswith("\n"):
        with pytest.raises(Bad):
            Key(str(signer.verifier)).open(signer.sign(text))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "PeterNeumann",
        VERIFIER.replace("c74f20a3", "c74f20a4"),
        VERIFIER.replace("ARpc", "AhAA"),
        VERIFIER[:-4],
        SIGNER,
    ],
)
def test_a_damaged_key_is_refused(key):
    with pytest.raises(Misconfigured):
        Verifier.parse(key)
    with pytest.raises(Misconfigured):
        Signer.parse(key.replace("AYEK", "AYEL"))


def test_a_private_key_never_shows_in_messages():
    signer = Signer.parse(SIGNER)
    assert "AYEK" not in repr(signer)
    with pytest.raises(Misconfigured) as caught:
        Signer.parse(SIGNER.replace("c74f20a3", "c74f20a4"))
    assert "AYEK" not in str(caught.value)


@given(st.integers(0, 2**62), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_what_the_lane_signs_the_auditor_reads(size, root, seed):
    signer, checkpoint = Signer("gim", seed), Checkpoint("gim/verdicts/3", size, root)
    note = signer.sign(checkpoint.text())
    assert Checkpoint.parse(signer.verifier.open(note)) == checkpoint
    assert Key(f"# a comment\n{signer.verifier}\n").open(note) == ("gim/verdicts/3", size, root)


def test_a_text_without_final_newline_is_not_signed():
    with pytest.raises(ValueError, match="newline"):
        Signer("gim", bytes(32)).sign("x")
