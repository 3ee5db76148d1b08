"""The RabbitMQ driver against a real broker: what is read, what is acked, and what comes back when it fails."""

import itertools
import json

import pytest

from ports import wait_for
from probe import Probe
from rabbit_server import RabbitServer

NONE = -1
_names = (f"driver{i}" for i in itertools.count())


@pytest.fixture(params=["quorum", "classic"])
def queue(rabbit, request):
    name = rabbit.create_queue(next(_names), request.param)
    yield name
    rabbit.delete_queue(name)


def events(n, first=0):
    return [{"i": i} for i in range(first, first + n)]


def publish(rabbit, queue, n, first=0, **more):
    return rabbit.publish(queue, events(n, first), lambda i, _: f"m{first + i}", **more)


def probe_of(rabbit, queue, *options, **more):
    return Probe("rabbitmq", rabbit.url(), queue, *options, **more)


def numbers(probe):
    return [json.loads(body)["i"] for body in probe.bodies()]


def commit_all(probe):
    probe.tell("committed", 0, probe.events[0][-1]["offset"] + 1)


def test_everything_in_order_with_identity_and_acks(rabbit, queue):
    publish(rabbit, queue, 3000, timestamp=1700000000)
    with probe_of(rabbit, queue, autostart=NONE) as p:
        p.wait("all", lambda p: p.count() == 3000)
        assert numbers(p) == list(range(3000)) and p.found == {0: queue} and p.listed
        first = p.events[0][0]
        assert first["identity"] == "m0" and first["time"] == 1700000000000000
        assert first["offset"] == 1 and not first["redelivered"]
        p.wait("caught up", lambda p: p.frontier[0]["caught_up"])
        assert p.frontier[0]["next"] == 3001 and not p.frontier[0]["finished"]
        p.tell("committed", 0, 2001)
        rabbit.publish(queue, [{"i": 3000}])
        p.wait("the new one", lambda p: p.count() == 3001)
        assert p.events[0][-1]["identity"] is None
    # What was not acked is there again, and only that.
    wait_for("what came back", lambda: rabbit.count(queue) == 1001, 10)
    with probe_of(rabbit, queue, autostart=NONE) as p:
        p.wait("the rest", lambda p: p.count() == 1001)
        assert sorted(numbers(p)) == list(range(2000, 3001)) and p.events[0][0]["redelivered"]
        commit_all(p)
    assert rabbit.count(queue) == 0


def test_bounded_ends_at_the_count_of_the_start(rabbit, queue):
    publish(rabbit, queue, 500)
    with probe_of(rabbit, queue, "bounded", autostart=NONE) as p:
        p.wait("the end", Probe.finished)
        assert numbers(p) == list(range(500))
        commit_all(p)
    assert rabbit.count(queue) == 0
    with probe_of(rabbit, queue, "bounded", autostart=NONE) as p:
        p.wait("the end of nothing", Probe.finished)
        assert p.count() == 0


def test_bounded_does_not_run_after_what_comes_later(rabbit, queue):
    publish(rabbit, queue, 500)
    with probe_of(rabbit, queue, "bounded", "prefetch=100") as p:
        p.wait("found", lambda p: p.found)
        p.tell("start", 0, NONE)
        p.wait("the first", lambda p: p.count() == 100)
        publish(rabbit, queue, 100, 1000)
        while not p.finished():
            commit_all(p)
        assert numbers(p) == list(range(500))
        commit_all(p)
    wait_for("the later ones", lambda: rabbit.count(queue) == 100, 10)


def test_bounded_ends_when_others_took_the_rest(rabbit, queue):
    publish(rabbit, queue, 50)
    with probe_of(rabbit, queue, "bounded", "prefetch=10") as p:
        p.wait("found", lambda p: p.found)
        p.tell("start", 0, NONE)
        p.wait("the first", lambda p: p.count() == 10)
        assert len(rabbit.take(queue, 40, ack=True)) == 40
        commit_all(p)
        p.wait("the end", Probe.finished)


