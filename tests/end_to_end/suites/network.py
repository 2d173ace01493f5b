"""The network between mount and server goes away for a while: a cable is pulled, the kernel ends connections.
RDMAFS_RECOVERY_SECONDS: as in the suite recovery."""
import contextlib
import copy
import os
import subprocess
import time

from harness.checks import NotHere, Suite, equal
from harness.processes import Failed, run
from harness.site import Site, running
from suites.recovery_work import SECONDS, Trouble, in_process, write_and_verify
from suites.trouble import other_site

suite = Suite("network", needs_product=True)
SUITES = [suite]


class Cable:
    """Between this host and a network namespace of its own."""

    near, far = "10.79.113.1", "10.79.113.2"

    def __init__(self):
        number = os.getpid()
        self.namespace, self.near_end, self.far_end = f"rdmafs-{number}", f"near{number}", f"far{number}"
        run(["ip", "netns", "add", self.namespace])
        try:
            run(["ip", "link", "add", self.near_end, "type", "veth", "peer", self.far_end, "netns", self.namespace])
            run(["ip", "address", "add", f"{self.near}/30", "dev", self.near_end])
            run(["ip", "link", "set", self.near_end, "up"])
            run(["ip", "-n", self.namespace, "address", "add", f"{self.far}/30", "dev", self.far_end])
            self.plug()
        except BaseException:
            self.close()
            raise

    def plug(self):
        run(["ip", "-n", self.namespace, "link", "set", self.far_end, "up"])

    def pull(self):
        """No carrier: what is sent is lost, and nobody is told."""
        run(["ip", "-n", self.namespace, "link", "set", self.far_end, "down"])

    def close(self):
        run(["ip", "netns", "delete", self.namespace])


@contextlib.contextmanager
def far_site(site, name, **options):
    """A site whose server is at the other end of a cable."""
    cable = Cable()
    try:
        where = copy.copy(site.where)
        where.address = cable.far
        other = Site(where, f"{site.name}-{name}", export_options=f"no_root_squash,clients={cable.near}", **options)
        other.server_prefix = ["nsenter", f"--net=/run/netns/{cable.namespace}"]
        with running(other):
            yield other, cable
    finally:
        cable.close()


def write_without_pause(path, seconds):
    """So that whenever something happens, a write of 1 MiB is under way."""
    end = time.monotonic() + seconds
    block = os.urandom(1 << 20)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    while time.monotonic() < end:
        os.pwrite(fd, block, 0)
    if os.pread(fd, len(block), 0) != block:
        raise Failed(f"{path} is not what was written")
    os.close(fd)


def need_tcp(site):
    if site.where.transport == "rdma":
        raise NotHere("the guest's one device is not the suite's to cut off; the suite device takes it away")


@suite.check("a cable that is pulled during 1 MiB transfers, and put back, is a pause", timeout=120 + 3 * SECONDS)
def pulled_cable(site):
    need_tcp(site)
    with far_site(site, "cable", options="direct_io") as (other, cable):
        wait = in_process(write_and_verify, other.mount / "pieces", SECONDS, 5)
        time.sleep(SECONDS / 5)
        cable.pull()
        try:
            time.sleep(site.where.slow + SECONDS / 6)  # what was under way has arrived
            before = os.stat(other.export / "pieces").st_mtime_ns
            time.sleep(SECONDS / 6)
            equal("the last write while the cable is out", os.stat(other.export / "pieces").st_mtime_ns, before)
        finally:
            cable.plug()
        wait()


@suite.check("connections that the kernel ends (ss -K) during 1 MiB transfers lose and repeat nothing",
             timeout=120 + 3 * SECONDS)
def killed_sockets(site):
    need_tcp(site)
    with other_site(site, "sockets", options="direct_io") as other:
        ended = []

        def end_connections():
            done = subprocess.run(["ss", "-K", "-tnH", "state", "established", f"( dport = :{other.port} )"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
            if done.stderr:
                raise Failed(done.stderr)
            ended.extend(done.stdout.splitlines())

        with Trouble(end_connections, 0.4):
            wait = in_process(write_without_pause, other.mount / "same", SECONDS)
            in_process(write_and_verify, other.mount / "pieces", SECONDS, 6)()
            wait()
        if len(ended) < SECONDS:
            raise Failed(f"only {len(ended)} connections were ended")
        copied = other.document("stats")["transport"]["copied_bytes"]
        print(f"      {len(ended)} connections were ended; {copied} bytes lent to them were copied")
        if copied == 0:
            raise Failed("no pages that a write had lent to a lost connection were renewed (docs/memory.md)")
