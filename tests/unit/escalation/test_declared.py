"""What is declared of people is refused where it could never work, before it is in force."""

import pytest

from agents.configuration import Configuration
from tests.unit.escalation.asking import ANN, BEN, CONSOLE, configuration


def people(**more):
    return {
        "ann": {"name": "Ann", "roles": ["author", "reviewer"], **more},
        "ben": {"name": "Ben", "roles": ["author"]},
    }


SHARED = {**people(keys=[ANN.public.text]), "cid": {"name": "C", "keys": [ANN.public.text]}}
CONSOLES = {"people": people(keys=[CONSOLE.public.text]), "console_keys": {"main": CONSOLE.public.text}}
SECOND = {"second_person": ["configuration"]}
CONSOLE_KEYS = {"console_keys": {"console": CONSOLE.public.text}}
LONELY = {"people": {"ann": people()["ann"]}, **SECOND}
KEYLESS = {"people": people(), **CONSOLE_KEYS, **SECOND}
ONE_KEY = {"people": people(keys=[ANN.public.text]), **SECOND}


@pytest.mark.parametrize(
    ("escalation", "why"),
    [
        ({"people": SHARED}, "this key is ann's too"),
        (CONSOLES, "this key is ann's too"),
        (
            {"people": people(), "chains": {"default": {"quorum": {"people": 2}}}},
            "2 people with the role reviewer must",
        ),
        ({"people": people(), "second_person": ["access"]}, "nothing asks for a second person where access changes"),
        (LONELY, "nobody could ever change it again"),
        (KEYLESS, "no author has `keys`, so nobody can propose a change"),
        (ONE_KEY, "only ann can sign a change"),
    ],
)
def test_what_nobody_could_ever_agree_to_is_refused(escalation, why):
    with pytest.raises(ValueError, match=why):
        Configuration.model_validate({"escalation": escalation})


def test_two_authors_who_can_sign_are_enough_to_change_a_configuration():
    both = people(keys=[ANN.public.text])
    both["ben"]["keys"] = [BEN.public.text]
    Configuration.model_validate({"escalation": {"people": both, **SECOND}})
    Configuration.model_validate({"escalation": {**ONE_KEY, **CONSOLE_KEYS}})  # ben agrees in the console
    configuration(chains={"default": {"quorum": {"people": 3}}})
