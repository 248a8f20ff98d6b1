#!/usr/bin/env python3
"""What every file keeps to: the C format, script syntax, the editor's rules, and words that must not stand in any.

Prints one line per finding; exit code 1 when there is any.
"""
import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys

os.chdir(pathlib.Path(__file__).resolve().parent.parent)
WIDTH = 160  # no line of code is wider; 120 is the rule, with room for what no formatter can break
# A path of one machine, a package registry's host, unfinished work. Written in parts: this file is to be clean itself.
FORBIDDEN = re.compile("|".join([
    r"(?<![\w./])/wo" r"rk/", r"/ho" r"me/[a-z]+/", "TO" "DO", "FIX" "ME",
    r"np" r"mjs\.(?:org|com)", r"py" r"pi\.org", r"python" r"hosted\.org", r"deb" r"\.debian\.org"]))
findings = []


def finding(path, line, text):
    findings.append(f"lint: {path}:{line}: {text}" if line else f"lint: {path}: {text}")


def repository_files():
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True)
    if listed.returncode == 0:
        return sorted(filter(None, listed.stdout.decode().split("\0")))
    found = []
    for folder, folders, names in os.walk("."):
        folders[:] = [d for d in folders if not d.startswith(("build", ".git")) and d != "node_modules"]
        found += [os.path.relpath(os.path.join(folder, n)) for n in names]
    return sorted(found)


def check_text(path, text):
    if path.startswith("tests/fuzz/corpus/"):
        return  # inputs, taken as they are
    code = path.endswith((".c", ".h", ".py", ".sh")) or text.startswith("#!")
    for n, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip() and path != "LICENSE":
            finding(path, n, "trailing white space")
        if code and len(line) > WIDTH:
            finding(path, n, f"longer than {WIDTH} columns")
        if FORBIDDEN.search(line) and path != "LICENSE":
            finding(path, n, "a word that must not be in the repository")
    if not text.endswith("\n"):
        finding(path, 0, "no newline at the end")


def check_script(path, text):
    first = text.split("\n", 1)[0]
    if path.endswith(".py") or "python3" in first and first.startswith("#!"):
        try:
            ast.parse(text)
        except SyntaxError as e:
            finding(path, e.lineno, f"Python cannot parse it: {e.msg}")
    elif first.startswith("#!") and "sh" in first:
        run = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
        if run.returncode:
            finding(path, 0, run.stderr.strip())


def check_format(c_files):
    if not shutil.which("clang-format"):
        return finding("clang-format", 0, "is missing: ./dev setup --all")
    run = subprocess.run(["clang-format", "--dry-run", "--Werror", *c_files], capture_output=True, text=True)
    for path in sorted(set(re.findall(r"^([^:\n]+\.[ch]):\d+:", run.stderr, re.M))):
        finding(path, 0, f"not formatted: clang-format -i {path}")


def main():
    texts = {}
    for path in repository_files():
        if not os.path.isfile(path) or os.path.islink(path):
            continue
        data = pathlib.Path(path).read_bytes()
        if b"\0" in data or not data:
            continue
        try:
            texts[path] = data.decode("utf-8")
        except UnicodeDecodeError:
            if path.endswith((".c", ".h", ".py", ".md")):
                finding(path, 0, "not UTF-8")
    for path, text in texts.items():
        check_text(path, text)
        check_script(path, text)
    check_format([p for p in texts if p.endswith((".c", ".h"))])
    print("\n".join(findings) if findings else f"lint: {len(texts)} files are clean")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
