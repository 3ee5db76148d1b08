/* Pipes: frames arrive in order and whole; whatever breaks the rules of an edge ends the receiver.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "pipe.h"

enum { FRAMES = 1000, WAIT_MS = 5000, GENERATION = 3 };

static char dir[] = "/tmp/weir-pipe-XXXXXX";

static int
dir_make(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int
dir_remove(void **state)
{
	char command[sizeof dir + 16];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static struct pipes *
open_in(enum role role, unsigned index, uint32_t generation)
{
	struct pipes_setup setup = {
	    .dir = dir, .role = role, .index = index, .generation = generation};
	struct pipes *p = NULL;
	struct err e;

	setup.count[ROLE_INGEST] = 2;
	setup.count[ROLE_KEEPER] = 1;
	setup.count[ROLE_CORRELATE] = setup.count[ROLE_TRANSFORM] = setup.count[ROLE_LOAD] = 1;
	assert_true(pipes_open(&setup, &p, &e));
	return p;
}

static struct pipes *
open_as(enum role role, unsigned index)
{
	return open_in(role, index, GENERATION);
}

static enum pipe_result
next(struct pipes *p, struct frame *f, struct err *e)
{
	for (;;) {
		enum pipe_result got = pipe_recv(p, f, e);
		if (got != PIPE_EMPTY || !pipes_wait(p, NULL, 0, WAIT_MS))
			return got;
	}
}

static void
test_two_senders_keep_their_order(void **state)
{
	struct pipes *in[2] = {open_as(ROLE_INGEST, 0), open_as(ROLE_INGEST, 1)};
	struct pipes *to = open_as(ROLE_CORRELATE, 0);
	int64_t expected[2] = {0, 0};
	struct pack_reader r = {0};
	struct frame f;
	struct err e;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_true(pipes_connect(in[i], &e));
	for (int n = 0; n < FRAMES; n++) {
		for (int i = 0; i < 2; i++) {
			struct buf b = {0};
			pipe_body_start(&b);
			pack_int(&b, n);
			pipe_send(in[i], ROLE_CORRELATE, 0, FRAME_DATA,
				  n == FRAMES - 1 ? FRAME_LAST : 0, 1, &b);
			assert_null(b.data);
		}
	}
	for (int n = 0; n < 2 * FRAMES; n++) {
		struct pack_view v;
		int64_t got = -1;
		assert_int_equal(next(to, &f, &e), PIPE_FRAME);
		assert_int_equal(f.from, ROLE_INGEST);
		pack_reader_start(&r, f.body, f.head.bytes);
		assert_true(pack_next(&r, &v) && pack_view_int(&r, v, &got) && pack_reader_end(&r));
		assert_int_equal(got, expected[f.from_index]++);
		assert_int_equal(f.head.flags, got == FRAMES - 1 ? FRAME_LAST : 0);
		frame_release(&f);
	}
	assert_int_equal(pipe_counts(to).received_frames, 2 * FRAMES);
	assert_int_equal(pipe_counts(to).received_bytes,
			 pipe_counts(in[0]).sent_bytes + pipe_counts(in[1]).sent_bytes);
	pack_reader_free(&r);
	for (int i = 0; i < 2; i++)
		pipes_close(in[i]);
	pipes_close(to);
}

static void
test_forward_keeps_the_body(void **state)
{
	struct pipes *from = open_as(ROLE_CORRELATE, 0), *mid = open_as(ROLE_TRANSFORM, 0);
	struct pipes *to = open_as(ROLE_LOAD, 0);
	struct begin x = {.shard = 0, .epoch = 5, .n = 6}, got;
	struct pack_reader r = {0};
	struct buf b = {0};
	struct frame f;
	struct err e;

	(void)state;
	assert_true(pipes_connect(from, &e) && pipes_connect(mid, &e));
	pipe_body_start(&b);
	wire_begin_write(&b, &x);
	pipe_send(from, ROLE_TRANSFORM, 0, FRAME_BEGIN, 0, 1, &b);
	assert_int_equal(next(mid, &f, &e), PIPE_FRAME);
	pipe_forward(mid, ROLE_LOAD, 0, &f);
	frame_release(&f);
	assert_int_equal(next(to, &f, &e), PIPE_FRAME);
	pack_reader_start(&r, f.body, f.head.bytes);
	assert_true(wire_begin_read(&r, &got) && pack_reader_end(&r));
	assert_int_equal(got.n, 6);
	frame_release(&f);
	pack_reader_free(&r);
	pipes_close(from);
	pipes_close(mid);
	pipes_close(to);
}

/* Sends one crafted message where transform listens to correlate, after `good` proper ones. */
static void
crafted(struct frame_head h, size_t extra, unsigned good)
{
	struct pipes *to = open_as(ROLE_TRANSFORM, 0);
	void *context = zmq_ctx_new(), *push = zmq_socket(context, ZMQ_PUSH);
	uint8_t bytes[FRAME_HEAD_BYTES + 8] = {0};
	char url[128];
	struct frame f;
	struct err e = {0};

	snprintf(url, sizeof url, "ipc://%s/%d.correlate0.transform0", dir, GENERATION);
	assert_int_equal(zmq_connect(push, url), 0);
	for (unsigned i = 0; i < good; i++) {
		struct frame_head fine = {.version = WIRE_VERSION,
					  .type = FRAME_BEGIN,
					  .generation = GENERATION,
					  .sender = ROLE_CORRELATE << 8,
					  .receiver = ROLE_TRANSFORM << 8,
					  .seq = i + 1};
		frame_head_encode(&fine, bytes);
		assert_int_equal(zmq_send(push, bytes, FRAME_HEAD_BYTES, 0), FRAME_HEAD_BYTES);
		assert_int_equal(next(to, &f, &e), PIPE_FRAME);
		frame_release(&f);
	}
	frame_head_encode(&h, bytes);
	assert_true(zmq_send(push, bytes, FRAME_HEAD_BYTES + extra, 0) > 0);
	assert_int_equal(next(to, &f, &e), PIPE_BROKEN);
	assert_string_not_equal(e.text, "");
	zmq_close(push);
	zmq_ctx_term(context);
	pipes_close(to);
}

