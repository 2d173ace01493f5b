"""tls server: handshakes that do not go on, and certificates that change under it."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import time

from harness.checks import Suite, equal
from harness.processes import Failed, run, wait_until
from suites.auth import refused
from suites.tls_sites import Authority, CertificateSite, tls

suite = Suite("tls server", needs_product=True)
PLACES = 32  # for handshakes of one address


@suite.check("handshakes of TLS that do not go on are bounded for each address, and nobody else notices")
def half_open(site):
    with tls(site, "half-open") as other:
        (other.mount / "f").write_bytes(b"x" * 100000)
        for _ in range(10):
            if keeps_places(other):
                break
        else:
            raise Failed("this machine is too slow for what the server gives 5 seconds to")

        def is_mounted_again():
            try:
                return other.add_mount("later")
            except Failed:
                return None
        wait_until(is_mounted_again, 10 * other.where.slow, "there is place for a new mount")
        equal("what it reads", (other.base / "later" / "f").read_bytes(), b"x" * 100000)


def keeps_places(other):
    """Nothing was seen, and False returned, when it took longer than a place is kept."""
    begin, old_bytes = time.monotonic(), len(other.server_log())
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((other.where.address, other.port), 10))
                   for _ in range(PLACES + 8)]
        for client in clients:
            client.sendall(b"\x16\x03\x01\x02\x00\x01")  # a ClientHello begins
            client.setblocking(False)
        try:
            wait_until(lambda: sum(map(is_closed, clients)) == 8, 3, "those beyond the places are closed")
            (other.mount / "f").write_bytes(b"x" * 100000)
            refused(other, f"sec=psk,key={other.client_keys},tls", "too many handshakes")
            equal("those that are closed", sum(map(is_closed, clients)), 8)
            lines = other.server_log()[old_bytes:].splitlines()
            equal("lines about it", sum("too many handshakes at once" in line for line in lines), 9)
        except Failed:
            if time.monotonic() - begin < 4.5:
                raise
            return False
    return True


def is_closed(client):
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@suite.check("another certificate of the server is shown after SIGHUP, and mounts that are there go on")
def rotation(site):
    with tls(site, "rotation", CertificateSite) as other:
        old = shown_certificate(other)
        other.authority.issue("server", f"IP:{other.where.address}")
        equal("it is shown before SIGHUP", shown_certificate(other), old)
        begin = len(other.server_log())
        hang_up(other, "read the certificates again", begin)
        new = shown_certificate(other)
        if new == old:
            raise Failed("the old certificate is still shown")
        (other.mount / "f").write_text("goes on")
        equal("what a new mount reads", (other.add_mount("new") / "f").read_text(), "goes on")
        if "goes on over" in other.server_log()[begin:]:
            raise Failed("the mount that was there has lost its connections:\n" + other.server_log()[begin:])

        certificate = other.authority.directory / "server.pem"
        certificate.write_text("no certificate\n")
        begin = len(other.server_log())
        hang_up(other, "the certificates stay as they were", begin)
        lines = [line for line in other.server_log()[begin:].splitlines() if "certificates" in line]
        if len(lines) != 1 or str(certificate) not in lines[0]:
            raise Failed(f"not one line that names {certificate}:\n" + "\n".join(lines))
        equal("what is shown then", shown_certificate(other), new)
        equal("what a new mount reads", (other.add_mount("newer") / "f").read_text(), "goes on")


def hang_up(site, said, begin):
    os.kill(site.server.pid, signal.SIGHUP)
    wait_until(lambda: said in site.server_log()[begin:], 20 * site.where.slow, f"the log says {said!r}")


def shown_certificate(site):
    """What openssl(1) is shown by the server, in PEM."""
    said = run(["openssl", "s_client", "-connect", f"{site.where.address}:{site.port}"], expect=None,
               stdin=subprocess.DEVNULL).stdout
    return re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.DOTALL)[0]


@suite.check("a mount goes on with another authority and another certificate of its own, when the server has them")
def client_rotation(site):
    with tls(site, "client-rotation", CertificateSite, more=",ca={ca}", mounts=0) as other:
        other.authority.issue("this-client", "DNS:first")
        point = other.add_mount("m", other.authority.options("this-client"))
        (point / "f").write_text("one")
        # Another authority in the place of the old one, at both ends.
        later = Authority(other.base / "later")
        later.issue("server", f"IP:{other.where.address}")
        later.issue("this-client", "DNS:second")
        for path in later.directory.iterdir():
            path.replace(other.authority.directory / path.name)
        other.kill_server()
        begin = len(other.server_log())
        other.start_server(other.port)
        (point / "f").write_text("two")
        equal("what is there", (other.export / "f").read_text(), "two")
        if "over tcp, TLSv1.3" not in other.server_log()[begin:]:
            raise Failed("it does not say that the mount has come back:\n" + other.server_log()[begin:])
