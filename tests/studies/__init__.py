"""Studies: what docs/statistics.md says, repeated with the product's own code (`make study`)."""
