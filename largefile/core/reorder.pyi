from types import TracebackType
from typing import Never, Self, final

from typing_extensions import Buffer

@final
class ReorderBuffer(Buffer):  # all places, writable
    def __new__(cls, window: int, block_size: int, first_block: int = 0) -> Self: ...
    def __len__(self) -> int: ...  # nbytes
    @property
    def window(self) -> int: ...  # how many places
    @property
    def block_size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...  # window * block_size
    @property
    def head(self) -> int: ...  # the block that take gives next
    @property
    def limit(self) -> int: ...  # blocks before it can have a place: freed + window
    @property
    def freed(self) -> int: ...  # first_block + blocks taken and given back, in whatever order
    @property
    def held(self) -> int: ...  # blocks taken and not given back
    @property
    def out_of_order(self) -> int: ...  # blocks offered while an earlier one was missing
    @property
    def max_out_of_order(self) -> int: ...  # blocks that waited behind a missing one, at most
    def place(self, block: int) -> int: ...  # offset in bytes, the same until it is taken; ValueError
    def offer(self, block: int, size: int) -> bool: ...  # True: take gives it next; ValueError
    # None: the next one was not offered. It is put into slot[0], too, before any other code can run.
    def take(self, slot: list[Block | None] | None = None) -> Block | None: ...
    def is_offered(self, block: int) -> bool: ...  # also if taken since

# Read-only; a new view of a released one is a ValueError. The place is free again once the block was
# released or collected and no view of it is left.
@final
class Block(Buffer):
    def __init__(self, *args: Never, **kwargs: Never) -> Never: ...  # TypeError: made by take
    def __len__(self) -> int: ...  # nbytes
    @property
    def number(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def release(self) -> None: ...  # again: nothing
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
