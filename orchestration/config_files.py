"""Configurations on disk: a folder of YAML files, or a single governance.yaml, read whole; and the folder to start with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from agents.configuration import Configuration
from agents.configuration_schema import editor_schema
from agents.configuration_yaml import read_configuration
from agents.errors import ConfigError, Misconfigured, Place
from orchestration import label_retention
from orchestration.settings import Settings

if TYPE_CHECKING:
    from agents.monitor.contract import Monitor

SUFFIXES = (".yaml", ".yml")
SCHEMA_FILE = "governance.schema.json"
FIRST_FILE = "governance.yaml"


def load(path: Path, deployment: Settings | None = None) -> Configuration:
    """The configuration at a folder or file; raises ConfigErrors or Misconfigured with all that is wrong.

    With a deployment's settings also what it could not do there.
    """
    texts = [(str(file), _text(file)) for file in files_of(path)]
    if deployment is None:
        return read_configuration(texts, _kinds)
    return read_configuration(texts, _kinds, lambda found: label_retention.problems(found, deployment))


def files_of(path: Path) -> list[Path]:
    """YAML files of a configuration, in order; hidden files and folders are left out."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise Misconfigured(f"{path} is neither a folder nor a file; `govern config init {path}` makes a first one")
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix in SUFFIXES and file.is_file() and not _hidden(file.relative_to(path))
    ]
    if not found:
        raise Misconfigured(f"{path} holds no YAML file; `govern config init {path}` writes a first one")
    return found


def start(folder: Path) -> list[Path]:
    """Write a commented first configuration and the schema for editors; never overwrites anything."""
    texts = {FIRST_FILE: resources.files("config").joinpath("init", FIRST_FILE).read_text("utf-8")}
    texts[SCHEMA_FILE] = schema_text()
    taken = [folder / name for name in texts if (folder / name).exists()]
    if taken:
        raise Misconfigured(f"{taken[0]} exists already; choose another folder, or remove it first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"cannot write to {folder}: {error.strerror}; check the path and its rights") from error
    return [folder / name for name in texts]


def schema_text() -> str:
    """The editors' schema as a file's text."""
    return json.dumps(editor_schema(), indent=1, ensure_ascii=False) + "\n"


def _kinds() -> Mapping[str, type[Monitor]]:
    from orchestration.extensions import kinds  # a second of imports, for configurations with monitors only

    return kinds()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"no UTF-8 text at byte {error.start}", Place(str(file)), "save the file as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", Place(str(file)), "check its rights") from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
