r"""The step language of the tables: one system call a line, and what it has to give.

    [@UID[:GID[,GROUP...]]] OPERATION ARGUMENT... [-> EXPECTED]

The paths are relative to the case's own empty directory. EXPECTED is an errno's name, or a value as
text ("=..."), or "?" for anything; without it the step has to succeed. Every step runs on the mount
and on the exported directory itself, and both have to give the same. In arguments {n255} is a name
of 255 bytes, {p4096} a path of 4096 bytes, \xNN a byte. Values that are no property of the file
system (descriptor numbers) go by label.
"""
import re
import shlex

from harness import vocabulary
from harness.processes import Failed

ROOT = (0, 0, ())


def parse(script):
    """The steps of a script: (identity, operation, arguments, expected, text)."""
    steps = []
    for line in script.strip().splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        body, _, expected = text.partition(" -> ")
        words = [argument_bytes(word) for word in shlex.split(body.replace("\\", "\\\\"))]
        identity = ROOT
        if words[0].startswith(b"@"):
            identity = parse_identity(words.pop(0)[1:].decode())
        steps.append((identity, words[0].decode(), words[1:], expected.strip() or "ok", text))
    return steps


def parse_identity(text):
    uid, _, rest = text.partition(":")
    gid, *groups = rest.split(",") if rest else [uid]
    return int(uid), int(gid), tuple(int(group) for group in groups)


def argument_bytes(word):
    word = re.sub(r"\{n(\d+)\}", lambda m: "n" * int(m[1]), word)
    word = re.sub(r"\{p(\d+)\}", lambda m: long_path(int(m[1])), word)
    plain = word.encode()
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), plain)


def long_path(length):
    """./././ ... of `length` bytes that ends in a name."""
    return "./" * ((length - 1) // 2) + "x" * (length - 2 * ((length - 1) // 2))


def run_case(identities, script, mount_root, direct_root):
    """Runs a script on both; returns the number of assertions. Failed names every step that differs
    or does not give what the table says."""
    steps, wrong, used = parse(script), [], []
    for root in (mount_root, direct_root):
        for identity in {step[0] for step in steps}:
            actor = identities.of(*identity)
            actor.call(vocabulary.begin, str(root))
            used.append(actor)
    results = []
    try:
        for root in (mount_root, direct_root):
            for identity in {step[0] for step in steps}:
                identities.of(*identity).call(vocabulary.begin, str(root))
            results.append([perform(identities, step) for step in steps])
    finally:
        for actor in set(used):
            try:
                actor.call(vocabulary.finish)
            except Failed:
                identities.drop(actor)
    for step, on_mount, on_directory in zip(steps, *results):
        if not fits(on_directory, step[3]):
            wrong.append(f"{step[4]}: the directory itself gives {show(on_directory)}")
        if on_mount != on_directory:
            wrong.append(f"{step[4]}: the mount gives {show(on_mount)}, the directory "
                         f"{show(on_directory)}")
    if wrong:
        raise Failed("\n".join(wrong))
    return 2 * len(steps)


def perform(identities, step):
    identity, operation, arguments, _, _ = step
    try:
        return identities.of(*identity).call(vocabulary.perform, operation, arguments)
    except KeyError:  # what an earlier step should have opened
        return "not open", None


def fits(result, expected):
    error, value = result
    if expected == "?":
        return True
    if expected.startswith("="):
        return not error and str(value) == expected[1:]
    return (error or "ok") == expected


def show(result):
    error, value = result
    text = error or ("success" if value is None else str(value))
    return text if len(text) < 200 else text[:200] + "..."
