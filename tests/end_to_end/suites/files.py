"""Open files: read, write, truncate, holes, fallocate, copy_file_range, O_DIRECT, mmap, fsync."""
import errno
import mmap
import os
import threading
import time

from harness import operations
from harness.checks import Suite, equal
from harness.processes import Failed
from harness.tables import add_table, same_on_both

suite = Suite("files")
direct = Suite("files direct_io", options="direct_io")
writeback = Suite("files writeback", options="writeback")
uncached = Suite("files cache=none", options="cache=none,attr_timeout=0,entry_timeout=0")
SUITES = [suite, direct, writeback, uncached]

TABLE = {
    "what is written is read, at any offset": """
        open a f rw+creat
        write a hello
        read a 100 0 -> =b'hello'
        write a J 0
        read a 100 0 -> =b'Jello'
        write a end 100
        fstat a size -> =103
        read a 100 90
        read a 10 103 -> =b''
        read a 10 5000 -> =b''
        write a '' 50 -> =0
        fstat a size -> =103
        write a far 1048570
        read a 10 1048566
        lseek a 0 end -> =1048573
        write a x
        fstat a size -> =1048574
        """,
    "transfers of every size round the limits of message and page arrive whole": "open a f rw+creat\n" + "\n".join(
        f"fill a {size} {offset}\nread a {size + 10} {offset}" for size in
        (1, 511, 4095, 4096, 4097, 8192, 65536, 131072, 131073, 1048575, 1048576, 1048577, 3000000)
        for offset in (0, 1, 4095, 1048575)),
    "modes of opening forbid what they forbid": """
        put f text
        open a f r
        write a x -> EBADF
        ftruncate a 0 -> EINVAL
        open b f w
        read b 1 -> EBADF
        open c f path
        read c 1 -> EBADF
        write c x -> EBADF
        mkdir d
        open d d r
        read d 10 -> EISDIR
        write d x -> EBADF
        open e d w -> EISDIR
        open e f w+trunc
        stat f size -> =0
        """,
    "O_APPEND writes at the end, wherever the offset is": """
        put f start
        open a f rw+append
        write a more
        cat f -> =b'startmore'
        write a again 0
        cat f -> =b'startmoreagain'
        ftruncate a 2
        write a X
        cat f -> =b'stX'
        open b f rw
        write b long-tail 3
        write a Y
        cat f -> =b'stXlong-tailY'
        """,
    "truncate shrinks, and what grows reads as zeros": """
        put f 0123456789
        truncate f 4
        cat f -> =b'0123'
        truncate f 8
        cat f -> =b'0123\\x00\\x00\\x00\\x00'
        truncate f 0
        cat f -> =b''
        open a f rw
        fill a 20000 0
        ftruncate a 4097
        ftruncate a 12000
        read a 20000 0
        fstat a size -> =12000
        truncate f -1 -> EINVAL
        truncate . 0 -> EISDIR
        truncate none 0 -> ENOENT
        mknod fifo p
        truncate p 0 -> EINVAL
        ftruncate a 12000
        mark f
        truncate f 11999
        changed f -> =mtime,ctime
        mark f
        ftruncate a 11998
        changed f -> =mtime,ctime
        """,
    "a write changes mtime and ctime, a read neither": """
        put f 0123456789
        open a f rw
        mark f
        write a x 3
        fsync a
        changed f -> =mtime,ctime
        mark f
        read a 5 0
        changed f -> =
        """,
    "files beyond 4 GiB keep what is written there": """
        open a f rw+creat
        write a low 4294967290
        write a high 4294967296
        write a veryhigh 1099511627776
        read a 16 4294967290
        read a 8 1099511627776 -> =b'veryhigh'
        fstat a size -> =1099511627784
        fsync a
        lseek a 8589934592 data
        truncate f 4294967297
        read a 5 4294967296 -> =b'h'
        truncate f 8796093022208
        fstat a size -> =8796093022208
        read a 4 8796093022200
        """,
    "a size that the file system cannot hold is EFBIG or EINVAL": """
        open a f rw+creat
        ftruncate a 9223372036854775807 -> ?
        write a x 9223372036854775806 -> ?
        ftruncate a 9223372036854770000 -> ?
        """,
    "SEEK_DATA and SEEK_HOLE tell where data is": """
        open a f rw+creat
        ftruncate a 1048576
        fill a 65536 262144
        fsync a
        lseek a 0 data -> =262144
        lseek a 262144 hole -> =327680
        lseek a 300000 data -> =300000
        lseek a 327680 data -> ENXIO
        lseek a 0 hole -> =0
        lseek a 1048576 data -> ENXIO
        lseek a 1048577 hole -> ENXIO
        lseek a 500000 hole -> =500000
        lseek a 0 end -> =1048576
        read a 4 -> =b''
        lseek a 262144 set -> =262144
        read a 8
        """,
    "fallocate allocates, keeps the size, punches and zeroes": """
        open a f rw+creat
        fallocate a allocate 0 65536
        fstat a size -> =65536
        fill a 65536 0
        fallocate a keep 65536 65536
        fstat a size -> =65536
        fallocate a punch 4096 8192
        read a 20000 0
        fallocate a punch 100 10
        read a 200 0
        fallocate a zero 20480 4096
        read a 10000 18000
        fallocate a zero-keep 65000 10000
        fstat a size -> =65536
        fallocate a zero 65000 10000
        fstat a size -> =75000
        read a 80000 0
        fallocate a allocate 10 0 -> EINVAL
        fallocate a allocate -1 10 -> EINVAL
        open b f r
        fallocate b allocate 0 100000 -> EBADF
        """,
    "copy_file_range copies within and between files": """
        open a f rw+creat
        fill a 200000 0
        open b g rw+creat
        copy a 0 b 0 200000 -> =200000
        read b 200000 0
        copy a 1000 b 300000 5000 -> =5000
        fstat b size -> =305000
        read b 6000 299500
        copy a 199990 b 0 100 -> =10
        copy a 200000 b 0 100 -> =0
        copy a 0 a 200000 1000 -> =1000
        fstat a size -> =201000
        copy a 0 a 10 100 -> EINVAL
        open c f r
        copy a 0 c 0 10 -> EBADF
        open d g w
        copy d 0 a 0 10 -> EBADF
        """,
    "shared mappings write the file, private ones do not": """
        open a f rw+creat
        fill a 20000 0
        map a shared 5000 mapped -> =b'mapped'
        read a 20 4990
        map a private 9000 private
        read a 20 8990
        write a direct 100
        map_read a 96 16
        cat f
        """,
    "fsync and fdatasync of files and directories succeed": """
        open a f rw+creat
        fill a 100000 0
        fsync a
        fdatasync a
        open b f r
        fsync b
        open d . r
        fsync d
        fdatasync d
        open e f w+sync
        write e synchronous
        open g f w+dsync
        write g data
        cat f
        """,
    "two descriptors of one file see each other": """
        open a f rw+creat
        open b f rw
        write a one
        read b 10 0 -> =b'one'
        write b TWO 0
        read a 10 0 -> =b'TWO'
        ftruncate b 1
        read a 10 0 -> =b'T'
        fstat a size -> =1
        close b
        write a xyz 1
        cat f -> =b'Txyz'
        """,
    "O_DIRECT transfers aligned blocks": """
        open a f rw+creat+direct
        direct_write a A 4096 0 -> =4096
        direct_write a B 1048576 4096 -> =1048576
        direct_read a 4096 0 -> =(4096, [65])
        direct_read a 2097152 0 -> =(1052672, [65, 66])
        direct_read a 1048576 4096 -> =(1048576, [66])
        direct_read a 4096 1052672 -> =(0, [])
        fstat a size -> =1052672
        open b f rw
        write b c 0
        fsync b
        direct_read a 4096 0 -> =(4096, [65, 99])
        """,
    "fifos carry data between processes": """
        mknod fifo p 666
        open a p rw+nonblock
        write a through
        read a 100 -> =b'through'
        read a 1 -> EAGAIN
        open b p w+nonblock
        close a
        open c p w+nonblock -> ?
        """,
}
# With a write-back cache the kernel's own clock makes mtime, and a write beyond what the file system
# holds fails when it is written back.
NOT_WITH_WRITEBACK = ("a write changes mtime", "a size that the file system cannot hold")
# Linux 6.6 lets FUSE map what it does not cache.
MAPS_UNCACHED = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)
NOT_IN = {writeback: NOT_WITH_WRITEBACK}
if not MAPS_UNCACHED:
    NOT_IN[direct] = NOT_IN[uncached] = ("shared mappings write",)
