"""Every way in and out that has locks on it: Kafka, RabbitMQ and PostgreSQL over TLS, logins, compression,
transactions, and where secrets are while Weir runs."""

import json
import os
import pathlib
import re

import psycopg
import pytest

import loans
from certificates import Certificates
from kafka_server import KafkaServer
from ports import wait_for
from postgres_server import PostgresServer
from rabbit_server import RabbitServer
from weir import ASAN, SLOW

VHOST = "loans/eu"
RID_KEY = "rid_key: file:rid.key\n"
COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"


@pytest.fixture(scope="module")
def small():
    return loans.twin(processes=60)


@pytest.fixture(scope="module")
def authority(world):
    return Certificates(world / "authority")


@pytest.fixture(scope="module")
def stranger(world):
    """An authority that signed nothing here."""
    return Certificates(world / "stranger")


@pytest.fixture(scope="module")
def locked_kafka(world, authority):
    server = KafkaServer(world / "locked-kafka", certificates=authority).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def locked_rabbit(world, authority):
    server = RabbitServer(world / "locked-rabbit", vhosts=[VHOST], certificates=authority).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def locked_postgres(world, authority):
    server = PostgresServer(world / "locked-postgres", certificates=authority).start()
    yield server
    server.stop()


# ---- pipelines ----
def secret(directory, name, text):
    """A file that root alone may read, with the line break that an editor leaves; its reference."""
    path = directory / name
    path.touch(0o600)
    path.write_text(text + "\n")
    return f"file:{path}"


def kafka_source(kafka, topic, port=None, **properties):
    pairs = ", ".join(f'{k.replace("_", ".")}: "{v}"' for k, v in properties.items())
    return f'kafka: {{ brokers: "localhost:{port or kafka.port}", topic: {topic}, properties: {{ {pairs} }} }}'


def sasl(authority, password, user="weir"):
    return {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": user,
            "sasl_password": password, "ssl_ca_location": authority.ca}


def rabbit_source(url, queue, identity="message-id"):
    return f'rabbitmq: {{ url: "{url}", queue: {queue}, identity: {identity} }}'


def write(w, streams, *names):
    for name in names:
        loans.write(w.data / f"{name}.ndjson", streams[name])


def refused(w, password, words, code=69, wait=2):
    """`run --wait` gives up and says why, in one place, without the password; the text."""
    done = w.command("run", "--until", "now", "--wait", str(wait * SLOW), w.file, codes=(code,), timeout=60 + wait)
    assert re.search(words, done.stderr), done.stderr
    assert password not in done.stderr + done.stdout, "the password is repeated"
    assert len(done.stderr.splitlines()) < 40, done.stderr
    return done.stderr


# ---- Kafka ----
def fill(kafka, small, prefix, **more):
    topics = {}
    for stream, events in small.items():
        topics[stream] = kafka.create_topic(f"{prefix}.{stream}", partitions=2)
        kafka.produce(topics[stream], events, producer=kafka.producer(**more) if more else None)
    return topics


def test_kafka_with_tls_and_with_a_login(locked_kafka, authority, directory, make_weir, connection, small):
    """One stream in clear, one by SSL, one by SASL_SSL with a password from a file: one pipeline."""
    topics = fill(locked_kafka, small, "locks")
    password = secret(directory, "password", locked_kafka.password)
    w = make_weir(loans.pipeline(sources={
        "application": kafka_source(locked_kafka, topics["application"], client_id="plain"),
        "offer": kafka_source(locked_kafka, topics["offer"], locked_kafka.ssl_port, security_protocol="ssl",
                              ssl_ca_location=authority.ca),
        "workitem": kafka_source(locked_kafka, topics["workitem"], locked_kafka.sasl_port,
                                 **sasl(authority, password))}))
    w.apply()
    result = w.run()
    assert result["events"] == {s: len(v) for s, v in small.items()} and result["dead_letters"] == 0
    loans.check_fact_loan(connection, small)


