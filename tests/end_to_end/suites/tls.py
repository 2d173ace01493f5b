"""tls: nothing in clear, by key or by certificates; who is not right is told so in one line."""
import contextlib
import hashlib
import os
import re
import subprocess
import threading

from harness.checks import Suite, equal
from harness.processes import Failed, run, wait_until
from harness.programs import environment
from harness.proxy import Proxy
from suites import tls_server
from suites.auth import KeySite, logged_once, refused, served, write_keys
from suites.tls_sites import Authority, CertificateSite, TlsKeySite, tls

suite = Suite("tls", needs_product=True)
SUITES = [suite, tls_server.suite]
MARKER = b"this-text-must-not-be-seen-on-the-wire"


def digest(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def fill_tree(directory):
    """Files of every size that goes another way: empty, inline, a record, more than one, more than a payload."""
    (directory / "below").mkdir()
    for number, size in enumerate((0, 1, 4096, 4097, 16384, 65537, (1 << 20) - 1, 1 << 20, (5 << 20) + 3)):
        (directory / "below" / f"f{number}").write_bytes(os.urandom(size))


def same_trees(one, other):
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    equal("the files", names, sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file()))
    for name in names:
        equal(f"{name}", digest(one / name), digest(other / name))
    return len(names)


def verified_io(mount):
    run(["fio", "--name=v", f"--directory={mount}", "--rw=randrw", "--bsrange=512-1m", "--size=32m",
         "--ioengine=libaio", "--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--direct=1", "--bs_unaligned=0",
         "--blockalign=512", "--fallocate=none"], timeout=100)


def works(site):
    fill_tree(site.mount)
    count = same_trees(site.mount, site.export)
    verified_io(site.mount)
    return count


@suite.check("with a key: files are the same on both sides, and fio verifies what it wrote")
def with_key(site):
    with tls(site, "key") as other:
        count = works(other)
        if "TLSv1.3 TLS_" not in other.server_log() or "key compute" not in other.server_log():
            raise Failed("the server does not say who has come, and how:\n" + other.server_log())
        return count


@suite.check("with the server's certificate, and with one of the client's, too")
def with_certificates(site):
    with tls(site, "certificate", CertificateSite) as other:
        count = works(other)
    with tls(site, "mutual", CertificateSite, more=",ca={ca}", mounts=0) as other:
        other.authority.issue("this-client", "DNS:this-client")
        point = other.add_mount("m", other.authority.options("this-client"))
        (point / "f").write_bytes(b"x" * 100000)
        if "CN = this-client" not in other.server_log():
            raise Failed("the server does not say whose certificate it saw:\n" + other.server_log())
        begin = len(other.server_log())
        refused(other, other.options, other.where.address, "certificate")
        logged_once(other, begin, "peer did not return a certificate")
    return count


@suite.check("rdmafsctl and the log say that there is TLS, and which cipher")
def is_said(site):
    with tls(site, "said") as other:
        for target in (str(other.mount), f"/run/rdmafs/rdmafsd.{other.server.pid}"):
            text = run([other.where.build.program("rdmafsctl"), "status", target]).stdout
            if not re.search(r"tls\s+TLSv1\.3 TLS_(AES_128_GCM|CHACHA20_POLY1305)_SHA256", text):
                raise Failed(f"{target}: no word of TLS:\n{text}")
    text = run([site.where.build.program("rdmafsctl"), "status", str(site.mount)]).stdout
    if "TLS" in text:
        raise Failed(f"a mount in clear says it has TLS:\n{text}")


@suite.check("another authority, another name, a key file that others may read: one line, and the server says why")
def wrong_certificates(site):
    with tls(site, "wrong-certificates", CertificateSite) as other:
        stranger = Authority(other.base / "stranger")
        begin = len(other.server_log())
        refused(other, f"tls,ca={stranger.ca}", other.where.address, "certificate is not accepted")
        logged_once(other, begin, "TLS: it ended the handshake: unknown CA")
        (other.authority.directory / "server.key").chmod(0o640)
        with_server(other, "0600")
        (other.authority.directory / "server.key").chmod(0o600)
        refused(other, f"tls,ca={other.base}/nothing", "nothing")
        (other.mount / "f").write_text("still here")
    with tls(site, "wrong-name", CertificateSite, mounts=0) as other:
        other.kill_server()
        other.authority.issue("server", "IP:192.0.2.1,DNS:elsewhere")
        other.start_server(other.port)
        refused(other, other.options, "IP address mismatch")


def with_server(site, said):
    """A second server with these options does not start."""
    done = run([site.where.build.program("rdmafsd"), "-f", "-o",
                f"listen={site.where.address},port=0,state={site.base}/state2,run_dir={site.base}/run,"
                f"transport=tcp,{site.export_options}", str(site.export)],
               timeout=20 * site.where.slow, expect=1, env=environment(site.logs))
    if said not in done.stdout:
        raise Failed(f"not a word of {said}:\n{done.stdout}")


