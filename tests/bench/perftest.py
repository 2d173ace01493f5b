"""What the RDMA device itself moves, by perftest's programs and by rdmafs's transport without files."""
import subprocess

from harness.processes import Failed, run, wait_until

MIB = 1 << 20
MARGIN = 1  # seconds that perftest leaves out of its count at either end


def device(program, address, seconds):
    """MiB/s of ib_write_bw or ib_read_bw with messages of 1 MiB from this host to itself. Counted here: the
    program's own figure needs a steady clock frequency, and is 0 on a busy machine."""
    duration = max(2, round(seconds)) + 2 * MARGIN
    options = ["-R", "-s", str(MIB), "-D", str(duration), "-f", str(MARGIN), "-F"]
    server = subprocess.Popen([program, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(server.pid), 20, "perftest's server listens")
        done = run([program, *options, address], timeout=duration + 60, expect=None)
    finally:
        server.kill()
        server.wait()
    for line in done.stdout.splitlines():
        fields = line.split()
        if len(fields) >= 4 and fields[0] == str(MIB) and int(fields[1]) > 0:
            return int(fields[1]) / (duration - 2 * MARGIN)
    raise Failed(f"{program} counted nothing:\n{done.stdout}")


def listens(pid):
    return f"pid {pid} " in run(["rdma", "resource", "show", "cm_id"], expect=None).stdout


def transport(program, what, seconds, depth):
    """MiB/s that tests/transport/rdma/rdma_bandwidth pushes or pulls, 1 MiB each."""
    done = run([program, what, str(seconds), str(depth), str(MIB)], timeout=seconds + 60)
    return float(done.stdout.split(":")[1].split()[0])
