"""The command `govern`. Each group of commands is a module here with a Typer `app` (or a function), loaded on use."""

from orchestration.cli.main import main

__all__ = ["main"]
