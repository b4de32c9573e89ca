"""Calls of the system that Python does not have. No policy: the number, or the errno.

posix_fallocate is not among them: where the filesystem cannot reserve, the C library's emulation of it
writes the whole file, for minutes. Here the answer is EOPNOTSUPP, and the caller decides.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
      #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <string.h>
    #ifdef __linux__
      #include <fcntl.h>
      #include <sys/stat.h>
      #include <sys/syscall.h>
      #include <sys/vfs.h>
      #include <unistd.h>
      static int lf_fallocate(int fd, int keep_size, int64_t offset, int64_t size) {
          return fallocate(fd, keep_size ? 1 : 0, offset, size) == 0 ? 0 : errno;  /* 1: KEEP_SIZE */
      }
      static int lf_fs_magic(int fd, int64_t *magic) {
          struct statfs found;
          if (fstatfs(fd, &found) != 0) return errno;
          *magic = (int64_t)(uint32_t)found.f_type;
          return 0;
      }
      static int lf_mount_id(int fd, uint64_t *id) {
          *id = 0;
      #ifdef SYS_statx
          /* struct statx of linux/stat.h: stx_mask is at 0, stx_mnt_id at 144. Older headers know neither
             the field nor STATX_MNT_ID_UNIQUE (0x4000, Linux 6.8), and older systems clear the bit. */
          unsigned char found[256];
          uint32_t mask;
          if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, 0x4000U, found) != 0)
              return errno == ENOSYS ? 0 : errno;
          memcpy(&mask, found, sizeof mask);
          if (mask & 0x4000U) memcpy(id, found + 144, sizeof *id);
      #endif
          return 0;
      }
      static int lf_start_writeback(int fd) {
          return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : errno;
      }
      static int lf_wait_writeback(int fd, int64_t offset, int64_t size) {
          const unsigned int all =
              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
          return sync_file_range(fd, offset, size, all) == 0 ? 0 : errno;
      }
      static int lf_rename_noreplace(const char *source, const char *target) {
      #ifdef SYS_renameat2
          return syscall(SYS_renameat2, AT_FDCWD, source, AT_FDCWD, target, 1) == 0 ? 0 : errno;
      #else
          return ENOSYS;
      #endif
      }
      static int64_t lf_birth(int folder, const char *path, int nofollow) {
      #ifdef STATX_BTIME
          struct statx found;
          int flags = AT_EMPTY_PATH | (nofollow ? AT_SYMLINK_NOFOLLOW : 0);
          if (statx(folder, path, flags, STATX_BTIME, &found) == 0 && found.stx_mask & STATX_BTIME
              && found.stx_btime.tv_sec > 0)
              return (int64_t)found.stx_btime.tv_sec * 1000000000 + found.stx_btime.tv_nsec;
      #endif
          return 0;
      }
      #define LF_HERE AT_FDCWD
    #else
      #define LF_HERE -1
      static int64_t lf_birth(int folder, const char *path, int nofollow) { return 0; }
      static int lf_fallocate(int fd, int keep_size, int64_t offset, int64_t size) { return ENOTSUP; }
      static int lf_fs_magic(int fd, int64_t *magic) { *magic = 0; return 0; }
      static int lf_mount_id(int fd, uint64_t *id) { *id = 0; return 0; }
      static int lf_start_writeback(int fd) { return ENOTSUP; }
      static int lf_wait_writeback(int fd, int64_t offset, int64_t size) { return ENOSYS; }
      static int lf_rename_noreplace(const char *source, const char *target) { return ENOSYS; }
    #endif
    """
    int lf_fallocate(int fd, int keep_size, int64_t offset, int64_t size) noexcept nogil
    int lf_fs_magic(int fd, int64_t *magic) noexcept nogil
    int lf_mount_id(int fd, uint64_t *id) noexcept nogil
    int lf_start_writeback(int fd) noexcept nogil
    int lf_wait_writeback(int fd, int64_t offset, int64_t size) noexcept nogil
    int lf_rename_noreplace(const char *source, const char *target) noexcept nogil
    int64_t lf_birth(int folder, const char *path, int nofollow) noexcept nogil
    const int LF_HERE


def fallocate(int fd, int64_t offset, int64_t size, bint keep_size):
    """Reserve room for bytes `offset` to ``offset + size - 1``, without the GIL. Answers 0 or the errno."""
    cdef int failed
    with nogil:
        failed = lf_fallocate(fd, keep_size, offset, size)
    return failed


def fs_magic(int fd):
    """The number by which statfs names the kind of filesystem; 0 where the system has none."""
    cdef int64_t magic = 0
    cdef int failed
    with nogil:
        failed = lf_fs_magic(fd, &magic)
    if failed:
        raise OSError(failed, "fstatfs")
    return magic


def mount_id(int fd):
    """The number of the mount that a file was opened in, never used again in this boot; 0: not known."""
    cdef uint64_t found = 0
    cdef int failed
    with nogil:
        failed = lf_mount_id(fd, &found)
    if failed:
        raise OSError(failed, "statx")
    return found


def start_writeback(int fd):
    """Have the system begin to write what the file owes to the disk, without waiting. Answers 0 or the errno."""
    cdef int failed
    with nogil:
        failed = lf_start_writeback(fd)
    return failed


def wait_writeback(int fd, int64_t offset, int64_t size):
    """Have the disk take bytes `offset` to ``offset + size - 1``, and wait for that. Answers 0 or the errno.

    An error of write-back is told once, by this or by a sync: whoever hears of it here must heed it.
    """
    cdef int failed
    with nogil:
        failed = lf_wait_writeback(fd, offset, size)
    return failed


def rename_noreplace(bytes source, bytes target):
    """Rename unless `target` exists, in one step. Answers 0 or the errno."""
    cdef const char *old = source
    cdef const char *new = target
    cdef int failed
    with nogil:
        failed = lf_rename_noreplace(old, new)
    return failed


def birth_of_file(int fd):
    """When the open file was made, in nanoseconds since 1970; 0 where that is not told."""
    cdef int64_t found
    with nogil:
        found = lf_birth(fd, b"", False)
    return found


def birth_of_name(bytes path):
    """As `birth_of_file`, for what is there under a name."""
    cdef const char *name = path
    cdef int64_t found
    with nogil:
        found = lf_birth(LF_HERE, name, True)
    return found
