"""A content as an unbuffered file: one position, and reads in order that are fetched ahead of."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from largefile.engine.access import Access
from largefile.rules.readahead import ReadAhead

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["RawFile"]


class RawFile(io.RawIOBase):
    """The position of a file, and its reads in order, over an `Access`."""

    mode = "rb"

    def __init__(self, access: Access, name: str, readahead: int, buffer_size: int) -> None:
        self.access = access
        self.name = name
        self._pos = 0
        self._little = buffer_size
        self._ahead = ReadAhead(access.block_size, readahead)

    def readable(self) -> bool:
        return self._open()

    def seekable(self) -> bool:
        return self._open()

    def tell(self) -> int:
        self._open()
        return self._pos

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._pos, io.SEEK_END: self.access.size}
        if whence not in bases:
            raise ValueError(f"whence is {whence}, needed is 0, 1 or 2")
        pos = bases[whence] + offset
        if pos < 0:
            raise ValueError(f"position {pos} is before the beginning")
        self._pos = pos
        return pos

    def readinto(self, buffer: Buffer, /) -> int:
        with memoryview(buffer).cast("B") as view:
            # What fills the buffer of small reads must not fetch a block that nobody may want.
            little = len(view) <= self._little
            size = self.access.readinto(view, self._pos, ahead=self._next(len(view)), partly=little)
        self._pos += size
        return size

    def readall(self) -> bytes:
        data = self.access.read_at(max(0, self.access.size - self._pos), self._pos)
        self._pos += len(data)
        return data

    def close(self) -> None:
        self.access.close()
        super().close()

    def __del__(self) -> None:
        # What io has here would close, and wait, on whatever thread the collector happens to run: the
        # engine's or the cache's own. Who made the access closes it.
        pass

    def _next(self, size: int) -> tuple[int, int] | None:
        return self._ahead.read(self._pos, max(0, min(size, self.access.size - self._pos)))

    def _open(self) -> bool:
        if self.access.closed:
            raise ValueError(f"{self.name} is closed")
        return True