def test_paused_it_takes_nothing_and_loses_nothing(rabbit, queue):
    publish(rabbit, queue, 2000)
    with probe_of(rabbit, queue) as p:
        p.wait("found", lambda p: p.found)
        p.tell("pause 0")
        p.tell("start", 0, NONE)
        publish(rabbit, queue, 100, 2000)
        assert rabbit.count(queue) == 2100 and p.count() == 0
        for _ in range(5):
            p.tell("resume 0")
            p.tell("pause 0")
        p.tell("resume 0")
        p.wait("all", lambda p: p.count() == 2100)
        p.tell("pause 0")
        more = itertools.count(2100)

        def left_alone():
            publish(rabbit, queue, 1, next(more))
            return rabbit.count(queue) > 0
        wait_for("the consumer's end", left_alone, 10)
        total = next(more)
        assert p.count() == 2100
        p.tell("resume 0")
        p.wait("the last", lambda p: p.count() == total)
        assert numbers(p) == list(range(total))
        assert [e["offset"] for e in p.events[0]] == list(range(1, total + 1))
        commit_all(p)
    wait_for("nothing left", lambda: rabbit.count(queue) == 0, 10)


def test_prefetch_bounds_what_is_unacked(rabbit, queue):
    publish(rabbit, queue, 1000)
    with probe_of(rabbit, queue, "prefetch=50", autostart=NONE) as p:
        p.wait("the first", lambda p: p.count() == 50)
        publish(rabbit, queue, 1, 1000)
        assert p.count() == 50 and not p.frontier[0]["caught_up"]
        while p.count() < 1001:
            commit_all(p)
        assert numbers(p) == list(range(1001))


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_broker_that_dies_and_returns(world, kind):
    server = RabbitServer(world / f"rabbit-dies-{kind}", advanced={"quorum_tick_interval": 300})
    server.start()
    try:
        server.create_queue("q", kind)
        publish(server, "q", 1000)
        with probe_of(server, "q", autostart=NONE) as p:
            p.wait("all", lambda p: p.count() == 1000)
            p.tell("committed", 0, 601)
            wait_for("acks", lambda: unacked(server, "q") == 400, 10)
            for end in (server.kill, server.stop):
                p.events.clear()
                end()
                p.wait("trouble", lambda p: p.trouble and f"127.0.0.1:{server.port}" in p.trouble)
                # A commit of what is lost with the channel must ack nothing of the next one.
                p.tell("committed", 0, 1001)
                server.start()
                p.wait("what was not acked", lambda p: p.count() == 400)
                assert sorted(numbers(p)) == list(range(600, 1000))
                assert p.trouble is None and p.events[0][0]["redelivered"]
                assert p.events[0][0]["offset"] > 1000
                wait_for("nothing acked", lambda: unacked(server, "q") == 400, 10)
            publish(server, "q", 10, 1000)
            p.wait("new ones", lambda p: p.count() == 410)
            commit_all(p)
            wait_for("all acked", lambda: unacked(server, "q") == 0, 10)
            assert p.sum()["slowest_us"] < 100000
    finally:
        server.stop()


def unacked(server, queue):
    lines = server.ctl("-q", "list_queues", "name", "messages_unacknowledged").splitlines()
    return int(dict(line.split() for line in lines if line.split()[0] == queue)[queue])


def test_bounded_across_a_restart(world):
    server = RabbitServer(world / "rabbit-bounded").start()
    try:
        server.create_queue("q")
        publish(server, "q", 1000)
        with probe_of(server, "q", "bounded", "prefetch=100", autostart=NONE) as p:
            p.wait("some", lambda p: p.count() == 100)
            commit_all(p)
            p.wait("more", lambda p: p.count() == 200)
            server.kill()
            p.wait("trouble", lambda p: p.trouble)
            server.start()

            def done(p):
                if p.count():
                    commit_all(p)
                return p.finished()
            p.wait("the end", done)
            assert sorted(set(numbers(p))) == list(range(1000))
            commit_all(p)
        wait_for("nothing left", lambda: server.count("q") == 0, 10)
    finally:
        server.stop()


def test_a_queue_that_is_not_there_yet_and_goes_away(rabbit):
    with probe_of(rabbit, "later", autostart=NONE) as p:
        p.wait("trouble", lambda p: p.trouble and "no queue 'later'" in p.trouble)
        rabbit.create_queue("later")
        publish(rabbit, "later", 10)
        p.wait("all", lambda p: p.count() == 10)
        p.wait("well", lambda p: p.trouble is None)
        rabbit.delete_queue("later")
        p.wait("trouble", lambda p: p.trouble and "no queue 'later'" in p.trouble)


