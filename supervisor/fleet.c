#include "fleet.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "ask.h"
#include "board.h"
#include "log.h"
#include "part.h"

enum {
	FRAMES_A_TURN = 64,
	TICK_MS = 500, /* hangs are looked for this often */
	PATH_BYTES = 4352,
};

static void child_post(struct fleet *f, struct child *c, const struct chan_event *ev);
static void phase_post(struct fleet *f, enum phase_event ev);

static void PRINTF(3, 4) refuse(struct fleet *f, int code, const char *fmt, ...)
{
	va_list ap;

	if (f->exit_code || f->phase >= PHASE_CLOSING)
		return; /* the first reason is the cause; a closing supervisor has done its work */
	f->exit_code = code;
	va_start(ap, fmt);
	vsnprintf(f->reason, sizeof f->reason, fmt, ap);
	va_end(ap);
	log_error("%s", f->reason);
	phase_post(f, PHASE_EV_REFUSED);
}

/* ---- losses ---- */

static void
data_lost(struct fleet *f, struct child *c, enum cause cause, const char *why, struct mono now)
{
	losses_committed(&f->losses, ask_batches(f));
	if (f->phase == PHASE_BEARING || f->phase == PHASE_RUNNING) {
		int64_t ms = losses_generation(&f->losses, c, cause, now);
		log_warn("%s: %s; generation %u ends, the next one comes in %lld ms", c->subject,
			 why, f->generation, (long long)ms);
	}
	if (cause == CAUSE_QUIT)
		losses_down(&f->losses, now, c->subject, why);
	unsigned crashes = cause == CAUSE_CRASH ? losses_crash(&f->losses, c->role, now) : 0;
	if (policy_gives_up(crashes)) {
		refuse(f, EXIT_BUG,
		       "%s: %s; the last of %u crashes of this role within %d s, and nothing was "
		       "committed between them: restarting does not help",
		       c->subject, why, crashes, CRASH_WINDOW_MS / 1000);
		return;
	}
	phase_post(f, PHASE_EV_LOSS);
}

static void
lost(struct fleet *f, struct child *c, enum cause cause, const char *why)
{
	struct mono now = mono_now();

	if (f->phase >= PHASE_CLOSING)
		return;
	if (child_is_data(c))
		data_lost(f, c, cause, why, now);
	else if (ask_errand(f, c))
		refuse(f, cause == CAUSE_QUIT ? EXIT_UNAVAILABLE : EXIT_BUG, "%s: %s", c->subject,
		       why);
	else
		log_warn("%s: %s; it is born again in %lld ms", c->subject, why,
			 (long long)losses_alone(c, cause, now));
}

/* ---- children ---- */

static void
event_post(struct fleet *f, struct child *c, enum child_event event, const char *why)
{
	struct chan_event ev = {.event = event};

	snprintf(ev.why, sizeof ev.why, "%s", why);
	child_post(f, c, &ev);
}

static void
configure(struct fleet *f, struct child *c)
{
	struct err e;

	if (chan_configure(c, &f->setup.chan, &e))
		return;
	if (e.code == EXIT_CONFIG || e.code == EXIT_PERMISSION)
		refuse(f, e.code, "%s: %s", c->subject, e.text);
	else
		event_post(f, c, EVENT_BREACH, e.text);
}

static void
go(struct fleet *f, struct child *c)
{
	struct err e;

	if (!chan_send(c, CTL_GO, &e))
		event_post(f, c, EVENT_BREACH, e.text);
}

static void
ready_judge(struct fleet *f, struct child *c)
{
	if (f->setup.model->require_sandbox && c->row.separation == SEPARATION_NONE) {
		refuse(f, EXIT_PERMISSION,
		       "%s: nothing separates it from other workers, and require_sandbox is set "
		       "(a container of its own is no substitute): start as root, or on a kernel "
		       "with Landlock",
		       c->subject);
		return;
	}
	if (!child_is_data(c))
		event_post(f, c, EVENT_GO, "");
}

static enum cause
cause_of(const struct chan_event *ev, const struct child *c)
{
	switch (ev->event) {
	case EVENT_QUIT:
	case EVENT_DONE:
		return CAUSE_QUIT;
	case EVENT_REBORN:
		return CAUSE_REBORN;
	case EVENT_EXIT:
		return policy_cause(c->ready, ev->code >> 8, ev->code & 0xff);
	case EVENT_HANG:
		return CAUSE_HANG;
	default:
		return CAUSE_CRASH; /* it broke the protocol */
	}
}