@suite.check("a wrong secret and an unknown name are told alike here, and apart in the server's log")
def wrong_keys(site):
    with tls(site, "wrong-keys") as other:
        wrong = other.base / "wrong-keys"
        write_keys(wrong, f"compute {other.another_secret()}\n")
        begin = len(other.server_log())
        one = refused(other, f"sec=psk,key={wrong},tls", other.where.address, "compute")
        logged_once(other, begin, "compute", "the secret is another one")
        write_keys(wrong, f"stranger {other.secret}\n")
        begin = len(other.server_log())
        two = refused(other, f"sec=psk,key={wrong},tls", "stranger")
        logged_once(other, begin, "stranger", "no key of that name")
        equal("what the two are told", one.replace("compute", "NAME"), two.replace("stranger", "NAME"))
        (other.mount / "f").write_text("still here")


@suite.check("in clear to a server that demands TLS, and with TLS to one in clear: one line on both sides")
def downgrade(site):
    with tls(site, "downgrade") as other:
        begin = len(other.server_log())
        refused(other, f"sec=psk,key={other.client_keys}", "demands TLS")
        logged_once(other, begin, "without TLS")
        begin = len(site.server_log())
        refused(site, f"sec=psk,key={other.client_keys},tls", "does not speak TLS")
        logged_once(site, begin, "begins TLS")
        # By certificates to a server that has only keys.
        ca = Authority(other.base / "authority").ca
        begin = len(other.server_log())
        refused(other, f"tls,ca={ca}", "ended the TLS handshake")
        logged_once(other, begin, "shows no key, and there is no certificate here")
    with tls(site, "accepted", tls="accepted", mounts=0) as other:
        clear = f"sec=psk,key={other.client_keys}"
        other.options = clear
        (other.add_mount("clear") / "f").write_bytes(b"a" * 70000)
        equal("what the other one reads", (other.add_mount("tls", "tls") / "f").read_bytes(), b"a" * 70000)


@suite.check("options that do not go together are said so before anything is done")
def options(site):
    for given, said in (("tls", "ca=FILE"), ("tls,sec=psk,transport=rdma", "transport=rdma"),
                        ("ca=/x", "not among the options"), ("tls,ca=/x,cert=/y", "cert_key="),
                        ("xprtsec=mtls,ca=/x", "mtls"), ("xprtsec=some", "one of none, tls, mtls")):
        point = site.base / "no-mount"
        point.mkdir(exist_ok=True)
        done = run([site.where.build.program("rdmafs"), site.source(), str(point), "-o", f"port={site.port},{given}"],
                   expect=1, env=environment(site.logs))
        if len(done.stdout.splitlines()) != 1 or said not in done.stdout:
            raise Failed(f"{given}: {done.stdout}")


@suite.check("each export says by xprtsec= who comes in clear")
def per_export(site):
    with tls(site, "exports", tls="accepted", mounts=0) as other:
        other.kill_server()
        names = {"clear": "xprtsec=none:tls", "closed": "xprtsec=tls:mtls", "shown": "xprtsec=mtls"}
        for name in names:
            (other.base / name).mkdir()
        exports = other.base / "exports"
        exports.write_text("".join(f"{other.base / name} {other.where.address}(rw,sec=psk,{policy})\n"
                                   for name, policy in names.items()))
        clear, with_tls = f"sec=psk,key={other.client_keys}", f"sec=psk,key={other.client_keys},tls"
        with served(other, f"exports={exports},key={other.server_keys},tls=accepted"):
            for given, name, status in ((clear, "clear", 0), (with_tls, "clear", 0), (clear, "closed", 1),
                                        (with_tls, "closed", 0), (clear, "shown", 1), (with_tls, "shown", 0)):
                point = other.base / "per-export"
                point.mkdir(exist_ok=True)
                done = run([other.where.build.program("rdmafs"), f"{other.where.address}:{other.base}/{name}",
                            str(point), "-o", f"port={other.port},transport=tcp,{given}"],
                           expect=None, env=environment(other.logs), stdout=subprocess.PIPE)
                equal(f"{given} on {name}", done.returncode, status)
                if status == 0:
                    run(["umount", str(point)])
                elif "over TLS only" not in done.stdout:
                    raise Failed(f"{given} on {name}: {done.stdout}")
        with_server_exports(other, exports)


def with_server_exports(site, exports):
    done = run([site.where.build.program("rdmafsd"), "-f", "-o",
                f"listen={site.where.address},port=0,state={site.base}/state2,run_dir={site.base}/run,"
                f"transport=tcp,exports={exports},key={site.server_keys}"],
               timeout=20 * site.where.slow, expect=1, env=environment(site.logs))
    if "tls= is off" not in done.stdout:
        raise Failed(done.stdout)


