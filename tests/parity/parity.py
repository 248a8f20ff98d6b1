#!/usr/bin/env python3
"""The engine against MediaPipe's own landmarks: the same digits from RGB, as near as MediaPipe is to itself from YUV.

usage: parity.py sample|photos|rounded|clips|yuv|masks|people… [--all] [--frames N] [--isa NAME] [--only TEXT] [--verbose]

Reads tests/golden and, where it is there, shared/golden beside the project; media from build/media and shared/media.
Without --all, `clips` and `yuv` look at the first frames of a few clips only (a minute or so in all).
Exact path: every frame's pixels have the golden CRC-32, the same frames are found and lost, landmarks within 0.001 px of
the 256-pixel crop, world within 0.001 mm, visibility within 1e-6. YUV path: the median over a clip within 1.5 times
what MediaPipe differs from itself, where that was measured (shared/golden/README.md). `people`: several people, against
MediaPipe Tasks, from RGB: as many on every frame, and each of them one of MediaPipe's, within the same bounds. `rounded`: photos with the kernels
for CPUs that have no fused multiply-add: the same are found and lost, 99 % of the landmarks are within 0.15 px.
"""
import argparse, csv, json, math, os, pathlib, statistics, subprocess, sys, tempfile, threading, zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
PROGRAM = os.environ.get("BODYSCRIPT_POSE_FRAMES", str(ROOT / "build/tests/parity/pose_frames"))
MEDIA = [pathlib.Path(os.environ.get("BODYSCRIPT_MEDIA", ROOT / "build/media"))] + \
        [SHARED / "media" / d for d in ("videos", "stills_coco", "stills_other", "derived", "threed_pose2sim")]
ROUNDED_P99 = 0.15
BOUNDS = {"px": 1e-3, "mm": 1e-3, "visibility": 1e-6}
# What MediaPipe differs from itself, median px, when only swscale's flags change (its full model: shared/golden/README.md;
# lite and heavy: measured in the same way, with this engine in MediaPipe's place, which is the same to the last digit).
ITSELF = {"intel_asl_walk.mkv.full": .12, "pexels_yoga_360sq.mp4.full": .10, "balancing_cam01.mp4.full": .14,
          "balancing_cam02.mp4.full": .36, "torchvision_basketball.mp4.full": .33, "torchvision_basketball.mp4.lite": .46,
          "torchvision_basketball.mp4.heavy": .23, "sports2d_demo_two_people_vp9.mp4.full": .41,
          "sports2d_demo_two_people_vp9.mp4.lite": .82, "sports2d_demo_two_people_vp9.mp4.heavy": .19,
          "pexels_group_exercise_720p.mp4.full": .53, "moviepy_chaplin_two_men_bw.mp4.full": .63,
          "intel_one_by_one_person.mp4.full": .57, "walkers_hevc10_hlgtag_480p.mov.full": .26}
QUICK = ("intel_asl_walk.mkv", "pexels_yoga_360sq.mp4", "torchvision_basketball.mp4", "balancing_cam02.mp4", "walkers_hevc10_hlgtag_480p.mov")
TO_RGB = ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int"]


def find(name):
    return next((d / name for d in MEDIA if (d / name).exists()), None)


def golden_frames(stem):
    return list(csv.DictReader(open(f"{stem}.frames.csv")))


def golden(stem):
    rows = {}
    for r in csv.DictReader(open(f"{stem}.landmarks.csv")):
        rows[int(r["frame"]), int(r["landmark"])] = {k: float(v) for k, v in r.items()}
    return golden_frames(stem), rows


def yuv_layout(path):
    """The decoder's own layout of a clip, its matrix and range."""
    s = json.loads(subprocess.check_output(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
                                            "stream=pix_fmt,color_space,color_range", "-of", "json", path]))["streams"][0]
    matrix = {"bt709": "bt709", "bt2020nc": "bt2020", "bt2020c": "bt2020"}.get(s.get("color_space"), "bt601")
    full = s.get("color_range") == "pc" or s["pix_fmt"].startswith("yuvj")
    return s["pix_fmt"], ["--matrix", matrix] + (["--full-range"] if full else [])