static void
loss_tell(struct fleet *f, struct child *c, const struct chan_event *ev)
{
	char why[sizeof ev->why + 32];

	if (ev->event == EVENT_EXIT)
		snprintf(why, sizeof why, "died: %s", ev->why);
	else if (ev->event == EVENT_REBORN)
		snprintf(why, sizeof why, "begins anew: %s", ev->why);
	else if (ev->code == EXIT_DONE)
		snprintf(why, sizeof why, "ended unasked");
	else
		snprintf(why, sizeof why, "gave up: %s", ev->why);
	lost(f, c, cause_of(ev, c), why);
}

/* The one place where policy's word about a child is carried out. */
static void
child_post(struct fleet *f, struct child *c, const struct chan_event *ev)
{
	struct child_cell cell = policy_child(c->state, ev->event);

	c->state = cell.next;
	switch (cell.action) {
	case ACT_NONE:
		return;
	case ACT_CONFIGURE:
		configure(f, c);
		return;
	case ACT_GO:
		go(f, c);
		return;
	case ACT_NOTE:
		if (ev->event == EVENT_READY)
			ready_judge(f, c);
		return;
	case ACT_FINISH:
		c->done = true;
		if (ask_errand(f, c))
			snprintf(f->said, sizeof f->said, "%s", ev->why);
		return;
	case ACT_BREAK:
		child_kill(c);
		lost(f, c, cause_of(ev, c), ev->why);
		return;
	case ACT_LOSS:
		loss_tell(f, c, ev);
		return;
	case ACT_KILL:
		child_kill(c);
		return;
	case ACT_STOP:
		refuse(f, ev->code, "%s: %s", c->subject, ev->why);
		return;
	case ACT_BUG:
	case CHILD_ACTION_MAX:
		break;
	}
	panic("%s: event %d in state %s", c->subject, ev->event, child_state_name(c->state));
}

static void
birth(struct fleet *f, struct child *c, struct mono now)
{
	char path[PATH_BYTES];
	struct err e;

	snprintf(path, sizeof path, "%s%s", f->setup.exec_dir, role_name(c->role));
	c->birth_due = now;
	c->ready = false;
	if (child_spawn(c, path, f->setup.envp, f->generation, &e))
		event_post(f, c, EVENT_BIRTH, "");
	else
		lost(f, c, CAUSE_EARLY, e.text);
}

/* ---- phases ---- */

static void
kill_all(struct fleet *f, bool data_only)
{
	for (unsigned i = 0; i < f->n; i++)
		if (!data_only || child_is_data(&f->children[i]))
			event_post(f, &f->children[i], EVENT_KILL, "");
}

static void
bear(struct fleet *f)
{
	struct mono now = mono_now();

	f->generation++;
	atomic_store(&f->setup.board->generation, f->generation);
	rundir_clean(f->setup.rundir);
	for (unsigned i = 0; i < f->n && f->phase == PHASE_BEARING; i++)
		if (child_is_data(&f->children[i]))
			birth(f, &f->children[i], now);
}

static void
start_flow(struct fleet *f)
{
	for (unsigned i = 0; i < f->n; i++)
		if (child_is_data(&f->children[i]) && f->children[i].state == CHILD_READY)
			event_post(f, &f->children[i], EVENT_GO, "");
	if (*f->setup.chan.handoff)
		return; /* there are no data workers */
	if (f->losses.lost_at.us)
		log_info("generation %u runs, %lld ms after the loss", f->generation,
			 (long long)mono_since_ms(f->losses.lost_at, mono_now()));
	else
		log_info("generation %u runs", f->generation);
}

static void
drain(struct fleet *f, bool data)
{
	struct err e;

	atomic_store(&f->setup.board->draining, 1);
	for (unsigned i = 0; i < f->n; i++) {
		struct child *c = &f->children[i];
		bool wanted =
		    data ? c->role == ROLE_INGEST || c->role == ROLE_RELAY || ask_errand(f, c)
			 : !child_is_data(c);
		if (wanted && c->state > CHILD_DOWN && c->state < CHILD_ENDED &&
		    !chan_send(c, CTL_DRAIN, &e))
			event_post(f, c, EVENT_KILL, "");
	}
}

static void
phase_post(struct fleet *f, enum phase_event ev)
{
	struct phase_cell cell = policy_phase(f->phase, ev);
	struct mono now = mono_now();

	f->phase = cell.next;
	switch (cell.action) {
	case DO_NOTHING:
		return;
	case DO_GO:
		start_flow(f);
		return;
	case DO_KILL_DATA:
		kill_all(f, true);
		return;
	case DO_BEAR:
		bear(f);
		return;
	case DO_DRAIN:
		f->phase_due = mono_add_ms(now, f->setup.model->drain_limit_us / 1000);
		drain(f, true);
		return;
	case DO_ABANDON:
		if (ev == PHASE_EV_LATE)
			log_warn("the drain limit is over; the next start redoes the rest");
		kill_all(f, true);
		f->phase_due = mono_add_ms(now, CLOSE_MS_MAX);
		drain(f, false);
		return;
	case DO_CLOSE:
		f->phase_due = mono_add_ms(now, CLOSE_MS_MAX);
		drain(f, false);
		return;
	case DO_KILL_ALL:
		f->phase_due = mono_never();
		kill_all(f, false);
		return;
	case PHASE_ACTION_MAX:
		break;
	}
	panic("phase %d has no such action", f->phase);
}

