cimport cython
from cpython.object cimport PyTypeObject
from libc.stdint cimport int64_t


cdef extern from "Python.h":
    # Takes what has __index__ and nothing else; a number beyond 64 bits is no error here but a flag.
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    object PyType_GenericAlloc(PyTypeObject *type, Py_ssize_t items)


@cython.final
cdef class ByteRange:
    cdef readonly int64_t first  # position in bytes, >= 0
    cdef readonly int64_t last  # included, first <= last <= 2**63 - 2


cdef inline ByteRange new_range(int64_t first, int64_t last):
    """A range whose ends are known to be right: one object, and no int made to pass them.

    ByteRange has no methods in C, so an instance needs nothing but its memory.
    """
    cdef ByteRange made = <ByteRange>PyType_GenericAlloc(<PyTypeObject *>ByteRange, 0)
    made.first, made.last = first, last
    return made


cdef inline int64_t count_blocks(int64_t content_size, int64_t block_size) noexcept nogil:
    """How many blocks, for content_size >= 0 and block_size >= 1."""
    # Not (content_size + block_size - 1) // block_size: the sum may be beyond 64 bits.
    return content_size // block_size + (content_size % block_size != 0)


cdef inline int64_t end_of_block(int64_t block, int64_t content_size, int64_t block_size) noexcept nogil:
    """The position after a block that exists, which only for the last is not the next block's start."""
    cdef int64_t start = block * block_size
    return start + min(block_size, content_size - start)


# Arguments from Python, checked: TypeError, and ValueError that says what was found.

cdef inline int64_t check_size(object content_size) except -1:
    cdef int too_far = 0
    cdef int64_t size = PyLong_AsLongLongAndOverflow(content_size, &too_far)
    if too_far or size < 0:
        raise ValueError(f"content size is {content_size}, needed 0 to 2**63 - 1")
    return size


cdef inline int64_t check_block_size(object block_size) except -1:
    cdef int too_far = 0
    cdef int64_t size = PyLong_AsLongLongAndOverflow(block_size, &too_far)
    if too_far or size < 1:
        raise ValueError(f"block size is {block_size}, needed 1 to 2**63 - 1")
    return size