def run(path, frames, model, tracked, layout, extra, crc):
    """Feeds the frames of `path` to the engine; its rows, and its lines per frame."""
    w, h = int(frames[0]["width"]), int(frames[0]["height"])
    pixels, how = layout
    with tempfile.TemporaryDirectory() as tmp:
        command = [PROGRAM, "--model", model, "--size", f"{w}x{h}", "--format", pixels.replace("yuvj", "yuv"), "--stages", f"{tmp}/stages", *how, *extra]
        if tracked:
            pathlib.Path(tmp, "times").write_text("".join(f"{int(f['time_us']) + 1}\n" for f in frames))
            command += ["--times", f"{tmp}/times"]
        ffmpeg = subprocess.Popen(["ffmpeg", "-v", "error", "-noautorotate", "-i", path, "-frames:v", str(len(frames)), "-map", "0:v:0",
                                   "-vsync", "passthrough"] + (TO_RGB if pixels == "rgb24" else []) +
                                  ["-f", "rawvideo", "-pix_fmt", pixels, "-"], stdout=subprocess.PIPE)
        engine = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False)

        def feed():
            try:
                for f in frames:
                    raw = ffmpeg.stdout.read(w * h * 3) if pixels == "rgb24" else ffmpeg.stdout.read(1 << 20)
                    while raw:
                        if crc and f"{zlib.crc32(raw):08x}" != f["rgb_crc32"]:
                            crc.append(f["frame"])
                        engine.stdin.write(raw)
                        raw = b"" if pixels == "rgb24" else ffmpeg.stdout.read(1 << 20)
                engine.stdin.close()
            except BrokenPipeError:
                pass
        complaints = []
        feeder, listener = threading.Thread(target=feed), threading.Thread(target=lambda: complaints.append(engine.stderr.read()))
        feeder.start(), listener.start()
        rows = list(csv.DictReader(engine.stdout.read().decode().splitlines()))
        for t in (feeder, listener):
            t.join()
        if engine.wait() or ffmpeg.wait():
            raise RuntimeError(complaints[0].decode())
        return rows, list(csv.reader(open(f"{tmp}/stages")))


def distances(frames, gold, rows):
    """Frames on which only one side found somebody, and the lists of distances on the others."""
    mine = {(int(r["frame_id"]), int(r["landmark_id"])): r for r in rows if r["x"]}
    differ, d = [], {"px": [], "mm": [], "visibility": []}
    for f in frames:
        i, here = int(f["frame"]), (int(f["frame"]), 0) in mine
        if here != (f["found"] == "1"):
            differ.append(i)
        if not here or f["found"] != "1":
            continue
        w, h = int(f["width"]), int(f["height"])
        side = "detection" if f["detection_roi_w"] else "next"
        scale = 256 / (float(f[side + "_roi_w"]) * w)
        cx, cy = float(f[side + "_roi_x"]) * w, float(f[side + "_roi_y"]) * h
        for j in range(33):
            g, m = gold[i, j], mine[i, j]
            if math.hypot(g["x"] * w - cx, g["y"] * h - cy) * scale > 256:
                continue
            d["px"].append(math.hypot((g["x"] - float(m["x"])) * w, (g["y"] - float(m["y"])) * h) * scale)
            d["px"].append(abs(g["z"] - float(m["z"])) * w * scale)
            d["mm"].append(1000 * math.dist([g["world_" + c] for c in "xyz"], [float(m["world_" + c]) for c in "xyz"]))
            d["visibility"].append(abs(g["visibility"] - float(m["visibility"])))
    return differ, d


