"""Turns tables of step scripts into checks."""
from harness.checks import equal
from harness.steps import run_case


def add_table(suite, cases):
    """cases: {sentence: script}. Each becomes a check that runs on the mount and on the export."""
    for sentence, script in cases.items():
        suite.check(sentence)(runner(script))


def runner(script):
    def run_it(site):
        on_mount, on_export = site.case_directories()
        return run_case(site.identities, script, on_mount, on_export)
    return run_it


def for_each(template, **columns):
    """The scripts of a template for every value of one column, as one script: each value gets a
    directory of its own, so that the rows cannot disturb each other."""
    (name, values), = columns.items()
    return "\n".join(template.replace(f"<{name}>", str(value)).replace("<i>", str(number))
                     for number, value in enumerate(values))


def same_on_both(site, function, expected=None):
    """function(directory) on the mount and on the export gives the same (and `expected`, if any).
    Returns what it gave."""
    on_mount, on_export = site.case_directories()
    yardstick = function(on_export)
    if expected is not None:
        equal("on the exported directory", yardstick, expected)
    got = function(on_mount)
    equal("on the mount, where the directory itself gives the yardstick", got, yardstick)
    return got
