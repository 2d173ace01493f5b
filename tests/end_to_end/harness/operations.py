"""The system calls that Python's standard library lacks, by ctypes. All raise OSError."""
import ctypes
import errno
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
RENAME_FLAGS = {"noreplace": 1, "exchange": 2, "whiteout": 4}
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
FALLOC = {"allocate": 0, "keep": 1, "punch": 3, "collapse": 8, "zero": 16, "zero-keep": 17,
          "insert": 32}

_off = ctypes.c_int64
for _name, _types in {
        "renameat2": [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint],
        "fallocate": [ctypes.c_int, ctypes.c_int, _off, _off],
        "linkat": [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int],
        "utimensat": [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int],
        "opendir": [ctypes.c_char_p], "readdir": [ctypes.c_void_p], "telldir": [ctypes.c_void_p],
        "seekdir": [ctypes.c_void_p, ctypes.c_long], "closedir": [ctypes.c_void_p],
        "rewinddir": [ctypes.c_void_p]}.items():
    getattr(libc, _name).argtypes = _types
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long


def checked(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def renameat2(old, new, flags):
    checked(libc.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags))


def fallocate(fd, mode, offset, length):
    checked(libc.fallocate(fd, mode, offset, length))


def link_descriptor(fd, path):
    """Gives an O_TMPFILE file a name."""
    source = f"/proc/self/fd/{fd}".encode()
    checked(libc.linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW))


def utimens(path, atime, mtime, follow=True):
    """atime, mtime: (seconds, nanoseconds), nanoseconds possibly UTIME_NOW or UTIME_OMIT."""
    times = struct.pack("qqqq", *atime, *mtime)
    checked(libc.utimensat(AT_FDCWD, path, times, 0 if follow else AT_SYMLINK_NOFOLLOW))


class DirectoryStream:
    """opendir(3) and friends, with telldir and seekdir."""

    def __init__(self, path):
        self.stream = libc.opendir(os.fsencode(path))
        if not self.stream:
            raise OSError(ctypes.get_errno(), "opendir")

    def read(self):
        """The next name, or None at the end."""
        ctypes.set_errno(0)
        entry = libc.readdir(self.stream)
        if not entry:
            if ctypes.get_errno():
                raise OSError(ctypes.get_errno(), "readdir")
            return None
        return ctypes.string_at(entry + 19)  # struct dirent: d_ino 8, d_off 8, d_reclen 2, d_type 1

    def tell(self):
        return libc.telldir(self.stream)

    def seek(self, position):
        libc.seekdir(self.stream, position)

    def rewind(self):
        libc.rewinddir(self.stream)

    def close(self):
        if self.stream:
            libc.closedir(self.stream)
            self.stream = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def errno_name(error):
    return errno.errorcode.get(error.errno, str(error.errno))
