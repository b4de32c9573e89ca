"""From a URL to a finished file: open or begin the partial, fill it, verify it, publish it.

The identity decides, not the URL: a partial whose identity the server confirms is gone on with, whatever
its URL was. One that is contradicted is begun anew (``on_change="restart"``) or left alone
(``"fail"``); bytes of two versions never meet, because a new version always gets new files.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from largefile.core.sink import BlockSink
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.create import create_cache_files
from largefile.disk.publish import clean_up, part_paths, publish
from largefile.engine.committer import Committer
from largefile.engine.job import Control
from largefile.engine.options import SessionOptions
from largefile.engine.session import Session
from largefile.engine.unsized import fetch_unsized
from largefile.errors import (
    DestinationExistsError,
    DestinationInUseError,
    DigestMismatchError,
    LargeFileError,
    PartialFileError,
    SourceChangedError,
)
from largefile.rules.identity import Identity, parse_digest
from largefile.rules.sizing import auto_block_size
from largefile.stats import DownloadStats, DownloadStatus
from largefile.wire.http import HTTPReader
from largefile.wire.readers import MIB, Probe

__all__ = ["Delivery", "DeliveryOptions"]

log = logging.getLogger("largefile")


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """What `largefile.download` passes on; see there."""

    digest: str | None = None
    block_size: int | None = None
    on_change: Literal["restart", "fail"] = "restart"
    resume: bool = True
    overwrite: bool = False
    durable: bool = True


class Delivery:
    """One download to one destination. `run` once; `stats` from any thread."""

    def __init__(
        self,
        source: HTTPReader,
        dest: str | os.PathLike[str],
        control: Control,
        options: DeliveryOptions,
        session: SessionOptions,
    ) -> None:
        self._source = source
        self._dest = os.fspath(dest)
        self._control = control
        self._options = options
        self._session_options = session
        self._digest = parse_digest(options.digest) if options.digest is not None else None
        self._part, self._index = part_paths(self._dest)
        self._held: Probe | None = None  # the first answer, until the session takes it
        self._session: Session | None = None
        self._phase = "probing"
        self._started = time.monotonic()
        self._identity: Identity | None = None
        self._block_size = 0
        self._computed: str | None = None
        self._may_restart = options.on_change == "restart"
        self._size = 0
        self._notes: list[str] = []

    # --- the way of a download -------------------------------------------------------------------

    def run(self) -> DownloadStatus:
        """Deliver; the errors of `largefile.download`, each with the `status` reached."""
        try:
            with self._source:
                self._deliver()
        except LargeFileError as error:
            error.status = self.status(error)
            raise
        return self.status()

    def _deliver(self) -> None:
        if self._is_there():
            return
        cache = self._open_partial()
        while True:
            if cache is None:
                cache = self._begin()
            if cache is None:
                return  # the server did not say the size, and all of it has come
            try:
                with cache:
                    self._fill(cache)
                    return
            except SourceChangedError as error:
                if not self._may_restart:
                    raise
                self._restart(f"restarted: {error}")
                cache = None

    def _is_there(self) -> bool:
        """Whether DEST is already what is wanted."""
        clean_up(self._dest, self._index)
        try:
            found = Path(self._dest).lstat()
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(found.st_mode):
            raise ValueError(f"destination {self._dest!r} is a folder, needed is a file's name")
        if self._options.overwrite:
            return False
        if self._digest is not None and stat.S_ISREG(found.st_mode):
            self._phase = "verifying"
            if hash_file(self._dest, self._digest[0], self._control) == self._digest[1]:
                self._size, self._computed = found.st_size, ":".join(self._digest)
                self._notes.append("the destination is there already and has the digest: nothing was fetched")
                return True
        raise DestinationExistsError(self._dest)

    def _open_partial(self) -> LocalDownloadCache | None:
        """The cache that an earlier run has left, if it may be gone on with."""
        there = [os.path.lexists(path) for path in (self._part, self._index)]
        if not any(there):
            return None
        if not there[1]:
            raise PartialFileError(self._part, "it has no index beside it; remove it, or choose another name")
        if not there[0]:
            raise PartialFileError(self._index, "its data file is gone; remove it, or choose another name")
        cache = LocalDownloadCache.open(self._part, self._index, durable=self._options.durable)
        try:
            return self._judge_partial(cache)
        except BaseException:
            cache.close()
            raise

    def _judge_partial(self, cache: LocalDownloadCache) -> LocalDownloadCache | None:
        self._control.check()
        if not self._options.resume:
            cache.close()
            self._restart("begun anew, as resume was off")
            return None
        wanted = replace(cache.identity, digest=self._options_digest() or cache.identity.digest)
        if cache.complete and cache.url == self._source.name:
            self._identity = wanted
            return cache
        gap = cache.next_outstanding(0)
        first = gap[1].first if gap is not None else 0
        last = min(first + MIB, cache.content_size) - 1 if cache.content_size else MIB - 1
        found = self._probe(first, max(first, last)).identity
        agrees, why = cache.identity.resumable_with(found)
        if agrees:
            self._identity = wanted
            self._check_block_size(cache.block_size)
            return cache
        stored, was_url = cache.identity, cache.url
        cache.close()
        if was_url is not None and was_url != self._source.name:
            raise DestinationInUseError(self._part, was_url, self._source.name)
        if not self._may_restart:
            raise SourceChangedError(found.describe(), f"{stored.describe()} ({why})")
        self._restart(f"begun anew: {why}", keep_probe=True)
        return None

    def _check_block_size(self, found: int) -> None:
        if self._options.block_size not in (None, found):
            self._notes.append(f"the partial file's block size of {found} bytes was kept")

    def _restart(self, why: str, *, keep_probe: bool = False) -> None:
        """From here on the old files may go; once a run, so that an unsteady source ends."""
        log.warning("%s: %s", self._source.name, why)
        self._notes.append(why)
        self._may_restart = False
        if not keep_probe:
            self._held = None
            self._source.forget()

    def _begin(self) -> LocalDownloadCache | None:
        """New files for what the server has now; None if its size is not known and it was fetched."""
        probe = self._probe(0, MIB - 1)
        size = probe.identity.size
        if size is None:
            self._fetch_unsized(probe)
            return None
        self._identity = replace(probe.identity, digest=self._options_digest())
        self._phase = "reserving"
        create_cache_files(
            self._part,
            self._index,
            size,
            self._options.block_size or auto_block_size(size),
            identity=self._identity,
            url=self._source.name,
            replace=True,
            progress=lambda _: self._control.check(),
        )
        return LocalDownloadCache.open(self._part, self._index, durable=self._options.durable)

    def _probe(self, first: int, last: int) -> Probe:
        if self._held is None:
            self._phase = "probing"
            self._held = self._source.probe(first, last, self._control.cancelled)
        return self._held

    def _fill(self, cache: LocalDownloadCache) -> None:
        """Fetch what is missing, verify, publish."""
        self._block_size, self._size = cache.block_size, cache.content_size
        self._session = Session(self._source, cache, self._control, self._session_options)
        algorithm = self._digest[0] if self._digest is not None else None
        with Committer(cache, durable=self._options.durable):
            probe, self._held = self._held, None
            self._computed = self._session.run(self._identity, digest_by=algorithm, probe=probe)
        if self._digest is not None and self._computed != ":".join(self._digest):
            self._keep_evidence(cache)
        self._control.check()
        publish(cache, self._dest, overwrite=self._options.overwrite)

    def _keep_evidence(self, cache: LocalDownloadCache) -> None:
        """The bytes are wrong: put them aside, so that the next run does not find them complete again."""
        cache.close()
        bad = f"{self._dest}.bad"
        Path(self._part).replace(bad)
        Path(self._index).unlink()
        raise DigestMismatchError(bad, str(self._computed), str(self._options_digest()))

    def _fetch_unsized(self, probe: Probe) -> None:
        self._phase = "downloading"
        self._identity = replace(probe.identity, digest=self._options_digest())
        self._notes.append("the server does not say the size: one stream, not resumable")
        received = fetch_unsized(
            self._source, probe, self._part, self._control, self._session_options.timeout, self._on_unsized
        )
        if self._digest is not None:
            self._computed = f"{self._digest[0]}:{hash_file(self._part, self._digest[0], self._control)}"
            if self._computed != ":".join(self._digest):
                Path(self._part).replace(f"{self._dest}.bad")
                raise DigestMismatchError(f"{self._dest}.bad", self._computed, ":".join(self._digest))
        self._size = received
        move_new(self._part, self._dest, overwrite=self._options.overwrite)

    def _on_unsized(self, sink: BlockSink) -> None:
        self._size = sink.received

    def _options_digest(self) -> str | None:
        return ":".join(self._digest) if self._digest is not None else None

    # --- what it has done ------------------------------------------------------------------------

    def stats(self) -> DownloadStats:
        """A snapshot, from any thread."""
        elapsed = time.monotonic() - self._started
        if self._session is not None:
            return replace(self._session.stats(), elapsed=elapsed)
        return DownloadStats(phase=self._phase, elapsed=elapsed, downloaded_bytes=self._size)

    def status(self, error: LargeFileError | None = None) -> DownloadStatus:
        """How it ended."""
        stats, identity = self.stats(), self._identity
        complete = error is None
        if complete and self._session is None:
            stats = replace(stats, cached_or_streamed_bytes=self._size, download_size=self._size)
        return DownloadStatus.of(
            replace(stats, phase="done") if complete else stats,
            complete=complete,
            resumable=error is not None and error.resumable,
            duration=stats.elapsed,
            path=self._dest if complete else self._part if os.path.lexists(self._part) else None,
            identity=describe(identity) if identity is not None else {},
            verified_by=vouched_by(identity, self._computed) if complete else None,
            digest=self._computed,
            block_size=self._block_size,
            notes=tuple(self._notes),
        )


def vouched_by(identity: Identity | None, digest: str | None) -> str | None:
    """What vouches for finished bytes: the digest that was compared, else what the server gave."""
    if digest is not None:
        return "digest"
    return identity.verified_by if identity is not None else None


def describe(identity: Identity) -> dict[str, object]:
    """The validators by name."""
    return {"etag": identity.etag, "last_modified": identity.last_modified, "size": identity.size}


def hash_file(path: str, algorithm: str, control: Control) -> str:
    """The hex digest of a file."""
    digest, buffer = hashlib.new(algorithm), bytearray(MIB)
    with Path(path).open("rb", buffering=0) as file, memoryview(buffer) as view:
        while size := file.readinto(buffer):
            digest.update(view[:size])
            control.check()
    return digest.hexdigest()


def move_new(part: str, dest: str, *, overwrite: bool) -> None:
    """Give a file without an index its final name."""
    if not overwrite:
        try:
            os.link(part, dest)
        except FileExistsError:
            raise DestinationExistsError(dest) from None
        except OSError:
            Path(part).rename(dest)
        else:
            Path(part).unlink()
        return
    with contextlib.suppress(FileNotFoundError):
        Path(part).replace(dest)
