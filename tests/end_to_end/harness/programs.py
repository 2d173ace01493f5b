"""Where a build has put the programs, and what they are run with."""
import os
import pathlib
import re

from harness.processes import Failed

SANITIZER_EXIT = 86


class Build:
    """A build directory (build/release, build/tsan ...), or an installation's prefix."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory).resolve()

    @property
    def is_sanitized(self):
        """Whether its programs keep freed memory for a sanitizer, which looks for leaks itself."""
        cache = self.directory / "CMakeCache.txt"
        return cache.is_file() and re.search(r"^RDMAFS_SANITIZE:\w+=.", cache.read_text(encoding="utf-8"), re.M) is not None

    def program(self, name):
        for folder in ("server", "fuse", "ctl", "tests/end_to_end", "tests/bench", "bin", "sbin"):
            path = self.directory / folder / name
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
        for path in sorted(self.directory.glob(f"**/{name}")):
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
        raise Failed(f"{self.directory} has no program {name}: build it first")


def environment(report_directory, **more):
    """The environment of the programs under test: a sanitizer's reports go to files, where nobody
    can overlook them, and end the process."""
    prefix = f"{report_directory}/sanitizer"
    suppressions = pathlib.Path(__file__).resolve().parent.parent / "tsan.suppressions"
    common = f"log_path={prefix}:exitcode={SANITIZER_EXIT}:abort_on_error=0"
    return {**os.environ, "ASAN_OPTIONS": f"{common}:detect_leaks=1:detect_stack_use_after_return=0",
            "UBSAN_OPTIONS": f"{common}:print_stacktrace=1",
            "TSAN_OPTIONS": f"{common}:halt_on_error=0:second_deadlock_stack=1:"
                            f"suppressions={suppressions}",
            **more}


def sanitizer_reports(report_directory):
    """The text of every report that was written there."""
    return [f"{path.name}:\n{path.read_text(errors='replace')[:6000]}"
            for path in sorted(pathlib.Path(report_directory).glob("sanitizer*"))]
