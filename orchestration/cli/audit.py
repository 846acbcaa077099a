"""`govern audit`: keys, verification, proofs. The checks themselves are agents/audit/verify.py, which stands alone."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from agents.audit import verify as standalone
from agents.audit.proof import VerdictId, disclose, find_verdict, prove
from agents.errors import Misconfigured
from orchestration import keys
from orchestration.archive import Archive
from orchestration.log_store import LogStore
from orchestration.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Make keys, verify evidence, prove one decision.")

STORE = "var/evidence"
ARCHIVE = "var/archive"
Key = Annotated[
    Path, typer.Option("--key", help="Your own copy of the public key (*.verifier), never one from the store.")
]
Prefix = Annotated[str, typer.Option("--name", help="The topic prefix, which is also the key's name.")]
KeyDir = Annotated[Path, typer.Option("--dir", help="Where the keys lie: outside the repository and the store.")]


@app.command(
    epilog="Example: govern audit keygen --name gim   |   govern audit keygen --dir /etc/governance/keys",
)
def keygen(
    name: Prefix = "gim",
    folder: KeyDir = keys.DEFAULT_DIR,
    store: Annotated[str, typer.Option(help="The evidence store, which must not hold secrets.")] = STORE,
) -> None:
    """Make the key that signs checkpoints, the key that salts commitments, and the public key for auditors."""
    made = keys.generate(name, folder, store)
    typer.echo(f"signing key   {made.signer}   keep it secret; back it up")
    typer.echo(f"salt key      {made.salt}   keep it secret; without it no decision can be disclosed")
    typer.echo(f"public key    {made.verifier}   give it to auditors, by another way than the evidence:")
    typer.echo(f"  {made.verifier.read_text().strip()}")


@app.command(
    epilog="Example: govern audit verify var/evidence --key auditor.verifier --since checkpoint-of-last-year",
)
def verify(
    folder: Annotated[Path, typer.Argument(help="The evidence store, or a copy of it.")],
    key: Key,
    since: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint that you kept (file or folder); may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    topic: Annotated[bool, typer.Option("--topic", help="Compare with Kafka too (GOVERN_* says where it is).")] = False,
) -> None:
    """Check evidence offline. Exit status 0 all is well, 1 something is wrong, 2 the check could not be made."""
    given = [part for path in since or () for part in ("--since", str(path))]
    status = standalone.main(["verify", str(folder), "--key", str(key), *given, *(["--json"] if as_json else [])])
    if topic and status != 2:
        status = max(status, asyncio.run(_against_topics(folder)))
    raise typer.Exit(status)


async def _against_topics(folder: Path) -> int:
    """Print, for each log, how it and its topic agree; 1 where something is unexplained."""
    from orchestration import deployment
    from orchestration.topic_check import compare_all

    settings = deployment.with_kafka(deployment.located(Settings()), typer.echo)
    wrong = 0
    async for log, found in compare_all(settings, LogStore(str(folder))):
        gone = f", {found.by_retention} deleted by retention, {found.by_compaction} by compaction"
        typer.echo(f"{log} against its topic: {found.same} the same{gone}, {found.pending} not audited yet")
        for error in found.errors:
            typer.echo(f"  ERROR {log}: {error}")
        wrong += len(found.errors)
    typer.echo(f"against Kafka: {wrong} unexplained" if wrong else "against Kafka: nothing unexplained")
    return 1 if wrong else 0


@app.command(epilog="Example: govern audit verifier --out verifier.pyz; python verifier.pyz verify DIR --key FILE")
def verifier(out: Annotated[Path, typer.Option(help="The file to write.")] = Path("verifier.pyz")) -> None:
    """Write the standalone verifier: one file for auditors, which needs Python 3.11 and `cryptography` only."""
    out.write_bytes(zipapp())
    out.chmod(0o755)
    typer.echo(f"{out}: python {out} verify DIR --key FILE [--since CHECKPOINT]")


@app.command("prove", epilog="Example: govern audit prove gim.decisions/0/17/gate --out proof.json")
def prove_(
    verdict: Annotated[str, typer.Argument(help="The verdict's id: <topic>/<partition>/<offset>/<stage>.")],
    store: Annotated[str, typer.Option(help="The evidence store (folder or URL).")] = STORE,
    name: Prefix = "gim",
    out: Annotated[Path | None, typer.Option(help="The file to write; otherwise standard output.")] = None,
    disclosed: Annotated[
        bool, typer.Option("--disclose", help="Also hand out the decision itself and its salt: personal data.")
    ] = False,
    archive: Annotated[str, typer.Option(help="The archive of decisions, for --disclose.")] = ARCHIVE,
    folder: KeyDir = keys.DEFAULT_DIR,
) -> None:
    """Prove that a verdict is in the evidence, in one JSON file which `check-proof` checks without the store."""
    wanted, read = VerdictId.parse(verdict), LogStore(store).read
    proof = prove(read, *find_verdict(read, name, wanted))
    if disclosed:
        decision = Archive(archive).read(wanted.topic, wanted.partition, wanted.offset)
        if decision is None:
            raise Misconfigured(f"the archive {archive} has no decision {wanted.position}; give the right --archive")
        proof = disclose(proof, decision, keys.load_salt(keys.paths(name, folder).salt).salt(wanted.position))
    text = json.dumps(proof, indent=2) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text)
        typer.echo(f"{out}: govern audit check-proof {out} --key FILE")


@app.command("check-proof", epilog="Example: govern audit check-proof proof.json --key auditor.verifier")
def check_proof(proof: Annotated[Path, typer.Argument(help="The proof, as `prove` wrote it.")], key: Key) -> None:
    """Check a proof with nothing but the public key. Exit status 0 it holds, 1 it does not, 2 cannot check."""
    raise typer.Exit(standalone.main(["check-proof", str(proof), "--key", str(key)]))


def zipapp() -> bytes:
    """The standalone verifier as a zipapp; the same source gives the same bytes, so that its digest can be published."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        source = Path(standalone.__file__).read_bytes()
        archive.writestr(zipfile.ZipInfo("__main__.py", (2020, 1, 1, 0, 0, 0)), source, zipfile.ZIP_DEFLATED)
    return b"#!/usr/bin/env python3\n" + out.getvalue()
