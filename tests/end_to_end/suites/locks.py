"""Locks: fcntl, OFD and flock, within one mount and across two; waiting ones can be interrupted."""
import fcntl
import os
import signal
import struct
import threading
import time

from harness.checks import Suite, equal
from harness.processes import Failed, wait_for_end, wait_until
from harness.tables import add_table

suite = Suite("locks", mounts=2)
SUITES = [suite]

add_table(suite, {
    "flock: shared ones go together, an exclusive one alone": """
        put f x
        chmod f 666
        open a f rw
        open b f rw
        flock a sh
        flock b sh
        flock b ex -> EAGAIN
        flock a un
        flock b ex
        flock a sh -> EAGAIN
        @1001 open a f r
        @1001 flock a sh -> EAGAIN
        close b
        flock a ex
        @1001 flock a sh -> EAGAIN
        flock a sh
        @1001 flock a sh
        """,
    "fcntl locks: ranges of another process are in the way, one's own are not": """
        put f 0123456789
        chmod f 666
        open a f rw
        lock a posix wr 0 10
        lock a posix wr 5 10
        lock a posix rd 2 2
        @1001 open a f rw
        @1001 lock a posix wr 0 1 -> EAGAIN
        @1001 lock a posix rd 2 2
        @1001 lock a posix wr 2 2 -> EAGAIN
        @1001 getlock a posix wr 4 20 -> =1,4,11
        @1001 getlock a posix rd 2 2 -> =free
        @1001 lock a posix wr 15 0
        lock a posix wr 0 0 -> EAGAIN
        lock a posix un 0 0
        @1001 lock a posix wr 0 0
        getlock a posix wr 100 1 -> =1,0,0
        @1001 lock a posix un 50 10
        getlock a posix wr 50 10 -> =free
        getlock a posix wr 49 1 -> =1,0,50
        lock a posix wr 50 10
        lock a posix wr 59 2 -> EAGAIN
        """,
    "closing any descriptor drops a process's fcntl locks on the file": """
        put f x
        chmod f 666
        open a f rw
        open b f rw
        lock a posix wr 0 0
        @1001 open a f rw
        @1001 lock a posix wr 0 0 -> EAGAIN
        close b
        @1001 lock a posix wr 0 0
        """,
    "OFD locks belong to the open file": """
        put f x
        chmod f 666
        open a f rw
        open b f rw
        lock a ofd wr 0 10
        lock b ofd wr 5 10 -> EAGAIN
        lock b ofd wr 10 10
        lock a ofd rd 15 1 -> EAGAIN
        getlock b ofd wr 0 5 -> =1,0,10
        @1001 open a f rw
        @1001 lock a posix wr 3 1 -> EAGAIN
        close a
        lock b ofd wr 0 10
        """,
    "locks ask for a descriptor of the right mode": """
        put f x
        open a f r
        lock a posix wr 0 1 -> EBADF
        lock a posix rd 0 1
        open b f w
        lock b posix rd 0 1 -> EBADF
        lock b posix wr 0 1
        lock b posix wr -1 1 -> EINVAL
        """,
})

F_OFD_SETLK, F_OFD_SETLKW = 37, 38


def ofd(fd, command, kind, start=0, length=0):
    fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0))


def open_on_both(site):
    """A new file, opened on two mounts."""
    directory, _ = site.case_directories()
    first, second = list(site.mounts)[:2]
    (directory / "f").write_text("content")
    name = f"{directory.name}/f"
    return os.open(first / name, os.O_RDWR), os.open(second / name, os.O_RDWR)


def refused(function, *arguments):
    try:
        function(*arguments)
    except BlockingIOError:
        return True
    return False


def try_flock(fd, how):
    fcntl.flock(fd, how | fcntl.LOCK_NB)


@suite.check("a lock of a file that was closed is in nobody's way on the same mount")
def closed_and_locked(site):
    directory, _ = site.case_directories()
    name = next(iter(site.mounts)) / directory.name / "f"
    stays = os.open(name, os.O_RDWR | os.O_CREAT)
    for take, give in ((try_flock, lambda fd: try_flock(fd, fcntl.LOCK_UN)),
                       (lambda fd, _: ofd(fd, F_OFD_SETLK, fcntl.F_WRLCK),
                        lambda fd: ofd(fd, F_OFD_SETLK, fcntl.F_UNLCK))):
        for _ in range(150):
            closed = os.open(name, os.O_RDWR)
            take(closed, fcntl.LOCK_EX)
            os.close(closed)
            take(stays, fcntl.LOCK_EX)
            give(stays)
    os.close(stays)


@suite.check("flock holds across two mounts")
def flock_across(site):
    one, two = open_on_both(site)
    try:
        try_flock(one, fcntl.LOCK_EX)
        equal("refused on the other mount", refused(try_flock, two, fcntl.LOCK_SH), True)
        try_flock(one, fcntl.LOCK_SH)
        try_flock(two, fcntl.LOCK_SH)
        equal("refused to go up", refused(try_flock, two, fcntl.LOCK_EX), True)
        try_flock(one, fcntl.LOCK_UN)
        try_flock(two, fcntl.LOCK_EX)
    finally:
        os.close(one)
        os.close(two)


