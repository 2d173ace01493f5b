"""Recovery: servers that are killed and stopped, connections that are cut, clients that die, while
applications work. They see a pause and nothing else.

RDMAFS_RECOVERY_SECONDS: how long each trouble lasts (default 15; a night's run has more)."""
import contextlib
import fcntl
import hashlib
import os
import random
import signal
import socket
import sqlite3
import statistics
import struct
import subprocess
import threading
import time

from harness import processes
from harness.checks import Suite, equal
from harness.processes import Failed, run, wait_until
from harness.proxy import LINGER_NONE, Proxy
from harness.site import Site
from suites.trouble import other_site

SECONDS = float(os.environ.get("RDMAFS_RECOVERY_SECONDS", "15"))
PATIENCE = 120 + 6 * SECONDS

suite = Suite("recovery", needs_product=True)
SUITES = [suite]


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


def restart(site):
    site.kill_server()
    site.start_server(site.port)


def killing(site, interval=2.0):
    return Trouble(lambda: restart(site), interval)


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
    """1 MiB pieces, each read back, for so long."""
    source = random.Random(seed)
    end = time.monotonic() + seconds
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    sums = {}
    while time.monotonic() < end:
        number = source.randrange(8)
        data = source.randbytes(1 << 20)
        if os.pwrite(fd, data, number << 20) != len(data):
            raise Failed("a short write")
        sums[number] = hashlib.sha256(data).digest()
        look = source.choice(list(sums))
        if hashlib.sha256(os.pread(fd, 1 << 20, look << 20)).digest() != sums[look]:
            raise Failed(f"piece {look} is not what was written")
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


# --- the server is killed ---

@suite.check("fio --verify goes on over a server that is killed every 2 seconds", timeout=600)
def fio_over_kills(site):
    with other_site(site, "fio", export_options="no_root_squash") as other:
        with killing(other) as trouble:
            finish(run_fio(other.mount, SECONDS), "fio")
        if trouble.count < SECONDS / 6:
            raise Failed(f"the server was only killed {trouble.count} times")


@suite.check("1 MiB reads and writes are whole over a server that is killed every 2 seconds", timeout=600)
def pieces_over_kills(site):
    with other_site(site, "pieces", options="direct_io") as other:
        with killing(other):
            in_process(write_and_verify, other.mount / "pieces", SECONDS, 1)()


@suite.check("sqlite with synchronous=FULL, tar and git work over a server that is killed every 2 seconds",
             timeout=900)
def tools_over_kills(site):
    with other_site(site, "killedtools") as other:
        work_with_tools(other, killing(other))


@suite.check("names are made, moved and removed once, however often the server is killed", timeout=600)
def names_over_kills(site):
    with other_site(site, "killednames") as other:
        with killing(other, lambda: random.uniform(0.1, 0.5)) as trouble:
            in_process(churn_names, other.mount / "d", SECONDS)()
        print(f"      the server was killed {trouble.count} times")


@suite.check("a log that two clients append to has every record once and in order, over kills of the server",
             timeout=600)
def appends_over_kills(site):
    with other_site(site, "killedappends", mounts=2) as other:
        first, second = list(other.mounts)
        (other.export / "log").touch()
        with killing(other, lambda: random.uniform(0.1, 0.5)) as trouble:
            waits = [in_process(append_records, mount / "log", name, SECONDS)
                     for mount, name in ((first, "one"), (second, "two"))]
            for wait in waits:
                wait()
        print(f"      the server was killed {trouble.count} times")
        check_log(other.export / "log", ["one", "two"])


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


@suite.check("what was synced is there, whole, after every kill of the server", timeout=600)
def synced_over_kills(site):
    with other_site(site, "synced") as other:
        with killing(other, lambda: random.uniform(0.1, 0.5)) as trouble:
            in_process(write_and_sync, other.mount / "d", SECONDS)()
        source = random.Random(5)
        count = int((other.export / "d/count").read_text(encoding="ascii"))
        for number in range(count):
            expected = source.randbytes(source.randrange(1, 100000))
            if (other.export / f"d/{number}").read_bytes() != expected:
                raise Failed(f"file {number} of {count} is not what was synced")
        equal("files", len(os.listdir(other.export / "d")), count + 1)
        print(f"      {count} synced files over {trouble.count} kills")


