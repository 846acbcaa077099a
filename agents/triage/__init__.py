"""What a reviewer should know of an incident: facts, a summary that stands without an LLM, and checks of one that does not."""
