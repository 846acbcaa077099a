"""Numbers are found however they are written, and count only where the facts display them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.triage.figures import figures, unknown
from agents.triage.words import count, share

FACTS = figures(
    [
        "412 decisions are held; n = 4,210; impact ratio 0.62 (interval 0.55 to 0.70).",
        "31.2 % of sex=female, 50.3 % of sex=male; strength of the alarm: 1 in 3,200,000 decisions.",
        "Version 2.2.0 of credit-limit, since 2026-03-02 09:14 UTC; rule fairness/hold-declines; input pay_0.",
        "Incident a1b2-c3d4 was like this one; the reason is ‹words, 97 characters, sha256:80ca0cc0›.",
    ]
)


@pytest.mark.parametrize(
    "text",
    [
        "412 decisions, of 4,210 or 4210 or 4’210",
        "a ratio of 0.62, .62 or 0.620, from 0.55–0.70",
        "31.2%, 31.2 %, 31.2 percent, 31.2 per cent, 0.312, 31.2 to 50.3 % and 31.2 and 50.3%",
        "3.2 million decisions, 3,200,000, 3200k, 3.2e6",
        "four hundred and twelve decisions, four hundred twelve",
        "version 2.2.0, since 2026-03-02 at 09:14 UTC",
        "the rule fairness/hold-declines of the policy fairness, and pay_0",
        "incident a1b2-c3d4",
        "٤١٢ decisions, ４１２ decisions",
        "a 412-decision backlog; one of them, no one, a single one",
        "a third-party caller, a one-sided test; double-check the well-known one-off",
    ],
)
def test_what_the_facts_display_may_be_said_in_any_way_of_writing_it(text: str) -> None:
    assert unknown(text, FACTS) == ([], [])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("413 decisions", 1),
        ("twenty decisions", 1),
        ("twenty-five of a hundred", 2),
        ("3x as many, 3 times, 3-fold, threefold", 4),
        ("it doubled, twice, half of them, a third, two thirds, dozens", 7),
        ("12.5 %", 1),
        ("0.125", 1),
        ("412 %", 1),
        ("62% fewer? no: 6.2 %", 1),
        ("٧ decisions, ７ decisions, ½, ⅔", 2),
        ("zwanzig, veinte, vingt", 3),
        ("1.5M and 10k", 2),
        ("one in fifty", 1),
        ("97 characters", 1),
        ("10⁶", 0),
        ("¾ of them", 0),
        ("two-thirds of them, one-half, three-quarters", 0),
        ("a three-day outage, six-fold", 2),
        ("one-in-three, half-a-million, vingt-deux", 1),
        ("twentyfive decisions and ninetynine", 2),
    ],
)
def test_a_number_that_is_not_displayed_is_found(text: str, numbers: int) -> None:
    found, ids = unknown(text, FACTS)
    assert len(found) == numbers
    assert found or ids


@pytest.mark.parametrize(
    "text",
    [
        "version 2.2.1",
        "since 2026-03-03",
        "at 09:15",
        "incident a1b2-c3d5",
        "the rule fairness/release",
        "pay_9",
        "sha256:80ca0cc0",
        "phase XII",
        "features.secret",
        "10^6",
        "1/3 of them",
    ],
)
def test_an_id_or_date_that_is_not_displayed_is_found(text: str) -> None:
    numbers, ids = unknown(text, FACTS)
    assert not numbers
    assert len(ids) == 1


@given(st.integers(2, 10**12), st.integers(2, 10**12))
def test_a_number_passes_only_where_it_stands(displayed: int, said: int) -> None:
    known = figures([f"{count(displayed)} decisions"])
    assert (unknown(f"there are {said:,} of them", known) == ([], [])) == (
        displayed in (said, said * 100, said / 100)
    ) or (displayed == said)


@given(st.floats(0, 1))
def test_a_share_passes_as_it_is_displayed(part: float) -> None:
    assert unknown(f"about {share(part)} of them", figures([f"{share(part)} of the decisions"])) == ([], [])
