"""docs/escalation.md: its example can be used as it stands, and does what the page says of it."""

from __future__ import annotations

from agents.configuration import Configuration
from agents.configuration_yaml import read_configuration
from agents.escalation.digesting import remarks
from agents.people_events import Status
from tests.unit.escalation.lane import Lane, flag
from tests.unit.test_docs import fenced

PAGE = "docs/escalation.md"


def example() -> Configuration:
    """The page's configuration."""
    (text,) = fenced(PAGE, "yaml")
    return read_configuration([("escalation.yaml", text)])


def test_the_example_is_a_configuration_without_mistakes() -> None:
    declared = example().escalation
    assert list(declared.people) == ["ann", "bob", "cy", "dee"]
    assert declared.chains["default"].at_deadline == "withhold"


def test_its_first_message_waits_and_its_chain_goes_on_as_the_page_says() -> None:
    lane = Lane(example()).flags(flag(model="credit-limit", count=3, severity="warning", team="credit"))
    lane.wait(19)
    assert lane.told == []
    lane.wait(1)
    assert [(one.channel, one.to) for one in lane.told] == [("mail", ("ann",))]
    lane.wait(15 * 60)
    assert {(one.channel, one.to) for one in lane.told[1:]} == {("mail", ("ann", "bob", "cy")), ("credit-room", ())}
    lane.wait(4 * 3600)
    assert lane.one.status is Status.RESOLVED
    assert [one.effect for one in lane.rulings] == ["block"]


def test_its_urgent_route_pages() -> None:
    lane = Lane(example()).flags(flag("lending/low-score", "credit-limit", severity="critical", team="credit"))
    assert [(one.channel, one.to) for one in lane.told] == [("pager", ("ann",))]
    assert lane.one.chain == "urgent"


def test_a_dead_channel_goes_to_the_platform_team() -> None:
    lane = Lane(example()).flags(flag("channel/mail", None, None, effect=None, severity="error", speaker="notify"))
    assert (lane.one.team, lane.one.chain) == ("platform", "calm")


def test_its_week_goes_to_the_team_s_room_on_monday_morning_in_berlin() -> None:
    assert list(remarks(example())) == [
        "digest of credit-limit: each monday at 08:00 (Europe/Berlin) to credit by credit-room"
    ]
    lane = Lane(example()).wait(1)
    lane.now = 1_773_039_599_000  # Monday 2026-03-09, 07:59:59 in Berlin
    assert lane.step(ticks=[b"{}"]).told == []
    lane.wait(1)
    assert [(one.kind, one.channel, one.title) for one in lane.told] == [
        ("digest", "credit-room", "credit-limit: quiet week")
    ]
