def fallocate(fd: int, offset: int, size: int, keep_size: bool) -> int: ...  # 0, or the errno
def fs_magic(fd: int) -> int: ...  # statfs's f_type; 0 where the system has none; raises OSError
def mount_id(fd: int) -> int: ...  # STATX_MNT_ID_UNIQUE; 0 where the system has none; raises OSError
def start_writeback(fd: int) -> int: ...  # 0, or the errno
def wait_writeback(fd: int, offset: int, size: int) -> int: ...  # the same
def rename_noreplace(source: bytes, target: bytes) -> int: ...  # 0, or the errno
def birth_of_file(fd: int) -> int: ...  # when it was made, in ns since 1970; 0: not told
def birth_of_name(path: bytes) -> int: ...  # the same, of a name
