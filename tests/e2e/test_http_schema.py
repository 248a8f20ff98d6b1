"""/openapi.json describes the routes that there are, and a client made from it alone (schemathesis, from PyPI, in its
own environment) finds no contradiction and no 5xx but the documented ones."""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import service
from service import Service, made_video

SCHEMATHESIS = "schemathesis==4.32.5"


def environment():
    """The folder of the environment with schemathesis; None where it cannot be had."""
    folder = pathlib.Path(service.PROGRAM).resolve().parent / "schemathesis"
    if not (folder / "bin" / "st").exists():
        made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True)
        pip = made.returncode == 0 and subprocess.run(
            [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", SCHEMATHESIS],
            capture_output=True)
        if not pip or pip.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            return None
    return folder


class Description(unittest.TestCase):
    def test_it_is_openapi_of_this_version(self):
        with Service() as s:
            described = s.get("/openapi.json").json()
            self.assertEqual(described["openapi"], "3.1.0")
            version = subprocess.run([service.PROGRAM, "--version"], capture_output=True, text=True).stdout.split()[1]
            self.assertEqual(described["info"]["version"], version)


class Client(unittest.TestCase):
    def test_schemathesis_finds_nothing(self):
        folder = environment()
        if not folder:
            self.skipTest("PyPI, where schemathesis comes from, cannot be reached")
        with Service(MAX_PENDING_JOBS=1000) as s:
            s.wait_ready()
            s.wait(s.upload(made_video()).json()["job_id"])
            config = os.path.join(s.folder, "schemathesis.toml")
            with open(config, "w", encoding="ascii") as out:
                # What is a video, and which job is completed, no schema can say: such requests are answered 400
                # though they are valid by it.
                out.write('[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503", "507"]\n'
                          '[[operations]]\ninclude-path-regex = "^/api/(upload|download)"\n'
                          'checks.positive_data_acceptance.enabled = false\n')
            for headers in ([], ["-H", "Authorization: " + s.admin()["Authorization"]]):
                self.explore(s, folder, config, headers)

    def explore(self, s, folder, config, headers):
        run = subprocess.run(
            [folder / "bin" / "st", "--config-file", config, "run", s.url + "/openapi.json", "--no-color", "--seed", "1",
             "--max-examples", os.environ.get("SCHEMATHESIS_EXAMPLES", "15"), "--phases", "examples,coverage,fuzzing",
             *headers], capture_output=True, text=True, timeout=400, cwd=s.folder)
        self.assertEqual(run.returncode, 0, run.stdout[-6000:] + run.stderr[-2000:])


if __name__ == "__main__":
    service.run()
