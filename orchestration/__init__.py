"""Everything with a side effect: settings, topics, lanes, Ray actors, stores, CLI. Imports agents, never the other way."""

from orchestration.own_agents import check as _check

_check()
