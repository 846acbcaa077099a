"""Incidents with what a good triage says of them, and the scorecard of who says so: `make eval-triage`."""
