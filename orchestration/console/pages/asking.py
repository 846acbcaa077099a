"""What all pages ask the same way: the read model, people's names, what a deadline does, where a decision's page is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import quote, urlencode

from sqlalchemy import select
from starlette.exceptions import HTTPException
from starlette.requests import Request

from agents.configuration import Configuration
from agents.escalation.declared import Chain
from agents.events import Position
from agents.people_events import IncidentData
from orchestration.console.parts import parts_of
from orchestration.console.viewer import Viewer
from orchestration.reading.database import Database
from orchestration.reading.tables import incidents

AT_DEADLINE = {"release": "they go out", "withhold": "they are withheld", "escalate": "others are asked"}


def database(request: Request) -> Database:
    """The read model. Raises HTTPException(503), with the mend, where this console has none yet."""
    found = parts_of(request).reading
    if not isinstance(found, Database):
        raise HTTPException(
            503, "The read model is not there yet: start it with `govern up`, then open this page again."
        )
    return found


def incidents_named(base: Database, names: Collection[str]) -> list[IncidentData]:
    """Those of these incidents that the read model knows, as they stand, in the order of the names."""
    with base.reading() as connection:
        rows = connection.execute(select(incidents.c.id, incidents.c.data).where(incidents.c.id.in_(names))).all()
    known = {name: IncidentData.model_validate_json(text) for name, text in rows}
    return [known[name] for name in names if name in known]


def teams_of(viewer: Viewer) -> frozenset[str] | None:
    """Which teams' incidents this viewer sees; None: all."""
    return None if viewer.everywhere else viewer.teams


def name_of(configuration: Configuration | None, person: str | None, viewer: Viewer | None = None) -> str:
    """A person as shown to others; `you` for the viewer."""
    if person is None:
        return ""
    if viewer is not None and viewer.person == person:
        return "you"
    known = configuration.escalation.people.get(person) if configuration is not None else None
    return known.name if known is not None else person


def names_of(configuration: Configuration | None, people: Iterable[str], viewer: Viewer | None = None) -> str:
    """Several people, as a list in a sentence.

    >>> names_of(None, ["ana", "wei", "ines"])
    'ana, wei and ines'
    """
    names = [name_of(configuration, person, viewer) for person in people]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def chain_of(configuration: Configuration | None, name: str) -> Chain:
    """A chain by its name, or the default one."""
    return configuration.escalation.chains.get(name, Chain()) if configuration is not None else Chain()


def deadline_words(configuration: Configuration | None, chain: str) -> str:
    """What happens to held decisions at the deadline: `they are withheld`."""
    return AT_DEADLINE.get(chain_of(configuration, chain).at_deadline or "", "")


def decision_url(position: Position, incident: str | None = None) -> str:
    """The page of one decision; with the incident that it was opened from, so that opening it counts for that."""
    path = f"/decisions/{quote(position.topic, safe='')}/{position.partition}/{position.offset}"
    return path + (f"?incident={quote(incident, safe='')}" if incident else "")


def place_words(position: Position) -> str:
    """`<topic>/<partition>/<offset>`."""
    return f"{position.topic}/{position.partition}/{position.offset}"


def with_query(path: str, **values: str | int | None) -> str:
    """A path with those query fields that have a value.

    >>> with_query("/", whose="mine", model="", page=None)
    '/?whose=mine'
    """
    given = {name: value for name, value in values.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def page_number(request: Request) -> int:
    """The page that is asked for, from 1; 1 where it is no number."""
    text = request.query_params.get("page", "1")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 and int(text) else 1
