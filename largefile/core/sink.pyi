from typing import Final, Protocol, final, type_check_only

from typing_extensions import Buffer

STEP: Final[int]  # at most so many bytes between two calls of a lane's settle: 1 MiB
PAUSE: Final[int]  # the answer that holds a transfer: 0x10000001, libcurl's WRITEFUNC_PAUSE

@type_check_only
class Lane(Protocol):
    # Every byte before `sink.at` is in place. Called at each block's end and at least every STEP bytes.
    # When `sink.at` has reached the end of the present place, it calls `sink.place` for the next. What it
    # raises ends the transfer and is kept in `sink.error`.
    def settle(self, sink: BlockSink) -> None: ...

@type_check_only
class HoldingLane(Lane, Protocol):
    # A lane may have this too; the sink looks for it at aim. Bytes are there, `sink.at` may have some, and
    # its place is full (or there was none yet). True: it called `sink.place`. False: it has none now; the
    # chunk is answered by PAUSE, and this is asked again when it is delivered again. Raising: as in settle.
    def more(self, sink: BlockSink) -> bool: ...

@final
class BlockSink:
    # Bytes [first, stop) of the content come next; the lane must `place` before the first of them, or have
    # `more`.
    def aim(self, lane: Lane, first: int, stop: int, block_size: int, content_size: int) -> None: ...
    # Byte `at` goes to target[offset], and so on until position `until`; None: they are dropped.
    # populate: the target is a map of a file, whose pages are prefaulted at most 256 KiB ahead.
    def place(self, target: Buffer | None, offset: int, until: int, populate: bool = False) -> None: ...
    def release(self) -> None: ...  # let go of target and lane
    def __call__(self, chunk: Buffer) -> int: ...  # its size; 0: end the transfer; PAUSE: deliver it again
    def halt(self) -> None: ...  # from any thread; latched until the next aim
    limit: int  # the present response ends here; at most stop, which an aim sets it to
    def room(self) -> memoryview | None: ...  # where the next bytes go, for readinto; then advance(n)
    def advance(self, size: int) -> bool: ...  # False ends the transfer
    def revoke(self) -> None: ...  # an abandoned reader's late stores miss the file
    def shorten(self, stop: int) -> int: ...  # not into a block that has begun; the new stop
    @property
    def at(self) -> int: ...  # position of the next byte
    @property
    def first(self) -> int: ...
    @property
    def stop(self) -> int: ...
    @property
    def settled(self) -> int: ...  # [first, settled) is in place and in finished blocks
    @property
    def received(self) -> int: ...  # bytes since the sink was made, over all aims
    @property
    def halted(self) -> bool: ...
    @property
    def held(self) -> bool: ...  # by PAUSE, until the chunk comes again; also while `more` is asked
    @property
    def overrun(self) -> bool: ...  # a chunk went beyond limit or stop
    @property
    def error(self) -> BaseException | None: ...

def prefault(target: Buffer, offset: int, size: int) -> int: ...  # 0, or the errno of madvise
def drop(target: Buffer, offset: int, size: int) -> None: ...  # for a shared map of a file only
