"""sec=psk: who has a key gets in, who has none is told so in one line, and keys change under load."""
import base64
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import threading

from harness import processes
from harness.checks import NotHere, Suite, equal
from harness.processes import Failed, run, wait_until
from harness.programs import environment
from harness.proxy import Proxy
from harness.site import Site, is_mounted
from suites.trouble import other_site

suite = Suite("auth", needs_product=True)
SUITES = [suite]
SOME_UID = 4711
NOBODY = 65534  # fusermount3 wants a user with a name


def new_secret():
    return base64.b64encode(os.urandom(32)).decode()


def write_keys(path, text, mode=0o600):
    """Another file takes the place of the old one, as the manual says."""
    beside = pathlib.Path(f"{path}.new")
    beside.write_text(text)
    beside.chmod(mode)
    beside.rename(path)


class KeySite(Site):
    """A site whose server and mounts want sec=psk, with one key that both have."""

    def __init__(self, where, name, key_options="", **options):
        super().__init__(where, name, **options)
        self.server_keys, self.client_keys = self.base / "server-keys", self.base / "client-keys"
        self.secret = new_secret()
        self.secrets = [self.secret]
        write_keys(self.server_keys, f"# who may come in\ncompute {self.secret} {key_options}\n")
        write_keys(self.client_keys, f"compute {self.secret}\n")
        self.export_options += f",sec=psk,key={self.server_keys},log_level=debug"
        self.options = f"sec=psk,key={self.client_keys}"

    def another_secret(self):
        self.secrets.append(new_secret())
        return self.secrets[-1]

    def wait_for_log(self, text, begin=0):
        wait_until(lambda: text in self.server_log()[begin:], 20 * self.where.slow,
                   f"the server's log says {text!r}")


def keyed(site, name, **options):
    return other_site(site, name, KeySite, **options)


def refused(site, options, *said, port=None):
    """A mount with these options fails: exit status 1 and one line that says all of it."""
    point = site.base / "refused"
    point.mkdir(exist_ok=True)
    done = run([site.where.build.program("rdmafs"), site.source(), str(point), "-o",
                f"port={port or site.port},transport={site.where.transport},{options}"],
               timeout=30 * site.where.slow, expect=1, env=environment(site.logs))
    lines = done.stdout.splitlines()
    if len(lines) != 1 or not lines[0].startswith("rdmafs: ") or any(part not in lines[0] for part in said):
        raise Failed(f"{options}: not one line with {said}:\n{done.stdout}")
    if is_mounted(point):
        raise Failed(f"{options}: there is a mount")
    return lines[0]


def logged_once(site, begin, *said):
    """The server has written one line about a refusal since `begin`, with the peer's address."""
    lines = [line for line in site.server_log()[begin:].splitlines() if "closing the " in line]
    if len(lines) != 1 or site.where.address not in lines[0] or any(part not in lines[0] for part in said):
        raise Failed(f"not one line with {said} and the address:\n" + "\n".join(lines))


@suite.check("a mount with the server's key works, over every connection")
def mounts(site):
    with keyed(site, "mounts", mounts=2) as other:
        first, second = list(other.mounts)
        (first / "f").write_bytes(b"x" * (5 << 20))
        equal("what the other mount reads", (second / "f").read_bytes(), b"x" * (5 << 20))
        if "with key compute" not in other.server_log():
            raise Failed("the server does not say who has come")


@suite.check("a wrong secret and an unknown name: exit status 1, one line here and one at the server")
def wrong_keys(site):
    with keyed(site, "wrong") as other:
        wrong = other.base / "wrong-keys"
        write_keys(wrong, f"compute {other.another_secret()}\n")
        begin = len(other.server_log())
        refused(other, f"sec=psk,key={wrong}", other.where.address, "compute")
        logged_once(other, begin, "compute", "the secret is another one")
        write_keys(wrong, f"stranger {other.secret}\n")
        begin = len(other.server_log())
        refused(other, f"sec=psk,key={wrong}", "stranger")
        logged_once(other, begin, "stranger", "no key of that name")
        # The mount that was there has seen nothing of it.
        (other.mount / "f").write_text("still here")


