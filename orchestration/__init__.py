"""Everything with a side effect: settings, topics, lanes, Ray actors, local broker, stores, CLI. May import agents."""