for each in SUITES:
    add_table(each, {sentence: script for sentence, script in TABLE.items()
                     if not sentence.startswith(NOT_IN.get(each, ()))})


def mapped_shared(site):
    on_mount, _ = site.case_directories()
    (on_mount / "f").write_bytes(b"x" * 5000)
    with open(on_mount / "f", "r+b") as file:
        mmap.mmap(file.fileno(), 5000, mmap.MAP_PRIVATE).close()
        try:
            mmap.mmap(file.fileno(), 5000, mmap.MAP_SHARED).close()
            error = 0
        except OSError as refused:
            error = refused.errno
    equal("mmap(2)", error, 0 if MAPS_UNCACHED else errno.ENODEV)


for each in (direct, uncached):
    each.check("files that are not cached are mapped shared from Linux 6.6 on, and privately by any")(mapped_shared)


@suite.check("collapse and insert, which the kernel's FUSE does not know, are refused and change nothing")
def collapse_and_insert(site):
    on_mount, _ = site.case_directories()
    content = os.urandom(65536)
    (on_mount / "f").write_bytes(content)
    fd = os.open(on_mount / "f", os.O_RDWR)
    try:
        for mode in ("collapse", "insert"):
            try:
                operations.fallocate(fd, operations.FALLOC[mode], 4096, 8192)
                raise Failed(f"{mode} succeeded: compare it with the directory from now on")
            except OSError as error:
                equal(mode, error.errno, errno.EOPNOTSUPP)
    finally:
        os.close(fd)
    equal("the content", (on_mount / "f").read_bytes() == content, True)


