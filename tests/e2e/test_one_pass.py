#!/usr/bin/env python3
"""The single pass: its threads and queues change nothing about the numbers, whatever is wanted of it."""
import signal
import subprocess
import time

import kit

SHORT = ("--model", "lite", "--max-video-duration-seconds", "1")


class OnePass(kit.Case):
    def csv(self, *args):
        self.process(*SHORT, *args, kit.sample())
        return (self.tmp / "results/sample/pose_data.csv").read_bytes()

    def test_csv_alone_is_the_same_as_with_everything(self):
        self.assertEqual(self.csv(), self.csv("--no-video"))

    def test_any_interval_ends_and_draws_every_frame(self):
        for interval in (1, 2, 13, 40, 1000):
            self.csv("-n", interval)
            meta = kit.document(self.tmp / "results/sample", "metadata.json")["statistics"]
            self.assertEqual(meta["frames_processed"], -(-meta["frames_total"] // interval))
            frames = kit.ffprobe(self.tmp / "results/sample/output.mp4", "stream=nb_frames")["streams"][0]
            self.assertEqual(int(frames["nb_frames"]), meta["frames_total"])

    def test_several_people_are_rows_of_their_own(self):
        self.csv("--people", "3")
        rows = kit.rows(self.tmp / "results/sample")
        self.assertEqual(len(rows) % 33, 0)
        for i in range(0, len(rows), 33):
            self.assertEqual(len({(r["frame_id"], r["person_id"]) for r in rows[i:i + 33]}), 1)

    def test_a_job_can_be_stopped_at_any_moment(self):
        for seconds in (0.02, 0.1, 0.2, 0.4):
            process = subprocess.Popen([kit.PROGRAM, "process", "-q", "-o", self.tmp / "stopped", "-n", "1", kit.sample()],
                                       env=kit.ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(seconds)
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=60)
            self.assertIn(code, (130, -signal.SIGTERM))  # the signal may come before the program waits for it
            self.assertFalse((self.tmp / "stopped").exists())


if __name__ == "__main__":
    kit.main()
