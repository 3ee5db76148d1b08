#include "ingest.h"

#include "log.h"

/*
 * Finished files that every lane has committed to their end leave the covers and are told as DONE.
 */
void
finish_done(struct ingest *in)
{
	struct parts *p = &in->parts;
	struct buf body = {0};
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->reading_n;) {
		struct ingest_partition *part = p->reading[i];

		if (!part->may_be_done || part_covers_due(p, part) ||
		    part_committed_min(p, part) < part->next) {
			i++;
			continue;
		}
		struct done d = {part->id, part->next, part->done_bytes};
		if (!n++)
			pipe_body_start(&body);
		wire_done_write(&body, &d);
		parts_finish(p, part); /* the last of the list takes place i */
	}
	if (n)
		pipe_send(in->w->pipes, ROLE_CORRELATE, 0, FRAME_DONE, 0, n, &body);
}

static bool
all_read(const struct ingest *in)
{
	const struct parts *p = &in->parts;

	if (in->wanted || in->asked || !reader_listed(in) || (in->sealing && in->sealing->hold.n))
		return false;
	for (uint32_t i = 0; i < p->reading_n; i++)
		if (!p->reading[i]->finished)
			return false;
	return true;
}

static bool
done_outstanding(const struct ingest *in)
{
	for (uint32_t i = 0; i < in->parts.reading_n; i++)
		if (in->parts.reading[i]->may_be_done)
			return true;
	return false;
}

static void
last_send(struct ingest *in, struct mono now)
{
	route_last(&in->route, now);
	in->phase = INGEST_LAST;
	log_info("everything read is on its way, waiting for the last commit");
}

/*
 * Bounded run: everything read is sent, then finished files are told as DONE (which only a lane's
 * last COMMITTED allows, and nothing may follow LAST), then LAST. Drain: LAST at once.
 */
void
finish_step(struct ingest *in, struct mono now)
{
	if (in->phase == INGEST_READING && in->w->draining) {
		last_send(in, now);
		return;
	}
	if (in->phase == INGEST_READING && in->w->bounded && all_read(in)) {
		route_flush(&in->route, now, true);
		in->phase = INGEST_CLOSING;
		in->closing_at = in->committed_at = now;
	}
	if (in->phase != INGEST_CLOSING)
		return;
	finish_done(in);
	/*
	 * A lane that has only covers of ours commits them when it likes: then the files stay open,
	 * and the next run finds that it has read them.
	 */
	if (!done_outstanding(in) || in->w->draining ||
	    (!in->credit.records && mono_since_ms(in->committed_at, now) > DONE_WAIT_MS))
		last_send(in, now);
}

bool
finish_committed(struct ingest *in, unsigned lane, bool last, struct err *e)
{
	in->committed_at = mono_now();
	if (!last)
		return true;
	if (in->phase != INGEST_LAST)
		return err_set(e, EXIT_BUG, "lane %u ended before ingest did", lane);
	if (++in->lanes_last == in->parts.lanes)
		skel_end(in->w, EXIT_DONE, "everything read is committed");
	return true;
}
