"""The bar on a terminal: what is happening in one line, and a map of the blocks that fills below it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from largefile.progress import line, shade
from largefile.stats import DownloadStats

__all__ = ["LiveBar"]

BlockMap = Callable[[int], list[float]]

#: Cells of the map: enough to see holes, and it still fits beside its frame into 80 columns.
MOST_CELLS = 120


class LiveBar:
    """A progress callback that draws; nothing appears before the first report.

    Parameters
    ----------
    out : text file
        A terminal.
    block_map : callable, optional
        Gives the shares of so many cells, as ``Job.block_map`` does. Without it the map fills from the
        left.

    Examples
    --------
    >>> import io
    >>> from largefile.stats import DownloadStats
    >>> out = io.StringIO()
    >>> bar = LiveBar(out, lambda cells: [1.0] * cells)
    >>> bar(DownloadStats(download_size=10, cached_or_streamed_bytes=10, phase="done"))
    >>> bar.close()
    >>> out.getvalue().splitlines()[0].strip()
    'done 100% 10 B of 10 B'
    """

    def __init__(self, out: TextIO, block_map: BlockMap | None = None) -> None:
        self._console = Console(file=out, highlight=False)
        self._block_map = block_map
        self._live: Live | None = None
        self._closed = False

    def watch(self, block_map: BlockMap) -> None:
        """Draw this map from now on."""
        self._block_map = block_map

    def __call__(self, stats: DownloadStats) -> None:
        if self._closed:
            return
        if self._live is None:
            # No refresh thread of its own: the reports are the clock, and they end with the download.
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(self._drawing(stats), refresh=True)

    def close(self) -> None:
        """Leave the last picture where it is, and give the terminal back. May be called twice."""
        self._closed = True
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _drawing(self, stats: DownloadStats) -> Group:
        words = Text(line(stats), no_wrap=True, overflow="ellipsis")
        return Group(words, self._map(stats)) if stats.download_size else Group(words)

    def _map(self, stats: DownloadStats) -> Text:
        cells = max(1, min(MOST_CELLS, self._console.width - 1))
        shares = self._block_map(cells) if self._block_map is not None else filled(stats.fraction, cells)
        marks = shade(shares, ascii_only=self._console.options.ascii_only)
        text = Text(no_wrap=True)
        styles = ("green" if share >= 1 else "cyan" if share > 0 else "dim" for share in shares)
        for style, run in groupby(zip(styles, marks, strict=True), itemgetter(0)):
            text.append("".join(mark for _, mark in run), style)
        return text


def filled(fraction: float, cells: int) -> list[float]:
    """A map of which only the size of what is there is known."""
    return [min(1.0, max(0.0, fraction * cells - cell)) for cell in range(cells)]
