"""From a URL to a finished file: open or begin the partial, fill it, verify it, publish it.

The identity decides, not the URL: a partial whose identity the server confirms is gone on with, whatever
its URL was. One that is contradicted is begun anew (``on_change="restart"``) or left alone
(``"fail"``); bytes of two versions never meet, because a new version always gets new files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass, replace
from typing import Literal

from largefile.core.sink import BlockSink
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.header import Header
from largefile.disk.opening import peek
from largefile.disk.publish import publish
from largefile.engine.committer import Committer
from largefile.engine.destination import Destination, hash_file
from largefile.engine.digester import digest_of
from largefile.engine.job import Control
from largefile.engine.options import SessionOptions
from largefile.engine.repair import repair
from largefile.engine.session import Session
from largefile.engine.turn import in_turn
from largefile.engine.unsized import fetch_unsized
from largefile.errors import (
    DestinationExistsError,
    DestinationInUseError,
    DigestMismatchError,
    LargeFileError,
    NetworkError,
    ProtocolError,
    SourceChangedError,
    StalledError,
)
from largefile.rules.digests import ServerDigest, parse_digest
from largefile.rules.identity import Identity, describe, vouched_by
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
    repair: bool = True
    wait: float = 0.0  #: seconds to wait for who is at work there already


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
        self._path = os.fspath(dest)
        self._to = Destination(os.path.abspath(dest))  # noqa: PTH100 - links stay as they are
        self._control = control
        self._options = options
        self._session_options = session
        self._algorithm: str | None = None
        self._digest: str | None = None
        self._said: ServerDigest | None = None  # where it is the digest that is expected
        self._expect(options.digest)
        self._held: Probe | None = None  # the first answer, until the session takes it
        self._session: Session | None = None
        self._earlier: list[DownloadStats] = []  # of the sessions before a restart
        self._repairs: list[Session] = []
        self._phase = "probing"
        self._started = time.monotonic()
        self._identity: Identity | None = None
        self._block_size = 0
        self._computed: str | None = None
        self._may_restart = options.on_change == "restart"
        self._size = 0
        self._notes: list[str] = []

    def _expect(self, digest: str | None) -> None:
        """Compare the finished content with `digest`; None: with nothing."""
        self._algorithm = self._digest = self._said = None
        if digest is not None:
            self._algorithm, value = parse_digest(digest)
            self._digest = f"{self._algorithm}:{value}"

    def _heed(self, said: ServerDigest | None) -> None:
        """Compare with what the server says, if the caller says nothing. It is never stored."""
        if self._digest is None and said is not None:
            self._algorithm, self._digest, self._said = said.algorithm, said.digest, said

    # --- the way of a download -------------------------------------------------------------------

    def run(self) -> DownloadStatus:
        """Deliver; the errors of `largefile.download`, each with the `status` reached."""
        try:
            with self._source, contextlib.closing(self._to):
                in_turn(self._deliver, self._control, self._options.wait, self._step_back)
        except LargeFileError as error:
            error.status = self.status(error)
            raise
        return self.status()

    def _deliver(self) -> None:
        if self._options.wait:
            self._to.look()  # who is at work may be done before we have seen that he is
        if self._is_there_already():
            return
        cache = self._open_partial()
        if cache is None and self._is_there_already():
            return  # somebody has finished it between the two looks
        self._to.close()  # it is our turn, and the other's file would keep its room
        while True:
            cache = cache or self._begin()
            if cache is None:
                return  # the server did not say the size, and all of it has come
            try:
                with cache:
                    self._fill(cache)
                return
            except SourceChangedError as error:
                if not self._may_restart:
                    raise
                self._restart(f"begun anew: {error}")
                self._held, cache = None, None
                self._source.forget()

    def _step_back(self) -> None:
        """Somebody else is at work there. What was found out by now may not be so when it is our turn."""
        self._phase = "waiting"
        self._to.look()
        self._source.forget()
        self._held = None
        self._notes.clear()
        self._may_restart = self._options.on_change == "restart"
        self._expect(self._options.digest)

    def _is_there_already(self) -> bool:
        """Whether DEST is there and is what would be fetched; an error of the caller's if it may not go."""
        if not self._to.is_free(overwrite=self._options.overwrite):
            self._be_content_or_raise()
            return True
        return self._options.resume and self._was_overwritten()

    def _be_content_or_raise(self) -> None:
        """DEST is there: that is well if it has the digest that is wanted."""
        self._phase = "verifying"
        if self._algorithm is None or self._digest is None:
            self._be_finished_or_raise()
            return
        if not self._to.has_digest(self._algorithm, self._digest.partition(":")[2], self._control):
            raise DestinationExistsError(self._to.path)
        self._size, self._computed = os.stat(self._to.path).st_size, self._digest  # noqa: PTH116
        self._notes.append("the destination is there already and has the digest: nothing was fetched")

    def _be_finished_or_raise(self) -> None:
        """DEST is there, and no digest: well, if a run that was killed had just finished it."""
        header = self._to.finished
        if header is None or header.url != self._source.name:
            raise DestinationExistsError(self._to.path)
        self._be_finished(header)

    def _be_finished(self, header: Header) -> None:
        self._size, self._identity = header.content_size, header.identity
        who = "an earlier run, which was killed at its end,"
        if self._control.waiting_for is not None:
            who = "the process that was waited for"
        self._notes.append(f"{who} had finished it: nothing was fetched")

    def _was_overwritten(self) -> bool:
        """Whether a run that was to overwrite DEST, and was killed at its end, has done it already."""
        header = self._to.finished
        if header is None or header.url != self._source.name:
            return False
        if self._algorithm is not None and self._digest is not None:
            self._phase, hexadecimal = "verifying", self._digest.partition(":")[2]
            same = self._to.has_digest(self._algorithm, hexadecimal, self._control)
            self._computed = self._digest if same else None
        else:
            try:
                found = self._probe(0, 0).identity
            except (NetworkError, StalledError):
                found = header.identity  # nobody is there who could say more
            same, _ = header.identity.resumable_with(found)
        if same:
            self._be_finished(header)
        return same

    def _open_partial(self) -> LocalDownloadCache | None:
        """The cache that an earlier run has left, if it may be gone on with."""
        if not self._to.has_partial():
            return None
        if not self._options.resume:
            self._check_url(peek(self._to.index).url)
            self._notes.append("begun anew, as resume was off")
            return None
        cache = LocalDownloadCache.open(
            self._to.part,
            self._to.index,
            durable=self._options.durable,
            progress=lambda _: self._control.check(),
        )
        try:
            if self._may_resume(cache):
                return cache
        except BaseException:
            cache.close()
            raise
        cache.close()
        return None

    def _may_resume(self, cache: LocalDownloadCache) -> bool:
        """Whether what is in the cache belongs to what the server has now; raises if nobody may touch it."""
        self._control.check()
        if cache.complete and self._digest is not None and cache.url == self._source.name:
            self._identity = replace(cache.identity, digest=self._digest)
            return True  # the digest alone decides: no request
        # A digest given now decides in the end, whatever was known when the partial was begun. One that was
        # given then still does: it may be all that tells the two versions apart.
        if self._digest is None and cache.identity.digest is not None:
            self._expect(cache.identity.digest)
        stored = replace(cache.identity, digest=self._digest)
        try:
            found = replace(self._probe_gap(cache).identity, digest=stored.digest)
        except (NetworkError, StalledError):
            if not (cache.complete and cache.url == self._source.name):
                raise
            found = stored  # nothing is missing, and nobody is there who could say more
        agrees, why = stored.resumable_with(found)
        if agrees:
            self._identity = found
            if self._options.block_size not in (None, cache.block_size):
                self._notes.append(f"the partial file's block size of {cache.block_size} bytes was kept")
            return True
        self._check_url(cache.url)
        if stored.has_validator and not found.has_validator:
            # A login or quota page looks like this, and must not cost what is there.
            raise ProtocolError(
                f"{self._source.name} answered without ETag and Last-Modified, {found.describe()}; "
                f"the partial file is of {stored.describe()} and was left alone"
            )
        if not self._may_restart:
            raise SourceChangedError(found.describe(), f"{stored.describe()} ({why})")
        self._restart(f"begun anew: {why}")
        return False

    def _check_url(self, found: str | None) -> None:
        if found is not None and found != self._source.name:
            raise DestinationInUseError(self._to.part, found, self._source.name)

    def _restart(self, why: str) -> None:
        """The old files may go now; once a run, so that an unsteady source comes to an end."""
        log.warning("%s: %s", self._source.name, why)
        self._notes.append(why)
        self._may_restart = False
        # A second change of the ETag alone is one between edges; if it is not, the digest will tell.
        self._source.vouched = self._options.digest is not None
        self._expect(self._options.digest)  # one that came with the old files went with them

    def _begin(self) -> LocalDownloadCache | None:
        """New files for what the server has now; None if its size is not known and it was fetched."""
        probe = self._probe(0, MIB - 1)
        size = probe.identity.size
        if size is None:
            self._fetch_unsized(probe)
            return None
        self._identity = replace(probe.identity, digest=self._digest)
        self._phase = "reserving"
        return LocalDownloadCache.create(
            self._to.part,
            self._to.index,
            size,
            self._options.block_size or auto_block_size(size),
            identity=self._identity,
            url=self._source.name,
            replace=True,
            durable=self._options.durable,
            progress=lambda _: self._control.check(),
        )

    def _probe_gap(self, cache: LocalDownloadCache) -> Probe:
        """Ask for the first bytes that are missing, or for one byte if none is."""
        gap = next(cache.byte_ranges.runs_clear(), None)
        if gap is None:
            return self._probe(0, 0)
        return self._probe(gap.first, min(gap.first + MIB - 1, gap.last))

    def _probe(self, first: int, last: int) -> Probe:
        if self._held is None:
            self._phase = "probing"
            self._held = self._source.probe(first, last, self._control.check, self._control.deadline)
        return self._held

    def _fill(self, cache: LocalDownloadCache) -> None:
        """Fetch what is missing, verify, publish."""
        self._block_size, self._size = cache.block_size, cache.content_size
        if not cache.reserved:
            self._notes.append("the filesystem can not reserve space: it may run out on the way")
        if cache.lock_kind == "none":
            self._notes.append("the filesystem has no locks: a second writer would only cost bandwidth")
        if self._session is not None:
            self._earlier.append(self._session.stats())
        self._session = Session(self._source, cache, self._control, self._session_options)
        probe, self._held = self._held, None
        self._heed(self._identity.said if self._identity is not None else None)
        with Committer(cache, durable=self._options.durable):
            self._computed = self._session.run(self._identity, digest_by=self._algorithm, probe=probe)
            if self._computed != self._digest and self._options.repair:
                self._repair(cache, str(self._algorithm))
        if self._computed != self._digest:
            self._reject(self._to.set_aside(cache))
        self._control.check()
        publish(cache, self._to.path, overwrite=self._options.overwrite)

    def _repair(self, cache: LocalDownloadCache, algorithm: str) -> None:
        """Fetch again what came wrong, and see whether the digest is right then."""
        self._show("repairing")
        done = repair(self._source, cache, self._control, self._session_options, self._repairs.append)
        if done is not None:
            self._show("verifying")
            self._computed = digest_of(cache, algorithm, self._control.check)
        if self._computed == self._digest:
            self._notes.append(str(done))
        self._show("done")

    def _show(self, phase: str) -> None:
        if self._session is not None:
            self._session.phase = phase

    def _fetch_unsized(self, probe: Probe) -> None:
        self._phase, self._held = "downloading", None
        self._identity = replace(probe.identity, digest=self._digest)
        self._heed(probe.identity.said)
        self._notes.append("the server does not say the size: one stream, not resumable")
        with self._to.begin_unsized(overwrite=self._options.overwrite) as file:
            try:
                self._size = fetch_unsized(
                    self._source,
                    probe,
                    file,
                    self._control,
                    self._session_options.timeout,
                    self._on_unsized,
                    any_end=self._digest is not None,
                )
            finally:
                self._share_rate(0)
            if self._algorithm is not None:
                found = hash_file(file.fd, self._algorithm, self._control)
                self._computed = f"{self._algorithm}:{found}"
            if self._computed != self._digest:
                self._reject(file.set_aside(self._to.bad))
            file.publish(self._to.path)

    def _on_unsized(self, sink: BlockSink) -> None:
        self._size = sink.received
        self._share_rate(1)

    def _share_rate(self, transfers: int) -> None:
        """Have one body take its share of a limit that others may share, and leave it to them at its end."""
        if (rate := self._session_options.rate) is not None:
            rate.register(self, transfers)
            self._source.transport().throttle(rate.share(1))

    def _reject(self, bad: str) -> None:
        raise DigestMismatchError(
            bad, str(self._computed), str(self._digest), self._said and self._said.field
        )

    # --- what it has done ------------------------------------------------------------------------

    def stats(self) -> DownloadStats:
        """A snapshot, from any thread."""
        elapsed = time.monotonic() - self._started
        if self._session is None:
            return DownloadStats(phase=self._phase, elapsed=elapsed, downloaded_bytes=self._size)
        stats = self._session.stats()
        others = [*self._earlier, *(session.stats() for session in self._repairs)]
        return replace(
            stats,
            elapsed=elapsed,
            downloaded_bytes=stats.downloaded_bytes + sum(other.downloaded_bytes for other in others),
            download_retries=stats.download_retries
            + sum(other.download_retries for other in others)
            + self._source.retries,
            download_errors=stats.download_errors
            + sum(other.download_errors for other in others)
            + self._source.retries,
        )

    def status(self, error: LargeFileError | None = None) -> DownloadStatus:
        """How it ended."""
        stats, identity, complete = self.stats(), self._identity, error is None
        if complete and self._session is None:
            fetched = stats.downloaded_bytes if self._phase == "downloading" else 0
            stats = replace(
                stats,
                cached_or_streamed_bytes=self._size,
                download_size=self._size,
                downloaded_bytes=fetched,
            )
        left = f"{self._path}.part" if os.path.lexists(self._to.part) else None
        return DownloadStatus.of(
            replace(stats, phase="done") if complete else stats,
            complete=complete,
            resumable=error is not None and error.resumable,
            duration=stats.elapsed,
            path=self._path if complete else left,
            identity=describe(identity) if identity is not None else {},
            verified_by=vouched_by(identity, self._computed, self._said) if complete else None,
            digest=self._computed,
            block_size=self._block_size,
            notes=(*self._notes, *(self._session.notes if self._session is not None else ())),
        )
