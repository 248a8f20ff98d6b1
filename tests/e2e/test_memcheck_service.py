"""The server under Valgrind, every thread of it at work: no invalid access, no use of what was never set, and at its end
nothing lost. The clients are those of test_http_concurrent.

Valgrind's own memory does not fit the limits of job processes, so these run outside of it: the zygote that the server
forks is killed, and the one that it starts in its place is a program of its own, which Valgrind does not follow. What a
job does is what test_memcheck has the command line do."""
import pathlib
import re
import shutil
import unittest

import kit
import service
import test_http_concurrent
from server import Server, end_within, kill

LOG = "valgrind.%p"


class WatchedServer(Server):
    def __init__(self, **settings):
        super().__init__(stop_within=120, **settings)
        self.wrapper = ["valgrind", "--trace-children=no", "--child-silent-after-fork=yes", "--leak-check=full",
                        "--show-leak-kinds=definite,indirect", f"--suppressions={kit.ROOT}/tests/valgrind.supp", f"--log-file={self.folder}/{LOG}"]

    def wait_ready(self, seconds=120):
        super().wait_ready(seconds)
        forked = [pid for pid in self.processes()["zygote"]
                  if pathlib.Path(f"/proc/{pid}/exe").resolve() != pathlib.Path(service.PROGRAM).resolve()]
        for pid in forked:
            kill(pid)
        assert end_within(forked)
        super().wait_ready(seconds)

    def kill(self):
        """At the end of a test: it is to end by itself, so that Valgrind tells."""
        if self.process and self.process.poll() is None:
            self.stop()

    def __exit__(self, *exception):
        self.kill()
        told = {pid: pathlib.Path(self.folder, LOG.replace("%p", str(pid))).read_text() for pid in self.pids}
        super().__exit__(*exception)
        for text in told.values():
            assert re.search(r"ERROR SUMMARY: 0 errors", text), text[-6000:]


class Watched(test_http_concurrent.Concurrent):
    def serve(self, **settings):
        server = WatchedServer(**{**test_http_concurrent.SETTINGS, **settings})
        self.addCleanup(server.__exit__)
        server.start()
        server.wait_ready()
        return server


def load_tests(loader, *_):
    return loader.loadTestsFromTestCase(Watched)  # and not those that it inherits from, again


if __name__ == "__main__":
    if not shutil.which("valgrind"):
        service.skip_all("valgrind is not installed")
    if kit.sanitized():
        service.skip_all("a sanitizer and Valgrind do not go together")
    unittest.main(module="__main__", verbosity=2)
