#include "http_get.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "mem.h"

enum { POLL_MS = 500 };

struct http_gets {
	CURLM *multi;
	_Atomic bool stopped;
};

struct request {
	struct http_get *get;
	CURL *easy;
	struct curl_slist *to;
	bool long_; /* more bytes came than it may have */
};

struct http_gets *
http_gets_open(struct err *e)
{
	struct http_gets *h = mem_zero(1, sizeof *h);

	/* Without TLS: nothing of it is used, and its settings are not read. */
	if (curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK) {
		h->multi = curl_multi_init();
		if (h->multi)
			return h;
		curl_global_cleanup();
	}
	free(h);
	err_set(e, EXIT_BUG, "the HTTP client does not start");
	return NULL;
}

void
http_gets_close(struct http_gets *h)
{
	if (!h)
		return;
	curl_multi_cleanup(h->multi);
	curl_global_cleanup();
	free(h);
}

static size_t
body_take(char *data, size_t size, size_t n, void *ctx)
{
	struct request *r = ctx;
	size_t bytes = size * n;

	if (bytes > r->get->bytes_max - r->get->body.len) {
		r->long_ = true;
		return 0;
	}
	buf_add(&r->get->body, data, bytes);
	return bytes;
}

static void
options_set(struct request *r)
{
	CURL *c = r->easy;
	bool good = true;

	good &= curl_easy_setopt(c, CURLOPT_URL, r->get->url) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_CONNECT_TO, r->to) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http") == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_HTTP09_ALLOWED, 0L) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK;
	good &=
	    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)HTTP_GET_CONNECT_MS) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)HTTP_GET_MS) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_take) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_WRITEDATA, r) == CURLE_OK;
	good &= curl_easy_setopt(c, CURLOPT_PRIVATE, r) == CURLE_OK;
	check(good);
}

static void
request_begin(struct http_gets *h, struct request *r, struct http_get *get)
{
	char to[sizeof get->at + 4];

	*r = (struct request){.get = get, .easy = curl_easy_init()};
	snprintf(to, sizeof to, "::%s", get->at);
	r->to = curl_slist_append(NULL, to);
	check(r->easy && r->to);
	get->status = 0;
	buf_clear(&get->body);
	snprintf(get->why, sizeof get->why, "not asked to the end");
	options_set(r);
	check(curl_multi_add_handle(h->multi, r->easy) == CURLM_OK);
}

static void
request_end(struct http_gets *h, struct request *r)
{
	curl_multi_remove_handle(h->multi, r->easy);
	curl_easy_cleanup(r->easy);
	curl_slist_free_all(r->to);
	*r = (struct request){0};
}

static void
result_take(struct request *r, CURLcode code)
{
	struct http_get *get = r->get;
	long status = 0;

	if (code == CURLE_OK)
		curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	get->status = (int)status;
	if (r->long_)
		snprintf(get->why, sizeof get->why, "its answer has more than %zu bytes",
			 get->bytes_max);
	else if (code == CURLE_OPERATION_TIMEDOUT)
		snprintf(get->why, sizeof get->why, "no whole answer within %d ms", HTTP_GET_MS);
	else if (code != CURLE_OK)
		snprintf(get->why, sizeof get->why, "%s", curl_easy_strerror(code));
	if (!get->status)
		buf_clear(&get->body);
}

struct listener {
	http_get_ended *ended;
	void *ctx;
};

static void
tell(const struct listener *l, struct http_get *get)
{
	l->ended(l->ctx, get);
	buf_free(&get->body);
}

/* Takes what has ended; returns how many. */
static unsigned
results_take(struct http_gets *h, const struct listener *l)
{
	unsigned ended = 0;
	const CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left)) != NULL) {
		char *mine = NULL;
		if (m->msg != CURLMSG_DONE)
			continue;
		CURLcode code = m->data.result; /* m is gone with its handle */
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &mine);
		struct request *r = (struct request *)(void *)mine;
		struct http_get *get = r->get;
		result_take(r, code);
		request_end(h, r);
		tell(l, get);
		ended++;
	}
	return ended;
}

void
http_gets_run(struct http_gets *h, struct http_get *gets, unsigned n, http_get_ended *ended,
	      void *ctx)
{
	const struct listener l = {ended, ctx};
	struct request requests[HTTP_GETS_AT_ONCE] = {0};
	unsigned begun = 0, active = 0;
	int running;

	while (!atomic_load(&h->stopped) && (begun < n || active)) {
		for (unsigned i = 0; i < HTTP_GETS_AT_ONCE && begun < n; i++) {
			if (requests[i].easy)
				continue;
			request_begin(h, &requests[i], &gets[begun++]);
			active++;
		}
		curl_multi_perform(h->multi, &running);
		active -= results_take(h, &l);
		if (active)
			curl_multi_poll(h->multi, NULL, 0, POLL_MS, NULL);
	}
	for (unsigned i = 0; i < HTTP_GETS_AT_ONCE; i++)
		if (requests[i].easy) {
			struct http_get *get = requests[i].get;
			request_end(h, &requests[i]);
			buf_free(&get->body);
			tell(&l, get);
		}
	for (; begun < n; begun++)
		tell(&l, &gets[begun]);
}

void
http_gets_stop(struct http_gets *h)
{
	atomic_store(&h->stopped, true);
	curl_multi_wakeup(h->multi);
}
