"""Parts of snapshots that are cut: each slice fits, and what was cut is joined again."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agents.slices import SLICE, Slices
from orchestration.snapshots import PART_BYTES

values = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | st.text(), lambda some: st.lists(some) | st.dictionaries(st.text(), some)
)


@given(values.filter(bool), st.integers(0, 3))
def test_what_was_cut_is_joined_to_the_same(content: Any, before: int) -> None:
    slices = Slices({"p": before})
    cut, removed = slices.cut("p", content)
    assert removed == [f"p/{number}" for number in range(1, before)]
    again = Slices()
    assert dict(again.joined(cut)) == {"p": content}
    assert again.written == slices.written == {"p": 1}


def test_no_sign_makes_a_slice_too_large() -> None:
    for sign in ("a", '"', "\\", "\x00", "\x7f", "é", "信", "😀"):
        cut, _ = Slices().cut("p", [sign * SLICE])
        assert len(cut) >= 2
        assert max(len(msgspec.json.encode(one)) for one in cut.values()) < PART_BYTES - 50_000, sign
        assert next(Slices().joined(cut)) == ("p", [sign * SLICE])


def test_where_there_is_nothing_nothing_is_written_and_what_was_there_goes() -> None:
    assert Slices({"p": 2}).cut("p", {}) == ({}, ["p/0", "p/1"])
