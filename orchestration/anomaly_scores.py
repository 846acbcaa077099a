"""What scores single decisions for rules that ask: found by digest in the profile store, checked, and ready to run.

For whoever judges by rules: policy lanes, replays, explanations. A profile that is not there raises NotReady, one that was
altered Misconfigured; neither is ever taken for "no scores", because decisions would then be judged by other values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agents.configuration import Configuration
from agents.monitor.profiles import Profile
from agents.policy.anomalies import Known, Scores
from agents.policy.columns import ANOMALY
from agents.policy.rules import compiled
from agents.policy.standing import Standing
from orchestration.profile_store import ProfileStore

SECTION = "anomaly"
"""Of a profile: what the monitor of single anomalies keeps there."""
Find = Callable[[str], Profile]
"""The profile of a digest; raises NotReady and Misconfigured as `ProfileStore.get`."""


def scores_of(profile: Profile) -> Scores | None:
    """What computes the columns of ANOMALY; None where the profile has no anomaly scores. Raises Misconfigured if damaged."""
    section = profile.sections.get(SECTION)
    if section is None:
        return None
    from agents.monitor.conformal import Anomalies  # scikit-learn comes with it: a second or more

    return Anomalies(section)


def known_of(digests: Iterable[str], find: Find) -> Known:
    """The scores of profiles by their digests; raises as `find`."""
    return {digest: scores_of(find(digest)) for digest in sorted(digests)}


def known_among(configuration: Configuration, profiles: Iterable[Profile]) -> Known:
    """Of the profiles at hand, the scores of those that the rules ask for; judging names one that is missing."""
    wanted = {*compiled(configuration).profiles.values()}
    return {digest: scores_of(one) for one in profiles if (digest := one.digest) in wanted}


def standing_of(configuration: Configuration, find: Find) -> Standing:
    """A configuration in force and nothing else, with the scores that its rules ask for; raises as `find`."""
    return Standing.of(configuration, known_of({*compiled(configuration).profiles.values()}, find))


def check(configuration: Configuration, store: ProfileStore) -> list[str]:
    """Try what rules would read of each model; remarks in plain words.

    Raises NotReady where policy lanes would wait and decide nothing, Misconfigured where they would fail.
    """
    standing, told = standing_of(configuration, store.get), []
    for model in standing.rules.profiles:
        if None in standing.rules.around(model, {}, 0, standing, [*ANOMALY]).values():
            told.append(
                f"{model}: its profile has no anomaly scores, so {' and '.join(ANOMALY)} are unknown to its rules"
            )
    return told
