"""A private RabbitMQ broker on loopback: its own node name, data, cookie, epmd and ports."""

import contextlib
import json
import os
import pathlib
import secrets
import signal
import subprocess
import urllib.parse

import pika

from ports import die_with_parent, free_ports, listens, wait_for

# Debian's /usr/sbin scripts change to the package's own user and directories; the ones behind them
# do neither, and run as whoever calls them.
PROGRAMS = pathlib.Path("/usr/lib/rabbitmq/bin")
START_SECONDS = 90
STOP_SECONDS = 30


class RabbitServer:
    """
    start, stop, kill (-9), start again on the same port and data. settings: lines of rabbitmq.conf;
    advanced: settings of the application `rabbit` that have no such line. certificates: those of a
    second listener, on tls_port. outer: an address to be reached by beside loopback, on the same port.
    """

    def __init__(self, directory, settings=None, vhosts=(), advanced=None, certificates=None, outer=None):
        self.directory = pathlib.Path(directory)
        self.port, self.dist_port, self.epmd_port, self.tls_port = free_ports(4)
        tls = {}
        if certificates:
            tls = {"listeners.ssl.default": f"127.0.0.1:{self.tls_port}", "ssl_options.verify": "verify_none",
                   "ssl_options.cacertfile": certificates.ca, "ssl_options.certfile": certificates.cert,
                   "ssl_options.keyfile": certificates.key}
        self.outer = outer
        reach = {f"listeners.tcp.{n}": f"{a}:{self.port}" for n, a in enumerate(("127.0.0.1", outer), 1)} if outer else {}
        self.settings = {**tls, **reach, **(settings or {})}
        self.vhosts = list(vhosts)
        self.advanced = dict(advanced or {})
        self.node = f"weir{secrets.token_hex(4)}@localhost"
        self.user, self.password = "weir", secrets.token_hex(8)
        self.process = self.epmd = None

    def url(self, vhost="/", host="127.0.0.1"):
        path = vhost.replace("/", "%2F")
        return f"amqp://{self.user}:{self.password}@{host}:{self.port}/{path}"

    def tls_url(self, vhost="/", **options):
        path, query = vhost.replace("/", "%2F"), urllib.parse.urlencode(options, safe="/")
        return f"amqps://{self.user}:{self.password}@localhost:{self.tls_port}/{path}?{query}"

    @property
    def pid(self):
        return self.process.pid

    # ---- life ----
    def _environment(self):
        d = self.directory
        mine = {
            "HOME": str(d),  # of the cookie
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(d / "mnesia"),
            "RABBITMQ_LOG_BASE": str(d / "log"),
            "RABBITMQ_CONFIG_FILE": str(d / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(d / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(d / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(d / "rabbit.pid"),
            # The distribution port binds to every address unless told; two schedulers are enough.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none",
            "ERL_CRASH_DUMP": str(d / "erl_crash.dump"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            # Names resolve without /etc/hosts, which a bare chroot may lack.
            "ERL_INETRC": str(d / "inetrc"),
            # exec's the virtual machine instead of waiting for it: our child is the broker itself.
            "RUNNING_UNDER_SYSTEMD": "true",
            "LANG": "C.UTF-8",
        }
        if self.outer:  # else they would win over the listeners of the file
            del mine["RABBITMQ_NODE_IP_ADDRESS"], mine["RABBITMQ_NODE_PORT"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return {**kept, **mine}

    def _write_files(self):
        d = self.directory
        d.mkdir(parents=True, exist_ok=True)
        for name in ("mnesia", "log"):
            (d / name).mkdir(exist_ok=True)
        cookie = d / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(0o400)
            cookie.chmod(0o600)
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
        (d / "inetrc").write_text('{host,{127,0,0,1},["localhost"]}.\n{lookup,[file,native]}.\n')
        (d / "enabled_plugins").write_text("[].\n")
        vhosts = ["/", *self.vhosts]
        (d / "definitions.json").write_text(json.dumps({
            "vhosts": [{"name": v} for v in vhosts],
            "users": [{"name": self.user, "password": self.password, "tags": "administrator"}],
            "permissions": [{"user": self.user, "vhost": v, "configure": ".*", "write": ".*",
                             "read": ".*"} for v in vhosts]}))
        settings = {
            "load_definitions": d / "definitions.json",
            "loopback_users": "none",
            "log.console": "false",
            "disk_free_limit.absolute": "50MB",
            "vm_memory_high_watermark.absolute": "1GB",
            "raft.wal_max_size_bytes": 64 * 1024 * 1024,
            **self.settings}
        (d / "rabbitmq.conf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))

        advanced = ",".join(f"{{{k},{v}}}" for k, v in self.advanced.items())
        (d / "advanced.config").write_text(f"[{{rabbit,[{advanced}]}}].\n")

    def start(self):
        assert self.process is None
        self._write_files()
        with open(self.directory / "broker.log", "ab") as log:
            common = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log,
                      "env": self._environment(), "start_new_session": True,
                      "preexec_fn": die_with_parent}
            # Ours, in the foreground: one that a node starts by itself outlives the node.
            self.epmd = subprocess.Popen(
                ["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)], **common)
            wait_for("epmd", lambda: listens(self.epmd_port), START_SECONDS)
            self.process = subprocess.Popen([PROGRAMS / "rabbitmq-server"], **common)
        wait_for(f"RabbitMQ on port {self.port}", self._serves, START_SECONDS, 0.1)
        return self

    def _serves(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"RabbitMQ ended with {self.process.returncode}:\n{self.log_tail()}")
        if not listens(self.port):
            return False
        try:
            with self.channel():
                return True
        except pika.exceptions.AMQPError:
            return False

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def _end(self, sig):
        for process in (self.process, self.epmd):
            if process is None:
                continue
            process.send_signal(sig)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.process = self.epmd = None

    def log_tail(self, n=30):
        logs = [self.directory / "broker.log", *sorted((self.directory / "log").glob("*.log"))]
        lines = [x for f in logs if f.exists() for x in f.read_text(errors="replace").splitlines()]
        return "\n".join(lines[-n:])

    def ctl(self, *args):
        """rabbitmqctl; it starts a virtual machine of its own, so rather not in a loop."""
        done = subprocess.run([PROGRAMS / "rabbitmqctl", "-n", self.node, *map(str, args)],
                              env=self._environment(), stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, done.stdout
        return done.stdout

    # ---- queues and messages ----
    @contextlib.contextmanager
    def channel(self, vhost="/"):
        connection = pika.BlockingConnection(pika.URLParameters(self.url(vhost)))
        try:
            yield connection.channel()
        finally:
            if connection.is_open:
                connection.close()

    def create_queue(self, name, kind="quorum", vhost="/", **arguments):
        """kind: quorum or classic; durable either way."""
        with self.channel(vhost) as channel:
            channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind, **arguments})
        if kind == "quorum":
            # The register of quorum queues is written with a delay of its own, whatever was confirmed:
            # killed before that, 3.10 forgets the queue's log.
            wait_for(f"the register of {name}", lambda: self._is_registered(vhost, name), 30)
        return name

    def _is_registered(self, vhost, name):
        wanted = f"{'%2F' if vhost == '/' else vhost}_{name}".encode()
        files = (self.directory / "mnesia").glob(f"{self.node}/quorum/*/names.dets")
        return any(wanted in f.read_bytes() for f in files)

    def delete_queue(self, name, vhost="/"):
        with self.channel(vhost) as channel:
            channel.queue_delete(name)

    def publish(self, queue, events, message_id=None, vhost="/", timestamp=None):
        """
        Events: bytes, or objects to be written as JSON. message_id: None for none, or a function of
        (number from 0, event's bytes). Returns when the queue holds all of them; the count.
        """
        n = 0
        with self.channel(vhost) as channel:
            before = self._ready(channel, queue)

            def send(body):
                nonlocal n
                channel.basic_publish("", queue, body, pika.BasicProperties(
                    delivery_mode=2, content_type="application/json", timestamp=timestamp,
                    message_id=message_id(n, body) if message_id else None))
                n += 1

            last = None
            for event in events:
                if last is not None:
                    send(last)
                last = event if isinstance(event, bytes) else json.dumps(event).encode()
            # Only the last one is confirmed, which is fast, and says that all before it are safe too.
            channel.confirm_delivery()
            if last is not None:
                send(last)
            # A consumer, also one that comes meanwhile, takes some away before they are counted.
            wait_for(f"{n} messages in {queue}", lambda: self._consumers(channel, queue) or
                     self._ready(channel, queue) >= before + n, 60)
        return n

    @staticmethod
    def _ready(channel, queue):
        return channel.queue_declare(queue, passive=True).method.message_count

    @staticmethod
    def _consumers(channel, queue):
        return channel.queue_declare(queue, passive=True).method.consumer_count

    def count(self, queue, vhost="/"):
        """Messages ready to be delivered; delivered and unacknowledged ones are not among them."""
        with self.channel(vhost) as channel:
            return self._ready(channel, queue)

    def take(self, queue, n, ack=False, vhost="/"):
        """The bodies of up to n messages; without ack they return to the queue as redelivered."""
        bodies = []
        with self.channel(vhost) as channel:
            while len(bodies) < n:
                method, _, body = channel.basic_get(queue, auto_ack=ack)
                if method is None:
                    break
                bodies.append(body)
        return bodies


def _self_test():
    """python3 rabbit_server.py: every verb once against a real broker."""
    import tempfile
    import time

    with tempfile.TemporaryDirectory() as directory:
        started = time.monotonic()
        server = RabbitServer(directory, vhosts=["loans"]).start()
        print(f"start {time.monotonic() - started:.1f} s, pid {server.pid}")
        try:
            for kind in ("quorum", "classic"):
                server.create_queue(kind, kind)
                started = time.monotonic()
                n = server.publish(kind, ({"i": i} for i in range(10000)),
                                   message_id=lambda i, body: f"m{i}")
                print(f"published {n} to {kind} in {time.monotonic() - started:.1f} s")
                assert server.count(kind) == n
                assert len(server.take(kind, 10)) == 10
            server.create_queue("offer", vhost="loans")
            started = time.monotonic()
            server.kill()
            server.start()
            print(f"kill -9 and start {time.monotonic() - started:.1f} s")
            for kind in ("quorum", "classic"):
                wait_for("messages", lambda: server.count(kind) == 10000, 30)
            assert server.count("offer", "loans") == 0
            assert "quorum" in server.ctl("list_queues", "name", "type")
            started = time.monotonic()
            server.restart()
            print(f"stop and start {time.monotonic() - started:.1f} s")
            server.delete_queue("quorum")
        finally:
            server.stop()
    print("ok")


if __name__ == "__main__":
    _self_test()
