"""FUSE over io_uring, where the kernel has it (Linux 6.14 and newer): what differs from the device."""
import fcntl
import os
import pathlib
import subprocess
import time

from harness import processes
from harness.checks import NotHere, Suite, equal
from harness.processes import Failed, wait_until
from suites.tools import fio

SWITCH = pathlib.Path("/sys/module/fuse/parameters/enable_uring")
suite = Suite("uring", needs_product=True, mounts=0)
SUITES = [suite]


class SwitchedOn:
    """The kernel's switch, as long as a mount is being made; afterwards it is as it was."""

    def __enter__(self):
        if not SWITCH.exists():
            raise NotHere("this kernel has no FUSE over io_uring")
        self.before = SWITCH.read_text(encoding="ascii").strip()
        SWITCH.write_text("Y", encoding="ascii")

    def __exit__(self, *_):
        SWITCH.write_text(self.before, encoding="ascii")


def ring_mount(site, name, options=""):
    with SwitchedOn():
        return site.add_mount(name, ",".join(part for part in ("io_uring=on", options) if part))


@suite.check("a mount says by which channel its requests come")
def channel(site):
    point = ring_mount(site, "on")
    equal("channel", site.document("status", point)["channel"], "fuse-io-uring")
    site.unmount(point)
    with SwitchedOn():
        point = site.add_mount("off", "io_uring=off")
    equal("channel with io_uring=off", site.document("status", point)["channel"], "fuse-device")
    site.unmount(point)


@suite.check("io_uring=on fails with one clear line where the kernel has it switched off")
def refused(site):
    if not SWITCH.exists() or SWITCH.read_text(encoding="ascii").strip() == "N":
        try:
            site.add_mount("refused", "io_uring=on")
        except Failed as failure:
            if "io_uring=on" not in str(failure):
                raise
            return
        raise Failed("the mount came about")
    raise NotHere("it is switched on here")


@suite.check("large transfers copy nothing, small reads once", 300)
def copies(site):
    point = ring_mount(site, "copies")
    (site.export / "copies").mkdir()
    directory = point / "copies"
    fio(directory, "--rw=write", "--bs=1m", "--size=32m")
    fio(directory, "--rw=read", "--bs=1m", "--size=32m", "--direct=1")
    fio(directory, "--rw=randrw", "--bs=64k", "--size=16m", "--ioengine=libaio", "--iodepth=16",
        "--direct=1")
    equal("payload bytes copied", site.document("stats", point)["transport"]["copied_bytes"], 0)
    fio(directory, "--rw=randread", "--bs=4k", "--size=4m", "--direct=1")
    copied = site.document("stats", point)["transport"]["copied_bytes"]
    equal("payload bytes copied by 4 MiB of small reads", copied, 4 << 20)
    site.unmount(point)


@suite.check("locks that wait leave room for the unlock", 200)
def locks(site):
    point = ring_mount(site, "locks")
    path = point / "locked"
    path.write_bytes(b"")
    holder = open(path, "r+b")
    fcntl.lockf(holder, fcntl.LOCK_EX)
    waiters = [subprocess.Popen(
        ["python3", "-c", "import fcntl,sys\n"
         "try: fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX)\n"
         "except OSError as error: sys.exit(error.errno)", str(path)]) for _ in range(40)]
    try:
        time.sleep(1)  # they may wait by now; the check does not depend on it
        holder.close()  # unlocks
        statuses = {waiter.wait(60) for waiter in waiters}
    finally:
        for waiter in waiters:
            waiter.kill()
            waiter.wait()
    import errno
    if not statuses <= {0, errno.ENOLCK}:
        raise Failed(f"waiting for the lock ended with {statuses}")
    os.unlink(path)
    site.unmount(point)


@suite.check("a reader that waits for a lost server can be killed", 200)
def killed(site):
    point = ring_mount(site, "killed", "direct_io")
    (site.export / "large").write_bytes(b"x" * (4 << 20))
    with open(point / "large", "rb") as file:
        os.read(file.fileno(), 1 << 20)
        site.kill_server()
        reader = subprocess.Popen(["dd", f"if={point}/large", "of=/dev/null", "bs=1M"],
                                  stderr=subprocess.DEVNULL)
        open_reader = subprocess.Popen(
            ["python3", "-c", "import os; os.pread(0, 1 << 20, 1 << 20)"], stdin=file)
        time.sleep(1)
        for process in (reader, open_reader):
            process.kill()
            if processes.wait_for_end(process.pid, 60 * site.where.slow) is None:
                raise Failed("a process that was killed still waits")
            process.returncode = -9
    site.start_server(site.port)
    wait_until(lambda: (point / "large").stat().st_size == 4 << 20, 30 * site.where.slow,
               "the mount goes on when the server is back")
    site.unmount(point)