static void
test_breaches_are_refused(void **state)
{
	const struct frame_head fine = {.version = WIRE_VERSION,
					.type = FRAME_BEGIN,
					.generation = GENERATION,
					.sender = ROLE_CORRELATE << 8,
					.receiver = ROLE_TRANSFORM << 8,
					.seq = 1};
	struct frame_head h = fine;

	(void)state;
	h.seq = 2;
	crafted(h, 0, 0); /* a gap */
	h.seq = 1;
	crafted(h, 0, 1); /* a repetition */
	h = fine;
	h.generation++;
	crafted(h, 0, 0);
	h = fine;
	h.sender = ROLE_LOAD << 8;
	crafted(h, 0, 0);
	h = fine;
	h.type = FRAME_ROWS; /* correlate may not send rows */
	crafted(h, 0, 0);
	h = fine;
	crafted(h, 1, 0); /* a trailing byte */
	h.bytes = 8;
	crafted(h, 4, 0); /* cut short */
	h = fine;
	h.version++;
	crafted(h, 0, 0);
}

/* ---- pipes to a role that restarts alone ---- */

static void
peer(struct pipes *p, uint32_t incarnation, uint32_t generation)
{
	struct err e;

	assert_true(pipes_peer(p, ROLE_KEEPER, incarnation, generation, &e));
}

static void
ask(struct pipes *p, int64_t n)
{
	struct buf b = {0};

	pipe_body_start(&b);
	pack_int(&b, n);
	pipe_send(p, ROLE_KEEPER, 0, FRAME_KEYREQ, 0, 1, &b);
}

static void
answer(struct pipes *p, unsigned to, int64_t n)
{
	struct buf b = {0};

	pipe_body_start(&b);
	pack_int(&b, n);
	pipe_send(p, ROLE_INGEST, to, FRAME_KEYANS, 0, 1, &b);
}

