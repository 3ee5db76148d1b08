#include "ingest.h"

#include "log.h"

/* Partitions travel by hundreds, so that a directory of many files stays within a frame. */
enum { NAMES_A_FRAME = 500 };

static void
partition_write(struct buf *b, const struct ingest_partition *part)
{
	struct partition p = {.id = part->id,
			      .source = part->source,
			      .kind = part->kind,
			      .number = part->number,
			      .label = part->label,
			      .label_len = part->label_len};

	wire_partition_write(b, &p);
}

/* ASK for ids, through lane 0 to load 0. */
void
names_ask(struct ingest *in)
{
	struct parts *p = &in->parts;
	struct buf body = {0};
	uint32_t n = 0;

	if (!in->wanted)
		return;
	for (uint32_t i = 0; i < p->all_n; i++) {
		struct ingest_partition *part = p->all[i];

		if (part->state != PART_WANTED)
			continue;
		if (!n)
			pipe_body_start(&body);
		partition_write(&body, part);
		part->state = PART_ASKED;
		if (++n == NAMES_A_FRAME) {
			pipe_send(in->w->pipes, ROLE_CORRELATE, 0, FRAME_ASK, 0, n, &body);
			n = 0;
		}
	}
	if (n)
		pipe_send(in->w->pipes, ROLE_CORRELATE, 0, FRAME_ASK, 0, n, &body);
	in->asked += in->wanted;
	in->wanted = 0;
}

/* Every lane learns a partition's id before the first DATA of it; of a done one nothing comes. */
static void
announce(struct ingest *in, struct ingest_partition *const *named, uint32_t n)
{
	uint32_t fresh = 0;

	for (uint32_t i = 0; i < n; i++)
		fresh += !named[i]->was_known;
	for (unsigned lane = 0; lane < in->parts.lanes && fresh; lane++) {
		struct buf body = {0};

		pipe_body_start(&body);
		for (uint32_t i = 0; i < n; i++)
			if (!named[i]->was_known)
				partition_write(&body, named[i]);
		pipe_send(in->w->pipes, ROLE_CORRELATE, lane, FRAME_PART, 0, fresh, &body);
	}
}

/* What did not go into OWN comes ahead of it. */
static bool
names_told(struct ingest *in, const struct frame *f, struct err *e)
{
	struct partition p;
	bool ok = true;

	pack_reader_start(&in->reader, f->body, f->head.bytes);
	for (uint32_t i = 0; ok && i < f->head.count && wire_partition_read(&in->reader, &p); i++)
		ok = parts_told(&in->parts, &p, e);
	if (ok && !pack_reader_end(&in->reader))
		return err_set(e, EXIT_BUG, "PART: %s", in->reader.why);
	return ok;
}

/* PART from load 0: ids. Those that we asked for are announced, then read. */
bool
names_part(struct ingest *in, const struct frame *f, struct err *e)
{
	struct ingest_partition *named[NAMES_A_FRAME];
	struct partition p;
	struct mono now = mono_now();
	uint32_t n = 0;

	if (!in->parts.own_seen[f->from_index])
		return names_told(in, f, e);
	pack_reader_start(&in->reader, f->body, f->head.bytes);
	for (uint32_t i = 0; i < f->head.count; i++) {
		struct ingest_partition *part;

		if (!wire_partition_read(&in->reader, &p))
			break;
		if (!parts_named(&in->parts, &p, &part, e))
			return false;
		if (!part)
			continue;
		if (n == NAMES_A_FRAME)
			return err_set(e, EXIT_BUG, "PART answers more than was asked at once");
		named[n++] = part;
		check(in->asked);
		in->asked--;
	}
	if (!pack_reader_end(&in->reader))
		return err_set(e, EXIT_BUG, "PART: %s", in->reader.why);
	announce(in, named, n);
	for (uint32_t i = 0; i < n; i++)
		if (!reader_start(in, named[i], now, e))
			return false;
	return true;
}
