"""A slice of the fuzzing that needs no fuzzer: every parser gives a value or a typed error, for any bytes."""

from __future__ import annotations

import os
import random

import pytest
from harnesses import HARNESSES
from hypothesis import given, settings
from hypothesis import strategies as st

DEEP = int(os.environ.get("LARGEFILE_DEEP", "1"))
EXECUTIONS = 3000 * DEEP


def mutated(seeds, words, rng):
    """One input out of the others, as a fuzzer makes them: cut, joined, words put in, bytes changed."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(5)
        if how == 0:
            del data[at : at + rng.randrange(1, 9)]
        elif how == 1:
            data[at:at] = rng.choice(words)
        elif how == 2:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 3:
            data[at:] = rng.choice(seeds)[at:]
        else:
            data[at:at] = data[at : at + rng.randrange(40)] * rng.choice([1, 1, 1, 100])
    return bytes(data)


@pytest.mark.parametrize("name", HARNESSES)
def test_a_parser_is_total_near_what_is_right(name):
    harness, rng = HARNESSES[name], random.Random(name)
    for seed in harness.seeds:
        harness.fuzz_one(seed)
    for _ in range(EXECUTIONS):
        data = mutated(harness.seeds, harness.words, rng)
        try:
            harness.fuzz_one(data)
        except Exception as error:
            error.add_note(f"fuzz_one({data!r})")
            raise


@pytest.mark.parametrize("name", HARNESSES)
def test_a_parser_is_total_for_anything(name):
    fuzz_one = HARNESSES[name].fuzz_one

    @settings(max_examples=100 * DEEP)
    @given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
    def check(data):
        fuzz_one(data)

    check()
