"""Network policies, enforced for tests: compiled to nftables each second.

A reading of the API's text, not a product: podSelector, namespaceSelector, ipBlock with except, ports by number, range and
name; IPv4. The node itself reaches its pods, as a kubelet must. A pod that is not known yet reaches nobody. The cluster's
DNS stands for the pods k8s-app=kube-dns of kube-system, which real clusters have.
"""

import ipaddress
import subprocess
import sys
import time
import urllib.error

TABLE = "weir_policy"
SECONDS = 1.0


def serve(api, pods_net, dns):
    last = None
    while True:
        try:
            text = compiled(*state(api, dns), pods_net)
            if text != last:
                subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)
                last = text
        except (OSError, urllib.error.URLError, subprocess.CalledProcessError) as error:
            print(f"policy: {error!r}", file=sys.stderr, flush=True)
        time.sleep(SECONDS)


class Pod:
    def __init__(self, namespace, labels, address, ports):
        self.namespace, self.labels, self.address = namespace, labels, address
        self.ports = ports  # {(name, protocol): number}


def state(api, dns):
    """(pods with addresses, {namespace: labels}, policies)."""
    namespaces = {n["metadata"]["name"]: n["metadata"].get("labels", {}) for n in api.items("/api/v1/namespaces")}
    pods = [Pod("kube-system", {"k8s-app": "kube-dns"}, dns, {})]
    for p in api.items("/api/v1/pods"):
        status = p.get("status", {})
        if status.get("podIP") and status.get("phase") in ("Pending", "Running") and not p["spec"].get("hostNetwork"):
            named = {(c["name"], c.get("protocol", "TCP")): c["containerPort"] for k in p["spec"]["containers"]
                     for c in k.get("ports", []) if c.get("name")}
            pods.append(Pod(p["metadata"]["namespace"], p["metadata"].get("labels", {}), status["podIP"], named))
    return pods, namespaces, api.items("/apis/networking.k8s.io/v1/networkpolicies")


def selects(selector, labels):
    def holds(e):
        there, value, values = e["key"] in labels, labels.get(e["key"]), e.get("values", [])
        return {"In": there and value in values, "NotIn": value not in values or not there,
                "Exists": there, "DoesNotExist": not there}[e["operator"]]

    selector = selector or {}
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and \
        all(holds(e) for e in selector.get("matchExpressions", []))


def block(b):
    """The networks of an ipBlock without its exceptions."""
    left = [ipaddress.ip_network(b["cidr"])]
    for e in map(ipaddress.ip_network, b.get("except", [])):
        left = [part for n in left for part in (n.address_exclude(e) if e.subnet_of(n) else
                                                [] if n.subnet_of(e) else [n])]
    return [str(n) for n in left if n.version == 4]


def peers(entries, namespace, pods, namespaces):
    """[(address or network, its pod if it is one's)]; [(None, None)] where everybody is meant."""
    if not entries:
        return [(None, None)]
    found = []
    for entry in entries:
        if "ipBlock" in entry:
            found += [(n, None) for n in block(entry["ipBlock"])]
            continue
        for pod in pods:
            near = selects(entry["namespaceSelector"], namespaces.get(pod.namespace, {})) \
                if "namespaceSelector" in entry else pod.namespace == namespace
            if near and selects(entry.get("podSelector"), pod.labels):
                found.append((pod.address, pod))
    return found


def port(p, target):
    """nft's words for one port of a rule, or None when its name means nothing at the target."""
    protocol, number = p.get("protocol", "TCP"), p.get("port")
    if isinstance(number, str):
        number = target.ports.get((number, protocol)) if target else None
        if number is None:
            return None
    if number is None:
        return f"meta l4proto {protocol.lower()}"
    last = f"-{p['endPort']}" if "endPort" in p else ""
    return f"{protocol.lower()} dport {number}{last}"


def accepts(rule, direction, pod, context):
    """The lines of one rule of a policy that selects this pod."""
    key, side = ("from", "saddr") if direction == "Ingress" else ("to", "daddr")
    for address, peer in peers(rule.get(key), pod.namespace, *context):
        target = pod if direction == "Ingress" else peer
        ports = [port(p, target) for p in rule.get("ports", [])] or [""]
        for words in ports:
            if words is not None:
                yield " ".join(filter(None, (f"ip {side} {address}" if address else "", words, "return")))


def compiled(pods, namespaces, policies, pods_net):
    chains, ways = [], {"Ingress": [], "Egress": []}
    here = [p for p in pods if ipaddress.ip_address(p.address) in ipaddress.ip_network(pods_net)]
    for pod in here:
        mine = [p for p in policies if p["metadata"]["namespace"] == pod.namespace and
                selects(p["spec"].get("podSelector"), pod.labels)]
        for direction in ways:
            isolating = [p for p in mine if direction in p["spec"].get("policyTypes", ["Ingress"])]
            name = f"{direction.lower()}_{pod.address.replace('.', '_')}"
            lines = [line for p in isolating for rule in p["spec"].get(direction.lower(), [])
                     for line in accepts(rule, direction, pod, (pods, namespaces))]
            end = "counter drop" if isolating else "return"
            chains.append(f"chain {name} {{\n" + "\n".join([*dict.fromkeys(lines), end]) + "\n}")
            ways[direction].append(f"{pod.address} : jump {name}")
    known = f"elements = {{ {', '.join(p.address for p in here)} }}" if here else ""
    return TABLE_TEXT.format(table=TABLE, chains="\n".join(chains), net=pods_net, known=known,
                             egress=verdicts("saddr", ways["Egress"]), ingress=verdicts("daddr", ways["Ingress"]))


def verdicts(side, ways):
    return f"ip {side} vmap {{ {', '.join(ways)} }}" if ways else ""


# What left a pod, and what wants to enter one: a chain returns what its policies accept.
TABLE_TEXT = """table ip {table}
delete table ip {table}
table ip {table} {{
set known {{ type ipv4_addr; {known} }}
{chains}
chain pods_forward {{
type filter hook forward priority 5; policy accept;
ct state established,related accept
ip saddr {net} ip saddr != @known counter drop
ip daddr {net} ip daddr != @known counter drop
{egress}
{ingress}
}}
chain pods_input {{
type filter hook input priority 5; policy accept;
iifname lo accept
ct state established,related accept
ip saddr {net} ip saddr != @known counter drop
{egress}
}}
}}
"""
