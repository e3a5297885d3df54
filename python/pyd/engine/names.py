"""Names and ids of containers."""

from __future__ import annotations

import os
import re

from pyd.errors import InvalidArgument

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"
_MOODS = (
    "admiring agile amazing amused ardent attentive awake balanced bold brave bright calm careful "
    "charming cheerful clever composed confident content cool curious daring dazzling decided devoted "
    "eager earnest easygoing elated elegant eloquent epic festive fervent focused friendly frosty gallant "
    "generous gentle gifted glad gracious happy hardy hopeful humble inspiring jolly jovial keen kind "
    "laughing lively loving lucid magical mellow merry mindful modest musing mystifying nice nifty nimble "
    "noble optimistic patient peaceful playful polite practical precise quiet quirky recursing relaxed "
    "reverent romantic serene sharp sleepy steady stoic sweet tender thirsty trusting upbeat vibrant "
    "vigilant vigorous wise witty wonderful youthful zealous zen"
).split()
_PEOPLE = (
    "agnesi aryabhata babbage banach bardeen bartik bell bhabha blackwell bohr booth borg bose boyd "
    "brahmagupta cannon carson cartwright cerf chandrasekhar clarke colden cori cray curie darwin davinci "
    "dijkstra edison einstein elion euclid euler faraday fermat fermi feynman franklin galileo galois "
    "gates gauss germain goldberg goldstine goodall haibt hamilton hawking heisenberg hertz hodgkin "
    "hopper hypatia jackson jang jemison johnson jones joliot kalam kare keller kepler khorana kilby "
    "kirch knuth kowalevski lalande lamarr lamport leakey leavitt lederberg lehmann lichterman liskov "
    "lovelace lumiere mayer mccarthy mcclintock meitner mendel merkle mestorf mirzakhani moore morse "
    "murdock nash newton nightingale nobel noether noyce pare pascal pasteur payne perlman pike poincare "
    "poitras ptolemy raman ramanujan ride ritchie roentgen rosalind saha sammet shannon shaw shirley "
    "shockley sinoussi snyder stallman stonebraker swanson swartz swirles tesla tharp thompson torvalds "
    "turing varahamihira villani visvesvaraya volhard wescoff wiles williams wilson wing wozniak wright "
    "yalow yonath"
).split()


def new_id() -> str:
    """64 random hex digits that are not all decimal at the front: a short id must never look like a
    number.
    """
    while True:
        text = os.urandom(32).hex()
        if not text[:12].isdigit():
            return text


def random_name(attempt: int = 0) -> str:
    """adjective_surname; a digit follows from the second attempt on, as in Docker."""
    first, second, digit = os.urandom(3)
    name = f"{_MOODS[first % len(_MOODS)]}_{_PEOPLE[second % len(_PEOPLE)]}"
    return f"{name}{digit % 10}" if attempt else name


def check_name(name: str) -> str:
    """The name without its slash. Raises InvalidArgument."""
    plain = name.removeprefix("/")
    if not re.fullmatch(_NAME, plain, re.ASCII):
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return plain
