"""The cluster's names, for tests: addresses (A) of Services, of the ready pods of headless ones, and of a StatefulSet's
pods. UDP alone; every question is answered from the API server as it is then. Names below weir.test are those of servers
outside the cluster: all of them are the node's address. Others do not exist."""

import socket
import struct
import sys
import urllib.error
import urllib.parse

DOMAIN = ".svc.cluster.local"
OUTSIDE = ".weir.test"
TYPE_A, NXDOMAIN = 1, 3
ANSWERS_MAX = 25  # fit into 512 bytes beside the longest name
TTL_SECONDS = 2


def serve(api, address, node):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 53))
    while True:
        question, peer = s.recvfrom(512)
        try:
            s.sendto(answer(question, lambda name: lookup(api, name, node)), peer)
        except (OSError, IndexError, KeyError, struct.error) as error:
            print(f"dns: {error!r}", file=sys.stderr, flush=True)


def answer(question, find):
    """The reply to a packet with one question. find(name): its addresses, or None when there is no such name."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode("ascii", "replace").lower())
        at += question[at] + 1
    kind, = struct.unpack_from(">H", question, at + 1)
    found = find(".".join(labels))
    records = (found or [])[:ANSWERS_MAX] if kind == TYPE_A else []
    flags = 0x8580 | (NXDOMAIN if found is None else 0)  # an authoritative response; recursion was and is possible
    head = question[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    # Each record points back at the question's name.
    body = b"".join(struct.pack(">HHHIH", 0xC00C, TYPE_A, 1, TTL_SECONDS, 4) + socket.inet_aton(r) for r in records)
    return head + question[12:at + 5] + body


def lookup(api, name, node):
    if name.endswith(OUTSIDE):
        return [node]
    parts = name.removesuffix(DOMAIN).split(".")
    if not name.endswith(DOMAIN) or len(parts) not in (2, 3):
        return None
    host, service, namespace = (parts if len(parts) == 3 else [None, *parts])
    where = f"namespaces/{urllib.parse.quote(namespace)}"
    try:
        spec = api.get(f"/api/v1/{where}/services/{urllib.parse.quote(service)}?resourceVersion=0")["spec"]
    except urllib.error.HTTPError:
        return None
    if host is None and spec.get("clusterIP") not in (None, "", "None"):
        return [spec["clusterIP"]]
    slices = api.items(f"/apis/discovery.k8s.io/v1/{where}/endpointslices?labelSelector=kubernetes.io/service-name%3D"
                       + urllib.parse.quote(service))
    every = spec.get("publishNotReadyAddresses", False)
    return [address for s in slices for e in s.get("endpoints") or []
            if (every or e.get("conditions", {}).get("ready", True)) and host in (None, e.get("hostname"))
            for address in e["addresses"]] or None
