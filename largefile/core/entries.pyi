from typing import Final, final

from typing_extensions import Buffer

from largefile.core.bitmap import Bitmap

ENTRY_SIZE: Final[int]  # bytes a block: 8

@final
class EntryTable:
    def __new__(cls, buffer: Buffer, offset: int, num_blocks: int, file_id: bytes) -> EntryTable: ...
    def __len__(self) -> int: ...
    def __getitem__(self, block: int, /) -> int: ...  # the raw 64 bits; acquire
    def seal(self, block: int, content: int) -> None: ...  # content: xxh3_64 of the block; release
    def is_sealed(self, block: int) -> bool: ...  # the tag is right
    def check(self, block: int, content: int) -> bool: ...  # … and vouches for these bytes
    def clear(self, block: int) -> None: ...
    def scan(self, sealed: Bitmap) -> int: ...  # sets the bit of each right entry; how many
    def scan_pair(self, durable: EntryTable, sealed: Bitmap, doubtful: Bitmap) -> None: ...
    def copy_from(self, other: EntryTable, start: int, stop: int) -> None: ...  # [start, stop)
    def keep_only(self, believed: Bitmap) -> int: ...  # zeroes the others; how many were not zero
    def release(self) -> None: ...  # let go of the buffer; use after it raises ValueError

def seal_of(file_id: bytes, block: int, content: int) -> int: ...
