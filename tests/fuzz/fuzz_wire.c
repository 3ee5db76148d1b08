/* Any bytes as the body of any frame: refused or read, never a crash, never more memory than a
 * multiple of them. */
#include <stdlib.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct value values[EXPR_INPUTS_MAX];

static void
head_read(const uint8_t *data, size_t size)
{
	struct frame_head h;
	struct err e;

	if (frame_head_decode(data, size, &h, &e)) {
		uint8_t again[FRAME_HEAD_BYTES];
		frame_head_encode(&h, again);
		if (memcmp(again, data, FRAME_HEAD_BYTES))
			abort(); /* decoding and encoding must agree */
	}
}

/* A carried value is stored as it is: what is read must be what would be written. */
static void
carried_read(const uint8_t *data, size_t size)
{
	struct buf again = {0};
	struct carried c, d;

	if (!wire_carried_read(data, size, &c))
		return;
	wire_carried_write(&again, &c);
	if (!wire_carried_read(again.data, again.len, &d) || d.payload_len != c.payload_len ||
	    d.has_sid != c.has_sid || memcmp(d.payload, c.payload, c.payload_len))
		abort();
	buf_free(&again);
}

static void
data_read(struct pack_reader *r)
{
	struct record rec = {.fields = values};
	struct cover *covers;
	uint32_t n;

	while (wire_record_read(r, &rec))
		;
	r->failed = false;
	if (wire_covers_read(r, &covers, &n))
		free(covers);
}

static void
rows_read(struct pack_reader *r)
{
	struct row row = {.values = values};
	uint32_t table;

	if (wire_table_read(r, &table))
		while (wire_row_read(r, &row))
			;
}

static void
item_read(struct pack_reader *r, uint8_t type)
{
	struct proc proc = {.inputs = values};
	struct partition partition;
	struct state_row state;
	struct committed committed;
	struct keyreq keyreq;
	struct keyans keyans;
	struct begin begin;
	struct claim claim;
	struct dead dead;
	struct done done;
	struct own own;
	struct end end;

	switch (type % FRAME_TYPE_MAX) {
	case FRAME_OWN:
		if (wire_own_read(r, &own))
			own_free(&own);
		break;
	case FRAME_ASK:
	case FRAME_PART:
		while (wire_partition_read(r, &partition))
			;
		break;
	case FRAME_DATA:
	case FRAME_EVT:
		data_read(r);
		break;
	case FRAME_DONE:
		while (wire_done_read(r, &done))
			;
		break;
	case FRAME_BEGIN:
		(void)wire_begin_read(r, &begin);
		break;
	case FRAME_PROC:
		while (wire_proc_read(r, &proc))
			;
		break;
	case FRAME_ROWS:
		rows_read(r);
		break;
	case FRAME_STATE:
		while (wire_state_read(r, &state))
			;
		break;
	case FRAME_DEAD:
		while (wire_dead_read(r, &dead))
			;
		break;
	case FRAME_END:
		if (wire_end_read(r, &end))
			end_free(&end);
		break;
	case FRAME_COMMITTED:
		if (wire_committed_read(r, &committed))
			committed_free(&committed);
		break;
	case FRAME_CLAIM:
		if (wire_claim_read(r, &claim))
			claim_free(&claim);
		break;
	case FRAME_KEYREQ:
		while (wire_keyreq_read(r, &keyreq))
			;
		break;
	case FRAME_KEYANS:
		while (wire_keyans_read(r, &keyans))
			;
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pack_reader r = {0};

	if (!size)
		return 0;
	head_read(data, size);
	carried_read(data, size);
	pack_reader_start(&r, data + 1, size - 1);
	item_read(&r, data[0]);
	pack_reader_free(&r);
	return 0;
}
