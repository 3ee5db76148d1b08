"""The suite's own PostgreSQL, Kafka and RabbitMQ, on the ports that everybody knows and at the node's address too: a box has
no other services."""

import box
from kafka_server import KafkaServer
from postgres_server import PostgresServer
from rabbit_server import RabbitServer

POSTGRES_PORT, KAFKA_PORT, RABBIT_PORT = 5432, 9092, 5672
# As pods know them (dns.py).
POSTGRES, KAFKA, RABBIT = "postgres.weir.test", "kafka.weir.test", "rabbit.weir.test"


class Postgres(PostgresServer):
    def __init__(self, directory):
        super().__init__(directory, settings={"listen_addresses": f"127.0.0.1,{box.NODE}"})
        self.port = POSTGRES_PORT

    def _initialize(self):
        super()._initialize()
        with open(self.data / "pg_hba.conf", "a") as f:
            f.write("host all all 10.88.77.0/24 scram-sha-256\n")

    def pods_dsn(self, database):
        """The owner's, as a pod needs it."""
        return f"postgresql://{self.OWNER}:{self.password}@{POSTGRES}:{self.port}/{database}"


class Kafka(KafkaServer):
    """Pods come in by a listener that names the node's address: a client is told where to go on."""

    def __init__(self, directory):
        super().__init__(directory)
        inner, outer = f"PLAINTEXT://{self.bootstrap}", f"PODS://{box.NODE}:{KAFKA_PORT}"
        self.settings = {
            "listeners": f"{inner},{outer},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"{inner},{outer}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PODS:PLAINTEXT,CONTROLLER:PLAINTEXT"}


class Rabbit(RabbitServer):
    def __init__(self, directory):
        super().__init__(directory, outer=box.NODE, settings={
            "listeners.tcp.1": f"127.0.0.1:{RABBIT_PORT}", "listeners.tcp.2": f"{box.NODE}:{RABBIT_PORT}"})
        self.port = RABBIT_PORT
