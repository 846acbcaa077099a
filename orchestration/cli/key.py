"""`govern key`: keys that people, and the console, sign answers with. Private halves never leave their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.errors import Misconfigured
from orchestration import signing_keys
from orchestration.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Make and show the keys that answers are signed with."
)
Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="Where the file lies: outside the repository and the store.", show_default="keys_dir"),
]


@app.command(epilog="Example: govern key new --person ann   |   govern key new --console")
def new(
    person: Annotated[str | None, typer.Option(help="Whose: the id under escalation.people.")] = None,
    console: Annotated[bool, typer.Option("--console", help="The console's, before it first starts.")] = False,
    folder: Folder = None,
) -> None:
    """Make a private key, for its owner's eyes only, and print what belongs into the configuration."""
    settings = Settings()
    if (person is None) is not console:
        raise Misconfigured("say whose key it is: --person NAME, or --console")
    path = signing_keys.person_path(settings, person, folder) if person else signing_keys.console_path(settings, folder)
    made = signing_keys.make(path, settings)
    typer.echo(f"private key   {path}   keep it; nobody else may read it")
    typer.echo(f"public key    {made.public.text}   (id {made.public.keyid})")
    typer.echo(
        f"\nAdd it to the configuration{' beside the name and roles' if person else ''}, then `govern config apply DIR` "
        "(another author has to agree where that is asked):\n"
    )
    typer.echo(lines_for(person, made.public.text))


@app.command(epilog="Example: govern key show   |   govern key show --dir /media/keys")
def show(folder: Folder = None) -> None:
    """List the keys of this deployment that lie here: whose, id, public key, file."""
    settings = Settings()
    keys = [(whose, signing_keys.load(path).public, path) for whose, path in signing_keys.found(settings, folder)]
    if not keys:
        typer.echo(
            f"no key lies in {(folder or settings.keys_dir).expanduser()}; make one: govern key new --person NAME"
        )
    wide = max((len(whose) for whose, _, _ in keys), default=0)
    for whose, public, path in keys:  # plain lines: a table would cut what is to be copied
        typer.echo(f"{whose:<{wide}}  {public.keyid}  {public.text}  {path}")


def lines_for(person: str | None, public: str) -> str:
    """The configuration's lines for a public key; a person's stand beside name and roles."""
    if person is None:
        return signing_keys.console_lines(public)
    return f"escalation:\n  people:\n    {person}:\n      keys: [{public}]"
