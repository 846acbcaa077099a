"""The contract: every event on every topic as a frozen pydantic model; the JSON Schemas derive from these.

Values are CloudEvents 1.0 in structured JSON. A published version (`….v1`) only ever gains optional fields; a breaking
change is a new `type`. Times are RFC 3339 in UTC; milliseconds where a field says `_ms`; shares lie in 0..1.
These models describe and check; the hot path (frames.py, policy/agent.py) reads and writes the same bytes faster.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ID_LIMIT = 256
SOURCE_LIMIT = 1024
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"  # control characters in an id would corrupt logs, terminals and CSV

Id = Annotated[str, StringConstraints(min_length=1, max_length=ID_LIMIT, pattern=NO_CONTROLS)]
Source = Annotated[str, StringConstraints(min_length=1, max_length=SOURCE_LIMIT, pattern=NO_CONTROLS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ModelVersion = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_CONTROLS)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]
Offset = Annotated[int, Field(ge=0)]
ALL_VERSIONS = "*"
"""The `version` of what speaks of all versions of a model together (`scope: model`)."""


class Effect(StrEnum):
    """What a rule asks for; the strictest matching one wins, none matching means allow."""

    ALLOW = "allow"
    LOG = "log"
    HOLD = "hold"
    BLOCK = "block"

    @property
    def strictness(self) -> int:
        """0 for allow up to 3 for block."""
        return STRICTNESS.index(self)


STRICTNESS = (Effect.ALLOW, Effect.LOG, Effect.HOLD, Effect.BLOCK)


class Severity(StrEnum):
    """How bad a flag or an incident is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Mode(StrEnum):
    """`gate`: in the path. `observe`: beside it; verdicts say what would have happened."""

    GATE = "gate"
    OBSERVE = "observe"


class Kind(StrEnum):
    """What a record on a decisions topic turned out to be."""

    DECISION = "decision"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    MALFORMED = "malformed"
    UNDECLARED = "undeclared"


class SignalStatus(StrEnum):
    """A monitor's present judgement; `none` until it has computed anything."""

    NONE = "none"
    INSUFFICIENT = "insufficient"
    OK = "ok"
    WARN = "warn"
    ALARM = "alarm"


class Frozen(BaseModel):
    """Immutable; unknown fields are kept out of the way (later versions of v1 may add optional ones)."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class CloudEvent(Frozen):
    """CloudEvents 1.0 context attributes that every event here shares."""

    specversion: Literal["1.0"] = "1.0"
    id: Id
    """Unique within `source`; never reused for other content."""
    source: Source
    """Who speaks, as a URI reference."""
    time: datetime | None = None
    """When it happened (UTC). For our own events: the lane's `now`, never a wall clock."""
    datacontenttype: Literal["application/json"] | None = None
    correlationid: Id | None = None
    causationid: Id | None = None
    traceparent: str | None = None


class ModelRef(Frozen):
    """The model that decided."""

    name: Name
    version: ModelVersion


class Output(Frozen):
    """What the model said."""

    label: Annotated[str, StringConstraints(max_length=256)] | None = None
    score: float | None = None
    """In the model's own unit, usually 0..1; finite."""
    confidence: Share | None = None
    text: str | None = None
    """Generated text, where the model writes."""


class Action(Frozen):
    """What an agent proposes to do."""

    tool: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    arguments: dict[str, Any] = Field(default_factory=dict)


class DecisionData(Frozen):
    """One model output that somebody would act on."""

    model: ModelRef
    caller: Id | None = None
    """Who asked, as the producer declares it."""
    purpose: Id | None = None
    features: dict[str, float | str | None] = Field(default_factory=dict)
    prompt: str | None = None
    output: Output | None = None
    action: Action | None = None
    feature_attributions: dict[str, float] | None = None
    latency_ms: Milliseconds | None = None
    groups: dict[str, str | None] | None = None
    """Protected attributes, for those who accept that they ride along; policies never see them."""


class Decision(CloudEvent):
    """A prediction, a generated text or an agent's proposed action. Identified by (source, id)."""

    type: Literal["governance.decision.v1"] = "governance.decision.v1"
    subject: Id | None = None
    """Whom it is about; the record's key where there is one."""
    data: DecisionData


