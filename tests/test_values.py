"""A value class of ours is what the standard decorator makes of the same fields."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.rules.retry import RetryResponse
from largefile.stats import DownloadStats, DownloadStatus, StreamingStatus
from largefile.values import dataclass


def both(decorator):
    @decorator(frozen=True, slots=True)
    class Base:
        """Of these the classes below are made as well."""

        a: int
        b: str = dataclasses.field(default="b", repr=False)
        c: Any = "c"
        d: list[int] = dataclasses.field(default_factory=list)

    @decorator(frozen=True, slots=True)
    class Made(Base):
        """With a default that differs, a field of its own, and a check."""

        c: Any = "other"
        e: Any = None

        def __post_init__(self):
            if self.e == "refused":
                raise ValueError(self.e)

    return Made


OURS, THEIRS = both(dataclass), both(dataclasses.dataclass)
VALUES = st.integers(0, 2) | st.sampled_from(["refused", "x"]) | st.lists(st.integers(0, 1), max_size=2)
CALLS = st.tuples(
    st.lists(VALUES, max_size=6), st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "f"]), VALUES)
)


def told(make):
    """What comes of it: its words, or the kind of its error."""
    try:
        return repr(make())
    except (TypeError, ValueError) as error:
        return type(error)


@given(CALLS, CALLS)
def test_it_is_made_shown_compared_hashed_and_replaced_as_the_standard_one(call, other):
    def acts(kind):
        made = kind(*call[0], **call[1])
        yield lambda: made
        yield lambda: dataclasses.asdict(made)
        yield lambda: dataclasses.astuple(made)
        yield lambda: dataclasses.replace(made, **other[1])
        yield lambda: hash(made)
        yield lambda: (made == kind(*other[0], **other[1]), made != made, made == call)
        yield lambda: copy.copy(made) == made
        yield lambda: kind.__match_args__

    expected = told(lambda: THEIRS(*call[0], **call[1]))
    assert told(lambda: OURS(*call[0], **call[1])) == expected
    if isinstance(expected, str):
        assert [told(act) for act in acts(OURS)] == [told(act) for act in acts(THEIRS)]


@pytest.mark.parametrize("kind", [DownloadStats, DownloadStatus, StreamingStatus, RetryResponse])
def test_a_public_value_is_frozen_has_slots_and_goes_through_pickle(kind):
    made = kind(True)
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    name = dataclasses.fields(kind)[0].name
    changes = (lambda: setattr(made, name, 1), lambda: delattr(made, name), lambda: setattr(made, "z", 1))
    for change in changes:
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert not hasattr(made, "__dict__")
