#!/usr/bin/env python3
"""The NEON kernels give the bits of the host's: the inference engine is cross-built for AArch64 and run under qemu.

usage: test_neon.py HOST_RUNNER BUILD_FOLDER
"""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCES = [*(f"src/nn/{name}.c" for name in ("chain", "neon", "nn", "plan", "portable", "reader", "sparse")), "src/core/error.c",
           "src/core/text.c", "tests/neon/runner.c"]
MODELS = ["pose_detection.tflite", "pose_landmark_lite.tflite", "pose_landmark_full.tflite",
          "pose_landmark_heavy.tflite"]


def skip(reason):
    print("skipped: " + reason)
    sys.exit(77)


def main():
    host, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        skip("there is no aarch64-linux-gnu-gcc or no qemu-aarch64 (packages gcc-aarch64-linux-gnu and qemu-user)")
    models = pathlib.Path(os.environ.get("BODYSCRIPT_MODELS") or ROOT / "build/models")
    paths = [str(models / name) for name in MODELS]
    for path in paths:
        if not os.path.exists(path):
            skip("there is no model '%s' (./dev setup fetches the models)" % path)

    runner = folder / "runner_aarch64"
    subprocess.run([compiler, "-O3", "-std=gnu17", "-D_GNU_SOURCE", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Werror",
                    "-DBS_SOURCE_DIR=\"%s\"" % ROOT, "-I", ROOT / "include", "-I", ROOT / "src", "-static", "-o", runner]
                   + [ROOT / source for source in SOURCES] + ["-lm"], check=True)
    emulated = subprocess.run([emulator, runner] + paths, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if emulated.returncode or "kernels: neon" not in emulated.stderr:
        sys.exit("the AArch64 program failed (status %d): %s" % (emulated.returncode, emulated.stderr))
    expected = subprocess.run([host] + paths, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    got = emulated.stdout.splitlines()
    different = [a + " but on NEON " + b for a, b in zip(expected, got) if a != b]
    if different or len(expected) != len(got) or len(got) < 200 + len(MODELS):
        sys.exit("%d of %d lines differ:\n%s" % (len(different), len(expected), "\n".join(different[:20])))
    print("%d hashes of outputs are equal on the host and on NEON" % len(got))


if __name__ == "__main__":
    main()
