from typing import Final, final

from typing_extensions import Buffer

from largefile.core.bitmap import Bitmap

ENTRY_SIZE: Final[int]  # 8 bytes a block

@final
class EntryTable:
    """Sealed entries of 8 bytes a block, in somebody's buffer (read-only buffers can be read)."""
    def __init__(self, buffer: Buffer, offset: int, num_blocks: int, file_id: bytes) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, block: int) -> int: ...                    # the raw 64 bits; acquire
    def seal(self, block: int, content: int) -> None: ...            # content: xxh3_64 of the block; release
    def is_sealed(self, block: int) -> bool: ...                     # the tag is right
    def check(self, block: int, content: int) -> bool: ...           # … and vouches for these bytes
    def clear(self, block: int) -> None: ...
    def scan(self, sealed: Bitmap) -> int: ...                       # sets the bit of each entry with a right tag; how many
    def scan_pair(self, durable: EntryTable, sealed: Bitmap, doubtful: Bitmap) -> None: ...
    def copy_from(self, other: EntryTable, start: int, stop: int) -> None: ...   # entries [start, stop)
    def keep_only(self, believed: Bitmap) -> int: ...                # zero every other entry; how many non-zero ones went
    def release(self) -> None: ...                                   # let go of the buffer; use after it raises ValueError

def seal_of(file_id: bytes, block: int, content: int) -> int: ...    # the entry as a number, for tests and tools
