"""Which of a file's pages may leave the page cache: those that the disk has and nobody needs soon."""

from __future__ import annotations

from typing import Protocol

from largefile.core.bitmap import Bitmap

__all__ = ["CleanPages", "Droppable"]

#: Pages are dropped in runs of so many bytes or more: neighbours share folios, which go as a whole only.
RUN = 32 << 20


class Droppable(Protocol):
    """A file whose pages can be dropped."""

    def drop_pages(self, offset: int, size: int) -> None: ...


class CleanPages:
    """The blocks of `file` that the disk has, and whose pages were not dropped yet.

    Parameters
    ----------
    file : LocalFile
    num_blocks, block_size : int

    Examples
    --------
    >>> class File:
    ...     def drop_pages(self, offset, size): print(offset >> 20, size >> 20)
    >>> pages = CleanPages(File(), 100, 1 << 20)
    >>> pages.add(0, 40), pages.add(50, 60)
    (None, None)
    >>> pages.drop(39)  # a short run stays
    0 39
    >>> pages.drop(100, short=True)
    39 1
    50 10
    """

    def __init__(self, file: Droppable, num_blocks: int, block_size: int) -> None:
        self._file = file
        self._blocks = Bitmap(num_blocks)
        self._block_size = block_size

    def add(self, start: int, stop: int) -> None:
        """The disk has blocks `start` to `stop` - 1."""
        self._blocks.set_run(start, stop)

    def remove(self, start: int, stop: int) -> None:
        """They will be written again."""
        self._blocks.clear_run(start, stop)

    def drop(self, end: int, *, short: bool = False) -> None:
        """Drop what lies before block `end`: long runs, or `short` ones as well."""
        size = self._block_size
        for start, run_stop in list(self._blocks.runs_set()):
            stop = min(run_stop, end)
            if start < stop and (short or (stop - start) * size >= RUN):
                self._file.drop_pages(start * size, (stop - start) * size)
                self._blocks.clear_run(start, stop)
