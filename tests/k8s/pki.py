"""A certificate authority for one cluster, and who it vouches for: files NAME.crt and NAME.key in one directory."""

import pathlib
import subprocess

NEW = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(mode=0o700)
        openssl("req", "-x509", *NEW, "-days", "2", "-subj", "/CN=tests", "-keyout", self.key("ca"), "-out", self.cert("ca"))

    def cert(self, name):
        return self.directory / f"{name}.crt"

    def key(self, name):
        return self.directory / f"{name}.key"

    def issue(self, name, subject, names=()):
        """For servers and clients alike. names: IP:... and DNS:..., for a server."""
        request, extensions = self.directory / f"{name}.csr", self.directory / f"{name}.ext"
        extensions.write_text("extendedKeyUsage=serverAuth,clientAuth\n" +
                              (f"subjectAltName={','.join(names)}\n" if names else ""))
        openssl("req", *NEW, "-subj", subject, "-keyout", self.key(name), "-out", request)
        openssl("x509", "-req", "-days", "2", "-in", request, "-CA", self.cert("ca"), "-CAkey", self.key("ca"),
                "-CAcreateserial", "-extfile", extensions, "-out", self.cert(name))

    def key_pair(self, name):
        """NAME.key and NAME.pub, vouched for by nobody: what service accounts' tokens are signed with."""
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key(name))
        openssl("ec", "-in", self.key(name), "-pubout", "-out", self.directory / f"{name}.pub")
        return self.key(name), self.directory / f"{name}.pub"


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, stdin=subprocess.DEVNULL, capture_output=True)
