/* dead open, dead replay: events of dead letters, kept sealed, opened by the audited release. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dead.h"
#include "mem.h"
#include "open.h"
#include "opened.h"
#include "replay.h"
#include "rundir.h"

static const char event_path[] = "$event";

/* A dead letter that holds its event. All borrowed from the result. */
struct body {
	const char *source; /* its name */
	const char *digits; /* of the rid */
	struct carried carried;
};

struct bodies {
	struct opener o;
	struct owner_pipeline at;
	char pipeline[24], build[16];
	struct replay_link *link;
	uint64_t committed, dead, refused, failed;
	struct buf lines; /* JSON, what became of which */
};

bool
dead_rid_prefix(const char *rid, char out[static DEAD_RID_DIGITS + 1], struct err *e)
{
	unsigned n = 0;

	for (; *rid; rid++) {
		if (*rid == '-')
			continue;
		if (n == DEAD_RID_DIGITS || !strchr("0123456789abcdefABCDEF", *rid))
			return err_set(e, EXIT_USAGE, "a RID has at most 32 digits, 0-9 and a-f");
		out[n++] = (char)(*rid >= 'A' && *rid <= 'F' ? *rid - 'A' + 'a' : *rid);
	}
	out[n] = 0;
	return n >= 4 || err_set(e, EXIT_USAGE, "give at least 4 digits of the RID");
}

/* After `last` in the order of rids, so that an answered one that stays is not asked again. */
static bool
bodies_select(struct bodies *b, const char *prefix, const char *last, struct pg_result **out,
	      struct err *e)
{
	char limit[16];

	snprintf(limit, sizeof limit, "%d", DEAD_BATCH);
	const struct pg_param params[] = {{.data = b->pipeline},
					  {.data = b->build},
					  {.data = prefix},
					  {.data = last},
					  {.data = limit}};
	return pg_query(
	    b->o.reader,
	    "SELECT replace(d.rid::text, '-', ''), s.name, s.label, uuid_send(d.rid), "
	    "d.body, d.sid, d.rid::text FROM admin_schema.dead_letter d JOIN "
	    "admin_schema.source s ON s.pipeline = d.pipeline AND s.id = d.source WHERE "
	    "d.pipeline = $1::int AND d.build = $2::smallint AND d.body IS NOT NULL AND "
	    "($3 = '' OR replace(d.rid::text, '-', '') LIKE $3 || '%') AND ($4 = '' OR "
	    "d.rid > $4::uuid) ORDER BY d.rid LIMIT $5::bigint",
	    params, 5, true, out, e);
}

static bool
body_read(const struct pg_result *r, unsigned row, struct body *b)
{
	size_t rid_len, sid_len, label_len, body_len;
	const uint8_t *rid = pg_bytes(r, row, 3, &rid_len);
	const uint8_t *sid = pg_bytes(r, row, 5, &sid_len);

	*b = (struct body){.digits = pg_text(r, row, 0), .source = pg_text(r, row, 1)};
	b->carried.source = (const char *)pg_bytes(r, row, 2, &label_len);
	b->carried.source_len = (uint32_t)label_len;
	b->carried.path = event_path;
	b->carried.path_len = sizeof event_path - 1;
	b->carried.payload = pg_bytes(r, row, 4, &body_len);
	b->carried.payload_len = (uint32_t)body_len;
	b->carried.has_sid = !pg_is_null(r, row, 5) && sid_len == SUBJECT_ID_BYTES;
	if (rid_len != RID_BYTES)
		return false;
	memcpy(b->carried.rid, rid, RID_BYTES);
	if (b->carried.has_sid)
		memcpy(b->carried.sid, sid, SUBJECT_ID_BYTES);
	return true;
}

static bool
batch_ask(struct bodies *b, const struct pg_result *r, struct err *e)
{
	struct body body;

	release_batch(b->o.release);
	for (unsigned i = 0; i < pg_rows(r); i++)
		if (body_read(r, i, &body))
			release_note(b->o.release, &body.carried);
	return release_ask(b->o.release, e);
}

