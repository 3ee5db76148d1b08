"""Several supervisors with lanes: the chores of a pipeline are done once, by one of them, and never by nobody."""

import pytest

import loans
from ports import wait_for
from weir import SLOW

LEADERS = ("select a.pid from pg_locks l join pg_stat_activity a using (pid) where l.locktype = 'advisory' and l.granted"
           " and l.classid = 'admin_schema.aggregate'::regclass and a.datname = current_database()"
           " and a.application_name = 'weir task'")
TASKS = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'weir task'"


@pytest.fixture
def pair(make_weir, kafka, connection):
    topics = {s: kafka.create_topic(f"task-{s}", partitions=1) for s in loans.STREAMS}
    sources = {s: f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {t} }}' for s, t in topics.items()}
    w = make_weir(loans.pipeline("chores", sources, lanes=1,
                                 more=f'groups: 4\nexchange: {{ brokers: "{kafka.bootstrap}", topic: weir.task }}\n'))
    w.apply()
    replicas = [w.up("--only", "lanes", "--instance", n, log=w.directory / f"{n}.log") for n in ("one", "two")]
    wait_for("two tasks", lambda: connection.execute(TASKS).fetchone()[0] == 2, 30 * SLOW)
    return w, replicas


def test_one_of_two_does_the_chores(pair, connection):
    w, (one, two) = pair

    def leaders():
        found = [pid for pid, in connection.execute(LEADERS).fetchall()]
        assert len(found) <= 1
        return found
    first = wait_for("a leader", leaders, 30 * SLOW)
    assert connection.execute(TASKS).fetchone()[0] == 2
    for process in (one, two):
        w.kill(process, "task")
    wait_for("a leader after its death", lambda: leaders() and leaders() != first, 30 * SLOW)
    w.stop(one)
    wait_for("the task that is left, as leader", lambda: connection.execute(TASKS).fetchone()[0] == 1 and leaders(), 30 * SLOW)
    w.stop(two)
