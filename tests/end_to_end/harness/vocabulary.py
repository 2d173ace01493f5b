"""The operations of the step language. They run inside an actor, in the case's directory."""
import errno
import fcntl
import mmap
import os
import stat as stat_module
import struct
import subprocess
import time

from harness import operations

OPEN_FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR, "creat": os.O_CREAT,
              "excl": os.O_EXCL, "trunc": os.O_TRUNC, "append": os.O_APPEND,
              "directory": os.O_DIRECTORY, "nofollow": os.O_NOFOLLOW, "path": os.O_PATH,
              "tmpfile": os.O_TMPFILE, "nonblock": os.O_NONBLOCK, "direct": os.O_DIRECT,
              "sync": os.O_SYNC, "dsync": os.O_DSYNC, "noatime": os.O_NOATIME}
XATTR_FLAGS = {b"create": os.XATTR_CREATE, b"replace": os.XATTR_REPLACE}
CLOCK_REALTIME_COARSE = 5  # what file systems stamp with
SEEK = {b"data": os.SEEK_DATA, b"hole": os.SEEK_HOLE, b"end": os.SEEK_END, b"set": os.SEEK_SET}

_descriptors = {}  # label -> fd, of this actor's process
_marks = {}        # path -> stat result


def begin(root):
    finish()
    os.chdir(root)


def finish():
    for label in list(_descriptors):
        try:
            os.close(_descriptors.pop(label))
        except OSError:  # what was left open is no step of the table
            pass
    _marks.clear()
    os.umask(0o022)
    os.chdir("/")


def perform(operation, arguments):
    """(errno name or None, value): the one result of one step."""
    try:
        return None, globals()["do_" + operation](*arguments)
    except OSError as error:
        return operations.errno_name(error), None


def octal(text):
    return int(text, 8)


# --- names ---

def do_mkdir(path, mode=b"755"):
    os.mkdir(path, octal(mode))


def do_rmdir(path):
    os.rmdir(path)


def do_unlink(path):
    os.unlink(path)


def do_rename(old, new, flag=None):
    if flag:
        operations.renameat2(old, new, operations.RENAME_FLAGS[flag.decode()])
    else:
        os.rename(old, new)


def do_link(old, new):
    os.link(old, new, follow_symlinks=False)


def do_symlink(target, path):
    os.symlink(target, path)


def do_readlink(path):
    return os.readlink(path)


def do_mknod(kind, path, mode=b"644", major=b"0", minor=b"0"):
    kinds = {b"fifo": stat_module.S_IFIFO, b"socket": stat_module.S_IFSOCK,
             b"char": stat_module.S_IFCHR, b"block": stat_module.S_IFBLK,
             b"regular": stat_module.S_IFREG}
    os.mknod(path, kinds[kind] | octal(mode), os.makedev(int(major), int(minor)))


def do_make(kind, path, mode=b"644"):
    """An object of any kind, for tables that go over the kinds."""
    if kind == b"dir":
        os.mkdir(path, octal(mode) | 0o100)
        os.chmod(path, octal(mode))
    elif kind == b"symlink":
        os.symlink(b"nowhere", path)
    elif kind == b"regular":
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, octal(mode)))
        os.chmod(path, octal(mode))
    else:
        do_mknod(kind, path, mode, b"1", b"7")
        os.chmod(path, octal(mode))


def do_ls(path=b"."):
    return sorted(os.listdir(path))


def do_umask(mask):
    os.umask(octal(mask))


# --- attributes ---

def _fields(status, names):
    kinds = {stat_module.S_IFDIR: "dir", stat_module.S_IFREG: "regular", stat_module.S_IFIFO: "fifo",
             stat_module.S_IFSOCK: "socket", stat_module.S_IFLNK: "symlink",
             stat_module.S_IFCHR: "char", stat_module.S_IFBLK: "block"}
    values = {"type": kinds[stat_module.S_IFMT(status.st_mode)],
              "mode": f"{stat_module.S_IMODE(status.st_mode):o}", "nlink": status.st_nlink,
              "uid": status.st_uid, "gid": status.st_gid, "size": status.st_size,
              "major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev),
              "atime": status.st_atime_ns, "mtime": status.st_mtime_ns, "blocks": status.st_blocks}
    return ",".join(str(values[name.decode()]) for name in names)