def compared(stem, isa, crc, limit=0, yuv=False):
    """The frames of one recording, those on which only one side found somebody, and how far apart the others are; None
    where its media are not here."""
    name, model = stem.name.rsplit(".", 1)
    path = find(name)
    if path is None:
        return None
    frames, gold = golden(stem)
    frames = frames[:limit or None]
    rows, _ = run(path, frames, model, stem.parent.name != "stills", yuv_layout(path) if yuv else ("rgb24", []),
                  ["--isa", isa] if isa else [], crc)
    return frames, *distances(frames, gold, rows)


def exact(stem, a, limit=0):
    crc = ["pixels"]
    found = compared(stem, a.isa, crc, limit)
    if found is None:
        return None
    frames, differ, d = found
    worst = {k: max(v, default=0.0) for k, v in d.items()}
    good = not differ and crc == ["pixels"] and all(worst[k] <= BOUNDS[k] for k in BOUNDS)
    if a.verbose or not good:
        print(f"{'ok ' if good else 'BAD'} {stem.name}: {len(frames)} frames, found differs on {differ}, other pixels on {crc[1:]}, "
              f"worst px {worst['px']:.2g} mm {worst['mm']:.2g} visibility {worst['visibility']:.2g}", flush=True)
    return good


def rounded(stems_of_photos):
    found_differs, xy = [], []
    for stem in stems_of_photos:
        found = compared(stem, "sse2", [])
        if found is None:
            continue
        _, differ, d = found
        found_differs += [stem.name] if differ else []
        xy += d["px"][0::2]
    if not xy:
        return None
    p99 = statistics.quantiles(xy, n=100)[98]
    print(f"{len(xy)} landmarks without fused multiply-add: median {statistics.median(xy):.4f} px, 99 % within {p99:.3f} px, "
          f"found differs on {found_differs}")
    return not found_differs and p99 <= ROUNDED_P99


def yuv(stem, a, limit=0):
    found = compared(stem, a.isa, [], limit, yuv=True)
    if found is None:
        return None
    frames, differ, d = found
    xy = d["px"][0::2]
    median, bound = statistics.median(xy) if xy else math.inf, 1.5 * ITSELF[stem.name]
    good = median <= bound
    if a.verbose or not good:
        print(f"{'ok ' if good else 'BAD'} {stem.name} from YUV: {len(frames)} frames, found differs on {len(differ)}, median px "
              f"{median:.3f} (bound {bound:.3f}), mm {statistics.median(d['mm'] or [0]):.2f}", flush=True)
    return good


def by_person(rows, frame, person, here=lambda r: True):
    """{frame: {person: its 33 rows}} of the rows that hold somebody."""
    people = {}
    for r in filter(here, rows):
        people.setdefault(int(r[frame]), {}).setdefault(r[person], []).append(r)
    return people


def apart(wanted, got, w, h):
    """The largest distances between two bodies: pixels of the picture, millimetres, visibility."""
    worst = dict.fromkeys(BOUNDS, 0.0)
    for g, m in zip(wanted, got, strict=True):
        d = {k: abs(float(g[k]) - float(m[k])) for k in ("x", "y", "z", "visibility", "world_x", "world_y", "world_z")}
        here = {"px": max(d["x"] * w, d["y"] * h, d["z"] * w), "mm": 1000 * max(d["world_" + c] for c in "xyz"),
                "visibility": d["visibility"]}
        worst = {k: max(worst[k], here[k]) for k in BOUNDS}
    return worst


def people(stem, a):
    name, model, count = stem.name.rsplit(".", 2)
    path = find(name)
    if path is None:
        return None
    frames, gold = golden_frames(stem), by_person(csv.DictReader(open(f"{stem}.landmarks.csv")), "frame", "person")
    w, h, crc = int(frames[0]["width"]), int(frames[0]["height"]), ["pixels"]
    rows, _ = run(path, frames, model, len(frames) > 1, ("rgb24", []), ["--people", count] + (["--isa", a.isa] if a.isa else []), crc)
    mine = by_person(rows, "frame_id", "person_id", lambda r: r["x"])
    differ = [f["frame"] for f in frames if len(mine.get(int(f["frame"]), {})) != int(f["people"])]
    worst = dict.fromkeys(BOUNDS, 0.0)
    for i, persons in gold.items():
        for body in persons.values():
            d = min((apart(body, m, w, h) for m in mine.get(i, {}).values()), key=lambda d: d["px"], default=None)
            worst = {k: max(worst[k], d[k]) for k in BOUNDS} if d else worst
    good = bool(gold) and not differ and crc == ["pixels"] and all(worst[k] <= BOUNDS[k] for k in BOUNDS)
    if a.verbose or not good:
        print(f"{'ok ' if good else 'BAD'} {stem.name} people: {len(frames)} frames, number differs on {differ}, other pixels on {crc[1:]}, "
              f"worst px {worst['px']:.2g} mm {worst['mm']:.2g} visibility {worst['visibility']:.2g}", flush=True)
    return good


