"""Programs that people run: fio with verify, tar, git, sqlite3, make with gcc, rsync-like copies."""
import os

from harness.checks import Suite, equal
from harness.processes import Failed, run, shell
from harness.trees import content_digest, digest, make_tree

SUITES = []


def fio(directory, *options, timeout=120):
    """One fio run that has to end without an error; a verify error is one."""
    return run(["fio", "--name=job", f"--directory={directory}", "--group_reporting=1",
                "--exitall_on_error=1", "--verify_fatal=1", "--verify_state_save=0", "--output-format=terse", *options],
               timeout=timeout)


def fio_verify(site):
    directory, _ = site.case_directories()
    for rw, block, verify, more in (
            ("randrw", "4k", "crc32c", ["--numjobs=3", "--size=8m"]),
            ("randwrite", "128k", "md5", ["--numjobs=2", "--size=24m"]),
            ("write", "1m", "crc32c", ["--numjobs=2", "--size=48m"]),
            ("randwrite", "512-300k", "md5", ["--numjobs=2", "--size=16m", "--bs_unaligned=1"]),
            ("randrw", "64k", "crc32c", ["--numjobs=2", "--size=16m", "--ioengine=mmap"])):
        block_option = f"--bsrange={block}" if "-" in block else f"--bs={block}"
        fio(directory, f"--rw={rw}", block_option, f"--verify={verify}", "--do_verify=1", *more)
        for name in os.listdir(directory):
            os.unlink(directory / name)


def fio_asynchronous(site):
    directory, _ = site.case_directories()
    for engine in ("libaio", "io_uring"):
        fio(directory, "--rw=randrw", "--bs=4k", "--direct=1", f"--ioengine={engine}", "--iodepth=32",
            "--size=8m", "--numjobs=2", "--verify=crc32c")
        fio(directory, "--rw=randwrite", "--bs=1m", "--direct=1", f"--ioengine={engine}",
            "--iodepth=8", "--size=64m", "--verify=md5")
        for name in os.listdir(directory):
            os.unlink(directory / name)


def tar(site):
    """A tree goes in by tar and comes out by tar, the same."""
    directory, backing = site.case_directories()
    tree = make_tree(backing, files=1200)
    before = digest(tree)
    shell(f"tar -C '{backing}' -cf - tree | tar -C '{directory}' -xpf -")
    equal("the tree on the mount", digest(directory / "tree"), before)
    equal("the tree on the server", digest(site.export / directory.name / "tree"), before)
    shell(f"mkdir '{backing}/out'; tar -C '{directory}' -cf - tree | tar -C '{backing}/out' -xpf -")
    equal("the tree that came back", digest(backing / "out" / "tree"), before)
    shell(f"cp -a '{directory}/tree' '{directory}/copy'; diff -r '{directory}/tree' '{directory}/copy'; "
          f"rm -r '{directory}/tree'")
    equal("what is left", sorted(os.listdir(directory)), ["copy"])


def large_file(site):
    directory, backing = site.case_directories()
    size = 96 << 20
    with open(backing / "f", "wb") as file:
        while file.tell() < size:
            file.write(os.urandom(1 << 20))
    sum_before = content_digest(backing / "f")
    shell(f"cp '{backing}/f' '{directory}/g'; cp '{directory}/g' '{backing}/h'; "
          f"dd if='{directory}/g' of='{directory}/i' bs=3k status=none; cmp '{directory}/g' '{directory}/i'")
    equal("written through the mount", content_digest(site.export / directory.name / "g"), sum_before)
    equal("read through the mount", content_digest(backing / "h"), sum_before)


def git(site):
    directory, backing = site.case_directories()
    make_tree(backing, files=400, seed=2, largest=20_000)
    setting = "git -c user.name=tester -c user.email=tester@localhost -c init.defaultBranch=main"
    shell(f"""
        export HOME='{backing}' GIT_CONFIG_NOSYSTEM=1
        cd '{directory}'; {setting} init -q one; cd one; cp -a '{backing}/tree' .
        {setting} add -A; {setting} commit -qm first
        for i in 1 2 3 4 5; do echo $i > tree/changed-$i; {setting} add -A; {setting} commit -qm "turn $i"; done
        git fsck --full --strict; test -z "$(git status --porcelain)"
        cd ..; {setting} clone -q one two; cd two; git fsck --full
        test "$(git rev-parse HEAD)" = "$(git -C ../one rev-parse HEAD)"
        git gc -q --aggressive --prune=now; git fsck --full
        {setting} checkout -q HEAD~3; {setting} checkout -q main; test -z "$(git status --porcelain)"
        diff -r --exclude=.git . ../one""", timeout=180)