def do_stat(path, *names):
    return _fields(os.stat(path), names or (b"type", b"mode", b"uid", b"gid"))


def do_lstat(path, *names):
    return _fields(os.lstat(path), names or (b"type", b"mode", b"uid", b"gid"))


def do_fstat(label, *names):
    return _fields(os.fstat(_descriptors[label]), names or (b"type", b"mode", b"uid", b"gid"))


def do_same(one, other):
    return os.path.samefile(one, other)


def do_mark(path):
    """Remembers the times of `path`, and returns when the file system's clock has moved on."""
    _marks[path] = os.lstat(path)
    seen = time.clock_gettime(time.CLOCK_REALTIME) + 0.025
    while time.clock_gettime(CLOCK_REALTIME_COARSE) < seen:
        pass


def do_changed(path):
    """Which of its times moved forward since do_mark."""
    old, new = _marks[path], os.lstat(path)
    return ",".join(name for name in ("mtime", "ctime")
                    if getattr(new, f"st_{name}_ns") > getattr(old, f"st_{name}_ns"))


def do_chmod(path, mode):
    os.chmod(path, octal(mode))


def do_fchmod(label, mode):
    os.fchmod(_descriptors[label], octal(mode))


def do_chown(path, uid, gid):
    os.chown(path, int(uid), int(gid))


def do_lchown(path, uid, gid):
    os.lchown(path, int(uid), int(gid))


def do_fchown(label, uid, gid):
    os.fchown(_descriptors[label], int(uid), int(gid))


def do_truncate(path, size):
    os.truncate(path, int(size))


def do_ftruncate(label, size):
    os.ftruncate(_descriptors[label], int(size))


def _time(text):
    if text == b"now":
        return 0, operations.UTIME_NOW
    if text == b"omit":
        return 0, operations.UTIME_OMIT
    seconds, _, nanoseconds = text.partition(b".")
    return int(seconds), int(nanoseconds or 0)


def do_utimens(path, atime, mtime):
    operations.utimens(path, _time(atime), _time(mtime))


def do_lutimens(path, atime, mtime):
    operations.utimens(path, _time(atime), _time(mtime), follow=False)


def do_recent(path, which):
    """Whether a time lies within a minute of now."""
    return abs(getattr(os.lstat(path), f"st_{which.decode()}") - time.time()) < 60


def do_access(path, mode):
    modes = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK, "f": os.F_OK}
    wanted = 0
    for letter in mode.decode():
        wanted |= modes[letter]
    return os.access(path, wanted)


def do_statvfs(path=b"."):
    status = os.statvfs(path)
    return status.f_namemax, status.f_bsize, status.f_frsize, status.f_blocks


# --- open files ---

def do_open(label, path, flags=b"r", mode=b"644"):
    bits = 0
    for flag in flags.decode().split("+"):
        bits |= OPEN_FLAGS[flag]
    fd = os.open(path, bits, octal(mode))
    if label in _descriptors:
        os.close(_descriptors[label])
    _descriptors[label] = fd


def do_close(label):
    os.close(_descriptors.pop(label))


def do_create(path, mode=b"644", size=b"0"):
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, octal(mode))
    try:
        if int(size):
            os.ftruncate(fd, int(size))
    finally:
        os.close(fd)


def do_put(path, text):
    """The content of a file that may exist."""
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def do_cat(path):
    with open(path, "rb") as file:
        return file.read()


def do_read(label, count, offset=None):
    fd = _descriptors[label]
    return os.read(fd, int(count)) if offset is None else os.pread(fd, int(count), int(offset))


def do_write(label, text, offset=None):
    fd = _descriptors[label]
    return os.write(fd, text) if offset is None else os.pwrite(fd, text, int(offset))


def do_fill(label, count, offset):
    """`count` bytes that say where they stand."""
    block = b"".join(struct.pack("<Q", word) for word in range(1024))
    count, offset, done = int(count), int(offset), 0
    while done < count:
        done += os.pwrite(_descriptors[label], block[:count - done], offset + done)
    return done


def do_lseek(label, offset, whence):
    return os.lseek(_descriptors[label], int(offset), SEEK[whence])


def do_fallocate(label, mode, offset, length):
    operations.fallocate(_descriptors[label], operations.FALLOC[mode.decode()], int(offset),
                         int(length))


