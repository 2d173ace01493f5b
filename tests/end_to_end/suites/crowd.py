"""A crowd: many clients at once that want more than the server's disk takes."""
import threading

from harness.checks import Suite
from harness.processes import Failed, run
from suites.trouble import other_site

CLIENTS = 64
SECONDS = 15
POOL_MIB = 32

suite = Suite("crowd", needs_product=True)
SUITES = [suite]


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


class Peak:
    """The most memory that a process has resident while this lasts."""

    def __init__(self, pid):
        self.pid, self.mib = pid, 0
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.end.wait(0.1):
            self.mib = max(self.mib, resident_mib(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()


@suite.check(f"{CLIENTS} clients that write more than the disk takes get alike, and no more memory than there is",
             timeout=240)
def crowd(site):
    # sync: every write waits for the disk.
    with other_site(site, "crowd", export_options=f"no_root_squash,sync,pool_size={POOL_MIB}M") as other:
        before = resident_mib(other.server.pid)
        with Peak(other.server.pid) as peak:
            done = run([site.where.build.program("library_crowd"), other.source(), str(other.port),
                        site.where.transport, str(CLIENTS), str(SECONDS)], timeout=200)
        written = sorted(int(line) for line in done.stdout.split())
        print(f"      {sum(written) >> 20} MiB by {len(written)} clients, the least {written[0] >> 20}, the most "
              f"{written[-1] >> 20}; the server had {before:.0f} MiB, then at most {peak.mib:.0f}")
        if len(written) != CLIENTS or written[0] == 0 or written[-1] > 3 * written[0]:
            raise Failed(f"clients are starved: {[count >> 20 for count in written]}")
        # Its pool of payload and, for each connection, what its messages take.
        if peak.mib > before + POOL_MIB + CLIENTS:
            raise Failed(f"the server took {peak.mib:.0f} MiB")
