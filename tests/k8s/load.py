"""Load on the loans' sources, and how long events wait for their commit."""

import threading
import time

import loans
import psycopg

PIECES_PER_SECOND = 10
SAMPLES_PER_SECOND = 4
COMMITTED = "select case_id, events from analytical_schema.fact_loan"


class Sources:
    """The streams, side by side in time order: applications and work items into topics, offers into a queue."""

    def __init__(self, streams, kafka, rabbit, prefix="loans"):
        self.streams, self.kafka, self.rabbit, self.prefix = streams, kafka, rabbit, prefix
        for stream in ("application", "workitem"):
            kafka.create_topic(f"{prefix}.{stream}", partitions=4)
        self.queue = rabbit.create_queue(f"{prefix}.offer")
        self.sent = dict.fromkeys(loans.STREAMS, 0)
        self.total = sum(map(len, streams.values()))
        self.times = {}  # case: when each of its events was sent
        self.lock = threading.Lock()

    def post(self, share):
        """So much of all that there is, as far as it goes."""
        for stream, events in self.streams.items():
            first = self.sent[stream]
            end = min(len(events), first + max(1, round(len(events) * share)))
            if end > first:
                self._post(stream, events[first:end], first)
            self.sent[stream] = end

    def _post(self, stream, events, first):
        now = time.monotonic()
        with self.lock:
            for e in events:
                self.times.setdefault(e["case_id"], []).append(now)
        if stream == "offer":
            self.rabbit.publish(self.queue, events, message_id=lambda i, _: f"o{first + i}")
        else:
            self.kafka.produce(f"{self.prefix}.{stream}", events)

    def sent_streams(self):
        return {s: v[:self.sent[s]] for s, v in self.streams.items()}

    def count(self):
        return sum(self.sent.values())

    def oldest(self, committed):
        """Seconds since the oldest event was sent that is not among the committed ones. committed: {case: events}."""
        with self.lock:
            waiting = [times[committed.get(case, 0)] for case, times in self.times.items()
                       if committed.get(case, 0) < len(times)]
        return time.monotonic() - min(waiting) if waiting else 0.0


class Load(threading.Thread):
    """
    Posts a share of all events within so many seconds, and watches how long events wait, until stop(). worst: the longest
    that any event has waited, of those posted by us or found waiting.
    """

    def __init__(self, sources, dsn, share, seconds):
        super().__init__(daemon=True)
        self.sources, self.dsn = sources, dsn
        self.pieces = max(1, round(seconds * PIECES_PER_SECOND))
        self.share = share / self.pieces
        self.posted, self.ending = threading.Event(), threading.Event()
        self.worst, self.error = 0.0, None
        self.watcher = threading.Thread(target=self._guarded, args=(self._watch,), daemon=True)

    def __enter__(self):
        self.start()
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join(120)
        self.watcher.join(30)

    def run(self):
        self._guarded(self._post)

    def _guarded(self, work):
        try:
            work()
        except BaseException as error:  # told by whoever waits for us
            self.error = error

    def _post(self):
        for _ in range(self.pieces):
            self.sources.post(self.share)
            if self.ending.wait(1 / PIECES_PER_SECOND):
                return
        self.posted.set()

    def _watch(self):
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.ending.wait(1 / SAMPLES_PER_SECOND):
                try:
                    self.worst = max(self.worst, self.sources.oldest(dict(connection.execute(COMMITTED).fetchall())))
                except psycopg.errors.UndefinedTable:
                    continue

    def check(self):
        assert self.error is None, self.error
