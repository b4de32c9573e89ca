"""From a URL to a finished file: see what there is, fill it, verify it, publish it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace

from largefile.core.sink import BlockSink
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.publish import publish
from largefile.engine.committer import Committer
from largefile.engine.destination import Destination, hash_file
from largefile.engine.job import Control
from largefile.engine.known import Known
from largefile.engine.options import DeliveryOptions, SessionOptions
from largefile.engine.preflight import Preflight
from largefile.engine.session import Session
from largefile.engine.turn import in_turn
from largefile.errors import (
    DigestMismatchError,
    LargeFileError,
    SourceChangedError,
)
from largefile.rules.identity import describe, vouched_by
from largefile.stats import DownloadStats, DownloadStatus
from largefile.wire.http import HTTPReader

__all__ = ["Delivery"]


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
        self._to = Destination(os.path.abspath(dest))
        self._control = control
        self._options = options
        self._session_options = session
        self._known = Known()
        self._before = Preflight(source, self._to, control, options, self._known)
        self._session: Session | None = None
        self._earlier: list[DownloadStats] = []  # of the sessions before a restart
        self._repairs: list[Session] = []
        self._started = time.monotonic()
        self._block_size = 0

    # --- the way of a download -------------------------------------------------------------------

    def run(self) -> DownloadStatus:
        """Deliver; the errors of `largefile.download`, each with the `status` reached."""
        try:
            with self._source, contextlib.closing(self._to):
                in_turn(self._deliver, self._control, self._options.wait, self._before.step_back)
        except LargeFileError as error:
            error.status = self.status(error)
            raise
        return self.status()

    def _deliver(self) -> None:
        if self._options.wait:
            self._to.look()  # who is at work may be done before we have seen that he is
        if self._before.is_there_already():
            return
        cache = self._before.open_partial()
        if cache is None and self._before.is_there_already():
            return  # somebody has finished it between the two looks
        self._to.close()  # it is our turn, and the other's file would keep its room
        while True:
            cache = cache or self._before.begin()
            if cache is None:
                self._fetch_unsized()
                return
            try:
                with cache:
                    self._fill(cache)
                return
            except SourceChangedError as error:
                if not self._before.may_restart:
                    raise
                cache = None
                self._before.restart(f"begun anew: {error}")
                self._before.forget()

    def _fill(self, cache: LocalDownloadCache) -> None:
        """Fetch what is missing, verify, publish."""
        known = self._known
        self._block_size, known.size = cache.block_size, cache.content_size
        if not cache.reserved:
            known.notes.append("no space is reserved on this filesystem: it may run out on the way")
        if cache.lock_kind == "none":
            known.notes.append("the filesystem has no locks: a second writer would only cost bandwidth")
        if self._session is not None:
            self._earlier.append(self._session.stats())
        self._session = Session(self._source, cache, self._control, self._session_options)
        probe = self._before.take()
        known.heed(known.identity.said if known.identity is not None else None)
        with Committer(cache, durable=self._options.durable, passed=self._session.passed):
            known.computed = self._session.run(known.identity, digest_by=known.algorithm, probe=probe)
            if not known.right and self._options.repair:
                self._repair(cache, str(known.algorithm))
        if not known.right:
            self._reject(self._to.set_aside(cache))
        self._control.check()
        publish(cache, self._to.path, overwrite=self._options.overwrite)

    def _repair(self, cache: LocalDownloadCache, algorithm: str) -> None:
        """Fetch again what came wrong, and see whether the digest is right then."""
        from largefile.engine.digester import digest_of  # both are for hardly any download
        from largefile.engine.repair import repair

        self._show("repairing")
        done = repair(self._source, cache, self._control, self._session_options, self._repairs.append)
        if done is not None:
            self._show("verifying")
            self._known.computed = digest_of(cache, algorithm, self._control.check)
        if self._known.right:
            self._known.notes.append(str(done))
        self._show("done")

    def _show(self, phase: str) -> None:
        if self._session is not None:
            self._session.phase = phase

    def _fetch_unsized(self) -> None:
        from largefile.engine.unsized import fetch_unsized  # few servers do not say the size

        probe, known = self._before.take(), self._known
        assert probe is not None
        known.phase = "downloading"
        known.identity = probe.identity._replace(digest=known.digest)
        known.heed(probe.identity.said)
        known.notes.append("the server does not say the size: one stream, not resumable")
        with self._to.begin_unsized(overwrite=self._options.overwrite) as file:
            try:
                known.size = fetch_unsized(
                    self._source,
                    probe,
                    file,
                    self._control,
                    self._session_options.timeout,
                    self._on_unsized,
                    any_end=known.digest is not None,
                )
            finally:
                self._share_rate(0)
            if known.algorithm is not None:
                found = hash_file(file.fd, known.algorithm, self._control)
                known.computed = f"{known.algorithm}:{found}"
            if not known.right:
                self._reject(file.set_aside(self._to.bad))
            file.publish(self._to.path)

    def _on_unsized(self, sink: BlockSink) -> None:
        self._known.size = sink.received
        self._share_rate(1)

    def _share_rate(self, transfers: int) -> None:
        """Have one body take its share of a limit that others may share, and leave it to them at its end."""
        if (rate := self._session_options.rate) is not None:
            rate.register(self, transfers)
            self._source.transport().throttle(rate.share(1))

    def _reject(self, bad: str) -> None:
        known = self._known
        raise DigestMismatchError(
            bad, str(known.computed), str(known.digest), known.said and known.said.field
        )

    # --- what it has done ------------------------------------------------------------------------

    def stats(self) -> DownloadStats:
        """A snapshot, from any thread."""
        elapsed = time.monotonic() - self._started
        if self._session is None:
            known, unsized = self._known, self._known.phase == "downloading"
            return DownloadStats(
                phase=known.phase, elapsed=elapsed, downloaded_bytes=known.size, connections=int(unsized)
            )
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
        known, stats, complete = self._known, replace(self.stats(), connections=0), error is None
        if complete and self._session is None:
            fetched = stats.downloaded_bytes if known.phase == "downloading" else 0
            stats = replace(
                stats,
                cached_or_streamed_bytes=known.size,
                download_size=known.size,
                downloaded_bytes=fetched,
            )
        left = f"{self._path}.part" if os.path.lexists(self._to.part) else None
        return DownloadStatus.of(
            replace(stats, phase="done") if complete else stats,
            complete=complete,
            resumable=error is not None and error.resumable,
            duration=stats.elapsed,
            path=self._path if complete else left,
            identity=describe(known.identity) if known.identity is not None else {},
            verified_by=vouched_by(known.identity, known.computed, known.said) if complete else None,
            digest=known.computed,
            block_size=self._block_size,
            notes=(*known.notes, *(self._session.notes if self._session is not None else ())),
        )