def test_kafka_refuses(locked_kafka, authority, stranger, directory, make_weir, small):
    """A wrong password, an unknown authority, a name that the certificate lacks, TLS spoken to a plain port."""
    topic = locked_kafka.create_topic("refusals", partitions=1)
    good = secret(directory, "good", locked_kafka.password)
    bad = secret(directory, "bad", "wr0ng-passw0rd")
    cases = (
        (locked_kafka.sasl_port, sasl(authority, bad), "wr0ng-passw0rd", r"[Aa]uthentication failed"),
        (locked_kafka.sasl_port, sasl(stranger, good), locked_kafka.password, r"certificate.*verif"),
        (locked_kafka.port, sasl(authority, good), locked_kafka.password, r"SSL|TLS"),
    )
    w = make_weir(loans.pipeline())
    w.apply()
    for port, properties, password, words in cases:
        w.file.write_text(loans.pipeline(sources={
            "application": kafka_source(locked_kafka, topic, port, **properties)}))
        text = refused(w, password, words, wait=4)  # a broker that has just started is slow to say so
        assert "application" in text and f"localhost:{port}" in text, text


def test_kafka_settings_that_cannot_work(locked_kafka, authority, directory, make_weir):
    """A file that is not there, or that the worker may not read: said at once, not retried."""
    topic = locked_kafka.create_topic("settings", partitions=1)
    hidden = directory / "hidden.pem"
    hidden.write_bytes(authority.ca.read_bytes())
    hidden.chmod(0o600)
    w = make_weir(loans.pipeline())
    w.apply()
    for file, words in ((directory / "nowhere.pem", "No such file"), (hidden, "Permission denied")):
        if file is hidden and os.geteuid() != 0:
            continue
        w.file.write_text(loans.pipeline(sources={
            "application": kafka_source(locked_kafka, topic, locked_kafka.ssl_port, security_protocol="ssl",
                                        ssl_ca_location=file)}))
        done = w.command("run", "--until", "now", "--wait", "3", w.file, codes=(77, 78), timeout=60)
        assert str(file) in done.stderr and words in done.stderr, done.stderr


