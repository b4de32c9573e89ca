"""The store of a stream: places in a ring for blocks on their way, and the blocks in order for their reader.

The engine's thread puts blocks in, by lanes; the reader's thread takes them out. What is held in memory is
the ring and nothing else: a body that runs ahead of its reader (a server without ranges) is held back on
the wire until a place is free.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque

from largefile.core.byteranges import ByteRanges
from largefile.core.ranges import MAX_SIZE
from largefile.core.reorder import Block, ReorderBuffer
from largefile.core.sink import BlockSink

__all__ = ["Ring", "RingLane", "RingStore"]


class Ring:
    """Blocks in order, of a content whose size may be unknown.

    Parameters
    ----------
    window : int
        Places, in blocks: ``window * block_size`` bytes of memory.
    block_size : int
        Bytes of every block but the last.
    first_block : int
        Where the reader begins.
    """

    content_size = MAX_SIZE

    def __init__(self, window: int, block_size: int, first_block: int = 0) -> None:
        self.block_size = block_size
        self.buffer = ReorderBuffer(window, block_size, first_block)
        self.num_blocks: int | None = None  #: None: nobody knows yet
        self._bells: deque[threading.Lock] = deque()  # one for each wait, held until there is news
        self._last: list[Block | None] = [None]  # what was taken last
        self._disorder: tuple[int, int] | None = None  # once it is closed

    # --- the reader's side -----------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether `take` has a block."""
        return self.buffer.is_offered(self.buffer.head)

    @property
    def at_end(self) -> bool:
        """Whether every block was taken."""
        return self.num_blocks is not None and self.buffer.head >= self.num_blocks

    @property
    def freed(self) -> int:
        """Where the window begins: as many blocks as were given back."""
        return self.buffer.freed

    @property
    def held(self) -> int:
        """Blocks that were taken, and whose places are not free again."""
        return self.buffer.held

    def wait(self, timeout: float) -> None:
        """Wait until a block is `ready`, or for `wake`, at most `timeout` seconds."""
        # No lock is shared with who wakes: a signal's handler that raises may leave any of a reader's held.
        bell = threading.Lock()
        bell.acquire()
        self._bells.append(bell)
        if not self.ready:
            bell.acquire(timeout=timeout)
        with contextlib.suppress(ValueError):
            self._bells.remove(bell)

    def wake(self) -> None:
        """End a `wait`: there is news of another kind."""
        while self._bells:
            with contextlib.suppress(IndexError):  # somebody else rang it
                self._bells.popleft().release()

    @property
    def next(self) -> int:
        """The block that `take` gives."""
        return self.buffer.head

    def take(self) -> Block:
        """The next block; only when `ready`. It is kept until `forget`, or the next one."""
        block = self.buffer.take(self._last)
        if block is None:
            raise ValueError("the next block is not there yet")
        return block

    def taken(self, number: int) -> Block | None:
        """Block `number`, if it was taken last and is still kept: for a reader that was interrupted."""
        block = self._last[0]
        return block if block is not None and block.number == number else None

    def forget(self) -> None:
        """The reader is done with what was taken last."""
        self._last[0] = None

    def close(self) -> None:
        """Give back the memory, but for blocks that the reader has. Nothing is put in or taken any more."""
        self._disorder = self.disorder
        self.forget()
        self.buffer = ReorderBuffer(1, 1)

    @property
    def disorder(self) -> tuple[int, int]:
        """Blocks that came before one in front of them, and the most that waited for one at once."""
        return self._disorder or (self.buffer.out_of_order, self.buffer.max_out_of_order)

    # --- the engine's side -----------------------------------------------------------------------

    def lane(self, direct: bool = False) -> RingLane:
        """Where one connection's bytes go."""
        return RingLane(self)

    def has(self, block: int) -> bool:
        """Whether `block` is in its place, or was already."""
        return block < self.buffer.head or self.buffer.is_offered(block)

    def seal(self, block: int, size: int) -> None:
        """The `size` bytes of `block` are in its place."""
        if self.buffer.offer(block, size):
            self.wake()

    def finish(self, num_blocks: int) -> None:
        """There are so many blocks, and no more."""
        self.num_blocks = num_blocks
        self.wake()


class RingStore(Ring):
    """A ring for a content of known size: a store for the engine.

    Examples
    --------
    >>> store, sink = RingStore(content_size=6, block_size=4, window=2), BlockSink()
    >>> lane = store.lane()
    >>> lane.aim(sink, 0, 2)
    >>> sink(b"abcdef"), store.ready, store.at_end
    (6, True, False)
    >>> lane.release()
    >>> bytes(store.take()), bytes(store.take()), store.at_end
    (b'abcd', b'ef', True)
    """

    def __init__(self, content_size: int, block_size: int, window: int, first_block: int = 0) -> None:
        super().__init__(window, block_size, first_block)
        self.content_size = content_size
        self.byte_ranges = ByteRanges(content_size, block_size)
        self.num_blocks = self.byte_ranges.num_blocks

    def seal(self, block: int, size: int) -> None:
        # The bit first: a quick reader would be done with a block of which the scheduler does not know.
        self.byte_ranges.set_block(block)
        super().seal(block, size)


class RingLane:
    """One connection's way into a ring: block by block, each to its place as soon as it has one."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._sink: BlockSink | None = None
        self._block = -1  # the one that is being placed; -1: what comes is dropped
        self._until = 0  # the present place ends here

    def aim(self, sink: BlockSink, first_block: int, stop_block: int) -> None:
        """Point `sink` at the blocks `first_block` to `stop_block` - 1."""
        ring, size = self._ring, self._ring.block_size
        first, stop = first_block * size, min(stop_block * size, ring.content_size)
        sink.aim(self, first, stop, size, ring.content_size)
        self._sink, self._until = sink, first
        if first < stop:
            self.more(sink)

    def settle(self, sink: BlockSink) -> None:
        """Every byte before ``sink.at`` is in its place."""
        at = sink.at
        if at == self._until:
            self._seal(at)
            if at < sink.stop:
                self.more(sink)

    def more(self, sink: BlockSink) -> bool:
        """Place the sink at its next byte, which begins a block; False while there is no place for it."""
        ring, at = self._ring, sink.at
        block = at // ring.block_size
        if ring.has(block):
            # What the reader is past of a body that began at byte 0 is dropped, in one go.
            stop = max(block + 1, ring.buffer.head)
            self._block, self._until = -1, min(stop * ring.block_size, sink.stop)
            sink.place(None, 0, self._until)
        elif block < ring.buffer.limit:
            self._block, self._until = block, min((block + 1) * ring.block_size, sink.stop)
            sink.place(ring.buffer, ring.buffer.place(block), self._until)
        else:
            return False
        return True

    def finish(self, sink: BlockSink) -> None:
        """The content has ended at ``sink.at``, wherever that is."""
        self._seal(sink.at)
        self._ring.finish(-(-sink.at // self._ring.block_size))

    def release(self) -> None:
        """Let go of the sink; after the transfer's end only."""
        if self._sink is not None:
            self._sink.release()
            self._sink = None

    def failure(self, sink: BlockSink) -> BaseException | None:
        """Why `sink` ended its transfer, if it was its own error."""
        return sink.error

    def _seal(self, at: int) -> None:
        block, self._block = self._block, -1
        size = at - block * self._ring.block_size
        if block >= 0 and size:
            self._ring.seal(block, size)
