"""A cache without a file: the caller's own buffer, filled in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from largefile.core.byteranges import ByteRanges
from largefile.disk.lanes import BufferLane

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["BufferStore", "check_fillable"]


def check_fillable(buffer: Buffer) -> None:
    """Raise unless bytes can be put into `buffer` at the places where its items are read.

    Raises
    ------
    TypeError
        If it is read-only, or no buffer at all.
    ValueError
        If its items do not lie side by side in their own order: a slice with a step, or Fortran's order.

    Examples
    --------
    >>> check_fillable(bytearray(10))
    >>> check_fillable(memoryview(bytearray(10))[::2])
    Traceback (most recent call last):
    ...
    ValueError: the buffer is not C-contiguous, needed is one whose items lie in a row
    """
    with memoryview(buffer) as view:
        if view.readonly:
            raise TypeError("the buffer is read-only, needed is a writable one")
        if not view.c_contiguous:
            raise ValueError("the buffer is not C-contiguous, needed is one whose items lie in a row")


class BufferStore:
    """Puts each block at its place in `buffer`.

    Parameters
    ----------
    buffer : writable buffer
        C-contiguous and at least as long as the content; bytes after it are not touched. It must stay as
        long as it is: whoever fills holds a view of it meanwhile.
    content_size, block_size : int
        Bytes.

    Raises
    ------
    ValueError, TypeError
        If the buffer is too short, or as `check_fillable` does.

    Examples
    --------
    >>> from largefile.core.sink import BlockSink
    >>> target = bytearray(8)
    >>> store, sink = BufferStore(target, 6, block_size=4), BlockSink()
    >>> lane = store.lane()
    >>> lane.aim(sink, 0, 2)
    >>> sink(b"abcdef"), store.byte_ranges.complete
    (6, True)
    >>> lane.release()
    >>> target
    bytearray(b'abcdef\\x00\\x00')
    """

    def __init__(self, buffer: Buffer, content_size: int, block_size: int) -> None:
        check_fillable(buffer)
        with memoryview(buffer) as view:
            if view.nbytes < content_size:
                raise ValueError(f"the buffer has {view.nbytes} bytes, and the content {content_size}")
        self.content_size = content_size
        self.block_size = block_size
        self.byte_ranges = ByteRanges(content_size, block_size)
        self._buffer = buffer

    @property
    def complete(self) -> bool:
        """Whether every block is in place."""
        return self.byte_ranges.complete

    def lane(self, direct: bool = False) -> BufferLane:
        """Where one connection's bytes go."""
        return BufferLane(self, self._buffer)

    def seal(self, block: int, content: int) -> None:
        """`block` is in place. Its hash has nowhere to go."""
        self.byte_ranges.set_block(block)