def test_kafka_compressed_in_every_way(locked_kafka, make_weir, connection, small):
    """Each partition holds batches of all five codecs, one after another."""
    topic, events = locked_kafka.create_topic("codecs", partitions=2), small["workitem"]
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    for n, codec in enumerate(codecs):
        producer = locked_kafka.producer(**{"compression.codec": codec, "enable.idempotence": False})
        part = events[len(events) * n // len(codecs):len(events) * (n + 1) // len(codecs)]
        assert locked_kafka.produce(topic, part, producer=producer) > 0
    w = make_weir(loans.pipeline(sources={"workitem": kafka_source(locked_kafka, topic, client_id="c")}))
    write(w, small, "application", "offer")
    w.apply()
    assert w.run()["dead_letters"] == 0
    loans.check_fact_loan(connection, small)


def test_kafka_transactions(locked_kafka, make_weir, connection, small):
    """What was aborted is not read, in the middle or at the end; its holes stop neither a run, nor the next, nor up."""
    topic = locked_kafka.create_topic("transactions", partitions=2)
    events = small["application"]
    half = len(events) // 2
    aborted = [{**e, "case_id": f"aborted{i}"} for i, e in enumerate(events[:20])]
    for part, commit in ((events[:half], True), (aborted, False), (events[half:], True), (aborted, False)):
        locked_kafka.transaction(topic, part, commit=commit)
    assert locked_kafka.count(topic) > len(events) + 2 * len(aborted)
    w = make_weir(loans.pipeline(sources={
        "application": kafka_source(locked_kafka, topic, client_id="t"),
        "offer": loans.FOLLOW["offer"], "workitem": loans.FOLLOW["workitem"]}))
    write(w, small, "offer", "workitem")
    w.apply()
    assert w.run()["events"]["application"] == len(events)
    loans.check_fact_loan(connection, small)
    assert w.run()["events"]["application"] == 0

    process = w.up()
    group = "weir-loans"
    ends = {p: end for p, (_, end) in locked_kafka.offsets(topic).items()}
    locked_kafka.transaction(topic, aborted, commit=False)
    late = [{**events[0], "case_id": f"late{i}", "seq": i} for i in range(6)]
    locked_kafka.transaction(topic, late)
    total = sum(map(len, small.values())) + len(late)
    wait_for("the late ones", lambda: connection.execute(COUNT).fetchone()[0] == total, 30 * SLOW)
    wait_for("offsets of the group", lambda: any(
        locked_kafka.committed(group, topic)[p] > end for p, end in ends.items()), 30 * SLOW)
    w.stop(process)
    named = connection.execute(
        "select count(*) from analytical_schema.fact_loan where case_id like 'aborted%'").fetchone()
    assert named == (0,)


# ---- RabbitMQ ----
def test_rabbit_with_tls_in_a_vhost(locked_rabbit, authority, directory, make_weir, connection, small):
    """amqps with the authority's file, a vhost, both kinds of queue, both kinds of identity, the URL from a file."""
    offers = locked_rabbit.create_queue("offers", "quorum", VHOST)
    work = locked_rabbit.create_queue("work", "classic", VHOST)
    url = secret(directory, "url", locked_rabbit.tls_url(VHOST, cacertfile=authority.ca))
    # Every message twice, the second time as a new message: what names it is the same.
    named = [{**e, "message": {"id": f"w{i}"}} for i, e in enumerate(small["workitem"])]
    for _ in range(2):
        locked_rabbit.publish(offers, small["offer"], lambda i, _: f"o{i}", VHOST)
        locked_rabbit.publish(work, named, vhost=VHOST)
    w = make_weir(loans.pipeline(more=RID_KEY, sources={
        "offer": rabbit_source(url, offers), "workitem": rabbit_source(url, work, "message.id")}))
    write(w, small, "application")
    w.apply()
    result = w.run()
    assert result["dead_letters"] == 0, result
    assert result["rows"]["fact_work"] == len(small["workitem"])
    assert result["duplicates"] == len(small["offer"]) + len(small["workitem"])
    loans.check_fact_loan(connection, small)
    assert locked_rabbit.count(offers, VHOST) == locked_rabbit.count(work, VHOST) == 0


def test_rabbit_messages_without_an_identity(locked_rabbit, make_weir, connection, small):
    """No message-id, or nothing at the path: a dead letter, one for equal bytes however often they come."""
    by_id = locked_rabbit.create_queue("nameless", "quorum", VHOST)
    by_path = locked_rabbit.create_queue("pathless", "classic", VHOST)
    url = locked_rabbit.url(VHOST)
    named = [{**e, "id": f"w{i}"} for i, e in enumerate(small["workitem"])]
    for _ in range(3):
        locked_rabbit.publish(by_id, small["offer"][:2], vhost=VHOST)
        locked_rabbit.publish(by_path, small["workitem"][:3], vhost=VHOST)
    locked_rabbit.publish(by_id, small["offer"], lambda i, _: f"o{i}", VHOST)
    locked_rabbit.publish(by_path, named, vhost=VHOST)
    w = make_weir(loans.pipeline(more=RID_KEY, sources={
        "offer": rabbit_source(url, by_id), "workitem": rabbit_source(url, by_path, "id")}))
    write(w, small, "application")
    w.apply()
    result = w.run(codes=(1,))
    assert result["events"] == {s: len(v) for s, v in small.items()}
    loans.check_fact_loan(connection, small)
    dead = connection.execute("select reason, count(*) from admin_schema.dead_letter group by 1 order by 2").fetchall()
    assert [n for _, n in dead] == [2, 3] and "no message-id" in dead[0][0] and "identity at id" in dead[1][0], dead
    assert "no message-id" in w.command("dead", "list", w.file).stdout
    assert locked_rabbit.count(by_id, VHOST) == locked_rabbit.count(by_path, VHOST) == 0


def test_rabbit_refuses(locked_rabbit, authority, stranger, directory, make_weir):
    password = locked_rabbit.password
    good = locked_rabbit.tls_url(VHOST, cacertfile=authority.ca)
    queue = locked_rabbit.create_queue("refusals", "classic", VHOST)
    cases = (
        (good, "no.such.queue", password, r"no queue 'no\.such\.queue'"),
        (locked_rabbit.tls_url("nowhere", cacertfile=authority.ca), queue, password, r"nowhere"),
        (locked_rabbit.tls_url(VHOST, cacertfile=stranger.ca), queue, password, r"cert verification failed"),
        (good.replace("localhost", "127.0.0.2"), queue, password, r"127\.0\.0\.2"),
    )
    w = make_weir(loans.pipeline(more=RID_KEY))
    write(w, {"application": [], "workitem": []}, "application", "workitem")
    w.apply()
    for url, name, secret_text, words in cases:
        w.file.write_text(loans.pipeline(more=RID_KEY, sources={
            "offer": rabbit_source(secret(directory, "url", url), name)}))
        text = refused(w, secret_text, words)
        assert "offer" in text and name in text, text


def test_rabbit_refuses_a_login_and_later_takes_it(locked_rabbit, directory, make_weir, connection, small):
    """up: not ready, with the reason and without the password; once the file is right, the next ingest reads it."""
    queue = locked_rabbit.create_queue("login", "classic", VHOST)
    locked_rabbit.publish(queue, small["offer"], lambda i, _: f"o{i}", VHOST)
    url, wrong = locked_rabbit.url(VHOST), "wr0ng-passw0rd"
    w = make_weir(loans.pipeline(more=RID_KEY, sources={
        **loans.FOLLOW,
        "offer": rabbit_source(secret(directory, "url", url.replace(locked_rabbit.password, wrong)), queue)}))
    write(w, small, "application", "workitem")
    w.apply()
    process = w.up(ready=False)
    body = wait_for("the reason", lambda: re.search(r".*ACCESS_REFUSED.*", w.get(process, "/readyz")[1], re.S),
                    30 * SLOW)[0]
    assert w.get(process, "/readyz")[0] == 503 and "offer" in body and queue in body
    assert wrong not in body + w.get(process, "/status")[1] + w.log_tail()
    secret(directory, "url", url)
    w.kill(process, "ingest")
    total = sum(map(len, small.values()))
    wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] == total, 30 * SLOW)
    w.stop(process)
    loans.check_fact_loan(connection, small)


