"""Keys that people sign answers with: made once, read by nobody else, and ready to paste into the configuration."""

import os
import stat
from pathlib import Path

import pytest
import yaml

from agents.configuration import Configuration
from agents.errors import Misconfigured
from orchestration import signing_keys
from orchestration.cli.main import main
from orchestration.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOVERN_KEYS_DIR", str(tmp_path / "keys"))
    return Settings()


def run(*words: str) -> None:
    try:
        main(words)
    except SystemExit as ended:
        if ended.code:
            raise


def test_a_new_key_is_its_owners_alone_and_its_lines_fit_the_configuration(settings, capsys):
    run("key", "new", "--person", "ann")
    path = settings.keys_dir / "gim.person.ann.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    printed = capsys.readouterr().out
    key = signing_keys.person_key(settings, "ann")
    assert key.public.text in printed
    assert path.read_text().removeprefix(signing_keys.PREFIX).strip() not in printed
    lines = yaml.safe_load(printed[printed.index("escalation:") :])
    assert lines == {"escalation": {"people": {"ann": {"keys": [key.public.text]}}}}
    lines["escalation"]["people"]["ann"]["name"] = "Ann"
    declared = Configuration.model_validate(lines).escalation
    assert declared.people["ann"].keys == (key.public.text,)


def test_the_consoles_key_is_made_once_and_listed_with_the_others(settings, capsys):
    key = signing_keys.console_key(settings)
    assert signing_keys.console_key(settings) == key
    run("key", "new", "--person", "ben")
    capsys.readouterr()
    run("key", "show")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["console", "ben"]
    assert lines[0].split()[1:3] == [key.public.keyid, key.public.text]


def test_a_console_key_made_beforehand_comes_with_its_lines(settings, capsys):
    run("key", "new", "--console")
    lines = yaml.safe_load(capsys.readouterr().out.partition("\n\n")[2].partition("\n\n")[2])
    key = signing_keys.console_key(settings)
    assert lines == {"escalation": {"console_keys": {"console": key.public.text}}}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--person", "ann"], "is there already, and a key is never replaced"),
        (["--person", "../ann"], "'../ann' is no person's id"),
        ([], "say whose key it is"),
        (["--person", "ann", "--console"], "say whose key it is"),
        (["--person", "ben", "--dir", "var/evidence/keys"], "lies in the evidence store"),
        (["--person", "ben", "--dir", "repo/keys"], "lies in the git work tree"),
    ],
)
def test_a_key_is_not_made_where_it_should_not_be(settings, tmp_path, capsys, words, why):
    signing_keys.make(signing_keys.person_path(settings, "ann"), settings)
    (tmp_path / "repo/.git").mkdir(parents=True)
    with pytest.raises(SystemExit):
        run("key", "new", *words)
    assert why in capsys.readouterr().err.replace("\n", " ")


def test_a_key_that_others_can_read_or_that_is_damaged_is_not_used(settings):
    with pytest.raises(Misconfigured, match="make one: govern key new --person ann"):
        signing_keys.person_key(settings, "ann")
    path = signing_keys.person_path(settings, "ann")
    signing_keys.make(path, settings)
    os.chmod(path, 0o640)
    with pytest.raises(Misconfigured, match="can be read by others"):
        signing_keys.person_key(settings, "ann")
    os.chmod(path, 0o600)
    path.write_text("ed25519-private:AAAA\n")
    with pytest.raises(Misconfigured, match="does not hold a private key"):
        signing_keys.person_key(settings, "ann")


def test_who_signs_is_the_only_person_whose_key_is_here_or_must_be_said(settings, tmp_path):
    with pytest.raises(Misconfigured, match="no person's key is here"):
        signing_keys.own(settings)
    ann = signing_keys.make(signing_keys.person_path(settings, "ann"), settings)
    signing_keys.console_key(settings)
    assert signing_keys.own(settings) == ("ann", ann)
    ben = signing_keys.make(tmp_path / "elsewhere.key", settings)
    assert signing_keys.own(settings, "ben", tmp_path / "elsewhere.key") == ("ben", ben)
    signing_keys.make(signing_keys.person_path(settings, "cid"), settings)
    with pytest.raises(Misconfigured, match="there are keys of ann, cid; give --person"):
        signing_keys.own(settings)