/* Conditions that hold become events, until nothing changes any more. */
static void
settle(struct fleet *f, struct mono now)
{
	enum phase before;

	do {
		before = f->phase;
		if (f->phase == PHASE_BEARING && ask_data_ready(f))
			phase_post(f, PHASE_EV_ALL_READY);
		if (((f->phase == PHASE_RUNNING && f->setup.chan.bounded) ||
		     f->phase == PHASE_DRAINING) &&
		    ask_finished(f))
			phase_post(f, PHASE_EV_ALL_DONE);
		if (f->phase == PHASE_RENEWING && ask_data_down(f) &&
		    mono_due(f->losses.bear_due, now))
			phase_post(f, PHASE_EV_REAPED);
		if (f->phase >= PHASE_DRAINING && mono_due(f->phase_due, now))
			phase_post(f, PHASE_EV_LATE);
		if (f->phase >= PHASE_CLOSING && ask_all_down(f))
			phase_post(f, PHASE_EV_ALL_DOWN);
	} while (f->phase != before);
}

/* ---- what comes in ---- */

static bool
slots_make(struct fleet *f, enum role role, unsigned many, struct err *e)
{
	f->setup.chan.count[role] = many;
	for (unsigned i = 0; i < many; i++) {
		check(f->n < BOARD_ROWS_MAX);
		if (!child_init(&f->children[f->n], role, i, e))
			return false;
		f->n++;
	}
	return true;
}

bool
fleet_init(struct fleet *f, const struct fleet_setup *setup, struct err *e)
{
	memset(f, 0, sizeof *f);
	f->setup = *setup;
	f->phase_due = f->losses.bear_due = mono_never();
	for (int r = 0; r < ROLE_MAX; r++) {
		const struct role_row *row = &role_rows[r];
		if (row->kind == ROLE_KIND_PARENT || !(setup->roles & 1u << r))
			continue;
		if (!slots_make(f, (enum role)r, part_many(setup->model, (enum role)r), e)) {
			fleet_free(f);
			return false;
		}
	}
	f->setup.chan.children = f->children;
	f->setup.chan.children_n = f->n;
	return true;
}

void
fleet_free(struct fleet *f)
{
	for (unsigned i = 0; i < f->n; i++)
		child_free(&f->children[i]);
	f->n = 0;
}

void
fleet_begin(struct fleet *f)
{
	f->phase = PHASE_BEARING;
	bear(f);
}

void
fleet_read(struct fleet *f, unsigned i)
{
	struct child *c = &f->children[i];
	struct chan_event ev;

	for (int n = 0; n < FRAMES_A_TURN && c->state != CHILD_DOWN; n++) {
		if (!chan_read(c, ask_may_end(f, c), &ev))
			return;
		child_post(f, c, &ev);
	}
}

static void
exit_post(struct fleet *f, struct child *c, int status, const struct rusage *used)
{
	struct chan_event ev = {.event = EVENT_EXIT};
	int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;

	/* What it said last still counts: a BYE may be waiting in the channel. */
	fleet_read(f, (unsigned)(c - f->children));
	child_reaped(c, status, used, wall_now_us());
	if (c->done && (signal || code))
		log_error("%s: said BYE and then: %s", c->subject, c->death);
	ev.code = signal << 8 | code;
	snprintf(ev.why, sizeof ev.why, "%s", c->death);
	child_post(f, c, &ev);
}

void
fleet_reap(struct fleet *f)
{
	struct rusage used;
	int status;
	pid_t pid;

	/* As process 1 of a container it also reaps what is none of its own. */
	while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0)
		for (unsigned i = 0; i < f->n; i++)
			if (f->children[i].pid == pid) {
				exit_post(f, &f->children[i], status, &used);
				break;
			}
}

void
fleet_stop(struct fleet *f, bool at_once)
{
	if (!f->asked)
		phase_post(f, PHASE_EV_ASKED);
	else if (at_once)
		phase_post(f, PHASE_EV_ASKED_AGAIN);
	f->asked = true;
}

void
fleet_renew(struct fleet *f)
{
	struct mono now = mono_now();

	if (f->phase != PHASE_BEARING && f->phase != PHASE_RUNNING)
		return; /* they are being born anew, or end */
	log_info("all workers are born anew; generation %u ends", f->generation);
	f->losses.lost_at = f->losses.bear_due = now;
	phase_post(f, PHASE_EV_LOSS);
	kill_all(f, false);
}