# ---- PostgreSQL ----
def tls_dsn(postgres, database, ca, host="localhost", mode="verify-full"):
    postgres.create_database(database)
    return (f"postgresql://{postgres.OWNER}:{postgres.password}@{host}:{postgres.port}/{database}"
            f"?sslmode={mode}&sslrootcert={ca}")


def test_postgres_over_tcp_with_a_verified_server(locked_postgres, authority, make_weir, small):
    dsn = tls_dsn(locked_postgres, "tls", authority.ca)
    w = make_weir(loans.pipeline(sources=loans.FOLLOW), dsn=dsn)
    w.apply()
    for file in (w.directory / "logins").glob("*.login"):
        text = file.read_text()
        assert "sslmode='verify-full'" in text and f"sslrootcert='{authority.ca}'" in text
        assert locked_postgres.password not in text
    write(w, small, *loans.STREAMS)
    process = w.up()
    total = sum(map(len, small.values()))
    with psycopg.connect(dsn, autocommit=True) as c:
        wait_for("every event", lambda: c.execute(COUNT).fetchone()[0] == total, 30 * SLOW)
        loans.check_fact_loan(c, small)
        others = locked_postgres.sql(
            "select a.usename, s.ssl from pg_stat_activity a join pg_stat_ssl s using (pid)"
            " where a.usename like 'weir_loans_%'").split()
        assert others and all(line.endswith("|t") for line in others), others
    w.stop(process)
    w.command("plan", w.file, codes=(99,))  # nothing to do: the logins are good


