"""How large a block is when nobody says."""

from __future__ import annotations

__all__ = ["MAX_BLOCKS", "auto_block_size"]

MIB = 1 << 20
#: With more blocks than this, an index would be larger than what it saves.
MAX_BLOCKS = 1 << 20


def auto_block_size(content_size: int) -> int:
    """1 MiB, doubled until the content has at most 1,048,576 blocks.

    Examples
    --------
    >>> auto_block_size(10**9), auto_block_size(5 << 40)
    (1048576, 8388608)
    """
    block_size = MIB
    while content_size > block_size * MAX_BLOCKS:
        block_size *= 2
    return block_size
