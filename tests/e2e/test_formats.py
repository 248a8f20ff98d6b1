#!/usr/bin/env python3
"""Every format that the program promises, made with ffmpeg from one clip and run through `bodyscript process`.

usage: test_formats.py [--write]

One second and a half of the sample clip (a man, whole body) goes through every container, codec, pixel format,
colour description, orientation and kind of time stamp. The clip as it is, lossless, is the reference: a variant is
`upright` when its landmarks lie where the reference's lie, in pixels of the 256-pixel crop, and its frames and time
stamps are held against what the variant was made with. The result is docs/formats.md. Without --write the test fails where a
cell is wrong, or where the committed table is not the one that was made; with it the table is written.
"""
import argparse
import concurrent.futures
import csv
import json
import math
import os
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("BODYSCRIPT", str(ROOT / "build/bodyscript"))
MEDIA = pathlib.Path(os.environ.get("BODYSCRIPT_MEDIA", ROOT / "build/media"))
SHARED = ROOT.parent / "shared" / "media"
TABLE = ROOT / "docs" / "formats.md"

FRAMES, RATE, INTERVAL = 45, 30, 3
WIDTH, HEIGHT = 360, 640
LOSSLESS_PX = 0.75   # 1.5 times what MediaPipe differs from itself on clips like this
TURNED_PX = 1.0      # orientations: the crop is sampled along other axes
LOSSY_PX = 6.0       # old codecs at good quality; upside down is some 100 px away

TURNS = {  # name: (how the picture must be stored, display matrix a b c d)
    "upright": ("null", (1, 0, 0, 1)),
    "mirrored": ("hflip", (-1, 0, 0, 1)),
    "rotated 180": ("hflip,vflip", (-1, 0, 0, -1)),
    "flipped": ("vflip", (1, 0, 0, -1)),
    "transposed": ("transpose=0", (0, 1, 1, 0)),
    "rotated 90": ("transpose=2", (0, 1, -1, 0)),
    "transversed": ("transpose=3", (0, -1, -1, 0)),
    "rotated 270": ("transpose=1", (0, -1, 1, 0)),
}


class Variant:
    """`make`: arguments for ffmpeg between the input and the output, or a function (work, path)."""

    def __init__(self, group, name, file, make, *, px=LOSSY_PX, place=None, times=None, frames=FRAMES, source=None, exit=0,
                 upright=True, said=()):
        self.group, self.name, self.file, self.make, self.px = group, name, file, make, px
        self.place = place or (lambda x, y: (x, y))  # where the reference's point lies in this picture
        self.times = times                           # seconds by frame; None: at the source's rate
        self.frames, self.source, self.exit, self.upright, self.said = frames, source, exit, upright, said


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)


def ffmpeg(*arguments):
    done = run("ffmpeg", "-v", "error", "-nostdin", "-y", *arguments)
    if done.returncode:
        raise RuntimeError(f"ffmpeg {' '.join(map(str, arguments))}: {done.stderr.strip()[-300:]}")


