from typing import Protocol, final

from typing_extensions import Buffer

STEP: int  # at most so many bytes between two calls of a lane's settle: 1 MiB

class Lane(Protocol):
    """What a store gives each connection: it knows where bytes go and what to do with them there."""
    def settle(self, sink: BlockSink) -> None:
        """Every byte before ``sink.at`` is in place. Called at each block's end and at least every STEP bytes.

        When ``sink.at`` has reached the `until` of the present place, call ``sink.place`` for the next.
        An exception ends the transfer and is kept in ``sink.error``."""

@final
class BlockSink:
    """The write callback: bytes to their final place, once. Calls never raise; 0 ends the transfer."""
    def __init__(self) -> None: ...
    def aim(self, lane: Lane, first: int, stop: int, block_size: int, content_size: int) -> None: ...
        # bytes [first, stop) of the content; the lane must `place` before the first byte comes
    def place(self, target: Buffer | None, offset: int, until: int, populate: bool = False) -> None: ...
        # byte `at` goes to target[offset], and so on until position `until`; None: bytes are dropped (not written)
        # populate: prefault the pages at most 2 MiB ahead
    def release(self) -> None: ...                  # let go of target and lane
    def __call__(self, chunk: Buffer) -> int: ...
    def halt(self) -> None: ...                     # from any thread, latched until the next aim: the next chunk answers 0
    limit: int                                      # the present response ends here; at most stop; set by aim to stop
    def room(self) -> memoryview | None: ...        # where the next bytes go, for readinto; then advance(n)
    def advance(self, size: int) -> bool: ...       # False ends the transfer
    def revoke(self) -> None: ...                   # an abandoned reader's late stores miss the file
    def shorten(self, stop: int) -> int: ...        # move the end down to `stop` or to the block in progress's end; the new end
    @property
    def at(self) -> int: ...                        # position of the next byte
    @property
    def first(self) -> int: ...
    @property
    def stop(self) -> int: ...
    @property
    def settled(self) -> int: ...                   # every byte in [first, settled) is in place and in finished blocks
    @property
    def received(self) -> int: ...                  # bytes taken since the sink was made, over all aims
    @property
    def halted(self) -> bool: ...
    @property
    def overrun(self) -> bool: ...                  # a chunk went beyond stop
    @property
    def error(self) -> BaseException | None: ...

def prefault(target: Buffer, offset: int, size: int) -> int: ...   # 0, or the errno of madvise
def drop(target: Buffer, offset: int, size: int) -> None: ...      # forget finished pages of a MAP_SHARED file map