def test_a_queue_made_anew_between_two_counts(rabbit, queue, request):
    kind = request.node.callspec.params["queue"]
    publish(rabbit, queue, 10)
    with probe_of(rabbit, queue, autostart=NONE) as p:
        p.wait("all", lambda p: p.count() == 10)
        commit_all(p)
        for life in (1, 2):
            p.troubles.clear()
            rabbit.delete_queue(queue)
            p.wait("word of it", lambda p: any(t and "ended our consumer" in t for t in p.troubles), 4)
            rabbit.create_queue(queue, kind)
            publish(rabbit, queue, 10, 10 * life)
            p.wait("the new queue's", lambda p, n=10 * (life + 1): p.count() == n)
            commit_all(p)
        assert numbers(p) == list(range(30))
    wait_for("nothing left", lambda: rabbit.count(queue) == 0, 10)


def skip(probe, seconds):
    """On the driver's clock; returns when it has been called with that."""
    probe.tell("skip", seconds)
    probe.sum()
    probe.sum()


def test_unacked_for_five_minutes_returns_to_the_queue(rabbit, queue):
    publish(rabbit, queue, 100)
    with probe_of(rabbit, queue, autostart=NONE) as p:
        p.wait("all", lambda p: p.count() == 100)
        skip(p, 299)
        p.tell("committed", 0, 11)  # progress: the five minutes begin anew
        skip(p, 0)
        skip(p, 299)
        assert rabbit.count(queue) == 0
        skip(p, 2)
        p.wait("trouble", lambda p: p.trouble and "nothing was committed for 300 s" in p.trouble)
        wait_for("what went back", lambda: rabbit.count(queue) == 90, 10)
        p.tell("committed", 0, 51)
        p.wait("the same again", lambda p: p.count() == 190)
        assert sorted(numbers(p)[100:]) == list(range(10, 100))
        commit_all(p)
    wait_for("nothing left", lambda: rabbit.count(queue) == 0, 10)


def test_the_brokers_own_time_limit_for_acks(world):
    server = RabbitServer(world / "rabbit-limit", {"consumer_timeout": 2000},
                          advanced={"channel_tick_interval": 500})
    server.start()
    try:
        server.create_queue("q", "classic")
        publish(server, "q", 10)
        with probe_of(server, "q", autostart=NONE) as p:
            p.wait("redelivery", lambda p: p.count() >= 20, 120)
            assert any(t and "PRECONDITION_FAILED" in t for t in p.troubles)
            commit_all(p)
    finally:
        server.stop()


def test_large_and_empty_messages(rabbit, queue):
    bodies = [b"", b"x" * 300000, b"y" * (5 << 20), b"z"]
    rabbit.publish(queue, bodies)
    with probe_of(rabbit, queue, "bounded", autostart=NONE) as p:
        p.wait("the end", Probe.finished)
        assert [e["reason"] for e in p.events[0]] == [None, None, "larger than event_bytes_max", None]
        assert [e["data"][:1] for e in p.events[0]] == ["", "x", "y", "z"]
        assert p.sum()["bytes"] == 300000 + (4 << 20) + 1


def test_vhosts_logins_and_urls(rabbit, world):
    with Probe("rabbitmq", rabbit.url().replace(rabbit.password, "wrong"), "q") as p:
        p.wait("trouble", lambda p: p.trouble and "ACCESS_REFUSED" in p.trouble)
        assert "wrong" not in p.trouble
    with Probe("rabbitmq", rabbit.url("nowhere"), "q") as p:
        p.wait("trouble", lambda p: p.trouble and "nowhere" in p.trouble)
    for url, word in (("http://x", "amqp[s]://"), (rabbit.url() + "?x=1", '"x"'),
                      (rabbit.url().replace("amqp:", "amqps:") + "?cacertfile=/no/file", "/no/file")):
        with Probe("rabbitmq", url, "q") as p:
            p.process.wait(10)
            p.reader.join()
            assert p.refused["refused"] == 78 and word in p.refused["why"]
            assert rabbit.password not in p.refused["why"]
