"""The ways to mount and unmount: rdmafs, mount -t, fstab, fusermount3, as root and as a user."""
import os
import pathlib
import shutil
import subprocess
import tempfile

from harness import processes
from harness.checks import Suite, equal
from harness.processes import Failed, run, shell, wait_until
from harness.programs import environment
from harness.site import SERVING, is_mounted

suite = Suite("mounting", needs_product=True)
SUITES = [suite]
NOBODY = 65534


def installation(site):
    """An installed tree (DESTDIR), made once."""
    root = site.base / "installed"
    if not root.exists():
        run(["cmake", "--install", str(site.where.build.directory), "--prefix", "/usr"],
            timeout=120, env={**os.environ, "DESTDIR": str(root)})
    return root


# Puts the installed programs where mount(8) looks for helpers, for this mount namespace alone.
IN_PLACE = """
    for folder in bin sbin; do
      new='{root}/usr/'$folder
      test -d "$new" || continue
      mount -t overlay -o "lowerdir=$new:/usr/$folder" overlay /usr/$folder 2>/dev/null || {{
        mkdir -p '{base}/copy/'$folder
        cp -a /usr/$folder/. '{base}/copy/'$folder; cp -a "$new/." '{base}/copy/'$folder
        mount --bind '{base}/copy/'$folder /usr/$folder; }}
    done
"""


def in_installed_namespace(site, script, timeout=60):
    """Runs a script in a mount namespace of its own that has rdmafs installed."""
    text = IN_PLACE.format(root=installation(site), base=site.base) + script
    done = run(["unshare", "--mount", "--propagation", "private", "bash", "-euo", "pipefail", "-c", text],
               timeout=timeout * site.where.slow, env=environment(site.logs))
    end_mount_programs(site)
    return done.stdout


def end_mount_programs(site):
    """Waits for the ends of mount programs whose mounts are gone."""
    known = set(site.mounts.values()) | {site.server.pid}

    def left():
        for pid in processes.children():
            if pid not in known:
                processes.wait_for_end(pid, 0)
        return [pid for pid in processes.children() if pid not in known and
                str(site.base) in " ".join(processes.command_line(pid))]
    try:
        wait_until(lambda: not left(), 20 * site.where.slow, "the mount programs have ended")
    except Failed:
        for pid in left():
            os.kill(pid, 9)
        raise


def mounted_and_used(site, mount_command, point, unmount_command):
    """The body of a script: mounts, uses the mount, unmounts."""
    return f"""
    {mount_command}
    grep -q ' {point} fuse.rdmafs ' /proc/self/mounts
    echo through > '{point}/made'; cat '{point}/made'; test "$(cat '{site.export}/made')" = through
    df '{point}' > /dev/null; rm '{point}/made'
    {unmount_command}
    if grep -q ' {point} ' /proc/self/mounts; then exit 1; fi
    """


def point_of(site, name):
    point = site.base / name
    point.mkdir(exist_ok=True)
    return point


@suite.check("mount -t fuse.rdmafs and umount")
def by_fuse_type(site):
    point = point_of(site, "by-fuse-type")
    in_installed_namespace(site, mounted_and_used(
        site, f"mount -t fuse.rdmafs {site.source()} '{point}' -o {site.mount_option_text()}", point,
        f"umount '{point}'"))


@suite.check("mount -t rdmafs and umount")
def by_type(site):
    point = point_of(site, "by-type")
    in_installed_namespace(site, mounted_and_used(
        site, f"mount -t rdmafs {site.source()} '{point}' -o {site.mount_option_text()}", point,
        f"umount '{point}'"))


@suite.check("an fstab line, with mount MOUNTPOINT, and mount -a")
def by_fstab(site):
    one, two = point_of(site, "fstab1"), point_of(site, "fstab2")
    options = site.mount_option_text("_netdev,nofail")
    fstab = site.base / "fstab"
    fstab.write_text(f"{site.source()} {one} fuse.rdmafs {options} 0 0\n"
                     f"{site.source()} {two} rdmafs {options},noatime 0 0\n")
    in_installed_namespace(site, f"mount --bind '{fstab}' /etc/fstab\n" + mounted_and_used(
        site, f"mount '{one}'", one, f"umount '{one}'") + mounted_and_used(
        site, "mount -a", two, f"umount '{two}'; umount '{one}'"))


@suite.check("mount tells of a failure with status 32 or 1 and mounts nothing")
def failing_helper(site):
    point = point_of(site, "failing")
    out = in_installed_namespace(site, f"""
    for type in fuse.rdmafs rdmafs; do
      status=0; mount -t $type {site.where.address}:/not/exported '{point}' -o {site.mount_option_text()} || status=$?
      test $status = 1 || test $status = 32
      if grep -q ' {point} ' /proc/self/mounts; then exit 1; fi
    done""")
    if "rdmafs" not in out:
        raise Failed(f"no word about what failed: {out}")


