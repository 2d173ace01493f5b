"""The RDMA device is taken away under a mount with traffic, and comes back. In the lab's guest only, where
the device is the suite's to remove. RDMAFS_DEVICE_ROUNDS: how many times the first check does it."""
import contextlib
import os
import re
import shutil
import signal
import subprocess

from harness import processes
from harness.checks import NotHere, Suite, equal
from harness.processes import Failed, run, wait_until
from harness.site import Site, is_mounted, running

# A server on an address of its own, for which the kernel ends the listener with the device; and one on
# all addresses, whose listener stays.
one_address = Suite("device removal", needs_product=True)
all_addresses = Suite("device removal on all addresses", needs_product=True, listen="")
SUITES = [one_address, all_addresses]


class Device:
    """The guest's software device."""

    def __init__(self):
        self.kind = os.environ.get("LAB_DEVICE", "")
        if self.kind not in ("rxe", "siw"):
            raise NotHere("no device of the lab's guest: LAB_DEVICE does not name one")
        found = re.search(r"link (\S+)/1 .*netdev (\S+)", run(["rdma", "link"]).stdout)
        if not found:
            raise Failed("the guest's device is away: an earlier check has not brought it back")
        self.name, self.netdev = found.groups()

    def remove(self, seconds):
        """Ends when nobody has the device open any more."""
        done = subprocess.Popen(["rdma", "link", "delete", self.name], stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: done.poll() is not None, seconds, "the device can be removed")
        except Failed:
            raise Failed(f"somebody keeps the device: {holders()}") from None
        equal("rdma link delete", done.returncode, 0)

    def add(self):
        run(["rdma", "link", "add", self.name, "type", self.kind, "netdev", self.netdev])


