#!/usr/bin/env python3
"""Every option in a program's --help is in its manual page, and the other way round.

help_and_man_page_test.py PROGRAM PAGE
Options are -x, --word and, in a list that begins a line, word or word=value behind "-o".
"""
import re
import subprocess
import sys

program, page = sys.argv[1:]
shown = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=20, check=True).stdout
manual = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=200", page],
                        capture_output=True, text=True, timeout=20, check=True).stdout
manual = re.sub(r".\x08", "", manual)

DASHED = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")
# "    -o nconnect=N" or "  nconnect=N    connections ...": the start of a line, then two blanks or its end.
NAMED = re.compile(r"^\s+(?:-o )?(\[?no\]?[a-z][a-z_]+|[a-z][a-z_]+)(?:=[^\s,]+)?(?:, [a-z_]+(?:=\S+)?)*(?:\s\s|$)")


def dashed(text):
    found = set()
    for line in text.splitlines():
        if re.match(r"^\s+-", line):
            head = re.split(r"\s{2,}", line.strip())[0]
            found |= set(DASHED.findall(head))
    return found - {"-o"}


def named(text):
    found = set()
    for line in text.splitlines():
        match = NAMED.match(line)
        if match:
            head = re.split(r"\s{2,}", line.strip())[0].removeprefix("-o ")
            found |= {part.split("=")[0].strip() for part in head.split(", ")}
    return found


def section(text, *titles):
    """The lines of the manual's sections of these titles."""
    kept, keep = [], False
    for line in text.splitlines():
        if line and not line[0].isspace():
            keep = line.strip() in titles
        elif keep:
            kept.append(line)
    return "\n".join(kept)


faults = []
description = section(manual, "DESCRIPTION")
for option in sorted(dashed(shown) - dashed(description)):
    faults.append(f"{option} is in --help but not in {page}")
for option in sorted(dashed(description) - dashed(shown)):
    faults.append(f"{option} is in {page} but not in --help")

options = section(manual, "MOUNT OPTIONS", "SERVER OPTIONS")
if options:
    # Manual tags stand alone or before the text; only words that are options in one of the two count.
    for option in sorted(named(shown)):
        if not re.search(rf"^\s+(?:.*, )?{re.escape(option)}(?:=|,|\s|$)", options, re.M):
            faults.append(f"-o {option} is in --help but not in {page}")
    for line in options.splitlines():
        match = re.match(r"^ {5}([a-z][a-z_]+(?:=\S.*)?(?:, [a-z_]+(?:=\S+)?)*)(?: {2,}|$)", line)
        for option in (match.group(1).split(", ") if match else []):
            name = option.split("=")[0]
            if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown):
                faults.append(f"-o {name} is in {page} but not in --help")
if not dashed(shown):
    faults.append("--help shows no options at all")
print("\n".join(faults))
sys.exit(1 if faults else 0)