@suite.check("the first operation after a restart of the server completes within a second", timeout=600)
def recovery_time(site):
    times = []
    with other_site(site, "time", options="attr_timeout=0,entry_timeout=0") as other:
        (other.mount / "f").write_text("x")
        for number in range(20):
            other.kill_server()
            waiting = threading.Thread(target=os.stat, args=(other.mount / "f",))
            waiting.start()
            time.sleep(0.2 + 0.1 * number)
            other.start_server(other.port)
            begin = time.monotonic()
            waiting.join(30)
            if waiting.is_alive():
                raise Failed("the operation does not complete")
            times.append(time.monotonic() - begin)
    print(f"      recovery: median {statistics.median(times):.3f} s, worst {max(times):.3f} s of 20")
    if statistics.median(times) > 1 * site.where.slow:
        raise Failed(f"median {statistics.median(times):.2f} s: {times}")


# --- connections are cut, the server is the same ---

@contextlib.contextmanager
def through_proxy(site, name, mounts=1, **options):
    """A site whose mounts reach the server through a proxy."""
    other = Site(site.where, f"{site.name}-{name}", **options)
    proxy = None
    try:
        other.start_server()
        server_port = other.port
        proxy = Proxy(other.where.address, server_port)
        other.port = proxy.port
        for number in range(mounts):
            other.add_mount(f"mnt{number + 1}")
        yield other, proxy
    finally:
        problems = other.stop()
        if proxy:
            proxy.close()
    if problems:
        raise Failed("\n".join(problems))
    other.remove()


def cutting(proxy, interval=0.4):
    return Trouble(proxy.cut, interval)


def need_tcp(site):
    from harness.checks import NotHere  # pylint: disable=import-outside-toplevel
    if site.where.transport == "rdma":
        raise NotHere("a proxy carries TCP only")


@suite.check("connections cut in the middle of 1 MiB transfers lose and repeat nothing", timeout=600)
def cut_transfers(site):
    need_tcp(site)
    with through_proxy(site, "cut", options="direct_io") as (other, proxy):
        with cutting(proxy):
            in_process(write_and_verify, other.mount / "pieces", SECONDS, 2)()
        if proxy.cut_count < SECONDS:
            raise Failed(f"only {proxy.cut_count} connections were cut")


@suite.check("names are made, moved and removed once, however often connections are cut", timeout=600)
def cut_names(site):
    need_tcp(site)
    with through_proxy(site, "names") as (other, proxy):
        with cutting(proxy, 0.15):
            in_process(churn_names, other.mount / "d", SECONDS)()


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


@suite.check("a log that two clients append to has every record once and in order, over cuts", timeout=600)
def cut_appends(site):
    need_tcp(site)
    with through_proxy(site, "appends", mounts=2) as (other, proxy):
        first, second = list(other.mounts)
        (other.export / "log").touch()
        with cutting(proxy, 0.2):
            waits = [in_process(append_records, mount / "log", name, SECONDS)
                     for mount, name in ((first, "one"), (second, "two"))]
            for wait in waits:
                wait()
        check_log(other.export / "log", ["one", "two"])


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


@suite.check("sqlite with synchronous=FULL, tar and git work over cuts", timeout=900)
def cut_tools(site):
    need_tcp(site)
    with through_proxy(site, "tools") as (other, proxy):
        work_with_tools(other, cutting(proxy, 0.3))


# --- the server stops for a while, a client dies ---

@suite.check("a server that is stopped for a while and goes on is only slow", timeout=900)
def stopped(site):
    with other_site(site, "stopped") as other:
        wait = in_process(write_and_verify, other.mount / "pieces", SECONDS, 4)
        time.sleep(SECONDS / 5)
        other.server.send_signal(signal.SIGSTOP)
        time.sleep(max(3, SECONDS))
        other.server.send_signal(signal.SIGCONT)
        wait()


@suite.check("the locks of a client that was killed are free when its lease is over, and not before",
             timeout=300)
