#!/usr/bin/env python3
"""Speed and memory of BodyScript on this machine, side by side with what it is compared with.

usage: ./dev bench [--peers] [--write] [--rounds N] [--part jobs|service|pose] [VIDEO…]

VIDEO: the sample clip, and a 720p clip from the folder shared/ beside the project where that is there, unless given.
Everything that is compared runs in turn, round after round (ours, theirs, ours, theirs …), so that a busy minute hits
both; the tables hold medians over the rounds and ratios of those medians. --peers adds MediaPipe and OpenCV in Python,
from PyPI, in a virtual environment in build/peers. --part measures whole jobs, the service or the engine alone. --write
puts the tables into docs/performance.md.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
os.environ.setdefault("BODYSCRIPT_MODELS", str(BUILD / "models"))
os.environ.setdefault("BODYSCRIPT", str(BUILD / "bodyscript"))
PROGRAM = pathlib.Path(os.environ["BODYSCRIPT"])

import serving  # noqa: E402  (it asks for BODYSCRIPT)

PEERS = BUILD / "peers"
MODELS = ("lite", "full", "heavy")
LOAD = os.getloadavg()[0]
QUIET = LOAD <= os.cpu_count() / 4
CLIP_720P = ROOT.parent / "shared/media/videos/pexels_group_exercise_720p.mp4"
# What src/video/writer.c asks of libx264 for output.mp4; ffmpeg is given the same, and key frames as far apart.
ENCODER = ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-crf", "23", "-pix_fmt", "yuv420p",
           "-x264-params", "rc-lookahead=10:subme=1:weightp=0:sync-lookahead=0:lookahead-threads=1"]
KEY_SECONDS = 2
SECONDS, MAX_WIDTH, INTERVAL = 10, 720, 3  # the program's own defaults
PYTHON_SERVICE = 83  # seconds that the replaced service took for 10 s of 720p, all frames: 83 to 102, on its machine
POSE_TARGETS = {"lite": 0.36, "full": 0.54, "heavy": 0.78}  # of MediaPipe's time per frame


class Run:
    """One run of a command: seconds on the clock, seconds of CPU, peak resident memory in MB, standard output."""

    def __init__(self, command, cores=None, stdin=None, env=None):
        prefix = ["taskset", "-c", cores] if cores else []
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            start = time.perf_counter()
            child = subprocess.Popen(prefix + [str(c) for c in command], stdin=stdin or subprocess.DEVNULL, stdout=out,
                                     stderr=err, env=dict(os.environ, **(env or {})))
            _, status, usage = os.wait4(child.pid, 0)
            self.wall = time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            self.cpu, self.peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
            out.seek(0), err.seek(0)
            self.out = out.read().decode(errors="replace")
            if child.returncode:
                sys.exit(f"bench: {' '.join(map(str, command))} failed ({child.returncode}):\n"
                         + err.read().decode(errors="replace")[-2000:])


def in_turn(rounds, contenders):
    """contenders: name -> a function that makes one Run. Returns name -> list of Runs."""
    runs = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, once in contenders.items():
            runs[name].append(once())
    return runs


def median(runs, what=lambda r: r.wall):
    return statistics.median(what(r) for r in runs)


class Targets:
    """What is asked of the figures beside what was measured: first in the report, known last."""

    rows = []

    @classmethod
    def at_most(cls, what, measured, bound):
        cls.rows.append([what, f"{measured:.2f}", f"≤ {bound}", "met" if measured <= bound else "missed"])

    @classmethod
    def at_least(cls, what, measured, bound):
        digits = 0 if bound >= 10 else 2
        cls.rows.append([what, f"{measured:.{digits}f}", f"≥ {bound}", "met" if measured >= bound else "missed"])

    @classmethod
    def report(cls):
        return "### Beside the targets\n\n" + table(["", "measured", "target", ""], cls.rows)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]) + "\n"


def ms(x):
    return f"{x:.2f}" if x < 100 else f"{x:.0f}"


def probe(video):
    out = subprocess.check_output(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
                                   "stream=codec_name,width,height:format=duration", "-of", "json", video])
    data = json.loads(out)
    stream = data["streams"][0]
    return stream["codec_name"], stream["width"], stream["height"], float(data["format"]["duration"])


def our_probe(video):
    return json.loads(subprocess.check_output([PROGRAM, "probe", video, "--json"]))


def raw_frames(video, pixel_format, count):
    """The first frames as a file of raw pixels, in a folder that is removed at exit; and their stored size."""
    _, width, height, _ = probe(video)
    path = FOLDER / f"{pathlib.Path(video).stem}.{count}.{pixel_format}"
    if not path.exists():
        subprocess.run(["ffmpeg", "-v", "error", "-noautorotate", "-i", video, "-frames:v", str(count),
                        "-fps_mode", "passthrough", "-sws_flags", "bicubic+accurate_rnd+full_chroma_int",
                        "-f", "rawvideo", "-pix_fmt", pixel_format, path], check=True)
    return path, width, height


def machine():
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.*)$", cpu, re.M)
    flags = set(re.search(r"^(?:flags|Features)\s*:(.*)$", cpu, re.M).group(1).split())
    isa = [x for x in ("avx2", "fma", "avx512f", "asimd") if x in flags]
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)) / 2**20
    release = pathlib.Path("/etc/debian_version").read_text().strip()
    ffmpeg = subprocess.check_output(["ffmpeg", "-version"], text=True).split()[2]
    gcc = subprocess.check_output(["gcc", "-dumpfullversion"], text=True).strip()
    return (f"{name.group(1) if name else platform.processor()}, {os.cpu_count()} cores ({' '.join(isa)}), "
            f"{memory:.0f} GB; Debian {release}, Linux {platform.release()}, GCC {gcc}, FFmpeg {ffmpeg}")


# --- The pose engine alone -------------------------------------------------------------------------------------------

def pose_once(video, model, isa, threads, pixel_format="rgb24", frames=120):
    path, width, height = raw_frames(video, pixel_format, frames)
    with open(path, "rb") as f:
        run = Run([BUILD / "bench/bench_pose", model, isa, threads, width, height, pixel_format], stdin=f,
                  cores="0" if threads == 1 else None)
    run.result = json.loads(run.out)
    run.ms = statistics.median(run.result["ms"][1:])
    return run


def peer_pose_once(video, model, frames=120):
    path, width, height = raw_frames(video, "rgb24", frames)
    with open(path, "rb") as f:
        run = Run([PEERS / "bin/python", ROOT / "bench/peer_pose.py", model, width, height], stdin=f, cores="0")
    run.result = json.loads(run.out.strip().splitlines()[-1])
    run.ms = statistics.median(run.result["ms"][1:])
    return run


def usable_isas(video):
    isas = []
    for isa in ("portable", "sse2", "avx2", "avx512", "neon"):
        path, width, height = raw_frames(video, "rgb24", 2)
        with open(path, "rb") as f:
            run = subprocess.run([BUILD / "bench/bench_pose", "lite", isa, "1", str(width), str(height), "rgb24"],
                                 stdin=f, capture_output=True)
        if run.returncode == 0:
            isas.append(isa)
    return isas


def pose_by_isa(video, isas, rounds):
    rows = []
    slow = {"portable": 3, "sse2": 20}  # frames; one round and one thread are enough to see how slow
    for isa in isas:
        for threads in (1,) if isa in slow else (1, 2):
            frames = slow.get(isa, 120 if threads == 1 else 30)  # threads that must share a core are slow
            runs = in_turn(1 if isa in slow else min(rounds, 2),
                           {m: lambda m=m: pose_once(video, m, isa, threads, frames=frames)
                            for m in MODELS})
            rows.append([isa, threads] + [ms(median(runs[m], lambda r: r.ms)) for m in MODELS])
    return ("### Pose, milliseconds per tracked frame, from RGB\n\n"
            "Crop, landmark model and smoothing; the detector where it runs. Median over the frames, of which "
            "the median over the rounds.\n\n" + table(["instructions", "threads", *MODELS], rows))


def pose_beside_mediapipe(video, rounds, peers):
    rows = []
    for m in MODELS:
        contenders = {"rgb": lambda: pose_once(video, m, "-", 1), "yuv": lambda: pose_once(video, m, "-", 1, "yuv420p")}
        if peers:
            contenders["peer"] = lambda: peer_pose_once(video, m)
        runs = in_turn(rounds, contenders)
        ours, yuv = median(runs["rgb"], lambda r: r.ms), median(runs["yuv"], lambda r: r.ms)
        row = [m, ms(ours), ms(yuv), f"{runs['rgb'][0].result['memory'] / 2**20:.1f}"]
        if peers:
            theirs = median(runs["peer"], lambda r: r.ms)
            row += [ms(theirs), f"{ours / theirs:.2f}", f"{yuv / theirs:.2f}"]
            Targets.at_most(f"pose per frame / MediaPipe's, {m}, from RGB", ours / theirs, POSE_TARGETS[m])
        rows.append(row)
    head = ["model", "ours, from RGB, ms", "ours, from YUV, ms", "private memory, MB"]
    if peers:
        head += ["MediaPipe's Pose.process(), ms", "RGB / MediaPipe", "YUV / MediaPipe"]
    return ("### Pose per frame, one thread" + (", beside MediaPipe 0.10.21 in Python\n\n" if peers else "\n\n")
            + "The same frames, each process held on one core, in turn.\n\n" + table(head, rows))


# --- The inference engine alone ---------------------------------------------------------------------------------------

def inference():
    one = Run([BUILD / "bench/bench_nn", "--kinds", BUILD / "models"], cores="0").out
    two = Run([BUILD / "bench/bench_nn", "--threads", "2", BUILD / "models"]).out
    return (f"### One inference, one thread\n\n{one.strip()}\n\n### One inference, two threads\n\n{two.strip()}\n")


# --- Whole jobs ------------------------------------------------------------------------------------------------------

def ours(video, out, *options):
    shutil.rmtree(out, ignore_errors=True)
    run = Run([PROGRAM, "process", video, "-o", out, "--quiet", *options])
    folder = out / pathlib.Path(video).stem
    run.metadata = json.loads((folder / "metadata.json").read_text())
    run.statistics = run.metadata["statistics"]
    return run


def ffmpeg_transcode(video, like):
    """The clip to the same size with the same encoder settings, sound copied, index first. It chooses its own numbers
    of threads, and takes at least as many as the program's two for decoding and two for encoding."""
    _, width, height, _ = probe(like)
    key_frames = round(our_probe(video)["video_info"]["fps"] * KEY_SECONDS)
    return Run(["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", video, "-t", SECONDS, "-map", "0:v:0", "-map", "0:a:0?",
                "-vf", f"scale={width}:{height}", "-fps_mode", "vfr", *ENCODER, "-g", key_frames, "-c:a", "copy",
                "-movflags", "+faststart", FOLDER / "transcode.mp4"])


