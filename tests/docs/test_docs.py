#!/usr/bin/env python3
"""The documents say what the program does: generated parts are up to date, and links lead somewhere.

usage: test_docs.py SETTINGS_TABLE [--write]      SETTINGS_TABLE: the program that prints the table
--write (./dev docs) brings the generated parts up to date in place of failing.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BEGIN, END = "<!-- made from settings/settings.h by ./dev docs: begin -->\n", "<!-- made: end -->\n"


def settings_table(program, write):
    path = ROOT / "docs/settings.md"
    text = path.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = before + BEGIN + subprocess.check_output([program], text=True) + END + after
    if write:
        path.write_text(wanted)
    elif wanted != text:
        return ["docs/settings.md is not what settings/settings.h says: run ./dev docs"]
    return []


def links():
    bad = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                bad.append(f"{path.relative_to(ROOT)}: the link to {target} leads nowhere")
    return bad


findings = settings_table(sys.argv[1], "--write" in sys.argv[2:]) + links()
print("\n".join(findings))
sys.exit(1 if findings else 0)
