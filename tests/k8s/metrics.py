"""The custom metrics API, for tests: a HorizontalPodAutoscaler's Pods metrics, scraped from the pods as they are asked for.

Real clusters have an adapter beside Prometheus for that. This one asks port `status` of each pod for /metrics at once. A
metric with several label sets counts by its largest. The API server finds it through a Service of type ExternalName.
"""

import concurrent.futures
import json
import math
import re
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GROUP, VERSION = "custom.metrics.k8s.io", "v1beta2"
SCRAPE_SECONDS = 2


def scrape(address, port, metric):
    """The metric of one pod, or None while it does not say."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=SCRAPE_SECONDS) as answer:
            text = answer.read().decode()
    except (OSError, urllib.error.URLError):
        return None
    found = [float(v) for v in re.findall(rf"^{re.escape(metric)}(?:\{{[^}}]*\}})? (\S+)$", text, re.M)]
    return max(found) if found and not math.isnan(max(found)) else None


def status_port(pod):
    return next((p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports", [])
                 if p.get("name") == "status"), None)


def values(api, namespace, selector, metric):
    """The items of a MetricValueList."""
    pods = [p for p in api.items(f"/api/v1/namespaces/{urllib.parse.quote(namespace)}/pods?labelSelector="
                                 f"{urllib.parse.quote(selector)}")
            if p.get("status", {}).get("podIP") and status_port(p)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        scraped = list(pool.map(lambda p: scrape(p["status"]["podIP"], status_port(p), metric), pods))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return [{"describedObject": {"kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": p["metadata"]["name"]},
             "metric": {"name": metric}, "timestamp": now, "value": f"{math.ceil(v * 1000)}m"}
            for p, v in zip(pods, scraped) if v is not None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api = None

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        parts = [urllib.parse.unquote(p) for p in url.path.strip("/").split("/")]
        prefix = f"apis/{GROUP}/{VERSION}"
        if "/".join(parts) == prefix:
            return self.reply(200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}",
                                    "resources": []})
        # apis GROUP VERSION namespaces NAMESPACE pods * METRIC
        if "/".join(parts[:3]) != prefix or len(parts) != 8 or parts[5] != "pods":
            return self.reply(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                                    "code": 404})
        selector = urllib.parse.parse_qs(url.query).get("labelSelector", [""])[0]
        return self.reply(200, {"kind": "MetricValueList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {},
                                "items": values(self.api, parts[4], selector, parts[7])})

    def reply(self, code, thing):
        body = json.dumps(thing).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def serve(api, pki, port):
    """pki: directory with server.crt and server.key."""
    Handler.api = api
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    register(api, port)
    print("metrics: registered", file=sys.stderr, flush=True)
    server.serve_forever()


def register(api, port):
    name = "pod-metrics"
    api.apply(f"/api/v1/namespaces/kube-system/services/{name}", {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}})
    api.apply(f"/apis/apiregistration.k8s.io/v1/apiservices/{VERSION}.{GROUP}", {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100,
                 "insecureSkipTLSVerify": True, "service": {"name": name, "namespace": "kube-system", "port": port}}})
    # The autoscaler has an account of its own, which may read none of this by itself.
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    api.apply(f"{rbac}/clusterroles/{name}", {
        **role, "kind": "ClusterRole", "rules": [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "list"]}]})
    api.apply(f"{rbac}/clusterrolebindings/{name}", {
        **role, "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}]})
