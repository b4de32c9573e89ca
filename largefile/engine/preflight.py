"""What is at a destination, and at its source, before anything is fetched; and what may be done about it.

The identity decides, not the URL: a partial whose identity the server confirms is gone on with, whatever
its URL was. One that is contradicted is begun anew (``on_change="restart"``) or left alone
(``"fail"``); bytes of two versions never meet, because a new version always gets new files.
"""

from __future__ import annotations

import os

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.header import Header
from largefile.disk.opening import peek
from largefile.engine.destination import Destination
from largefile.engine.job import Control
from largefile.engine.known import Known
from largefile.engine.options import DeliveryOptions
from largefile.errors import (
    DestinationExistsError,
    DestinationInUseError,
    NetworkError,
    ProtocolError,
    SourceChangedError,
    StalledError,
)
from largefile.log import log
from largefile.rules.sizing import auto_block_size
from largefile.wire.http import HTTPReader
from largefile.wire.readers import MIB, Probe

__all__ = ["Preflight"]


class Preflight:
    """Decides what a download begins with: a finished file, an earlier run's partial one, or a new one."""

    def __init__(
        self, source: HTTPReader, to: Destination, control: Control, options: DeliveryOptions, known: Known
    ) -> None:
        self._source = source
        self._to = to
        self._control = control
        self._options = options
        self._known = known
        self._known.expect(options.digest)
        self._held: Probe | None = None  # the first answer, until it is taken
        #: Whether a source that has changed may be begun anew.
        self.may_restart = options.on_change == "restart"

    def step_back(self) -> None:
        """Somebody else is at work there. What was found out by now may not be so when it is our turn."""
        self._known.phase = "waiting"
        self._to.look()
        self.forget()
        self._known.notes.clear()
        self.may_restart = self._options.on_change == "restart"
        self._known.expect(self._options.digest)

    def is_there_already(self) -> bool:
        """Whether DEST is there and is what would be fetched; an error of the caller's if it may not go."""
        if not self._to.is_free(overwrite=self._options.overwrite):
            self._be_content_or_raise()
            return True
        return self._options.resume and self._was_overwritten()

    def _be_content_or_raise(self) -> None:
        """DEST is there: that is well if it has the digest that is wanted."""
        known = self._known
        known.phase = "verifying"
        if known.algorithm is None or known.digest is None:
            self._be_finished_or_raise()
            return
        if not self._to.has_digest(known.algorithm, known.digest.partition(":")[2], self._control):
            raise DestinationExistsError(self._to.path)
        known.size, known.computed = os.stat(self._to.path).st_size, known.digest
        known.notes.append("the destination is there already and has the digest: nothing was fetched")

    def _be_finished_or_raise(self) -> None:
        """DEST is there, and no digest: well, if a run that was killed had just finished it."""
        header = self._to.finished
        if header is None or header.url != self._source.name:
            raise DestinationExistsError(self._to.path)
        self._be_finished(header)

    def _be_finished(self, header: Header) -> None:
        self._known.size, self._known.identity = header.content_size, header.identity
        who = "an earlier run, which was killed at its end,"
        if self._control.waiting_for is not None:
            who = "the process that was waited for"
        self._known.notes.append(f"{who} had finished it: nothing was fetched")

    def _was_overwritten(self) -> bool:
        """Whether a run that was to overwrite DEST, and was killed at its end, has done it already."""
        known = self._known
        header = self._to.finished
        if header is None or header.url != self._source.name:
            return False
        if known.algorithm is not None and known.digest is not None:
            known.phase, hexadecimal = "verifying", known.digest.partition(":")[2]
            same = self._to.has_digest(known.algorithm, hexadecimal, self._control)
            known.computed = known.digest if same else None
        else:
            try:
                found = self._probe(0, 0).identity
            except (NetworkError, StalledError):
                found = header.identity  # nobody is there who could say more
            same, _ = header.identity.resumable_with(found)
        if same:
            self._be_finished(header)
        return same

    def open_partial(self) -> LocalDownloadCache | None:
        """The cache that an earlier run has left, if it may be gone on with."""
        if not self._to.has_partial():
            return None
        if not self._options.resume:
            self._check_url(peek(self._to.index).url)
            self._known.notes.append("begun anew, as resume was off")
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
        known = self._known
        self._control.check()
        if cache.complete and known.digest is not None and cache.url == self._source.name:
            known.identity = cache.identity._replace(digest=known.digest)
            return True  # the digest alone decides: no request
        # A digest given now decides in the end, whatever was known when the partial was begun. One that was
        # given then still does: it may be all that tells the two versions apart.
        if known.digest is None and cache.identity.digest is not None:
            known.expect(cache.identity.digest)
        stored = cache.identity._replace(digest=known.digest)
        try:
            found = self._probe_gap(cache).identity._replace(digest=stored.digest)
        except (NetworkError, StalledError):
            if not (cache.complete and cache.url == self._source.name):
                raise
            found = stored  # nothing is missing, and nobody is there who could say more
        agrees, why = stored.resumable_with(found)
        if agrees:
            known.identity = found
            if self._options.block_size not in (None, cache.block_size):
                known.notes.append(f"the partial file's block size of {cache.block_size} bytes was kept")
            return True
        self._check_url(cache.url)
        if stored.has_validator and not found.has_validator:
            # A login or quota page looks like this, and must not cost what is there.
            raise ProtocolError(
                f"{self._source.name} answered without ETag and Last-Modified, {found.describe()}; "
                f"the partial file is of {stored.describe()} and was left alone"
            )
        if not self.may_restart:
            raise SourceChangedError(found.describe(), f"{stored.describe()} ({why})")
        self.restart(f"begun anew: {why}")
        return False

    def _check_url(self, found: str | None) -> None:
        if found is not None and found != self._source.name:
            raise DestinationInUseError(self._to.part, found, self._source.name)

    def restart(self, why: str) -> None:
        """The old files may go now; once a run, so that an unsteady source comes to an end."""
        log().warning("%s: %s", self._source.name, why)
        self._known.notes.append(why)
        self.may_restart = False
        # A second change of the ETag alone is one between edges; if it is not, the digest will tell.
        self._source.vouched = self._options.digest is not None
        self._known.expect(self._options.digest)  # one that came with the old files went with them

    def begin(self) -> LocalDownloadCache | None:
        """New files for what the server has now; None if it does not say how large that is."""
        probe = self._probe(0, MIB - 1)
        size = probe.identity.size
        if size is None:
            return None
        self._known.identity = probe.identity._replace(digest=self._known.digest)
        self._known.phase = "reserving"
        return LocalDownloadCache.create(
            self._to.part,
            self._to.index,
            size,
            self._options.block_size or auto_block_size(size),
            identity=self._known.identity,
            url=self._source.name,
            replace=True,
            durable=self._options.durable,
            progress=lambda _: self._control.check(),
        )

    def take(self) -> Probe | None:
        """The first answer, for who goes on with its body."""
        probe, self._held = self._held, None
        return probe

    def forget(self) -> None:
        """What was found out of the source may not be so any more."""
        self._held = None
        self._source.forget()

    def _probe_gap(self, cache: LocalDownloadCache) -> Probe:
        """Ask for the first bytes that are missing, or for one byte if none is."""
        gap = next(cache.byte_ranges.runs_clear(), None)
        if gap is None:
            return self._probe(0, 0)
        return self._probe(gap.first, min(gap.first + MIB - 1, gap.last))

    def _probe(self, first: int, last: int) -> Probe:
        if self._held is None:
            self._known.phase = "probing"
            self._held = self._source.probe(first, last, self._control.check, self._control.deadline)
        return self._held
