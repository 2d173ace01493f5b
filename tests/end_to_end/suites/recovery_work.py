"""What applications do while there is trouble, and whether all of it came out right.

RDMAFS_RECOVERY_SECONDS: how long each trouble lasts (default 15; a night's run has more)."""
import concurrent.futures
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time

from harness import processes
from harness.checks import equal
from harness.processes import Failed, run

SECONDS = float(os.environ.get("RDMAFS_RECOVERY_SECONDS", "15"))
PATIENCE = 120 + 6 * SECONDS


class Trouble:
    """Does something to the server or the network again and again, until the application has ended."""

    def __init__(self, action, interval, at_most=None):
        """interval: seconds, or a function that says how many the next time."""
        self.action, self.interval, self.at_most = action, interval, at_most
        self.count = 0
        self.failure = None
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            while not self.end.wait(self.pause()) and (self.at_most is None or self.count < self.at_most):
                self.action()
                self.count += 1
        except BaseException as error:  # pylint: disable=broad-except
            self.failure = error

    def pause(self):
        return self.interval() if callable(self.interval) else self.interval

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join(60)
        if self.failure:
            raise Failed(f"the trouble itself failed: {self.failure}")


def finish(process, what):
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed(f"{what} does not end") from None
    if process.returncode:
        raise Failed(f"{what}: exit status {process.returncode}\n{output}")


def start(*argv, **more):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, **more)


def run_fio(directory, seconds):
    """Random writes of several sizes, each with a checksum, read back while others go on."""
    return start("fio", "--name=verify", f"--directory={directory}", "--size=24m", "--rw=randwrite",
                 "--bsrange=4k-1m", "--ioengine=psync", "--numjobs=2", "--verify=crc32c",
                 "--verify_backlog=32", "--verify_fatal=1", "--fsync=16", "--time_based",
                 f"--runtime={seconds:.0f}", "--fallocate=none", cwd="/tmp")


def in_process(function, *arguments):
    """Runs it in a child; its exception is its failure."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        text = ""
        try:
            function(*arguments)
        except BaseException as error:  # pylint: disable=broad-except
            text = f"{type(error).__name__}: {error}"
        os.write(write_end, text.encode())
        os._exit(1 if text else 0)
    os.close(write_end)

    def wait():
        status = processes.wait_for_end(pid, PATIENCE)
        text = os.read(read_end, 4096).decode()
        os.close(read_end)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            processes.wait_for_end(pid, 5)
            raise Failed(f"{function.__name__} does not end")
        if status:
            raise Failed(f"{function.__name__}: {text}")
    return wait


def write_and_verify(path, seconds, seed):
    """1 MiB pieces, each read back, for so long; by three threads, as calls that have company go other ways."""
    end = time.monotonic() + seconds
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def work(thread):
        source = random.Random(8 * seed + thread)
        sums = {}
        while time.monotonic() < end:
            number = 8 * thread + source.randrange(8)
            data = source.randbytes(1 << 20)
            if os.pwrite(fd, data, number << 20) != len(data):
                raise Failed("a short write")
            sums[number] = hashlib.sha256(data).digest()
            for look in source.choices(list(sums), k=4):
                if hashlib.sha256(os.pread(fd, 1 << 20, look << 20)).digest() != sums[look]:
                    raise Failed(f"piece {look} is not what was written")
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        list(threads.map(work, range(3)))
    os.fsync(fd)
    os.close(fd)


def append_records(path, name, seconds):
    """Records at the end of a log that others append to, too. How many is the last one's number."""
    end = time.monotonic() + seconds
    number = 0
    with open(path, "ab", buffering=0) as log:
        while time.monotonic() < end:
            log.write(f"{name} {number:010d}\n".encode())
            number += 1
    with open(f"{path}.{name}", "w", encoding="ascii") as count:
        count.write(str(number))


def check_log(path, names):
    lines = path.read_text(encoding="ascii").splitlines()
    for name in names:
        own = [line for line in lines if line.split()[0] == name]
        count = int((path.parent / f"{path.name}.{name}").read_text())
        if own != [f"{name} {number:010d}" for number in range(count)]:
            raise Failed(f"{name} appended {count} records in a row; {len(own)} are there, "
                         f"{len(set(own))} of them different")
    equal("records of nobody", len(lines) - sum(
        1 for line in lines if line.split()[0] in names), 0)


def write_and_sync(path, seconds):
    """Small files, each synced: they are what they should be however the server ends."""
    source = random.Random(5)
    end = time.monotonic() + seconds
    path.mkdir()
    number = 0
    while time.monotonic() < end:
        with open(path / f"{number}", "xb") as file:
            file.write(source.randbytes(source.randrange(1, 100000)))
            os.fsync(file.fileno())
        number += 1
    (path / "count").write_text(str(number), encoding="ascii")


def churn_names(directory, seconds):
    end = time.monotonic() + seconds
    directory.mkdir()
    number = 0
    while time.monotonic() < end:
        number += 1
        path, moved = directory / f"f{number}", directory / f"m{number}"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.rename(path, moved)
        os.mkdir(path)
        os.link(moved, path / "link")
        os.unlink(moved)
        os.symlink("target", moved)
        os.unlink(path / "link")
        os.rmdir(path)
        os.unlink(moved)
    if os.listdir(directory):
        raise Failed(f"left behind: {os.listdir(directory)}")
    directory.rmdir()


def load_database(path, seconds):
    end = time.monotonic() + seconds
    database = sqlite3.connect(path, timeout=60)
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, v BLOB)")
    number = 0
    while time.monotonic() < end:
        with database:
            for _ in range(5):
                number += 1
                database.execute("INSERT INTO t VALUES (?, ?)", (number, os.urandom(300)))
    if database.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
        raise Failed("the database is damaged")
    if database.execute("SELECT count(*), max(n) FROM t").fetchone() != (number, number):
        raise Failed("rows are missing")
    database.close()


def work_with_tools(other, trouble):
    """tar, git and sqlite at once, while there is trouble; then all is as it would be without."""
    tree = other.base / "tree"
    tree.mkdir()
    source = random.Random(3)
    for number in range(300):
        (tree / f"d{number % 10}").mkdir(exist_ok=True)
        (tree / f"d{number % 10}" / f"f{number}").write_bytes(source.randbytes(source.randrange(30000)))
    archive = other.base / "tree.tar"
    run(["tar", "cf", str(archive), "-C", str(tree), "."])
    git = ["git", "-c", "safe.directory=*", "-c", "user.name=t", "-c", "user.email=t@t"]
    run([*git, "init", "-q", str(tree)])
    run([*git, "-C", str(tree), "add", "."])
    run([*git, "-C", str(tree), "commit", "-q", "-m", "tree"])
    with trouble:
        wait = in_process(load_database, other.mount / "db", SECONDS)
        end = time.monotonic() + SECONDS
        rounds = 0
        while rounds == 0 or time.monotonic() < end:
            rounds += 1
            tar, clone = (other.mount / f"{name}{rounds}" for name in ("tar", "clone"))
            tar.mkdir()
            finish(start("tar", "xf", str(archive), "-C", str(tar)), "tar x")
            finish(start(*git, "clone", "-q", "--no-local", str(tree), str(clone)), "git clone")
        wait()
    print(f"      {rounds} rounds, the server was in trouble {trouble.count} times")
    for number in range(1, rounds + 1):
        run(["diff", "-r", "--exclude=.git", str(tree), str(other.export / f"tar{number}")])
        run(["diff", "-r", "--exclude=.git", str(tree), str(other.export / f"clone{number}")])
        run([*git, "-C", str(other.export / f"clone{number}"), "fsck", "--full"])
