#!/usr/bin/python3
"""Prints the ten slowest tests, the failed ones and each runner's closing line. summarize_tests.py FOLDER

FOLDER holds NAME.xml (JUnit) and NAME.log of each runner. Exit 1 if a test failed or none ran.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

folder = pathlib.Path(sys.argv[1])
cases = []  # (seconds, name, state)
for file in sorted(folder.glob("*.xml")):
    for case in xml.parse(file).iter("testcase"):
        name = case.get("name")
        if file.stem == "pytest":
            name = f"{case.get('classname')}.{name}"
        state = next((s for s in ("failure", "error", "skipped") if case.find(s) is not None), "passed")
        cases.append((float(case.get("time") or 0), name, state))
ran = [case for case in cases if case[2] != "skipped"]
failed = [name for _, name, state in cases if state in ("failure", "error")]

print("\nThe ten slowest tests:")
for seconds, name, _ in sorted(ran, reverse=True)[:10]:
    print(f"{seconds:8.1f} s  {name}")
print(f"\n{len(ran)} tests ran, {len(cases) - len(ran)} skipped, {len(failed)} failed")
for name in failed:
    print(f"  failed: {name}")
for log in sorted(folder.glob("*.log")):
    closing = re.findall(r"^(?:\d+% tests passed.*|=+ .* in [\d.:]+.*=+)$", log.read_text(errors="replace"), re.M)
    print(f"{log.stem}: {closing[-1] if closing else 'gave no closing line'}")
sys.exit(bool(failed) or not ran)