class Position(Frozen):
    """A place in Kafka."""

    topic: str
    partition: Annotated[int, Field(ge=0)]
    offset: Offset


class AsOf(Frozen):
    """The next offsets to read of the standing topics when the lane decided."""

    config: Offset
    signals: Offset
    safeguards: Offset


class Reason(Frozen):
    """Why: a rule that matched, one that could not be evaluated, a safeguard, or a fault of the record itself."""

    rule: str
    """`<policy>/<rule id>`, or `safeguard/<id>`, or `record/<kind>`."""
    effect: Effect
    """What it asked for."""
    outcome: Literal["matched", "unknown"] = "matched"
    applied: bool = True
    """False where the policy is in audit mode: recorded, not applied."""


class Commitment(Frozen):
    """A salted hash of the decision's exact bytes: binding without disclosing (docs/formats.md)."""

    alg: Literal["sha256"] = "sha256"
    key: str
    """Id of the salt key."""
    value: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class VerdictData(Frozen):
    """What the policy agent decided for one record."""

    decision: Position
    stage: Literal["gate", "final"]
    mode: Mode
    kind: Kind
    effect: Effect | None
    """Null for a duplicate; block for conflict, malformed and undeclared."""
    resolution: Literal["approved", "edited", "rejected", "responded", "expired", "cancelled"] | None = None
    """Only at the final stage of a held decision."""
    model: Name | None = None
    version: ModelVersion | None = None
    reasons: tuple[Reason, ...] = ()
    skewed: bool = False
    """The producer's clock and the broker's differ by more than the model's `max_skew`."""
    as_of: AsOf
    config: Digest
    """Digest of the configuration that decided."""
    code: str
    """Version of the code that decided."""
    commitment: Commitment


class Verdict(CloudEvent):
    """One verdict; its id is `<topic>/<partition>/<offset>/<stage>` of the decision."""

    type: Literal["governance.verdict.v1"] = "governance.verdict.v1"
    data: VerdictData


class FlagData(Frozen):
    """Something a person should know of; one a dedup_key and batch."""

    dedup_key: str
    """JSON array [rule, monitor, safeguard or fault id, model, version, segment], null where there is none."""
    severity: Severity
    team: str | None = None
    effect: Effect | None = None
    mode: Mode | None = None
    """The model's, when these were decided: with `gate` an effect of hold holds them back. Null in earlier records."""
    reason: str
    """The rendered reason of the first decision it counts."""
    labels: dict[str, str] = Field(default_factory=dict)
    count: Annotated[int, Field(ge=1)]
    topic: str
    partition: Annotated[int, Field(ge=0)]
    first_offset: Offset
    last_offset: Offset
    sample: tuple[Offset, ...]
    """At most 20 offsets, the first ones."""
    held: tuple[Offset, ...] | None = None
    """Every offset, where decisions are held and there are more than 20 and at most 500. Null in earlier records."""


class Flag(CloudEvent):
    """A flag; its id is its dedup_key and the position of the decision it starts at."""

    type: Literal["governance.flag.v1"] = "governance.flag.v1"
    data: FlagData


class ConfigurationData(Frozen):
    """One canonical document and its digest."""

    digest: Digest
    """`sha256:<hex>` of the document's canonical bytes."""
    document: dict[str, Any]
    """What agents/configuration.py describes, defaults left out."""
    applied_by: str | None = None
    """Who applied it, as the command knows."""
    note: str | None = None


class ConfigurationEvent(CloudEvent):
    """The configuration in force: one canonical document, applied whole. Key `current`."""

    type: Literal["governance.configuration.v1"] = "governance.configuration.v1"
    data: ConfigurationData


class InputRange(Frozen):
    """Offsets [start, end) of one input partition."""

    topic: str
    partition: Annotated[int, Field(ge=0)]
    start: Offset
    end: Offset