@suite.check("a key file that others may use, is not there or makes no sense is refused by both programs")
def key_files(site):
    with keyed(site, "files") as other:
        path = other.base / "bad-keys"
        for mode in (0o640, 0o604, 0o660, 0o644):
            write_keys(path, f"compute {other.secret}\n", mode)
            refused(other, f"sec=psk,key={path}", str(path), "0600")
            server_refuses(other, path, "0600")
        write_keys(path, f"compute {other.secret}\n")
        os.chown(path, SOME_UID, SOME_UID)
        refused(other, f"sec=psk,key={path}", f"uid {SOME_UID}")
        server_refuses(other, path, f"uid {SOME_UID}")
        write_keys(path, f"compute {other.secret[:-8]}\n")
        line = refused(other, f"sec=psk,key={path}", f"{path}:1", "32 bytes")
        if other.secret[:16] in line:
            raise Failed(f"the secret is told: {line}")
        server_refuses(other, path, "32 bytes")
        path.unlink()
        refused(other, f"sec=psk,key={path}", str(path), "No such file")
        server_refuses(other, path, "No such file")
        refused(other, f"sec=psk,key={other.client_keys},key_name=other", "no key 'other'")


def server_refuses(site, path, said):
    done = run([site.where.build.program("rdmafsd"), "-f", "-o",
                f"listen={site.where.address},port=0,state={site.base}/state2,run_dir={site.base}/run,"
                f"transport={site.where.transport},sec=psk,key={path}", str(site.export)],
               timeout=20 * site.where.slow, expect=1, env=environment(site.logs))
    lines = [line for line in done.stdout.splitlines() if line.startswith("rdmafsd: ")]
    if len(lines) != 1 or said not in lines[0] or str(path) not in lines[0]:
        raise Failed(f"not one line with {said}:\n{done.stdout}")


@suite.check("neither side goes on without the key when the other one does not ask for it")
def downgrade(site):
    with keyed(site, "downgrade") as other:
        begin = len(other.server_log())
        refused(other, "sec=sys", "demands a key")
        logged_once(other, begin, "shows no key")
        begin = len(site.server_log())
        refused(site, f"sec=psk,key={other.client_keys}", "does not ask for a key")
        logged_once(site, begin, "nothing is exported with sec=psk")
        refused(other, f"key={other.client_keys}", "sec=psk")


@suite.check("keys change while a program writes: it sees a pause at most")
def rotation(site):
    with keyed(site, "rotation") as other:
        with writing(other.mount / "log") as written:
            for number in range(3):
                before = written()
                old, secret = other.secrets[-1], other.another_secret()
                begin = len(other.server_log())
                old_name, name = f"key{number - 1}" if number else "compute", f"key{number}"
                write_keys(other.server_keys, f"{old_name} {old}\n{name} {secret}\n")
                other.wait_for_log("read the keys again: 2", begin)
                write_keys(other.client_keys, f"{name} {secret}\n")
                write_keys(other.server_keys, f"{name} {secret}\n")
                other.wait_for_log(f"goes on over {other.where.transport} with key {name}", begin)
                wait_until(lambda: written() > before + 20, 20 * other.where.slow, "it goes on")
        refused(other, f"sec=psk,key={old_key_file(other)}", "compute")


def old_key_file(site):
    path = site.base / "old-key"
    write_keys(path, f"compute {site.secret}\n")
    return path


