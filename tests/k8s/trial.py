#!/usr/bin/env python3
"""trial.py: whether a pod runs on this system at all. Inside a box; WEIR_IMAGE: an archive of the image."""

import os
import pathlib
import subprocess

import cluster

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial"}, "spec": {"restartPolicy": "Never", "containers": [
    {"name": "weir", "image": "IMAGE", "imagePullPolicy": "Never", "args": ["--version"]}]}}


def main():
    build = subprocess.run([cluster.HERE / "build.sh", "all"], stdout=subprocess.PIPE, text=True, check=True)
    version = (pathlib.Path(cluster.HERE).parents[1] / "VERSION").read_text().strip()
    with cluster.running(build.stdout.strip()) as running:
        running.load(os.environ["WEIR_IMAGE"])
        running.wait_account("default")
        POD["spec"]["containers"][0]["image"] = f"localhost/weir:{version}"
        running.apply(POD)
        try:
            running.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/trial", "--timeout=90s")
        except BaseException:
            print(running.kubectl("describe", "pod", "trial", check=False).stdout)
            raise


if __name__ == "__main__":
    main()
