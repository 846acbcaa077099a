"""What docs/formats.md says of reviews is enough to write one that counts."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.dsse import Public
from agents.escalation.answers import ORDER, Accepted
from agents.escalation.declared import Escalation
from agents.escalation.samples import sample_of
from agents.escalation.signed import Signer, signer_of
from agents.examples import EXAMPLE_KEY, REVIEW
from agents.people_events import MATERIAL, Incident, Review, shown_digest
from tests.unit.escalation.asking import NOW, PLACE, World, at, configuration, incident

PAGE = (Path(__file__).parents[3] / "docs/formats.md").read_text("utf-8")


def example() -> dict[str, Any]:
    """The names that the page's example leaves."""
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    left: dict[str, Any] = {}
    exec(code[1], left)  # our own page
    return left


def test_the_examples_review_counts_where_its_key_is_declared():
    left = example()
    raw = left["key"].public_key().public_bytes_raw()
    people = {"ann": {"name": "Ann", "roles": ["reviewer"], "keys": [Public(raw).text]}}
    teams = {"credit": {"members": ["ann"]}}
    found = World(configuration(people=people, teams=teams)).check(left["value"])
    assert isinstance(found, Accepted), found
    assert (found.data.person, found.keyid) == ("ann", left["keyid"])
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    people["ann"]["keys"] = [Public(other).text]
    assert not isinstance(World(configuration(people=people, teams=teams)).check(left["value"]), Accepted)


def test_what_was_seen_can_be_computed_from_the_record_as_the_page_says():
    shown = incident(version=None, opened_ms=NOW)
    event = Incident(id="7f29-k1mq/4", source="/gim/escalation", data=shown)
    record = json.loads(event.model_dump_json(exclude_none=True, by_alias=True))["data"]
    named = re.search(r"\{(incident, status, severity[^}]*)\}", PAGE)
    assert named is not None
    names = re.split(r",\s+", named[1])
    assert set(names) == {"incident", *MATERIAL}
    fields = {name: record.get(name, "" if name == "reason" else None) for name in names}
    fields["status"] = "open"
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "sha256:" + hashlib.sha256(text.encode()).hexdigest() == shown_digest(shown)


def test_which_decisions_must_be_opened_can_be_computed_as_the_page_says():
    many = incident(sample=[at(offset) for offset in (3, 14, 15, 92, 65, 35)])

    def place(offset: int) -> bytes:
        return hashlib.sha256(f"7f29-k1mq\0gim.decisions/0/{offset}".encode()).digest()

    expected = sorted((3, 14, 15, 65, 35), key=place)[:2]
    assert [one.offset for one in sample_of(many, {PLACE: 80}, 2)] == expected


def test_the_page_on_answers_names_every_reason_in_the_order_of_the_checks():
    page = (Path(__file__).parents[3] / "docs/answers.md").read_text("utf-8")
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) == ORDER


def test_the_published_example_of_a_review_is_really_signed():
    declared = Escalation(console_keys={"main": EXAMPLE_KEY.public.text})
    golden = Path(__file__).parents[2] / "golden/contract/review.v1.json"
    for review in (REVIEW, Review.model_validate_json(golden.read_bytes())):
        assert signer_of(review, declared) == Signer(EXAMPLE_KEY.public.keyid, "main")
    assert not isinstance(signer_of(REVIEW, Escalation(console_keys={"main": Public(bytes(32)).text})), Signer)
