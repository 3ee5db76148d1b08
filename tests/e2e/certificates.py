"""A certificate authority of the test run's own, and a certificate of 127.0.0.1 and localhost."""

import pathlib
import subprocess


class Certificates:
    """Files ca, cert, key and pem (key and certificate) in a directory."""

    def __init__(self, directory):
        d = pathlib.Path(directory)
        d.mkdir(parents=True, exist_ok=True)
        self.ca, self.cert, self.key, self.pem = (d / n for n in ("ca.crt", "tls.crt", "tls.key", "tls.pem"))
        (d / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        _openssl("req", "-x509", *new, "-keyout", d / "ca.key", "-out", self.ca, "-subj", "/CN=tests")
        _openssl("req", *new[:-2], "-keyout", self.key, "-out", d / "tls.csr", "-subj", "/CN=localhost")
        _openssl("x509", "-req", "-in", d / "tls.csr", "-CA", self.ca, "-CAkey", d / "ca.key",
                 "-CAcreateserial", "-days", "2", "-extfile", d / "names", "-out", self.cert)
        self.pem.write_text(self.key.read_text() + self.cert.read_text())
        for f in d.iterdir():
            f.chmod(0o644)  # of no worth outside: readable for every server's user


def _openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
