"""One complete example of every event: for the published schemas, for documentation and for tests.

They tell one story: a credit decision outside the declared range is held, and everything that follows from it.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from agents.dsse import Private
from agents.events import (
    Action,
    AsOf,
    Attributes,
    AttributesData,
    Case,
    CaseData,
    CloudEvent,
    Commitment,
    ConfigurationData,
    ConfigurationEvent,
    Decision,
    DecisionData,
    DecisionRef,
    Effect,
    Flag,
    FlagData,
    InputRange,
    Kind,
    Manifest,
    ManifestData,
    Mode,
    ModelRef,
    Observation,
    ObservationData,
    OutcomeData,
    OutcomeEvent,
    Output,
    Position,
    Progress,
    ProgressData,
    Reason,
    Safeguard,
    SafeguardData,
    Severity,
    Signal,
    SignalData,
    SignalStatus,
    Snapshot,
    SnapshotData,
    Tick,
    TickData,
    Verdict,
    VerdictData,
    Watermark,
    WatermarkData,
)
from agents.people_events import (
    REVIEW_KIND,
    Agreement,
    Incident,
    IncidentData,
    Refusal,
    RefusalData,
    Resolution,
    Review,
    ReviewData,
    Ruling,
    RulingData,
    Status,
    shown_digest,
)
from agents.told_events import (
    Check,
    Delivery,
    DeliveryData,
    FactData,
    Notification,
    NotificationData,
    Similar,
    TriageData,
    TriageEvent,
    Usage,
)

_AT = datetime(2026, 3, 2, 9, 14, 3, 120000, tzinfo=UTC)
_DIGEST = "sha256:8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_POLICY = "gim/policy/gim.decisions/3"
_CREDIT = ModelRef(name="credit-limit", version="2.1.0")

PREDICTION = Decision(
    id="01JQ8Z3V6T5M2N4P7R9S0W1X2Y",
    source="/credit/eu-1",
    time=_AT,
    subject="client-8231",
    traceparent=_TRACE,
    data=DecisionData(
        model=_CREDIT,
        caller="svc-portal",
        purpose="loan",
        features={"limit_bal": 20000.0, "pay_0": 2.0, "product": "card"},
        output=Output(label="decline", score=0.31, confidence=0.74),
        feature_attributions={"pay_0": -0.41},
        latency_ms=12.5,
    ),
)
GENERATION = Decision(
    id="01JQ8Z3V6T5M2N4P7R9S0W1X2Z",
    source="/support/assistant",
    time=_AT,
    subject="client-8231",
    data=DecisionData(
        model=ModelRef(name="support-writer", version="2026-02"),
        caller="svc-support",
        prompt="Why was my request declined?",
        output=Output(text="Your last payment was two months late.", confidence=0.9),
    ),
)
ACTION = Decision(
    id="01JQ8Z3V6T5M2N4P7R9S0W1X30",
    source="/agents/back-office",
    time=_AT,
    data=DecisionData(
        model=ModelRef(name="back-office", version="0.4.1"),
        caller="svc-back-office",
        purpose="refund",
        action=Action(tool="payments.refund", arguments={"amount": 120.5, "currency": "EUR"}),
    ),
)
VERDICT = Verdict(
    id="gim.decisions/3/17/gate",
    source="/gim/policy",
    time=_AT,
    data=VerdictData(
        decision=Position(topic="gim.decisions", partition=3, offset=17),
        stage="gate",
        mode=Mode.GATE,
        kind=Kind.DECISION,
        effect=Effect.HOLD,
        model="credit-limit",
        version="2.1.0",
        reasons=(Reason(rule="credit/low-confidence", effect=Effect.HOLD),),
        as_of=AsOf(config=1, signals=0, safeguards=0),
        config=_DIGEST,
        code="0.1.0",
        commitment=Commitment(key="k-1", value="5e" * 32),
    ),
)
FLAG = Flag(
    id='["credit/low-confidence","credit-limit","2.1.0",null]@gim.decisions/3/17',
    source="/gim/policy",
    time=_AT,
    data=FlagData(
        dedup_key='["credit/low-confidence","credit-limit","2.1.0",null]',
        severity=Severity.WARNING,
        team="model-risk",
        effect=Effect.HOLD,
        reason="confidence 0.74 is below 0.8",
        labels={"product": "card"},
        count=1,
        topic="gim.decisions",
        partition=3,
        first_offset=17,
        last_offset=17,
        sample=(17,),
    ),
)
CONFIGURATION = ConfigurationEvent(
    id=_DIGEST,
    source="/gim/operator",
    time=_AT,
    data=ConfigurationData(
        digest=_DIGEST, document={"models": {"credit-limit": {"mode": "gate"}}}, applied_by="kim", note="first"
    ),
)
SIGNAL = Signal(
    id="gim.observations/0/421/psi",
    source="/gim/monitor",
    time=_AT,
    data=SignalData(
        model="credit-limit",
        version="2.1.0",
        monitor="psi",
        status=SignalStatus.WARN,
        estimate=0.21,
        lower=0.18,
        upper=0.24,
        n=12000,
        e_value=34.0,
        guarantee="simulated",
    ),
)
SIGNAL_ALARM = Signal(
    id="gim.observations/0/422/approval_gap/age_band=under 30",
    source="/gim/monitor",
    time=_AT,
    data=SignalData(
        model="credit-limit",
        version="2.1.0",
        monitor="approval_gap",
        segment="purpose=loan",
        group="age_band=under 30",
        status=SignalStatus.ALARM,
        estimate=0.62,
        lower=0.55,
        upper=0.70,
        n=2140,
        e_value=1_800_000.0,
        guarantee="proved",
        metric="impact_ratio",
        limit=1_000_000.0,
        budget_unit="decisions",
        reference="age_band=30 and over",
        coverage=0.98,
        onset_ms=1772439600000,
        onset_n=1930,
        clock_ms=1772442843120,
        since_ms=1772442843120,
        observations=InputRange(topic="gim.observations", partition=0, start=12, end=423),
        detail={"n_group": 268.0, "k_group": 142.0},
        text="53 % of age_band=under 30 were approved, against 85 % of age_band=30 and over",
    ),
)
WATERMARK = Watermark(
    id="gim.observations/0/421/watermark",
    source="/gim/monitor",
    time=_AT,
    data=WatermarkData(model="credit-limit", lag_ms=850.0),
)
OBSERVATION = Observation(
    id="gim.monitor.gim.decisions.3/credit-limit/2.1.0/decisions/17",
    source="/gim/monitor",
    time=_AT,
    data=ObservationData(
        model="credit-limit",
        version="2.1.0",
        inputs=InputRange(topic="gim.decisions", partition=3, start=17, end=529),
        n=480,
        once=471,
        clock_ms=1772442843120,
        config=_DIGEST,
        counts={"approval_gap": {"age_band": [[61, 32], [410, 349]]}},
    ),
)
PROGRESS = Progress(
    id="gim.monitor.gim.decisions.3/1772442843120",
    source="/gim/monitor",
    time=_AT,
    data=ProgressData(lane="gim.monitor.gim.decisions.3", through_ms=1772442843120),
)
ATTRIBUTES = Attributes(
    id="client-8231/4",
    source="/crm/eu-1",
    time=_AT,
    subject="client-8231",
    data=AttributesData(groups={"age_band": "under 30", "sex": None}),
)
OUTCOME = OutcomeEvent(
    id="01JQ8Z3V6T5M2N4P7R9S0W1X2Y/repaid",
    source="/collections/eu-1",
    time=datetime(2026, 9, 2, 6, 0, 0, tzinfo=UTC),
    data=OutcomeData(
        decision=DecisionRef(source="/credit/eu-1", id="01JQ8Z3V6T5M2N4P7R9S0W1X2Y"), outcome="repaid", revision=1
    ),
)
CASE = Case(
    id="gim.decisions/3/17/case",
    source="/gim/monitor",
    time=_AT,
    data=CaseData(
        decision=DecisionRef(source="/credit/eu-1", id="01JQ8Z3V6T5M2N4P7R9S0W1X2Y"),
        model="credit-limit",
        version="2.1.0",
        label="decline",
        score=0.31,
        groups={"age_band": "under 30"},
        segments={"purpose": "loan"},
        decided_ms=1772442843120,
    ),
)
SAFEGUARD = Safeguard(
    id="sg-7",
    source="/gim/operator",
    time=_AT,
    data=SafeguardData(kind="quarantine", model="credit-limit", version="2.1.0", active=True, reason="drift alarm"),
)
SNAPSHOT = Snapshot(
    id=f"{_POLICY}/18",
    source="/gim/policy",
    time=_AT,
    data=SnapshotData(
        lane=_POLICY,
        offsets={"gim.decisions/3": 18},
        sequence={"gim.verdicts/3": 18},
        now_ms=1772442843120,
        clocks={"credit-limit": 1772442843120},
        window_from={"gim.decisions/3": 0},
    ),
)
MANIFEST = Manifest(
    id="gim/escalation/0/5",
    source="/gim/escalation",
    time=_AT,
    data=ManifestData(
        lane="gim/escalation/0",
        number=5,
        inputs=(
            InputRange(topic="gim.flags", partition=0, start=40, end=44),
            InputRange(topic="gim.ticks", partition=0, start=900, end=901),
        ),
    ),
)
TICK = Tick(id="gim/supervisor/900", source="/gim/supervisor", data=TickData(number=900))

_KEY = '["credit/low-confidence","credit-limit","2.1.0",null]'
_HELD = Position(topic="gim.decisions", partition=3, offset=17)
_AT_MS = 1_772_442_843_120
INCIDENT = Incident(
    id="7f29-k1mq/2",
    source="/gim/escalation",
    time=_AT,
    data=IncidentData.model_validate(
        {
            "incident": "7f29-k1mq",
            "revision": 2,
            "change": "acknowledged",
            "said": "ann acknowledged it",
            "by": "ann",
            "status": Status.ACKNOWLEDGED,
            "severity": Severity.WARNING,
            "title": "credit-limit 2.1.0: 1 decision held by credit/low-confidence",
            "cause": "credit/low-confidence",
            "model": "credit-limit",
            "version": "2.1.0",
            "group": _KEY,
            "keys": (_KEY,),
            "reason": "confidence 0.74 is below 0.8",
            "effect": Effect.HOLD,
            "team": "model-risk",
            "step": 0,
            "told": ("ann",),
            "with": ("ann",),
            "count": 1,
            "held": 1,
            "flags": 1,
            "sample": (_HELD,),
            "through": {"gim.decisions/3": 18},
            "opened_ms": _AT_MS,
            "first_ms": _AT_MS,
            "last_ms": _AT_MS,
            "acknowledged_ms": _AT_MS + 60_000,
            "acknowledged_by": "ann",
            "deadline_ms": _AT_MS + 14_400_000,
            "agreement": Agreement(needed=1, role="reviewer"),
        }
    ),
)
_ANSWER = Review(
    id="01JQ9-ann-7f29",
    source="/gim/console/main",
    time=_AT,
    data=ReviewData(
        action="approve",
        person="ann",
        login="sha256:5e5e5e5e",
        incident="7f29-k1mq",
        shown=shown_digest(INCIDENT.data),
        through={"gim.decisions/3": 18},
        reason="the client sent a pay slip",
        kind="individual",
        opened=(_HELD,),
        shown_ms=41_000,
    ),
)
EXAMPLE_KEY = Private(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
"""RFC 8032's second test key, known to all the world: for examples only."""
REVIEW = _ANSWER.model_copy(
    update={"dssematerial": base64.b64encode(EXAMPLE_KEY.sign(REVIEW_KIND, _ANSWER.statement()).encode()).decode()}
)
RULING = Ruling(
    id="7f29-k1mq/0",
    source="/gim/escalation",
    time=_AT,
    data=RulingData(
        incident="7f29-k1mq",
        resolution=Resolution.APPROVED,
        effect=Effect.ALLOW,
        keys=(_KEY,),
        through={"gim.decisions/3": 18},
        reason="the client sent a pay slip",
        people=("ann",),
        reviews=("gim.reviews/0/4",),
        kind="individual",
        opened=1,
        shown_ms=41_000,
    ),
)
REFUSAL = Refusal(
    id="gim.reviews/0/5",
    source="/gim/escalation",
    time=_AT,
    data=RefusalData(
        review=Position(topic="gim.reviews", partition=0, offset=5),
        id="01JQ9-bob-7f29",
        incident="7f29-k1mq",
        person="bob",
        reason="already-ruled",
        detail="ann answered 4 s earlier: approve",
    ),
)
TRIAGE = TriageEvent(
    id="7f29-k1mq/0/model",
    source="/gim/assist",
    time=_AT,
    data=TriageData(
        incident="7f29-k1mq",
        revision=0,
        by="model",
        summary="One decision of credit-limit 2.1.0 waits: its confidence, 0.74, is below 0.8.",
        cause="single_case",
        severity=Severity.WARNING,
        action="review_held",
        action_text="Read the decision and let it go out or withhold it.",
        questions=("Does the client's latest payment explain the low confidence?",),
        cites=("f1",),
        facts=(FactData(id="f1", kind="held", text="1 decision waits.", values={"held": 1.0}, source="7f29-k1mq"),),
        similar=(
            Similar(
                incident="2c0d-9xw4",
                likeness=0.81,
                title="credit-limit 2.1.0: 3 decisions held by credit/low-confidence",
                resolution=Resolution.APPROVED,
                reason="pay slips were there",
            ),
        ),
        usage=(Usage(model="openai:small", prompt=_DIGEST, input_tokens=812, output_tokens=140, took_ms=2_100),),
        checks=(Check(check="figures", passed=True),),
    ),
)
NOTIFICATION = Notification(
    id="7f29-k1mq/0/mail/0",
    source="/gim/escalation",
    time=_AT,
    data=NotificationData(
        incident="7f29-k1mq",
        kind="trigger",
        channel="mail",
        to=("ann",),
        team="model-risk",
        severity=Severity.WARNING,
        title="credit-limit 2.1.0: 1 decision held",
        lines=("1 decision waits for an answer by 13:14 UTC.",),
        deadline_ms=_AT_MS + 14_400_000,
        path="/incidents/7f29-k1mq",
        dedup="gim/7f29-k1mq",
    ),
)
DELIVERY = Delivery(
    id="7f29-k1mq/0/mail/0/1",
    source="/gim/notify",
    time=_AT,
    data=DeliveryData(notification="7f29-k1mq/0/mail/0", channel="mail", outcome="sent", attempts=1, took_ms=120.0),
)
EXAMPLES: dict[str, CloudEvent] = {
    "decision-prediction": PREDICTION,
    "decision-generation": GENERATION,
    "decision-action": ACTION,
    "verdict": VERDICT,
    "flag": FLAG,
    "configuration": CONFIGURATION,
    "signal": SIGNAL,
    "signal-alarm": SIGNAL_ALARM,
    "watermark": WATERMARK,
    "observation": OBSERVATION,
    "progress": PROGRESS,
    "attributes": ATTRIBUTES,
    "outcome": OUTCOME,
    "case": CASE,
    "safeguard": SAFEGUARD,
    "snapshot": SNAPSHOT,
    "manifest": MANIFEST,
    "tick": TICK,
    "incident": INCIDENT,
    "review": REVIEW,
    "ruling": RULING,
    "refusal": REFUSAL,
    "triage": TRIAGE,
    "notification": NOTIFICATION,
    "delivery": DELIVERY,
}
"""By a name that says what each shows."""
