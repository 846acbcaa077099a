"""Profiles: the same bytes again, nothing believed unchecked, and a plain word where another version fitted one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.monitor.compilation import compile_monitors
from agents.monitor.profiles import Profile, fit
from agents.monitor.registry import KINDS
from agents.monitor.state import packed
from tests.unit.monitor.samples import MODEL, view


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Fitted on 2,000 reference decisions."""
    return fit(KINDS, view(2_000, seed=1, stretch=2_000), "m", MODEL, version="1", source="test")


def plain(profile: Profile) -> str:
    return json.dumps(packed(dict(profile.sections)), sort_keys=True)


def configuration(digest: str) -> Configuration:
    model = {**MODEL.model_dump(exclude_defaults=True), "profile": digest}
    calendars = {"office": {"zone": "UTC", "hours": {"mon-fri": "08:00-18:00"}}}
    return Configuration.model_validate(
        {"models": {"m": model}, "calendars": calendars, "monitors": {"data_drift": {}, "behaviour": {}}}
    )


def test_a_profile_comes_back_as_it_was_and_the_same_decisions_give_the_same_digest(profile: Profile) -> None:
    again = Profile.of_bytes(profile.to_bytes(), profile.digest)
    assert plain(again) == plain(profile)
    assert (again.rows, again.version, again.model) == (2_000, "1", "m")
    fitted = fit(KINDS, view(2_000, seed=1, stretch=2_000), "m", MODEL, version="1", source="test")
    assert fitted.digest == profile.digest


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"format":99}', b'{"format":1}'])
def test_what_is_no_profile_is_refused_with_the_mend(damage: bytes) -> None:
    with pytest.raises(Misconfigured, match="fit it again"):
        Profile.of_bytes(damage)


def test_altered_bytes_are_refused_by_their_digest(profile: Profile) -> None:
    with pytest.raises(Misconfigured, match="are not those of sha256:"):
        Profile.of_bytes(profile.to_bytes().replace(b'"rows":2000', b'"rows":2001'), profile.digest)


@pytest.mark.parametrize("kind", ["data_drift", "behaviour"])
def test_a_profile_of_another_version_that_lacks_something_says_fit_it_again(profile: Profile, kind: str) -> None:
    section = dict(list(profile.sections[kind].items())[1:])
    stale = replace(profile, sections={**profile.sections, kind: section}, _bytes=b"")
    with pytest.raises(Misconfigured, match=r"profile.*fit (it|the profile) again"):
        compile_monitors(configuration(stale.digest), {stale.digest: stale})


def test_a_monitor_without_a_profile_waits_and_says_for_what(profile: Profile) -> None:
    with_profile = compile_monitors(configuration(profile.digest), {profile.digest: profile})["m"]
    without = compile_monitors(configuration(profile.digest), {})["m"]
    assert [one.ready for one in with_profile.monitors] == [None, None]
    assert all("profile" in (one.ready or "") for one in without.monitors)