def do_copy(source, source_offset, target, target_offset, length):
    return os.copy_file_range(_descriptors[source], _descriptors[target], int(length),
                              int(source_offset), int(target_offset))


def do_fsync(label):
    os.fsync(_descriptors[label])


def do_fdatasync(label):
    os.fdatasync(_descriptors[label])


def do_name(label, path):
    operations.link_descriptor(_descriptors[label], path)


def _aligned(text):
    buffer = mmap.mmap(-1, max(4096, -(-len(text) // 4096) * 4096))
    buffer.write(text)
    return buffer


def do_direct_write(label, letter, count, offset):
    buffer = _aligned(letter * int(count))
    return os.pwritev(_descriptors[label], [memoryview(buffer)[:int(count)]], int(offset))


def do_direct_read(label, count, offset):
    buffer = mmap.mmap(-1, int(count))
    done = os.preadv(_descriptors[label], [buffer], int(offset))
    return done, sorted(set(buffer[:done]))


def do_map(label, kind, offset, text):
    """Writes `text` at `offset` through a shared or private mapping; what read(2) then finds there."""
    flags = mmap.MAP_SHARED if kind == b"shared" else mmap.MAP_PRIVATE
    with mmap.mmap(_descriptors[label], 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE) as area:
        start = int(offset)
        area[start:start + len(text)] = text
        if kind == b"shared":
            area.flush()
    return os.pread(_descriptors[label], len(text), start)


def do_map_read(label, offset, count):
    with mmap.mmap(_descriptors[label], 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) as area:
        return area[int(offset):int(offset) + int(count)]


# --- extended attributes and ACLs ---

def _value(text):
    """"64*a" is 64 times the letter."""
    count, star, letter = text.partition(b"*")
    return letter * int(count) if star else text


def do_setxattr(path, name, value, flag=None):
    os.setxattr(path, name, _value(value), XATTR_FLAGS.get(flag, 0))


def do_lsetxattr(path, name, value):
    os.setxattr(path, name, _value(value), follow_symlinks=False)


def do_getxattr(path, name):
    return os.getxattr(path, name)


def do_lgetxattr(path, name):
    return os.getxattr(path, name, follow_symlinks=False)


def do_listxattr(path):
    return sorted(os.listxattr(path))


def do_removexattr(path, name):
    os.removexattr(path, name)


def _command(*argv):
    done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
    if done.returncode:
        text = done.stderr.decode(errors="replace")
        for number in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT):
            if os.strerror(number) in text:
                raise OSError(number, text)
        raise OSError(errno.EIO, text)
    return done.stdout.decode(errors="replace")


def do_setfacl(*arguments):
    _command("setfacl", *arguments)


def do_getfacl(path):
    return " ".join(_command("getfacl", "-cnpE", path).split())


# --- locks of other open files of this actor ---

def do_flock(label, how):
    hows = {b"sh": fcntl.LOCK_SH, b"ex": fcntl.LOCK_EX, b"un": fcntl.LOCK_UN}
    fcntl.flock(_descriptors[label], hows[how] | fcntl.LOCK_NB)


def do_lock(label, kind, how, start, length):
    """fcntl (posix) or OFD locks, without waiting."""
    types = {b"rd": fcntl.F_RDLCK, b"wr": fcntl.F_WRLCK, b"un": fcntl.F_UNLCK}
    command = fcntl.F_SETLK if kind == b"posix" else 37  # F_OFD_SETLK
    fcntl.fcntl(_descriptors[label], command,
                struct.pack("hhqqi4x", types[how], os.SEEK_SET, int(start), int(length), 0))


def do_getlock(label, kind, how, start, length):
    """The type and range of a lock that is in the way, or "free"."""
    types = {b"rd": fcntl.F_RDLCK, b"wr": fcntl.F_WRLCK}
    command = fcntl.F_GETLK if kind == b"posix" else 36  # F_OFD_GETLK
    found = fcntl.fcntl(_descriptors[label], command,
                        struct.pack("hhqqi4x", types[how], os.SEEK_SET, int(start), int(length), 0))
    kind_found, _, first, count, _ = struct.unpack("hhqqi4x", found)
    return "free" if kind_found == fcntl.F_UNLCK else f"{kind_found},{first},{count}"
