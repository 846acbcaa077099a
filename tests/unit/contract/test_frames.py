"""What a good decision becomes: columns, times, callers, versions, groups, identities and fingerprints."""

import polars as pl
import pytest

from agents.configuration import Configuration
from agents.decoding import Contract
from agents.errors import Misconfigured
from agents.events import Kind
from agents.frames import COLUMN_DOCS, Reader, decision_columns
from agents.records import Plain
from tests.poison import CONFIGURATION, DATA, STRUCTURED, Case, decision

BROKER = 1_772_442_843_500
READER = Reader(CONFIGURATION)


def record(value: bytes | None, topic: str = "gim.decisions", headers=(), key: bytes | None = None) -> Plain:
    return Plain(topic, 0, 0, BROKER, key, value, headers)


def configured(**model) -> Configuration:
    return Configuration.model_validate({"models": {"credit-limit": {"features": {"limit_bal": "numeric"}, **model}}})


def test_every_field_of_a_decision_is_a_column():
    row = READER.row(
        record(
            decision(
                data={
                    "purpose": "loan",
                    "features": {"limit_bal": 20000, "pay_0": None, "product": "card"},
                    "prompt": "p",
                    "output": {"label": "decline", "score": 0.31, "confidence": 0.74, "text": "t"},
                    "action": {"tool": "pay"},
                    "feature_attributions": {"limit_bal": -0.41},
                    "latency_ms": 12.5,
                    "groups": {"sex": "f"},
                }
            )
        )
    )
    assert row == {
        "id": "d-1",
        "source": "/credit/eu-1",
        "subject": "client-8231",
        "caller": "svc-portal",
        "caller_declared": True,
        "caller_verified": False,
        "purpose": "loan",
        "model.name": "credit-limit",
        "model.version": "2.1.0",
        "model.version_declared": True,
        "output.label": "decline",
        "output.score": 0.31,
        "output.confidence": 0.74,
        "output.text": "t",
        "prompt": "p",
        "action.tool": "pay",
        "latency_ms": 12.5,
        "event_time_ms": 1_772_442_843_120,
        "broker_time_ms": BROKER,
        "skew_ms": -380,
        "skewed": False,
        "features.limit_bal": 20000.0,
        "features.pay_0": None,
        "features.product": "card",
        "feature_attributions.limit_bal": -0.41,
        "feature_attributions.pay_0": None,
        "feature_attributions.product": None,
    }


def test_columns_have_the_documented_types_even_where_all_values_are_null():
    frame = READER.read([record(decision(subject=..., time=..., data={"caller": None}))]).groups[0].frame
    assert dict(frame.schema) == decision_columns(CONFIGURATION.models["credit-limit"])
    assert frame["subject"].null_count() == 1


def test_every_column_has_a_line_of_documentation():
    columns = decision_columns(CONFIGURATION.models["credit-limit"])
    documented = {
        name.replace("<feature>", feature) for name in COLUMN_DOCS for feature in ("limit_bal", "pay_0", "product")
    }
    assert set(columns) == documented
    assert not any("group" in name for name in columns), "protected attributes are never columns"


def test_only_the_columns_asked_for_are_made():
    reader = Reader(CONFIGURATION, ["skewed", "features.pay_0", "no.such.column"])
    assert reader.read([record(decision())]).groups[0].frame.columns == ["skewed", "features.pay_0"]


def test_a_frame_without_columns_still_has_its_height():
    assert Reader(CONFIGURATION, []).read([record(decision())] * 7).groups[0].frame.height == 7


def test_without_a_time_the_event_happened_when_the_broker_took_it():
    batch = READER.read([record(decision(time=None)), record(decision()), record(decision(time=...))])
    assert batch.groups[0].event_times == [BROKER, 1_772_442_843_120, BROKER]
    assert batch.groups[0].frame["skew_ms"].to_list() == [0, -380, 0]


@pytest.mark.parametrize(
    ("clock", "max_skew", "skewed"), [("broker", 0.38, False), ("broker", 0.379, True), ("event", 0, False)]
)
def test_a_decision_is_skewed_where_the_clocks_differ_by_more_than_max_skew(clock, max_skew, skewed):
    reader = Reader(configured(clock=clock, max_skew=max_skew))
    assert reader.row(record(decision()))["skewed"] is skewed


def test_a_caller_is_verified_only_on_the_topic_that_it_alone_may_write():
    callers = {"svc-portal": {}, "svc-night": {"topic": "night"}}
    reader = Reader(configured(callers=callers), ["caller_declared", "caller_verified"])
    by = {name: decision(data={"caller": name}) for name in ("svc-portal", "svc-night", "svc-other", None)}
    rows = [
        record(by["svc-night"], "night"),
        record(by["svc-night"]),
        record(by["svc-portal"], "night"),
        record(by["svc-other"], "night"),
        record(by[None], "night"),
    ]
    frame = reader.read(rows).groups[0].frame
    assert frame["caller_verified"].to_list() == [True, False, False, False, False]
    assert frame["caller_declared"].to_list() == [True, True, True, False, False]


def test_an_unknown_version_is_no_fault():
    row = READER.row(record(decision(data={"model": {"name": "credit-limit", "version": "9.9"}})))
    assert (row["model.version"], row["model.version_declared"]) == ("9.9", False)


def test_models_in_turn_become_groups_with_their_own_rows():
    text = decision(data={"model": {"name": "writer", "version": "1"}, "output": {"text": "t"}})
    spaced = decision("spaced").replace(b'"model":{"name":', b'"model": { "name" : ')
    batch = READER.read([record(v) for v in (decision("a"), text, spaced, text, decision("b"))])
    assert [(group.model, group.rows, group.frame["id"].to_list()) for group in batch.groups] == [
        ("credit-limit", [0, 2, 4], ["a", "spaced", "b"]),
        ("writer", [1, 3], ["d-1", "d-1"]),
    ]


