"""Words of bits: one bit a block, searched 64 at a time.

Single bits are set and cleared by one atomic instruction, so several threads may change one bitmap
while others search it, with no lock and with or without the GIL. A search that runs beside a writer
sees each word as it was at some moment during the search.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBUF_SIMPLE,
    PyBUF_STRIDES,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from largefile.core.ranges cimport PyLong_AsLongLongAndOverflow


cdef extern from *:
    """
    #include <stdint.h>
    /* Release on the way in and acquire on the way out: a bit vouches for bytes stored before it. */
    static inline uint64_t lf_load(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline uint64_t lf_or(uint64_t *at, uint64_t by) {
        return __atomic_fetch_or(at, by, __ATOMIC_ACQ_REL);
    }
    static inline uint64_t lf_and(uint64_t *at, uint64_t by) {
        return __atomic_fetch_and(at, by, __ATOMIC_ACQ_REL);
    }
    static inline int lf_lowest(uint64_t word) { return __builtin_ctzll(word); }
    static inline int lf_popcount(uint64_t word) { return __builtin_popcountll(word); }
    """
    uint64_t lf_load(const uint64_t *at) noexcept nogil
    uint64_t lf_or(uint64_t *at, uint64_t by) noexcept nogil
    uint64_t lf_and(uint64_t *at, uint64_t by) noexcept nogil
    int lf_lowest(uint64_t word) noexcept nogil
    int lf_popcount(uint64_t word) noexcept nogil

cdef uint64_t ALL = ~(<uint64_t>0)
cdef int64_t FAR = 0x7FFFFFFFFFFFFFFF
cdef char *WORD_FORMAT = b"Q"
cdef Py_ssize_t WORD_SIZE = 8


@cython.final
@cython.auto_pickle(False)
@cython.no_gc_clear  # a collected cycle must not drop the view's owner before the view
cdef class Bitmap:
    """A fixed number of bits, in memory of its own or in somebody's writable buffer.

    Parameters
    ----------
    num_bits : int
        How many bits; 0 or more. Memory of its own starts all clear and takes an eighth of a byte a bit.
    buffer : writable buffer, optional
        Where the bits are: bit `i` is bit ``i % 64`` of the native 64-bit word ``i // 64``. Its bits are
        left as found, and the bits past `num_bits` are neither believed nor changed. It is pinned for as
        long as the bitmap lives.

    Raises
    ------
    ValueError
        If `num_bits` is negative or beyond 2**63 - 1, or `buffer` is too short or not 8-byte aligned.
    BufferError
        If `buffer` is read-only.
    MemoryError
        If there is no memory for so many bits.

    Examples
    --------
    >>> bitmap = Bitmap(130)
    >>> bitmap.set(128)
    True
    >>> bitmap.find_set(), bitmap.find_clear(128), bitmap.count()
    (128, 129, 1)

    Notes
    -----
    Go: the bitmap inside of ``largefile.ByteRanges``.
    """

    def __cinit__(self, num_bits, buffer=None):
        self.num_bits = checked_size(num_bits)
        # Rounded up without adding first: num_bits + 63 may be beyond 64 bits.
        self.num_words = (self.num_bits >> 6) + ((self.num_bits & 63) != 0)
        self.shape[0] = <Py_ssize_t>self.num_words
        if buffer is None:
            self.owned = True
            self.data = <uint64_t *>calloc(self.num_words if self.num_words else 1, WORD_SIZE)
            if self.data is NULL:
                raise MemoryError(f"no memory for {num_bits} bits")
            return
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.owner = buffer
        # __dealloc__ runs even when __cinit__ raises: nothing is released here.
        if self.view.len // WORD_SIZE < self.num_words:
            needed = self.num_words * WORD_SIZE
            raise ValueError(f"{num_bits} bits need {needed} bytes, the buffer has {self.view.len}")
        if <uintptr_t>self.view.buf % WORD_SIZE:
            raise ValueError("the buffer does not begin at a multiple of 8 bytes in memory")
        self.data = <uint64_t *>self.view.buf

    def __dealloc__(self):
        if self.owned:
            free(self.data)
        PyBuffer_Release(&self.view)  # does nothing where there is no view

    def __len__(self):
        return self.num_bits

    def __repr__(self):
        return f"<Bitmap: {self.c_count(0, self.num_bits)} of {self.num_bits} bits set>"

    def __getitem__(self, bit):
        return self.c_is_set(self._inside(bit))

    def set(self, bit):
        """Set a bit, atomically.

        Parameters
        ----------
        bit : int
            Which one, from 0.

        Returns
        -------
        bool
            True if this call changed it: of two threads that set one bit, one is told True.

        Raises
        ------
        IndexError
            If there is no such bit.

        Examples
        --------
        >>> bitmap = Bitmap(2)
        >>> bitmap.set(1), bitmap.set(1)
        (True, False)
        """
        return self.c_set(self._inside(bit))

    def clear(self, bit):
        """Clear a bit, atomically; True if this call changed it.

        Raises
        ------
        IndexError
            If there is no such bit.

        Examples
        --------
        >>> Bitmap(2).clear(1)
        False
        """
        return self.c_clear(self._inside(bit))

    def set_run(self, start, stop):
        """Set the bits from `start` up to and without `stop`; each word of them atomically.

        Raises
        ------
        IndexError
            If the run is inverted or not inside of the bitmap.

        Examples
        --------
        >>> bitmap = Bitmap(100)
        >>> bitmap.set_run(60, 70)
        >>> list(bitmap.runs_set())
        [(60, 70)]
        """
        cdef int64_t first, end
        first, end = self._run(start, stop)
        while first < end:
            lf_or(&self.data[first >> 6], mask_between(first, end))
            first = next_word(first)

    def clear_run(self, start, stop):
        """Clear the bits from `start` up to and without `stop`; each word of them atomically.

        Raises
        ------
        IndexError
            If the run is inverted or not inside of the bitmap.

        Examples
        --------
        >>> bitmap = Bitmap(4)
        >>> bitmap.clear_run(0, 4)
        """
        cdef int64_t first, end
        first, end = self._run(start, stop)
        while first < end:
            lf_and(&self.data[first >> 6], ~mask_between(first, end))
            first = next_word(first)

    def find_set(self, start=0, stop=None):
        """Find the lowest set bit in ``[start, stop)``.

        Parameters
        ----------
        start : int
            The first bit looked at; there is nothing to find from the end on.
        stop : int, optional
            The first bit not looked at; the end when left out or beyond the end.

        Returns
        -------
        int or None
            The bit's number, or None where every bit is clear.

        Raises
        ------
        IndexError
            If `start` or `stop` is negative.

        Examples
        --------
        >>> bitmap = Bitmap(10)
        >>> bitmap.set(7)
        True
        >>> bitmap.find_set(), bitmap.find_set(8), bitmap.find_set(0, 7)
        (7, None, None)
        """
        return none_for_minus_one(self.c_find_set(bound(start), self._stop(stop)))

    def find_clear(self, start=0, stop=None):
        """Find the lowest clear bit in ``[start, stop)``; bounds and answer as for `find_set`.

        Raises
        ------
        IndexError
            If `start` or `stop` is negative.

        Examples
        --------
        >>> Bitmap(10).find_clear(4), Bitmap(10).find_clear(10)
        (4, None)
        """
        return none_for_minus_one(self.c_find_clear(bound(start), self._stop(stop)))

    def count(self, start=0, stop=None):
        """Count the set bits in ``[start, stop)``; bounds as for `find_set`.

        Raises
        ------
        IndexError
            If `start` or `stop` is negative.

        Examples
        --------
        >>> Bitmap(10).count()
        0
        """
        return self.c_count(bound(start), self._stop(stop))

    def runs_set(self, start=0):
        """Iterate over the runs of set bits from `start` on, as half-open ``(start, stop)``.

        The bitmap is searched as the iterator goes: a change ahead of it is seen, one behind it is not.

        Raises
        ------
        IndexError
            If `start` is negative.

        Examples
        --------
        >>> bitmap = Bitmap(10)
        >>> bitmap.set_run(2, 5)
        >>> list(bitmap.runs_set()), list(bitmap.runs_clear())
        ([(2, 5)], [(0, 2), (5, 10)])
        """
        return new_runs(self, bound(start), 0)

    def runs_clear(self, start=0):
        """Iterate over the runs of clear bits from `start` on; otherwise as `runs_set`.

        Raises
        ------
        IndexError
            If `start` is negative.

        Examples
        --------
        >>> list(Bitmap(3).runs_clear(1))
        [(1, 3)]
        """
        return new_runs(self, bound(start), ALL)

    def copy(self):
        """Copy the bits, as they are now, into a bitmap with memory of its own.

        Examples
        --------
        >>> bitmap = Bitmap(3)
        >>> bitmap.copy().set(0), bitmap[0]
        (True, False)
        """
        cdef Bitmap made = Bitmap(self.num_bits)
        cdef int64_t word
        with nogil:
            for word in range(self.num_words):
                made.data[word] = self.c_word(word)
        return made

    def words(self):
        """Give the words themselves, read-only and without a copy; they change as the bitmap does.

        In somebody's buffer the last word may have bits past the end.

        Examples
        --------
        >>> bitmap = Bitmap(65)
        >>> bitmap.set_run(62, 65)
        >>> [f"{word:x}" for word in bitmap.words()]
        ['c000000000000000', '1']
        """
        return memoryview(self)

    def __getbuffer__(self, Py_buffer *out, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("the words of a bitmap are read-only")
        out.obj = self
        out.buf = self.data
        out.len = <Py_ssize_t>self.num_words * WORD_SIZE
        out.itemsize = WORD_SIZE
        out.readonly = 1
        out.ndim = 1
        out.format = WORD_FORMAT if flags & PyBUF_FORMAT else NULL
        out.shape = self.shape if flags & PyBUF_ND else NULL
        out.strides = &WORD_SIZE if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
        out.suboffsets = NULL
        out.internal = NULL

    cdef int64_t _inside(self, object bit) except -1:
        cdef int overflow = 0
        cdef int64_t at = PyLong_AsLongLongAndOverflow(bit, &overflow)
        if overflow or not 0 <= at < self.num_bits:
            raise IndexError(f"bit {bit} of {self.num_bits}")
        return at

    cdef int64_t _stop(self, object stop) except -1:
        return self.num_bits if stop is None else min(bound(stop), self.num_bits)

    cdef (int64_t, int64_t) _run(self, object start, object stop) except *:
        cdef int64_t first = bound(start), end = bound(stop)
        if not first <= end <= self.num_bits:
            raise IndexError(f"bits [{start}, {stop}) of {self.num_bits}")
        return first, end

    cdef bint c_set(self, int64_t bit) noexcept nogil:
        cdef uint64_t one = <uint64_t>1 << (bit & 63)
        return not lf_or(&self.data[bit >> 6], one) & one

    cdef bint c_clear(self, int64_t bit) noexcept nogil:
        cdef uint64_t one = <uint64_t>1 << (bit & 63)
        return (lf_and(&self.data[bit >> 6], ~one) & one) != 0

    cdef bint c_is_set(self, int64_t bit) noexcept nogil:
        return (lf_load(&self.data[bit >> 6]) >> (bit & 63)) & 1

    cdef int64_t c_find_set(self, int64_t start, int64_t stop) noexcept nogil:
        return find(self.data, start, stop, 0)

    cdef int64_t c_find_clear(self, int64_t start, int64_t stop) noexcept nogil:
        return find(self.data, start, stop, ALL)

    cdef int64_t c_count(self, int64_t start, int64_t stop) noexcept nogil:
        cdef int64_t total = 0
        while start < stop:
            total += lf_popcount(lf_load(&self.data[start >> 6]) & mask_between(start, stop))
            start = next_word(start)
        return total

    cdef uint64_t c_word(self, int64_t word) noexcept nogil:
        return lf_load(&self.data[word]) & mask_between(word << 6, self.num_bits)

    cdef void c_or_word(self, int64_t word, uint64_t bits) noexcept nogil:
        lf_or(&self.data[word], bits & mask_between(word << 6, self.num_bits))


@cython.final
@cython.auto_pickle(False)
cdef class _Runs:
    """Runs of equal bits, each looked for when it is asked for."""

    cdef Bitmap bitmap
    cdef int64_t at
    cdef uint64_t flip  # 0: runs of set bits; ALL: runs of clear ones

    def __init__(self):
        raise TypeError("runs are made by Bitmap.runs_set and runs_clear")

    def __iter__(self):
        return self

    def __next__(self):
        cdef int64_t size = self.bitmap.num_bits
        cdef int64_t start = find(self.bitmap.data, self.at, size, self.flip)
        if start < 0:
            self.at = size
            raise StopIteration
        self.at = find(self.bitmap.data, start, size, ~self.flip)
        if self.at < 0:
            self.at = size
        return start, self.at


cdef _Runs new_runs(Bitmap bitmap, int64_t start, uint64_t flip):
    cdef _Runs made = _Runs.__new__(_Runs)
    made.bitmap, made.at, made.flip = bitmap, start, flip
    return made


cdef int64_t find(const uint64_t *data, int64_t start, int64_t stop, uint64_t flip) noexcept nogil:
    """The lowest bit of [start, stop) that differs from the bits of `flip`, or -1."""
    if start >= stop:
        return -1
    cdef int64_t word = start >> 6, last = (stop - 1) >> 6
    cdef uint64_t bits = (lf_load(&data[word]) ^ flip) & (ALL << (start & 63))
    while not bits:
        word += 1
        if word > last:
            return -1
        bits = lf_load(&data[word]) ^ flip
    # Padding and what else is past `stop` lies above every bit that counts.
    start = (word << 6) + lf_lowest(bits)
    return start if start < stop else -1


cdef inline uint64_t mask_between(int64_t start, int64_t stop) noexcept nogil:
    """Those bits of the word that holds `start` which are in [start, stop); start < stop."""
    cdef uint64_t mask = ALL << (start & 63)
    if stop - start < 64 and (stop - 1) >> 6 == start >> 6:
        mask &= ALL >> (63 - ((stop - 1) & 63))
    return mask


cdef inline int64_t next_word(int64_t bit) noexcept nogil:
    return (bit | 63) + 1


cdef inline object none_for_minus_one(int64_t bit):
    return None if bit < 0 else bit


cdef int64_t bound(object value) except -1:
    """A start or stop: not negative, and a very large one is simply far away."""
    cdef int overflow = 0
    cdef int64_t at = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow < 0 or not overflow and at < 0:
        raise IndexError(f"bit {value}: bits are counted from 0")
    return FAR if overflow else at


cdef int64_t checked_size(object num_bits) except -1:
    cdef int overflow = 0
    cdef int64_t size = PyLong_AsLongLongAndOverflow(num_bits, &overflow)
    if overflow or size < 0:
        raise ValueError(f"num_bits is {num_bits}, needed 0 to 2**63 - 1")
    return size
