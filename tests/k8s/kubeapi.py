"""A client of the API server, as its administrator: for the stand-ins that run beside it."""

import json
import pathlib
import ssl
import urllib.request


class Api:
    """directory: the cluster's. url: https://127.0.0.1:PORT."""

    def __init__(self, directory, url):
        pki = pathlib.Path(directory) / "pki"
        self.url = url
        self.context = ssl.create_default_context(cafile=pki / "ca.crt")
        self.context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def get(self, path):
        return self._ask(urllib.request.Request(self.url + path))

    def items(self, path):
        """A list as the server has it at hand, which may be a moment old."""
        return self.get(path + ("&" if "?" in path else "?") + "resourceVersion=0")["items"]

    def apply(self, path, thing):
        """Server-side apply of one object at its own path."""
        self._ask(urllib.request.Request(
            f"{self.url}{path}?fieldManager=tests&force=true", method="PATCH", data=json.dumps(thing).encode(),
            headers={"Content-Type": "application/apply-patch+yaml"}))

    def _ask(self, request):
        with urllib.request.urlopen(request, context=self.context, timeout=10) as answer:
            return json.load(answer)