class Tap(Proxy):
    """A proxy that looks for the marker in what it carries."""

    def __init__(self, host, port):
        self.seen = threading.Event()
        super().__init__(host, port)

    def look(self, data):
        if MARKER in data:
            self.seen.set()


@suite.check("what is read, written and named is not seen on the wire, and is without TLS")
def not_in_clear(site):
    for kind, is_seen in ((TlsKeySite, False), (CertificateSite, False), (KeySite, True)):
        with tls(site, f"wire-{kind.__name__}", kind, mounts=0) as other:
            tap = Tap(other.where.address, other.port)
            try:
                point = other.add_mount("tapped", f"port={tap.port},direct_io")
                (point / MARKER.decode()).write_bytes(MARKER * 10000)
                equal("what was written", (other.export / MARKER.decode()).read_bytes(), MARKER * 10000)
                equal("what is read", (point / MARKER.decode()).read_bytes(), MARKER * 10000)
                other.unmount(point)
            finally:
                tap.close()
            if tap.carried_bytes < 2 * len(MARKER) * 10000:
                raise Failed(f"only {tap.carried_bytes} bytes came by: nothing was looked at")
            equal(f"{kind.__name__}: it is seen on the wire", tap.seen.is_set(), is_seen)


@suite.check("connections that are cut in the middle of transfers are set up again, and nothing is lost")
def cut(site):
    for kind in (TlsKeySite, CertificateSite):
        with tls(site, f"cut-{kind.__name__}", kind, mounts=0) as other:
            with through_proxy(other) as (proxy, point):
                content = os.urandom(48 << 20)
                for number in range(3):
                    begin = proxy.carried_bytes
                    writer = threading.Thread(target=(point / f"f{number}").write_bytes, args=(content,), daemon=True)
                    writer.start()
                    wait_until(lambda: proxy.carried_bytes > begin + (4 << 20), 30, "it is under way")
                    proxy.cut()
                    writer.join(60 * other.where.slow)
                    if writer.is_alive():
                        raise Failed("the writer does not end")
                    equal("what is there", digest(other.export / f"f{number}"), hashlib.md5(content).hexdigest())
                if proxy.cut_count < 3:
                    raise Failed("nothing was cut")
                log = other.server_log()
                if " goes on over tcp" not in log:
                    raise Failed("no session went on:\n" + log)


@contextlib.contextmanager
def through_proxy(site):
    proxy = Proxy(site.where.address, site.port)
    try:
        point = site.add_mount("proxied", f"port={proxy.port}")
        yield proxy, point
        site.unmount(point)
    finally:
        proxy.close()


@suite.check("a changed byte on the wire is no data: the connection ends, and is set up again")
def changed(site):
    with tls(site, "changed", mounts=0) as other:
        class Liar(Tap):
            lies = 0

            def look(self, data):
                if self.lies and len(data) > 20000:
                    self.lies -= 1
                    at = len(data) // 2
                    if b"\x17\x03\x03" in data[at - 4:at + 3]:
                        at += 8  # a record's header, whose fault has another name
                    data[at] ^= 1
        liar = Liar(other.where.address, other.port)
        try:
            point = other.add_mount("lied-to", f"port={liar.port},direct_io")
            content = os.urandom(8 << 20)
            (point / "f").write_bytes(content)
            begin = len(other.server_log())
            liar.lies = 2
            (point / "g").write_bytes(content)
            equal("what is there", digest(other.export / "g"), hashlib.md5(content).hexdigest())
            equal("lies that were not told", liar.lies, 0)
            if "bad record mac" not in other.server_log()[begin:]:
                raise Failed("nobody noticed:\n" + other.server_log()[begin:])
            other.unmount(point)
        finally:
            liar.close()


@suite.check("after a restart of the server, and with another key, a mount goes on")
def comes_back(site):
    with tls(site, "back") as other:
        (other.mount / "f").write_text("one")
        other.kill_server()
        other.start_server(other.port)
        (other.mount / "f").write_text("two")
        secret = other.another_secret()
        write_keys(other.server_keys, f"later {secret}\n")
        write_keys(other.client_keys, f"later {secret}\n")
        other.wait_for_log("goes on over tcp with key later")
        (other.mount / "f").write_text("three")
        equal("what is there", (other.export / "f").read_text(), "three")


@suite.check("a program with the library comes through TLS, and not without")
def library(site):
    with tls(site, "library") as other:
        def connect(*more, expect):
            return run([other.where.build.program("library_key"), other.source(), str(other.port), "tcp",
                        str(other.client_keys), "compute", *more], timeout=30 * other.where.slow, expect=expect,
                       env=environment(other.logs)).stdout
        connect("tls", expect=0)
        if "demands TLS" not in connect(expect=1):
            raise Failed("it is not told why")
