/*
 * Dead letters sent again over the socket: they go the way of all events under the rid that they
 * came with, and are answered when their lane has committed them.
 */
#include "ingest_world.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "ingest/replay.h"

static const char event_good[] =
    "{\"id\":\"a\",\"at\":\"2023-11-14T00:00:00Z\",\"name\":\"Canary\",\"cpf\":\"52998224725\"}";

struct again {
	struct world *w;
	char dir[64], path[128];
	int fd;
	struct buf in;
};

static int
setup(void **state)
{
	struct again *a = mem_zero(1, sizeof *a);

	a->w = world_new(world_file);
	world_step(a->w);
	world_settle(a->w);
	snprintf(a->dir, sizeof a->dir, "/tmp/weir-replay-XXXXXX");
	assert_non_null(mkdtemp(a->dir));
	snprintf(a->path, sizeof a->path, "%s/replay.sock", a->dir);
	assert_true(replay_open(a->dir, &a->w->in->replay, &a->w->e));
	a->fd = -1;
	*state = a;
	return 0;
}

static int
teardown(void **state)
{
	struct again *a = *state;

	if (a->fd >= 0)
		close(a->fd);
	replay_close(a->w->in->replay);
	unlink(a->path);
	rmdir(a->dir);
	buf_free(&a->in);
	world_close(a->w);
	free(a);
	return 0;
}

static int
dial(const struct again *a)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(at.sun_path, a->path, strlen(a->path));
	assert_true(fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0);
	return fd;
}

static void
turn(struct again *a)
{
	world_step(a->w);
	replay_step(a->w->in, a->w->wall_us, a->w->now);
}

static void
u32(struct buf *b, size_t v)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		buf_byte(b, (uint8_t)(v >> shift));
}

static void
request(struct buf *b, const char *label, uint8_t rid, const char *event, size_t n)
{
	size_t label_n = strlen(label);

	u32(b, 2 + label_n + RID_BYTES + n);
	buf_byte(b, (uint8_t)(label_n >> 8));
	buf_byte(b, (uint8_t)label_n);
	buf_text(b, label);
	for (unsigned i = 0; i < RID_BYTES; i++)
		buf_byte(b, rid);
	buf_add(b, event, n);
}

static void
say(struct again *a, const struct buf *b)
{
	assert_int_equal(send(a->fd, b->data, b->len, MSG_NOSIGNAL), (ssize_t)b->len);
}

static void
ask(struct again *a, const char *label, uint8_t rid, const char *event)
{
	struct buf b = {0};

	if (a->fd < 0)
		a->fd = dial(a);
	request(&b, label, rid, event, strlen(event));
	say(a, &b);
	buf_free(&b);
}

/* The next answer; false: there is none. */
static bool
answered(struct again *a, uint8_t *rid, uint8_t *code)
{
	uint8_t bytes[4096];
	ssize_t n = recv(a->fd, bytes, sizeof bytes, 0);

	if (n > 0)
		buf_add(&a->in, bytes, (size_t)n);
	if (a->in.len < 4 + RID_BYTES + 1)
		return false;
	size_t len = (size_t)a->in.data[2] << 8 | a->in.data[3];
	*rid = a->in.data[4];
	*code = a->in.data[4 + RID_BYTES];
	memmove(a->in.data, a->in.data + 4 + len, a->in.len - 4 - len);
	a->in.len -= 4 + len;
	return true;
}

/* Load gives an id to what was asked. */
static struct ingest_partition *
named(struct again *a, unsigned source)
{
	struct ingest *in = a->w->in;
	struct partition p = {.id = 9, .source = (uint16_t)source, .label = PARTITION_DEAD};
	struct ingest_partition *part;

	p.label_len = (uint32_t)strlen(p.label);
	p.kind = PARTITION_TRANSIENT;
	assert_int_equal(in->wanted, 1);
	assert_true(parts_named(&in->parts, &p, &part, &a->w->e));
	assert_non_null(part);
	assert_true(reader_start(in, part, a->w->now, &a->w->e));
	in->wanted = 0;
	a->w->to[9] = 1; /* tickets begin there */
	return part;
}

static void
commit(struct again *a, struct ingest_partition *part, int64_t next)
{
	struct position at = {part->id, next};
	const struct committed c = {.positions = &at, .positions_n = 1};

	assert_true(parts_committed(&a->w->in->parts, 0, &c, &a->w->e));
	reader_answer(a->w->in, &c, 0);
}

static void
committed(void **state)
{
	struct again *a = *state;
	struct world *w = a->w;
	uint8_t rid, code;
	struct buf plain = {0};

	ask(a, w->model->sources[S_E].label, 7, event_good);
	turn(a);
	struct ingest_partition *part = named(a, S_E);
	turn(a); /* held: the person is not known */
	assert_int_equal(w->in->sealing->hold.n, 1);
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 1);
	assert_int_equal(w->got[0].r.partition, 9);
	assert_true(w->got[0].r.has_rid && w->got[0].r.rid[0] == 7 && !w->got[0].r.distinct);
	world_open_field(w, &w->got[0], (unsigned)world_field(w, S_E, "name"), &plain);
	assert_true(w->caught_up[9]); /* it holds no clock back */
	turn(a);
	assert_false(answered(a, &rid, &code));
	commit(a, part, 2);
	turn(a);
	assert_true(answered(a, &rid, &code));
	assert_true(rid == 7 && code == REPLAY_COMMITTED);
	assert_null(memmem(w->data.data, w->data.len, "Canary", 6));
	buf_free(&plain);
}

