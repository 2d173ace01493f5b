"""Two mounts of one export: close-to-open, O_APPEND, attributes, and changes on the server itself."""
import contextlib
import fcntl
import mmap
import os
import sqlite3
import sys
import threading
import time

from harness.checks import Suite, equal
from harness.processes import Failed, wait_until
from harness.site import Site, running, tmpfs

OPTIONS = {"": "", " direct_io": "direct_io", " read_ahead": "direct_io,read_ahead=on", " cache=none": "cache=none",
           " cache=always writeback": "writeback"}
OWN_WRITES_SECONDS = 5
ATTRIBUTES_STAND_SECONDS = 5  # the default timeout is 1 s; the rest is for a loaded machine


def both(site):
    directory, _ = site.case_directories()
    return [point / directory.name for point in list(site.mounts)[:2]]


def close_to_open(site):
    """What one wrote and closed, another that opens afterwards reads: sizes that shrink and grow,
    contents of the same size, with the pages of the older content in the cache."""
    one, two = both(site)
    for turn in range(60):
        writer, reader = (one, two) if turn % 2 else (two, one)
        content = bytes([turn]) * (4096 * (1 + turn % 3) + turn % 2)
        with open(writer / "f", "wb") as file:
            file.write(content)
        with open(reader / "f", "rb") as file:
            got = file.read()
        if got != content:
            raise Failed(f"turn {turn}: {len(got)} bytes of {got[:1]!r}, "
                         f"not {len(content)} of {content[:1]!r}")


def same_size(site, turns=60):
    """The same size, within one tick of the clock perhaps: only the change counts."""
    one, two = both(site)
    with open(one / "f", "wb") as file:
        file.write(b"0" * 8192)
    for turn in range(1, turns):
        with open(two / "f", "rb") as file:
            equal(f"before turn {turn}", file.read(3), b"%03d" % (turn - 1) if turn > 1 else b"000")
        fd = os.open(one / "f", os.O_WRONLY)
        os.pwrite(fd, b"%03d" % turn, 0)
        os.close(fd)


@contextlib.contextmanager
def ticking(site):
    """Times of a ramfs are those of the clock's last tick (up to 10 ms), as they are everywhere before Linux 6.13."""
    with tmpfs(site, "mode=755", "ramfs") as disk, \
            running(Site(site.where, f"{site.name}-ticks", export=disk, options=site.options), mounts=2) as other:
        yield other


def same_tick(site):
    with ticking(site) as other:
        same_size(other, 900)


@contextlib.contextmanager
def opened(*paths):
    fds = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def under_locks(site, turns=60):
    """Who gets a lock reads, by a file that stays open, what its last holder wrote."""
    one, two = both(site)
    last = b"000"
    (one / "f").write_bytes(last.ljust(8192, b"."))
    with opened(one / "f", two / "f") as fds:
        for turn in range(turns):
            lock = (fcntl.lockf, fcntl.flock)[turn % 2]
            # One does not write in between: its own writes would make the kernel ask again.
            writer, reader = fds if turn < turns // 2 else fds[::-1]
            lock(writer, fcntl.LOCK_EX)
            equal(f"what the writer of turn {turn} reads", os.pread(writer, 3, 0), last)
            last = b"%03d" % turn
            os.pwrite(writer, last, 0)
            lock(writer, fcntl.LOCK_UN)
            lock(reader, fcntl.LOCK_SH)
            got = os.pread(reader, 8192, 0)
            lock(reader, fcntl.LOCK_UN)
            equal(f"turn {turn}, {lock.__name__}", (got[:3], len(got)), (last, 8192))


def under_locks_in_a_tick(site):
    with ticking(site) as other:
        under_locks(other, 400)


