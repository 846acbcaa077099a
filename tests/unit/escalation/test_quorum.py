"""What accepted answers make of an incident: who must agree, on what, and what is recorded of how it was made."""

from dataclasses import replace

from agents.escalation.answers import Accepted
from agents.escalation.case import Case, Vote
from agents.escalation.quorum import Ruled, rule
from agents.events import Effect, Severity
from agents.people_events import Proposal, Resolution, shown_digest
from tests.unit.escalation.asking import CONSOLE, NOW, PLACE, World, answer, at, case, configuration, incident

TWO = {"quorum": {"people": 2}}


def give(case: Case, action: str = "approve", person: str = "ann", **changes) -> Ruled:
    """An answer that counts, ruled on."""
    world = World(case=case)
    changes.setdefault("shown", shown_digest(case.incident))
    data = answer(action, person=person, login="s", **changes)
    found = world.send(data, CONSOLE, id=f"{person}-{action}")
    assert isinstance(found, Accepted), found
    return rule(case, found, world.configuration.escalation)


def test_one_approval_releases_what_it_covers_and_ends_the_incident():
    found = give(case(), opened=[at(3), at(3), at(700)], shown_ms=41_000)
    ruling = found.ruling
    assert ruling is not None
    assert (ruling.resolution, ruling.effect, found.resolves) == (Resolution.APPROVED, Effect.ALLOW, True)
    assert (ruling.through, ruling.items, ruling.keys) == ({PLACE: 100}, None, incident().keys)
    assert (ruling.people, ruling.reviews) == (("ann",), ("gim.reviews/0/7",))
    assert (ruling.kind, ruling.opened, ruling.shown_ms) == ("sample", 1, 41_000)  # 700 is none of these decisions
    assert ruling.reason == "checked three files: the income is right"


def test_what_was_flagged_after_the_page_was_shown_is_left_open():
    found = give(case(), through={PLACE: 60})
    assert (found.ruling.through, found.resolves) == ({PLACE: 60}, False)


def test_approvals_gather_until_enough_different_people_agree():
    first = give(case(chain=TWO))
    assert first.ruling is None
    assert (first.agreement.needed, first.agreement.role, first.agreement.people) == (2, "reviewer", ("ann",))
    again = give(case(chain=TWO, votes=first.votes), reason="said once more", through={PLACE: 90})
    assert (again.ruling, [vote.through for vote in again.votes]) == (None, [{PLACE: 90}])  # her word, not a second one
    second = give(case(chain=TWO, votes=first.votes), person="ben", reason="I agree", through={PLACE: 80})
    assert second.ruling.people == ("ann", "ben")
    assert second.ruling.through == {PLACE: 80}  # what both of them cover
    assert second.ruling.reason == "ann: checked three files: the income is right | ben: I agree"
    assert (second.resolves, second.votes) == (False, first.votes), "what she said of those beyond waits for others"
    assert second.agreement.people == ("ann",)
    third = give(case(chain=TWO, votes=second.votes), person="cid")
    assert (third.ruling.people, third.ruling.through, third.resolves) == (("ann", "cid"), {PLACE: 100}, True)


def test_words_that_have_no_held_decision_in_common_are_no_agreement():
    other = "gim.decisions/1"
    data = incident(through={PLACE: 100, other: 50})
    places = {"waiting": lambda through: 15 * sum(through.get(place, 0) > 0 for place in (PLACE, other))}
    first = give(case(data, chain=TWO, **places), through={PLACE: 100})
    apart = give(case(data, chain=TWO, votes=first.votes, **places), person="ben", through={other: 50})
    assert (apart.ruling, apart.agreement.people) == (None, ("ben",))
    third = give(case(data, chain=TWO, votes=apart.votes, **places), person="cid", through={PLACE: 100, other: 50})
    assert (third.ruling.people, third.ruling.through) == (("ann", "cid"), {PLACE: 100})
    assert third.agreement.people == ("ben",), "of the rest"
    last = give(case(data, chain=TWO, votes=third.votes, **places), person="cid", through={other: 50})
    assert (last.ruling.people, last.ruling.through) == (("ben", "cid"), {other: 50})


def test_one_rejection_rejects_whoever_has_approved():
    first = give(case(chain=TWO))
    found = give(case(chain=TWO, votes=first.votes), "reject", "ben")
    assert (found.ruling.resolution, found.ruling.effect) == (Resolution.REJECTED, Effect.BLOCK)
    assert (found.ruling.people, found.resolves, found.votes) == (("ben",), True, ())


def test_words_count_together_only_on_the_same_state_and_from_people_who_still_may():
    first = give(case(chain=TWO))
    worse = case(incident(severity=Severity.CRITICAL), chain=TWO, votes=first.votes)
    assert give(worse, person="ben").ruling is None
    gone = configuration()
    people = {name: member for name, member in gone.escalation.people.items() if name != "ann"}
    without = gone.escalation.model_copy(update={"people": people})
    accepted = World(case=case(chain=TWO)).send(answer(person="ben", login="s"), CONSOLE)
    assert rule(case(chain=TWO, votes=first.votes), accepted, without).ruling is None
    assert rule(case(chain=TWO, votes=first.votes), accepted, gone.escalation).ruling is not None