@contextlib.contextmanager
def writing(path):
    """A thread that appends numbered lines and reads them back; any error fails the check."""
    state = {"count": 0, "failure": None}
    end = threading.Event()

    def work():
        try:
            with open(path, "w", encoding="utf-8") as file:
                while not end.is_set():
                    file.write(f"{state['count']}\n")
                    file.flush()
                    os.fsync(file.fileno())
                    state["count"] += 1
        except OSError as error:
            state["failure"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield lambda: state["count"]
    finally:
        end.set()
        thread.join(60)
    if state["failure"] or thread.is_alive():
        raise Failed(f"the writer: {state['failure'] or 'does not end'}")
    equal("the lines", path.read_text().split(), [str(n) for n in range(state["count"])])


@suite.check("a mount whose key is taken away waits, says why, and goes on with the next key")
def revoked(site):
    with keyed(site, "revoked") as other:
        with writing(other.mount / "log") as written:
            wait_until(lambda: written() > 20, 20 * other.where.slow, "it writes")
            begin = len(other.server_log())
            secret = other.another_secret()
            write_keys(other.server_keys, f"compute {secret}\n")
            other.wait_for_log("its key compute is not one any more", begin)
            other.wait_for_log("the secret is another one than here", begin)
            stopped = written()
            write_keys(other.client_keys, f"compute {secret}\n")
            wait_until(lambda: written() > stopped + 20, 30 * other.where.slow, "it goes on")


@suite.check("a key file with a fault changes nothing, and SIGHUP reads it, too")
def faults(site):
    with keyed(site, "faults") as other:
        begin = len(other.server_log())
        write_keys(other.server_keys, f"compute {other.secret}\nhalf a line is no key\n")
        other.wait_for_log("the keys stay as they were", begin)
        (other.mount / "f").write_text("goes on")
        point = other.add_mount("again")
        other.unmount(point)
        begin = len(other.server_log())
        write_keys(other.server_keys, f"compute {other.secret}\nmore {other.another_secret()}\n")
        os.kill(other.server.pid, signal.SIGHUP)
        other.wait_for_log("read the keys again: 2", begin)


@suite.check("after a restart of the server, and after cut connections, it goes on")
def comes_back(site):
    with keyed(site, "restart") as other:
        with writing(other.mount / "log") as written:
            for _ in range(3):
                before = written()
                other.kill_server()
                other.start_server(other.port)
                wait_until(lambda: written() > before + 20, 30 * other.where.slow, "it goes on")
        if other.where.transport == "tcp":
            through_a_proxy(other)


def through_a_proxy(other):
    proxy = Proxy(other.where.address, other.port)
    try:
        point = other.add_mount("proxied", f"port={proxy.port}")
        with writing(point / "proxied-log") as written:
            for _ in range(5):
                before = written()
                proxy.cut()
                wait_until(lambda: written() > before + 10, 30 * other.where.slow, "it goes on")
        other.unmount(point)
    finally:
        proxy.close()


@suite.check("a key's options say whom its users are taken for")
def squashing(site):
    with keyed(site, "squash", key_options="all_squash,anonuid=4711,anongid=4712") as other:
        other.export.chmod(0o777)
        (other.mount / "f").write_text("whose?")
        status = (other.export / "f").stat()
        equal("owner and group", (status.st_uid, status.st_gid), (4711, 4712))
        begin = len(other.server_log())
        write_keys(other.server_keys, f"compute {other.secret} ro\n")
        other.wait_for_log("read the keys again: 1", begin)

        def is_read_only():
            try:
                (other.mount / "g").write_text("no")
                (other.mount / "g").unlink()
            except OSError:
                return True
            return False
        wait_until(is_read_only, 10 * other.where.slow, "the key is read-only now")


@suite.check("each export says how its clients are known")
def per_export(site):
    with keyed(site, "exports") as other:
        other.kill_server()
        exports = other.base / "exports"
        names = {"open": "sec=sys", "closed": "sec=psk", "either": "sec=sys:psk"}
        for name in names:
            (other.base / name).mkdir()
        exports.write_text("".join(
            f"{other.base / name} {other.where.address}(rw,no_root_squash,{flavor})\n"
            for name, flavor in names.items()))
        with served(other, f"exports={exports},key={other.server_keys}"):
            source = f"{other.where.address}:{other.base}"
            with_key = f"sec=psk,key={other.client_keys}"
            for options, name, said in (
                    (with_key, "closed", None), (with_key, "either", None), ("sec=sys", "open", None),
                    ("sec=sys", "either", None), (with_key, "open", "not exported with sec=psk"),
                    ("sec=sys", "closed", "demands a key")):
                point = other.base / "per-export"
                point.mkdir(exist_ok=True)
                done = run([other.where.build.program("rdmafs"), f"{source}/{name}", str(point), "-o",
                            f"port={other.port},transport={other.where.transport},{options}"],
                           expect=None, env=environment(other.logs), stdout=subprocess.PIPE)
                equal(f"{options} on {name}", done.returncode, 0 if said is None else 1)
                if said is None:
                    run(["umount", str(point)])
                elif said not in done.stdout:
                    raise Failed(f"{options} on {name}: {done.stdout}")


@contextlib.contextmanager
def served(site, options):
    """The site's port, served with these options instead."""
    log = open(site.logs / "served", "w", encoding="utf-8")
    with log:
        server = subprocess.Popen(
            [site.where.build.program("rdmafsd"), "-f", "-o",
             f"listen={site.where.address},port={site.port},state={site.base}/state,"
             f"transport={site.where.transport},{options}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(site.logs))
    try:
        path = site.logs / "served"
        wait_until(lambda: "serving" in path.read_text() or server.poll() is not None, 20, "it serves")
        yield path
    finally:
        status, _ = processes.end(server.pid)
        server.returncode = status
    equal("the server's exit status", status, 0)


@suite.check("a user mounts with a key file of its own")
def as_user(site):
    if os.stat("/dev/fuse").st_mode & 0o006 != 0o006:
        raise NotHere("users may not open /dev/fuse")
    with keyed(site, "user") as other:
        own = other.base / "users-key"
        write_keys(own, f"compute {other.secret}\n")
        os.chown(own, NOBODY, NOBODY)
        point = other.base / "users-mount"
        point.mkdir()
        os.chown(point, NOBODY, NOBODY)
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        program = other.base / "rdmafs"  # where that user can reach it
        shutil.copy(other.where.build.program("rdmafs"), program)
        reports = other.base / "users-reports"
        reports.mkdir()
        os.chown(reports, NOBODY, NOBODY)
        run([*user, str(program), other.source(), str(point), "-o",
             f"port={other.port},transport={other.where.transport},sec=psk,key={own}"],
            timeout=30 * other.where.slow, env=environment(reports, HOME=str(other.base)))
        run([*user, "ls", str(point)])
        run([*user, "fusermount3", "-u", str(point)])


@suite.check("a program with the library connects with a key, and not without")
def library(site):
    with keyed(site, "library") as other:
        def connect(*key, expect):
            return run([other.where.build.program("library_key"), other.source(), str(other.port),
                        other.where.transport, *map(str, key)], timeout=30 * other.where.slow,
                       expect=expect, env=environment(other.logs)).stdout
        equal("with the key", connect(other.client_keys, expect=0).split()[0], "0")
        connect(other.client_keys, "compute", expect=0)
        for key, said in (("-",), "demands a key"), ((other.client_keys, "other"), "no key 'other'"):
            out = connect(*key, expect=1)
            if said not in out:
                raise Failed(f"{key}: {out}")


# capabilities(7), by number.
FOR_FILES = {0: "CHOWN", 1: "DAC_OVERRIDE", 2: "DAC_READ_SEARCH", 3: "FOWNER", 4: "FSETID", 6: "SETGID",
             7: "SETUID", 21: "SYS_ADMIN", 24: "SYS_RESOURCE", 27: "MKNOD", 31: "SETFCAP"}
IPC_LOCK, SYS_PTRACE = 14, 19


@suite.check("a server of root has the capabilities that serving needs and no other, on every thread")
def capabilities(site):
    allowed = sum(1 << number for number in FOR_FILES)
    if site.where.transport != "tcp":
        allowed |= 1 << IPC_LOCK
    if "asan" in site.where.build.directory.name:
        allowed |= 1 << SYS_PTRACE  # LeakSanitizer's
    tasks = list(pathlib.Path(f"/proc/{site.server.pid}/task").iterdir())
    for task in tasks:
        fields = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines() if ":" in line)
        for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
            more = int(fields[name], 16) & ~allowed
            if more:
                raise Failed(f"{fields['Name'].strip()}: {name} has {more:x} more than is allowed")
        equal("no_new_privs", fields["NoNewPrivs"].strip(), "1")
    # They are not simply all gone: root's files and others' are served.
    path = site.mount / "for-somebody"
    path.write_text("x")
    os.chown(path, SOME_UID, SOME_UID)
    equal("the owner", (site.export / path.name).stat().st_uid, SOME_UID)
    os.setxattr(path, "trusted.x", b"value")
    return len(tasks)


@suite.check("no key is in a command line, an environment, a log or what rdmafsctl shows")
def not_seen(site):
    with keyed(site, "seen") as other:
        log = open(other.logs / "foreground", "w", encoding="utf-8")
        point = other.base / "foreground"
        point.mkdir()
        with log:
            mount = subprocess.Popen(
                [other.where.build.program("rdmafs"), other.source(), str(point), "-d", "-o",
                 other.mount_option_text()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(other.logs))
        wait_until(lambda: is_mounted(point), 20 * other.where.slow, "it is mounted")
        (point / "f").write_text("content")
        shown = run([other.where.build.program("rdmafsctl"), "status", "--json"], expect=None).stdout
        for pid in (other.server.pid, mount.pid):
            for what in ("cmdline", "environ"):
                shown += pathlib.Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace")
        run(["umount", str(point)])
        equal("the exit status", mount.wait(20), 0)
        shown += other.server_log() + (other.logs / "foreground").read_text()
        if "compute" not in shown:
            raise Failed("not even the name is told: nothing was looked at")
        for form in every_form(other.secret):
            if form in shown:
                raise Failed("a key is seen")


def every_form(secret):
    raw = base64.b64decode(secret)
    return [secret, secret[:20], raw.hex(), raw.hex().upper(), raw.decode("latin1")]