static bool
bodies_begin(struct bodies *b, struct err *e)
{
	if (!owner_pipeline(b->o.reader, b->o.k.m, &b->at, e))
		return false;
	snprintf(b->pipeline, sizeof b->pipeline, "%lld", (long long)b->at.id);
	snprintf(b->build, sizeof b->build, "%d", b->at.build);
	return true;
}

/* ---- open ---- */

static bool
event_print(struct bodies *b, const struct body *body, struct err *e)
{
	struct buf plain = {0}, out = {0};
	struct value v;
	bool raw = false;

	enum seal_error why = release_open(b->o.release, &body->carried, &plain, &v, &raw);
	bool good = why == SEAL_OK || seal_fail(e, why, "the event of %s", body->digits);
	if (good && b->o.k.c->json) {
		buf_printf(&out, "{\"rid\":\"%s\",\"source\":", body->digits);
		cli_json(&out, body->source);
		buf_text(&out, ",\"event\":");
		opened_json(&v, raw, &out);
		buf_text(&out, "}\n");
	} else if (good) {
		buf_add(&out, v.text, v.len);
		buf_byte(&out, '\n');
	}
	good = good && cli_print(&out, e);
	secret_wipe(plain.data, plain.cap);
	secret_wipe(out.data, out.cap);
	buf_free(&plain);
	buf_free(&out);
	return good;
}

static bool
open_one(struct bodies *b, const char *rid, struct err *e)
{
	char prefix[DEAD_RID_DIGITS + 1];
	struct pg_result *r;
	struct body body;

	if (!dead_rid_prefix(rid, prefix, e) || !bodies_begin(b, e) ||
	    !bodies_select(b, prefix, "", &r, e))
		return false;
	bool good = pg_rows(r) == 1;
	if (!pg_rows(r))
		err_set(e, EXIT_NOTHING, "no dead letter of that RID holds its event");
	else if (!good)
		err_set(e, EXIT_USAGE, "several dead letters begin with %s; give more digits",
			prefix);
	good = good && (body_read(r, 0, &body) || err_set(e, EXIT_DATA, "its RID is damaged")) &&
	       batch_ask(b, r, e) && event_print(b, &body, e);
	pg_result_free(r);
	return good;
}

int
dead_open(struct cli *c)
{
	struct bodies b = {0};
	struct err e;
	int code;

	if (!opener_shows(c, &e))
		return cli_fail(c, &e,
				"weir dead open RID --member-key FILE --purpose TEXT --show");
	if (!opener_open(&b.o, c, 2, true, &code))
		return code;
	code = open_one(&b, c->args.operands[1], &e)
		   ? EXIT_DONE
		   : cli_fail(c, &e, "`weir dead list` shows what there is");
	opener_close(&b.o);
	return code;
}

/* ---- replay ---- */

static void
answer_take(void *of, const uint8_t rid[static RID_BYTES], enum replay_answer what,
	    const char *text)
{
	static const char *const names[] = {"committed", "dead", "refused"};
	struct bodies *b = of;

	b->committed += what == REPLAY_ANSWER_COMMITTED;
	b->dead += what == REPLAY_ANSWER_DEAD;
	b->refused += what == REPLAY_ANSWER_REFUSED;
	buf_text(&b->lines, b->lines.len ? ",{\"rid\":\"" : "{\"rid\":\"");
	keys_hex(&b->lines, rid, RID_BYTES);
	buf_printf(&b->lines, "\",\"became\":\"%s\",\"reason\":", names[what]);
	cli_json(&b->lines, text);
	buf_byte(&b->lines, '}');
	if (what != REPLAY_ANSWER_COMMITTED)
		cli_say("%02x%02x%02x%02x: %s: %s", rid[0], rid[1], rid[2], rid[3], names[what],
			text);
}

