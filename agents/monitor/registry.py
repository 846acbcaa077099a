"""Every kind of monitor that comes with the product, by name.

Users' own kinds come from entry points (orchestration/extensions.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.monitor.after_hours import AfterHours
from agents.monitor.anomaly import Anomaly
from agents.monitor.behaviour import Behaviour
from agents.monitor.call_rate import CallRate
from agents.monitor.contract import Monitor
from agents.monitor.coverage import LabelCoverage
from agents.monitor.drift import DataDrift
from agents.monitor.impact import DisparateImpact, StatisticalParity
from agents.monitor.operations import Operations
from agents.monitor.opportunity import FalsePositiveRate, Opportunity
from agents.monitor.performance import Calibration, Performance
from agents.monitor.prompts import PromptRisk
from agents.monitor.scoring import ScoringRate
from agents.monitor.strangers import Strangers
from agents.monitor.tools import UnusualTools
from agents.monitor.volume import Volume

KINDS: Mapping[str, type[Monitor]] = {
    one.kind: one
    for one in (
        DisparateImpact,
        StatisticalParity,
        Opportunity,
        FalsePositiveRate,
        LabelCoverage,
        ScoringRate,
        AfterHours,
        CallRate,
        Strangers,
        PromptRisk,
        UnusualTools,
        Operations,
        Volume,
        Behaviour,
        Anomaly,
        Calibration,
        Performance,
        DataDrift,
    )
}
"""One entry a kind."""
