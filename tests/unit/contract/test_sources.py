"""An existing topic read as decisions, KServe's inference logger among them; the producer changes nothing."""

import json

import pytest

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.frames import Reader
from agents.records import Plain
from agents.sources import Path

BROKER = 1_772_442_843_500
MODEL = {"features": {"income": "numeric", "grade": "categorical?"}, "labels": {"0": {"favourable": True}, "1": {}}}
SOURCE = {
    "topic": "scores",
    "model": "$.meta.model",
    "version": "$.meta.build",
    "source": "/legacy/scoring",
    "fields": {
        "id": "$.request.id",
        "time": "$.at",
        "subject": "$key",
        "caller": "$headers.x-caller",
        "features.income": "$.inputs[0].value",
        "features.grade": "$['inputs'][1]['the value']",
        "output.label": "$.result",
        "output.score": "$.probabilities[1]",
    },
}
LEGACY = {
    "meta": {"model": "default-risk", "build": 12},
    "request": {"id": 77},
    "at": 1_772_442_843_120,
    "inputs": [{"value": 1200.5}, {"the value": 3}],
    "result": 1,
    "probabilities": [0.25, 0.75],
}


def reader(source=SOURCE, **more) -> Reader:
    return Reader(Configuration.model_validate({"models": {"default-risk": MODEL}, "sources": [{**source, **more}]}))


def legacy(change=None, topic="scores", headers=(("x-caller", b"branch"),), key=b"client-1") -> Plain:
    return Plain(topic, 0, 0, BROKER, key, json.dumps({**LEGACY, **(change or {})}).encode(), headers)


def test_an_existing_topic_is_read_by_its_field_paths():
    row = reader().row(legacy())
    expected = {
        "id": "77",
        "source": "/legacy/scoring",
        "subject": "client-1",
        "caller": "branch",
        "model.name": "default-risk",
        "model.version": "12",
        "features.income": 1200.5,
        "features.grade": "3",
        "output.label": "1",
        "output.score": 0.75,
        "event_time_ms": 1_772_442_843_120,
    }
    assert {name: row[name] for name in expected} == expected


def test_other_topics_are_read_as_decisions_all_the_same():
    assert reader().read([legacy(topic="gim.decisions")]).faults[0].reason == "missing-field"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"request": {}}, "missing-field"),
        ({"request": None}, "missing-field"),
        ({"meta": {"build": 12}}, "missing-field"),
        ({"meta": {"model": "default-risk"}}, "missing-field"),
        ({"meta": {"model": "shadow", "build": 1}}, "undeclared-model"),
        ({"inputs": []}, "missing-field"),
        ({"inputs": [{}, {"the value": 3}]}, "missing-feature"),
        ({"inputs": [{"value": "1200"}]}, "wrong-field-type"),
        ({"inputs": [{"value": True}]}, "wrong-field-type"),
        ({"inputs": [{"value": 2**64}]}, "big-integer"),
        ({"result": 2}, "unknown-label"),
        ({"result": None, "probabilities": []}, "missing-field"),
        ({"at": "yesterday"}, "bad-time"),
        ({"at": 10**18}, "bad-time"),
        ({"at": True}, "wrong-field-type"),
        ({"request": {"id": "a\u0000b"}}, "control-characters"),
        ({"request": {"id": 1.5}}, "wrong-field-type"),
    ],
)
def test_a_mapped_record_meets_the_same_checks(change, reason):
    batch = reader().read([legacy(change), legacy()])
    assert batch.faults[0].reason == reason
    assert [group.rows for group in batch.groups] == [[1]]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null-value"),
        (b"", "empty"),
        (b"{", "not-json"),
        (b"\xff", "not-utf8"),
        (b"[" * 999, "too-deep"),
        (b"1 2", "not-json"),
    ],
)
def test_a_mapped_record_that_cannot_be_parsed_is_named(value, reason):
    batch = reader().read([Plain("scores", 0, 0, BROKER, b"k", value)])
    assert batch.faults[0].reason == reason
    assert batch.identities == [None]


@pytest.mark.parametrize(
    ("key", "headers", "reason"),
    [
        (b"\xff", (("x-caller", b"a"),), "not-utf8"),
        (b"k", (("x-caller", b"\xff"),), "not-utf8"),
        (b"k", (("x-caller", None),), "bad-header"),
        (b"k", (("x-caller", b"a"), ("x-caller", b"b")), "repeated-header"),
    ],
)
def test_a_mapped_key_or_header_must_be_one_text(key, headers, reason):
    batch = reader().read([legacy(key=key, headers=headers)])
    assert batch.faults[0].reason == reason


def test_forged_headers_are_found_on_mapped_topics_too():
    assert reader().read([legacy(headers=[("govern-seq", b"1")])]).faults[0].reason == "own-header"


def test_whole_objects_can_be_mapped_and_single_fields_added():
    fields = {
        "id": "$.id",
        "features": "$.x",
        "features.grade": "$.g",
        "feature_attributions": "$.shap",
        "output.score": "$.s",
    }
    value = json.dumps({"id": "a", "x": {"income": 5, "grade": 1}, "g": 2, "shap": {"income": 0.5}, "s": 0.1}).encode()
    row = reader(fields=fields, model="default-risk", version="1").row(Plain("scores", 0, 0, BROKER, None, value))
    assert (row["features.income"], row["features.grade"], row["feature_attributions.income"]) == (5.0, "2", 0.5)


