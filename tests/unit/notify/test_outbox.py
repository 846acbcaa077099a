"""The outbox: order within an incident and channel, nothing sent twice, nothing pointless sent, nothing lost by a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import Malformed
from agents.records import Plain
from agents.told_events import Notification
from orchestration.notify.outbox import SPOKEN, Entry, Outbox
from tests.unit.notify.parts import delivered, record


def folded(*records: Plain, known: int = 0) -> Outbox:
    """The outbox after these records; those before `known` were committed by an earlier life."""
    outbox = Outbox()
    for one in records:
        outbox.see(one, known=one.offset < known)
    return outbox


def first(outbox: Outbox, incident: str = "a", channel: str = "chat") -> Entry:
    entry = outbox.first((channel, incident))
    assert entry is not None
    return entry


def test_messages_of_an_incident_go_out_in_their_order_each_channel_by_itself() -> None:
    outbox = folded(record(0, "a"), record(1, "a", "escalate"), record(2, "a", channel="mail"), record(3, "b"))
    assert sorted(outbox.lines()) == [("chat", "a"), ("chat", "b"), ("mail", "a")]
    assert first(outbox).offset == 0
    outbox.finish(first(outbox), "sent")
    assert first(outbox).offset == 1


def test_what_has_a_final_delivery_is_not_sent_again_and_what_is_being_tried_is() -> None:
    a, b, c, d = record(0, "a"), record(1, "b"), record(2, "c"), record(3, "d")
    done = (
        delivered(4, a),
        delivered(5, b, "failed"),
        delivered(6, c, "skipped"),
        delivered(7, d, "retrying", attempts=3),
    )
    outbox = folded(a, b, c, d, *done)
    assert [entry.offset for entry in outbox] == [3]
    assert first(outbox, "d").attempts == 3


def test_the_end_of_an_incident_that_nobody_heard_of_is_not_told_either() -> None:
    outbox = folded(record(0, "a"), record(1, "a", "escalate"), record(2, "a", "resolve"))
    for offset in (0, 1):
        entry = first(outbox)
        assert entry.offset == offset
        assert outbox.pointless(entry) == "the incident was resolved before this could go out"
        outbox.finish(entry, "skipped")
    assert outbox.pointless(first(outbox)) == "nobody was told here that the incident had begun"


def test_the_end_is_told_where_the_beginning_was() -> None:
    outbox = folded(record(0, "a"))
    outbox.finish(first(outbox), "sent")
    outbox.see(record(1, "a", "remind"), known=False)
    outbox.see(record(2, "a", "resolve"), known=False)
    assert outbox.pointless(first(outbox)) is not None
    outbox.finish(first(outbox), "skipped")
    assert outbox.pointless(first(outbox)) is None


def test_the_end_is_told_where_the_beginning_may_have_arrived() -> None:
    crashed = folded(record(0, "a"), record(1, "a", "resolve"), known=1)
    timed_out = folded(record(0, "a"), record(1, "a", "resolve"))
    first(timed_out).doubtful = True
    for outbox in (crashed, timed_out):
        assert outbox.pointless(first(outbox)) is not None
        outbox.finish(first(outbox), "skipped")
        assert outbox.pointless(first(outbox)) is None


def test_an_end_that_another_channel_tells_counts_for_this_one() -> None:
    outbox = folded(record(0, "a"), record(1, "a", "resolve", channel="mail"))
    assert outbox.pointless(first(outbox)) is not None
    outbox.finish(first(outbox, channel="mail"), "sent")
    assert outbox.pointless(first(outbox)) is not None, "also when the other one is done first"


def test_other_incidents_and_digests_are_not_touched_by_an_end() -> None:
    outbox = folded(record(0, "b"), record(1, "a", "digest"), record(2, "a", "resolve"))
    assert outbox.pointless(first(outbox, "b")) is None
    assert outbox.pointless(first(outbox)) is None


def test_a_start_reads_from_the_oldest_that_is_not_done() -> None:
    outbox = folded(record(3, "a"), record(5, "b"), record(9, "c"))
    assert outbox.low(10) == 3
    outbox.finish(first(outbox, "a"), "sent")
    assert outbox.low(10) == 5
    for incident in "bc":
        outbox.finish(first(outbox, incident), "failed")
    assert outbox.low(10) == 10


def test_later_messages_answer_the_first_one_also_after_a_start() -> None:
    outbox = folded(record(0, "a"), record(1, "a", "remind"))
    outbox.finish(first(outbox), "sent", "p1=17.1 p2=17.2")
    outbox.finish(first(outbox), "sent", "p1=18.9 p3=18.3")
    again = Outbox(outbox.remembered())
    assert again.thread(("chat", "a")) == "p1=17.1 p2=17.2 p3=18.3"
    again.see(record(2, "a", "resolve"), known=False)
    again.finish(first(again), "sent", "p1=19.1")
    assert again.remembered() == {}, "an incident that has ended is forgotten"


def test_what_is_remembered_is_bounded() -> None:
    outbox = Outbox()
    for number in range(SPOKEN + 10):
        outbox.see(record(number, f"i{number}"), known=False)
        outbox.finish(first(outbox, f"i{number}"), "sent", f"p={number}")
    remembered = outbox.remembered()
    assert len(remembered) == SPOKEN
    assert "chat i0" not in remembered


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"type":"governance.flag.v1"}', None, b"\xff"])
def test_what_is_neither_message_nor_delivery_is_named(value: bytes | None) -> None:
    with pytest.raises(Malformed, match=r"t/0/7 is neither"):
        Outbox().see(Plain("t", 0, 7, 0, None, value), known=False)


KINDS = st.sampled_from(["trigger", "escalate", "remind", "resolve"])


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["chat", "mail"]), KINDS), max_size=12),
    st.integers(0, 40),
)
def test_wherever_a_crash_falls_a_start_finds_what_has_no_final_record(
    said: list[tuple[str, str, str]], cut: int
) -> None:
    """Whatever was sent and recorded up to a cut of the topic is done; all else is still there, in its order."""
    topic: list[Plain] = []
    for incident, channel, kind in said:
        topic.append(record(len(topic), incident, kind, channel))
        if len(topic) % 3 == 0:
            topic.append(delivered(len(topic), topic[-1]))
    seen = topic[:cut]
    outbox = folded(*seen)
    made = [
        Notification.model_validate_json(one.value or b"").id
        for one in seen
        if b"notification.v1" in (one.value or b"")
    ]
    done = {one.key.decode() for one in seen if b"delivery.v1" in (one.value or b"") and one.key}
    ended = {one for one in done if one.startswith("d")}
    finished = {Notification.model_validate_json(topic[int(one[1:]) - 1].value or b"").id for one in ended}
    assert [entry.id for entry in outbox] == [one for one in made if one not in finished]
