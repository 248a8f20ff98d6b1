#!/usr/bin/env python3
"""Runs every test of the project and closes with one line: N passed, N failed, N skipped.

usage: ./dev test [--quick] [--list] [NAME…]      NAME: only the tests of that name, in the release build

What runs: lint; the release build's tests (unit, end-to-end, parity with MediaPipe, oracle, Valgrind); the suites
`unit` and `short` again under AddressSanitizer and UndefinedBehaviorSanitizer; the suite `threads` under
ThreadSanitizer; a short round of every fuzz target. --quick leaves out the last three.

A test is counted by the cases that it reports (cmocka's and unittest's own lines), else as one. A case may be skipped
where the machine lacks what it needs, and says so: a line `skipped: REASON`. Under CI (CI=true) a skip counts as a
failure unless its reason names something that this machine really lacks: see `lacking()`.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CI = os.environ.get("CI", "").lower() in ("true", "1", "yes")
FUZZ_SECONDS = "6"
TESTS_AT_A_TIME = "3"  # on two cores: several wait for most of their time (test_jobs: 140 s with 26 s of processor time)
CHECKED_AT_A_TIME = "2"  # which a sanitizer keeps busy


class Tally:
    def __init__(self):
        self.passed, self.failures, self.skips = 0, [], []

    def skip(self, name, reason):
        if CI and not lacking(reason):
            self.failures.append((name, f"skipped under CI though nothing that it names is lacking here: {reason}"))
        else:
            self.skips.append((name, reason))


def writable_memory_cgroup():
    for parent in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        child = pathlib.Path(parent, f"bodyscript-probe-{os.getpid()}")
        try:
            child.mkdir()
        except OSError:
            continue
        try:
            if any((child / name).exists() for name in ("memory.limit_in_bytes", "memory.max")):
                return True
        finally:
            child.rmdir()
    return False


def cpu_flags():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    return set(re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.M).group(1).split())


def landlock():
    try:
        return "landlock" in pathlib.Path("/sys/kernel/security/lsm").read_text()
    except OSError:
        return False


def may_mount():
    """CAP_SYS_ADMIN, which root may lack in a container."""
    effective = re.search(r"^CapEff:\s*(\w+)", pathlib.Path("/proc/self/status").read_text(), re.M).group(1)
    return bool(int(effective, 16) >> 21 & 1)


# A word that the reason of a skip may name, and whether this machine has it.
CAPABILITIES = {
    r"shared": lambda: (ROOT.parent / "shared" / "media").is_dir(),
    r"cgroup|memory controller": writable_memory_cgroup,
    r"avx-?512": lambda: "avx512f" in cpu_flags(),
    r"avx-?2": lambda: "avx2" in cpu_flags() and "fma" in cpu_flags(),
    r"\bneon\b|qemu": lambda: shutil.which("qemu-aarch64") and shutil.which("aarch64-linux-gnu-gcc"),
    r"landlock": landlock,
    r"\broot\b": lambda: os.geteuid() == 0,
    r"mounted": may_mount,
    r"\bpsi\b|pressure": lambda: os.path.exists("/proc/pressure/memory"),
    r"chromium": lambda: shutil.which("chromium"),
    r"smaps_rollup": lambda: os.path.exists("/proc/self/smaps_rollup"),
    r"locale": lambda: re.search(r"^(de_DE|fr_FR)\.utf-?8$", subprocess.run(
        ["locale", "-a"], capture_output=True, text=True).stdout, re.M | re.I),
    r"valgrind": lambda: shutil.which("valgrind"),
    r"systemd-analyze": lambda: shutil.which("systemd-analyze"),
    r"pypi": lambda: True,  # as every registry that ./dev itself needs
    r"sanitizer|asan|tsan": lambda: False,  # the case is about the release build, and runs there
    r"bpf|ftrace|perf counters": lambda: False,
}


def lacking(reason):
    """Whether the reason names a thing that is not here."""
    return any(re.search(word, reason, re.I) and not here() for word, here in CAPABILITIES.items())


def count(tally, label, test):
    """Adds one entry of Meson's log to the tally, case by case where the test reports cases."""
    out = (test.get("stdout") or "") + (test.get("stderr") or "")
    name = label + test["name"].split(" / ")[-1].split(":")[-1]
    reasons = re.findall(r"skipped: *(.+)", out)
    if test["result"] == "SKIP":
        tally.skip(name, reasons[-1] if reasons else "no reason given")
        return
    if test["result"] not in ("OK", "EXPECTEDFAIL"):
        tail = "\n".join(out.strip().splitlines()[-25:])
        tally.failures.append((name, f"{test['result'].lower()} after {test['duration']:.1f} s\n{tail}"))
        return
    skipped = re.findall(r"^\[  SKIPPED \] (\w+)$", out, re.M)                      # cmocka
    ran = sum(map(int, re.findall(r"^\[  PASSED  \] (\d+) test", out, re.M)))
    for line in re.findall(r"^(\w+) \(.*\.\.\. skipped ['\"](.*)['\"]$", out, re.M):  # unittest -v
        tally.skip(f"{name}: {line[0]}", line[1])
    unittest = re.search(r"^Ran (\d+) tests? in", out, re.M)
    if unittest:
        ran += int(unittest.group(1)) - len(re.findall(r"\.\.\. skipped ", out))
    for i, case in enumerate(dict.fromkeys(skipped)):
        tally.skip(f"{name}: {case}", reasons[min(i, len(reasons) - 1)] if reasons else "no reason given")
    tally.passed += max(ran, 0 if skipped else 1)