def test_what_is_mapped_from_headers_and_key_belongs_to_the_fingerprint():
    prints = reader().identify([legacy(), legacy(), legacy(headers=[("x-caller", b"z")]), legacy(key=b"client-2")])[1]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    "path", ["model.name", "$.", "$.a[", "$.a[x]", "$.a b]", "$headers", "$key.a", "$headers.a.b", ""]
)
def test_a_wrong_path_is_refused_when_it_is_configured(path):
    with pytest.raises(Misconfigured, match="field path"):
        Path(path)


@pytest.mark.parametrize("field", ["ident", "features.", "output.other", "data.id", "model.name", "output", "id.x"])
def test_a_field_that_no_decision_has_is_refused_when_it_is_configured(field):
    with pytest.raises(Misconfigured, match="no field of a decision"):
        reader(fields={"id": "$.id", field: "$.x"})


def test_a_mapping_without_an_id_is_refused_when_it_is_configured():
    with pytest.raises(Misconfigured, match="maps no id"):
        reader(fields={"subject": "$.x"})


KSERVE = {
    "topic": "kserve-logs",
    "format": "kserve",
    "model": "$headers.ce_inferenceservicename",
    "version": "$headers.ce_endpoint",
    "source": "$headers.ce_source",
    "fields": {"output.label": "$.predictions[0]"},
}
HEADERS = {
    "specversion": "1.0",
    "id": "36f8b1c2-9b1e-4c1c-8d3a-0f4b5f0e2a11",
    "source": "http://localhost:9081/",
    "type": "org.kubeflow.serving.inference.response",
    "time": "2026-03-02T09:14:03.120934118Z",
    "inferenceservicename": "sklearn-iris",
    "namespace": "models",
    "endpoint": "default",
    "component": "predictor",
}


def kserve(body: object, mark: str = "ce_", **change: str) -> Plain:
    headers = [("content-type", b"application/json")] + [
        (mark + name, text.encode()) for name, text in {**HEADERS, **change}.items()
    ]
    return Plain("kserve-logs", 0, 0, BROKER, None, json.dumps(body).encode(), headers)


def kserve_reader(**more) -> Reader:
    models = {"sklearn-iris": {"labels": {"0": {}, "1": {}, "2": {}}}}
    return Reader(Configuration.model_validate({"models": models, "sources": [{**KSERVE, **more}]}))


@pytest.mark.parametrize("mark", ["ce_", "ce-", "Ce-"])
def test_a_response_of_kserves_inference_logger_is_a_decision(mark):
    row = kserve_reader().row(kserve({"predictions": [1]}, mark))
    expected = {
        "id": HEADERS["id"],
        "source": "http://localhost:9081/",
        "model.name": "sklearn-iris",
        "model.version": "default",
        "output.label": "1",
        "event_time_ms": 1_772_442_843_120,
    }
    assert {name: row[name] for name in expected} == expected


def test_a_response_of_the_open_inference_protocol_is_a_decision():
    body = {
        "model_name": "sklearn-iris",
        "model_version": "3",
        "id": "r-1",
        "outputs": [{"name": "predict", "shape": [1], "datatype": "INT64", "data": [2]}],
    }
    source = {"version": "$.model_version", "fields": {"output.label": "$.outputs[0].data[0]"}}
    row = kserve_reader(**source).row(kserve(body))
    assert (row["id"], row["model.version"], row["output.label"]) == (HEADERS["id"], "3", "2")


@pytest.mark.parametrize(
    ("body", "change", "reason"),
    [
        ({"instances": [[1]]}, {"type": "org.kubeflow.serving.inference.request"}, "wrong-type"),
        ({"predictions": [1]}, {"type": "other"}, "wrong-type"),
        ({"predictions": [1, 2]}, {}, "several-predictions"),
        ({"predictions": []}, {}, "several-predictions"),
        ({"outputs": [{"shape": [2], "data": [1, 2]}]}, {}, "several-predictions"),
        ([1], {}, "not-object"),
        ({"error": "out of memory"}, {}, "missing-field"),
        ({"predictions": [1]}, {"inferenceservicename": "other"}, "undeclared-model"),
    ],
)
def test_what_kserve_logs_besides_single_predictions_is_named(body, change, reason):
    assert kserve_reader().read([kserve(body, **change)]).faults[0].reason == reason


def test_a_request_has_no_identity_so_that_its_response_is_no_conflict():
    request = kserve({"instances": [[1]]}, type="org.kubeflow.serving.inference.request")
    response = kserve({"predictions": [1]})
    assert kserve_reader().identify([request, response])[0] == [None, f"{HEADERS['source']}\0{HEADERS['id']}"]


def test_kserve_headers_belong_to_the_fingerprint():
    prints = kserve_reader().identify([kserve({"predictions": [1]}), kserve({"predictions": [1]}, id="x")])[1]
    assert prints[0] != prints[1]
