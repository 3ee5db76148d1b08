#include "peers.h"

#include <netdb.h>
#include <pthread.h>
#include <resolv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum {
	STACK_BYTES = 512 * 1024,
	RESOLVE_S = 1,	   /* a name server has so long, */
	RESOLVE_TRIES = 2, /* so often */
};

struct asker {
	struct peers *all;
	unsigned peer;
	pthread_t thread;
	bool running;
	struct http_gets *gets;
	struct peer_answer *round;   /* the one that is being asked, one for each address */
	struct http_get *gets_first; /* of the round; gets_first[i] is round[i]'s */
	struct peer_answer *answers; /* of the last round; under the lock */
	unsigned answers_n;
};

/* Has copies of all that a thread reads: one that a name server holds outlives the worker. */
struct peers {
	struct name pipeline;
	struct peer_name names[PEERS_MAX];
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
	pthread_mutex_t reading; /* one answer at a time: as JSON it takes many times its bytes */
	struct asker askers[PEERS_MAX];
	unsigned n;
};

/* ---- addresses ---- */

static int
address_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool
address_print(const struct addrinfo *at, char out[static 80])
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return false;
	int n = snprintf(out, 80, at->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	return n > 0 && n < 80;
}

/* Sorted, each once; 0 and why when there is none. */
static unsigned
resolve(const struct peer_name *name, char out[][80], char why[static 160])
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
	unsigned n = 0, kept = 0;
	int code = getaddrinfo(name->host, name->port, &hints, &list);

	if (code != 0) {
		snprintf(why, 160, "the name does not resolve: %s", gai_strerror(code));
		return 0;
	}
	for (const struct addrinfo *at = list; at && n < PEER_ADDRESSES_MAX; at = at->ai_next)
		n += address_print(at, out[n]);
	freeaddrinfo(list);
	qsort(out, n, sizeof *out, address_compare);
	for (unsigned i = 0; i < n; i++)
		if (!i || strcmp(out[i], out[kept - 1]) != 0)
			memmove(out[kept++], out[i], sizeof *out);
	if (!n)
		snprintf(why, 160, "the name has no address");
	return kept;
}

/* ---- one round ---- */

/* Only the thread itself changes its list, so it may read it without the lock. */
static struct mono
answered_before(const struct asker *a, const char *address)
{
	for (unsigned i = 0; i < a->answers_n; i++)
		if (!strcmp(a->answers[i].address, address))
			return a->answers[i].answered_at;
	return (struct mono){0};
}

static void
answer_take(void *ctx, const struct http_get *get)
{
	const struct asker *a = ctx;
	struct peer_answer *to = &a->round[get - a->gets_first];

	to->answered_at = answered_before(a, to->address);
	if (get->status == 200) {
		pthread_mutex_lock(&a->all->reading);
		to->up = peer_answer_read(a->all->pipeline.s, get->body.data, get->body.len, to);
		pthread_mutex_unlock(&a->all->reading);
		if (to->up)
			to->answered_at = mono_now();
	} else if (get->status) {
		snprintf(to->why, sizeof to->why, "it answers %d: no status of Weir", get->status);
	} else {
		snprintf(to->why, sizeof to->why, "%s", get->why);
	}
}

static void
publish(struct asker *a, struct peer_answer *answers, unsigned n)
{
	pthread_mutex_lock(&a->all->lock);
	struct peer_answer *old = a->answers;
	a->answers = answers;
	a->answers_n = n;
	pthread_mutex_unlock(&a->all->lock);
	free(old);
}

