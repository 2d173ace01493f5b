#!/usr/bin/env python3
"""Every option in a program's --help is in its manual page, and the other way round.

help_and_man_page_test.py PROGRAM PAGE
Options are -x and --word; and for -o, word or word=value: in lines that begin with "    -o ", or
below a line "Options for -o:".
"""
import re
import subprocess
import sys

program, page = sys.argv[1:]
shown = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=20, check=True).stdout
# Wide, so that no line of a paragraph begins in the left column of the options.
manual = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=1000", page],
                        capture_output=True, text=True, timeout=20, check=True).stdout
manual = re.sub(r".\x08", "", manual)

DASHED = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")
# What stands in the left column: "word", "word=value" or several of them with commas.
WORDS = re.compile(r"[a-z][a-z_]+(?:=\S+)?(?: \| \S+)*(?:, [a-z][a-z_]+(?:=\S+)?)*(?=\s|$)")


def dashed(text):
    found = set()
    for line in text.splitlines():
        if re.match(r"^\s+-", line):
            head = re.split(r"\s{2,}", line.strip())[0]
            found |= set(DASHED.findall(head))
    return found - {"-o"}


def named(text, lead):
    """The words of the left columns: of lines that begin with `lead` and then a word."""
    found = set()
    for line in text.splitlines():
        if not line.startswith(lead) or line[len(lead):len(lead) + 1].isspace():
            continue
        words = WORDS.match(line.strip().replace("-o ", ""))
        if words:
            found |= {part.split("=")[0] for part in words[0].split(", ")}
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
_, _, below = shown.partition("Options for -o:")
told, written = named(shown, "    -o ") | named(below, "  "), named(options, " " * 5)
for option in sorted(told - written):
    faults.append(f"-o {option} is in --help but not in {page}")
for option in sorted(written - told):
    faults.append(f"-o {option} is in {page} but not in --help")
if not dashed(shown):
    faults.append("--help shows no options at all")
if options and not told:
    faults.append("--help shows no options for -o")
print("\n".join(faults))
sys.exit(1 if faults else 0)
