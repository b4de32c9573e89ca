"""``largefile verify``: are the bytes of a partial file still those that came?"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from largefile.cli.info import partial_files
from largefile.cli.report import Report, printable
from largefile.cli.streams import Progress
from largefile.errors import PartialFileError
from largefile.progress import human_bytes
from largefile.stats import DownloadStats

if TYPE_CHECKING:
    from largefile.core.ranges import ByteRange
    from largefile.disk.files import LocalFile
    from largefile.disk.index import Index

__all__ = ["verify"]

EXIT_BAD = 10


@dataclass
class Findings:
    """What hashing has shown."""

    checked_bytes: int
    checked_blocks: int
    bad: list[ByteRange]  #: ascending, in whole blocks, merged where they touch

    @property
    def bad_bytes(self) -> int:
        return sum(place.size for place in self.bad)


@click.command(short_help="Hash what is there again, and list what is damaged.")
@click.argument("file", metavar="FILE.part")
@click.option("--repair", is_flag=True, help="Mark what is damaged as missing, so that `get` fetches it.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def verify(context: click.Context, file: str, repair: bool, quiet: bool, as_json: bool) -> None:
    """Hash every block that is there again, and list the ranges whose bytes are not those that came.

    Exits with 10 when there are such ranges and they were not repaired.
    """
    data, index = partial_files(file)
    with Progress(quiet) as progress:
        found = check(data, index, progress)
    if found.bad and repair:
        forget(data, index, found.bad)
    if as_json:
        report: Report = context.obj
        report.json(described(data, found, repair))
    else:
        tell(data, found, repair)
    if found.bad and not repair:
        context.exit(EXIT_BAD)


Listener = Callable[[DownloadStats], object]


def check(data: str, index: str, progress: Listener | None = None) -> Findings:
    """Hash every block that the index vouches for.

    Not every block that an open cache believes in: a cache whose file was written to behind its back is
    hashed when it is opened, and what is damaged is dropped without a word; here that is the question.
    """
    from largefile.disk.index import Index
    from largefile.disk.opening import open_cache_files

    data_file, index_file = open_cache_files(data, index, read_only=True)
    with closing(data_file), closing(index_file):
        table = Index.open(index_file, writable=False)
        try:
            size, found = table.header.content_size, data_file.stat().st_size
            if found != size:
                raise PartialFileError(data, f"it has {found} bytes, and its index is for {size}")
            return hash_all(data_file, table, Told(progress))
        finally:
            table.release()


def hash_all(data: LocalFile, index: Index, told: Told) -> Findings:
    """Compare every sealed block with its entry."""
    from largefile.core.bitmap import Bitmap
    from largefile.core.ranges import ByteRange, range_for_index
    from largefile.disk.recovery import hash_block

    size, block_size = index.header.content_size, index.header.block_size
    sealed = Bitmap(index.header.num_blocks)
    total, found = index.live.scan(sealed), Findings(0, 0, [])
    block = sealed.find_set()
    while block is not None:
        place = range_for_index(block, size, block_size)
        good = index.live.check(block, hash_block(data, block, size, block_size))
        # An entry that has gone meanwhile vouches for nothing: somebody repairs at this moment.
        if not good and index.live.is_sealed(block):
            if found.bad and found.bad[-1].stop == place.first:
                place = ByteRange(found.bad.pop().first, place.last)
            found.bad.append(place)
        found.checked_blocks += 1
        found.checked_bytes += min(block_size, size - block * block_size)
        told(found, min(size, total * block_size))
        block = sealed.find_set(block + 1)
    told(found, found.checked_bytes, done=True)
    return found


class Told:
    """Reports at most ten times a second, and at the end."""

    def __init__(self, progress: Listener | None) -> None:
        self._progress = progress
        self._due = self._began = time.monotonic()

    def __call__(self, found: Findings, total: int, *, done: bool = False) -> None:
        now = time.monotonic()
        if self._progress is None or (now < self._due and not done):
            return
        self._due = now + 0.1
        stats = DownloadStats(
            cached_or_streamed_bytes=found.checked_bytes,
            download_size=total,
            phase="verified" if done else "verifying",
            elapsed=now - self._began,
        )
        self._progress(stats)


def forget(data: str, index: str, bad: list[ByteRange]) -> None:
    """Make the blocks of `bad` missing. CacheBusyError if another process works on the download."""
    from largefile.disk.cache import LocalDownloadCache

    with LocalDownloadCache.open(data, index) as cache:
        for place in bad:
            cache.invalidate(place)


def described(data: str, found: Findings, repair: bool) -> dict[str, Any]:
    """The findings, for JSON."""
    return {
        "path": data,
        "checked_bytes": found.checked_bytes,
        "checked_blocks": found.checked_blocks,
        "bad": [[place.first, place.last] for place in found.bad],
        "bad_bytes": found.bad_bytes,
        "repaired": bool(found.bad and repair),
    }


def tell(data: str, found: Findings, repair: bool) -> None:
    """The findings, for people."""
    for place in found.bad:
        click.echo(f"damaged {place} {human_bytes(place.size)}")
    verdict = "all of them are as they came"
    if found.bad and repair:
        verdict = (
            f"{human_bytes(found.bad_bytes)} damaged and now marked as missing: run `largefile get` again"
        )
    elif found.bad:
        verdict = f"{human_bytes(found.bad_bytes)} damaged: --repair marks them as missing"
    amount = f"{human_bytes(found.checked_bytes)} in {found.checked_blocks} blocks hashed"
    click.echo(printable(f"{data}: {amount}, {verdict}"))
