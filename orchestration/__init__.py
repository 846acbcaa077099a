"""Everything with a side effect: topics, lanes, Ray actors, the local broker, stores and the CLI."""