def masks(stem, a):
    name, model = stem.name.rsplit(".", 1)
    path = find(name)
    if path is None:
        return None
    frames, _ = golden(stem)
    other, count, worst = 0, 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        run(path, frames, model, len(frames) > 1, ("rgb24", []), ["--masks", f"{tmp}/{stem.name}"], [])
        for g in sorted(stem.parent.glob(stem.name + ".*.mask.pgm")):
            want, got = g.read_bytes(), pathlib.Path(tmp, g.name.replace(".mask", "")).read_bytes()
            apart = [abs(x - y) for x, y in zip(want, got)] + [255] * (len(want) != len(got))
            other, count, worst = other + sum(x > 0 for x in apart), count + len(want), max(worst, max(apart))
    good = count > 0 and worst <= 1 and other <= 1e-5 * count  # single rounding ties of the 8-bit value
    if a.verbose or not good:
        print(f"{'ok ' if good else 'BAD'} {stem.name} masks: {other} of {count} values differ, by {worst} at most", flush=True)
    return good


def stems(folder, a, quick=()):
    every = sorted({p.with_suffix("").with_suffix("") for p in folder.glob("*.frames.csv")})
    return [s for s in every if (not quick or a.all or s.name.rsplit(".", 1)[0] in quick) and (not a.only or a.only in s.name)]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("what", nargs="+", choices=("sample", "photos", "rounded", "clips", "yuv", "masks", "people"))
    p.add_argument("--all", action="store_true"), p.add_argument("--verbose", action="store_true")
    p.add_argument("--frames", type=int, default=0), p.add_argument("--isa"), p.add_argument("--only")
    a = p.parse_args()
    models = pathlib.Path(os.environ.setdefault("BODYSCRIPT_MODELS", str(ROOT / "build/models")))
    if not (models / "pose_detection.tflite").exists():
        print("skipped: the weights are not in build/models (./dev setup fetches them)")
        return 77
    limit = a.frames or (0 if a.all else 60)
    g = SHARED / "golden"
    results = []
    for what in a.what:
        if what == "sample":
            results += [exact(s, a) for s in stems(ROOT / "tests/golden", a)]
        elif what == "photos":
            results += [exact(s, a) for s in stems(g / "stills", a)]
        elif what == "rounded":
            results += [rounded([s for s in stems(g / "stills", a) if a.all or s.name.endswith(".full")])]
        elif what == "clips":
            results += [exact(s, a, limit) for s in stems(g / "tracked", a, QUICK)]
        elif what == "yuv":
            results += [yuv(s, a, limit) for s in stems(g / "tracked", a, QUICK) if s.name in ITSELF]
        elif what == "people":
            results += [people(s, a) for s in stems(ROOT / "tests/golden/tasks", a)]
        elif what == "masks":
            results += [masks(s, a) for s in stems(g / "masks", a)]
    done = [r for r in results if r is not None]
    if not done:
        print("skipped: " + ("the sample clip is not in build/media (./dev test fetches it)" if a.what == ["sample"] else
                             "shared/ beside the project is not there"))
        return 77
    print(f"{sum(done)} of {len(done)} agree with MediaPipe" + (f"; {len(results) - len(done)} without media" if len(done) < len(results) else ""))
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
