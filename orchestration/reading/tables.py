"""The read model's tables: what pages and commands look at, each row a function of records on one topic.

Rows of one table come from one topic (queries join them), so the same topics give the same rows however their records
interleave. Times are milliseconds since 1970, UTC. No value of a decision stands here: pages read its bytes from Kafka,
by position, when somebody opens it; the rendered reasons of a held one are kept for as long as it waits.

A change of these tables is a new SCHEMA: another projection beside the old one, made from the topics; there are no
migrations.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, MetaData, Table, Text

SCHEMA = 3
"""Part of the database's name; one more whenever a table, or what a row says, changes."""

metadata = MetaData()


def _time(name: str, *, nullable: bool = True) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _key(name: str, kind: type[Text] | type[BigInteger] | type[Integer] = Text) -> Column[object]:
    return Column(name, kind, primary_key=True, autoincrement=False)


# -- the projection itself ---------------------------------------------------------------------------------------------

meta = Table("meta", metadata, _key("name"), Column("value", Text, nullable=False))
"""`schema`, `prefix`, `cluster` (Kafka's id), `caught_up` (present once it has been)."""

offsets = Table(
    "offsets", metadata, _key("topic"), _key("partition", Integer), Column("next", BigInteger, nullable=False)
)
"""By full topic name: the next offset to read, written in the transaction of the rows."""

unreadable = Table(
    "unreadable",
    metadata,
    _key("topic"),
    _key("partition", Integer),
    Column("count", BigInteger, nullable=False),
    Column("last_offset", BigInteger, nullable=False),
    Column("last_why", Text, nullable=False),
)
"""Records that break the contract: kept out, counted, named."""

# -- incidents (topic `incidents`) -------------------------------------------------------------------------------------