def growing_under_locks(site):
    one, two = both(site)
    with opened(one / "log", two / "log") as (writer, reader):
        for turn in range(40):
            fcntl.lockf(writer, fcntl.LOCK_EX)
            os.pwrite(writer, b"%03d\n" % turn, 4 * turn)
            fcntl.lockf(writer, fcntl.LOCK_UN)
            fcntl.lockf(reader, fcntl.LOCK_SH)
            equal("the size", os.fstat(reader).st_size, 4 * (turn + 1))
            equal("the last line", os.pread(reader, 10, 4 * turn), b"%03d\n" % turn)
            fcntl.lockf(reader, fcntl.LOCK_UN)


def mapped_under_locks(site):
    one, two = both(site)
    (one / "f").write_bytes(b"000".ljust(8192, b"."))
    with opened(one / "f", two / "f") as (writer, reader), mmap.mmap(reader, 8192, prot=mmap.PROT_READ) as area:
        for turn in range(40):
            fcntl.lockf(writer, fcntl.LOCK_EX)
            os.pwrite(writer, b"%03d" % turn, 0)
            fcntl.lockf(writer, fcntl.LOCK_UN)
            fcntl.lockf(reader, fcntl.LOCK_SH)
            equal("the mapping", area[:3], b"%03d" % turn)
            fcntl.lockf(reader, fcntl.LOCK_UN)


def kept_under_locks(site):
    """What did not change meanwhile is not read again."""
    one, _ = both(site)
    (one / "f").write_bytes(b"x" * 8192)
    with opened(one / "f") as (fd,):
        def comes_from_cache():
            fcntl.lockf(fd, fcntl.LOCK_SH)
            before = read_count(site)
            equal("the content", os.pread(fd, 8192, 0), b"x" * 8192)
            fcntl.lockf(fd, fcntl.LOCK_UN)
            return read_count(site) == before
        comes_from_cache()
        wait_until(comes_from_cache, 10 * site.where.slow, "a locked file is read from the cache")


def read_count(site):
    return site.document("stats")["operations"].get("READ", {"count": 0})["count"]


def kept(site):
    """Pages of what does not change stay: once its times are too old for a change to leave them as they are."""
    one, _ = both(site)
    (one / "f").write_bytes(b"x" * 8192)

    def comes_from_cache():
        before = read_count(site)
        equal("the content", (one / "f").read_bytes(), b"x" * 8192)
        return read_count(site) == before
    equal("the first time", comes_from_cache(), False)
    wait_until(comes_from_cache, 10 * site.where.slow, "a file is read from the cache")


def mapped(site):
    one, two = both(site)
    (one / "f").write_bytes(b"a" * 8192)
    for letter in b"bcdef":
        fd = os.open(one / "f", os.O_RDWR)
        with mmap.mmap(fd, 8192) as area:
            area[:] = bytes([letter]) * 8192
            area.flush()
        os.close(fd)
        fd = os.open(two / "f", os.O_RDONLY)
        with mmap.mmap(fd, 8192, prot=mmap.PROT_READ) as area:
            equal("a mapping on the other mount", bytes(area[:3]) + bytes(area[-3:]), bytes([letter]) * 6)
        os.close(fd)


def append(site):
    """Four writers on two mounts, each record whole, none lost."""
    one, two = both(site)
    (one / "log").touch()
    records, size, workers, errors = 200, 100, [], []

    def write(number):
        try:
            fd = os.open((one, two)[number % 2] / "log", os.O_WRONLY | os.O_APPEND)
            for record in range(records):
                os.write(fd, f"{number}:{record}:".encode().ljust(size - 1, b".") + b"\n")
            os.close(fd)
        except OSError as error:
            errors.append(error)
    for number in range(4):
        workers.append(threading.Thread(target=write, args=(number,)))
        workers[-1].start()
    for worker in workers:
        worker.join()
    equal("errors", errors, [])
    lines = (site.export / one.name / "log").read_bytes().splitlines(keepends=True)
    equal("records", len(lines), 4 * records)
    equal("whole records", sum(len(line) == size for line in lines), 4 * records)
    equal("different records", len({line[:12] for line in lines}), 4 * records)
    for number in range(4):
        mine = [int(line.split(b":")[1]) for line in lines if line.startswith(b"%d:" % number)]
        equal(f"the order of writer {number}", mine, list(range(records)))