@suite.check("a vector of buffers is one write and one read")
def vectors(site):
    def there_and_back(directory):
        fd = os.open(directory / "f", os.O_RDWR | os.O_CREAT)
        try:
            pieces = [bytes([65 + i]) * (i * 1000 + 1) for i in range(20)]
            written = os.writev(fd, pieces)
            buffers = [bytearray(777) for _ in range(300)]
            count = os.preadv(fd, buffers, 5)
            return written, count, b"".join(buffers)[:count] == b"".join(pieces)[5:]
        finally:
            os.close(fd)
    got = same_on_both(site, there_and_back)
    equal("the data", got[2], True)


@suite.check("sendfile and splice read and write the mount")
def splices(site):
    def through(directory):
        content = os.urandom(3 << 20)
        (directory / "from").write_bytes(content)
        with open(directory / "from", "rb") as source, open(directory / "to", "wb") as target:
            while os.sendfile(target.fileno(), source.fileno(), None, 1 << 20):
                pass
        if (directory / "to").read_bytes() != content:
            raise Failed("sendfile gave other bytes")
        reader, writer = os.pipe()
        fd = os.open(directory / "from", os.O_RDONLY)
        out = os.open(directory / "spliced", os.O_WRONLY | os.O_CREAT)
        try:
            moved = 0
            while count := os.splice(fd, writer, 65536):
                while count:
                    done = os.splice(reader, out, count)
                    count, moved = count - done, moved + done
        finally:
            for each_fd in (reader, writer, fd, out):
                os.close(each_fd)
        return moved, (directory / "spliced").read_bytes() == content
    same_on_both(site, through, (3 << 20, True))


@suite.check("large reads of a file that is cut and grown again meanwhile give what it had, or zeros")
def cut_while_read(site):
    on_mount, _ = site.case_directories()
    content = os.urandom(1 << 20)
    (on_mount / "f").write_bytes(content)
    backing = site.export / on_mount.name / "f"
    over = threading.Event()

    def cut_and_grow():
        with open(backing, "r+b", buffering=0) as file:
            while not over.is_set():
                file.truncate(300_000)
                file.seek(300_000)
                file.write(content[300_000:])

    cutting = threading.Thread(target=cut_and_grow)
    cutting.start()
    fd = os.open(on_mount / "f", os.O_RDONLY | os.O_DIRECT)
    lengths = set()
    try:
        memory = mmap.mmap(-1, 1 << 20)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            count = os.preadv(fd, [memory], 0)
            lengths.add(count)
            read = memory[:count]
            if read != content[:count]:
                pages = [(read[at:at + 4096], content[at:at + 4096]) for at in range(0, count, 4096)]
                wrong = [at for at, (got, had) in enumerate(pages)
                         if any(byte not in (0, old) for byte, old in zip(got, had))]
                equal("pages with other bytes", wrong, [])
    finally:
        over.set()
        cutting.join()
        os.close(fd)
    equal("whole reads among them", 1 << 20 in lengths, True)
    equal("the content", (on_mount / "f").read_bytes() == content, True)


@suite.check("sparse files keep their holes on the server")
def holes(site):
    on_mount, _ = site.case_directories()
    with open(on_mount / "f", "wb") as file:
        file.truncate(5 << 30)
        file.seek(3 << 30)
        file.write(b"x" * 4096)
    backing = site.export / on_mount.name / "f"
    equal("the size", os.stat(backing).st_size, 5 << 30)
    if os.stat(backing).st_blocks * 512 > 1 << 20:
        raise Failed(f"{os.stat(backing).st_blocks} blocks for a file with one page in it")


@suite.check("many open files at once keep apart")
def many_open(site):
    on_mount, _ = site.case_directories()
    open_files = []
    try:
        for number in range(700):
            fd = os.open(on_mount / str(number), os.O_RDWR | os.O_CREAT, 0o644)
            open_files.append(fd)
            os.write(fd, str(number).encode())
        for number, fd in enumerate(open_files):
            equal(f"file {number}", os.pread(fd, 20, 0), str(number).encode())
    finally:
        for fd in open_files:
            os.close(fd)
