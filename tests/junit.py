"""What pytest's reports say.  junit.py counts|failed|unsteady REPORT [REPORT of those that ran once more]

counts: "passed failed"; a test that failed in the first report counts as it did in the second.
failed: one test a line, as pytest takes them. unsteady: those that failed and then passed.
"""
import pathlib
import sys
import xml.etree.ElementTree as tree


def outcomes(report):
    """{test as pytest takes it: "passed" | "failed" | "skipped"}; nothing where there is no report."""
    try:
        cases = tree.parse(report).iter("testcase")
    except (tree.ParseError, OSError):
        return {}
    found = {}
    for case in cases:
        file = pathlib.Path(*case.get("classname", "").split(".")).with_suffix(".py")
        bad = any(case.find(kind) is not None for kind in ("failure", "error"))
        name = f"{file}::{case.get('name')}"
        if bad:
            found[name] = "failed"
        else:  # an error while a test is taken down is a second entry of the same name
            found.setdefault(name, "skipped" if case.find("skipped") is not None else "passed")
    return found


def main(verb, first, second=None):
    once = outcomes(first)
    failed = [name for name, outcome in once.items() if outcome == "failed"]
    again = outcomes(second) if second else {}
    if verb == "failed":
        print("\n".join(failed), end="\n" if failed else "")
    elif verb == "unsteady":
        for name in failed:
            if again.get(name) == "passed":
                print(f"== UNSTEADY: {name} failed, and passed alone")
    elif verb == "counts":
        total = list({**once, **again}.values())
        print(total.count("passed"), total.count("failed"))
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
