"""What the API server says to the manifests, before and while anything of them runs."""

import json

import pytest


def test_the_scaled_overlay_is_applied_strictly(scaled):
    said = scaled.apply()
    assert "Warning" not in said.stderr, said.stderr
    scaled.wait_applied()
    for component in ("ingest", "lanes", "science", "status"):
        scaled.pods.wait_ready(component, 1)


def test_a_second_apply_changes_nothing(scaled):
    assert scaled.differences() == ""
    assert "Warning" not in scaled.apply().stderr
    assert scaled.differences() == ""


@pytest.mark.parametrize("right, wrong, said", [
    ("livenessProbe:", "livelinessProbe:", "field not declared in schema"),
    ("unhealthyPodEvictionPolicy: AlwaysAllow", "unhealthyPodEvictionPolicy: Always", "unhealthyPodEvictionPolicy"),
    ("maxReplicas: 8", "maxReplicas: 0", "maxReplicas"),
    ("serviceName: weir-lanes", "serviceName: weir-other", "updates to statefulset spec"),
])
def test_what_does_not_fit_is_refused(scaled, right, wrong, said):
    text = scaled.cluster.kubectl("kustomize", scaled.overlay).stdout
    assert right in text
    done = scaled.pods.kubectl("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-",
                               input=text.replace(right, wrong), check=False)
    assert done.returncode != 0 and said in done.stderr, done.stderr


def change(*path, to):
    def make(pod):
        where = pod["spec"]
        for key in path[:-1]:
            where = where[key]
        where[path[-1]] = to
    return make


@pytest.mark.parametrize("broken", [
    change("hostNetwork", to=True),
    change("securityContext", "runAsNonRoot", to=False),
    change("securityContext", "seccompProfile", to={"type": "Unconfined"}),
    change("containers", 0, "securityContext", "allowPrivilegeEscalation", to=True),
    change("containers", 0, "securityContext", "capabilities", to={"add": ["SYS_ADMIN"]}),
    change("containers", 0, "securityContext", to={"privileged": True}),
    change("volumes", to=[{"name": "run", "hostPath": {"path": "/"}}]),
], ids=["host network", "root", "no seccomp", "escalation", "capability", "privileged", "host path"])
def test_a_pod_that_breaks_restricted_is_refused(scaled, broken):
    template = scaled.pods.get("statefulset", "weir-lanes")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "broken"}, "spec": template["spec"]}
    create = lambda: scaled.pods.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod), check=False)
    assert create().returncode == 0  # as it is
    broken(pod)
    if "hostPath" in str(pod):
        pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "run", "mountPath": "/run/weir"}]
    done = create()
    assert done.returncode != 0 and 'violates PodSecurity "restricted' in done.stderr, done.stderr
