#!/usr/bin/env python3
"""The whole job as it is usually written with MediaPipe and OpenCV in Python; the peer of `bodyscript process`.

usage: peer_job.py VIDEO OUT_DIR MODEL INTERVAL MAX_WIDTH SECONDS
(in the environment that ./dev bench --peers makes)
Decodes with OpenCV, runs Pose on every INTERVAL-th frame, writes 33 CSV rows for each, draws the skeleton with
MediaPipe's own drawing_utils on every frame, and writes the overlay with OpenCV's MPEG-4 encoder (its wheels have no
H.264 encoder, so this peer is spared the dearest stage). No sound, preview or thumbnail.
"""
import csv
import os
import pathlib
import sys

os.environ["GLOG_minloglevel"] = "3"
import cv2  # noqa: E402
import mediapipe as mp  # noqa: E402

video, out, model, interval, max_width, seconds = sys.argv[1], pathlib.Path(sys.argv[2]), *sys.argv[3:]
out.mkdir(parents=True, exist_ok=True)
capture = cv2.VideoCapture(video)
fps = capture.get(cv2.CAP_PROP_FPS) or 30.0
draw, connections = mp.solutions.drawing_utils, mp.solutions.pose.POSE_CONNECTIONS
writer, last = None, None
with mp.solutions.pose.Pose(model_complexity={"lite": 0, "full": 1, "heavy": 2}[model]) as pose, \
        open(out / "pose_data.csv", "w", newline="") as f:
    rows = csv.writer(f)
    rows.writerow("frame_id,timestamp,landmark_id,x,y,z,visibility,world_x,world_y,world_z".split(","))
    n = 0
    while n / fps < float(seconds):
        ok, frame = capture.read()
        if not ok:
            break
        if n % int(interval) == 0:
            last = pose.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            if last.pose_landmarks:
                for i, (p, w) in enumerate(zip(last.pose_landmarks.landmark, last.pose_world_landmarks.landmark)):
                    rows.writerow([n, f"{n / fps:.6f}", i, p.x, p.y, p.z, p.visibility, w.x, w.y, w.z])
        height, width = frame.shape[:2]
        if width > int(max_width):
            frame = cv2.resize(frame, (int(max_width), round(height * int(max_width) / width) // 2 * 2))
        if last is not None and last.pose_landmarks:
            draw.draw_landmarks(frame, last.pose_landmarks, connections)
        if writer is None:
            writer = cv2.VideoWriter(str(out / "output.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), fps, frame.shape[1::-1])
        writer.write(frame)
        n += 1
if writer is not None:
    writer.release()
print(n)
