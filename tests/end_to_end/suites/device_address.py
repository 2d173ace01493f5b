"""The address of an RDMA device changes under a mount with traffic, of which rdma_cm tells with ADDR_CHANGE: in a
guest of the lab whose kernel has bonding (QEMU's)."""
import contextlib
import copy
import subprocess

from harness import processes
from harness.checks import NotHere, Suite
from harness.processes import run, wait_until
from harness.site import Site, running
from suites.device import ASYNCHRONOUS, Device, flows, traffic_on

suite = Suite("device address", needs_product=True)
SUITES = [suite]


@contextlib.contextmanager
def bond(kind):
    """A network of its own, whose address on the wire is that of the one of its two ports that is in use: as
    rdma_cm(7) has it, that is what an address change is."""
    script = f"""
        ip link add labbond type bond mode active-backup fail_over_mac active
        ip link add labport1 type dummy && ip link add labport2 type dummy
        ip link set labport1 master labbond && ip link set labport2 master labbond
        ip link set labbond up && ip address add 10.78.0.1/24 dev labbond
        rdma link add labbond0 type {kind} netdev labbond"""
    try:
        if subprocess.run(["ip", "link", "add", "labtry", "type", "bond"], stderr=subprocess.DEVNULL).returncode:
            raise NotHere("this kernel has no bonding, without which no device's address changes")
        run(["ip", "link", "delete", "labtry"])
        processes.shell(script)
        yield "10.78.0.1"
    finally:
        for argv in (["rdma", "link", "delete", "labbond0"], ["ip", "link", "delete", "labbond"],
                     ["ip", "link", "delete", "labport1"], ["ip", "link", "delete", "labport2"]):
            run(argv, 60, expect=None)


@suite.check("the connection is made again, and the listener listens again", 200)
def changes_address(site):
    with bond(Device().kind) as address:
        where = copy.copy(site.where)
        where.address = address
        with running(Site(where, f"{site.name}-address", transport="rdma")) as other:
            point = other.mount
            with traffic_on(other, point, *ASYNCHRONOUS) as traffic:
                flows(other, point)
                run(["ip", "link", "set", "labbond", "type", "bond", "active_slave", "labport2"])
                for text in ("RDMA_CM_EVENT_ADDR_CHANGE", "listens again", "session 1 goes on over rdma"):
                    wait_until(lambda: text in other.server_log(), 20 * site.where.slow,
                               f'the server says "{text}"')
                flows(other, point)
                traffic.end(60 * site.where.slow)