def set_matrix(path, turn):
    """Writes a display matrix into the tkhd of the only track."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    a, b, c, d = (int(v * 0x10000) for v in TURNS[turn][1])
    matrix = at + (52 if data[at] == 1 else 40)
    data[matrix:matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def patch_delta(path, old, new):
    """Replaces one duration in stts."""
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 8
    count = struct.unpack_from(">I", data, at)[0]
    for i in range(count):
        if struct.unpack_from(">I", data, at + 8 + 8 * i)[0] == old:
            struct.pack_into(">I", data, at + 8 + 8 * i, new)
            path.write_bytes(data)
            return
    raise RuntimeError("no such duration")


def variants(base, work):
    x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "16", "-pix_fmt", "yuv420p"]
    q = ["-q:v", "3"]
    out = []

    def add(group, name, file, make, **more):
        out.append(Variant(group, name, file, make, **more))

    # -- containers and codecs
    codecs = {
        "H.264": x264,
        "H.264, B-frames": ["-c:v", "libx264", "-preset", "fast", "-crf", "16", "-bf", "3"],
        "HEVC": ["-c:v", "libx265", "-preset", "ultrafast", "-crf", "16", "-x265-params", "log-level=none"],
        "AV1": ["-c:v", "libsvtav1", "-preset", "11", "-crf", "25"],
        "VP8": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
        "VP9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
        "MPEG-4": ["-c:v", "mpeg4", "-bf", "2", *q], "Xvid": ["-c:v", "libxvid", *q],
        "MPEG-1": ["-c:v", "mpeg1video", *q], "MPEG-2": ["-c:v", "mpeg2video", "-bf", "2", *q],
        "MPEG-2 4:2:2": ["-c:v", "mpeg2video", "-pix_fmt", "yuv422p", *q],
        "MJPEG": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", *q],
        "ProRes": ["-c:v", "prores_ks", "-profile:v", "2"], "ProRes 4444": ["-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le"],
        "WMV1": ["-c:v", "wmv1", *q], "WMV2": ["-c:v", "wmv2", *q], "MS-MPEG-4 v3": ["-c:v", "msmpeg4", *q],
        "Sorenson H.263": ["-c:v", "flv", *q], "Theora": ["-c:v", "libtheora", "-q:v", "8"],
        "FFV1": ["-c:v", "ffv1"], "HuffYUV": ["-c:v", "huffyuv", "-pix_fmt", "yuv422p"], "Ut Video": ["-c:v", "utvideo"],
        "raw video": ["-c:v", "rawvideo"], "QuickTime RLE": ["-c:v", "qtrle"], "PNG": ["-c:v", "png"], "GIF": ["-c:v", "gif"],
    }
    lossless = {"FFV1", "Ut Video", "raw video"}
    matrix = {
        "mp4": ["H.264", "H.264, B-frames", "HEVC", "AV1", "VP9", "MPEG-4", "MJPEG"],
        "mov": ["H.264", "HEVC", "ProRes", "ProRes 4444", "MJPEG", "QuickTime RLE", "PNG", "MPEG-4"],
        "mkv": ["H.264, B-frames", "HEVC", "AV1", "VP8", "VP9", "MPEG-2", "MPEG-4", "MJPEG", "Theora", "FFV1", "ProRes"],
        "webm": ["VP8", "VP9", "AV1"],
        "avi": ["Xvid", "MPEG-4", "MJPEG", "MS-MPEG-4 v3", "H.264", "FFV1", "HuffYUV", "Ut Video", "raw video"],
        "ts": ["H.264", "HEVC", "MPEG-2", "MPEG-1"],
        "mpg": ["MPEG-1", "MPEG-2"],
        "wmv": ["WMV1", "WMV2"], "asf": ["MS-MPEG-4 v3"],
        "flv": ["Sorenson H.263", "H.264"],
        "3gp": ["H.264", "MPEG-4"],
        "ogv": ["Theora"], "mxf": ["MPEG-2 4:2:2"], "nut": ["FFV1"], "ivf": ["VP8"],
        "gif": ["GIF"], "apng": ["PNG"], "y4m": ["raw video"],
    }
    for container, names in matrix.items():
        for name in names:
            options = list(codecs[name])
            if container == "apng":
                options = ["-c:v", "apng"]
            if container in ("mp4", "mov") and name == "HEVC":
                options += ["-tag:v", "hvc1"]
            if container == "mxf":
                options += ["-r", "25"]
            if container == "y4m":
                options = ["-pix_fmt", "yuv420p"]
            make = options
            if container in ("mpg", "mxf") or name in ("MPEG-1", "MPEG-2"):  # these know a few rates only
                make = ["-r", "30"] + options if container != "mxf" else options
            add("Containers and codecs", f"{name}", f"{name}.{container}", make,
                px=LOSSLESS_PX if name in lossless else LOSSY_PX,
                source=["-r", "25"] if container == "mxf" else [])
    # DV has one size and fixed shapes: the clip stands between bars.
    share = WIDTH * 576 / HEIGHT / 768
    add("Containers and codecs", "DV", "dv.avi",
        ["-vf", "scale=304:576,pad=720:576:208:0,setsar=16/15", "-c:v", "dvvideo", "-pix_fmt", "yuv420p"], source=["-r", "25"],
        place=lambda x, y: (208 / 720 + x * 304 / 720, y))
    add("Containers and codecs", "DV", "dv.dv",
        ["-vf", "scale=304:576,pad=720:576:208:0,setsar=16/15", "-c:v", "dvvideo", "-pix_fmt", "yuv420p"], source=["-r", "25"],
        place=lambda x, y: (208 / 720 + x * 304 / 720, y))
    add("Containers and codecs", "H.264 without a container", "es.h264", ["-r", "25", *x264], source=["-r", "25"],
        times=[i / 25 for i in range(FRAMES)])
    add("Containers and codecs", "HEVC without a container", "es.hevc", codecs["HEVC"], source=["-r", "25"],
        times=[i / 25 for i in range(FRAMES)])
    add("Containers and codecs", "MJPEG without a container", "es.mjpeg", codecs["MJPEG"], source=["-r", "25"],
        times=[i / 25 for i in range(FRAMES)])
    add("Containers and codecs", "Dirac without a container", "es.drc", ["-c:v", "vc2", "-strict", "-2", "-pix_fmt", "yuv420p"])
    add("Containers and codecs", "fragmented MP4, H.264", "fragmented.mp4", [*x264, "-movflags", "frag_keyframe+empty_moov"])

    # -- pixel formats, lossless
    ffv1 = "yuv420p yuv422p yuv444p yuv440p yuv411p yuv410p yuv420p9 yuv420p10 yuv422p10 yuv444p10 yuv420p12 yuv422p12 yuv444p12 " \
           "yuv420p16 yuv444p16 yuva420p yuva444p yuva420p10 bgr0 bgra gbrp9 gbrp10 gbrp12 gbrp14 gbrp16 gbrap10 rgb48"
    coarse = {"yuv410p", "yuv411p"}
    for f in ffv1.split():
        add("Pixel formats, lossless (FFV1)", f, f"ffv1_{f}.mkv", ["-c:v", "ffv1", "-pix_fmt", f],
            px=LOSSY_PX if f in coarse else LOSSLESS_PX)
    for f in "gray gray10 gray16 ya8".split():
        add("Pixel formats, lossless (FFV1)", f + " (no colour)", f"ffv1_{f}.mkv", ["-c:v", "ffv1", "-pix_fmt", f])
    for f in "yuyv422 uyvy422 nv12 nv21 rgb24 bgr24 argb abgr 0rgb rgb48be gbrp yuv444p10be".split():
        # FFmpeg 7 makes other colours when it goes from YUV to GBR at once.
        by = ["-vf", "format=rgb24"] if f == "gbrp" else []
        add("Pixel formats, raw", f, f"raw_{f}.nut", [*by, "-c:v", "rawvideo", "-pix_fmt", f], px=LOSSLESS_PX)
    for f in "rgb565 rgb555 rgb8 pal8".split():
        make = ["-c:v", "rawvideo", "-pix_fmt", f]
        if f == "pal8":
            make = ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse", "-c:v", "png", "-pix_fmt", "pal8"]
        add("Pixel formats, raw", f + " (few colours)", f"raw_{f}.{'mkv' if f == 'pal8' else 'nut'}", make)
    for f in "yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le gbrp".split():
        encoder = "libx264rgb" if f == "gbrp" else "libx264"
        add("Pixel formats, H.264 without loss", f, f"h264_{f}.mp4",
            ["-c:v", encoder, "-preset", "ultrafast", "-qp", "0", *([] if f == "gbrp" else ["-pix_fmt", f])], px=LOSSLESS_PX)
    for f in "yuv420p10le yuv422p10le yuv444p12le".split():
        add("Pixel formats, HEVC without loss", f, f"hevc_{f}.mp4",
            ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "lossless=1:log-level=none", "-pix_fmt", f], px=LOSSLESS_PX)

    # -- colours
    for m, tag in (("bt601", "smpte170m"), ("bt709", "bt709"), ("bt2020", "bt2020nc")):
        for r, pc in (("limited", "tv"), ("full", "pc")):
            add("Colours", f"{m}, {r} range", f"colour_{m}_{pc}.mkv",
                ["-vf", f"scale=in_color_matrix=bt601:out_color_matrix={m}:in_range=tv:out_range={pc}:flags=accurate_rnd,format=yuv444p",
                 "-c:v", "ffv1", "-colorspace", tag, "-color_range", pc], px=LOSSLESS_PX)
    for name, trc in (("PQ", "smpte2084"), ("HLG", "arib-std-b67")):
        add("Colours", f"{name}, seen as SDR", f"hdr_{name}.mov",
            ["-vf", "scale=in_color_matrix=bt601:out_color_matrix=bt2020,format=yuv420p10le", "-c:v", "libx265", "-preset", "ultrafast",
             "-crf", "12", "-tag:v", "hvc1", "-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", trc,
             "-x265-params", f"log-level=none:colorprim=bt2020:transfer={trc}:colormatrix=bt2020nc"], said=("hdr",))

    # -- orientations
    for turn, (how, _) in TURNS.items():
        for container in ("mp4", "mov"):
            def make(path, how=how, turn=turn):
                ffmpeg("-i", base, "-vf", how, "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", path)
                set_matrix(path, turn)
            add("Orientations", f"{turn}, display matrix", f"turn_{turn}.{container}", make, px=TURNED_PX)
    for turn, (how, _) in list(TURNS.items()):
        def make(path, how=how, turn=turn):
            ffmpeg("-i", base, "-vf", how, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-pix_fmt", "yuv422p10le", path)
            set_matrix(path, turn)
        add("Orientations", f"{turn}, 4:2:2 10 bit", f"turn422_{turn}.mp4", make, px=LOSSY_PX)
    add("Orientations", "rotated 90, H.264's own SEI", "sei_90.mkv",
        ["-vf", "transpose=2", *x264, "-bsf:v", "h264_metadata=display_orientation=insert:rotate=-90"])

    # -- shapes
    for sar, how in (("4/3", "scale=270:640"), ("3/4", "scale=480:640"), ("16/11", "scale=248:640")):
        add("Shapes", f"sample aspect ratio {sar}", f"sar_{sar.replace('/', 'x')}.mp4",
            ["-vf", f"{how}:flags=lanczos,setsar={sar}", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-pix_fmt", "yuv444p"])
    add("Shapes", "sample aspect ratio 4/3, rotated 90", "sar_turned.mov",
        lambda path: (ffmpeg("-i", base, "-vf", "transpose=2,scale=480:360:flags=lanczos,setsar=4/3", *x264, path),
                      set_matrix(path, "rotated 90")))
    add("Shapes", "odd size 359 × 637, 4:2:0", "odd.mkv", ["-vf", "scale=359:637", "-c:v", "ffv1"])
    add("Shapes", "all four edges cut off by H.264 itself", "cropped.mp4",
        ["-vf", "pad=iw+88:ih+80:34:30:red", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0",
         "-bsf:v", "h264_metadata=crop_left=34:crop_right=54:crop_top=30:crop_bottom=50"], px=LOSSLESS_PX)
    add("Shapes", "interlaced MPEG-2", "interlaced.ts", ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-top", "1", *q], said=("interlaced",))
    add("Shapes", "interlaced H.264", "interlaced.mp4", [*x264, "-x264-params", "tff=1"], said=("interlaced",))

    def change(path, second):
        first = ["-frames:v", "20", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12"]
        a, b = path.with_suffix(".a.ts"), path.with_suffix(".b.ts")
        ffmpeg("-i", base, *first, a)
        ffmpeg("-ss", str(20 / RATE), "-i", base, *second, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12",
               "-output_ts_offset", str(20 / RATE), b)
        path.write_bytes(a.read_bytes() + b.read_bytes())
    add("Shapes", "becomes smaller midway", "change_size.ts", lambda p: change(p, ["-vf", "scale=270:480"]))
    add("Shapes", "becomes larger midway", "change_larger.ts", lambda p: change(p, ["-vf", "scale=540:960"]))
    add("Shapes", "becomes 4:4:4 10 bit midway", "change_format.ts", lambda p: change(p, ["-pix_fmt", "yuv444p10le"]))

    def turn_midway(path):
        """Lies on one side, then on the other, and is upright at last; H.264 says so itself."""
        parts = [("transpose=2", "-90"), ("transpose=1", "90"), ("null", None)]
        whole = b""
        for i, (how, degrees) in enumerate(parts):
            part = path.with_suffix(f".{i}.ts")
            ffmpeg("-ss", str(15 * i / RATE), "-i", base, "-frames:v", "15", "-vf", how, *x264, "-output_ts_offset", str(15 * i / RATE),
                   *(["-bsf:v", f"h264_metadata=display_orientation=insert:rotate={degrees}"] if degrees else []), part)
            whole += part.read_bytes()
        path.write_bytes(whole)
    add("Shapes", "turned twice midway, H.264's own SEI", "turn_midway.ts", turn_midway)

    # -- time stamps
    even = [i / RATE for i in range(FRAMES)]
    add("Time stamps", "first one 5 s", "start5.mkv", ["-output_ts_offset", "5", *x264], times=even)
    add("Time stamps", "first one 26 h", "start26h.ts", ["-output_ts_offset", "93600", *x264], times=even)
    gap = [i / RATE + (3 if i >= 20 else 0) for i in range(FRAMES)]
    add("Time stamps", "a gap of 3 s", "gap.mp4", ["-vf", "setpts=PTS+gte(N\\,20)*3/TB", "-vsync", "vfr", *x264], times=gap)
    wobble = [(i + (0.3 if i % 2 else 0)) / RATE for i in range(FRAMES)]
    add("Time stamps", "variable frame rate", "vfr.mp4",
        ["-vf", "settb=1/90000,setpts=N*3000+mod(N\\,2)*900", "-vsync", "passthrough", "-enc_time_base", "1:90000", "-video_track_timescale", "90000", *x264],
        times=wobble)
    add("Time stamps", "variable frame rate", "vfr.mkv",
        ["-vf", "settb=1/90000,setpts=N*3000+mod(N\\,2)*900", "-vsync", "passthrough", "-enc_time_base", "1:90000", "-bf", "2", *x264], times=wobble)

    def stamped(path, new):
        ffmpeg("-i", base, "-vf", "settb=1/30000,setpts=N*1000+gte(N\\,10)", "-vsync", "passthrough", "-enc_time_base", "1:30000",
               "-video_track_timescale", "30000", "-use_editlist", "0", *x264, path)
        patch_delta(path, 1001, new)
    add("Time stamps", "one repeated", "repeated.mp4", lambda p: stamped(p, 0),
        times=[i / RATE if i < 10 else (i - 0.5) / RATE if i == 10 else (i - 1) / RATE for i in range(FRAMES)])
    add("Time stamps", "a leap of 19 hours", "leap.mp4", lambda p: stamped(p, 0x7fffff00), times=even)
    add("Time stamps", "none (H.264 in AVI)", "nopts.avi", ["-c:v", "libx264", "-preset", "fast", "-crf", "16", "-bf", "2"], times=even)

    def cut(path):
        whole = work / "whole.mp4"
        ffmpeg("-i", base, "-c:v", "libx264", "-preset", "fast", "-crf", "12", "-g", "30", "-bf", "2", whole)
        ffmpeg("-ss", str(15 / RATE), "-i", whole, "-c", "copy", path)
    add("Time stamps", "edit list: 15 of 45 frames cut off", "edit.mp4", cut, frames=30, times=[i / RATE for i in range(30)],
        place="late")

    def twice(path):
        a = work / "wrap_a.ts"
        ffmpeg("-i", base, "-frames:v", "20", *x264, a)
        b = work / "wrap_b.ts"
        ffmpeg("-ss", str(20 / RATE), "-i", base, *x264, "-output_ts_offset", "-1", b)
        path.write_bytes(a.read_bytes() + b.read_bytes())
    add("Time stamps", "begin anew midway", "anew.ts", twice, times=even)

    def joined(path):
        a, b = path.with_suffix(".a.ogv"), path.with_suffix(".b.ogv")
        ffmpeg("-i", base, "-frames:v", "20", *codecs["Theora"], a)
        ffmpeg("-ss", str(20 / RATE), "-i", base, *codecs["Theora"], b)
        path.write_bytes(a.read_bytes() + b.read_bytes())
    add("Time stamps", "two files joined", "joined.ogv", joined, times=even)

    # -- streams
    add("Streams", "two videos, the second by default", "two.mkv",
        lambda p: ffmpeg("-i", base, "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30:duration=1.5", "-map", "1:v", "-map", "0:v", *x264,
                         "-disposition:v:0", "0", "-disposition:v:1", "default", p))
    cover = work / "cover.jpg"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1024x1024", "-frames:v", "1", cover)
    add("Streams", "with a cover picture", "cover.mp4",
        lambda p: ffmpeg("-i", cover, "-i", base, "-map", "0", "-map", "1:v", "-c:v:0", "copy", "-c:v:1", "libx264", "-preset", "ultrafast",
                         "-disposition:v:0", "attached_pic", p))
    add("Streams", "with sound and subtitles", "sound.mkv",
        lambda p: ffmpeg("-i", base, "-f", "lavfi", "-t", "1.5", "-i", "sine", *x264, "-c:a", "libopus", p))
    add("Streams", "only sound", "sound.m4a", lambda p: ffmpeg("-f", "lavfi", "-t", "1", "-i", "sine", "-c:a", "aac", p), exit=3, frames=0)
    add("Streams", "sound and a cover picture", "song.mp3",
        lambda p: ffmpeg("-f", "lavfi", "-t", "1", "-i", "sine", "-i", cover, "-map", "0", "-map", "1", "-c:a", "libmp3lame", "-c:v", "copy",
                         "-disposition:v", "attached_pic", p), exit=3, frames=0)
    add("Streams", "no frame", "none.mp4", lambda p: ffmpeg("-i", base, *x264, "-frames:v", "0", p), exit=3, frames=0)
    add("Streams", "one frame", "one.mp4", [*x264, "-frames:v", "1"], frames=1)
    return out


# -- judging ------------------------------------------------------------------------------------------------

def process(path, results, *options):
    """Into a folder of its own, since two may run at once and share their stem."""
    results = pathlib.Path(tempfile.mkdtemp(dir=results))
    folder = results / path.stem
    environment = {k: v for k, v in os.environ.items() if k.startswith("BODYSCRIPT") or k in ("PATH", "HOME", "ASAN_OPTIONS")}
    done = run(PROGRAM, "process", path, "-o", results, "--no-video", "-n", INTERVAL, "--max-video-duration-seconds", 0, "--quiet",
               *options, env=environment, timeout=120)
    return done, folder


def landmarks(folder):
    """{frame: (timestamp, [(x, y)] or None)}, and how many rows."""
    frames, rows = {}, 0
    with open(folder / "pose_data.csv", newline="") as f:
        for row in csv.DictReader(f):
            rows += 1
            entry = frames.setdefault(int(row["frame_id"]), (float(row["timestamp"]), []))
            if row["x"]:
                entry[1].append((float(row["x"]), float(row["y"])))
    return frames, rows


def crop_size(points, width, height):
    """About the side of the crop that the model saw, in pixels: the person's height and a quarter."""
    ys = [y * height for _, y in points]
    xs = [x * width for x, _ in points]
    return 1.25 * max(max(ys) - min(ys), max(xs) - min(xs))