def test_postgres_refuses(locked_postgres, authority, stranger, directory, make_weir, small):
    """At apply: an unknown authority, a name that the certificate lacks. Later: a file the workers may not read."""
    for n, (ca, host, words) in enumerate(((stranger.ca, "localhost", r"certificate verify failed"),
                                           (authority.ca, "127.0.0.2", r"does not match|127\.0\.0\.2"))):
        w = make_weir(loans.pipeline(name=f"refused{n}"), name=f"refused{n}",
                      dsn=tls_dsn(locked_postgres, f"refused{n}", ca, host))
        done = w.command("apply", w.file, codes=(69, 77, 78))
        assert re.search(words, done.stderr) and locked_postgres.password not in done.stderr, done.stderr
    if os.geteuid() != 0:
        return
    hidden = directory / "hidden.pem"
    hidden.write_bytes(authority.ca.read_bytes())
    hidden.chmod(0o600)
    w = make_weir(loans.pipeline(), dsn=tls_dsn(locked_postgres, "hidden", hidden))
    w.apply()
    write(w, small, *loans.STREAMS)
    done = w.command("run", "--until", "now", "--wait", "3", w.file, codes=(77,), timeout=60)
    assert f"{hidden}: Permission denied" in done.stderr and "every user" in done.stderr, done.stderr


# ---- where secrets are ----
def memory_has(pid, needles):
    """Those of the needles that stand in what the process can read of its own memory."""
    found = set()
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("r") or "[v" in line:
                continue
            first, end = (int(x, 16) for x in span.split("-"))
            carry = b""
            while first < end:
                try:
                    memory.seek(first)
                    part = memory.read(min(1 << 22, end - first))
                except OSError:  # a page beyond the end of its file, or never touched
                    part = b""
                if not part:
                    break
                found |= {n for n in needles if n in carry + part}
                carry, first = part[-256:], first + len(part)
    return found


def traces(pid, needles):
    files = b"".join(pathlib.Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
    return {n for n in needles if n in files} | memory_has(pid, needles)


# The processes are read whole: other users' ones, and not the terabytes of a sanitizer's shadow.
@pytest.mark.skipif(os.geteuid() != 0 or ASAN, reason="needs root, and a build without sanitizers")
def test_only_ingest_has_the_secrets(locked_kafka, locked_rabbit, authority, directory, make_weir, postgres, connection,
                                     small):
    topic = locked_kafka.create_topic("secrets", partitions=2)
    queue = locked_rabbit.create_queue("secrets", "quorum", VHOST)
    password = secret(directory, "password", locked_kafka.password)
    w = make_weir(loans.pipeline(more=RID_KEY, sources={
        "application": kafka_source(locked_kafka, topic, locked_kafka.sasl_port, **sasl(authority, password)),
        "offer": rabbit_source("env:AMQP_URL", queue), "workitem": loans.FOLLOW["workitem"]}))
    environment = {"AMQP_URL": locked_rabbit.tls_url(VHOST, cacertfile=authority.ca)}
    w.apply()
    process = w.up(env=environment)
    locked_kafka.produce(topic, small["application"])
    locked_rabbit.publish(queue, small["offer"], lambda i, _: f"o{i}", VHOST)
    write(w, small, "workitem")
    total = sum(map(len, small.values()))
    wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] == total, 30 * SLOW)

    logins = {f.stem: re.search(r"password='([^']+)'", f.read_text())[1].encode()
              for f in (w.directory / "logins").glob("*.login")}
    assert sorted(logins) == ["load", "operator", "state", "task"]
    of_file, of_env, owner = (s.password.encode() for s in (locked_kafka, locked_rabbit, postgres))
    key = (w.directory / "rid.key").read_bytes()
    needles = {of_file, of_env, owner, key, *logins.values()}
    allowed = {"ingest": {of_file, of_env, key}, "load": {logins["load"]}, "correlate": {logins["state"]},
               "task": {logins["task"]}}
    seen = {}
    for row in w.status(process)["workers"]:
        got = traces(row["pid"], needles)
        seen.setdefault(row["role"], set()).update(got)
        assert not got - allowed.get(row["role"], set()), f"{row['role']} holds {got}"
    # Else the search would find nothing anywhere.
    assert of_file in seen["ingest"] and of_env in seen["ingest"]
    assert {"ingest", "correlate", "transform", "load", "task", "status"} == set(seen)
    # What was named as a file passes the supervisor by, as a descriptor.
    assert not memory_has(process.pid, {of_file, key, *logins.values()})
    said = pathlib.Path(process.log_from[0]).read_bytes() + json.dumps(w.status(process)).encode()
    assert not [n for n in needles if n in said]
    w.stop(process)