/* The next frame is that number with that seq, in that generation. */
static void
takes(struct pipes *p, int64_t expected, uint64_t seq, uint32_t generation)
{
	struct pack_reader r = {0};
	struct pack_view v;
	struct frame f;
	struct err e;
	int64_t got = -1;

	assert_int_equal(next(p, &f, &e), PIPE_FRAME);
	pack_reader_start(&r, f.body, f.head.bytes);
	assert_true(pack_next(&r, &v) && pack_view_int(&r, v, &got) && pack_reader_end(&r));
	assert_int_equal(got, expected);
	assert_int_equal(f.head.seq, seq);
	assert_int_equal(f.head.generation, generation);
	frame_release(&f);
	pack_reader_free(&r);
}

static void
takes_nothing(struct pipes *p)
{
	struct frame f;
	struct err e;

	assert_int_equal(pipe_recv(p, &f, &e), PIPE_EMPTY);
}

static void
test_a_peer_is_not_there_before_it_is_told(void **state)
{
	struct pipes *in = open_as(ROLE_INGEST, 0), *to = open_as(ROLE_CORRELATE, 0);
	struct err e;

	(void)state;
	assert_true(pipes_connect(in, &e));
	assert_false(pipe_peered(in, ROLE_KEEPER));
	peer(in, 1, GENERATION);
	assert_true(pipe_peered(in, ROLE_KEEPER));
	assert_false(pipe_peered(in, ROLE_CORRELATE));
	/* Nobody goes back, nothing is told twice, and only who has such pipes is told. */
	assert_false(pipes_peer(in, ROLE_KEEPER, 1, GENERATION, &e));
	assert_int_equal(e.code, EXIT_BUG);
	assert_false(pipes_peer(in, ROLE_KEEPER, 2, GENERATION - 1, &e));
	assert_false(pipes_peer(in, ROLE_KEEPER, 0, GENERATION + 1, &e));
	assert_false(pipes_peer(in, ROLE_CORRELATE, 2, GENERATION, &e));
	assert_false(pipes_peer(in, ROLE_INGEST, 2, GENERATION, &e));
	assert_false(pipes_peer(to, ROLE_KEEPER, 1, GENERATION, &e));
	assert_true(pipe_peered(in, ROLE_KEEPER));
	pipes_close(in);
	pipes_close(to);
}

/* Whoever is told first: the sender connects to a name that is bound later. */
static void
test_peers_talk_both_ways_in_any_order(void **state)
{
	struct pipes *in[2] = {open_as(ROLE_INGEST, 0), open_as(ROLE_INGEST, 1)};
	struct pipes *keeper = open_in(ROLE_KEEPER, 0, 1);

	(void)state;
	peer(in[0], 1, GENERATION);
	for (int n = 0; n < FRAMES; n++)
		ask(in[0], n);
	peer(keeper, 1, GENERATION);
	peer(in[1], 1, GENERATION);
	for (int n = 0; n < FRAMES; n++)
		takes(keeper, n, (uint64_t)n + 1, GENERATION);
	ask(in[1], 7);
	takes(keeper, 7, 1, GENERATION);
	answer(keeper, 1, 8);
	answer(keeper, 0, 9);
	takes(in[1], 8, 1, GENERATION);
	takes(in[0], 9, 1, GENERATION);
	for (int i = 0; i < 2; i++)
		pipes_close(in[i]);
	pipes_close(keeper);
}

/* The keeper dies in the middle: what it was sent, and what it sent, is never seen afterwards. */
static void
test_a_new_keeper_sees_nothing_of_the_old_one(void **state)
{
	struct pipes *in = open_as(ROLE_INGEST, 0), *old = open_in(ROLE_KEEPER, 0, 1);

	(void)state;
	peer(old, 1, GENERATION);
	peer(in, 1, GENERATION);
	ask(in, 1);
	takes(old, 1, 1, GENERATION);
	answer(old, 0, 1);
	assert_true(pipes_wait(in, NULL, 0, WAIT_MS)); /* it has arrived and is not taken */
	pipes_close(old);
	ask(in, 2); /* into nothing, and not lost unnoticed: PEER will tell */
	ask(in, 3);

	struct pipes *born = open_in(ROLE_KEEPER, 0, GENERATION);
	peer(born, 2, GENERATION);
	peer(in, 2, GENERATION);
	takes_nothing(in);
	takes_nothing(born);
	ask(in, 2);
	takes(born, 2, 1, GENERATION); /* not 2 and 3 of before, and seq begins anew */
	answer(born, 0, 5);
	takes(in, 5, 1, GENERATION);
	takes_nothing(in);
	takes_nothing(born);
	pipes_close(in);
	pipes_close(born);
}

