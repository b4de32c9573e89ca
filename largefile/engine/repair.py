"""A finished content with the wrong digest: find the blocks that are wrong, and have them come right.

One more fetch of everything, of which nothing is kept, shows the blocks that do not come alike; these are
fetched a third time, and the majority decides. Both are ordinary sessions over stores that compare. It is
done once: a content that has the wrong digest after that is wrong at its source.
"""

from __future__ import annotations

from collections.abc import Callable

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.comparing import Arbiter, Comparison
from largefile.engine.job import Control
from largefile.engine.options import SessionOptions
from largefile.engine.session import Session
from largefile.engine.store import Store
from largefile.log import log
from largefile.wire.http import HTTPReader

__all__ = ["repair"]


def repair(
    source: HTTPReader,
    cache: LocalDownloadCache,
    control: Control,
    options: SessionOptions,
    began: Callable[[Session], object],
) -> str | None:
    """Have the blocks that do not come alike replaced where two of three agree.

    Parameters
    ----------
    source, cache
        Where it came from, and all of it as it came.
    control, options
        As of the download.
    began
        Told of each session.

    Returns
    -------
    str or None
        What was done, in words for the status; None if nothing could be.

    Raises
    ------
    SourceChangedError
        If the source has another version by now.
    TransferError, CacheError
        What kept it from coming to its end.
    """
    control.block_map, shown = control.block_map, control.block_map  # sessions show their own

    def fetch(store: Store) -> None:
        session = Session(source, store, control, options)
        control.block_map = shown
        began(session)
        session.run(known=True)

    source.doubt_caches()
    comparison = Comparison(cache)
    fetch(comparison)
    blocks = len(comparison.different)
    log().warning("%s: wrong digest; %d blocks came otherwise a second time", source.name, blocks)
    if not blocks or 2 * blocks > cache.num_blocks:
        return None  # it is always like that, or never
    arbiter = Arbiter(cache, comparison.different)
    fetch(arbiter)
    if not arbiter.replaced:
        return None
    places = ", ".join(str(block) for block in sorted(arbiter.replaced)[:10])
    more = ", …" if len(arbiter.replaced) > 10 else ""
    return f"the digest was wrong at first; blocks that came wrong were fetched again: {places}{more}"