def holders():
    """Which processes have which files of /dev/infiniband open, or mapped."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            paths = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
                paths += ["mapped: " + line.split()[-1] for line in maps if "/dev/infiniband" in line]
            found += [f"{processes.command_line(pid)[0]} ({pid}) {path}" for path in paths
                      if "/dev/infiniband" in path or "infinibandevent" in path]
    return found


@contextlib.contextmanager
def without_device(site):
    """The device is not there; afterwards it is, whatever happened."""
    device = Device()
    device.remove(20 * site.where.slow)
    try:
        yield
    finally:
        device.add()


class Traffic:
    """fio that writes and verifies in turn, on one mount; stops for nothing."""

    def __init__(self, point, *options):
        self.log = open(point.parent / "fio.log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            ["fio", "--name=traffic", f"--directory={point}", "--rw=randrw", "--bsrange=4k-256k", "--size=4m",
             "--verify=crc32c", "--verify_backlog=16", "--time_based", "--runtime=3600", *options],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)

    def end(self, seconds):
        """It is asked to end, and has met no error."""
        os.kill(self.process.pid, signal.SIGINT)
        self.process.returncode = processes.wait_for_end(self.process.pid, seconds)
        if self.process.returncode is None:
            self.kill()
            raise Failed("fio does not end: its I/O hangs")
        self.log.seek(0)
        text = self.log.read()
        if not re.search(r"traffic: \(.*err= 0:", text):
            raise Failed(f"fio met an error, status {self.process.returncode}\n{processes.tail(text)}")

    def kill(self):
        """Its jobs too, which are sessions of their own."""
        pids = [self.process.pid, *processes.descendants(self.process.pid)]
        processes.kill_with_descendants(self.process.pid)
        for pid in pids:
            if processes.wait_for_end(pid, 30) is None:
                raise Failed(f"fio cannot be killed: its I/O hangs\n{processes.whereabouts()}")
        self.process.returncode = -9


ASYNCHRONOUS = "--direct=1", "--ioengine=libaio", "--iodepth=8"


@contextlib.contextmanager
def traffic_on(site, point, *options):
    traffic = Traffic(point, *options)
    try:
        yield traffic
    except BaseException:
        run(["umount", "-f", str(point)], 30, expect=None)  # or what it waits for cannot be killed
        traffic.kill()
        raise


def transport(site, point):
    return site.document("status", point)["transport"]


def moved_bytes(site, point):
    counts = site.document("stats", point)["transport"]
    return counts["bytes_sent"] + counts["bytes_received"]


def flows(site, point):
    before = moved_bytes(site, point)
    wait_until(lambda: moved_bytes(site, point) > before + (1 << 20), 30 * site.where.slow,
               f"data move through {point}")


def waits(site):
    """A mount with transport=rdma waits for the device, and nothing is lost."""
    Device()
    point = site.mount
    with traffic_on(site, point, *ASYNCHRONOUS) as traffic:
        flows(site, point)
        for _ in range(int(os.environ.get("RDMAFS_DEVICE_ROUNDS", 1))):
            with without_device(site):
                wait_until(lambda: site.document("status", point)["state"] == "reconnecting",
                           20 * site.where.slow, "the mount has noticed")
            flows(site, point)
        traffic.end(60 * site.where.slow)
    run(["ls", "-l", str(point)])


def refuses(site):
    """A server that has refused everyone lets go of the device that the requests came by."""
    Device()
    if not shutil.which("rping"):
        raise NotHere("rping (rdmacm-utils) is not installed")
    other = Site(site.where, f"{site.name}-refuses", listen="")
    try:
        other.start_server()
        argv = ["rping", "-c", "-C", "1", "-a", other.where.address, "-p", str(other.port)]
        run(argv, 30 * site.where.slow, expect=None)
        wait_until(lambda: "refused" in other.server_log(), 10, "the server has refused it")
        with without_device(site):
            pass
    finally:
        problems = other.stop()
    equal("what did not end well", problems, [])
    other.remove()


def unmounts(site):
    """A mount whose device is away can be unmounted, under load too. What waits in io_submit(2)'s background
    cannot be killed on any file system: that takes umount -f."""
    Device()
    lazy, forced = site.add_mount("lazy"), site.add_mount("forced")
    with traffic_on(site, lazy) as synchronous, traffic_on(site, forced, *ASYNCHRONOUS) as asynchronous:
        flows(site, lazy)
        flows(site, forced)
        with without_device(site):
            run(["umount", "-l", str(lazy)], 30)
            synchronous.kill()
            run(["umount", "-f", str(forced)], 30, expect=None)
            if is_mounted(forced):
                run(["umount", "-l", str(forced)], 30)
            asynchronous.kill()
            for point in (lazy, forced):
                status = processes.wait_for_end(site.mounts.pop(point), 20 * site.where.slow)
                equal(f"exit status of the mount program of {point}", status, 0)


def server_ends(site):
    """A server whose device is away ends at SIGTERM, and one that starts again is found."""
    Device()
    with without_device(site):
        os.kill(site.server.pid, 15)
        equal("exit status of the server", processes.wait_for_end(site.server.pid, 20 * site.where.slow), 0)
        site.server_ended = True
    site.start_server(site.port)
    run(["ls", "-l", str(site.mount)], 60 * site.where.slow)


def goes_on(site):
    """A mount with transport=auto goes on over TCP."""
    if Device().kind == "siw":
        raise NotHere("Soft-iWARP has its ports in common with TCP: a server cannot have both on one")
    with running(Site(site.where, f"{site.name}-auto", transport="auto")) as other:
        point = other.mount
        chosen = transport(other, point)
        equal(f"transport\n{other.mount_log(point)}\n{other.server_log()}", chosen["name"], "rdma")
        with traffic_on(other, point, *ASYNCHRONOUS) as traffic:
            flows(other, point)
            with without_device(site):
                wait_until(lambda: transport(other, point)["name"] == "tcp", 20 * site.where.slow,
                           "the mount goes by TCP")
                flows(other, point)
            traffic.end(60 * site.where.slow)


for _suite in SUITES:
    _suite.check("a mount waits for its device and goes on where it was", 200)(waits)
all_addresses.check("a server that has refused everyone lets go of the device", 200)(refuses)
one_address.check("a mount without its device can be unmounted", 200)(unmounts)
one_address.check("a server without its device ends, and its mount finds the next one", 200)(server_ends)
one_address.check("with transport=auto it goes on over TCP", 200)(goes_on)