@suite.check("fcntl and OFD locks hold across two mounts, and go with the close")
def ranges_across(site):
    one, two = open_on_both(site)
    ofd(one, F_OFD_SETLK, fcntl.F_WRLCK, 10, 10)
    equal("refused", refused(ofd, two, F_OFD_SETLK, fcntl.F_WRLCK, 15, 10), True)
    ofd(two, F_OFD_SETLK, fcntl.F_WRLCK, 20, 10)
    equal("refused back", refused(ofd, one, F_OFD_SETLK, fcntl.F_RDLCK, 25, 1), True)
    pid = os.fork()
    if pid == 0:
        try:
            fcntl.lockf(two, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 100)
            os._exit(0 if refused(fcntl.lockf, two, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 12) else 1)
        except OSError:
            os._exit(2)
    equal("the other process", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
    os.close(one)
    wait_until(lambda: not refused(ofd, two, F_OFD_SETLK, fcntl.F_WRLCK, 0, 0), 10,
               "the closed descriptor's locks are gone")
    os.close(two)


def waiting_lock(site, take, release):
    """A lock that waits on the second mount is given when the first releases it."""
    one, two = open_on_both(site)
    take(one)
    got = threading.Event()

    def wait():
        take(two)
        got.set()
    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    if got.wait(0.3):
        raise Failed("the lock was given twice")
    release(one)
    if not got.wait(20):
        raise Failed("the lock was not given after its release")
    waiter.join()
    os.close(one)
    os.close(two)


@suite.check("a waiting flock is given when the other mount releases it")
def waiting_flock(site):
    waiting_lock(site, lambda fd: fcntl.flock(fd, fcntl.LOCK_EX),
                 lambda fd: fcntl.flock(fd, fcntl.LOCK_UN))


@suite.check("a waiting OFD lock is given when the other mount releases it")
def waiting_ofd(site):
    waiting_lock(site, lambda fd: ofd(fd, F_OFD_SETLKW, fcntl.F_WRLCK),
                 lambda fd: ofd(fd, F_OFD_SETLK, fcntl.F_UNLCK))


def blocked(pid):
    """Whether the process sleeps in the kernel."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return stat.read().rpartition(")")[2].split()[0] in "SD"


def interrupted(site, take, number):
    """A process that waits for a lock gets a signal: with a handler EINTR, without one its end."""
    one, two = open_on_both(site)
    take(one)
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            def handler(*_):
                raise InterruptedError
            signal.signal(signal.SIGUSR1, handler)
            os.write(ready_write, b"x")
            take(two)
            os._exit(1)
        except InterruptedError:
            os._exit(0)
    os.read(ready_read, 1)
    wait_until(lambda: blocked(pid), 10, "the process waits")
    time.sleep(0.2)  # gives a wrongly granted lock the time to show itself; nothing relies on it
    os.kill(pid, number)
    begin = time.monotonic()
    equal("how it ended", wait_for_end(pid, 10), 0 if number == signal.SIGUSR1 else -number)
    if time.monotonic() - begin > 5:
        raise Failed("the signal took more than 5 s")
    os.close(one)
    take_again = threading.Thread(target=take, args=(two,), daemon=True)
    take_again.start()
    take_again.join(10)
    if take_again.is_alive():
        raise Failed("the interrupted request still holds or waits for the lock")
    os.close(two)
    os.close(ready_read)
    os.close(ready_write)


for _kind, _take in (("flock", lambda fd: fcntl.flock(fd, fcntl.LOCK_EX)),
                     ("OFD lock", lambda fd: ofd(fd, F_OFD_SETLKW, fcntl.F_WRLCK)),
                     ("fcntl lock", lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX))):
    for _number, _what in ((signal.SIGUSR1, "a signal's handler interrupts"),
                           (signal.SIGKILL, "SIGKILL ends")):
        suite.check(f"{_what} a waiting {_kind}")(
            lambda site, take=_take, number=_number: interrupted(site, take, number))


@suite.check("a process that ends takes its fcntl locks with it, and the next waiting one goes on")
def end_of_process(site):
    one, two = open_on_both(site)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(one, fcntl.LOCK_EX)
        os.write(writer, b"x")
        signal.pause()
        os._exit(0)
    os.read(reader, 1)
    equal("refused", refused(fcntl.lockf, two, fcntl.LOCK_EX | fcntl.LOCK_NB), True)
    got = threading.Event()

    def wait():
        fcntl.lockf(two, fcntl.LOCK_EX)
        got.set()
    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if not got.wait(20):
        raise Failed("the lock of a dead process stays")
    waiter.join()
    for fd in (one, two, reader, writer):
        os.close(fd)


@suite.check("a counter under a lock loses no turn of four processes on two mounts", timeout=180)
def counter(site):
    directory, _ = site.case_directories()
    (directory / "count").write_text("0")
    turns, pids = 50, []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                mount = list(site.mounts)[number % 2]
                fd = os.open(mount / directory.name / "count", os.O_RDWR)
                for _ in range(turns):
                    fcntl.lockf(fd, fcntl.LOCK_EX)
                    value = int(os.pread(fd, 20, 0))
                    os.pwrite(fd, str(value + 1).encode(), 0)
                    fcntl.lockf(fd, fcntl.LOCK_UN)
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    for pid in pids:
        equal("a process", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
    equal("the count", (site.export / directory.name / "count").read_text(), str(4 * turns))