class SignalData(Frozen):
    """A monitor's judgement of a model version and segment."""

    model: Name
    version: ModelVersion
    """`*` under `scope: model`."""
    monitor: Name
    scope: Literal["model"] | None = None
    """`model`: it speaks of all versions of the model together."""
    segment: str | None = None
    group: str | None = None
    status: SignalStatus
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    n: Annotated[int, Field(ge=0)] | None = None
    e_value: float | None = None
    """Strength: chance alone reaches so much at most once in so many decisions or ms (`budget_unit`) of the model."""
    guarantee: Literal["proved", "simulated", "rule of thumb"] | None = None
    metric: str | None = None
    """What `estimate` is: impact_ratio, psi, flip_rate …"""
    limit: float | None = None
    """The e_value from which on an alarm is raised."""
    budget_unit: Literal["decisions", "ms"] | None = None
    reference: str | None = None
    """What it is compared with: a group, a profile, a version."""
    coverage: Share | None = None
    """Share of the decisions that could be counted."""
    onset_ms: int | None = None
    """Since when, by the model's clock (ms since 1970 UTC): an estimate, and an optimistic one."""
    onset_n: Annotated[int, Field(ge=0)] | None = None
    """Decisions since then."""
    clock_ms: int | None = None
    """The model's clock when this was judged."""
    since_ms: int | None = None
    """The model's clock when the status became what it is."""
    started_ms: int | None = None
    """The model's clock before the first of `observations`: what they add to the budget's clock counts from here."""
    observations: InputRange | None = None
    """The observations that this judgement rests on, since the monitor started or was last reset."""
    detail: dict[str, float] = Field(default_factory=dict)
    """Shares and counts behind the estimate."""
    text: str | None = None
    """In plain words."""

    @property
    def whose(self) -> str:
        """`version 2`, or `all versions`."""
        return "all versions" if self.scope == "model" else f"version {self.version}"

    @property
    def versions(self) -> str:
        """`2`, or `all`: for a column of tables."""
        return "all" if self.scope == "model" else self.version


class Signal(CloudEvent):
    """A signal. Key: JSON array [model, version, monitor, segment, group]."""

    type: Literal["governance.signal.v1"] = "governance.signal.v1"
    data: SignalData


class ObservationData(Frozen):
    """Mergeable counts of one stretch of one model version's decisions (or matured cases) in one lane."""

    model: Name
    version: ModelVersion
    """`*` under `scope: model`."""
    scope: Literal["model"] | None = None
    """`model`: it counts decisions of all versions, for monitors that judge them together."""
    stage: Literal["decisions", "outcomes"] = "decisions"
    inputs: InputRange
    """The records of the lane's main topic from the stretch's first to its last decision."""
    n: Annotated[int, Field(ge=0)]
    """Decisions in it; neither malformed nor duplicate ones."""
    once: Annotated[int, Field(ge=0)]
    """Of these, the first of their subject in the subject's period."""
    clock_ms: int
    """The model's clock after it, as far as this lane has seen it; ms since 1970 UTC."""
    config: Digest
    """Digest of the configuration that said what to count."""
    counts: dict[str, dict[str, Any]]
    """By monitor and key: whole numbers, or lists of them, nested by axis."""


class Observation(CloudEvent):
    """An observation; key: the model. Id: lane, model, version (left out for all of them), stage and first input offset."""

    type: Literal["governance.observation.v1"] = "governance.observation.v1"
    data: ObservationData


class ProgressData(Frozen):
    """How far one observe lane has come, so that a lane that stands still shows as lag."""

    lane: str
    """Its transactional id; also the record's key."""
    through_ms: int
    """Broker time up to which it has counted everything; ms since 1970 UTC."""


class Progress(CloudEvent):
    """An observe lane's progress on `observations`, once a second."""

    type: Literal["governance.progress.v1"] = "governance.progress.v1"
    data: ProgressData


class AttributesData(Frozen):
    """Protected attributes of one subject."""

    groups: dict[str, str | None]
    """By attribute; null or left out: not known."""


class Attributes(CloudEvent):
    """Protected attributes; key: the subject, whose earlier record it replaces whole. A tombstone makes them unknown."""

    type: Literal["governance.attributes.v1"] = "governance.attributes.v1"
    subject: Id
    data: AttributesData


class DecisionRef(Frozen):
    """Which decision."""

    source: Source
    id: Id


class OutcomeData(Frozen):
    """What really happened."""

    decision: DecisionRef
    outcome: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """One of the outcomes that the model declares."""
    revision: Annotated[int, Field(ge=0)] = 0
    """The highest one counts; a lower one that arrives later is ignored."""


