#!/usr/bin/env python3
"""What each mode gains and costs: the tables of docs/modes.md.

usage: bench/modes.py [--frames N] [--photos | --clips] [--modes NAME,…] [--only TEXT] | --check

Needs a build, the weights, ffmpeg, and shared/ beside the project (media, golden/truth.py). Clips are sampled from the
decoder's own YUV planes and tracked with their true time stamps; photos are RGB, each on its own.
Found: share of frames (or photos) with a person. Visibility: its mean over landmarks and found frames, as reported.
ms: processor time of the pose engine per frame, cropping included, decoding not; compare within one run.
--check is the test: quality finds a person in 33 of the 38 photos and puts 0.80 of the key points right; no mode sees
somebody in more than 2 of the 60 frames of a test pattern; where people come and go, smart and quality find whoever is
there in no fewer frames than fast, and quality takes the furniture for somebody in no more.
"""
import argparse, collections, csv, json, os, pathlib, re, statistics, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/parity"))
import parity  # noqa: E402

MODES = {"ultra_fast": "lite", "fast": "full", "smart": "full", "quality": "heavy"}
CLIPS = [("low light", "walkers_lowlight_480p.mp4"), ("back light", "sports2d_demo_two_people_vp9.mp4"),
         ("fast", "torchvision_basketball.mp4"), ("coming and going", "intel_one_by_one_person.mp4"),
         ("black and white", "moviepy_chaplin_two_men_bw.mp4"), ("good", "pexels_yoga_360sq.mp4"),
         ("good", "balancing_cam01.mp4"), ("nobody", "no_person_testsrc.mp4")]
# By looking at the frames: before the first number nobody is there, and every find is a table or a pattern; from the second
# on somebody is, whole or nearly so. Between them somebody comes in.
COMING = {"intel_one_by_one_person.mp4": (60, 66), "no_person_testsrc.mp4": (60, 60)}


def photo_frames(path):
    s = json.loads(subprocess.check_output(["ffprobe", "-v", "error", "-show_entries", "stream=width,height", "-of", "json", path]))["streams"][0]
    return [{"frame": "0", "width": s["width"], "height": s["height"], "rgb_crc32": "", "time_us": "0"}]


def summary(stages):
    """Of the lines per frame: frames, share found, mean visibility, ms per frame, how often each strategy."""
    found = [s for s in stages if s[1] != "0"]
    return (len(stages), len(found) / len(stages), statistics.mean(float(s[5]) for s in found) if found else 0.0,
            statistics.mean(float(s[3]) for s in stages), collections.Counter(s[4] for s in found))


def strategies(counter):
    return ", ".join(f"{k} {v}" for k, v in counter.most_common() if k != "original") or "–"


def photos(modes, only):
    results = []
    print("| photos | mode | found | key points right | mean visibility | ms per photo | by other strategies |\n|---|---|---|---|---|---|---|")
    for mode in modes:
        stages = []
        with tempfile.TemporaryDirectory() as tmp:
            for path in sorted((parity.SHARED / "media/stills_coco").glob("*.jpg")):
                if only and only not in path.name:
                    continue
                rows, lines = parity.run(path, photo_frames(path), MODES[mode], False, ("rgb24", []), ["--mode", mode], [])
                out = pathlib.Path(tmp, path.stem)
                out.mkdir()
                with open(out / "pose_data.csv", "w", newline="") as f:
                    w = csv.DictWriter(f, rows[0].keys())
                    w.writeheader(), w.writerows(rows)
                stages += lines
            truth = subprocess.check_output([sys.executable, parity.SHARED / "golden/truth.py", tmp], text=True)
        near = re.search(r"near ([\d.]+)", truth).group(1)
        n, share, visibility, ms, how = summary(stages)
        results.append((round(share * n), float(near)))
        print(f"| COCO | {mode} ({MODES[mode]}) | {round(share * n)} of {n} | {near} | {visibility:.3f} | {ms:.1f} | {strategies(how)} |", flush=True)
    return results


def clips(modes, limit, only):
    """For each clip and mode: in how many frames with somebody a person was found, in how many without."""
    results = []
    print("\n| clip | mode | found where somebody is | found where nobody is | mean visibility | ms per frame | by other strategies |\n"
          "|---|---|---|---|---|---|---|")
    for what, name in CLIPS:
        if only and only not in name:
            continue
        frames = parity.golden_frames(parity.SHARED / "golden/tracked" / f"{name}.full")[:limit]
        path = parity.find(name)
        for mode in modes:
            _, lines = parity.run(path, frames, MODES[mode], True, parity.yuv_layout(path), ["--mode", mode], [])
            _, _, visibility, ms, how = summary(lines)
            empty, full = COMING.get(name, (0, 0))
            parts = [[s[1] != "0" for s in part] for part in (lines[full:], lines[:empty])]
            results.append([sum(part) for part in parts])
            cells = [f"{sum(part)} of {len(part)}" if part else "–" for part in parts]
            print(f"| {what}: {name} | {mode} ({MODES[mode]}) | {' | '.join(cells)} | {visibility:.3f} | {ms:.1f} | {strategies(how)} |", flush=True)
    return results


def check():
    (found, right), = photos(["quality"], None)
    patterns = [nobody for _, nobody in clips(list(MODES), 60, "no_person")]
    fast, smart, quality = clips(["fast", "smart", "quality"], 100, "one_by_one")
    good = found >= 33 and right >= 0.80 and max(patterns) <= 2 and min(smart[0], quality[0]) >= fast[0] and quality[1] <= fast[1]
    print("the modes keep what docs/modes.md says" if good else
          f"found {found}, right {right}, in the pattern {patterns}, coming and going {fast}, {smart} and {quality}")
    return 0 if good else 1


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--frames", type=int, default=200), p.add_argument("--photos", action="store_true")
    p.add_argument("--clips", action="store_true"), p.add_argument("--modes", default=",".join(MODES))
    p.add_argument("--only"), p.add_argument("--check", action="store_true")
    a = p.parse_args()
    os.environ.setdefault("BODYSCRIPT_MODELS", str(ROOT / "build/models"))
    if not parity.SHARED.is_dir():
        print("skipped: shared/ beside the project is not there")
        return 77
    if a.check:
        return check()
    modes = a.modes.split(",")
    if not a.clips:
        photos(modes, a.only)
    if not a.photos:
        clips(modes, a.frames, a.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