/* ---- time ---- */

static void
peers_tell(struct fleet *f)
{
	struct err e;

	for (int r = 0; r < ROLE_MAX; r++) {
		uint32_t told = peer_partners((enum role)r);
		if (!told || !peer_due((enum role)r, f->children, f->n, &f->told[r]))
			continue;
		told |= 1u << r;
		for (unsigned i = 0; i < f->n; i++) {
			struct child *c = &f->children[i];
			if ((told & 1u << c->role) && c->state == CHILD_UP &&
			    !chan_peer(c, (enum role)r, &f->told[r], &e))
				event_post(f, c, EVENT_BREACH, e.text);
		}
	}
}

static void
dependencies_watch(struct fleet *f, struct mono now)
{
	bool waits = false;

	for (unsigned i = 0; i < f->n; i++) {
		const struct child *c = &f->children[i];
		if (!ask_waits_outside(f, c))
			continue;
		waits = true;
		losses_down(&f->losses, c->wait_since, c->subject, c->why);
	}
	if (!waits && f->phase == PHASE_RUNNING && ask_data_steady(f))
		f->losses.down_since = (struct mono){0};
	if (!f->setup.chan.bounded || f->losses.down_since.us == 0)
		return;
	/* Nobody waits, and it is not long enough ago to call it over: the next look tells. */
	if (!waits && f->phase == PHASE_RUNNING)
		return;
	if (mono_since_ms(f->losses.down_since, now) > f->setup.wait_ms)
		refuse(f, EXIT_UNAVAILABLE, "a dependency is down for %lld s; %s",
		       (long long)mono_since_ms(f->losses.down_since, now) / 1000,
		       f->losses.down_why);
}

static void
hangs_end(struct fleet *f, struct mono now)
{
	for (unsigned i = 0; i < f->n; i++) {
		const char *why = child_hang(&f->children[i], now);
		if (why)
			event_post(f, &f->children[i], EVENT_HANG, why);
	}
}

/*
 * The address of status may be an earlier supervisor's, which ends when its key groups are taken
 * over; or that of the one that holds the pipeline, which load finds out. A run does without.
 */
static void
address_take(struct fleet *f, struct mono now)
{
	char url[sizeof f->setup.board->url];
	struct err e;

	if (f->setup.chan.listen_fd >= 0 || f->phase >= PHASE_DRAINING)
		return;
	f->setup.chan.listen_fd = board_listen(f->setup.listen, url, sizeof url, &e);
	if (f->setup.chan.listen_fd >= 0) {
		log_info("status on %s: the address is free", url);
		return;
	}
	if (f->setup.chan.bounded && e.code == EXIT_UNAVAILABLE)
		return;
	if (f->phase != PHASE_RUNNING || !ask_data_steady(f))
		f->taken_since = (struct mono){0};
	else if (f->taken_since.us == 0)
		f->taken_since = now;
	else if (mono_since_ms(f->taken_since, now) > ADDRESS_MS_MAX)
		refuse(f, EXIT_CONFIG, "%s", e.text);
}

static bool
may_be_born(const struct fleet *f, const struct child *c)
{
	bool listens = role_rows[c->role].needs & NEED_LISTEN;

	return !child_is_data(c) && c->state == CHILD_DOWN && !c->done &&
	       (!listens || f->setup.chan.listen_fd >= 0);
}

/* Those that live alone: births whose time has come; returns when the next one is. */
static struct mono
alone_bear(struct fleet *f, struct mono now)
{
	struct mono next = mono_never();

	for (unsigned i = 0; i < f->n && f->phase < PHASE_CLOSING; i++) {
		struct child *c = &f->children[i];
		if (!may_be_born(f, c))
			continue;
		if (mono_due(c->birth_due, now))
			birth(f, c, now);
		if (c->state == CHILD_DOWN)
			next = mono_min(next, c->birth_due);
	}
	return next;
}

struct mono
fleet_tick(struct fleet *f, struct mono now)
{
	atomic_store(&f->setup.board->beat_us, now.us);
	hangs_end(f, now);
	dependencies_watch(f, now);
	settle(f, now);
	address_take(f, now);
	peers_tell(f);
	struct mono next = mono_min(alone_bear(f, now), mono_add_ms(now, TICK_MS));
	if (f->phase == PHASE_RENEWING && ask_data_down(f))
		next = mono_min(next, f->losses.bear_due);
	if (f->phase >= PHASE_DRAINING)
		next = mono_min(next, f->phase_due);
	board_publish(f->setup.board, f->children, f->n);
	return next;
}