class OutcomeEvent(CloudEvent):
    """A late label. Key: JSON array [source, id] of the decision."""

    type: Literal["governance.outcome.v1"] = "governance.outcome.v1"
    data: OutcomeData


class CaseData(Frozen):
    """A decision that waits for its outcome, without features."""

    decision: DecisionRef
    model: Name
    version: ModelVersion
    label: str | None = None
    score: float | None = None
    groups: dict[str, str] = Field(default_factory=dict)
    """Known protected attributes when it was decided."""
    segments: dict[str, str] = Field(default_factory=dict)
    """Segment dimension → value."""
    once: bool = True
    """True for the first of its subject in the subject's period."""
    decided_ms: int
    """The model's clock at the decision; ms since 1970 UTC."""


class Case(CloudEvent):
    """A case. Key: JSON array [source, id] of the decision."""

    type: Literal["governance.case.v1"] = "governance.case.v1"
    data: CaseData


class WatermarkData(Frozen):
    """How far a model's monitors have come, in broker time."""

    model: Name
    lag_ms: Milliseconds


class Watermark(CloudEvent):
    """A monitor lane's watermark on `signals`. Key: JSON array ["watermark", model]."""

    type: Literal["governance.watermark.v1"] = "governance.watermark.v1"
    data: WatermarkData


class SafeguardData(Frozen):
    """A standing order."""

    kind: Literal["quarantine", "fallback", "hold_all", "pause_caller", "limit_rate"]
    model: Name
    version: ModelVersion | None = None
    caller: Id | None = None
    active: bool
    reason: str = ""


class Safeguard(CloudEvent):
    """A safeguard. Key: its id."""

    type: Literal["governance.safeguard.v1"] = "governance.safeguard.v1"
    data: SafeguardData


class SnapshotData(Frozen):
    """A lane's state as of its input offsets; it folds from here to its committed offsets, output suppressed."""

    lane: str
    """The transactional id; also the record's key."""
    offsets: dict[str, Offset]
    """`<topic>/<partition>` → next offset to read."""
    sequence: dict[str, Annotated[int, Field(ge=0)]]
    """Output `<topic>/<partition>` → the next `govern-seq`."""
    now_ms: int
    """Running maximum of broker times; -1 before the first record."""
    clocks: dict[str, int] = Field(default_factory=dict)
    """Model → running maximum of its event times in ms, for models with `clock: event`."""
    window_from: dict[str, Offset] = Field(default_factory=dict)
    """`<topic>/<partition>` → the first offset that may count in the duplicate window."""
    state: dict[str, Any] = Field(default_factory=dict)
    """What the agent keeps beyond that."""
    parts: dict[str, Digest] = Field(default_factory=dict)
    """Parts of a large state, each a record `<lane>/<part>` of its own: part → SHA-256 of that record's value."""


class Snapshot(CloudEvent):
    """A snapshot of a lane."""

    type: Literal["governance.snapshot.v1"] = "governance.snapshot.v1"
    data: SnapshotData


class ManifestData(Frozen):
    """Which offset ranges one transaction of a lane with several inputs took, in the fixed topic order."""

    lane: str
    number: Annotated[int, Field(ge=0)]
    inputs: tuple[InputRange, ...]


class Manifest(CloudEvent):
    """A manifest; its id is `<transactional id>/<number>`."""

    type: Literal["governance.manifest.v1"] = "governance.manifest.v1"
    data: ManifestData


class TickData(Frozen):
    """Nothing but its broker time matters."""

    number: Annotated[int, Field(ge=0)]


class Tick(CloudEvent):
    """One a second from the supervisor: how time passes for a lane while nothing else arrives."""

    type: Literal["governance.tick.v1"] = "governance.tick.v1"
    data: TickData


EVENTS: tuple[type[CloudEvent], ...] = (
    Decision,
    Verdict,
    Flag,
    ConfigurationEvent,
    Signal,
    Watermark,
    Observation,
    Progress,
    Attributes,
    OutcomeEvent,
    Case,
    Safeguard,
    Snapshot,
    Manifest,
    Tick,
)