def test_a_model_named_elsewhere_in_the_document_does_not_count():
    decoy = decision().replace(b'"data":{', b'"x":{"model":{"name":"writer","version":"1"}},"data":{')
    assert [group.model for group in READER.read([record(decoy)]).groups] == ["credit-limit"]


def test_a_catch_all_takes_undeclared_models_under_their_own_names():
    models = {"credit-limit": {"features": {"limit_bal": "numeric"}}, "anything": {"mode": "observe"}}
    reader = Reader(Configuration.model_validate({"models": models, "undeclared": "anything"}))
    named = [("shadow", "s"), ("credit-limit", "c"), ("ghost", "g"), ("shadow", "t"), ("anything", "a")]
    values = [decision(id_, data={"model": {"name": name, "version": "1"}}) for name, id_ in named]
    values.append(decision("d").replace(b'"model":{"name"', b'"model" : {"name"'))
    batch = reader.read([record(value) for value in values])
    assert batch.faults == {}
    assert [
        (g.model, g.declared, g.rows, g.frame["id"].to_list(), g.frame["model.name"].unique().to_list())
        for g in batch.groups
    ] == [
        ("shadow", "anything", [0, 3], ["s", "t"], ["shadow"]),
        ("credit-limit", "credit-limit", [1, 5], ["c", "d"], ["credit-limit"]),
        ("ghost", "anything", [2], ["g"], ["ghost"]),
        ("anything", "anything", [4], ["a"], ["anything"]),
    ]
    missing = decision(data={"features": {}})
    assert reader.read([record(missing)]).faults[0].reason == "missing-feature", (
        "a declared model cannot slip into the catch-all"
    )


def test_a_record_without_any_declaration_is_undeclared():
    batch = Reader(Configuration()).read([record(decision()), record(b"x")])
    assert [batch.faults[row].kind for row in (0, 1)] == [Kind.UNDECLARED, Kind.MALFORMED]


def test_labels_not_declared_means_any_label():
    assert (
        Reader(configured()).row(record(decision(data={"output": {"label": "whatever"}})))["output.label"] == "whatever"
    )


def test_binary_and_structured_mode_give_the_same_row():
    headers = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"governance.decision.v1"),
    ]
    headers += [("ce_id", b"d-1"), ("ce_source", b"/credit/eu-1"), ("ce_time", b"2026-03-02T09:14:03.120Z")]
    binary = record(DATA, headers=[*headers, ("ce_subject", "Zoë".encode())])
    assert READER.row(binary) == READER.row(record(decision(subject="Zoë")))


def test_an_identity_needs_the_envelope_alone():
    case = Case("", decision("x", data={"model": {"name": "shadow", "version": "1"}}), "")
    assert READER.read([case.record()]).identities == ["/credit/eu-1\0x"]


def test_equal_bytes_have_equal_fingerprints_and_other_bytes_others():
    first, again, other = decision(), bytes(bytearray(decision())), decision("d-2")
    prints = READER.read(
        [record(first), record(again), record(other), record(first, headers=[STRUCTURED])]
    ).fingerprints
    assert prints[0] == prints[1] == prints[3]
    assert prints[0] != prints[2]


def test_in_binary_mode_the_attributes_belong_to_the_fingerprint_and_other_headers_do_not():
    def binary(*more) -> Plain:
        base = [
            ("content-type", b"application/json"),
            ("ce_specversion", b"1.0"),
            ("ce_type", b"governance.decision.v1"),
        ]
        return record(DATA, headers=[*base, ("ce_source", b"/s"), *more])

    a, b, traced = binary(("ce_id", b"a")), binary(("ce_id", b"b")), binary(("ce_id", b"a"), ("traceparent", b"x"))
    turned = record(DATA, headers=a.headers[::-1])
    prints = READER.identify([a, traced, turned, b])[1]
    assert prints[0] == prints[1] == prints[2]
    assert prints[0] != prints[3]


def test_the_largest_value_allowed_can_be_set():
    assert Reader(CONFIGURATION, value_limit=100).read([record(decision())]).faults[0].reason == "too-large"


def test_an_empty_batch_is_empty():
    batch = READER.read([])
    assert (batch.identities, batch.fingerprints, batch.faults, batch.groups) == ([], [], {}, [])


def test_feature_names_may_hold_dots_spaces_and_letters_from_anywhere():
    names = ["a.b", "größe", "x y", "class"]
    contract = configured(features=dict.fromkeys(names, "numeric"))
    row = Reader(contract).row(record(decision(data={"features": {name: i for i, name in enumerate(names)}})))
    assert [row[f"features.{name}"] for name in names] == [0.0, 1.0, 2.0, 3.0]
    assert Contract("m", contract.models["credit-limit"]).features == names


def test_numbers_arrive_exactly():
    row = READER.row(record(decision(data={"features": {"limit_bal": 0.1, "pay_0": -(2**53)}})))
    assert (row["features.limit_bal"], row["features.pay_0"]) == (0.1, -9007199254740992.0)
    assert isinstance(READER.read([record(decision())]).groups[0].frame, pl.DataFrame)


@pytest.mark.parametrize("name", ['say "x"', "back\\slash", "line\nfeed", ""])
def test_a_feature_name_that_no_decoder_can_carry_is_refused_when_it_is_configured(name):
    with pytest.raises(Misconfigured, match="cannot be a feature or label"):
        Reader(configured(features={name: "numeric"}))