static void
dead_again_and_refused(void **state)
{
	struct again *a = *state;
	struct world *w = a->w;
	uint8_t rid, code;

	ask(a, w->model->sources[S_PLAIN].label, 1, "{\"id\":\"x\",\"n\":\"no number\"}");
	ask(a, "nobody", 2, "{}");
	ask(a, w->model->sources[S_PLAIN].label, 3, "{\"id\":\"x\",\"n\":3}");
	turn(a);
	struct ingest_partition *part = named(a, S_PLAIN);
	turn(a);
	assert_true(answered(a, &rid, &code));
	assert_true(rid == 1 && code == REPLAY_DEAD);
	assert_true(answered(a, &rid, &code));
	assert_true(rid == 2 && code == REPLAY_REFUSED);
	world_flush(w);
	assert_int_equal(w->got_n, 1); /* the dead one was not sent */
	assert_int_equal(w->to[9], 3);
	commit(a, part, 3);
	turn(a);
	assert_true(answered(a, &rid, &code));
	assert_true(rid == 3 && code == REPLAY_COMMITTED);
}

/* Half a request, nonsense, a client that goes: nothing else is disturbed. */
static void
hostile_clients(void **state)
{
	struct again *a = *state;
	static const char *const bad[] = {"\xff\xff\xff\xff", "\0\0\0\1x", "\0\0\0\x12\xff\xff",
					  "\0\0\0\x12\0\1"};
	static const size_t bad_n[] = {4, 5, 6, 6};
	uint8_t rid, code;

	for (unsigned i = 0; i < 4; i++) {
		uint8_t one;
		int fd = dial(a);

		assert_int_equal(send(fd, bad[i], bad_n[i], MSG_NOSIGNAL), (ssize_t)bad_n[i]);
		assert_int_equal(send(fd, "0123456789abcdef01", i > 1 ? 16 : 0, MSG_NOSIGNAL),
				 i > 1 ? 16 : 0);
		turn(a);
		assert_int_equal(recv(fd, &one, 1, 0), 0); /* cut off */
		close(fd);
	}
	struct buf half = {0};
	int fd = dial(a);
	request(&half, a->w->model->sources[S_PLAIN].label, 1, event_good, sizeof event_good - 1);
	assert_int_equal(send(fd, half.data, half.len / 2, MSG_NOSIGNAL), (ssize_t)half.len / 2);
	turn(a);
	close(fd);
	buf_free(&half);
	turn(a);
	ask(a, a->w->model->sources[S_PLAIN].label, 4, "{\"id\":\"x\",\"n\":3}");
	shutdown(a->fd, SHUT_WR); /* it still takes answers */
	turn(a);
	struct ingest_partition *part = named(a, S_PLAIN);
	turn(a);
	world_flush(a->w);
	commit(a, part, 2);
	turn(a);
	assert_true(answered(a, &rid, &code));
	assert_true(rid == 4 && code == REPLAY_COMMITTED);
}

static void
more_than_pending(void **state)
{
	struct again *a = *state;
	struct world *w = a->w;
	uint8_t rid, code;
	unsigned got = 0;

	for (unsigned i = 0; i < REPLAY_PENDING + 10; i++)
		ask(a, w->model->sources[S_PLAIN].label, (uint8_t)i, "{\"id\":\"x\",\"n\":3}");
	turn(a);
	struct ingest_partition *part = named(a, S_PLAIN);
	turn(a);
	world_flush(w);
	assert_int_equal(w->got_n, REPLAY_PENDING);
	commit(a, part, REPLAY_PENDING + 1);
	turn(a);
	while (answered(a, &rid, &code))
		got++;
	assert_int_equal(got, REPLAY_PENDING);
	world_flush(w);
	assert_int_equal(w->got_n, REPLAY_PENDING + 10);
}

/* Without keys nothing is taken. */
static void
waits_for_keys(void **state)
{
	struct again *a = *state;
	struct world *w = a->w;

	world_pass_ms(w, 20 * 60 * 1000);
	ask(a, w->model->sources[S_PLAIN].label, 1, "{\"id\":\"x\",\"n\":3}");
	turn(a);
	turn(a);
	assert_int_equal(w->in->wanted, 0);
	world_settle(w);
	turn(a);
	assert_int_equal(w->in->wanted, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    WITH_WORLD(committed),	 WITH_WORLD(dead_again_and_refused),
	    WITH_WORLD(hostile_clients), WITH_WORLD(more_than_pending),
	    WITH_WORLD(waits_for_keys),
	};

	return cmocka_run_group_tests_name("ingest_replay", tests, NULL, NULL);
}
