/*
 * A process' state is the row with the greatest (epoch, batch). A row that is superseded stays so
 * for ever: what supersedes it is only thrown away when it is superseded itself. So a slot may go
 * when all its rows are, and writers are kept out of it from the look to the truncation. Readers
 * are kept out for the truncation alone.
 */
#include "task.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

/* Slot, bytes, whether some pipeline writes to it, whether this one does. */
static const char slots_sql[] =
    "SELECT slot, pg_relation_size(('admin_schema.state_' || slot)::regclass),"
    " EXISTS (SELECT FROM admin_schema.pipeline WHERE segment = slot),"
    " EXISTS (SELECT FROM admin_schema.pipeline WHERE segment = slot AND id = $1)"
    " FROM generate_series(0, 7) slot ORDER BY slot";

static const char move_sql[] = "UPDATE admin_schema.pipeline SET segment = $2::text::smallint"
			       " WHERE id = $1::text::integer";

/* Any row that nothing supersedes. */
#define LIVE_SQL                                                                                   \
	"SELECT 1 FROM admin_schema.state_%u s WHERE NOT EXISTS (SELECT FROM admin_schema.state n" \
	" WHERE n.pipeline = s.pipeline AND n.build = s.build AND n.key = s.key"                   \
	" AND (n.epoch, n.batch) > (s.epoch, s.batch)) LIMIT 1"

struct slot {
	int64_t bytes;
	bool current, ours;
};

static struct pg_param
number_param(char text[static 16], int64_t n)
{
	snprintf(text, 16, "%lld", (long long)n);
	return (struct pg_param){.data = text};
}

static bool
slots_read(struct chore *c, struct slot slots[STATE_SLOTS], struct err *e)
{
	char id[16];
	struct pg_param param = number_param(id, c->pipeline);
	struct pg_result *r = NULL;

	if (!pg_query(c->pg, slots_sql, &param, 1, false, &r, e))
		return false;
	check(pg_rows(r) == STATE_SLOTS);
	c->holding = 0;
	for (unsigned i = 0; i < STATE_SLOTS; i++) {
		slots[i] = (struct slot){.bytes = pg_int(r, i, 1),
					 .current = pg_text(r, i, 2)[0] == 't',
					 .ours = pg_text(r, i, 3)[0] == 't'};
		c->holding += slots[i].bytes > 0;
	}
	pg_result_free(r);
	return true;
}

/* To an empty slot; while there is none, the current one grows on. */
static bool
segment_move(struct chore *c, const struct slot slots[STATE_SLOTS], struct err *e)
{
	char id[16], to[16];
	unsigned current = 0;

	while (current < STATE_SLOTS && !slots[current].ours)
		current++;
	if (current == STATE_SLOTS || slots[current].bytes < SEGMENT_BYTES_MAX)
		return true;
	for (unsigned i = 1; i < STATE_SLOTS; i++) {
		unsigned next = (current + i) % STATE_SLOTS;
		if (slots[next].bytes || slots[next].current)
			continue;
		struct pg_param params[] = {number_param(id, c->pipeline), number_param(to, next)};
		log_info("new state goes to segment %u", next);
		return pg_query(c->pg, move_sql, params, 2, false, NULL, e);
	}
	log_debug("every state segment holds rows; segment %u grows on", current);
	return true;
}

/* What is busy or takes too long is looked at another time. */
static bool
later(struct chore *c)
{
	const char *state = pg_sqlstate(c->pg);
	bool busy = strcmp(state, "55P03") == 0 || strcmp(state, "57014") == 0 ||
		    strcmp(state, "40P01") == 0;

	if (!pg_alive(c->pg))
		return false;
	struct err ignore;
	return pg_exec(c->pg, "ROLLBACK", NULL, &ignore) && busy;
}

static bool
slot_live(struct chore *c, unsigned slot, bool *live, struct err *e)
{
	char sql[512];
	struct pg_result *r = NULL;

	snprintf(sql, sizeof(sql), LIVE_SQL, slot);
	if (!pg_exec(c->pg, sql, &r, e))
		return false;
	*live = pg_rows(r) > 0;
	pg_result_free(r);
	return true;
}

static bool
slot_empty(struct chore *c, unsigned slot, bool *emptied, struct err *e)
{
	char lock[128], truncate[128];
	bool live = true;

	snprintf(lock, sizeof(lock), "LOCK TABLE admin_schema.state_%u IN SHARE MODE", slot);
	snprintf(truncate, sizeof(truncate), "TRUNCATE ONLY admin_schema.state_%u", slot);
	if (!pg_exec(c->pg, "BEGIN", NULL, e) || !pg_exec(c->pg, lock, NULL, e) ||
	    !slot_live(c, slot, &live, e))
		return false;
	if (!live && !pg_exec(c->pg, truncate, NULL, e))
		return false;
	*emptied = !live;
	return pg_exec(c->pg, "COMMIT", NULL, e);
}

static bool
slot_try(struct chore *c, unsigned slot, struct err *e)
{
	struct mono began = mono_now();
	bool live = true, emptied = false;

	/* First without a lock: mostly there is a row that counts, and soon. */
	bool good = slot_live(c, slot, &live, e) && (live || slot_empty(c, slot, &emptied, e));
	if (!good && !later(c))
		return false;
	if (emptied) {
		log_info("state segment %u is emptied: all its rows were superseded", slot);
		c->emptied++;
		c->holding--;
	}
	int64_t pause = mono_since_ms(began, mono_now()) * PROBE_SHARE;
	c->probe_at[slot] = mono_add_ms(mono_now(), pause < PROBE_MS_MIN ? PROBE_MS_MIN : pause);
	return true;
}

bool
task_segments(struct chore *c, struct err *e)
{
	struct slot slots[STATE_SLOTS];

	if (!slots_read(c, slots, e) || !segment_move(c, slots, e))
		return false;
	for (unsigned i = 0; i < STATE_SLOTS; i++) {
		bool worth = slots[i].bytes && !slots[i].current;
		if (worth && mono_due(c->probe_at[i], mono_now()) && !slot_try(c, i, e))
			return false;
	}
	return true;
}
