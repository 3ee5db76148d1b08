"""`weir demo --feed`: the demo's events into what a pipeline reads, counted, and refused in words where that cannot be."""

import json
import os
import signal
import subprocess

import pytest

import loans
from ports import free_ports, wait_for
from weir import BIN


@pytest.fixture
def feed(make_weir):
    """feed(sources, options) runs it for the example with these sources; the finished process."""
    def run(sources, *options, codes=(0,), env=None):
        w = make_weir(loans.pipeline(sources=sources, more="rid_key: file:rid.key\n"), name=f"w{os.urandom(4).hex()}")
        run.weir = w
        return w.command("demo", "--feed", "--pipeline", w.file, *options, codes=codes, env=env)
    return run


def test_into_a_topic_a_queue_and_a_file(feed, kafka, rabbit):
    topic = kafka.create_topic("feed", partitions=3)
    queue = rabbit.create_queue("feed")
    done = feed({"application": f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic} }}',
                 "offer": f"rabbitmq: {{ url: env:FEED_URL, queue: {queue}, identity: message-id }}"},
                "--seconds", 2, "-o", "json", env={"FEED_URL": rabbit.url()})
    told = json.loads(done.stdout)
    file, = feed.weir.data.iterdir()
    assert file.name == "workitem.ndjson"
    lines = [json.loads(x) for x in file.read_bytes().decode(errors="replace").splitlines() if x.endswith("}")]
    assert kafka.count(topic) + rabbit.count(queue) + file.read_bytes().count(b"\n") == sum(told.values())
    assert told["workitem"] > 100 and told["broken"] > 0 and all(e["case_id"] for e in lines)
    assert min(end for _, end in kafka.offsets(topic).values()) > 0, "no key: every event is in one partition"
    # Once more: other loans.
    before = {e["case_id"] for e in lines}
    w = feed.weir
    w.command("demo", "--feed", "--pipeline", w.file, "--seconds", 1, env={"FEED_URL": rabbit.url()})
    after = {json.loads(x)["case_id"] for x in file.read_bytes().splitlines()[len(lines) + 1:] if x.endswith(b"}")}
    assert after and not after & before


def test_a_stop_ends_it_in_good_order(feed, make_weir):
    w = make_weir(loans.pipeline())
    process = subprocess.Popen([BIN / "weir", "demo", "--feed", w.file, "--pipeline", w.file], env=w.env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.wait(10) == 64  # no operand
    process = subprocess.Popen([BIN / "weir", "demo", "--feed", "--pipeline", w.file], env=w.env, text=True,
                               stdout=subprocess.PIPE)
    application = w.data / "application.ndjson"
    wait_for("events", lambda: application.exists() and application.stat().st_size > 10000, 20)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    written = sum((w.data / f"{s}.ndjson").read_bytes().count(b"\n") for s in loans.STREAMS)
    assert written == sum(int(word.strip(",")) for word in out.split() if word.strip(",").isdigit())
    assert application.read_bytes().endswith(b"\n")


def test_what_cannot_be_fed_is_said(feed, kafka, rabbit):
    closed, = free_ports(1)
    topic = lambda brokers, name: f'kafka: {{ brokers: "{brokers}", topic: {name} }}'
    queue = lambda url, name: f"rabbitmq: {{ url: env:FEED_URL, queue: {name}, identity: message-id }}"
    url = rabbit.url()
    wrong = url.replace(rabbit.password, "n0t-the-passw0rd")
    cases = (
        ({"application": topic(kafka.bootstrap, "nobody.made.it")}, url, 69, "nobody.made.it"),
        ({"application": topic(f"127.0.0.1:{closed}", "x")}, url, 69, "refused"),
        ({"offer": queue(url, "nobody.made.it")}, url, 69, "nobody.made.it"),
        ({"offer": queue(url, "x")}, wrong, 77, "login"),
        ({"offer": queue(url, "x")}, url.replace("amqp://", "amqps://"), 78, "amqp://"),
        ({"offer": queue(url, "x")}, "no url", 78, "USER:PASSWORD"),
    )
    for sources, secret, code, words in cases:
        done = feed(sources, "--seconds", 1, codes=(code,), env={"FEED_URL": secret})
        assert words in done.stderr and "next:" in done.stderr, done.stderr
        assert rabbit.password not in done.stderr + done.stdout and "n0t-the" not in done.stderr
    assert "86400" in feed({}, "--seconds", 0, codes=(64,)).stderr
    w = feed.weir
    w.file.write_text("pipeline: other\nsauces: {}\n")
    assert w.command("demo", "--feed", "--pipeline", w.file, codes=(78,))


def test_a_broker_that_goes_is_no_success(world, make_weir):
    from kafka_server import KafkaServer
    kafka = KafkaServer(world / "feed-kafka").start()
    try:
        topic = kafka.create_topic("feed", partitions=1)
        w = make_weir(loans.pipeline(sources={
            "application": f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic}, properties: {{ message.timeout.ms: "3000" }} }}'}))
        process = subprocess.Popen([BIN / "weir", "demo", "--feed", "--pipeline", w.file], env=w.env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for("events", lambda: kafka.count(topic) > 100, 30)
        kafka.kill()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 69 and topic in err and not out
    finally:
        kafka.stop()
