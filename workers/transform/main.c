/*
 * transform: between correlate and load of one lane. Processes and events become rows; all else of
 * a batch passes unopened, in the order in which it came.
 */
#include "keyhash.h"
#include "map.h"
#include "mem.h"
#include "skel.h"

#include <stdlib.h>

struct transform {
	struct map *map;
	bool owned;    /* OWN has told the hash key */
	bool in_batch; /* between BEGIN and END */
	struct {
		uint64_t proc, evt, state, dead;
	} items; /* of this batch, against END's counts */
	struct pack_reader reader;
	struct map_counts told; /* what the metrics have */
};

static void
rows_send(void *ctx, unsigned table, uint32_t count, struct buf *body)
{
	struct worker *w = ctx;

	(void)table;
	pipe_send(w->pipes, ROLE_LOAD, w->index, FRAME_ROWS, 0, count, body);
}

static bool
transform_open(struct worker *w, struct err *e)
{
	struct transform *t = mem_zero(1, sizeof *t);

	(void)e;
	keyhash_init();
	t->map = map_new(w->model, rows_send, w);
	w->state = t;
	return true;
}

static bool
own_take(struct worker *w, const struct frame *f, struct err *e)
{
	struct transform *t = w->state;
	struct own own;

	if (t->owned || f->head.count != 1)
		return err_set(e, EXIT_BUG, "OWN frame: one is expected, once");
	pack_reader_start(&t->reader, f->body, f->head.bytes);
	if (!wire_own_read(&t->reader, &own))
		return err_set(e, EXIT_BUG, "OWN frame: %s", t->reader.why);
	map_hash_key(t->map, own.hash_key);
	own_free(&own);
	if (!pack_reader_end(&t->reader))
		return err_set(e, EXIT_BUG, "OWN frame: %s", t->reader.why);
	t->owned = true;
	return true;
}

static void
pass(struct worker *w, const struct frame *f)
{
	pipe_forward(w->pipes, ROLE_LOAD, w->index, f);
}

static bool
begin_take(struct worker *w, const struct frame *f, struct err *e)
{
	struct transform *t = w->state;

	if (t->in_batch || !t->owned)
		return err_set(e, EXIT_BUG, "BEGIN frame %s",
			       t->owned ? "inside a batch" : "before OWN");
	t->in_batch = true;
	t->items.proc = t->items.evt = t->items.state = t->items.dead = 0;
	pass(w, f);
	return true;
}

static void
metrics_tell(struct worker *w)
{
	struct transform *t = w->state;
	struct map_counts now = map_counts(t->map);

	metric_add(w->page, METRIC_EXPRESSION_NULLS, now.nulled - t->told.nulled);
	metric_add(w->page, METRIC_DIMENSION_ROWS_SKIPPED, now.skipped - t->told.skipped);
	t->told = now;
}

/* The rest of the rows, then END with their counts. LAST is the end of this worker's work. */
static bool
end_take(struct worker *w, const struct frame *f, struct err *e)
{
	struct transform *t = w->state;
	struct buf body = {0};
	struct end end;

	if (f->head.count != 1)
		return err_set(e, EXIT_BUG, "END frame: it has %u items", f->head.count);
	pack_reader_start(&t->reader, f->body, f->head.bytes);
	if (!wire_end_read(&t->reader, &end))
		return err_set(e, EXIT_BUG, "END frame: %s", t->reader.why);
	bool whole = pack_reader_end(&t->reader) && end.tables_n == w->model->tables_n &&
		     end.proc == t->items.proc && end.evt == t->items.evt &&
		     end.state == t->items.state && end.dead == t->items.dead;
	if (whole) {
		map_end(t->map, end.rows);
		pipe_body_start(&body);
		wire_end_write(&body, &end);
		pipe_send(w->pipes, ROLE_LOAD, w->index, FRAME_END, f->head.flags, 1, &body);
	}
	end_free(&end);
	if (!whole)
		return err_set(e, EXIT_BUG, "END frame: its counts are not those of the batch");
	t->in_batch = false;
	metrics_tell(w);
	if (f->head.flags & FRAME_LAST)
		skel_end(w, EXIT_DONE, "the last batch was passed on");
	return true;
}

static bool
batch_take(struct worker *w, const struct frame *f, struct err *e)
{
	struct transform *t = w->state;

	if (!t->in_batch)
		return err_set(e, EXIT_BUG, "%s frame outside of a batch",
			       frame_name((enum frame_type)f->head.type));
	switch (f->head.type) {
	case FRAME_PROC:
		t->items.proc += f->head.count;
		return map_proc(t->map, f->body, f->head.bytes, f->head.count, e);
	case FRAME_EVT:
		t->items.evt += f->head.count;
		return map_evt(t->map, f->body, f->head.bytes, f->head.count, e);
	case FRAME_STATE:
		t->items.state += f->head.count;
		break;
	case FRAME_DEAD:
		t->items.dead += f->head.count;
		break;
	default: /* END */
		return end_take(w, f, e);
	}
	pass(w, f);
	return true;
}

static bool
transform_frame(struct worker *w, const struct frame *f, struct err *e)
{
	skel_progress(w);
	switch (f->head.type) {
	case FRAME_OWN:
		return own_take(w, f, e);
	case FRAME_BEGIN:
		return begin_take(w, f, e);
	case FRAME_CLAIM:
	case FRAME_ASK:
	case FRAME_PART:
	case FRAME_DONE:
		pass(w, f);
		return true;
	default:
		return batch_take(w, f, e);
	}
}

static void
transform_stop(struct worker *w)
{
	struct transform *t = w->state;

	if (!t)
		return;
	map_free(t->map);
	pack_reader_free(&t->reader);
	free(t);
	w->state = NULL;
}

int
main(int argc, char **argv)
{
	static const struct worker_ops ops = {
	    .role = ROLE_TRANSFORM,
	    .open = transform_open,
	    .frame = transform_frame,
	    .stop = transform_stop,
	};

	return skel_main(argc, argv, &ops);
}