def attributes_seen(site):
    one, two = both(site)
    (one / "f").touch()
    equal("the size", os.stat(two / "f").st_size, 0)
    (one / "f").write_bytes(b"x" * 1000)
    os.chmod(one / "f", 0o600)
    wait_until(lambda: (os.stat(two / "f").st_size, os.stat(two / "f").st_mode & 0o777) ==
               (1000, 0o600), ATTRIBUTES_STAND_SECONDS, "size and mode are seen")
    with open(one / "f", "ab") as file:
        file.write(b"y")
    with open(two / "f", "rb") as file:
        equal("the size of an opened file", os.fstat(file.fileno()).st_size, 1001)


def names_seen(site):
    one, two = both(site)
    (one / "a").touch()
    equal("a new name", (two / "a").exists(), True)
    equal("a missing name", (two / "b").exists(), False)
    (one / "b").touch()
    equal("a name that was missing just now", (two / "b").exists(), True)
    (one / "a").rename(one / "c")
    equal("the new name", (two / "c").exists(), True)
    wait_until(lambda: not (two / "a").exists(), ATTRIBUTES_STAND_SECONDS, "the old name is gone")
    wait_until(lambda: sorted(os.listdir(two)) == ["b", "c"], ATTRIBUTES_STAND_SECONDS, "the listing")
    (one / "c").unlink()
    wait_until(lambda: not (two / "c").exists(), ATTRIBUTES_STAND_SECONDS, "the removed name is gone")
    try:
        os.close(os.open(two / "b", os.O_CREAT | os.O_EXCL))
        raise Failed("O_EXCL of a name that the other mount made succeeded")
    except FileExistsError:
        pass


