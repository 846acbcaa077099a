"""Incidents for the tests of triage, with what stands around them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.configuration import Configuration
from agents.events import SignalData
from agents.people_events import IncidentData, Resolution
from agents.policy.surroundings import signal_key
from agents.told_events import Similar
from agents.triage.seen import Change, Seen

DAY_MS = 86_400_000
NOW_MS = 1_772_442_843_120  # 2026-03-02 09:14 UTC
CONFIGURATION = Configuration.model_validate(
    {
        "models": {
            "credit-limit": {
                "domain": "credit",
                "mode": "gate",
                "versions": ["2.1.0", "2.2.0"],
                "features": {"limit_bal": "numeric", "pay_0": "numeric", "job": "categorical"},
                "labels": {"approve": {"favourable": True}, "decline": {}},
                "groups": {"sex": ["female", "male"], "age_band": ["under 26", "26 to 39"]},
                "callers": ["svc-portal", "svc-night-batch"],
            },
            "support-assistant": {"kind": "generation", "mode": "gate", "versions": ["1.4.0"], "callers": ["svc-chat"]},
        },
        "monitors": {
            "approval_gap": {"kind": "disparate_impact", "attributes": ["sex"], "team": "fair-lending"},
            "drift": {"kind": "data_drift", "team": "data-engineering"},
            "strangers": {},
            "prompt_risk": {"team": "security"},
            "operations": {"parts": ["missing"], "team": "data-engineering"},
            "volume": {},
        },
        "policies": [
            {
                "policy": "fairness",
                "match": {"domain": "credit"},
                "description": "Nobody is declined by a version that treats groups unequally",
                "rules": [
                    {
                        "id": "hold-declines",
                        "when": "signals.approval_gap.status = 'alarm' AND output.label = 'decline'",
                        "effect": "hold",
                        "severity": "error",
                        "team": "model-risk",
                        "reason": "{model.name} {model.version} declines {caller}",
                    }
                ],
            },
            {
                "policy": "limits",
                "match": {"model": "credit-limit"},
                "rules": [
                    {"id": "large", "when": "features.limit_bal > 500000", "effect": "hold", "team": "model-risk"},
                    {"id": "strange", "when": "NOT caller_declared", "effect": "log", "severity": "warning"},
                ],
            },
        ],
        "escalation": {
            "people": {"ada": {"name": "Ada", "roles": ["reviewer"]}},
            "teams": {
                "model-risk": {"members": ["ada"]},
                "fair-lending": {"members": ["ada"]},
                "data-engineering": {},
                "security": {},
            },
            "chains": {"default": {"deadline": "8h", "at_deadline": "withhold"}},
        },
    }
)


def incident(**more: Any) -> IncidentData:
    """Held declines of a version that treats women unequally."""
    given = {
        "incident": "7f29-k1mq",
        "revision": 0,
        "change": "triggered",
        "status": "triggered",
        "severity": "error",
        "title": "fairness/hold-declines: credit-limit",
        "cause": "fairness/hold-declines",
        "model": "credit-limit",
        "version": "2.2.0",
        "group": '["fairness/hold-declines","credit-limit","2.2.0",null]',
        "keys": ['["fairness/hold-declines","credit-limit","2.2.0",null]'],
        "reason": "credit-limit 2.2.0 declines svc-portal",
        "effect": "hold",
        "team": "model-risk",
        "count": 412,
        "held": 412,
        "flags": 3,
        "sample": [{"topic": "gim.decisions", "partition": 0, "offset": 17}],
        "through": {"gim.decisions/0": 900},
        "opened_ms": NOW_MS - 600_000,
        "first_ms": NOW_MS - 600_000,
        "last_ms": NOW_MS - 60_000,
        "deadline_ms": NOW_MS + 28_200_000,
        **more,
    }
    return IncidentData.model_validate(given)


def signal(**more: Any) -> SignalData:
    """Women get the limit less often than men from version 2.2.0."""
    given = {
        "model": "credit-limit",
        "version": "2.2.0",
        "monitor": "approval_gap",
        "group": "sex=female",
        "reference": "sex=male",
        "metric": "impact_ratio",
        "status": "alarm",
        "estimate": 0.62,
        "lower": 0.55,
        "upper": 0.7,
        "n": 4210,
        "e_value": 3_200_000.0,
        "guarantee": "proved",
        "budget_unit": "decisions",
        "onset_ms": NOW_MS - 3_600_000,
        "onset_n": 1200,
        "coverage": 0.97,
        "detail": {"rate": 0.312, "reference_rate": 0.503, "n_group": 1204.0, "n_reference": 3006.0},
        **more,
    }
    return SignalData.model_validate(given)


def seen(one: IncidentData | None = None, *signals: SignalData, **more: Any) -> Seen:
    """An unfair new version, its old version fair, and inputs that moved; or what is given instead."""
    standing = signals or (
        signal(),
        signal(version="2.1.0", status="ok", estimate=0.94, lower=0.9, upper=0.98, n=20_000, onset_ms=None),
        signal(
            monitor="drift",
            group="feature=pay_0",
            metric="psi",
            estimate=0.31,
            lower=None,
            upper=None,
            detail={"share": 0.41, "reference_share": 0.22, "psi": 0.31},
        ),
    )
    found = Seen(
        incident=one or incident(),
        now_ms=NOW_MS,
        configuration=CONFIGURATION,
        digest=CONFIGURATION.digest(),
        signals={signal_key(each): each for each in standing},
        changes=(
            Change(
                NOW_MS - DAY_MS,
                "version",
                "version 2.2.0 of credit-limit was seen for the first time",
                "credit-limit/2.2.0",
                "credit-limit",
            ),
        ),
        versions={"2.1.0": NOW_MS - 60 * DAY_MS, "2.2.0": NOW_MS - DAY_MS},
        similar=(Similar(incident="a1b2-c3d4", likeness=0.91, title="fairness", resolution=Resolution.REJECTED),),
    )
    return replace(found, **more)
