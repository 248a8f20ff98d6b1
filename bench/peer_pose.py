#!/usr/bin/env python3
"""Milliseconds (processor time) of one tracked frame of MediaPipe's Pose.process(), alone; the peer of bench_pose.

usage: peer_pose.py lite|full|heavy WIDTH HEIGHT < rgb24 frames
(in the environment that ./dev bench --peers makes)
"""
import json
import os
import sys
import time

os.environ["GLOG_minloglevel"] = "3"
import mediapipe as mp  # noqa: E402
import numpy as np  # noqa: E402

model, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
frames = np.frombuffer(sys.stdin.buffer.read(), np.uint8)
frames = frames[:len(frames) // (width * height * 3) * width * height * 3].reshape(-1, height, width, 3)
ms, found = [], 0
with mp.solutions.pose.Pose(model_complexity={"lite": 0, "full": 1, "heavy": 2}[model]) as pose:
    for frame in frames:
        start = time.process_time()
        result = pose.process(frame)
        ms.append((time.process_time() - start) * 1e3)
        found += result.pose_landmarks is not None
print(json.dumps({"ms": ms, "frames": len(frames), "found": found}))
