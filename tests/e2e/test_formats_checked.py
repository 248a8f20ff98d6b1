#!/usr/bin/env python3
"""The formats of docs/formats.md under a checker: no invalid access, no use of what was never set, no undefined step.

Where the program is built with sanitizers these watch, else Valgrind does, ten seconds for each variant: it sees no overlay,
and the pose without fused multiply-adds, which it makes up in software for half a minute more; test_memcheck has those. 24
frames of each, model lite. Every 12th variant; BODYSCRIPT_EVERY=1 takes all.
"""
import concurrent.futures
import os
import pathlib
import platform
import shutil
import sys
import tempfile

import kit
import test_formats as formats

CHECKER = [] if kit.sanitized() else ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full",
                                      "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
OUTPUTS = ["--no-video", *(["--isa", "sse2"] if platform.machine() == "x86_64" else [])] if CHECKER else ["--max-video-width", 96]
EVERY = int(os.environ.get("BODYSCRIPT_EVERY", "12"))
ALLOWED = (0, 3, 4)


def check(path, results):
    """What is wrong with one run, else None."""
    folder = tempfile.mkdtemp(dir=results)
    done = formats.run(*CHECKER, kit.PROGRAM, "process", path, "-o", folder, "-n", 24, "--model", "lite",
                       *OUTPUTS, "--max-video-duration-seconds", 0, "--quiet",
                       env=kit.ENVIRONMENT, timeout=600)
    if done.returncode not in ALLOWED or "runtime error" in done.stderr or "Sanitizer" in done.stderr:
        return f"exit code {done.returncode}: {done.stderr.strip()[-3000:]}"
    if done.returncode and len(done.stderr.strip().splitlines()) != 1:
        return done.stderr
    return None


def main():
    clip = formats.MEDIA / "sample.mp4"
    for what, there in (("ffmpeg", shutil.which("ffmpeg")), ("the sample clip", clip.exists()),
                        ("valgrind", not CHECKER or shutil.which("valgrind"))):
        if not there:
            print(f"skipped: {what} is not there; ./dev test fetches it")
            return 77
    formats.FRAMES = 24
    failures = checked = 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        base = work / "base.mp4"
        formats.ffmpeg("-r", formats.RATE, "-i", clip, "-frames:v", formats.FRAMES, "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0",
                       "-pix_fmt", "yuv420p", "-an", base)

        def made_and_checked(variant):
            path = work / variant.file.replace(" ", "_")
            if callable(variant.make):
                variant.make(path)
            else:
                formats.ffmpeg(*(variant.source or []), "-i", base, *variant.make, path)
            wrong = check(path, work)
            path.unlink()
            return wrong

        wanted = formats.variants(base, work)[::EVERY]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for variant, wrong in zip(wanted, pool.map(made_and_checked, wanted)):
                checked += 1
                failures += wrong is not None
                print(f"{variant.file}: {wrong or 'clean'}", flush=True)
    print(f"{checked} formats, {failures} not clean")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
