"""Configurations that ship with the project: the demo's, and the one that `govern config init` starts you with."""
