"""Weir in a namespace: keys and logins made as on a laptop, Secrets of them, an overlay with its Job, tables to compare."""

import os
import pathlib
import shutil
import subprocess

import psycopg

import loans
import servers
from pods import Pods
from ports import wait_for
from sealing import SealedWeir
from tables import assert_equal

ROOT = pathlib.Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def make_namespace(cluster, name):
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, RESTRICTED)


class Deployment:
    """
    overlay: a directory of kustomize. pipeline: the text that its pods get. token_keys: a directory of keys to be equal to.
    """

    def __init__(self, cluster, namespace, overlay, pipeline, directory, postgres, rabbit, token_keys=None):
        self.cluster, self.namespace, self.overlay = cluster, namespace, overlay
        self.pods = Pods(cluster, namespace)
        self.home = pathlib.Path(directory) / "weir"
        self.home.mkdir(parents=True)
        self.w = SealedWeir(directory, pipeline, postgres, namespace, {
            "WEIR_KEYS": str(self.home / "keys"), "WEIR_LOGINS": str(self.home / "logins"),
            "WEIR_RID_KEY": f"file:{self.home}/keys/rid.key", "WEIR_AMQP": f"file:{self.home}/sources/amqp",
            "WEIR_KAFKA": f"{servers.KAFKA}:{servers.KAFKA_PORT}", "WEIR_EXCHANGE": f"{servers.KAFKA}:{servers.KAFKA_PORT}",
            "WEIR_EXCHANGE_COPIES": "1", "WEIR_HANDOFFS": "/var/lib/weir/handoffs"})
        self.w.keys = self.home / "keys"
        self._write("owner/dsn", postgres.pods_dsn(namespace))
        self._write("sources/amqp", rabbit.url(host=servers.RABBIT))
        self.w.keys_init()
        if token_keys:
            for key in pathlib.Path(token_keys).glob("token-*.key"):
                shutil.copy2(key, self.w.keys / key.name)
            self.w.sign()
        self.w.command("logins", "init", self.w.file, env={"WEIR_DSN": f"file:{self.home}/owner/dsn"})
        make_namespace(cluster, namespace)
        self.apply_secrets()

    def _write(self, name, text):
        path = self.home / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(0o600)
        path.write_text(text)

    def apply_secrets(self):
        text = subprocess.run([K8S / "secrets.sh", self.home], check=True, stdout=subprocess.PIPE, text=True).stdout
        self.pods.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", input=text)

    def apply(self):
        """Strictly; what the server says."""
        return self.pods.kubectl("apply", "--server-side", "--validate=strict", "-k", self.overlay)

    def differences(self):
        """What a second apply would change; empty when nothing."""
        done = self.pods.kubectl("diff", "--server-side", "-k", self.overlay, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def wait_applied(self, seconds=120):
        def ended():
            conditions = self.pods.get("job", "weir-apply")["status"].get("conditions", [])
            return {c["type"] for c in conditions if c["status"] == "True"} & {"Complete", "Failed"}
        try:
            assert wait_for("the end of `weir apply`", ended, seconds, 0.3) == {"Complete"}
        except (AssertionError, TimeoutError):
            raise AssertionError(f"`weir apply` did not complete\n{self.pods.story('apply')}") from None

    # ---- the warehouse ----
    def query(self, sql, *values):
        with psycopg.connect(self.w.dsn, autocommit=True) as connection:
            return connection.execute(sql, values).fetchall()

    def events(self):
        return self.query("select coalesce(sum(events), 0)::bigint from analytical_schema.fact_loan")[0][0]

    def owners(self):
        """The instances that own key groups."""
        return {i for i, in self.query("select distinct s.instance from admin_schema.key_range r"
                                       " join admin_schema.shard s using (pipeline, build, epoch)")}

    def check_answer(self, streams):
        """The rows in clear against the answer, by plain counting; nothing doubled or lost in the raw tables."""
        got = self.query(
            "select case_id, outcome, (extract(epoch from submitted_at) * 1000000)::bigint,"
            " (extract(epoch from last_event_at) * 1000000)::bigint, offers_sent, work_items, events,"
            " (extract(epoch from first_event_at) * 1000000)::bigint from analytical_schema.fact_loan")
        want = [(case, c["outcome"], c.get("submitted_at"), c["last_event_at"], c["offers_sent"], c["work_done"], c["events"],
                 c["first_event_at"]) for case, c in loans.answer(streams).items()]
        assert_equal(sorted(got, key=repr), sorted(want, key=repr), "fact_loan and the answer")
        with self.w.superuser() as connection:
            for stream, events in streams.items():
                n = connection.execute(f"select count(*), count(distinct rid) from development_schema.raw_{stream}").fetchone()
                assert n == (len(events), len(events)), f"raw_{stream}: {n} rows and rids of {len(events)} events"
            assert connection.execute("select count(*) from admin_schema.dead_letter").fetchone() == (0,)


def overlay_of(directory, base, namespace, pipeline=None, literals=()):
    """An overlay of the test's own beside the project's, as a user makes it: the image loaded, some values, a pipeline."""
    directory.mkdir()
    text = f"""apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {namespace}
resources: [{os.path.relpath(base, directory)}]
images: [{{ name: weir, newName: localhost/weir }}]
configMapGenerator:
  - name: weir-environment
    behavior: merge
    literals: [{', '.join(literals)}]
"""
    if pipeline:
        (directory / "pipeline.yaml").write_text(pipeline)
        text += "  - name: weir-pipeline\n    behavior: replace\n    files: [pipeline.yaml]\n"
    (directory / "kustomization.yaml").write_text(text)
    return directory
