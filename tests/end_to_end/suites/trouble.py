"""Trouble: full and read-only disks, quotas, exports that vanish, servers that die, bad input, and
mounts that cannot be: each reaches the user as what it is, and nothing hangs."""
import contextlib
import errno
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import time

from harness import processes
from harness.checks import NotHere, Suite, equal
from harness.processes import Failed, run, wait_until
from harness.programs import environment
from harness.site import Site, clear, is_mounted, running, tmpfs
from harness.steps import run_case

suite = Suite("trouble", needs_product=True)
SUITES = [suite]


def other_site(site, name, kind=Site, mounts=1, **options):
    """A site of its own for one check."""
    return running(kind(site.where, f"{site.name}-{name}", **options), mounts)


def error_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0


def fill(path, block, limit=1 << 26):
    """Writes until it fails. (errno, bytes that write(2) said it wrote)."""
    done = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        while done < limit:
            done += os.write(fd, b"x" * block)
        return 0, done
    except OSError as error:
        return error.errno, done
    finally:
        os.close(fd)


@suite.check("a full disk reaches the writer, and what was acknowledged is there")
def full_disk(site):
    for options in ("", "direct_io"):
        with tmpfs(site, "size=4m,mode=755") as disk, \
                other_site(site, "full", export=disk, options=options) as full:
            for block in (700, 65536, 1 << 20):
                path = full.mount / f"f{block}"
                number, done = fill(path, block)
                equal(f"the error with blocks of {block}", number, 28)
                size = os.stat(disk / path.name).st_size
                if size < done:
                    raise Failed(f"{done} bytes were acknowledged, {size} are there")
                equal("writing into the full disk again", error_of(
                    lambda: fill(path, 1 << 20)) or fill(full.mount / "more", 65536)[0], 28)
                os.unlink(path)
                if (full.mount / "more").exists():
                    os.unlink(full.mount / "more")
            (full.mount / "after").write_bytes(b"x" * 100000)
            equal("after room was made", (disk / "after").stat().st_size, 100000)


@suite.check("a disk without inodes says so at the creation")
def no_inodes(site):
    with tmpfs(site, "size=4m,nr_inodes=20,mode=755") as disk, \
            other_site(site, "inodes", export=disk) as full:
        numbers = [error_of(lambda n=n: (full.mount / f"f{n}").touch()) for n in range(40)]
        equal("errors", set(numbers), {0, 28})
        equal("mkdir", error_of(os.mkdir, full.mount / "d"), 28)


