#!/usr/bin/env python3
"""Seeds for the fuzz targets: seeds.py FOLDER fills FOLDER/fuzz_media and FOLDER/fuzz_process where they are empty.

Tiny videos and photos of many containers and codecs, made by ffmpeg; what its build lacks is left out.
Nothing of it is kept in the repository.
"""
import pathlib
import shutil
import subprocess
import sys

VIDEOS = {
    "h264.mp4": ["-c:v", "libx264", "-bf", "2"], "h264.mkv": ["-c:v", "libx264"], "h264.ts": ["-c:v", "libx264"],
    "h264.flv": ["-c:v", "libx264"], "hevc.mov": ["-c:v", "libx265", "-x265-params", "log-level=0"],
    "vp8.webm": ["-c:v", "libvpx"], "vp9.webm": ["-c:v", "libvpx-vp9"], "av1.mp4": ["-c:v", "libaom-av1", "-cpu-used", "8"],
    "mpeg1.mpg": ["-c:v", "mpeg1video"], "mpeg2.ts": ["-c:v", "mpeg2video"], "mpeg4.avi": ["-c:v", "mpeg4"],
    "mjpeg.avi": ["-c:v", "mjpeg"], "wmv2.wmv": ["-c:v", "wmv2"], "prores.mov": ["-c:v", "prores_ks"],
    "h263.3gp": ["-c:v", "h263", "-s", "128x96"], "gif.gif": [], "theora.ogv": ["-c:v", "libtheora"],
    "ffv1.mkv": ["-c:v", "ffv1"], "apng.apng": [], "rgb.avi": ["-c:v", "rawvideo", "-pix_fmt", "bgr24"],
    "fragmented.mp4": ["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"],
}
PHOTOS = {"photo.jpg": [], "photo.png": [], "photo.webp": [], "grey.jpg": ["-pix_fmt", "gray"]}


def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        return
    sound = ["-f", "lavfi", "-i", "sine=440:r=16000:d=0.4"]
    for name, options in {**VIDEOS, **PHOTOS}.items():
        one = name in PHOTOS
        command = ["ffmpeg", "-v", "quiet", "-nostdin", "-y", "-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=0.8"]
        command += ["-frames:v", "1"] if one else sound if name.endswith((".mp4", ".mkv", ".webm", ".ts")) else []
        path = folder / name
        if subprocess.run(command + ["-threads", "1", *options, str(path)]).returncode and path.exists():
            path.unlink()


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    if shutil.which("ffmpeg"):
        make(out / "fuzz_media")
        (out / "fuzz_process").mkdir(exist_ok=True)
        if not any((out / "fuzz_process").iterdir()):
            shutil.copytree(out / "fuzz_media", out / "fuzz_process", dirs_exist_ok=True)
