"""The JSON Schema that editors use while somebody writes a configuration: completion, descriptions, red underlines.

It is made from the models in configuration.py, with the short forms that their validators also take. `govern config
check` remains the judge: it knows columns, references and conditions.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from agents.configuration import WEEKDAYS, Configuration, Policy

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def editor_schema() -> dict[str, Any]:
    """The schema of any file of a configuration: a whole one, a part of one, or a policy."""
    _, schema = models_json_schema(
        [(Configuration, "validation"), (Policy, "validation")], ref_template="#/$defs/{model}"
    )
    parts = schema["$defs"]
    parts["Feature"] = _or(parts["Feature"], {"type": "string", "enum": _FEATURES})
    parts["Hours"] = _or(parts["Hours"], {"type": "string", "pattern": r"^\d?\d:\d\d\s*-\s*\d?\d:\d\d$"})
    hours = {"$ref": "#/$defs/Hours"}
    parts["Calendar"]["properties"]["hours"] = {
        "type": "object",
        "description": parts["Calendar"]["properties"]["hours"].get("description", ""),
        "propertyNames": {"pattern": f"^({'|'.join(WEEKDAYS)})(-({'|'.join(WEEKDAYS)}))?$"},
        "additionalProperties": {"anyOf": [hours, {"type": "array", "items": hours}]},
    }
    callers = parts["Model"]["properties"]["callers"]
    parts["Model"]["properties"]["callers"] = _or(callers, {"type": "array", "items": {"type": "string"}})
    return {
        "$schema": DIALECT,
        "title": "Configuration of Governance in Motion",
        "if": {"required": ["policy"]},
        "then": {"$ref": "#/$defs/Policy"},
        "else": {"$ref": "#/$defs/Configuration"},
        "$defs": parts,
    }


_FEATURES = ["numeric", "numeric?", "categorical", "categorical?"]


def _or(schema: dict[str, Any], short: dict[str, Any]) -> dict[str, Any]:
    """`schema` or its short form, keeping the description outside so that editors show it for both."""
    return {"description": schema.get("description", ""), "anyOf": [schema, short]}
