"""Recovery: servers that are killed and stopped, connections that are cut, clients that die, while
applications work. They see a pause and nothing else."""
import contextlib
import fcntl
import os
import random
import signal
import socket
import statistics
import struct
import subprocess
import threading
import time

from harness import processes
from harness.checks import Suite, equal
from harness.processes import Failed, run, wait_until
from harness.programs import environment
from harness.proxy import LINGER_NONE, Proxy
from harness.site import Site
from suites.recovery_work import (SECONDS, Trouble, append_records, check_log, churn_names, finish, in_process,
                                  run_fio, start, work_with_tools, write_and_sync, write_and_verify)
from suites.trouble import other_site

suite = Suite("recovery", needs_product=True)
SUITES = [suite]


def restart(site):
    site.kill_server()
    site.start_server(site.port)


def killing(site, interval=2.0):
    return Trouble(lambda: restart(site), interval)


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


@suite.check("what was synced is there, whole, after every kill of the server", timeout=300 + 3 * SECONDS)
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


def write_read_only_file(path, seconds):
    """As git makes its objects: a user's file that nobody may open for writing, written bit by bit."""
    os.setgid(1001)
    os.setuid(1001)
    end = time.monotonic() + seconds
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    written = 0
    while time.monotonic() < end:
        written += os.write(fd, b"x")
        time.sleep(0.01)
    os.close(fd)
    equal("size", os.stat(path).st_size, written)


@suite.check("a user's file that is being written stays open over kills, whatever its mode says", timeout=300)
def read_only_over_kills(site):
    with other_site(site, "readonly", options="direct_io") as other:
        (other.export / "d").mkdir()
        (other.export / "d").chmod(0o777)
        with killing(other, 0.5) as trouble:
            in_process(write_read_only_file, other.mount / "d/f", max(6, SECONDS / 3))()
        if trouble.count < 2:
            raise Failed(f"the server was killed {trouble.count} times")


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
def through_proxy(site, name, mounts=1, kind=Proxy, **options):
    """A site whose mounts reach the server through a proxy."""
    other = Site(site.where, f"{site.name}-{name}", **options)
    proxy = None
    try:
        other.start_server()
        server_port = other.port
        proxy = kind(other.where.address, server_port)
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


class LockAnswersLost(Proxy):
    """Keeps an answer to SETLOCK until the server is gone, and loses it then."""

    def __init__(self, *target):
        self.kept, self.lost = threading.Event(), threading.Event()
        super().__init__(*target)

    def look(self, data):
        is_answer = len(data) > 12 and data[12] & 1 != 0  # docs/protocol.md: the header
        if is_answer and data[4:6] == bytes((61, 0)) and not self.lost.is_set():
            self.kept.set()
            self.lost.wait(60)
            raise OSError("lost")


@suite.check("a client that does not know of its only lock, as the answer was lost, is not waited for after a restart")
def lock_answer_lost(site):
    need_tcp(site)
    with through_proxy(site, "unknownlock", kind=LockAnswersLost) as (other, proxy):
        (other.mount / "f").touch()
        locking = start("flock", "-n", str(other.mount / "f"), "true")
        if not proxy.kept.wait(20):
            raise Failed("the server gave no lock")
        other.kill_server()
        proxy.lost.set()
        other.start_server(proxy.target[1])
        begin = time.monotonic()
        finish(locking, "flock")
        elapsed = time.monotonic() - begin
        if elapsed > 20:  # of the lease's 60
            raise Failed(f"the lock took {elapsed:.1f} s")


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
            timeout=60 * site.where.slow, env=environment(other.logs))
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
        if after[0] > before[0] + 2048 and not site.where.build.is_sanitized:
            raise Failed(f"resident memory grew from {before[0]} to {after[0]} KiB")
        equal("the file", (other.mount / "f").read_text(), "x")
