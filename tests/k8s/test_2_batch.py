"""The batch overlay: a CronJob's runs, what they leave behind, and what a failed one says of itself."""

import json

import pytest

import deployment
import loans
from box import NODE
from load import Sources
from ports import wait_for

NAMESPACE = "nightly"
PATCHES = f"""patches:
  - target: {{ kind: CronJob, name: weir-run }}
    patch: |
      - {{ op: replace, path: /spec/schedule, value: "* * * * *" }}
  - target: {{ kind: NetworkPolicy, name: weir-(database|sources) }}
    patch: |
      - {{ op: replace, path: /spec/egress/0/to, value: [{{ ipBlock: {{ cidr: {NODE}/32 }} }}] }}
"""


@pytest.fixture(scope="module")
def nightly(cluster, world, postgres, kafka, rabbit):
    """Applied, with a schedule that a test can wait for; all events are there."""
    base = deployment.K8S / "overlays" / "batch"
    pipeline = (deployment.K8S / "base" / "pipeline.yaml").read_text().replace("pipeline: loans", f"pipeline: {NAMESPACE}")
    pipeline = pipeline.replace(" loans.", f" {NAMESPACE}.")  # its own topics and queue
    overlay = deployment.overlay_of(world / "nightly-overlay", base, NAMESPACE, pipeline, ["WEIR_KAFKA=kafka.weir.test:9092"])
    with open(overlay / "kustomization.yaml", "a") as f:
        f.write(PATCHES)
    made = deployment.Deployment(cluster, NAMESPACE, overlay, pipeline, world / "nightly", postgres, rabbit)
    made.sources = Sources(loans.twin(processes=300, seed=71), kafka, rabbit, NAMESPACE)
    made.sources.post(1.0)
    made.apply()
    made.wait_applied()
    yield made
    made.pods.kubectl("delete", "cronjob", "weir-run")


def message(pod):
    """What its container left: the result line."""
    return json.loads(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].splitlines()[-1])


def runs(nightly):
    """Pods of jobs that the CronJob made by itself and that completed, oldest first."""
    found = [p for p in nightly.pods.get("pods", "-l", "app.kubernetes.io/component=run")["items"]
             if p["status"]["phase"] == "Succeeded" and p["metadata"]["labels"]["job-name"].startswith("weir-run-")]
    return sorted(found, key=lambda p: p["metadata"]["creationTimestamp"])


def test_a_cron_job_completes_on_its_minute(nightly, capsys):
    try:
        first, *_ = wait_for("a run", lambda: runs(nightly), 150, 0.5)
    except TimeoutError:
        pytest.fail(f"no run completed\n{nightly.pods.story('run')}")
    result = message(first)
    assert result["exit"] == 0, result
    assert sum(result["events"].values()) == nightly.sources.total, result
    nightly.check_answer(nightly.sources.sent_streams())
    with capsys.disabled():
        print(f"\nk8s: a run of the CronJob: {nightly.sources.total} events in {result['seconds']} s")


def failed(nightly, name, env):
    """A job of the CronJob's own template with this in its environment; its pods when it has failed."""
    job = json.loads(nightly.pods.kubectl("create", "job", name, "--from=cronjob/weir-run", "--dry-run=client", "-o",
                                          "json").stdout)
    job["spec"]["template"]["spec"]["containers"][0]["env"].append(env)
    nightly.pods.kubectl("create", "-f", "-", input=json.dumps(job))

    def ended():
        status = nightly.pods.get("job", name)["status"]
        return [c for c in status.get("conditions", []) if c["type"] == "Failed" and c["status"] == "True"]
    condition, = wait_for("the job's failure", ended, 120, 0.3)
    return condition, nightly.pods.get("pods", "-l", f"job-name={name}")["items"]


def test_a_failed_run_says_why(nightly):
    """What trying again cannot mend fails the job at once, and `kubectl describe` shows the result line."""
    condition, pods = failed(nightly, "lost-logins", {"name": "WEIR_LOGINS", "value": "/etc/weir/nowhere"})
    assert condition["reason"] == "PodFailurePolicy", condition
    assert len(pods) == 1
    result = message(pods[0])
    assert result["exit"] == 78 and "nowhere" in result["reason"], result
    text = nightly.pods.kubectl("describe", "pod", pods[0]["metadata"]["name"]).stdout
    assert '"exit":78' in text.replace(" ", "") and "nowhere" in text, text
