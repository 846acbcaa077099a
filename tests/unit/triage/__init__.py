"""Triage: facts, similar incidents, summaries, and the checks of a model's answer."""