def errors_of_write_back(path):
    """The errors of eight writes of 1 MiB, of fsync and of close."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    numbers = [error_of(os.write, fd, b"x" * (1 << 20)) for _ in range(8)]
    return numbers + [error_of(os.fsync, fd), error_of(os.close, fd)]


@suite.check("a write-back mount tells of the full disk at fsync or close")
def full_disk_writeback(site):
    with tmpfs(site, "size=4m,mode=755") as disk, \
            other_site(site, "full-writeback", export=disk, options="writeback") as full:
        numbers = errors_of_write_back(full.mount / "f")
        if 28 not in numbers:
            raise Failed(f"8 MiB went into 4 MiB without a word: {numbers}")


@contextlib.contextmanager
def quota_disk(site):
    """A file system that everyone may write 4 MiB to: a tmpfs where the kernel has quotas there, else a
    btrfs in an image, whose quota needs nothing further of the kernel."""
    limit = "size=64m,mode=777,usrquota,usrquota_block_hardlimit=4M"
    directory = site.where.work / "quota-disk"
    image = site.where.work / "quota-image"
    clear(directory)
    directory.mkdir(parents=True)
    try:
        if run(["mount", "-t", "tmpfs", "-o", limit, "tmpfs", str(directory)], expect=None).returncode:
            with open(image, "wb") as file:
                file.truncate(200 << 20)  # the least that mkfs.btrfs takes is 109 MiB
            run(["mkfs.btrfs", "-q", str(image)])
            if run(["mount", "-o", "loop", str(image), str(directory)], expect=None).returncode:
                raise NotHere("this kernel has neither quotas on tmpfs nor btrfs")
            run(["btrfs", "quota", "enable", str(directory)])
            run(["btrfs", "qgroup", "limit", "4M", str(directory)])
            directory.chmod(0o777)
        yield directory
    finally:
        clear(directory)
        image.unlink(missing_ok=True)


@suite.check("a quota's end is EDQUOT, and what was acknowledged is there")
def quota(site):
    with quota_disk(site) as disk:
        for options in ("", "direct_io"):
            with other_site(site, "quota", export=disk, options=options) as full:
                actor = full.identities.of(1001, 1001)
                number, done = actor.call(fill, str(full.mount / "f"), 65536)
                equal(f"the error with the options '{options}'", number, 122)
                size = os.stat(disk / "f").st_size
                if size < done:
                    raise Failed(f"{done} bytes were acknowledged, {size} are there")
                os.unlink(full.mount / "f")
                run(["sync", "-f", str(disk)])
        with other_site(site, "quota-writeback", export=disk, options="writeback") as full:
            actor = full.identities.of(1001, 1001)
            numbers = actor.call(errors_of_write_back, str(full.mount / "f"))
            if 122 not in numbers:
                raise Failed(f"8 MiB went into a quota of 4 MiB without a word: {numbers}")


READ_ONLY = """
    open a f r
    cat f -> =b'content'
    open a f w -> EROFS
    open a f rw -> EROFS
    create new -> EROFS
    mkdir newdir -> EROFS
    symlink x s -> EROFS
    mknod fifo p -> EROFS
    link f g -> EROFS
    unlink f -> EROFS
    rmdir d -> EROFS
    rename f g -> EROFS
    rename f d/g -> EROFS
    chmod f 600 -> EROFS
    chown f 1 1 -> EROFS
    truncate f 0 -> EROFS
    utimens f now now -> EROFS
    setxattr f user.a x -> EROFS
    removexattr f user.kept -> EROFS
    getxattr f user.kept -> =b'v'
    access f r -> =True
    access f w -> =False
    mkdir d -> EEXIST
    unlink none -> EROFS
    ls -> =[b'd', b'f']
    stat f size -> =7
    """


def read_only(site, name, export_options, mount_options):
    """The yardstick is a read-only bind mount of the same directory."""
    with other_site(site, name, export_options=export_options, options=mount_options) as other:
        tree = other.export / "tree"
        (tree / "d").mkdir(parents=True)
        (tree / "f").write_text("content")
        os.setxattr(tree / "f", "user.kept", b"v")
        yardstick = other.base / "read-only"
        yardstick.mkdir()
        run(["mount", "--bind", str(tree), str(yardstick)])
        try:
            run(["mount", "-o", "remount,bind,ro", str(yardstick)])
            return run_case(other.identities, READ_ONLY, other.mount / "tree", yardstick)
        finally:
            clear(yardstick)


@suite.check("a read-only export refuses every change with EROFS")
def read_only_export(site):
    return read_only(site, "ro-export", "ro,no_root_squash", "")


@suite.check("a read-only mount refuses every change with EROFS")
def read_only_mount(site):
    return read_only(site, "ro-mount", "no_root_squash", "ro")


@suite.check("root is squashed unless the export says otherwise")
def squash(site):
    with other_site(site, "squash", export_options="root_squash") as other:
        (other.export / "open").mkdir()
        (other.export / "open").chmod(0o777)
        (other.export / "secret").write_text("x")
        (other.export / "secret").chmod(0o600)
        equal("reading root's file", error_of(lambda: (other.mount / "secret").read_text()), 13)
        equal("writing in root's directory", error_of(lambda: (other.mount / "f").touch()), 13)
        (other.mount / "open" / "f").touch()
        equal("the owner", (other.export / "open" / "f").stat().st_uid, 65534)
        other.identities.of(1001, 1001).call(os.mkdir, str(other.mount / "open" / "d"))
        equal("another owner", (other.export / "open" / "d").stat().st_uid, 1001)
    with other_site(site, "all-squash", export_options="all_squash,anonuid=1234,anongid=1235") as other:
        other.export.chmod(0o777)
        other.identities.of(1001, 1001).call(os.mkdir, str(other.mount / "d"))
        status = (other.export / "d").stat()
        equal("the owner", (status.st_uid, status.st_gid), (1234, 1235))


@suite.check("an export that vanishes gives ESTALE, and the mount ends")
def vanished(site):
    with other_site(site, "vanished", options="attr_timeout=0,entry_timeout=0") as other:
        (other.mount / "d").mkdir()
        (other.mount / "d" / "f").write_text("x")
        other.export.rename(other.base / "elsewhere")
        run(["rm", "-rf", str(other.base / "elsewhere")])
        number = error_of(os.listdir, other.mount / "d") or error_of(os.stat, other.mount / "d" / "f")
        if number not in (116, 2):
            raise Failed(f"errno {number}, not ESTALE")
        equal("creating in it", error_of(lambda: (other.mount / "new").touch()) in (116, 2), True)
        other.export.mkdir()


@suite.check("an object that is removed on the server is gone or still itself, never another one")
def removed_object(site):
    with other_site(site, "removed", options="attr_timeout=60,entry_timeout=60") as other:
        (other.mount / "f").write_text("old")
        os.stat(other.mount / "f")
        os.unlink(other.export / "f")
        (other.export / "g").write_text("other")  # may get the same inode number
        try:
            equal("what is read", (other.mount / "f").read_text(), "old")  # the server has it open yet
        except OSError as error:
            if error.errno not in (116, 2):
                raise


# --- mounts that cannot be ---

def refused(site, source, options, seconds=20, point=None, **more):
    """The mount ends with 1, one line, within seconds; nothing is mounted."""
    point = point or site.base / "refused"
    if not os.path.lexists(point) and more.pop("make", True):
        pathlib.Path(point).mkdir()
    begin = time.monotonic()
    done = subprocess.run(
        [site.where.build.program("rdmafs"), source, str(point), "-o", options], check=False,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds * site.where.slow,
        env=environment(site.logs))
    elapsed = time.monotonic() - begin
    lines = (done.stdout + done.stderr).splitlines()
    what = f"rdmafs {source} -o {options}: {lines}"
    if done.returncode != 1:
        raise Failed(f"{what}: exit status {done.returncode}, not 1")
    if len(lines) != 1 or not lines[0].startswith("rdmafs: "):
        raise Failed(f"{what}: not one line that starts with \"rdmafs: \"")
    if is_mounted(point):
        run(["umount", "-l", str(point)])
        raise Failed(f"{what}: it is mounted all the same")
    if elapsed > seconds * site.where.slow:
        raise Failed(f"{what}: took {elapsed:.1f} s")


@suite.check("a mount that cannot be ends with status 1 and one line, and mounts nothing")
def cannot_mount(site):
    good = site.mount_option_text()
    address, export = site.where.address, site.export
    (site.base / "a-file").touch()
    (export / "file").write_text("x")
    unused = socket.socket()
    unused.bind((address, 0))  # not listening: connections are refused
    port = f"port={unused.getsockname()[1]},transport=tcp"
    for source, options in (
            (f"no-such-host.invalid:{export}", good), (f"{address}:{export}", port),
            (f"{address}:/not/exported", good), (f"{address}:{export}/none", good),
            (f"{address}:{export}/file", good), (f"{address}:relative", good),
            (f"{address}:{export}/../..", good), (f"{address}", good), (f":{export}", good),
            (f"{address}:", good), (f"{address}:{export}", good + ",no_such_option"),
            (f"{address}:{export}", good + ",port=none"), (f"{address}:{export}", "port=70000"),
            (f"{address}:{export}", good + ",cache=sometimes"),
            (f"{address}:{export}", good + ",transport=pigeon"),
            (f"{address}:{export}", good + ",attr_timeout=soon"),
            (f"{address}:{export}", good + ",nconnect=0"), (f"{address}:{export}", good + ",pool_size=1"),
            (f"{address}:{export}", good + ",max_read=-5")):
        refused(site, source, options)
    refused(site, f"{address}:{export}", good, point=site.base / "no-such-directory", make=False)
    refused(site, f"{address}:{export}", good, point=site.base / "a-file")
    unused.close()


@suite.check("a server that accepts and says nothing does not hang the mount")
def silent_server(site):
    listener = socket.create_server((site.where.address if site.where.transport == "tcp"
                                     else "127.0.0.1", 0))
    try:
        refused(site, f"{listener.getsockname()[0]}:{site.export}",
                f"port={listener.getsockname()[1]},transport=tcp", seconds=40)
    finally:
        listener.close()


@suite.check("a server that answers nonsense does not hang the mount or end it badly")
def nonsense_server(site):
    pid_of = []
    listener = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        source = random.Random(5)
        while True:
            peer, _ = listener.accept()
            peer.sendall(source.randbytes(4096))
    pid_of.append(pid)
    try:
        refused(site, f"127.0.0.1:{site.export}",
                f"port={listener.getsockname()[1]},transport=tcp", seconds=40)
    finally:
        listener.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@suite.check("a server that cannot start ends with status 1 and one line")
def cannot_serve(site):
    program = site.where.build.program("rdmafsd")
    for arguments in (["-f", "-o", "listen=127.0.0.1,port=0", "/no/such/directory"],
                      ["-f", "-o", "no_such_option", str(site.export)],
                      ["-f", "-o", "listen=192.0.2.7,port=0,transport=tcp", str(site.export)],
                      ["-f", "-o", f"listen={site.where.address},port={site.port},transport=tcp",
                       str(site.export)] if site.where.transport == "tcp" else
                      ["-f", "-o", "port=x", str(site.export)]):
        done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=20 * site.where.slow, check=False,
                              env=environment(site.logs))
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
        if done.returncode != 1 or not lines or not lines[-1].startswith("rdmafsd: "):
            raise Failed(f"rdmafsd {arguments}: exit status {done.returncode}, {lines}")


# --- servers that die, and bad clients ---

@contextlib.contextmanager
def site_to_lose(site, name):
    """A site of its own, whose server the check kills."""
    other = Site(site.where, f"{site.name}-{name}").start()
    try:
        yield other
    finally:
        other.stop()
        other.remove()


def expect_taken_away(other):
    point, pid = other.mount, other.mounts[other.mount]
    wait_until(lambda: not is_mounted(point), 10, "the mount point is free")
    other.mounts.pop(point)
    if processes.wait_for_end(pid, 30 * other.where.slow) is None:
        os.kill(pid, signal.SIGKILL)
        raise Failed("the mount program goes on after the unmount")


def with_dead_server(site, name, unmount):
    with site_to_lose(site, name) as other:
        (other.mount / "f").write_text("x")
        other.kill_server()
        # What a user's shell does to a dead mount; it waits, and a signal has to end it.
        visitor = subprocess.Popen(["ls", "-l", str(other.mount)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        visitor.kill()
        if processes.wait_for_end(visitor.pid, 15) is None:
            raise Failed("a process that waits for the dead server cannot be killed")
        visitor.returncode = -9
        unmount(other.mount)
        expect_taken_away(other)


# umount(8) looks at the mount point, and its file system, before it takes it away; what the kernel knew of it has
# run out then.
@suite.check("the mount of a dead server is taken away by umount", 200)
def dead_plain(site):
    def unmount(point):
        time.sleep(2)  # attr_timeout is 1 s
        run(["stat", str(point)], 10)
        run(["stat", "-f", str(point)], 10)
        run(["umount", str(point)], 30)
    with_dead_server(site, "dead-plain", unmount)


@suite.check("a umount that waits for a silent server ends when the server is found to be lost", 120)
def dead_meanwhile(site):
    with site_to_lose(site, "dead-meanwhile") as other:
        time.sleep(2)  # attr_timeout is 1 s
        other.server.send_signal(signal.SIGSTOP)
        unmount = subprocess.Popen(["umount", str(other.mount)])
        time.sleep(1)
        equal("umount's end while the server is silent", unmount.poll(), None)
        other.kill_server()
        if processes.wait_for_end(unmount.pid, 10 * site.where.slow) is None:
            unmount.kill()
            raise Failed("umount waits for a server that is lost")
        unmount.returncode = 0
        expect_taken_away(other)


@suite.check("a soft mount says of its root, too, that the server does not answer", 60)
def soft_root(site):
    with site_to_lose(site, "soft-root") as other:
        point = other.add_mount("soft", "soft,timeout=2")
        os.stat(point)
        other.kill_server()
        time.sleep(2)  # attr_timeout is 1 s
        equal("the error", error_of(os.stat, point), errno.ETIMEDOUT)


@suite.check("the mount of a dead server is taken away by umount -l", 200)
def dead_lazy(site):
    with_dead_server(site, "dead-lazy", lambda point: run(["umount", "-l", str(point)], 30))


@suite.check("the mount of a dead server is taken away by umount -f", 200)
def dead_forced(site):
    def force(point):
        run(["umount", "-f", str(point)], 30, expect=None)
        if is_mounted(point):
            run(["umount", "-l", str(point)], 30)
    with_dead_server(site, "dead-forced", force)


@suite.check("the mount of a dead server is taken away by fusermount3 -u -z", 200)
def dead_fusermount(site):
    with_dead_server(site, "dead-fusermount", lambda point: run(["fusermount3", "-uz", str(point)], 30))


@suite.check("a server ends on SIGTERM while clients are connected")
def server_ends(site):
    with other_site(site, "server-ends") as other:
        (other.mount / "f").write_text("x")
        status, obeyed = processes.end(other.server.pid, 15 * site.where.slow)
        other.server.returncode, other.server_ended = status, True
        equal("the server's end", (status, obeyed), (0, True))
        point, pid = other.mount, other.mounts.pop(other.mount)
        run(["umount", "-l", str(point)], 30)
        if processes.wait_for_end(pid, 30 * site.where.slow) is None:
            os.kill(pid, signal.SIGKILL)
            raise Failed("the mount program goes on")


@suite.check("a mount program that is killed leaves an unmountable mount and a server that goes on")
def mount_killed(site):
    with other_site(site, "killed", mounts=2) as other:
        one, two = list(other.mounts)
        (one / "f").write_text("x")
        pid = other.mounts.pop(one)
        os.kill(pid, signal.SIGKILL)
        processes.wait_for_end(pid, 10)
        equal("the error", error_of(os.listdir, one), 107)
        run(["umount", str(one)], 30)
        equal("the other mount", (two / "f").read_text(), "x")


def send(site, data, half_close=False):
    """Sends bytes to the server; returns what it answered until it closed, None if it did not."""
    with socket.create_connection((site.where.address, site.port), timeout=5) as peer:
        try:
            peer.sendall(data)
            if half_close:
                peer.shutdown(socket.SHUT_WR)
            answer = b""
            peer.settimeout(8 * site.where.slow)
            while piece := peer.recv(65536):
                answer += piece
            return answer
        except ConnectionError:
            return b""
        except (TimeoutError, socket.timeout):
            return None


@suite.check("bad bytes close their own connection, and the mount goes on")
def bad_bytes(site):
    if site.where.transport != "tcp":
        return
    source = random.Random(11)
    (site.mount / "f").write_text("before")
    garbage = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 200, b"\xff" * 4096, b"\0" * 4096]
    garbage += [source.randbytes(source.randrange(64, 5000)) for _ in range(60)]
    garbage += [struct.pack("<II", source.randrange(2**32), source.randrange(2**32)) +
                source.randbytes(300) for _ in range(20)]
    for data in garbage:
        if send(site, data, half_close=True) is None:
            raise Failed(f"the connection that sent {data[:16]!r}... stays open")
    equal("the mount", (site.mount / "f").read_text(), "before")
    (site.mount / "g").write_text("after")
    with other_mount(site) as point:
        equal("a new mount", (point / "g").read_text(), "after")


@contextlib.contextmanager
def other_mount(site):
    point = site.add_mount(f"more{len(site.mounts)}")
    try:
        yield point
    finally:
        site.unmount(point)


@suite.check("two hundred silent connections do not keep the next mount out")
def silent_connections(site):
    if site.where.transport != "tcp":
        return
    peers = [socket.create_connection((site.where.address, site.port), timeout=5) for _ in range(200)]
    try:
        with other_mount(site) as point:
            (point / "through").write_text("the crowd")
        equal("the file", (site.export / "through").read_text(), "the crowd")
    finally:
        for peer in peers:
            peer.close()


@suite.check("thirty mounts and unmounts leave neither process nor descriptor behind")
def mounts_in_turn(site):
    def server_descriptors():
        return len(os.listdir(f"/proc/{site.server.pid}/fd"))
    with other_mount(site) as point:
        os.listdir(point)
    before = server_descriptors()
    for number in range(30):
        with other_mount(site) as point:
            (point / "turn").write_text(str(number))
    wait_until(lambda: server_descriptors() <= before + 3, 60 * site.where.slow,
               f"the server has no more than {before} descriptors again")
