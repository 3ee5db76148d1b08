#!/usr/bin/env python3
"""standins.py CLUSTER-DIRECTORY API-URL METRICS-PORT PODS-NET: what a cluster has beside Kubernetes itself, in one process:
names, network policies, pods' metrics. Ends when any of them does."""

import os
import pathlib
import sys
import threading
import traceback

import box
import dns
import metrics
import policy
from kubeapi import Api


def guarded(serve, *args):
    def work():
        try:
            serve(*args)
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    return threading.Thread(target=work)


directory, url, port, pods_net = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
api = Api(directory, url)
threads = [guarded(dns.serve, api, box.DNS, box.NODE), guarded(policy.serve, api, pods_net, box.DNS),
           guarded(metrics.serve, api, directory / "pki", port)]
for t in threads:
    t.start()
for t in threads:
    t.join()
