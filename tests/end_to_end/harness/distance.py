"""A server that is a fixed round trip away: tests/bench/delay_proxy in front of a site's server."""
import contextlib
import subprocess

from harness.processes import Failed


@contextlib.contextmanager
def distant(site, round_trip_us, mib_per_s=0):
    """The port of 127.0.0.1 behind which the site's server is `round_trip_us` away, over a link that carries
    `mib_per_s` (0: as much as it can)."""
    proxy = subprocess.Popen([site.where.build.program("delay_proxy"), str(site.port), str(round_trip_us),
                              str(mib_per_s)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        line = proxy.stdout.readline()
        if not line.strip().isdigit():
            raise Failed(f"delay_proxy said {line!r}")
        yield int(line)
    finally:
        proxy.kill()
        proxy.wait()
        proxy.stdout.close()
