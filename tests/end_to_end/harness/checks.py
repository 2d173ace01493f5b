"""Checks: named functions of a suite; what they found; the counts."""
import time
import traceback

from harness.processes import Failed


class Suite:
    """The checks of one area, in the order of their definition. A check is a function of a site
    (harness.site.Site); its name is a sentence. It fails by any exception.

    options: what the suite's site has to be (Site's keyword arguments)."""

    def __init__(self, name, **options):
        self.name, self.options, self.checks = name, options, []

    def check(self, sentence, timeout=120):
        def add(function):
            self.checks.append((sentence, function, timeout))
            return function
        return add


def equal(what, got, expected):
    if got != expected:
        raise Failed(f"{what}: {brief(got)}, not {brief(expected)}")


def brief(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}... ({len(text)} characters)"


class NotHere(Exception):
    """What the check needs cannot be had on this machine: neither passed nor failed, and said so."""


class Count:
    """What has passed and failed so far. Prints one line for each check."""

    def __init__(self, verbose=False):
        self.passed, self.failures, self.assertions, self.verbose = 0, [], 0, verbose

    def run(self, suite_name, sentence, function, *arguments):
        """Returns whether it passed."""
        begin = time.monotonic()
        try:
            done = function(*arguments)
            if isinstance(done, int):
                self.assertions += done
            self.passed += 1
            print(f"ok    {time.monotonic() - begin:6.2f} s  {suite_name}: {sentence}", flush=True)
            return True
        except NotHere as reason:
            print(f"NOT CHECKED  {suite_name}: {sentence}: {reason}", flush=True)
            return True
        except Failed as failure:
            self.fail(suite_name, sentence, str(failure))
        except Exception:  # a check that breaks off in any way has failed
            self.fail(suite_name, sentence, traceback.format_exc(limit=-4))
        return False

    def fail(self, suite_name, sentence, why):
        self.failures.append(f"{suite_name}: {sentence}")
        print(f"FAIL  {suite_name}: {sentence}")
        for line in why.splitlines():
            print(f"      {line}")
        print(end="", flush=True)
