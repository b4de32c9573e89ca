"""The picture of a download: how full each part of the content is."""

from __future__ import annotations

from itertools import pairwise

from largefile.core.bitmap import Bitmap

__all__ = ["block_map"]


def block_map(bitmap: Bitmap, cells: int) -> list[float]:
    """Cut the blocks into `cells` equal runs, and tell how much of each is there.

    Parameters
    ----------
    bitmap : Bitmap
        A bit a block. It may be written meanwhile.
    cells : int
        How many parts to show; at least 1. Where there are fewer blocks, neighbours show the same one.

    Returns
    -------
    list of float
        From 0.0, nothing, to 1.0, all of it. An empty content is all there.

    Examples
    --------
    >>> bits = Bitmap(8)
    >>> bits.set_run(0, 3)
    >>> block_map(bits, 4)
    [1.0, 0.5, 0.0, 0.0]
    """
    if cells < 1:
        raise ValueError(f"cells is {cells}, needed is at least 1")
    blocks = len(bitmap)
    if not blocks:
        return [1.0] * cells
    edges = [cell * blocks // cells for cell in range(cells + 1)]
    places = [(start, max(start + 1, stop)) for start, stop in pairwise(edges)]
    return [bitmap.count(start, stop) / (stop - start) for start, stop in places]
