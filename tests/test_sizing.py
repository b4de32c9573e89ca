"""How large blocks are, and how far a stream may run ahead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.rules.sizing import MAX_BLOCKS, auto_block_size, stream_window

MIB = 1 << 20
sizes = st.integers(0, 2**63 - 1)


@given(sizes)
def test_blocks_are_the_smallest_power_of_two_that_keeps_their_number_bounded(size):
    block = auto_block_size(size)
    assert block % MIB == 0
    assert block & (block - 1) == 0
    assert size <= block * MAX_BLOCKS
    assert block == MIB or size > block // 2 * MAX_BLOCKS


@given(
    st.none() | st.integers(1, 1 << 40),
    st.integers(1, 256),
    st.integers(4096, 1 << 30),
    st.none() | sizes,
)
def test_a_window_holds_a_block_and_no_more_than_was_allowed_or_there_is(window, concurrency, block, size):
    if window is not None and window < block:
        with pytest.raises(ValueError, match=f"{window} bytes has no room for a block of {block}"):
            stream_window(window, concurrency, block, size)
        return
    blocks = stream_window(window, concurrency, block, size)
    assert blocks >= 1
    assert blocks == 1 or blocks * block <= (window or min(8 * MIB * concurrency, 128 * MIB))
    if size:
        assert (blocks - 1) * block < size
