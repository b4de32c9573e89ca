"""How large a block is when nobody says."""

from __future__ import annotations

__all__ = ["MAX_BLOCKS", "auto_block_size", "stream_window"]

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


def stream_window(window: int | None, concurrency: int, block_size: int, content_size: int | None) -> int:
    """How many blocks a stream may be ahead of its reader.

    Parameters
    ----------
    window : int or None
        Bytes, rounded down to blocks; None: 8 MiB for each of `concurrency` transfers, at most 128 MiB.
    block_size, content_size : int
        Bytes; a size of None is not known.

    Raises
    ------
    ValueError
        If not even one block fits.

    Examples
    --------
    >>> stream_window(None, 4, MIB, 10**9), stream_window(None, 16, MIB, 10**9)
    (32, 128)
    """
    if window is not None and window < block_size:
        raise ValueError(f"a window of {window} bytes has no room for a block of {block_size}")
    blocks = (window or min(2 * concurrency * 4 * MIB, 128 * MIB)) // block_size
    if content_size is not None:
        blocks = min(blocks, -(-content_size // block_size))
    return max(1, blocks)
