"""What the end-to-end tests share: the program, media, results and memory cgroups."""
import contextlib
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("BODYSCRIPT", str(ROOT / "build/bodyscript"))
MEDIA = pathlib.Path(os.environ.get("BODYSCRIPT_MEDIA", ROOT / "build/media"))
SHARED = ROOT.parent / "shared" / "media"
COLUMNS = ("frame_id,timestamp,person_id,landmark_id,landmark_name,x,y,z,visibility,presence,"
           "world_x,world_y,world_z,strategy,status").split(",")
VIDEO_FILES = {"pose_data.csv", "pose_data.json", "output.mp4", "preview.mp4", "thumbnail.jpg", "metadata.json"}
PHOTO_FILES = {"pose_data.csv", "pose_data.json", "output.jpg", "thumbnail.jpg", "metadata.json"}


def environment(**more):
    """The caller's, without any setting of the program but those given."""
    settings = set(json.loads(subprocess.run([PROGRAM, "doctor", "--json"], capture_output=True, text=True,
                                             env={k: v for k, v in os.environ.items() if k.startswith("BODYSCRIPT") or k == "PATH"}
                                             ).stdout)["settings"])
    env = {k: v for k, v in os.environ.items() if k not in settings}
    env.update({k: str(v) for k, v in more.items()})
    return env


ENVIRONMENT = environment()


def sanitized():
    """Whether the program is built with a sanitizer: its memory is then not its own."""
    return pathlib.Path(PROGRAM).parent.name.startswith("build-")


def run(*args, cwd=None, timeout=110, **settings):
    """The program with these words; settings by environment variable. Under a sanitizer Meson's limit alone is its end."""
    env = dict(ENVIRONMENT, **{k: str(v) for k, v in settings.items()})
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, cwd=cwd,
                          timeout=None if sanitized() else timeout, env=env, errors="surrogateescape")


# A process of its own: what the kernel tells of a child starts with what its parent had when it forked.
MEASURE = """import json, os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print("\\n", json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime]))"""


def measured(*args, timeout=110, **settings):
    """The same, with `peak_mb`, the most that was resident as the kernel tells it, and `cpu` in seconds."""
    done = subprocess.run([sys.executable, "-ISc", MEASURE, PROGRAM, *map(str, args)], capture_output=True, text=True,
                          timeout=timeout, env=dict(ENVIRONMENT, **{k: str(v) for k, v in settings.items()}), errors="surrogateescape")
    *_, told = done.stdout.splitlines()
    done.returncode, done.peak_mb, done.cpu = json.loads(told)
    return done


def sample():
    """The clip that comes by package name: a man swinging a prop, 360 x 640, 4.6 s."""
    clip = MEDIA / "sample.mp4"
    if not clip.exists():
        raise unittest.SkipTest("the sample clip is not in build/media; ./dev test fetches it")
    return clip


def shared(name):
    """A file of shared/media beside the project."""
    found = next(iter(SHARED.glob("*/" + name)), None)
    if not found:
        raise unittest.SkipTest(f"shared/media/*/{name} beside the project is not there")
    return found


def need(tool):
    if not shutil.which(tool):
        raise unittest.SkipTest(f"{tool} is not installed")
    return tool


def ffmpeg(*args):
    subprocess.run([need("ffmpeg"), "-v", "error", "-nostdin", "-y", *map(str, args)], check=True)


def ffprobe(path, entries, stream="v:0"):
    return json.loads(subprocess.check_output(
        [need("ffprobe"), "-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "json", str(path)]))


def frame_times(path):
    """Presentation times of all frames in seconds from the first one."""
    times = [float(f["best_effort_timestamp_time"])
             for f in ffprobe(path, "frame=best_effort_timestamp_time")["frames"]]
    return [t - times[0] for t in times]


def rows(folder):
    with open(pathlib.Path(folder, "pose_data.csv"), newline="") as f:
        return list(csv.DictReader(f))


def document(folder, name):
    return json.loads(pathlib.Path(folder, name).read_text())


class Case(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="bodyscript-test-")
        self.addCleanup(folder.cleanup)
        self.tmp = pathlib.Path(folder.name)

    def process(self, *args, code=0, **settings):
        result = run("process", "-o", self.tmp / "results", *args, **settings)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def assertFiles(self, folder, names):
        self.assertEqual({p.name for p in pathlib.Path(folder).iterdir()}, set(names))


class Cgroup:
    """A memory cgroup with a limit, v1 or v2; skips where none can be made."""

    def __init__(self, megabytes):
        self.limit = megabytes << 20

    def __enter__(self):
        name = f"bodyscript-test-{os.getpid()}"
        for parent, limit in ((pathlib.Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
                              (pathlib.Path("/sys/fs/cgroup"), "memory.max")):
            self.folder = parent / name
            with contextlib.suppress(OSError):
                self.folder.mkdir()
                (self.folder / limit).write_text(str(self.limit))
                self.version = 1 if parent.name == "memory" else 2
                if self.version == 2:
                    (self.folder / "memory.swap.max").write_text("0")
                return self
            with contextlib.suppress(OSError):
                self.folder.rmdir()
        raise unittest.SkipTest("no writable memory cgroup on this machine")

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def run(self, *args, timeout=300, **settings):
        procs = self.folder / "cgroup.procs"
        env = dict(ENVIRONMENT, **{k: str(v) for k, v in settings.items()})
        return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=timeout, env=env,
                              preexec_fn=lambda: procs.write_text(str(os.getpid())))

    def kills(self):
        """How often the kernel's OOM killer struck inside."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        for line in (self.folder / name).read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0


def main():
    unittest.main(verbosity=2)
