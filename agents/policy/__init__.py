"""The policy agent: what a condition means, what stands, and what that makes of each decision."""
