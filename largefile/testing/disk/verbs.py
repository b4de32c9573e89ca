"""Whole downloads, streams and files at a distance, over a server on loopback."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import largefile
from largefile.disk.header import State
from largefile.rules.identity import Identity
from largefile.testing.disk.stage import (
    BLOCK,
    CONTENT,
    OPTIONS,
    SHA256,
    SIZE,
    Stage,
    check,
)
from largefile.testing.script import Behaviour, Content, Request, pattern

DIGEST = f"sha256:{SHA256}"


def download(stage: Stage) -> None:
    stage.download()


def download_with_digest(stage: Stage) -> None:
    stage.download(digest=DIGEST)


def download_over(stage: Stage) -> None:
    stage.download(overwrite=True)


def of_another_version(stage: Stage) -> None:
    with stage.create(identity=Identity('"v0"', None, SIZE)) as cache:
        cache.write_at(bytes(BLOCK), 0)


def right_beside_an_index(stage: Stage) -> None:
    """As a run leaves it that could not remove its index in the end."""
    with stage.create() as cache:
        cache.mark(State.SUPERSEDED)
    Path(stage.names[0]).unlink()
    stage.dest.write_bytes(CONTENT)


def unsized(request: Request) -> Behaviour:
    return Behaviour(chunked=True, ranges=False)


def wrong_once(request: Request) -> Behaviour | None:
    """The first answer that holds block 3 has a wrong byte in it."""
    return Behaviour(content=WRONG) if request.number == 0 else None


def _wrong(first: int, last: int) -> bytes:
    data = bytearray(pattern(first, last))
    if first <= 100 <= last:
        data[100 - first] ^= 1
    return bytes(data)


WRONG = Content(SIZE, _wrong, '"v1"')


def stream(stage: Stage) -> None:
    with stage.create() as cache, largefile.stream(stage.server.url, cache=cache, **OPTIONS) as source:
        check(source.read() == CONTENT, "other bytes were streamed")


def fill(stage: Stage) -> None:
    with (
        stage.open() as cache,
        closing(largefile.HTTPReader(stage.server.url, proxy="", tries=2, timeout=5.0)) as reader,
    ):
        options = {key: value for key, value in OPTIONS.items() if key != "proxy"}
        largefile.CachingDownloader(reader, cache, **options).run()
        check(cache.complete and cache.read_at(SIZE, 0) == CONTENT, "other bytes are in the cache")


REMOTE = {key: value for key, value in OPTIONS.items() if key != "threads"} | {"block_size": BLOCK}


def read_kept(stage: Stage) -> None:
    with largefile.open(stage.server.url, cache_dir=stage.folder / "kept", key="x", **REMOTE) as file:
        check(file.read() == CONTENT, "other bytes were read")


def some_kept(stage: Stage) -> None:
    with largefile.open(stage.server.url, cache_dir=stage.folder / "kept", key="x", **REMOTE) as file:
        file.read_at(3 * BLOCK, BLOCK)


def read_once(stage: Stage) -> None:
    before, tempfile.tempdir = tempfile.tempdir, str(stage.folder)
    try:
        with largefile.open(stage.server.url, **REMOTE) as file:
            check(file.read() == CONTENT, "other bytes were read")
    finally:
        tempfile.tempdir = before