/* A new data generation: the keeper goes on, with new pipes; the dead ingest's frames are dropped.
 */
static void
test_a_new_generation_keeps_the_keeper(void **state)
{
	struct pipes *old = open_as(ROLE_INGEST, 0), *keeper = open_in(ROLE_KEEPER, 0, 1);

	(void)state;
	peer(keeper, 1, GENERATION);
	peer(old, 1, GENERATION);
	ask(old, 1);
	assert_true(pipes_wait(keeper, NULL, 0, WAIT_MS));
	pipes_close(old);
	answer(keeper, 0, 1); /* to one that is dead */

	struct pipes *born = open_in(ROLE_INGEST, 0, GENERATION + 1);
	peer(keeper, 1, GENERATION + 1);
	peer(born, 1, GENERATION + 1);
	takes_nothing(keeper);
	ask(born, 4);
	takes(keeper, 4, 1, GENERATION + 1);
	answer(keeper, 0, 6);
	takes(born, 6, 1, GENERATION + 1);
	takes_nothing(born);
	pipes_close(born);
	pipes_close(keeper);
}

/* One crafted message where the keeper listens to ingest 0, after a proper one. */
static void
crafted_to_keeper(uint64_t seq, uint32_t generation, uint8_t type)
{
	struct pipes *keeper = open_in(ROLE_KEEPER, 0, 1);
	void *context = zmq_ctx_new(), *push = zmq_socket(context, ZMQ_PUSH);
	struct frame_head h = {.version = WIRE_VERSION,
			       .type = FRAME_KEYREQ,
			       .generation = GENERATION,
			       .sender = ROLE_INGEST << 8,
			       .receiver = ROLE_KEEPER << 8,
			       .seq = 1};
	uint8_t bytes[FRAME_HEAD_BYTES];
	char url[128];
	struct frame f;
	struct err e = {0};

	peer(keeper, 2, GENERATION);
	snprintf(url, sizeof url, "ipc://%s/%d-2.ingest0.keeper0", dir, GENERATION);
	assert_int_equal(zmq_connect(push, url), 0);
	frame_head_encode(&h, bytes);
	assert_int_equal(zmq_send(push, bytes, sizeof bytes, 0), sizeof bytes);
	assert_int_equal(next(keeper, &f, &e), PIPE_FRAME);
	frame_release(&f);
	h.seq = seq;
	h.generation = generation;
	h.type = type;
	frame_head_encode(&h, bytes);
	assert_int_equal(zmq_send(push, bytes, sizeof bytes, 0), sizeof bytes);
	assert_int_equal(next(keeper, &f, &e), PIPE_BROKEN);
	assert_string_not_equal(e.text, "");
	zmq_close(push);
	zmq_ctx_term(context);
	pipes_close(keeper);
}

static void
test_breaches_of_a_peer_are_refused(void **state)
{
	(void)state;
	crafted_to_keeper(3, GENERATION, FRAME_KEYREQ);	    /* a gap */
	crafted_to_keeper(1, GENERATION, FRAME_KEYREQ);	    /* a repetition */
	crafted_to_keeper(2, GENERATION - 1, FRAME_KEYREQ); /* of another generation */
	crafted_to_keeper(2, GENERATION, FRAME_KEYANS);	    /* the other way */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_two_senders_keep_their_order),
	    cmocka_unit_test(test_forward_keeps_the_body),
	    cmocka_unit_test(test_breaches_are_refused),
	    cmocka_unit_test(test_a_peer_is_not_there_before_it_is_told),
	    cmocka_unit_test(test_peers_talk_both_ways_in_any_order),
	    cmocka_unit_test(test_a_new_keeper_sees_nothing_of_the_old_one),
	    cmocka_unit_test(test_a_new_generation_keeps_the_keeper),
	    cmocka_unit_test(test_breaches_of_a_peer_are_refused),
	};
	return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