def ffmpeg_decode(video):
    return Run(["ffmpeg", "-v", "error", "-nostdin", "-i", video, "-t", SECONDS, "-map", "0:v:0", "-f", "null", "-"])


def peer_job(video, interval):
    return Run([PEERS / "bin/python", ROOT / "bench/peer_job.py", video, FOLDER / "peer", "full", interval,
                MAX_WIDTH, SECONDS])


def whole_job(video, rounds, peers):
    out = FOLDER / "ours"
    sample = out / pathlib.Path(video).stem / "output.mp4"
    contenders = {
        "all": lambda: ours(video, out),
        "transcode": lambda: ffmpeg_transcode(video, kept),
        "csv": lambda: ours(video, FOLDER / "csv", "--no-video"),
        "decode": lambda: ffmpeg_decode(video),
        "every": lambda: ours(video, FOLDER / "every", "-n", "1"),
    }
    if peers:
        contenders["peer"] = lambda: peer_job(video, INTERVAL)
        contenders["peer every"] = lambda: peer_job(video, 1)
    ours(video, out)
    kept = shutil.copy(sample, FOLDER / "kept.mp4")
    runs = in_turn(rounds, contenders)
    codec, width, height, duration = probe(video)
    names = {"all": "`process`, everything, interval 3", "transcode": "ffmpeg, transcode to the same size and settings",
             "csv": "`process --no-video`, interval 3", "decode": "ffmpeg, decoding alone",
             "every": "`process`, everything, every frame", "peer": "MediaPipe + OpenCV in Python, interval 3",
             "peer every": "MediaPipe + OpenCV in Python, every frame"}
    rows = [[names[n], f"{median(r):.2f}", f"{median(r, lambda x: x.cpu):.2f}", f"{median(r, lambda x: x.peak):.0f}"]
            for n, r in runs.items()]
    name = pathlib.Path(video).name
    wall = {n: median(r) for n, r in runs.items()}
    cpu = {n: median(r, lambda x: x.cpu) for n, r in runs.items()}
    pose_alone = median(runs["csv"], lambda r: r.statistics["stage_seconds"]["pose"])
    least = (cpu["transcode"] + pose_alone) / os.cpu_count()
    floor = max(wall["decode"], pose_alone)
    ratios = [["`process` / ffmpeg's transcode", wall["all"] / wall["transcode"]],
              ["the same, by CPU seconds", cpu["all"] / cpu["transcode"]]]
    if QUIET:
        ratios.append([f"the floor of the first: the transcode's CPU seconds and the pose's, spread over all cores without "
                       f"a gap ({least:.2f} s) / ffmpeg's transcode", least / wall["transcode"]])
    ratios.append([f"`process --no-video` / the larger of decoding ({wall['decode']:.2f} s) and pose alone "
                   f"({pose_alone:.2f} s)", wall["csv"] / floor])
    Targets.at_most(f"whole job / ffmpeg's transcode, {name}", wall["all"] / wall["transcode"], 1.25)
    Targets.at_most(f"CSV only / the larger of decoding and pose alone, {name}", wall["csv"] / floor, 1.2)
    if peers:
        ratios.append(["MediaPipe + OpenCV / `process`, interval 3", wall["peer"] / wall["all"]])
        ratios.append(["the same, by CPU seconds", cpu["peer"] / cpu["all"]])
        ratios.append(["MediaPipe + OpenCV / `process`, every frame", wall["peer every"] / wall["every"]])
        Targets.at_least(f"MediaPipe + OpenCV in Python / whole job, {name}", wall["peer"] / wall["all"], 3)
    if duration >= SECONDS and max(width, height) >= 1280:
        Targets.at_least(f"the replaced Python service's {PYTHON_SERVICE} s / whole job, every frame, {name}",
                         PYTHON_SERVICE / wall["every"], 50)
    work = runs["all"][-1].statistics["stage_seconds"]
    reserved = our_probe(video)
    parts = {k.removesuffix("_mb"): v for k, v in reserved["memory"].items()}
    return (f"### Whole job: {name} ({width}×{height} {codec}, {min(duration, SECONDS):.1f} s)\n\n"
            + table(["", "seconds", "CPU seconds", "peak resident MB"], rows) + "\n"
            + table(["ratio", "measured"], [[a, f"{b:.2f}"] for a, b in ratios])
            + "\nTime at work by stage, everything, interval 3, in seconds on the clock of the stage's own thread: "
            + ", ".join(f"{k} {v:.2f}" for k, v in work.items()) + ".\n"
            + "\nMemory by part as it is reserved, in MB: " + ", ".join(f"{k} {v}" for k, v in parts.items())
            + f"; in all {reserved['reserved_memory_mb']}.\n")


