"""A private PostgreSQL 15 cluster: its own data, socket and port; passwords checked, fsync off unless asked.

As a program: postgres_server.py PROGRAM ARGS... runs PROGRAM with WEIR_TEST_DSN, the owner's DSN of an empty
database of a fresh cluster, and ends with its exit code.
"""

import os
import pathlib
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile

from ports import free_ports, wait_for

PROGRAMS = pathlib.Path("/usr/lib/postgresql/15/bin")
START_SECONDS = 60
STOP_SECONDS = 60

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": 200,
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_checkpoints": "off",
    # A kill of the server is no loss of power; what was written is with the kernel.
    "fsync": "off",
}

# The administrator comes in by the socket alone; everybody else has a password, as in a real warehouse.
ACCESS = """
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


def available():
    return (PROGRAMS / "initdb").exists()


class PostgresServer:
    """
    start, stop, kill (-9), restart on the same port and data. settings: of postgresql.conf, over the above.
    certificates: the server's; then TCP is for TLS alone.
    """

    OWNER = "owner"

    def __init__(self, directory, settings=None, certificates=None):
        self.directory = pathlib.Path(directory)
        self.settings = {**SETTINGS, **({"ssl": "on"} if certificates else {}), **(settings or {})}
        self.certificates = certificates
        self.port, = free_ports(1)
        self.password = secrets.token_hex(12)
        self.process = None
        # initdb and postgres refuse root.
        self.user = {}
        if os.geteuid() == 0:
            p = pwd.getpwnam("postgres")
            self.user = {"user": p.pw_uid, "group": p.pw_gid, "extra_groups": []}

    @property
    def pid(self):
        return self.process.pid

    @property
    def data(self):
        return self.directory / "data"

    # ---- who connects ----
    def superuser_dsn(self, database="postgres"):
        return f"postgresql://postgres@/{database}?host={self.directory}&port={self.port}"

    def dsn(self, database, tcp=False):
        """The owner's, over the socket or TCP."""
        if tcp:
            return f"postgresql://{self.OWNER}:{self.password}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{self.OWNER}:{self.password}@/{database}?host={self.directory}&port={self.port}"

    def create_database(self, name, tcp=False):
        """A fresh database, owned by a role that may make roles, but is no superuser; returns its DSN."""
        self.sql(f'CREATE DATABASE "{name}" OWNER {self.OWNER}')
        return self.dsn(name, tcp)

    def sql(self, statement, database="postgres"):
        """As administrator; the rows as text, one a line."""
        done = subprocess.run([PROGRAMS / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d",
                               self.superuser_dsn(database), "-c", statement], text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # ---- life ----
    def _initialize(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.user:
            os.chown(self.directory, self.user["user"], self.user["group"])
        self.directory.chmod(0o755)  # of the socket: workers run under other uids
        subprocess.run([PROGRAMS / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "--no-locale",
                        "-E", "UTF8"], cwd=self.directory, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, **self.user)
        settings = {**self.settings, "port": self.port, "unix_socket_directories": f"'{self.directory}'"}
        with open(self.data / "postgresql.conf", "a") as f:
            f.writelines(f"{k} = {v if isinstance(v, int) or str(v).startswith(chr(39)) else repr(str(v))}\n"
                         for k, v in settings.items())
        (self.data / "pg_hba.conf").write_text(ACCESS.replace("host ", "hostssl ") if self.certificates else ACCESS)
        for name, file in self._certificate_files().items():
            copy = self.data / name
            copy.touch(0o600)
            copy.write_bytes(file.read_bytes())
            if self.user:
                os.chown(copy, self.user["user"], self.user["group"])

    def _certificate_files(self):
        c = self.certificates
        return {"server.crt": c.cert, "server.key": c.key} if c else {}

    def start(self):
        assert self.process is None
        first = not (self.data / "PG_VERSION").exists()
        if first:
            self._initialize()
        # After a kill its children may live for a moment, and hold the memory of the old cluster.
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen([PROGRAMS / "postgres", "-D", self.data], cwd=self.directory,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, **self.user)
        wait_for(f"PostgreSQL on port {self.port}", self._serves, START_SECONDS)
        if first:
            self.sql(f"CREATE ROLE {self.OWNER} LOGIN CREATEROLE CREATEDB PASSWORD '{self.password}'")
            self.sql(f"GRANT SET ON PARAMETER session_replication_role TO {self.OWNER} WITH GRANT OPTION")
        return self

    def _serves(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with {self.process.returncode}:\n{self.log_tail()}")
        return subprocess.run([PROGRAMS / "psql", "-X", "-d", self.superuser_dsn(), "-c", "select 1"],
                              capture_output=True).returncode == 0

    def stop(self):
        """Fast shutdown: open transactions are rolled back, sessions ended."""
        self._end(signal.SIGINT)

    def kill(self):
        """As if the machine had lost it: the postmaster and its children at once; recovery at the next start."""
        if self.process is None:
            return
        children = self._children()
        self._end(signal.SIGKILL)  # first, or it would start others
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def restart(self):
        self.stop()
        return self.start()

    def _children(self):
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(x) for x in path.read_text().split()]

    def _end(self, sig):
        if self.process is None:
            return
        self.process.send_signal(sig)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        self.process = None

    def log_tail(self, n=30):
        log = self.directory / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-n:]) if log.exists() else ""


def main(arguments):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-pg-"))
    directory.chmod(0o755)
    server = PostgresServer(directory / "postgres")
    try:
        server.start()
        environment = {**os.environ, "WEIR_TEST_DSN": server.create_database("test"),
                       "WEIR_TEST_SUPERUSER_DSN": server.superuser_dsn("test")}
        return subprocess.run(arguments, env=environment).returncode
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