@suite.check("mount -o remount changes the kernel's options, and ro is honest")
def remount(site):
    point = point_of(site, "remount")
    in_installed_namespace(site, f"""
    mount -t fuse.rdmafs {site.source()} '{point}' -o {site.mount_option_text()}
    echo before >'{point}/remounted'
    mount -o remount,ro,noexec '{point}'
    findmnt -n -o OPTIONS '{point}' | grep -E '^ro,.*noexec.*allow_other'
    if touch '{point}/remounted' || rm '{point}/remounted'; then exit 1; fi
    test "$(cat '{point}/remounted')" = before
    mount -o remount,rw '{point}'
    echo after >'{point}/remounted'
    umount '{point}'""")
    equal("written after it", (site.export / "remounted").read_text(), "after\n")


@suite.check("mount(8) by root allows devices and suid programs unless it is told not to, as for any file system")
def mount_defaults(site):
    point = point_of(site, "mount-defaults")
    for options, refused in (("rw", ""), ("nodev", "nodev"), ("nosuid", "nosuid"), ("dev,nosuid", "nosuid")):
        out = in_installed_namespace(site, f"""
        mount -t fuse.rdmafs {site.source()} '{point}' -o {options},{site.mount_option_text()}
        echo "flags: $(findmnt -n -o VFS-OPTIONS '{point}')"
        umount '{point}'""")
        flags = out.split("flags: ")[1].split()[0].split(",")
        equal(f"what is refused with {options}", ",".join(sorted({"nosuid", "nodev"} & set(flags))), refused)


@suite.check("mount options are seen in /proc/self/mounts")
def options_seen(site):
    point = site.add_mount("options", "ro,noatime,nosuid,nodev")
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        line = next(line for line in mounts if line.split()[1] == str(point))
    fields = line.split()
    equal("source and type", fields[:3:2], [site.source(), "fuse.rdmafs"])
    for option in ("ro", "noatime", "nosuid", "nodev", "allow_other"):
        if option not in fields[3].split(","):
            raise Failed(f"{option} is not in {fields[3]}")
    site.unmount(point)


@suite.check("--help and --version say what they are asked, and every option of the contract")
def help_text(site):
    for program in ("rdmafs", "rdmafsd", "rdmafsctl"):
        path = site.where.build.program(program)
        equal(f"{program} --version", run([path, "--version"]).stdout.split()[0], program)
    text = run([site.where.build.program("rdmafs"), "--help"]).stdout
    for option in ("ro", "allow_other", "default_permissions", "direct_io", "max_read", "attr_timeout",
                   "entry_timeout", "negative_timeout", "cache=", "writeback", "transport", "port",
                   "nconnect", "pool_size", "-f", "-d"):
        if option not in text:
            raise Failed(f"--help does not tell of {option}")
    done = run([site.where.build.program("rdmafs")], expect=None)
    equal("without arguments", done.returncode != 0, True)


