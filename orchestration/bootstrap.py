"""The one place where a running system is put together: which lanes there are, and what each is made of.

Tests plug other parts in here; nothing below it looks for its own parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.audit.agent import CHECKPOINTS, origin
from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.policy.agent import PolicyAgent
from agents.policy.edits import Seal
from orchestration import answer_links, keys
from orchestration.archive import Archive
from orchestration.assist_lane import AssistLane
from orchestration.escalation_lane import EscalationWork, escalation_inputs, escalation_lane
from orchestration.evidence import ArchiveWork, AuditWork
from orchestration.kafka import Broker
from orchestration.lane import Lane
from orchestration.lane_life import LaneLife
from orchestration.log_store import LogStore
from orchestration.manifest_lane import ManifestLane
from orchestration.monitor_join import JoinWork, join_inputs
from orchestration.monitor_lanes import AssessWork, ObserveWork, assess_inputs, observe_inputs
from orchestration.notify_lane import NotifyLane
from orchestration.profile_store import ProfileStore
from orchestration.release_lane import ReleaseLane
from orchestration.settings import DAY_MS, Settings
from orchestration.standing import StandingTopics
from orchestration.topics import BY_NAME, EVIDENCE, inputs, partitions_of
from orchestration.triage_lane import TriageWork, triage_inputs
from orchestration.work import LaneName, Pace, Work

AUDIT_BATCH = 50_000
ARCHIVE_BATCH = 20_000
ASSESS_BATCH = 1_000
JOIN_BATCH = 5_000
ESCALATION_BATCH = 2_000
ESCALATION_AGE_MS = 50
"""Flags of a storm come together; people wait for this lane, so it gathers no longer."""
TRIAGE_BATCH = 500
TRIAGE_AGE_MS = 50
"""A reviewer waits for this one: it gathers no longer than a burst of incidents takes."""


def lane_names(settings: Settings, configuration: Configuration | None) -> list[LaneName]:
    """Every lane of a deployment: policy, archive and (with monitors) observe for each partition of decisions, join for
    each of cases where a model declares outcomes, assess for each of observations, audit for each of evidence, release for
    each of held.
    """
    names = []
    for agent in ("policy", "archive"):
        for topic in inputs(settings, configuration):
            names += [LaneName(settings.prefix, agent, topic, number) for number in range(settings.partitions)]
    names += _monitor_lanes(settings, configuration)
    names += [LaneName(settings.prefix, "release", settings.topic("held"), n) for n in range(settings.partitions)]
    names.append(escalation_lane(settings))
    names.append(LaneName(settings.prefix, "triage", settings.topic("incidents"), 0))
    if configuration is not None and configuration.triage.model is not None:
        names.append(LaneName(settings.prefix, "assist", settings.topic("triage"), 0))
    names.append(LaneName(settings.prefix, "notify", settings.topic("notifications"), 0))
    for short in (*EVIDENCE, CHECKPOINTS):
        count = partitions_of(BY_NAME[short], settings)
        names += [LaneName(settings.prefix, "audit", settings.topic(short), number) for number in range(count)]
    return names


def _monitor_lanes(settings: Settings, configuration: Configuration | None) -> list[LaneName]:
    if configuration is None or not configuration.monitors:
        return []
    prefix, spread = settings.prefix, range(settings.partitions)
    observe = [LaneName(prefix, "observe", topic, n) for topic in inputs(settings, configuration) for n in spread]
    observations, cases = settings.topic("observations"), settings.topic("cases")
    join = [LaneName(prefix, "join", cases, n) for n in spread] if _has_outcomes(configuration) else []
    assess = [LaneName(prefix, "assess", observations, n) for n in range(settings.observation_partitions)]
    return observe + join + assess


def _has_outcomes(configuration: Configuration) -> bool:
    return any(model.outcomes for model in configuration.models.values())


def make_lane(settings: Settings, name: LaneName) -> LaneLife:
    """A lane ready to run. Raises Misconfigured where a key or setting is missing."""
    try:
        maker = MAKERS[name.agent]
    except KeyError:
        raise Misconfigured(f"no agent is called {name.agent!r}; there are {', '.join(MAKERS)}") from None
    return maker(settings, name)


def _policy(settings: Settings, name: LaneName) -> Lane:
    committer = keys.load_salt(keys.paths(settings.prefix, settings.keys_dir).salt)
    broker, profiles = Broker(settings), ProfileStore(settings.profiles_url)

    def make(standing: Any) -> Work:
        return PolicyAgent(
            prefix=settings.prefix,
            topic=name.topic,
            partition=name.partition,
            committer=committer,
            configuration=standing.configuration,
            value_limit=settings.max_record_bytes,
        )

    pace = Pace(settings.batch_records, settings.batch_age_ms, settings.snapshot_interval_ms)
    return Lane(name, broker, make, pace, standing=lambda: StandingTopics(broker, profiles.get))


def _audit(settings: Settings, name: LaneName) -> Lane:
    signer = keys.load_signer(keys.paths(settings.prefix, settings.keys_dir).signer)
    store = LogStore(settings.store_url)
    log = origin(settings.prefix, name.topic.removeprefix(f"{settings.prefix}."), name.partition)

    def make(standing: Any) -> Work:
        return AuditWork(log, store, signer, settings.topic(CHECKPOINTS), settings.publish)

    return Lane(name, Broker(settings), make, Pace(AUDIT_BATCH, settings.audit_interval_ms, snapshot_ms=0))


def _observe(settings: Settings, name: LaneName) -> LaneLife:
    committer = keys.load_salt(keys.paths(settings.prefix, settings.keys_dir).salt)
    secret, sealed = committer.salt("subjects"), Seal(committer.salt("edits")).answered
    pace = Pace(settings.batch_records, settings.monitor_interval_ms, settings.snapshot_interval_ms)
    inputs = observe_inputs(settings, name.topic, name.partition)
    return ManifestLane(name, Broker(settings), inputs, lambda: ObserveWork(settings, name, secret, sealed), pace)


def _join(settings: Settings, name: LaneName) -> LaneLife:
    secret = keys.load_salt(keys.paths(settings.prefix, settings.keys_dir).salt).salt("cases")
    pace = Pace(JOIN_BATCH, settings.monitor_interval_ms, settings.snapshot_interval_ms)
    inputs = join_inputs(settings, name.partition)
    return ManifestLane(name, Broker(settings), inputs, lambda: JoinWork(settings, name, secret), pace)


def _assess(settings: Settings, name: LaneName) -> LaneLife:
    pace = Pace(ASSESS_BATCH, settings.monitor_interval_ms, settings.snapshot_interval_ms)
    inputs = assess_inputs(settings, name.partition)
    return ManifestLane(name, Broker(settings), inputs, lambda: AssessWork(settings, name), pace)


def _triage(settings: Settings, name: LaneName) -> LaneLife:
    pace = Pace(TRIAGE_BATCH, TRIAGE_AGE_MS, settings.snapshot_interval_ms)
    return ManifestLane(name, Broker(settings), triage_inputs(settings), lambda: TriageWork(settings, name), pace)


def _assist(settings: Settings, name: LaneName) -> LaneLife:
    pace = Pace(1, 0, settings.snapshot_interval_ms)
    return AssistLane(name, Broker(settings), LogStore(settings.store_url), pace)


def _release(settings: Settings, name: LaneName) -> LaneLife:
    committer = keys.load_salt(keys.paths(settings.prefix, settings.keys_dir).salt)
    pace = Pace(settings.batch_records, 0, settings.snapshot_interval_ms)
    return ReleaseLane(name, Broker(settings), committer, pace)


def _archive(settings: Settings, name: LaneName) -> Lane:
    archive = Archive(settings.archive_url)

    def make(standing: Any) -> Work:
        return ArchiveWork(archive, name.topic, name.partition, int(settings.replay_retention_days * DAY_MS))

    pace = Pace(ARCHIVE_BATCH, settings.audit_interval_ms, settings.snapshot_interval_ms)
    return Lane(name, Broker(settings), make, pace)


def _notify(settings: Settings, name: LaneName) -> LaneLife:
    pace = Pace(1, 0, settings.snapshot_interval_ms)
    return NotifyLane(name, Broker(settings), pace, links=answer_links.secret_of(settings))


def _escalation(settings: Settings, name: LaneName) -> LaneLife:
    pace = Pace(ESCALATION_BATCH, ESCALATION_AGE_MS, settings.snapshot_interval_ms)
    return ManifestLane(
        name, Broker(settings), escalation_inputs(settings), lambda: EscalationWork(settings, name), pace
    )


MAKERS: dict[str, Callable[[Settings, LaneName], LaneLife]] = {
    "policy": _policy,
    "audit": _audit,
    "archive": _archive,
    "observe": _observe,
    "join": _join,
    "assess": _assess,
    "escalation": _escalation,
    "release": _release,
    "triage": _triage,
    "assist": _assist,
    "notify": _notify,
}