def distance(reference, frames, variant):
    """Median over landmarks and frames, in pixels of the 256-pixel crop; None where nobody was found."""
    shift = 15 if variant.place == "late" else 0
    place = (lambda x, y: (x, y)) if variant.place == "late" else variant.place
    found = []
    for i, (_, points) in frames.items():
        wanted = reference.get(i + shift, (0, []))[1]
        if not points or not wanted:
            continue
        px = 256 / crop_size(wanted, WIDTH, HEIGHT)
        # In the reference's pixels: undo the placing along each axis.
        (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
        for (x, y), (u, v) in zip(points, wanted):
            found.append(math.hypot(((x - x0) / (x1 - x0) - u) * WIDTH, ((y - y0) / (y1 - y0) - v) * HEIGHT) * px)
    return statistics.median(found) if found else None


def true_times(path, variant):
    """When the frames were taken: at the source's rate; GIF has times of its own, whole hundredths."""
    if variant.times:
        return variant.times
    if path.suffix != ".gif":
        rate = int(variant.source[1]) if variant.source else RATE
        return [i / rate for i in range(variant.frames)]
    frames = json.loads(run("ffprobe", "-v", "error", "-select_streams", "V:0", "-show_entries", "frame=best_effort_timestamp_time", "-of",
                            "json", path).stdout)["frames"]
    times = [float(f["best_effort_timestamp_time"]) for f in frames]
    return [t - times[0] for t in times]


def judge(path, variant, reference, results):
    """One row of the table, and what is wrong with it."""
    done, folder = process(path, results)
    wrong = []
    if done.returncode != variant.exit:
        wrong.append(f"exit code {done.returncode}, not {variant.exit}: {done.stderr.strip()[-200:]}")
    container = path.suffix[1:]
    if variant.exit:
        return [container, variant.name, variant.frames, 0, "–", "refused in one sentence" if not wrong and done.stderr.strip() else "no"], wrong
    if wrong:
        return [container, variant.name, variant.frames, "–", "no", "no"], wrong

    frames, rows = landmarks(folder)
    told = json.loads((folder / "metadata.json").read_text())
    analysed = (variant.frames + INTERVAL - 1) // INTERVAL
    if told["statistics"]["frames_total"] != variant.frames:
        wrong.append(f"{told['statistics']['frames_total']} frames, not {variant.frames}")
    if rows != 33 * analysed or set(frames) != set(range(0, variant.frames, INTERVAL)):
        wrong.append(f"{rows} rows, not {33 * analysed}")
    for word in variant.said:
        if not told["video_info"][word]:
            wrong.append(f"metadata does not say {word}")
    away = distance(reference, frames, variant)
    upright = away is not None and away <= variant.px
    if not upright:
        wrong.append(f"landmarks {away} px away, not {variant.px}")
    times = true_times(path, variant)
    grain = 0.0011  # Matroska, FLV and ASF round to milliseconds
    on_time = len(times) >= variant.frames and all(abs(t - times[i]) <= grain for i, (t, _) in frames.items() if i < len(times))
    if not on_time:
        worst = max(((abs(t - times[i]), i) for i, (t, _) in frames.items() if i < len(times)), default=None)
        wrong.append(f"time stamps: {worst}, {len(times)} known")
    print(f"  {path.name:40} {'' if away is None else format(away, '6.3f')} px  {'; '.join(wrong) or 'right'}", flush=True)
    return [container, variant.name, variant.frames, rows, "yes" if upright else "no", "yes" if on_time else "no"], wrong


# -- the table ------------------------------------------------------------------------------------------------

HEAD = f"""# Formats

Made by `tests/e2e/test_formats.py`, which fails where a cell is wrong: {FRAMES} frames of the sample clip ({WIDTH} × {HEIGHT}, one
man) in every format below, made with Debian's ffmpeg and run through `bodyscript process`, pose on every {INTERVAL}rd frame. *Upright*:
the landmarks, in the picture as displayed, lie where those of the clip itself lie: median distance at most {LOSSLESS_PX} px of the
256-pixel crop for lossless variants, {TURNED_PX:g} px for orientations, {LOSSY_PX:g} px where the codec loses detail. *In time*: every
time stamp is the file's own, or, where the file's are no good, the time at which the frame was taken. Rows: 33 for each analysed frame.

What cannot be read is refused with exit code 3 and one sentence: animated WebP, and photos
of HEIF and AVIF (libav 5.1 cannot read them; AVIF with a track, as ffmpeg makes it, is a video),
encrypted files, and anything that is not self-contained (playlists and the like are never followed). Transparent pictures are seen without
their transparency; PQ and HLG are seen as their SDR reading, which `metadata.json` says (`hdr`); interlaced frames are not deinterlaced
(`interlaced`). Sound is copied into `output.mp4` where it is AAC, MP3, Opus or FLAC, and
made into AAC where it is anything else (AC-3, PCM, Vorbis, WMA and so on).
"""


def table(groups):
    lines = [HEAD]
    for group, rows in groups.items():
        lines += [f"\n## {group}\n", "| container | what | frames in | rows out | upright | in time |", "|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def likeness(a, b):
    """Structural similarity of two pictures, 0 to 1."""
    told = run("ffmpeg", "-nostdin", "-i", a, "-i", b, "-lavfi", "ssim", "-f", "null", "-").stderr
    return float(told.rsplit("All:", 1)[1].split()[0]) if "All:" in told else 0


def photos(results, groups):
    """The eight EXIF orientations of one photo: all come out as the same picture (encoded anew each: not to the byte)."""
    failures, first = [], None
    for path in sorted(MEDIA.glob("exif/Portrait_?.jpg")):
        done, folder = process(path, results, "--save-frames", "--frame-format", "png")
        saved = next(folder.glob("**/*.png"), None)
        if done.returncode or not saved:
            failures.append((path.name, [done.stderr.strip() or "no saved frame"]))
            continue
        first = first or saved
        alike = likeness(first, saved)
        _, rows = landmarks(folder)
        groups.setdefault("Photos", []).append(
            ["jpg", f"EXIF orientation {path.stem[-1]}", 1, rows, "yes" if alike > 0.85 else "no", "–"])
        print(f"  {path.name:40} likeness {alike:.3f}", flush=True)
        if alike <= 0.85:
            failures.append((path.name, [f"likeness {alike}"]))
    return failures


def fixtures(results, groups):
    """npm @videojs/vhs-utils: tiny files of every container and codec; each is read or refused, none is a crash."""
    failures, read, refused = [], 0, 0
    files = [p for p in sorted(MEDIA.glob("formats/**/*")) if p.is_file()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, (done, _) in zip(files, pool.map(lambda p: process(p, results), files)):
            read += done.returncode == 0
            refused += done.returncode == 3
            if done.returncode not in (0, 3) or (done.returncode == 3 and len(done.stderr.strip().splitlines()) != 1):
                failures.append((str(path), [f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"]))
    groups["Fixtures"] = [["all", f"npm `@videojs/vhs-utils`: {len(files)} files, {read} read, {refused} refused", "–", "–", "–", "–"]]
    return failures


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--write", action="store_true", help="write docs/formats.md")
    arguments.add_argument("--only", default="", help="variants whose file name holds this; no table")
    arguments = arguments.parse_args()
    clip = MEDIA / "sample.mp4"
    if not clip.exists() or not shutil.which("ffmpeg"):
        print("skipped: ffmpeg, or the sample clip in build/media, is not there; ./dev test fetches both")
        return 77

    failures, groups = [], {}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        results = work / "results"
        results.mkdir()
        base = work / "base.mp4"
        ffmpeg("-r", RATE, "-i", clip, "-frames:v", FRAMES, "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-pix_fmt", "yuv420p",
               "-an", base)
        done, made = process(base, results)
        if done.returncode:
            print(done.stderr)
            return 1
        reference, _ = landmarks(made)
        if not all(points for _, points in reference.values()):
            print("the sample clip itself has frames without a person")
            return 1
        def made_and_judged(variant):
            path = work / variant.file.replace(" ", "_")
            try:
                if callable(variant.make):
                    variant.make(path)
                else:
                    ffmpeg(*(variant.source or []), "-i", base, *variant.make, path)
                return judge(path, variant, reference, results)
            except RuntimeError as trouble:
                return [path.suffix[1:], variant.name, "–", "–", "not made", "–"], [str(trouble)]
            finally:
                path.unlink(missing_ok=True)

        wanted = [v for v in variants(base, work) if arguments.only in v.file]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for variant, (row, wrong) in zip(wanted, pool.map(made_and_judged, wanted)):
                groups.setdefault(variant.group, []).append(row)
                if wrong:
                    failures.append((variant.file, wrong))
        if not arguments.only:
            failures += photos(results, groups)
            failures += fixtures(results, groups)

    for name, wrong in failures:
        print(f"WRONG {name}: {'; '.join(wrong)}")
    if arguments.only:
        return 1 if failures else 0
    made = table(groups)
    if arguments.write:
        TABLE.write_text(made)
    elif not TABLE.exists() or TABLE.read_text() != made:
        print("docs/formats.md is not the table that was made: run this test with --write and look at what changed")
        return 1
    print(f"{sum(map(len, groups.values()))} rows, {len(failures)} wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