@suite.check("-f stays in the foreground and ends with the unmount")
def foreground(site):
    point = point_of(site, "foreground")
    with open(site.logs / "foreground", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [site.where.build.program("rdmafs"), site.source(), str(point), "-f", "-o",
             site.mount_option_text()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment(site.logs))
    try:
        wait_until(lambda: is_mounted(point), 20 * site.where.slow, "the mount is there")
        os.listdir(point)
        equal("it runs", process.poll(), None)
        run(["umount", str(point)])
        equal("its end", process.wait(20 * site.where.slow), 0)
    finally:
        if process.poll() is None:
            run(["umount", "-l", str(point)], expect=None)
            process.kill()
            process.wait()


@suite.check("SIGTERM and SIGINT to a mount program in the foreground unmount it")
def signals(site):
    for number in (15, 2):
        point = point_of(site, f"signal{number}")
        process = subprocess.Popen(
            [site.where.build.program("rdmafs"), site.source(), str(point), "-f", "-o",
             site.mount_option_text()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=environment(site.logs))
        try:
            wait_until(lambda: is_mounted(point), 20 * site.where.slow, "the mount is there")
            os.listdir(point)
            process.send_signal(number)
            equal("its end", process.wait(20 * site.where.slow), 0)
            equal("mounted", is_mounted(point), False)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            run(["umount", "-l", str(point)], expect=None)


@suite.check("a directory below the export can be mounted, and nothing above it is reached")
def below(site):
    (site.export / "deep" / "er").mkdir(parents=True)
    (site.export / "deep" / "er" / "f").write_text("below")
    (site.export / "outside").write_text("x")
    point = point_of(site, "below")
    run([site.where.build.program("rdmafs"), f"{site.source()}/deep/er", str(point), "-o",
         site.mount_option_text()], env=environment(site.logs))
    try:
        equal("the listing", os.listdir(point), ["f"])
        equal("dot-dot", os.path.exists(point / ".." / "outside"), False)
    finally:
        run(["umount", str(point)])
    end_mount_programs(site)


@suite.check("a symlink inside the export does not lead the server out of it")
def symlink_out(site):
    secret = site.base / "secret"
    secret.write_text("not exported")
    (site.export / "way-out").symlink_to(secret)
    (site.export / "dir-out").symlink_to(site.base)
    equal("the target is the client's matter", os.readlink(site.mount / "way-out"), str(secret))
    point = point_of(site, "through-link")
    done = subprocess.run(
        [site.where.build.program("rdmafs"), f"{site.source()}/dir-out", str(point), "-o",
         site.mount_option_text()], stdin=subprocess.DEVNULL, capture_output=True, check=False,
        env=environment(site.logs), timeout=30 * site.where.slow)
    seen = os.listdir(point) if done.returncode == 0 else []
    if done.returncode == 0:
        run(["umount", str(point)])
        end_mount_programs(site)
    if "secret" in seen:
        raise Failed("a symlink in the export mounts a directory outside of it")


@suite.check("a user mounts and unmounts with fusermount3, and only that user looks in")
def as_user(site):
    work = pathlib.Path(tempfile.mkdtemp(prefix="rdmafs-user-", dir="/tmp"))
    point, program = work / "mnt", work / "rdmafs"
    shutil.copy(site.where.build.program("rdmafs"), program)
    point.mkdir()
    for path in (work, point):
        path.chmod(0o755)
        os.chown(path, NOBODY, NOBODY)
    (site.export / "users").mkdir()
    os.chown(site.export / "users", NOBODY, NOBODY)
    options = f"port={site.port},transport={site.where.transport}"
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    more = environment(work, HOME=str(work))
    try:
        run([*user, str(program), f"{site.source()}/users", str(point), "-o", options],
            timeout=30 * site.where.slow, env=more)
        run([*user, "bash", "-euc", f"echo mine > '{point}/f'; test \"$(cat '{point}/f')\" = mine"])
        equal("the owner", (site.export / "users" / "f").stat().st_uid, NOBODY)
        other = ["setpriv", "--reuid=1001", "--regid=1001", "--clear-groups"]
        if run([*other, "ls", str(point)], expect=None).returncode == 0:
            raise Failed("another user looks into the mount without allow_other")
        run([*user, "fusermount3", "-u", str(point)])
        equal("mounted", is_mounted(point), False)
        if run([*user, str(program), f"{site.source()}/users", str(work), "-o", options + ",allow_other"],
               expect=None, env=more).returncode == 0 and "user_allow_other" not in active_fuse_conf():
            raise Failed("allow_other was granted to a user")
    finally:
        for each in (point, work):
            if is_mounted(each):
                run(["umount", "-l", str(each)], expect=None)
        shutil.rmtree(work, ignore_errors=True)
    end_mount_programs(site)


def active_fuse_conf():
    try:
        lines = pathlib.Path("/etc/fuse.conf").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if not line.startswith("#")]


@suite.check("fusermount3 -u by root unmounts")
def by_fusermount(site):
    point = site.add_mount("fusermount")
    os.listdir(point)
    pid = site.mounts.pop(point)
    shell(f"fusermount3 -u '{point}'")
    equal("mounted", is_mounted(point), False)
    equal("the mount program's end", processes.wait_for_end(pid, 20 * site.where.slow), 0)


@suite.check("the server as a user serves what that user may read")
def user_server(site):
    work = pathlib.Path(tempfile.mkdtemp(prefix="rdmafs-serve-", dir="/tmp"))
    point = point_of(site, "user-server")
    program = work / "rdmafsd"
    shutil.copy(site.where.build.program("rdmafsd"), program)
    (work / "export").mkdir()
    for path in (work, work / "export"):
        path.chmod(0o755)
        os.chown(path, NOBODY, NOBODY)
    log = open(work / "log", "w", encoding="utf-8")
    server = subprocess.Popen(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", str(program), "-f", "-o",
         f"listen={site.where.address},port=0,state={work}/state,transport={site.where.transport}", str(work / "export")],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(work, HOME=str(work)))
    try:
        def serving():
            if server.poll() is not None:
                raise Failed("rdmafsd ended: " + (work / "log").read_text())
            return SERVING.search((work / "log").read_text())
        port = wait_until(serving, 20 * site.where.slow, "the server serves")[3]
        run([site.where.build.program("rdmafs"), f"{site.where.address}:{work}/export", str(point),
             "-o", f"port={port},transport={site.where.transport},allow_other"], env=environment(site.logs))
        shell(f"cd '{point}'; mkdir a; echo x > a/f; mv a/f a/g; cat a/g; rm -r a; mkdir b")
        equal("the owner", (work / "export" / "b").stat().st_uid, NOBODY)
    finally:
        run(["umount", "-l", str(point)], expect=None)
        status, obeyed = processes.end(server.pid, 15 * site.where.slow)
        server.returncode = status
        log.close()
        text = (work / "log").read_text()
        shutil.rmtree(work, ignore_errors=True)
    equal("the server's end", (status, obeyed, text if status else ""), (0, True, ""))
    end_mount_programs(site)
