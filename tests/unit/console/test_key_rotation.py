"""Another key for the console: what the old one signed goes on counting, and nothing is answered in vain in between."""

from __future__ import annotations

import base64
import html
import shutil
from pathlib import Path
from typing import Any

from agents.configuration import Configuration
from agents.configuration_yaml import read_configuration
from agents.dsse import Private
from agents.people_events import REVIEW_KIND, IncidentData, Review, ReviewData
from orchestration import signing_keys
from orchestration.settings import Settings
from tests.unit.console.served import answer, configuration, serve, signed_in
from tests.unit.console.test_answering import told
from tests.unit.escalation import lane as world
from tests.unit.escalation.test_attacks import approval

OLD, NEW = Private(b"o" * 32), Private(b"n" * 32)


def declared(**keys: Private) -> Configuration:
    """Two reviewers must agree; the console has these keys."""
    return world.declared(
        console_keys={name: key.public.text for name, key in keys.items()},
        chains={"default": {"quorum": {"people": 2}}},
    )


def said(key: Private, incident: IncidentData, person: str, **more: Any) -> bytes:
    """What the console sends for a signed-in person."""
    data = ReviewData.model_validate({**approval(incident, person), "login": "sha256:5e55", **more})
    review = Review(id=f"console/{person}-{key.public.keyid}", source="/gim/console", data=data)
    signed = base64.b64encode(key.sign(REVIEW_KIND, review.statement()).encode()).decode()
    return review.model_copy(update={"dssematerial": signed}).model_dump_json(exclude_none=True).encode()


def reasons(lane: world.Lane) -> list[str]:
    return [one["reason"] for one in lane.refusals]


def test_an_answer_of_the_old_key_and_one_of_the_new_rule_together() -> None:
    lane = world.Lane(declared(console=OLD)).flags(world.flag(count=2))
    lane.step(reviews=[said(OLD, lane.one, "ann")])
    assert lane.one.agreement is not None
    lane.agent.switch(declared(console=OLD, next=NEW))
    lane.step(reviews=[said(NEW, lane.one, "bob")])
    (ruling,) = lane.rulings
    assert (set(ruling.people), reasons(lane)) == ({"ann", "bob"}, [])


def test_an_old_answer_that_was_on_its_way_counts_while_both_are_declared_and_not_after() -> None:
    lane = world.Lane(declared(console=OLD, next=NEW)).flags(world.flag(count=2))
    late = said(OLD, lane.one, "ann")
    lane.step(reviews=[late])
    assert reasons(lane) == []
    lane.agent.switch(declared(next=NEW))
    lane.step(reviews=[said(OLD, lane.one, "bob")])
    assert reasons(lane) == ["unknown-key"]
    assert lane.rulings == []
    assert lane.one.agreement is not None, "what was said before stands"
    lane.step(reviews=[said(NEW, lane.one, "bob")])
    assert {person for one in lane.rulings for person in one.people} == {"ann", "bob"}


def test_an_answer_before_the_new_key_is_declared_has_no_effect() -> None:
    lane = world.Lane(declared(console=OLD)).flags(world.flag(count=2))
    lane.step(reviews=[said(NEW, lane.one, "ann")])
    assert (reasons(lane), lane.rulings, lane.one.agreement) == (["unknown-key"], [], None)


async def test_a_page_shows_the_lines_that_keep_the_old_key_and_takes_answers_once_they_are_in_force(
    tmp_path: Path,
) -> None:
    now = [configuration(console_keys={"console": OLD.public.text})]
    served = serve(tmp_path, configuration=lambda: now[0], key=NEW)
    async with signed_in(served, "dana") as browser:
        text = html.unescape((await browser.get("/")).text)
        assert "Answers given here would not count" in text
        lines = text[text.index("escalation:\n") :].split("<")[0]
        added = read_configuration([("lines.yaml", "models: {credit-limit: {}}\n" + lines)]).escalation.console_keys
        assert set(added.values()) == {NEW.public.text}
        assert "console" not in added, "the old key keeps its name"
        refused = await answer(browser)
        assert (refused.status_code, served.lane.sent) == (403, [])
        assert "would not count" in refused.text
        now[0] = configuration(console_keys={"console": OLD.public.text, **added})
        assert "would not count" not in (await browser.get("/")).text
        assert await told(browser, await answer(browser)) == "effect: dana answered: approve"


def test_a_console_signs_with_the_file_that_lies_there_when_it_starts(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", keys_dir=tmp_path / "keys")  # type: ignore[call-arg]
    old = signing_keys.console_key(settings)
    new = signing_keys.make(signing_keys.console_path(settings, tmp_path / "next"), settings)
    assert signing_keys.console_key(settings) == old
    shutil.move(signing_keys.console_path(settings), tmp_path / "old.key")
    shutil.move(signing_keys.console_path(settings, tmp_path / "next"), signing_keys.console_path(settings))
    assert signing_keys.console_key(settings) == new != old