def meson_tests(tally, folder, label, *args, at_a_time=CHECKED_AT_A_TIME):
    log = ROOT / folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    env = dict(os.environ, BODYSCRIPT_MODELS=str(ROOT / "build/models"), BODYSCRIPT_MEDIA=str(ROOT / "build/media"))
    run = subprocess.run(["meson", "test", "-C", str(ROOT / folder), "--no-rebuild", "--num-processes", at_a_time, *args],
                         env=env, stdout=sys.stderr)
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for test in entries:
        count(tally, label, test)
    if run.returncode and not any(t["result"] not in ("OK", "SKIP", "EXPECTEDFAIL") for t in entries):
        tally.failures.append((f"{label}meson test", f"exit code {run.returncode} in {folder}"))
    return len(entries)


def step(tally, name, command):
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    if run.returncode:
        tally.failures.append((name, "\n".join(run.stdout.strip().splitlines()[-25:])))
    else:
        tally.passed += 1
    return run.returncode == 0


def announce(what, start):
    print(f"== {what}  (at {time.monotonic() - start:.0f} s)", file=sys.stderr, flush=True)


def everything(tally, quick):
    start = time.monotonic()
    announce("lint", start)
    step(tally, "lint", ["./dev", "lint"])
    announce("release build", start)
    meson_tests(tally, "build", "", at_a_time=TESTS_AT_A_TIME)
    if not quick:
        announce("AddressSanitizer and UndefinedBehaviorSanitizer", start)
        if step(tally, "asan: build", ["./dev", "build", "asan"]):
            meson_tests(tally, "build-asan", "asan: ", "--suite", "unit", "--suite", "short",
                        "--timeout-multiplier", "4")
        announce("ThreadSanitizer", start)
        if step(tally, "tsan: build", ["./dev", "build", "tsan"]):
            meson_tests(tally, "build-tsan", "tsan: ", "--suite", "threads", "--timeout-multiplier", "8")
        announce("fuzzing", start)
        step(tally, "fuzz", ["./dev", "fuzz", FUZZ_SECONDS])
    announce("done", start)


def main():
    args = sys.argv[1:]
    if "--list" in args:
        return subprocess.run(["meson", "test", "-C", str(ROOT / "build"), "--list"]).returncode
    tally = Tally()
    names = [a for a in args if not a.startswith("-")]
    if names:
        meson_tests(tally, "build", "", "--print-errorlogs", *names)
    else:
        everything(tally, "--quick" in args)

    for name, reason in tally.skips:
        print(f"skipped: {name}: {reason}")
    for name, text in tally.failures:
        print(f"FAILED: {name}\n    " + text.replace("\n", "\n    "))
    print(f"{tally.passed} passed, {len(tally.failures)} failed, {len(tally.skips)} skipped", flush=True)
    return 1 if tally.failures or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