static void
ask(struct asker *a)
{
	const struct peer_name *name = &a->all->names[a->peer];
	char at[PEER_ADDRESSES_MAX][80];
	struct peer_answer none = {.peer = a->peer};
	unsigned n = resolve(name, at, none.why);
	struct http_get *gets = mem_zero(n, sizeof *gets);
	struct peer_answer *answers = mem_zero(n ? n : 1, sizeof *answers);

	for (unsigned i = 0; i < n; i++) {
		snprintf(gets[i].url, sizeof gets[i].url, "%s/status", name->url);
		memcpy(gets[i].at, at[i], sizeof gets[i].at);
		gets[i].bytes_max = PEER_BYTES_MAX;
		answers[i].peer = a->peer;
		memcpy(answers[i].address, at[i], sizeof at[i]);
	}
	a->round = answers;
	a->gets_first = gets;
	http_gets_run(a->gets, gets, n, answer_take, a);
	if (!n)
		answers[0] = none;
	free(gets);
	publish(a, answers, n ? n : 1);
}

/* ---- threads ---- */

/* False: it is over. */
static bool
pause_until(struct peers *p, struct mono at)
{
	struct timespec t = {.tv_sec = at.us / 1000000, .tv_nsec = at.us % 1000000 * 1000};
	int r = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->stopping && r == 0)
		r = pthread_cond_timedwait(&p->wake, &p->lock, &t);
	bool go_on = !p->stopping;
	pthread_mutex_unlock(&p->lock);
	return go_on;
}

static void *
asker_run(void *arg)
{
	struct asker *a = arg;
	struct mono next;

	/* Settings of the resolver are each thread's own. No dead server holds a stop. */
	if (res_init() == 0) {
		_res.retrans = RESOLVE_S;
		_res.retry = RESOLVE_TRIES;
	}
	do {
		next = mono_add_ms(mono_now(), PEER_ASK_MS);
		ask(a);
	} while (pause_until(a->all, next));
	return NULL;
}

static bool
asker_start(struct asker *a, struct err *e)
{
	pthread_attr_t attr;
	sigset_t all, before;

	a->gets = http_gets_open(e);
	if (!a->gets)
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	int r = pthread_create(&a->thread, &attr, asker_run, a);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	a->running = r == 0;
	return a->running || err_set(e, EXIT_UNAVAILABLE, "no thread for a peer: error %d", r);
}

struct peers *
peers_open(const struct model *m, struct err *e)
{
	struct peers *p = mem_zero(1, sizeof *p);
	pthread_condattr_t attr;

	check(m->peers_n <= PEERS_MAX);
	p->pipeline = m->pipeline;
	memcpy(p->names, m->peers, m->peers_n * sizeof *p->names);
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->reading, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	for (; p->n < m->peers_n; p->n++) {
		p->askers[p->n] = (struct asker){.all = p, .peer = p->n};
		if (!asker_start(&p->askers[p->n], e)) {
			p->n++;
			peers_close(p);
			return NULL;
		}
	}
	return p;
}

/* False: it did not end in time. A name server may hold it; it sees nothing that we free. */
static bool
asker_end(struct asker *a, struct mono deadline)
{
	struct timespec t = {.tv_sec = deadline.us / 1000000,
			     .tv_nsec = deadline.us % 1000000 * 1000};

	if (a->running && pthread_clockjoin_np(a->thread, NULL, CLOCK_MONOTONIC, &t) != 0)
		return false;
	http_gets_close(a->gets);
	free(a->answers);
	return true;
}

void
peers_close(struct peers *p)
{
	struct mono deadline = mono_add_ms(mono_now(), PEER_STOP_MS);
	bool all = true;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n; i++)
		if (p->askers[i].gets)
			http_gets_stop(p->askers[i].gets);
	for (unsigned i = 0; i < p->n; i++)
		all &= asker_end(&p->askers[i], deadline);
	if (!all)
		return; /* the process ends, and with it the thread that still has this */
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->reading);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

unsigned
peers_take(struct peers *p, struct peer_answer **out)
{
	unsigned n = 0;

	*out = NULL;
	if (!p)
		return 0;
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->n; i++)
		n += p->askers[i].answers_n;
	if (n)
		*out = mem_alloc(n * sizeof **out);
	n = 0;
	for (unsigned i = 0; i < p->n; i++) {
		const struct asker *a = &p->askers[i];
		if (a->answers_n)
			memcpy(*out + n, a->answers, a->answers_n * sizeof **out);
		n += a->answers_n;
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}
