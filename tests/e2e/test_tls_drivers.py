"""TLS and logins, of both brokers, as the drivers see them."""

import pytest

from certificates import Certificates
from kafka_server import KafkaServer
from ports import free_ports
from probe import Probe
from rabbit_server import RabbitServer

NONE = -1


@pytest.fixture(scope="module")
def certificates(world):
    return Certificates(world / "certificates")


@pytest.fixture(scope="module")
def secured_kafka(world, certificates):
    """SASL over TLS beside the plain listener, which the test itself uses."""
    port, = free_ports(1)
    server = KafkaServer(world / "kafka-tls")
    plain = f"PLAINTEXT://127.0.0.1:{server.port}"
    control = f"CONTROLLER://127.0.0.1:{server.controller_port}"
    secured = f"SASL_SSL://127.0.0.1:{port}"
    login = ("org.apache.kafka.common.security.plain.PlainLoginModule required "
             'username="x" password="y" user_weir="rosebud";')
    server.settings = {
        "listeners": f"{plain},{control},{secured}", "advertised.listeners": f"{plain},{secured}",
        "ssl.keystore.type": "PEM", "ssl.keystore.location": certificates.pem,
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": login,
        "ssl.client.auth": "none"}
    server.start()
    server.secured = f"127.0.0.1:{port}"
    server.create_topic("t", 2)
    server.produce("t", ({"case_id": str(i)} for i in range(100)))
    yield server
    server.stop()


def kafka_probe(server, certificates, password="rosebud", **more):
    options = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "weir",
               "sasl.password": password, "ssl.ca.location": certificates.ca, **more}
    return Probe("kafka", server.secured, "t", "bounded", *(f"{k}={v}" for k, v in options.items()),
                 autostart=NONE)


def test_kafka_over_tls_with_a_login(secured_kafka, certificates):
    with kafka_probe(secured_kafka, certificates) as p:
        p.wait("the end", Probe.finished)
        assert p.count() == 100


def test_kafka_with_the_wrong_password_or_authority(secured_kafka, certificates):
    with kafka_probe(secured_kafka, certificates, "wrong-password") as p:
        p.wait("trouble", lambda p: p.trouble and "authentication" in p.trouble.lower())
        assert "wrong-password" not in p.trouble
    other = Certificates(certificates.ca.parent / "other")
    with kafka_probe(secured_kafka, other) as p:
        p.wait("trouble", lambda p: p.trouble and "certificate verify failed" in p.trouble)


@pytest.fixture(scope="module")
def secured_rabbit(world, certificates):
    port, = free_ports(1)
    server = RabbitServer(world / "rabbit-tls", {
        "listeners.ssl.default": f"127.0.0.1:{port}", "ssl_options.cacertfile": certificates.ca,
        "ssl_options.certfile": certificates.cert, "ssl_options.keyfile": certificates.key,
        "ssl_options.verify": "verify_none", "ssl_options.fail_if_no_peer_cert": "false"}, vhosts=["loans"])
    server.start()
    server.secured = server.url("loans").replace("amqp:", "amqps:").replace(
        f"127.0.0.1:{server.port}/", f"localhost:{port}/")
    server.create_queue("q", vhost="loans")
    server.publish("q", ({"i": i} for i in range(100)), vhost="loans")
    yield server
    server.stop()


def test_rabbit_over_tls_in_a_vhost(secured_rabbit, certificates):
    with Probe("rabbitmq", f"{secured_rabbit.secured}?cacertfile={certificates.ca}&heartbeat=5", "q",
               "bounded", autostart=NONE) as p:
        p.wait("the end", Probe.finished)
        assert p.count() == 100
    with Probe("rabbitmq", f"{secured_rabbit.secured}?verify=verify_none", "q", "bounded",
               autostart=NONE) as p:
        p.wait("the end", Probe.finished)
        assert p.count() == 100


def test_rabbit_of_another_host_is_refused(secured_rabbit, certificates):
    url = secured_rabbit.secured.replace("localhost", "127.0.0.1")
    with Probe("rabbitmq", f"{url}?cacertfile={certificates.ca}", "q", autostart=NONE) as p:
        p.wait("trouble", lambda p: p.trouble and "certificate is of another host" in p.trouble)


def test_rabbit_of_an_unknown_authority_is_refused(secured_rabbit, certificates):
    other = Certificates(certificates.ca.parent / "other-rabbit")
    with Probe("rabbitmq", f"{secured_rabbit.secured}?cacertfile={other.ca}", "q", autostart=NONE) as p:
        p.wait("trouble", lambda p: p.trouble and "SSL" in p.trouble)
        assert p.count() == 0 and secured_rabbit.password not in p.trouble
