#!/usr/bin/env python3
"""A whole job under Valgrind: no invalid access, no use of what was never set, nothing of ours lost.

Half a second of the sample clip with everything on. What FFmpeg and x264 keep to themselves until the process ends is
not ours: only blocks that nobody points to any more count.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

clip = pathlib.Path(os.environ.get("BODYSCRIPT_MEDIA", "build/media"), "sample.mp4")
if not clip.exists():
    print(f"skipped: the sample media are not at {clip}")
    sys.exit(77)
if not shutil.which("valgrind"):
    print("skipped: valgrind is not installed")
    sys.exit(77)

with tempfile.TemporaryDirectory() as folder:
    short = f"{folder}/short.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-frames:v", "12", "-c:v", "libx264", "-preset", "ultrafast",
                    short], check=True)
    run = subprocess.run(
        ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite",
         "--errors-for-leak-kinds=definite", "--child-silent-after-fork=yes",
         f"--suppressions={pathlib.Path(__file__).resolve().parents[1]}/valgrind.supp",
         os.environ["BODYSCRIPT"], "process", short, "-o", f"{folder}/out", "--model", "lite", "--quiet"],
        capture_output=True, text=True, errors="replace")
    results = pathlib.Path(folder, "out/short")
    missing = [n for n in ("pose_data.csv", "pose_data.json", "output.mp4", "preview.mp4", "thumbnail.jpg",
                           "metadata.json") if not (results / n).is_file()]
    if run.returncode or missing:
        print(run.stdout[-3000:], run.stderr[-6000:], f"exit code {run.returncode}; missing: {missing}", sep="\n")
        sys.exit(1)
    rows = (results / "pose_data.csv").read_text().splitlines()
    assert len(rows) == 1 + 33 * 4, f"{len(rows)} rows for 12 frames at an interval of 3"
