"""Signed statements: what the specification prescribes, and an envelope that another implementation made."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from agents.dsse import LIMIT, BadEnvelope, Envelope, Private, Public, canonical, pae, parse_public

# RFC 8032, section 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
KIND = "application/vnd.governance.review.v1+json"
STATEMENT = {"id": "01JQ", "data": {"action": "approve", "reason": "größer"}}
SWAPPED = base64.b64encode(canonical(STATEMENT)).decode()


def test_the_encoding_that_is_signed_is_that_of_the_specification():
    # DSSE v1.0.2, protocol.md: its own example
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("", b"") == b"DSSEv1 0  0 "
    assert pae("ü", b"\x00 1") == b"DSSEv1 2 \xc3\xbc 3 \x00 1"  # lengths are of bytes


def test_the_key_is_that_of_rfc_8032():
    assert Private(SEED).public.raw == PUBLIC
    assert parse_public(Private(SEED).public.text).raw == PUBLIC
    assert repr(Private(SEED)) == "Private()"


def independent(kind: str, payload: bytes, seed: bytes = SEED, **changes) -> str:
    """An envelope by the specification alone, without any code of ours."""
    message = b"DSSEv1 " + str(len(kind.encode())).encode() + b" " + kind.encode()
    message += b" " + str(len(payload)).encode() + b" " + payload
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(message)
    one = {"keyid": "whatever", "sig": base64.b64encode(signature).decode()}
    return json.dumps(
        {"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": [one], **changes}
    )


def test_an_envelope_of_another_implementation_is_verified_and_ours_by_another():
    payload = json.dumps(STATEMENT, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    Envelope.parse(independent(KIND, payload)).verify(KIND, STATEMENT, Public(PUBLIC))
    ours = json.loads(Private(SEED).sign(KIND, STATEMENT))
    assert base64.b64decode(ours["payload"]) == payload
    message = b"DSSEv1 41 %s %d %s" % (KIND.encode(), len(payload), payload)
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(base64.b64decode(ours["signatures"][0]["sig"]), message)


def test_the_envelope_is_frozen():
    assert Private(SEED).sign(KIND, STATEMENT) == (
        '{"payload":"eyJkYXRhIjp7ImFjdGlvbiI6ImFwcHJvdmUiLCJyZWFzb24iOiJncsO2w59lciJ9LCJpZCI6IjAxSlEifQ==",'
        '"payloadType":"application/vnd.governance.review.v1+json",'
        '"signatures":[{"keyid":"39f713d0a644253f","sig":"rq2UXpFefmeDD2sT3cw8Q6xSfcJTCz+T17vRWnlcU3WulvdQSROcYj16xCu4TKFSSPj63hx//GNA4CsMtMAjDQ=="}]}'
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (independent("application/json", canonical(STATEMENT)), "the payload is 'application/json'"),
        (independent(KIND, b"{}"), "what was signed is not what the event says"),
        (independent(KIND, canonical(STATEMENT), bytes(32)), "not signed by the key"),
        (independent(KIND, canonical(STATEMENT), signatures=[]), "not signed by the key"),
        (independent(KIND, b"{}").replace(base64.b64encode(b"{}").decode(), SWAPPED), "not signed by the key"),
    ],
)  # fmt: skip
def test_what_is_not_signed_as_it_stands_is_refused(text, why):
    with pytest.raises(BadEnvelope, match=why):
        Envelope.parse(text).verify(KIND, STATEMENT, Public(PUBLIC))


def test_one_good_signature_among_others_is_enough():
    envelope = json.loads(independent(KIND, canonical(STATEMENT)))
    envelope["signatures"].insert(0, {"keyid": "other", "sig": base64.b64encode(bytes(64)).decode()})
    Envelope.parse(json.dumps(envelope)).verify(KIND, STATEMENT, Public(PUBLIC))


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists).map(json.dumps))
def test_whatever_the_text_is_it_is_an_envelope_or_refused(text):
    with pytest.raises(BadEnvelope):
        Envelope.parse(text)


def test_an_envelope_that_is_too_large_is_not_looked_at():
    with pytest.raises(BadEnvelope, match="more than 262,144"):
        Envelope.parse(independent(KIND, bytes(LIMIT)))


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 44, "ed25519:" + "ü" * 44])
def test_what_is_no_public_key_is_refused_with_the_mend(text):
    with pytest.raises(ValueError, match="govern key new"):
        parse_public(text)