# --- The report ------------------------------------------------------------------------------------------------------

def need_peers():
    stamp = PEERS / ".installed"
    wanted = (ROOT / "bench/peers.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("bench: installing MediaPipe and OpenCV into build/peers", file=sys.stderr)
    shutil.rmtree(PEERS, ignore_errors=True)
    if subprocess.run(["/usr/bin/python3", "-m", "venv", PEERS]).returncode or subprocess.run(
            [PEERS / "bin/pip", "install", "--quiet", "--no-deps", "-r", ROOT / "bench/peers.txt"]).returncode:
        sys.exit("bench: the peers could not be installed (mediapipe 0.10.21 needs Python 3.9 to 3.12)")
    target = next(PEERS.glob("lib/python3*/site-packages/mediapipe/modules/pose_landmark"))
    for model in ("lite", "heavy"):
        shutil.copy(BUILD / f"models/pose_landmark_{model}.tflite", target)
    stamp.write_text(wanted)


def write_into(path, report):
    text = path.read_text()
    begin, end = "<!-- made by ./dev bench: begin -->\n", "<!-- made by ./dev bench: end -->\n"
    if begin not in text or end not in text:
        sys.exit(f"bench: {path} has no place for the tables")
    path.write_text(text[:text.index(begin) + len(begin)] + report + text[text.index(end):])


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].splitlines()[0])
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--part", choices=["jobs", "service", "pose"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("videos", nargs="*")
    args = parser.parse_args()
    if args.write and args.part:
        parser.error("--write takes the whole report: leave out --part")
    videos = args.videos or [str(BUILD / "media/sample.mp4"), *([str(CLIP_720P)] if CLIP_720P.exists() else [])]
    if args.peers:
        need_peers()
    command = " ".join(["./dev bench", *(os.path.relpath(a, ROOT) if os.path.exists(a) else a for a in sys.argv[1:])])
    head = f"`{command}` on {time.strftime('%Y-%m-%d')}: {machine()}.\n"
    if not QUIET:
        head += (f"\n**The machine had other work (load average {LOAD:.1f} on {os.cpu_count()} cores at the start)**: "
                 "seconds on the clock are longer than a quiet machine's and their ratios rough; CPU seconds suffer "
                 "less.\n")
    print(head, flush=True)
    parts = []
    sections = {
        "jobs": [lambda v=v: whole_job(v, args.rounds, args.peers) for v in videos],
        "service": [lambda: serving.start(table), lambda: serving.polls(videos[0], args.rounds, table)],
        "pose": [lambda: pose_beside_mediapipe(videos[0], args.rounds, args.peers), inference,
                 lambda: pose_by_isa(videos[0], usable_isas(videos[0]), args.rounds)],
    }
    for section in sections[args.part] if args.part else sum(sections.values(), []):
        parts.append(section())
        print(parts[-1], flush=True)
    print(Targets.report())
    if args.write:
        write_into(ROOT / "docs/performance.md", "\n".join([head, Targets.report(), *parts]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bodyscript-bench-") as folder:
        FOLDER = pathlib.Path(folder)
        main()