static bool
body_send(struct bodies *b, const struct body *body, struct err *e)
{
	struct buf plain = {0};
	struct value v;
	bool raw = false, good = true;

	enum seal_error why = release_open(b->o.release, &body->carried, &plain, &v, &raw);
	if (why == SEAL_OK) {
		good = replay_link_send(b->link, body->carried.source, body->carried.source_len,
					body->carried.rid, v.text, v.len, e);
	} else {
		b->failed++;
		cli_say("%.8s: does not open: %s", body->digits, seal_error_words(why));
	}
	secret_wipe(plain.data, plain.cap);
	buf_free(&plain);
	return good;
}

static bool
replay_all(struct bodies *b, const char *prefix, struct err *e)
{
	char last[64] = "";
	unsigned rows = DEAD_BATCH;
	bool good = true;

	while (good && rows == DEAD_BATCH) {
		struct pg_result *r;
		struct body body;
		if (!bodies_select(b, prefix, last, &r, e))
			return false;
		rows = pg_rows(r);
		good = !rows || batch_ask(b, r, e);
		for (unsigned i = 0; good && i < rows; i++)
			if (body_read(r, i, &body))
				good = body_send(b, &body, e);
		if (rows)
			snprintf(last, sizeof last, "%s", pg_text(r, rows - 1, 6));
		pg_result_free(r);
	}
	return good && replay_link_wait(b->link, e);
}

static bool
replay_prefix(const struct cli *c, char prefix[static DEAD_RID_DIGITS + 1], unsigned *pipeline_at,
	      struct err *e)
{
	bool all = args_flag(&c->args, "all");

	*prefix = 0;
	*pipeline_at = all ? 1 : 2;
	if (all)
		return c->args.operands_n <= 2 ||
		       err_set(e, EXIT_USAGE, "a RID, or --all, not both");
	if (c->args.operands_n < 2)
		return err_set(e, EXIT_USAGE, "which one? A RID, or --all");
	return dead_rid_prefix(c->args.operands[1], prefix, e);
}

static int
replay_tell(struct bodies *b)
{
	struct buf out = {0};
	uint64_t bad = b->dead + b->refused + b->failed, sum = b->committed + bad;

	if (b->o.k.c->json) {
		buf_printf(&out,
			   "{\"committed\":%llu,\"dead\":%llu,\"refused\":%llu,\"unopened\":%llu,"
			   "\"letters\":[",
			   (unsigned long long)b->committed, (unsigned long long)b->dead,
			   (unsigned long long)b->refused, (unsigned long long)b->failed);
		buf_add(&out, b->lines.data, b->lines.len);
		buf_text(&out, "]}\n");
	} else {
		buf_printf(&out, "%llu processed, %llu dead again, %llu refused, %llu not opened\n",
			   (unsigned long long)b->committed, (unsigned long long)b->dead,
			   (unsigned long long)b->refused, (unsigned long long)b->failed);
	}
	return cli_finish(b->o.k.c, &out, !sum ? EXIT_NOTHING : bad ? EXIT_SOME_DEAD : EXIT_DONE);
}

int
dead_replay(struct cli *c)
{
	struct bodies b = {0};
	char prefix[DEAD_RID_DIGITS + 1];
	unsigned pipeline_at;
	struct err e;
	int code;

	if (!replay_prefix(c, prefix, &pipeline_at, &e))
		return cli_fail(c, &e,
				"weir dead replay RID|--all --member-key FILE --purpose TEXT");
	if (!opener_open(&b.o, c, pipeline_at, true, &code))
		return code;
	bool good = bodies_begin(&b, &e) &&
		    replay_link_open(b.o.k.m->pipeline.s, answer_take, &b, &b.link, &e) &&
		    replay_all(&b, prefix, &e);
	code = good ? replay_tell(&b)
		    : cli_fail(c, &e,
			       e.code == EXIT_TRY_LATER
				   ? "start it with `weir up` on this machine, as this user or root"
				   : "what was answered before is done; try again for the rest");
	replay_link_close(b.link);
	buf_free(&b.lines);
	opener_close(&b.o);
	return code;
}