def sqlite(site):
    directory, _ = site.case_directories()
    for mode in ("delete", "truncate", "persist", "wal"):
        base = directory / f"{mode}.db"
        shell(f"""
            sqlite3 '{base}' "pragma journal_mode={mode}; create table t(k integer primary key, v text);" >/dev/null
            for writer in 1 2 3; do
              ( for turn in $(seq 20); do
                  sqlite3 -cmd '.timeout 60000' '{base}' \
                    "begin immediate; insert into t(v) select hex(randomblob(200)) from
                     (with recursive c(i) as (select 1 union all select i+1 from c where i<50) select i from c); commit;"
                done ) &
              pids="${{pids:-}} $!"
            done
            for pid in $pids; do wait $pid; done
            test "$(sqlite3 '{base}' 'select count(*) from t')" = 3000
            test "$(sqlite3 '{base}' 'pragma integrity_check')" = ok""", timeout=180)


def compile_project(site):
    directory, _ = site.case_directories()
    project = directory / "project"
    project.mkdir()
    names = [f"part{number}" for number in range(12)]
    for name in names:
        (project / f"{name}.c").write_text(
            f'#include <stdio.h>\n#include "parts.h"\nint {name}(void) {{ return printf("{name}\\n"); }}\n')
    (project / "parts.h").write_text("".join(f"int {name}(void);\n" for name in names))
    (project / "main.c").write_text(
        '#include "parts.h"\nint main(void) {' + "".join(f"{name}();" for name in names) + "}\n")
    objects = " ".join(f"{name}.o" for name in names)
    (project / "Makefile").write_text(
        f"all: program\nlibparts.a: {objects}\n\tar rcs $@ $^\n"
        "program: main.o libparts.a\n\t$(CC) -o $@ $^\n%.o: %.c parts.h\n\t$(CC) -O1 -g -c -o $@ $<\n"
        "clean:\n\trm -f *.o *.a program\n")
    run(["make", "-C", str(project), "-j4", "CC=gcc"], timeout=120)
    equal("what the program says", run([str(project / "program")]).stdout.split(), names)
    again = run(["make", "-C", str(project), "CC=gcc"]).stdout
    if "Nothing to be done" not in again:
        raise Failed(f"make builds again what is up to date: {again}")
    run(["make", "-C", str(project), "clean"])
    equal("sources left", len(os.listdir(project)), len(names) + 3)


def shell_tools(site):
    directory, _ = site.case_directories()
    out = shell(f"""
        cd '{directory}'; mkdir -p a/b/c; echo one > a/b/c/f; cp a/b/c/f a/g; mv a/g a/b/h; ln -s ../b/h a/b/s
        touch -d @1000000000 a/b/h; stat -c %Y a/b/h; chmod 750 a; stat -c %a a; find . | sort | wc -l
        grep -r one . | wc -l; sed -i s/one/two/ a/b/h; cat a/b/h; sort -o a/b/h a/b/h
        seq 100000 > n; wc -l < n; sort -n n | tail -1; split -l 10000 n part.; cat part.* | cmp - n
        install -m 600 n installed; stat -c %a installed; truncate -s 0 n; stat -c %s n; du -s . > /dev/null
        df . > /dev/null; rm -rf a; ls | wc -l""").stdout.split()
    equal("what the tools say", out,
          ["1000000000", "750", "7", "2", "two", "100000", "100000", "600", "0", "12"])


for _name, _options in (("tools", ""), ("tools direct_io", "direct_io"), ("tools writeback", "writeback")):
    _suite = Suite(_name, options=_options)
    SUITES.append(_suite)
    _suite.check("fio finds every block as it wrote it", 400)(fio_verify)
    if _options != "writeback":
        _suite.check("fio finds what asynchronous engines wrote, queue depth 32", 400)(fio_asynchronous)
    _suite.check("a tree goes in and out by tar with the same sums", 200)(tar)
    _suite.check("a large file comes back as it was", 200)(large_file)
    if _options != "direct_io":  # git and sqlite's WAL map what they write
        _suite.check("git makes, clones, checks and packs repositories", 200)(git)
        _suite.check("sqlite3 keeps its tables under four journal modes and three writers", 400)(sqlite)
    if _options == "":
        _suite.check("make builds a project with gcc, once", 200)(compile_project)
        _suite.check("the shell's tools do what they do elsewhere")(shell_tools)
