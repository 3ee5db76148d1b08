#!/usr/bin/env python3
"""pin.py VERSION: writes go.mod and go.sum anew for that version of Kubernetes (as 1.34.4).

Its own go.mod points at folders of its repository, ./staging/..., which the published module does not hold: each of
them is published as a module of its own, whose number has a 0 for the 1.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

version = sys.argv[1]
part = "v0." + version.split(".", 1)[1]
os.chdir(pathlib.Path(__file__).parent)
found = json.loads(subprocess.run(["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"],
                                  check=True, capture_output=True, cwd="/").stdout)
theirs = pathlib.Path(found["GoMod"]).read_text()
parts = re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", theirs, re.M)
go = re.search(r"^go (\S+)", theirs, re.M)[1]
replaced = "".join(f"\t{name} => {name} {part}\n" for name in parts)
pathlib.Path("go.mod").write_text(f"module weir.invalid/tools\n\ngo {go}\n\nrequire k8s.io/kubernetes v{version}\n\n"
                                  f"replace (\n{replaced})\n")
pathlib.Path("go.sum").unlink(missing_ok=True)
subprocess.run(["go", "mod", "tidy"], check=True)
