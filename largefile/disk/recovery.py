"""What an index is believed to say when it is opened.

==================================  =================================================================
found                               then
==================================  =================================================================
the boot in which it was written    a live entry with a right tag counts, unread: the page cache has
                                    outlived the process; any other entry that is not zero is hashed,
                                    and kept if it vouches
another boot, or no boot id         unread only where live and durable vouch for the same; any other
                                    entry that is not zero is hashed, and kept if it vouches; all of them
                                    where blocks share pages, as one that is being written when the power
                                    goes may take its neighbours' bytes with it
poisoned by a failed sync           as another boot; but in the same one nothing is hashed: the page cache
                                    gives what was lost, and no later sync brings it to the disk
another mount, in the same boot     as another boot: a disk that was pulled out, or had shut itself down,
                                    has lost what it was not told to keep
another inode, an inode number      nothing is thrown away, everything is hashed; and nothing counts as
that was used again (the file was   durable, as these bytes may never have been synced
made at another time), or another
mtime than that of the clean close
a header slot that is damaged or    the same: the header in the other slot may not be the last one, and
lost                                nobody knows what the last one said
superseded                          nothing counts
==================================  =================================================================

A writer then zeroes what is not believed, syncs the index, writes the header with this boot's id, and
syncs again, in this order: a kill in between finds the old boot id and repeats the recovery.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple

import xxhash

from largefile.core.bitmap import Bitmap
from largefile.core.ranges import range_for_index
from largefile.disk.files import CacheFile
from largefile.disk.header import Header, State, canonical_boot
from largefile.disk.index import Index
from largefile.errors import CacheIOError

__all__ = ["Belief", "Facts", "believe", "counts_live", "counts_pairs", "hash_block", "is_data_of", "recover"]

#: Blocks are hashed in steps of so many bytes, so that large ones need no memory.
STEP = 1 << 20
#: What a disk may destroy as a whole when the power goes while it writes a part of it.
PAGE = 4096

Progress = Callable[[int], object]


class Facts(NamedTuple):
    """What the machine says now, to be compared with what the header says."""

    boot: str
    #: Of the data file; 0 for a file that has none.
    inode: int = 0
    mtime: int = 0
    #: Where the data file is mounted; 0 where that is not known.
    mount: int = 0
    #: When it was made; 0 where the system does not tell.
    birth: int = 0


class Belief(NamedTuple):
    """What counts."""

    #: The blocks that are present.
    believed: Bitmap
    #: Those of them that no sync vouches for yet.
    pending: Bitmap
    #: Whether the durable table says anything about these bytes.
    durable: bool
    #: Whether the live table does: it was written in this boot, over this file.
    live: bool
    #: Blocks that were read and hashed to find out.
    hashed: int


def recover(
    index: Index, data: CacheFile, facts: Facts, progress: Progress | None = None, **owner: object
) -> Belief:
    """Decide, and make the index say so, for the writer that holds the lock; `owner` goes to the header.

    `progress` is called with the bytes that were read and hashed so far, at least once every MiB. If it
    raises, nothing was decided yet, and the next recovery does it all again.
    """
    belief = believe(index, data, facts, repair=True, progress=progress)
    index.keep_only(
        belief.believed, durable=belief.believed if belief.durable else Bitmap(len(belief.believed))
    )
    index.sync()
    here = {"boot": facts.boot, "mount": facts.mount, "inode": facts.inode, "birth": facts.birth}
    index.write_header(state=State.FILLING, mtime=0, clean=False, **here, **owner)
    return belief


def believe(
    index: Index,
    data: CacheFile,
    facts: Facts,
    *,
    repair: bool,
    writer: bool = False,
    progress: Progress | None = None,
) -> Belief:
    """Decide by the table above.

    With `repair` a live entry that only its durable twin makes good is mended. Without it (a follower)
    entries that would have to be read are taken for absent, as their writer will decide on them; and where
    the file has changed while a `writer` is alive, all of them are: the writer is about to find out.
    """
    blocks = index.header.num_blocks
    believed, doubtful = Bitmap(blocks), Bitmap(blocks)
    if index.header.state is State.SUPERSEDED:
        return Belief(believed, doubtful, durable=False, live=False, hashed=0)
    index.live.scan_pair(index.durable, believed, doubtful)
    if not _same_file(index, facts):
        return _believe_only_hashes(index, data, believed, doubtful, repair, writer, progress)
    if index.header.state is State.POISONED and not _booted_since(index, facts):
        doubtful = Bitmap(blocks)
    live, hashed = counts_live(index, facts), 0
    if live:
        index.live.scan(believed)
    elif index.header.block_size % PAGE:
        believed = _doubt(believed, doubtful)
    if repair:
        hashed = _hash_all(index, data, doubtful, believed, repair, progress)
    return Belief(believed, _both(doubtful, believed), durable=True, live=live, hashed=hashed)


def _believe_only_hashes(
    index: Index,
    data: CacheFile,
    sealed: Bitmap,
    doubtful: Bitmap,
    repair: bool,
    writer: bool,
    progress: Progress | None,
) -> Belief:
    """Another file, or one that was edited: each entry that is not zero is held against the bytes."""
    believed = _doubt(sealed, doubtful)
    hashed = 0 if writer else _hash_all(index, data, doubtful, believed, repair, progress)
    return Belief(believed, believed.copy(), durable=False, live=False, hashed=hashed)


def _doubt(sealed: Bitmap, doubtful: Bitmap) -> Bitmap:
    """Have `sealed` blocks be `doubtful` as well; nothing is believed now."""
    for start, stop in sealed.runs_set():
        doubtful.set_run(start, stop)
    return Bitmap(len(sealed))


def hash_block(
    data: CacheFile, block: int, content_size: int, block_size: int, came: Progress | None = None
) -> int:
    """xxh3_64 of the bytes of `block` as the file has them now; `came` is told the size of each step."""
    place = range_for_index(block, content_size, block_size)
    state = xxhash.xxh3_64()
    for at in range(place.first, place.stop, STEP):
        size = min(STEP, place.stop - at)
        state.update(data.read_at(size, at))
        if came is not None:
            came(size)
    return state.intdigest()


def counts_live(index: Index, facts: Facts) -> bool:
    """Whether a live entry proves its block: it was written in this boot, over this file; if the header is
    the last one."""
    header = index.header
    if header.mount and facts.mount and header.mount != facts.mount:
        return False
    return (
        bool(facts.boot)
        and header.boot == canonical_boot(facts.boot)
        and header.state is not State.POISONED
        and is_data_of(header, facts)
    )


def counts_pairs(index: Index, facts: Facts) -> bool:
    """Whether at least two entries that agree prove their block, written through another mount."""
    same_boot = bool(facts.boot) and index.header.boot == canonical_boot(facts.boot)
    return same_boot and _same_file(index, facts) and not index.header.block_size % PAGE


def _booted_since(index: Index, facts: Facts) -> bool:
    """Whether what is read comes from the disk, and not out of the page cache of who wrote the index."""
    boot = index.header.boot
    return bool(boot and facts.boot) and boot != canonical_boot(facts.boot)


def is_data_of(header: Header, facts: Facts) -> bool:
    """Whether the data file is the one that the header names, and not one that was put in its place."""
    ages = header.birth, facts.birth
    return header.inode == facts.inode and (0 in ages or header.birth == facts.birth)


def _same_file(index: Index, facts: Facts) -> bool:
    header = index.header
    same = index.certain and is_data_of(header, facts)
    return same and (not header.clean or header.mtime == facts.mtime)


def _hash_all(
    index: Index,
    data: CacheFile,
    doubtful: Bitmap,
    believed: Bitmap,
    repair: bool,
    progress: Progress | None,
) -> int:
    """Hash the doubtful blocks that are not believed yet, and believe those whose bytes an entry vouches for;
    how many were read."""
    size, block_size = index.header.content_size, index.header.block_size
    came = _summed(progress) if progress is not None else None
    count = 0
    for block in _without(doubtful, believed):
        count += 1
        try:
            content = hash_block(data, block, size, block_size, came)
        except CacheIOError as error:
            if error.errno != errno.EIO:
                raise
            continue  # a sector that cannot be read holds no block
        if index.live.check(block, content):
            believed.set(block)
        elif index.durable.check(block, content):
            believed.set(block)
            if repair:
                index.restore(block)
    return count


def _summed(progress: Progress) -> Progress:
    """Called with what is new, calls `progress` with all there was."""
    total = 0

    def came(size: int) -> None:
        nonlocal total
        total += size
        progress(total)

    return came


def _both(one: Bitmap, other: Bitmap) -> Bitmap:
    """The bits that are set in both; quick where the runs of `one` lie within those of `other`."""
    common = Bitmap(len(one))
    for start, stop in one.runs_set():
        if other.find_clear(start, stop) is None:
            common.set_run(start, stop)
            continue
        for block in range(start, stop):
            if other[block]:
                common.set(block)
    return common


def _without(bitmap: Bitmap, other: Bitmap) -> Iterator[int]:
    """The bits that are not set in `other`, which may get those that were given. Quick for long runs."""
    for start, stop in bitmap.runs_set():
        block = other.find_clear(start, stop)
        while block is not None:
            yield block
            block = other.find_clear(block + 1, stop) if block + 1 < stop else None