def test_different_edits_do_not_agree():
    first = give(case(chain=TWO), "edit", edit={"label": "approve"})
    other = give(case(chain=TWO, votes=first.votes), "edit", "ben", edit={"label": "decline"})
    assert (other.ruling, other.agreement.people) == (None, ("ben",))
    same = give(case(chain=TWO, votes=other.votes), "edit", "cid", edit={"label": "approve"})
    assert same.ruling.people == ("ann", "cid")
    assert (same.ruling.resolution, same.ruling.effect, same.ruling.edit.label) == (
        Resolution.EDITED,
        Effect.BLOCK,
        "approve",
    )


def test_single_decisions_are_ruled_and_the_incident_stays_open():
    found = give(case(), "reject", items=[at(9), at(4), at(9)], opened=[at(4), at(9)])
    assert found.ruling.items == (at(4), at(9))
    assert (found.ruling.kind, found.resolves) == ("individual", False)
    waiting = give(case(chain=TWO), items=[at(4)])
    whole = give(case(chain=TWO, votes=waiting.votes), person="ben")
    assert whole.ruling is None  # one single decision agreed to is no word about all of them
    assert give(case(chain=TWO, votes=whole.votes), person="cid", items=[at(4)]).ruling.people == ("ann", "cid")


def test_asking_back_rules_at_once_and_leaves_everything_held():
    first = give(case(chain=TWO))
    found = give(case(chain=TWO, votes=first.votes), "respond", "ben", response="whose income is it?")
    assert (found.ruling.resolution, found.ruling.effect) == (Resolution.RESPONDED, Effect.HOLD)
    assert (found.ruling.response, found.resolves, found.votes) == ("whose income is it?", False, first.votes)


def test_one_answer_to_many_needs_a_second_person_and_is_called_bulk():
    many = case(incident(held=500, count=500))
    first = give(many)
    assert (first.ruling, first.agreement.needed) == (None, 2)
    second = give(replace(many, votes=first.votes), person="ben")
    assert (second.ruling.kind, second.ruling.opened) == ("bulk", 0)
    refusal = give(many, "reject")
    assert (refusal.ruling, refusal.agreement.action) == (None, "reject")
    assert give(replace(many, votes=refusal.votes), "reject", "ben").ruling.people == ("ann", "ben")
    sampled = give(replace(many, votes=first.votes), person="ben", opened=[at(1), at(2)])
    assert (sampled.ruling.kind, sampled.ruling.opened) == ("sample", 2)


def test_several_answers_to_groups_count_together_and_those_to_opened_decisions_do_not():
    limit = configuration(bulk={"items": 50, "sample": 2}).escalation
    before = case(incident(in_groups={"ann": 50}))
    few = {"items": [at(offset) for offset in range(15)]}

    def ruled(person: str, **changes) -> Ruled:
        found = World(case=before, configuration=configuration(bulk={"items": 5_000})).send(
            answer(person=person, login="s", **{**few, **changes}), CONSOLE, id=person
        )
        assert isinstance(found, Accepted), found
        return rule(before, found, limit)

    mine = ruled("ann", opened=[at(0), at(1)])
    assert (mine.ruling, mine.agreement.needed, mine.in_groups) == (None, 2, None)
    bens = ruled("ben", opened=[at(0), at(1)])
    assert (bens.ruling.kind, bens.in_groups) == ("sample", {"ann": 50, "ben": 15}), "his first group"
    one_by_one = ruled("ann", opened=few["items"])
    assert (one_by_one.ruling.kind, one_by_one.in_groups) == ("individual", None)
    single = ruled("ann", items=[at(3)])
    assert (single.ruling.kind, single.in_groups) == ("individual", None)
    unseen = ruled("ann", items=[at(3)], kind="bulk")
    assert (unseen.ruling, unseen.agreement.needed) == (None, 2), "one by one, and none of them looked at"
    assert ruled("ann", action="reject").ruling is None


def test_decisions_opened_for_an_earlier_answer_make_the_next_one_no_review():
    later = case(incident(held=15), covered={PLACE: 60}, answered={PLACE: [70]})
    earlier = give(later, opened=[at(offset) for offset in (*range(60), 70)])
    assert (earlier.ruling.kind, earlier.ruling.opened) == ("bulk", 0)


def test_a_proposal_needs_one_person_beside_its_author():
    proposal = Proposal(kind="configuration", digest="sha256:" + "3" * 64, author="ann")
    proposed = case(
        incident(proposal=proposal, held=0, through={}, team=None, effect=None), waiting=lambda through: 0, chain=TWO
    )
    found = give(proposed, person="root", through={})
    assert (found.ruling.people, found.ruling.resolution, found.resolves) == (("root",), Resolution.APPROVED, True)
    assert found.ruling.kind == "individual"


def test_a_vote_survives_a_snapshot():
    vote = give(case(chain=TWO), "edit", edit={"score": 0.5}, opened=[at(1)], items=[at(1)]).votes[0]
    assert Vote.restored(vote.plain()) == vote
    assert vote.at_ms == NOW
