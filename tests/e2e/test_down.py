"""Dependencies that are not there: at the start, and later."""

import loans
from ports import free_ports, wait_for
from weir import SLOW


def test_run_waits_for_the_warehouse_then_says_so(make_weir, twin_files):
    port = free_ports(1)[0]
    w = make_weir(loans.pipeline(), dsn=f"postgresql://owner@127.0.0.1:{port}/none")
    logins = w.directory / "logins"
    logins.mkdir(mode=0o700)
    for name in ("load", "state", "task"):
        file = logins / f"{name}.login"
        file.write_text(f"postgresql://weir@127.0.0.1:{port}/none\n")
        file.chmod(0o600)
    done = w.command("run", "--until", "now", "--wait", "2", w.file, codes=(69,), timeout=60)
    assert f"{port}" in done.stderr and "refused" in done.stderr
    assert len(done.stderr.splitlines()) < 60, "repeated lines are limited"


def test_up_says_not_ready_until_the_broker_is_there(make_weir, kafka, connection, twin):
    """The broker is down at the start: 503 with the reason; it comes: nothing is lost. It goes again: the same."""
    topic = kafka.create_topic("down", partitions=2)
    w = make_weir(loans.pipeline(sources={
        "application": f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic} }}',
        "offer": loans.FOLLOW["offer"], "workitem": loans.FOLLOW["workitem"]}))
    w.apply()
    for stream in ("offer", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", twin[stream])
    kafka.produce(topic, twin["application"][:1000])
    kafka.stop()
    process = w.up(ready=False)
    try:
        code, body = wait_for("the status worker", lambda: (lambda r: r if r[0] else None)(
            w.get(process, "/readyz")), 30 * SLOW)
        wait_for("503 with the reason", lambda: w.get(process, "/readyz")[0] == 503 and
                 "application" in w.get(process, "/readyz")[1], 30 * SLOW)
        assert w.get(process, "/livez")[0] == 200
    finally:
        kafka.start()
    w.wait_ready(process, 60)
    kafka.kill()
    wait_for("503 again", lambda: w.get(process, "/readyz")[0] == 503, 60 * SLOW)
    kafka.start()
    kafka.produce(topic, twin["application"][1000:])
    total = sum(map(len, twin.values()))
    count = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
    wait_for("every event", lambda: connection.execute(count).fetchone()[0] == total, 90 * SLOW)
    w.stop(process)
    loans.check_fact_loan(connection, twin)


def test_run_with_the_broker_down(make_weir, connection):
    port = free_ports(1)[0]
    w = make_weir(loans.pipeline(sources={
        "application": f'kafka: {{ brokers: "127.0.0.1:{port}", topic: none }}'}))
    for stream in ("offer", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", [])
    w.apply()
    done = w.command("run", "--until", "now", "--wait", "3", w.file, codes=(69,), timeout=60)
    assert "application" in done.stderr and str(port) in done.stderr


def test_rabbit_restarts(make_weir, rabbit, connection, twin):
    queue = rabbit.create_queue("restarts")
    w = make_weir(loans.pipeline(more="rid_key: file:rid.key\n", sources={
        "offer": f'rabbitmq: {{ url: "{rabbit.url()}", queue: {queue}, identity: message-id }}',
        "application": loans.FOLLOW["application"], "workitem": loans.FOLLOW["workitem"]}))
    w.apply()
    process = w.up()
    half = len(twin["offer"]) // 2
    for n, part in enumerate((twin["offer"][:half], twin["offer"][half:])):
        rabbit.publish(queue, part, message_id=lambda i, _: f"{n}-{i}")
        if n == 0:
            rabbit.restart()
    for stream in ("application", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", twin[stream])
    total = sum(map(len, twin.values()))
    count = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
    wait_for("every event", lambda: connection.execute(count).fetchone()[0] == total, 90 * SLOW)
    wait_for("every acknowledgement", lambda: rabbit.count(queue) == 0, 30 * SLOW)
    w.stop(process)
    loans.check_fact_loan(connection, twin)
