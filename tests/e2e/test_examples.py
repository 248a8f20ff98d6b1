#!/usr/bin/env python3
"""The example programs do what their heads say, and agree with the command line."""
import os
import pathlib
import subprocess

import kit


class Examples(kit.Case):
    def run_example(self, name, *args):
        models = os.environ.get("BODYSCRIPT_MODELS", str(kit.ROOT / "build/models"))  # not beside these programs
        return subprocess.run([os.environ["BODYSCRIPT_EXAMPLE_" + name.upper()], *map(str, args)], capture_output=True,
                              text=True, env=dict(kit.ENVIRONMENT, BODYSCRIPT_MODELS=models), timeout=110)

    def test_photo_prints_the_landmarks_of_the_command_line(self):
        kit.ffmpeg("-i", kit.sample(), "-frames:v", 1, self.tmp / "still.png")
        kit.ffmpeg("-i", self.tmp / "still.png", self.tmp / "still.ppm")
        out = self.run_example("photo", self.tmp / "still.ppm")
        self.assertEqual(out.returncode, 0, out.stderr)
        self.process(self.tmp / "still.png")
        lines, rows = out.stdout.splitlines(), kit.rows(self.tmp / "results/still")
        self.assertEqual(len(lines), 33)
        for line, r in zip(lines, rows):
            name, x, y, *_ = line.split()
            self.assertEqual(name, r["landmark_name"])
            self.assertAlmostEqual(float(x), float(r["x"]), delta=6e-5)
            self.assertAlmostEqual(float(y), float(r["y"]), delta=6e-5)

    def test_photo_refuses_what_is_no_picture(self):
        self.assertEqual(self.run_example("photo", __file__).returncode, 2)

    def test_video_writes_the_csv_of_the_command_line(self):
        clip = self.tmp / "short.mp4"
        kit.ffmpeg("-i", kit.sample(), "-t", 1, "-an", "-c:v", "libx264", clip)
        out = self.run_example("video", clip, self.tmp / "pose.csv")
        self.assertEqual(out.returncode, 0, out.stderr)
        self.process("--no-video", "-n", 1, clip)
        self.assertEqual((self.tmp / "pose.csv").read_bytes(), (self.tmp / "results/short/pose_data.csv").read_bytes())

    def test_video_leaves_nothing_behind_where_it_fails(self):
        self.assertEqual(self.run_example("video", __file__, self.tmp / "pose.csv").returncode, 3)
        self.assertFalse((self.tmp / "pose.csv").exists())

    def test_what_is_installed_is_enough_for_a_program_elsewhere(self):
        if kit.sanitized():
            self.skipTest("a program that is linked elsewhere has no sanitizer")
        build = pathlib.Path(os.environ["BODYSCRIPT"]).parent
        run = lambda *words, **more: subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout
        run("meson", "install", "-C", build, "--no-rebuild", "--destdir", self.tmp / "root")
        package, = (self.tmp / "root").rglob("bodyscript.pc")
        if (build / "models").is_dir():
            self.assertEqual(len(list((self.tmp / "root").rglob("share/bodyscript/models/*.tflite"))), 4)
        flags = run("pkg-config", "--cflags", "--libs", "bodyscript",
                    env=dict(os.environ, PKG_CONFIG_PATH=str(package.parent), PKG_CONFIG_SYSROOT_DIR=str(self.tmp / "root")))
        (self.tmp / "other.c").write_text('''#include <bodyscript/bodyscript.h>
            #include <stdio.h>
            int main(void)
            {
                bs_models *models = NULL;
                bs_error err;
                if (bs_models_open(&models, NULL, BS_MODEL_BIT(BS_MODEL_LITE), &err) == BS_OK)
                    puts(bs_models_sha256(models, BS_MODEL_LITE));
                bs_models_close(&models);
                return 0;
            }''')
        run("cc", self.tmp / "other.c", "-o", self.tmp / "other", *flags.split())
        out = run(self.tmp / "other", env=dict(kit.ENVIRONMENT, BODYSCRIPT_MODELS=os.environ.get(
            "BODYSCRIPT_MODELS", str(kit.ROOT / "build/models"))))
        self.assertRegex(out, "^[0-9a-f]{64}$")


if __name__ == "__main__":
    kit.main()
