"""``largefile info`` and ``largefile export``: what a partial file has, without touching it."""

from __future__ import annotations

import errno
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from largefile.cli.report import Report, drawn, printable
from largefile.progress import human_bytes

if TYPE_CHECKING:
    from largefile.disk.follower import FollowerCache

__all__ = ["export", "info", "partial_files"]

PART, INDEX = ".part", ".idx"
#: Missing ranges to list; `export` has all of them.
FEW = 10
CELLS = 72


@click.command(short_help="Say how far a download is.")
@click.argument("file", metavar="FILE.part")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def info(report: Report, /, file: str, as_json: bool) -> None:
    """Say how far a download is, also while another process works on it.

    The file that it will be is as good a name as FILE.part.
    """
    with opened(file) as cache:
        found = facts(cache)
        cells = block_map(cache)
    if as_json:
        report.json(found)
        return
    for text in described(found):
        click.echo(printable(text))
    click.echo(drawn(cells))


@click.command(short_help="Print which blocks are there, as the Go package's index.")
@click.argument("file", metavar="FILE.part")
def export(file: str) -> None:
    """Print which blocks are there, as JSON, byte for byte as the Go package writes its index."""
    with opened(file) as cache:
        text = cache.byte_ranges.to_json()
    # A line end would be one byte more than Go writes; on a terminal it is wanted all the same.
    click.echo(text, nl=sys.stdout.isatty())


def partial_files(name: str) -> tuple[str, str]:
    """The data file and the index of the download that `name` stands for: its destination, or either."""
    stem = name.removesuffix(INDEX)
    candidates = [stem, stem + PART] if stem.endswith(PART) else [stem + PART, stem]
    for data in candidates:
        if Path(data + INDEX).exists():
            return data, data + INDEX
    there = f"; {stem} is there, and its download may be over" if Path(stem).exists() else ""
    raise FileNotFoundError(errno.ENOENT, f"no such index{there}", candidates[0] + INDEX)


def opened(name: str) -> FollowerCache:
    """The cache that `name` stands for, only to be read."""
    from largefile.disk.cache import LocalDownloadCache

    data, index = partial_files(name)
    return LocalDownloadCache.open(data, index, read_only=True)


def block_map(cache: FollowerCache, cells: int = CELLS) -> list[float]:
    """How much of each of `cells` parts is there."""
    from largefile.engine.blockmap import block_map as cells_of

    return cells_of(cache.byte_ranges.bitmap, cells)


def facts(cache: FollowerCache) -> dict[str, Any]:
    """What is known of a download, by name."""
    size, cached = cache.content_size, cache.cached_bytes_and_blocks()
    gaps = [[gap.first, gap.last] for gap in islice(cache.byte_ranges.runs_clear(), FEW)]
    tail = cache.byte_ranges.tail()
    return {
        "path": cache.path,
        "url": cache.url,
        "state": cache.state.name.lower(),
        "content_size": size,
        "block_size": cache.block_size,
        "blocks": cache.num_blocks,
        "cached_bytes": cached[0],
        "cached_blocks": cached[1],
        "percent": round(100 * cached[0] / size, 2) if size else 100.0,
        "contiguous_bytes": 0 if tail is None else tail.stop,
        "complete": cache.complete,
        "etag": cache.identity.etag,
        "last_modified": cache.identity.last_modified,
        "digest": cache.identity.digest,
        "owner": cache.owner,
        "writer_alive": cache.writer_alive(),
        "missing": gaps,
        "missing_ranges": sum(1 for _ in cache.byte_ranges.runs_clear()),
    }


def described(found: dict[str, Any]) -> list[str]:
    """The facts for people."""
    alive = {True: "at work now", False: "not running", None: "whether it runs is not known"}
    rows = [
        ("file", found["path"]),
        ("from", found["url"] or "not known"),
        ("state", found["state"]),
        ("size", f"{human_bytes(found['content_size'])} ({found['content_size']} bytes)"),
        ("blocks", f"{found['blocks']} of {human_bytes(found['block_size'])}"),
        (
            "there",
            f"{human_bytes(found['cached_bytes'])} in {found['cached_blocks']} blocks, {found['percent']}%",
        ),
        ("from byte 0", human_bytes(found["contiguous_bytes"])),
        ("etag", found["etag"] or "none"),
        ("modified", found["last_modified"] or "not known"),
        *([("digest", found["digest"])] if found["digest"] else []),
        ("writer", f"{found['owner']}, {alive[found['writer_alive']]}"),
        ("missing", missing(found)),
    ]
    return [f"{name + ':':13}{value}" for name, value in rows]


def missing(found: dict[str, Any]) -> str:
    """The first ranges that are missing."""
    text = " ".join(f"[{first}:{last}]" for first, last in found["missing"])
    more = found["missing_ranges"] - len(found["missing"])
    return (text or "nothing") + (f" and {more} more" if more else "")