def exclusive(site):
    """Of all who create a name with O_EXCL one succeeds."""
    one, two = both(site)
    for turn in range(50):
        wins, barrier = [], threading.Barrier(2)

        def attempt(root, turn=turn, wins=wins, barrier=barrier):
            barrier.wait(20)
            try:
                os.close(os.open(root / f"f{turn}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins.append(root)
            except FileExistsError:
                pass
        threads = [threading.Thread(target=attempt, args=(root,)) for root in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(f"who made f{turn}", len(wins), 1)


def server_changes(site):
    """A program on the server is one more client."""
    one, _ = both(site)
    backing = site.export / one.name
    (backing / "f").write_bytes(b"first")
    with open(one / "f", "rb") as file:
        equal("the content", file.read(), b"first")
    for turn in range(20):
        (backing / "f").write_bytes(b"%05d" % turn)
        with open(one / "f", "rb") as file:
            equal("after a change on the server", file.read(), b"%05d" % turn)
    (one / "g").write_bytes(b"through the mount")
    equal("on the server", (backing / "g").read_bytes(), b"through the mount")


def replaced(site):
    """What another mount has renamed into a file's place is what an open by its name finds, at once, also while the old
    one is open."""
    one, two = both(site)
    for turn in range(40):
        writer, reader = (one, two) if turn % 2 else (two, one)
        (writer / "f.new").write_bytes(b"%03d" % turn)
        (writer / "f.new").rename(writer / "f")
        equal(f"turn {turn}", (reader / "f").read_bytes(), b"%03d" % turn)
        with open(reader / "f", "rb") as old:
            (writer / "f.new").write_bytes(b"new")
            (writer / "f.new").rename(writer / "f")
            equal("by the name", (reader / "f").read_bytes(), b"new")
            equal("by the file that was open", old.read(), b"%03d" % turn)
            equal("by another way than the name", open(f"/proc/self/fd/{old.fileno()}", "rb").read(), b"%03d" % turn)


def two_databases(site):
    """Two connections to one SQLite database, on two mounts, with its default (rollback) journal."""
    one, two = both(site)
    first, second = (sqlite3.connect(root / "db", isolation_level=None, timeout=60) for root in (one, two))
    first.execute("create table t(writer, number)")
    for number in range(60):
        for writer, connection in enumerate((first, second)):
            connection.execute("insert into t values(?, ?)", (writer, number))
    for connection in (first, second):
        equal("rows", connection.execute("select count(*), sum(number) from t").fetchone(), (120, 2 * 59 * 30))
        equal("the database", connection.execute("pragma integrity_check").fetchone(), ("ok",))
        connection.close()


def own_writes(site):
    """A process reads back what it wrote, while others write to other pages, ask for the size, and read all of them: the
    writer's page may be dropped while its write is under way, and asked for by another's read."""
    one, _ = both(site)
    (one / "f").write_bytes(bytes(64 << 10))
    end = time.monotonic() + OWN_WRITES_SECONDS

    def work(number):
        with opened(one / "f") as (fd,):
            while time.monotonic() < end:
                if number != 0:
                    os.pwrite(fd, b"x", 4096 * number)
                    os.fstat(fd)
                    os.pread(fd, 64 << 10, 0)
                    continue
                data = os.urandom(4096)
                os.pwrite(fd, data, 9 * 4096)
                if os.pread(fd, 4096, 9 * 4096) != data:
                    raise Failed("what was written just now was read as it was before")
    in_processes(work, 4)


def in_processes(work, count):
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(number)
                status = 0
            except (Failed, OSError) as error:
                print(error, file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        pids.append(pid)
    equal("processes that failed", [pid for pid in pids if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0], [])


def open_file_removed(site):
    """A file that is open on one mount and removed by the other reads on, or says ESTALE."""
    one, two = both(site)
    (one / "f").write_bytes(b"x" * 100)
    fd = os.open(two / "f", os.O_RDONLY)
    (one / "f").unlink()
    equal("the content", os.pread(fd, 200, 0), b"x" * 100)
    os.close(fd)


SUITES = []
for _name, _options in OPTIONS.items():
    _suite = Suite(f"consistency{_name}", options=_options, mounts=2)
    SUITES.append(_suite)
    # With a write-back cache the kernel trusts its own sizes, and several writers of one file are no use of it.
    if _options != "writeback":
        _suite.check("size and mode are seen within the attributes' time")(attributes_seen)
        _suite.check("what one mount wrote and closed, the other that opens it reads")(close_to_open)
        _suite.check("a change that keeps the size is seen by the next open")(same_size)
        _suite.check("O_APPEND from two mounts loses nothing")(append)
        _suite.check("what grew under a lock is seen by its next holder")(growing_under_locks)
    if _options == "":
        _suite.check("a change that leaves size and times as they are is seen by the next open")(same_tick)
        _suite.check("a change under a lock that leaves size and times as they are is seen by its next holder")(
            under_locks_in_a_tick)
        _suite.check("what was written under a lock is seen by a mapping of its next holder")(mapped_under_locks)
        _suite.check("what does not change is read once, and then from the cache")(kept)
        _suite.check("what does not change between two locks is not read again")(kept_under_locks)
        _suite.check("what a mapping wrote is seen by the next open")(mapped)
        _suite.check("two mounts write to one SQLite database")(two_databases)
        _suite.check("a process reads back what it wrote while others read and write the file")(own_writes)
        _suite.check("O_EXCL lets one of two mounts win")(exclusive)
    _suite.check("what was written under a lock is seen by its next holder")(under_locks)
    _suite.check("new names at once, removed ones within the entries' time")(names_seen)
    _suite.check("changes on the server are seen by the next open")(server_changes)
    _suite.check("a file that the other mount replaced is opened by its name")(replaced)
    _suite.check("a file that the other mount removed reads on")(open_file_removed)
