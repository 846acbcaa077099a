"""Both databases that a read model may lie in: every test of this folder that asks for `settings` runs on each."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.reading.database import Database, open_database
from orchestration.settings import Settings
from tests.postgres_cluster import postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A deployment of its own."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return Settings(_env_file=None, prefix=f"t{secrets.token_hex(4)}", data_dir=tmp_path, read_model=url)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """An empty read model."""
    found = open_database(settings)
    found.prepare({"prefix": settings.prefix})
    yield found
    found.close()
