#!/usr/bin/env python3
"""Fails when docs/protocol.md and transport/wire/messages.h do not name the same operations with the
same numbers. The document's row of an operation is a table row: | number | NAME | ..., the name in capitals.

Usage: tests/protocol_document_test.py [ROOT]"""
import pathlib
import re
import sys

OPCODE = re.compile(r"^\s*k(\w+)\s*=\s*(\d+)\s*,", re.MULTILINE)
ROW = re.compile(r"^\|\s*`?(\d+)`?\s*\|\s*`?\**([A-Z][A-Z_]+)\**`?\s*\|", re.MULTILINE)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                        pathlib.Path(__file__).resolve().parent.parent)
    header = (root / "transport/wire/messages.h").read_text(encoding="utf-8")
    enumeration = header[header.index("enum class Opcode"):]
    code = {int(number): name.lower()
            for name, number in OPCODE.findall(enumeration[:enumeration.index("};")])}
    document = (root / "docs/protocol.md").read_text(encoding="utf-8")
    rows = [(int(number), name.replace("_", "").lower()) for number, name in ROW.findall(document)]
    wrong = [f"{number} {name}: no row in docs/protocol.md"
             for number, name in code.items() if (number, name) not in rows]
    wrong += [f"{number} {name}: a row of docs/protocol.md without an opcode in the code"
              for number, name in rows if code.get(number) != name]
    wrong += [f"{number} {name}: more than one row" for number, name in set(rows)
              if rows.count((number, name)) > 1]
    print("\n".join(wrong + [f"{len(code)} opcodes, {len(rows)} rows, {len(wrong)} differences"]))
    return 1 if wrong or not code else 0


if __name__ == "__main__":
    sys.exit(main())
