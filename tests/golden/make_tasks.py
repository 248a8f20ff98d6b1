#!/usr/bin/env python3
"""Run MediaPipe Tasks' PoseLandmarker over photos and clips and write what it says, as reference data for several people.

usage: make_tasks.py OUT_DIR --models DIR [--model lite|full|heavy] --people N [--frames N] [--every N] MEDIA...

Needs PyPI mediapipe 0.10.21, ffmpeg, and a folder with the program's own weights. Tasks wants them in a bundle: a zip of
two stored, aligned files that carry TFLite metadata, from which it takes how pixels are scaled (detector -1 to 1,
landmarks 0 to 1). The weights of npm @mediapipe/pose have none, so it is added here; the networks are not touched.
Photos run in IMAGE mode, clips in VIDEO mode; frames reach MediaPipe as the RGB24 bytes that
    ffmpeg -noautorotate -i MEDIA -map 0:v:0 -vsync passthrough -sws_flags bicubic+accurate_rnd+full_chroma_int -f rawvideo -pix_fmt rgb24
gives. Every frame is looked at; --every N writes the landmarks of each Nth one only, to keep the files small.
"""
import argparse, csv, json, os, pathlib, subprocess, sys, tempfile, zipfile, zlib
os.environ["GLOG_minloglevel"] = "3"
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
from mediapipe.tasks.python.metadata.metadata_writers import metadata_writer

TO_RGB = ["-map", "0:v:0", "-vsync", "passthrough", "-sws_flags", "bicubic+accurate_rnd+full_chroma_int",
          "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
LANDMARK = ("x", "y", "z", "visibility", "presence")


def with_metadata(path, mean, std):
    writer = metadata_writer.MetadataWriter(bytearray(path.read_bytes()))
    writer.add_image_input([mean], [std])
    return bytes(writer.populate()[0])


def write_bundle(out, models, model):
    parts = {"pose_detector.tflite": with_metadata(models / "pose_detection.tflite", 127.5, 127.5),
             "pose_landmarks_detector.tflite": with_metadata(models / f"pose_landmark_{model}.tflite", 0.0, 255.0)}
    with open(out, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name)
            padding = -(file.tell() + 30 + len(name)) % 4  # the data begins on a multiple of 4
            info.extra = b"\xfe\xca" + padding.to_bytes(2, "little") + bytes(padding)
            bundle.writestr(info, data)


def probe(path, what):
    return json.loads(subprocess.check_output(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", what, "-of", "json", path]))


def times_us(path):
    """Presentation times of all frames, in microseconds from the first one; none for a photo."""
    t = [f.get("best_effort_timestamp_time") for f in probe(path, "frame=best_effort_timestamp_time")["frames"]]
    return [round((float(x) - float(t[0])) * 1e6) for x in t] if len(t) > 1 else None


def frames(path, limit):
    stream = probe(path, "stream=width,height")["streams"][0]
    w, h = stream["width"], stream["height"]
    command = ["ffmpeg", "-v", "error", "-noautorotate", "-i", path] + (["-frames:v", str(limit)] if limit else []) + TO_RGB
    with subprocess.Popen(command, stdout=subprocess.PIPE) as p:
        while len(raw := p.stdout.read(w * h * 3)) == w * h * 3:
            yield raw, np.frombuffer(raw, np.uint8).reshape(h, w, 3)


def look(path, bundle, a, frames_out, landmarks_out):
    times = times_us(path)
    mode = vision.RunningMode.VIDEO if times else vision.RunningMode.IMAGE
    options = vision.PoseLandmarkerOptions(base_options=BaseOptions(model_asset_path=bundle), num_poses=a.people, running_mode=mode)
    frames_out.writerow("frame,time_us,width,height,rgb_crc32,people".split(","))
    landmarks_out.writerow(("frame", "person", "landmark") + LANDMARK + ("world_x", "world_y", "world_z"))
    with vision.PoseLandmarker.create_from_options(options) as landmarker:
        for i, (raw, rgb) in enumerate(frames(path, a.frames)):
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=rgb)
            result = landmarker.detect_for_video(image, times[i] // 1000) if times else landmarker.detect(image)
            people = list(zip(result.pose_landmarks, result.pose_world_landmarks))
            frames_out.writerow([i, times[i] if times else 0, rgb.shape[1], rgb.shape[0], f"{zlib.crc32(raw):08x}", len(people)])
            for k, (body, world) in enumerate(people if i % a.every == 0 else []):
                for j, (l, w) in enumerate(zip(body, world)):
                    numbers = [getattr(l, name) for name in LANDMARK] + [w.x, w.y, w.z]
                    landmarks_out.writerow([i, k, j] + [f"{v:.7f}" for v in numbers])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out", type=pathlib.Path), p.add_argument("media", nargs="+")
    p.add_argument("--models", type=pathlib.Path, required=True)
    p.add_argument("--model", choices=("lite", "full", "heavy"), default="full")
    p.add_argument("--people", type=int, required=True)
    p.add_argument("--frames", type=int, default=0), p.add_argument("--every", type=int, default=1)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        bundle = f"{tmp}/pose.task"
        write_bundle(bundle, a.models, a.model)
        for path in a.media:
            stem = f"{pathlib.Path(path).name}.{a.model}.{a.people}"
            with open(a.out / f"{stem}.frames.csv", "w", newline="") as ff, open(a.out / f"{stem}.landmarks.csv", "w", newline="") as lf:
                look(path, bundle, a, csv.writer(ff, lineterminator="\n"), csv.writer(lf, lineterminator="\n"))
            print(stem, file=sys.stderr)


if __name__ == "__main__":
    main()
