# The names here are for other compiled modules; none of the c_ methods checks its arguments.
cimport cython
from libc.stdint cimport int64_t, uint64_t


@cython.final
cdef class Bitmap:
    cdef uint64_t *data  # num_words of them, 8-byte aligned; ours, or the view's
    cdef int64_t num_bits  # bits past it are zero in memory of our own, anything in a view
    cdef int64_t num_words
    cdef bint owned  # data is ours to free; otherwise it is the view's
    cdef Py_buffer view  # pins somebody's buffer
    cdef object owner  # that somebody; with it the collector looks into the view, for cycles
    cdef Py_ssize_t shape[1]  # num_words, where an exported buffer can point at it

    # One bit, 0 <= bit < num_bits. Setting and clearing say whether the bit changed; both are atomic
    # and a reader that sees the new bit sees every byte stored before it was changed.
    cdef bint c_set(self, int64_t bit) noexcept nogil
    cdef bint c_clear(self, int64_t bit) noexcept nogil
    cdef bint c_is_set(self, int64_t bit) noexcept nogil

    # Bits [start, stop), 0 <= start, stop <= num_bits; the number of a bit, or -1 for none.
    cdef int64_t c_find_set(self, int64_t start, int64_t stop) noexcept nogil
    cdef int64_t c_find_clear(self, int64_t start, int64_t stop) noexcept nogil
    cdef int64_t c_count(self, int64_t start, int64_t stop) noexcept nogil

    # Whole words, 0 <= word < num_words; padding bits read as zero.
    cdef uint64_t c_word(self, int64_t word) noexcept nogil
    cdef void c_or_word(self, int64_t word, uint64_t bits) noexcept nogil

    # Arguments from Python, checked: IndexError.
    cdef int64_t _inside(self, object bit) except -1
    cdef int64_t _stop(self, object stop) except -1
    cdef (int64_t, int64_t) _run(self, object start, object stop) except *