incidents = Table(
    "incidents",
    metadata,
    _key("id"),
    Column("revision", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("resolution", Text),
    Column("severity", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("model", Text),
    Column("version", Text),
    Column("segment", Text),
    Column("effect", Text),
    Column("team", Text),
    Column("chain", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    _time("opened_ms", nullable=False),
    _time("first_ms", nullable=False),
    _time("last_ms", nullable=False),
    _time("acknowledged_ms"),
    Column("acknowledged_by", Text),
    _time("resolved_ms"),
    _time("deadline_ms"),
    _time("statutory_ms"),
    _time("due_ms"),
    Column("previous", Text),
    Column("inhibited_by", Text),
    Column("silenced_by", Text),
    _time("changed_ms", nullable=False),
    Column("shown", Text, nullable=False),
    Column("data", Text, nullable=False),
    Index("incidents_status", "status", "due_ms"),
    Index("incidents_model", "model", "version"),
    Index("incidents_cause", "cause"),
    Index("incidents_previous", "previous"),
)
"""As they stand. `rank`: 0 info … 3 critical; `due_ms`: the earlier of the two deadlines; `shown`: `shown_digest` of this
revision, which an answer is bound to; `data`: the record's whole `data` as JSON."""

incident_people = Table(
    "incident_people", metadata, _key("incident"), _key("person"), Index("incident_people_person", "person")
)
"""Whom an incident is with now."""

incident_teams = Table("incident_teams", metadata, _key("incident"), _key("team"), Index("incident_teams_team", "team"))
"""Teams that an incident concerns: its own and those that were added."""

incident_keys = Table("incident_keys", metadata, _key("incident"), _key("key"), Index("incident_keys_key", "key"))
"""dedup_keys of an incident; held decisions are found by them."""

incident_changes = Table(
    "incident_changes",
    metadata,
    _key("incident"),
    _key("revision", Integer),
    Column("slot", Text, nullable=False),
    _time("time_ms", nullable=False),
    Column("change", Text, nullable=False),
    Column("changes", JSON, nullable=False),
    Column("said", Text, nullable=False),
    Column("by", Text),
    Column("status", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("late_ms", BigInteger, nullable=False),
    Index("incident_changes_slot", "slot"),
)
"""The timeline, a row a revision. Revisions that only count more decisions share a `slot`, of which the last one stays: one
in GREW_MS."""

GREW_MS = 600_000

incident_shown = Table(
    "incident_shown",
    metadata,
    _key("incident"),
    _key("shown"),
    Column("material", JSON, nullable=False),
)
"""The fields that an answer rests on, by `shown_digest`: to say what changed since a page was shown."""

# -- answers (topics `reviews` and `rulings`) --------------------------------------------------------------------------

reviews = Table(
    "reviews",
    metadata,
    _key("partition", Integer),
    _key("offset", BigInteger),
    Column("position", Text, nullable=False),
    Column("id", Text, nullable=False),
    _time("time_ms", nullable=False),
    Column("action", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("incident", Text),
    Column("kind", Text),
    Column("items", BigInteger),
    Column("opened", BigInteger, nullable=False),
    Column("shown_ms", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("console", Boolean, nullable=False),
    Column("agrees", Boolean),
    Column("data", Text, nullable=False),
    Index("reviews_incident", "incident"),
    Index("reviews_id", "id"),
    Index("reviews_action", "action"),
)
"""What was answered, whether or not it took effect. `position`: `<topic>/<partition>/<offset>`; `items`: how many decisions
were named; null: all up to `through`."""

rulings = Table(
    "rulings",
    metadata,
    _key("id"),
    Column("offset", BigInteger, nullable=False),
    _time("time_ms", nullable=False),
    Column("incident", Text, nullable=False),
    Column("resolution", Text, nullable=False),
    Column("effect", Text, nullable=False),
    Column("kind", Text),
    Column("items", BigInteger),
    Column("opened", BigInteger, nullable=False),
    Column("shown_ms", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("people", JSON, nullable=False),
    Column("late_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Index("rulings_incident", "incident"),
    Index("rulings_time", "time_ms"),
)

ruling_reviews = Table(
    "ruling_reviews", metadata, _key("ruling"), _key("review"), Index("ruling_reviews_review", "review")
)
"""Reviews that a ruling rests on, by position `<topic>/<partition>/<offset>`."""

refusals = Table(
    "refusals",
    metadata,
    _key("offset", BigInteger),
    _time("time_ms", nullable=False),
    Column("review_partition", Integer, nullable=False),
    Column("review_offset", BigInteger, nullable=False),
    Column("id", Text),
    Column("incident", Text),
    Column("person", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("refusals_review", "review_partition", "review_offset"),
    Index("refusals_incident", "incident"),
)
"""Reviews without effect; `person` as it claimed."""

# -- what reviewers are told (topics `triage` and `notifications`) -----------------------------------------------------

triage = Table(
    "triage",
    metadata,
    _key("incident"),
    _key("revision", Integer),
    _key("by"),
    Column("offset", BigInteger, nullable=False),
    _time("time_ms", nullable=False),
    Column("digest", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("instead", Text),
    Column("data", Text, nullable=False),
)
"""`by`: deterministic or model. `digest`: SHA-256 of the record's value, as incidents name the one that counts."""

notifications = Table(
    "notifications",
    metadata,
    _key("id"),
    Column("offset", BigInteger, nullable=False),
    _time("time_ms", nullable=False),
    Column("incident", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("to", JSON, nullable=False),
    Column("team", Text),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("dedup", Text, nullable=False),
    _time("deadline_ms"),
    Index("notifications_incident", "incident"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _key("notification"),
    _key("offset", BigInteger),
    _time("time_ms", nullable=False),
    Column("channel", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("detail", Text, nullable=False),
    Column("took_ms", Float, nullable=False),
    Index("deliveries_time", "time_ms"),
)
"""What became of each notification; the highest offset is the latest word."""

# -- held decisions (topics `verdicts` and `held`) ---------------------------------------------------------------------

held = Table(
    "held",
    metadata,
    _key("topic"),
    _key("partition", Integer),
    _key("offset", BigInteger),
    Column("model", Text),
    Column("version", Text),
    Column("rules", JSON),
    _time("held_ms"),
    Column("verdict_offset", BigInteger),
    Column("resolution", Text),
    Column("effect", Text),
    _time("ended_ms"),
    Column("final_offset", BigInteger),
    Column("causationid", Text),
    Index("held_model", "model", "version"),
    Index("held_resolution", "resolution"),
)
"""Every decision that was ever held, from its gate verdict and (`resolution` on) its final one; null: it waits.

`topic`, `partition`, `offset` are the decision's; `rules`: ids of the reasons that hold it; `verdict_offset` and
`final_offset`: its verdicts' in that partition of `verdicts`; `causationid`: what ended the wait, a ruling's id."""

held_causes = Table(
    "held_causes",
    metadata,
    _key("key"),
    _key("topic"),
    _key("partition", Integer),
    _key("offset", BigInteger),
    Column("resolution", Text),
    Index("held_causes_waiting", "key", "resolution", "topic", "partition", "offset"),
    Index("held_causes_decision", "topic", "partition", "offset"),
)
"""One row for each reason that holds a decision, as a dedup_key: joins `incident_keys`. `resolution` as in `held`."""

waiting = Table(
    "waiting",
    metadata,
    _key("topic"),
    _key("partition", Integer),
    _key("offset", BigInteger),
    Column("held_partition", Integer, nullable=False),
    Column("held_offset", BigInteger, nullable=False),
    _time("time_ms", nullable=False),
    Column("reasons", JSON, nullable=False),
)
"""Where the bytes of decisions that wait lie on `held`, with their reasons rendered: [{rule, effect, text}].
The tombstone that ends the wait takes the row away."""

# -- flow (topic `verdicts`) -------------------------------------------------------------------------------------------

flow = Table(
    "flow",
    metadata,
    _key("width_ms", Integer),
    _key("start_ms", BigInteger),
    _key("model"),
    _key("version"),
    _key("stage"),
    _key("mode"),
    _key("kind"),
    _key("effect"),
    Column("count", BigInteger, nullable=False),
    Index("flow_model", "model", "version", "width_ms", "start_ms"),
)
"""Verdicts counted in buckets of three widths (WIDTHS). Empty texts stand for null: a duplicate's effect, say."""

WIDTHS: dict[int, int | None] = {5_000: 15 * 60_000, 60_000: 48 * 3_600_000, 3_600_000: None}
"""Width of a bucket → how long such buckets are kept behind the newest verdict; null: always. In ms."""

versions = Table(
    "versions",
    metadata,
    _key("model"),
    _key("version"),
    _time("first_ms", nullable=False),
    _time("last_ms", nullable=False),
    Column("count", BigInteger, nullable=False),
)
"""Model versions as verdicts named them: first and last seen, and how many decisions."""

rule_hits = Table(
    "rule_hits",
    metadata,
    _key("start_ms", BigInteger),
    _key("rule"),
    _key("model"),
    _key("version"),
    _key("effect"),
    _key("outcome"),
    _key("applied", Integer),
    Column("count", BigInteger, nullable=False),
    _time("last_ms", nullable=False),
    Index("rule_hits_rule", "rule", "start_ms"),
)
"""By hour: how often each reason was found at the gate; `applied` 0: its policy is in audit mode."""

blind = Table(
    "blind",
    metadata,
    _key("topic"),
    _key("partition", Integer),
    _key("offset", BigInteger),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    _time("time_ms", nullable=False),
    _time("start_ms", nullable=False),
    Column("draw", Float, nullable=False),
    Index("blind_bucket", "model", "version", "start_ms", "draw"),
    Index("blind_start", "start_ms"),
)
"""A random sample of decisions that went out by themselves, for blind review. `draw` lies in 0..1 and follows from the
position alone (agents/tuning/blind.py); of each model version and hour (`start_ms`) the BLIND_EACH smallest are kept, if
below BLIND_SHARE, for BLIND_MS. Under a share s, those with `draw` < s are offered."""

BLIND_EACH, BLIND_SHARE, BLIND_MS = 50, 0.05, 90 * 86_400_000

# -- monitors (topic `signals`) ----------------------------------------------------------------------------------------

signals = Table(
    "signals",
    metadata,
    _key("key"),
    Column("offset", BigInteger, nullable=False),
    _time("time_ms", nullable=False),
    _time("since_ms", nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("monitor", Text, nullable=False),
    Column("segment", Text),
    Column("group", Text),
    Column("status", Text, nullable=False),
    Column("data", Text, nullable=False),
    Index("signals_model", "model", "version"),
)
"""The signals that stand; one that was withdrawn goes. `since_ms`: since when its status is what it is, as the broker saw."""

signal_points = Table(
    "signal_points",
    metadata,
    _key("key"),
    _key("width_ms", BigInteger),
    _key("stretch", BigInteger),
    _time("time_ms", nullable=False),
    _time("clock_ms"),
    Column("status", Text, nullable=False),
    Column("estimate", Float),
    Column("lower", Float),
    Column("upper", Float),
    Column("n", BigInteger),
    Column("e_value", Float),
    Column("limit", Float),
)
"""A signal's history for charts: its last word in each stretch (`time_ms // width_ms`), in several widths (SPANS)."""

SPANS: dict[int, int | None] = {
    1_000: 10 * 60_000,
    10_000: 3_600_000,
    300_000: 86_400_000,
    3_600_000: 14 * 86_400_000,
    86_400_000: None,
}
"""Width of a stretch → how long such points are kept behind the signal's newest word; null: always. In ms."""

watermarks = Table(
    "watermarks",
    metadata,
    _key("model"),
    Column("lag_ms", Float, nullable=False),
    _time("time_ms", nullable=False),
)
"""How far a model's monitors are behind, and when that was said."""

# -- what was decided by operators, and evidence (topics `config`, `safeguards`, `checkpoints`) ------------------------

configurations = Table(
    "configurations",
    metadata,
    _key("offset", BigInteger),
    _time("time_ms", nullable=False),
    Column("digest", Text, nullable=False),
    Column("applied_by", Text),
    Column("note", Text),
    Column("changed", JSON, nullable=False),
    Column("document", Text, nullable=False),
)
"""Each configuration that was applied. `changed`: what differs from the one before, [{kind, name, before, after}] as
agents/policy/differences.py tells it; empty for the first."""

safeguards = Table(
    "safeguards",
    metadata,
    _key("id"),
    Column("offset", BigInteger, nullable=False),
    _time("time_ms", nullable=False),
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Text),
    Column("caller", Text),
    Column("active", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _key("origin"),
    Column("offset", BigInteger, nullable=False),
    _time("time_ms", nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", Text, nullable=False),
)
"""The newest signed head of each evidence log; `root` in base64."""
