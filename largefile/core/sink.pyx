"""The write callback: bytes from the network to their final place, once.

A sink serves one connection and is aimed anew for each span. Between an aim and its end it is a cursor:
`at` is the position of the next byte, and the *place* says where in memory that byte goes. The store's
lane chooses places and is called back in `settle` at marks: at each block's end, and at least once
every STEP bytes, so that it hashes what is still in the cache of the processor. The chunks between two
marks cost one bounds check and one memcpy, and allocate nothing.

Rules:
1. A call never raises. What goes wrong is kept in `error`, and the answer 0 ends the transfer.
2. No byte goes beyond `limit`, the end of what the present response was found to hold, nor beyond
   `stop`, nor beyond the buffer that was placed.
3. Where a place is full, a lane that has the method `more` is asked for the next one when the next byte
   is there. While it has none the answer is PAUSE, and the transfer is held: the driver keeps the chunk
   and delivers it again, maybe cut otherwise. The sink knows how much of it is in place, and skips that.
4. A page of a file map is populated before the first store to it: where the filesystem has no room
   the system then says so, where a store would kill the process by SIGBUS.
"""

cimport cython
from cpython.buffer cimport (
    Py_buffer, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.errno cimport EINVAL
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <sys/mman.h>
    #include <unistd.h>
    #include <errno.h>
    #ifdef __linux__
      #ifndef MADV_POPULATE_WRITE
        #define MADV_POPULATE_WRITE 23
      #endif
      #define LF_POPULATE MADV_POPULATE_WRITE
    #else
      #define LF_POPULATE -1
    #endif
    /* 0, or errno. A system without the call faults page by page as the bytes come. */
    static int lf_populate(void *address, size_t size) {
        if (LF_POPULATE < 0) return EINVAL;
        return madvise(address, size, LF_POPULATE) == 0 ? 0 : errno;
    }
    static int lf_forsake(void *address, size_t size) {
        return mmap(address, size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANON, -1, 0) == MAP_FAILED;
    }
    #define lf_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define lf_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    """
    int lf_populate(void *address, size_t size) noexcept nogil
    int lf_forsake(void *address, size_t size) noexcept nogil
    int lf_load(int *p) noexcept nogil
    void lf_store(int *p, int v) noexcept nogil
    int madvise(void *address, size_t size, int advice) nogil
    int MADV_DONTNEED
    long sysconf(int name) nogil
    int _SC_PAGESIZE

STEP = 1 << 20
cdef int64_t _STEP = STEP
#: The answer that holds a transfer; libcurl's WRITEFUNC_PAUSE. No chunk is of that size.
PAUSE = 0x10000001
cdef Py_ssize_t _PAUSE = PAUSE
# A whole span populated at once stalls the loop, is written back as zeros and faults again. Measured: with
# 2 MiB ahead and eight connections the zeros have left the processor's cache before the bytes come.
cdef int64_t AHEAD = 256 << 10
cdef uintptr_t PAGE = <uintptr_t>sysconf(_SC_PAGESIZE)


@cython.final
@cython.auto_pickle(False)
@cython.no_gc_clear  # a collected cycle must not drop the view's owner before the view
cdef class BlockSink:
    """BlockSink(): a callable that takes chunks and puts them where its lane says.

    Calling it with a bytes-like chunk answers how many bytes were taken: all of them, or 0 when the
    transfer is to end. Then `halted`, `overrun` or `error` says why. PAUSE asks for the same bytes once
    more, when there may be a place for them; meanwhile the sink is `held`.

    Examples
    --------
    >>> class Whole:
    ...     def settle(self, sink): pass
    >>> target, sink = bytearray(8), BlockSink()
    >>> sink.aim(Whole(), 0, 8, block_size=4, content_size=8)
    >>> sink.place(target, 0, until=8)
    >>> sink(b"abcde"), sink.at, sink.settled
    (5, 5, 4)
    >>> sink(b"fgh!"), sink.overrun
    (0, True)
    >>> sink.release()
    >>> target
    bytearray(b'abcdefgh')

    A lane that hands out places of four bytes, while it has some:

    >>> class Ring(Whole):
    ...     free = 1
    ...     def more(self, sink):
    ...         if self.free:
    ...             sink.place(target, sink.at, until=sink.at + 4)
    ...             self.free -= 1
    ...             return True
    ...         return False
    >>> ring = Ring()
    >>> sink.aim(ring, 0, 8, block_size=4, content_size=8)
    >>> sink(b"ABCDEF") == PAUSE, sink.held, sink.at
    (True, True, 4)
    >>> ring.free = 1
    >>> sink(b"ABCDEF"), sink.held, sink.at
    (6, False, 6)
    >>> sink.release()
    >>> target
    bytearray(b'ABCDEFgh')
    """

    cdef Py_buffer _view      # the placed buffer, ours while `_viewed`
    cdef bint _viewed
    cdef bint _mapped         # the buffer is a shared map of a file
    cdef bint _populate       # … whose pages are prefaulted
    cdef char *_next          # where byte `at` goes; NULL: it is dropped
    cdef char *_ready         # pages below this address are populated
    cdef int64_t _until       # the place ends here; a position
    cdef int64_t _mark        # the next settle is due here; a position
    cdef int64_t _block_size
    cdef int64_t _content_size
    cdef object _lane
    cdef object _more         # the lane's method of that name, or None
    cdef int64_t _again       # so many of the bytes that come next are in place already
    cdef int _halt            # latched by any thread
    cdef int _hold            # read by any thread
    cdef readonly int64_t at, first, stop, settled, received
    cdef int64_t _limit       # the present response ends here; a position
    cdef readonly bint overrun
    cdef readonly object error

    def __cinit__(self):
        self._block_size = 1  # divided by, also before the first `aim`

    def __dealloc__(self):
        self._let_go()

    def aim(self, lane, int64_t first, int64_t stop, int64_t block_size, int64_t content_size):
        """Take the bytes `first` to `stop` - 1 next.

        The lane must `place` before the first one comes, unless it has `more`, which is asked then.
        """
        if not 0 <= first <= stop <= content_size:
            raise ValueError(f"[{first}, {stop}) is outside of a content of {content_size} bytes")
        if block_size < 1:
            raise ValueError(f"block size {block_size} must be at least 1")
        self._let_go()
        self._lane = lane
        self._more = getattr(lane, "more", None)
        self._block_size = block_size
        self._content_size = content_size
        self.first = self.at = self.settled = self._until = self._mark = first
        self.stop = self._limit = stop
        self.overrun = False
        self.error = None
        self._again = 0
        lf_store(&self._hold, 0)
        lf_store(&self._halt, 0)

    def place(self, target, int64_t offset, int64_t until, bint populate=False):
        """Put byte `at` at ``target[offset]`` and so on until position `until`; None drops them.

        `populate` says that the target is a map of a file: its pages are prefaulted, at most 256 KiB ahead
        of the bytes.
        """
        cdef int64_t size = until - self.at
        if size <= 0 or until > self.stop:
            raise ValueError(f"place until {until} is not within ({self.at}, {self.stop}]")
        self._let_go()
        if target is not None:
            PyObject_GetBuffer(target, &self._view, PyBUF_WRITABLE)
            self._viewed = True
            if offset < 0 or offset > self._view.len or size > self._view.len - offset:
                self._let_go()
                raise ValueError(f"{size} bytes at {offset} do not fit into the {len(target)}-byte target")
            self._next = self._ready = <char *>self._view.buf + offset
        self._mapped = self._populate = populate
        self._until = until
        self._set_mark()

    def release(self):
        """Let go of the target and of the lane."""
        self._let_go()
        self._lane = self._more = None

    def halt(self):
        """End the transfer at its next chunk. Latched until the next `aim`; callable from any thread."""
        lf_store(&self._halt, 1)

    @property
    def halted(self):
        return lf_load(&self._halt) != 0

    @property
    def held(self):
        """Whether the transfer waits for a place: from an answer PAUSE until the chunk comes again.

        It is also true while the lane is asked for one. So who frees a place and looks here after it finds
        every transfer that was told of none.
        """
        return lf_load(&self._hold) != 0

    def shorten(self, int64_t stop):
        """Move the end down to `stop`, but not into a block that has begun. Gives the new end."""
        cdef int64_t begun = self.at, inside = self.at % self._block_size
        if inside:
            # Compared first: a sum may be beyond 64 bits.
            begun += min(self._block_size - inside, self._content_size - begun)
        self.stop = min(self.stop, max(stop, begun))
        return self.stop

    @property
    def limit(self):
        """Position at which the present response ends; a longer body ends the transfer."""
        return self._limit

    @limit.setter
    def limit(self, int64_t position):
        if not self.at <= position <= self.stop:
            raise ValueError(f"limit {position} is not within [{self.at}, {self.stop}]")
        self._limit = position
        self.overrun = False

    def room(self):
        """Where the next bytes go in a file's map, as a writable memoryview, for a reader's ``readinto``.

        At most up to the next mark. None where there is no map, where bytes are dropped, or where nothing
        more may come. Say how many bytes came by `advance`. The view keeps the map alive; `revoke` takes
        the file away from it.
        """
        cdef int64_t size = min(min(self._mark, self._limit), self.stop) - self.at
        cdef int64_t offset
        if size <= 0 or not self._mapped or lf_load(&self._halt) or self.error is not None:
            return None
        if self._populate and not self._make_ready(size):
            return None
        offset = self._next - <char *>self._view.buf
        return memoryview(<object>self._view.obj)[offset:offset + size]

    def advance(self, int64_t size):
        """Count `size` bytes that were put into the `room`; False ends the transfer."""
        if size < 0 or size > min(min(self._mark, self._limit), self.stop) - self.at or self._next == NULL:
            raise ValueError(f"{size} bytes were not given room")
        self._next += size
        self.at += size
        self.received += size
        return self.at != self._mark or size == 0 or self._settle()

    def revoke(self):
        """Put private memory under the rest of the present place, so that no late store reaches the file.

        For a reader that does not come back from ``readinto``: its place may have another writer by then.
        """
        cdef uintptr_t start, stop
        self.halt()
        if self._mapped:
            start = <uintptr_t>self._next & ~(PAGE - 1)
            stop = (<uintptr_t>self._next + (self._until - self.at) + PAGE - 1) & ~(PAGE - 1)
            if start < stop and lf_forsake(<void *>start, stop - start):
                raise MemoryError("no private memory for an abandoned reader")

    def __call__(self, chunk):
        cdef Py_buffer source
        cdef Py_ssize_t taken
        if lf_load(&self._halt) or self.error is not None:
            return 0
        # Own the view through the C buffer API, never through a slice: one receive buffer of libcurl's
        # serves every transfer, and a kept slice would read another block's bytes.
        PyObject_GetBuffer(chunk, &source, PyBUF_SIMPLE)
        taken = source.len
        lf_store(&self._hold, 0)
        if not self._take(<const char *>source.buf, taken):
            taken = _PAUSE if lf_load(&self._hold) else 0
        PyBuffer_Release(&source)
        return taken

    cdef bint _take(self, const char *chunk, int64_t size) noexcept:
        """Place the bytes of a chunk; False ends the transfer, or holds it."""
        cdef int64_t piece, done = min(self._again, size)
        self._again -= done
        while done < size:
            piece = min(size - done, min(min(self._mark, self._limit), self.stop) - self.at)
            if piece <= 0:
                if self._next_place(done):
                    continue
                return False
            if self._next != NULL:
                if self._populate and not self._make_ready(piece):
                    return False
                memcpy(self._next, chunk + done, piece)
                self._next += piece
            self.at += piece
            self.received += piece
            done += piece
            if self.at == self._mark and not self._settle():
                return False
        return True

    cdef bint _next_place(self, int64_t done) noexcept:
        """The place is full, with `done` bytes of the chunk taken; ask the lane, if that may help."""
        self.overrun = self.at == self.stop or self.at == self._limit
        if self.overrun or self._more is None:
            return False  # the body is longer than it may be, or the lane did not say where it goes
        lf_store(&self._hold, 1)
        try:
            if not self._more(self):
                self._again = done
                return False
        except BaseException as error:
            self.error = error
        lf_store(&self._hold, 0)
        # A lane that placed nothing all the same ends the transfer.
        return self.error is None and self.at < self._mark

    cdef bint _make_ready(self, int64_t size) noexcept:
        """Populate the pages of the next `size` bytes and some more; False when there is no room."""
        cdef int64_t left = self._until - self.at, ahead
        cdef uintptr_t start, stop
        cdef int failed
        if self._next + size <= self._ready:
            return True
        ahead = min(left, max(size, AHEAD))
        start = <uintptr_t>self._ready & ~(PAGE - 1)
        stop = <uintptr_t>self._next + ahead
        with nogil:
            failed = lf_populate(<void *>start, stop - start)
        if failed == EINVAL:  # an older kernel: pages fault as the bytes come
            self._populate = False
        elif failed:
            self.error = OSError(failed, "a page of the file could not be populated")
            return False
        self._ready = <char *>stop
        return True

    cdef bint _settle(self) noexcept:
        """A mark is reached: the lane's turn."""
        try:
            if self.at % self._block_size == 0 or self.at == self._content_size:
                self._lane.settle(self)
                self.settled = self.at
            else:
                self._lane.settle(self)
            if self.at < self._until:
                self._set_mark()
        except BaseException as error:  # also KeyboardInterrupt: the pump raises it where it is safe
            self.error = error
            return False
        return True

    cdef void _set_mark(self) noexcept:
        cdef int64_t block_end = self.at - self.at % self._block_size
        if self._content_size - block_end > self._block_size:
            block_end += self._block_size
        else:
            block_end = self._content_size
        self._mark = min(min(block_end, self._until), self.at + min(_STEP, self._content_size - self.at))

    cdef void _let_go(self) noexcept:
        if self._viewed:
            PyBuffer_Release(&self._view)
            self._viewed = False
        self._next = self._ready = NULL
        self._mapped = self._populate = False


def prefault(target, Py_ssize_t offset, Py_ssize_t size):
    """Populate the pages of ``target[offset:offset + size]`` for writing, without the GIL.

    Answers 0, or the errno: EFAULT where a store would have raised SIGBUS, EINVAL where the system has
    no such call.
    """
    cdef Py_buffer view
    cdef uintptr_t start
    cdef int failed
    PyObject_GetBuffer(target, &view, PyBUF_WRITABLE)
    try:
        if offset < 0 or size < 0 or size > view.len - offset:
            raise ValueError(f"{size} bytes at {offset} are outside of the {view.len}-byte target")
        start = (<uintptr_t>view.buf + offset) & ~(PAGE - 1)
        size += <uintptr_t>view.buf + offset - start
        with nogil:
            failed = lf_populate(<void *>start, size)
        return failed
    finally:
        PyBuffer_Release(&view)


def drop(target, Py_ssize_t offset, Py_ssize_t size):
    """Let the mapping forget the whole pages of ``target[offset:offset + size]``, without the GIL.

    Only for a shared map of a file, whose bytes stay in the page cache. On private memory it erases.
    """
    cdef Py_buffer view
    cdef uintptr_t start, stop
    PyObject_GetBuffer(target, &view, PyBUF_WRITABLE)
    try:
        if offset < 0 or size < 0 or size > view.len - offset:
            raise ValueError(f"{size} bytes at {offset} are outside of the {view.len}-byte target")
        start = (<uintptr_t>view.buf + offset + PAGE - 1) & ~(PAGE - 1)
        stop = (<uintptr_t>view.buf + offset + size) & ~(PAGE - 1)
        if start < stop:
            with nogil:
                madvise(<void *>start, stop - start, MADV_DONTNEED)
    finally:
        PyBuffer_Release(&view)