def dead_client(site):
    lease = 4
    with other_site(site, "dead", export_options=f"no_root_squash,lease={lease}", mounts=2) as other:
        first, second = list(other.mounts)
        (other.export / "f").touch()
        holder = start("flock", str(first / "f"), "sleep", "600")
        wait_until(lambda: subprocess.run(["flock", "-n", str(second / "f"), "true"], check=False).returncode,
                   20, "the other client sees the lock")
        begin = time.monotonic()
        pid = other.mounts.pop(first)
        os.kill(pid, signal.SIGKILL)
        processes.wait_for_end(pid, 10)
        holder.kill()
        holder.wait()
        with open(second / "f", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            elapsed = time.monotonic() - begin
        run(["umount", "-l", str(first)])
        if not lease * 0.8 <= elapsed <= (lease + 10) * site.where.slow:
            raise Failed(f"the lock was free after {elapsed:.1f} s, the lease is {lease} s")


@suite.check("whoever holds a lock while the server is away can end and be killed, and the lock is free afterwards",
             timeout=300)
def killed_holder(site):
    with other_site(site, "holder") as other:
        path = other.mount / "f"
        path.touch()
        hold = ("import fcntl, os, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_SH); "
                "os.write(1, b'.'); sys.stdin.read(); os._exit(0)")
        holders = [subprocess.Popen(["python3", "-c", hold, str(path)], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE) for _ in range(2)]
        equal("who holds it", [holder.stdout.read(1) for holder in holders], [b"."] * 2)
        equal("free", is_free(path), False)
        other.kill_server()
        time.sleep(0.5)
        holders[0].kill()
        holders[1].stdin.close()
        for holder in holders:
            if processes.wait_for_end(holder.pid, 60 * site.where.slow) is None:
                raise Failed("a process that held the lock waits at its end")
            holder.returncode = 0
        other.start_server(other.port)
        wait_until(lambda: is_free(path), 30 * site.where.slow, "the lock is free")


def is_free(path):
    with open(path, "r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@suite.check("a mount through several addresses uses the one that serves", timeout=120)
def several_addresses(site):
    with other_site(site, "several") as other:
        point = other.base / "several"
        point.mkdir()
        before = set(processes.children())
        source = f"192.0.2.7,{other.where.address}:{other.export}"
        run([other.where.build.program("rdmafs"), source, str(point), "-o", other.mount_option_text()],
            timeout=60 * site.where.slow)
        other.mounts[point] = next(iter(set(processes.children()) - before), 0)
        (point / "f").write_text("x")
        equal("the file", (other.export / "f").read_text(), "x")


HEADER = struct.Struct("<IHHIHHIIQII")
HELLO = struct.Struct("<IHHIIQQ")


def hello():
    """A client's first message, in the set-up slot."""
    body = HELLO.pack(0x53464d52, 1, 0, 1 << 20, 1, 0, 0)
    return HEADER.pack(HEADER.size + len(body), 1, 255, 1, 0, 0, 0, 0, 0, 0, 0) + body


@suite.check("10,000 connects, most of them aborted, leave neither memory nor descriptors behind", timeout=900)
def many_connects(site):
    need_tcp(site)
    with other_site(site, "connects") as other:
        def server():
            with open(f"/proc/{other.server.pid}/status", encoding="ascii") as status:
                kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
            return kib, len(os.listdir(f"/proc/{other.server.pid}/fd"))

        def connect(count):
            message = hello()
            for number in range(count):
                peer = socket.create_connection((other.where.address, other.port), timeout=10)
                kind = number % 4
                if kind == 1:
                    peer.sendall(message[:number % len(message)])
                elif kind == 2:
                    peer.sendall(message)
                elif kind == 3:
                    peer.sendall(message)
                    peer.recv(4096)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
                peer.close()

        (other.mount / "f").write_text("x")
        connect(500)  # what is made once, is made
        before = server()
        connect(10000)
        wait_until(lambda: server()[1] <= before[1], 60 * site.where.slow, "the descriptors are closed")
        after = server()
        print(f"      resident memory {before[0]} KiB, then {after[0]} KiB; descriptors {before[1]}, "
              f"then {after[1]}")
        if after[0] > before[0] + 2048:
            raise Failed(f"resident memory grew from {before[0]} to {after[0]} KiB")
        equal("the file", (other.mount / "f").read_text(), "x")
