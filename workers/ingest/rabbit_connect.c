/*
 * rabbit_connect: reaching a RabbitMQ broker. Resolving, TCP, TLS, login and the first questions
 * take several round trips, so a thread does them, one attempt at a time, and hands the open
 * connection over.
 */
#include "rabbit_private.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"

enum {
	CONNECT_SECONDS = 2,   /* TCP */
	HANDSHAKE_SECONDS = 5, /* TLS, login and each question */
	/* A host that is lost: after two to three of them its messages are others'. */
	HEARTBEAT_SECONDS = 4,
	HEARTBEAT_SECONDS_MAX = 600,
	SILENCE_MS_MAX = 10000, /* unacknowledged TCP data: the peer is gone */
	FRAME_MAX = 131072,
	URL_BYTES_MAX = 4096,
};

#define CA_BUNDLE "/etc/ssl/certs/ca-certificates.crt" /* unless cacertfile is given */

struct connector {
	/* Fixed after connector_open. */
	char *url; /* cut into the parts that the others point to */
	size_t url_len;
	struct amqp_connection_info info;
	const char *ca, *cert, *key;
	bool verify;
	int heartbeat;
	uint16_t prefetch;
	char *queue;
	char name[160]; /* of the connection, as the broker's tools show it */
	char place[640];
	int event;

	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under the lock. */
	bool wanted, stop;
	int fd; /* of the attempt under way, to cut it short; -1 */
	enum connect_result result;
	struct connected connected;
	char why[SOURCE_TROUBLE_MAX];
};

/* ---- the URL ---- */

static bool
option_read(struct connector *c, char *name, const char *value)
{
	static const char *const yes_no[] = {"verify_none", "verify_peer"};

	if (!strcmp(name, "cacertfile"))
		c->ca = value;
	else if (!strcmp(name, "certfile"))
		c->cert = value;
	else if (!strcmp(name, "keyfile"))
		c->key = value;
	else if (!strcmp(name, "verify") && !strcmp(value, yes_no[0]))
		c->verify = false;
	else if (!strcmp(name, "verify") && !strcmp(value, yes_no[1]))
		c->verify = true;
	else if (!strcmp(name, "heartbeat")) {
		c->heartbeat = (int)strtol(value, NULL, 10);
		return c->heartbeat > 0 && c->heartbeat <= HEARTBEAT_SECONDS_MAX;
	} else
		return false;
	return true;
}

static bool
options_read(struct connector *c, char *query, struct err *e)
{
	char *o;

	while ((o = strsep(&query, "&"))) {
		char *value = strchr(o, '=');

		if (value)
			*value++ = 0;
		if (!value || !option_read(c, o, value))
			return err_set(
			    e, EXIT_CONFIG,
			    "the option \"%s\" of rabbitmq.url: there are cacertfile, "
			    "certfile, "
			    "keyfile, verify=verify_peer|verify_none and heartbeat=1..%d",
			    o, HEARTBEAT_SECONDS_MAX);
	}
	if (!c->cert != !c->key)
		return err_set(e, EXIT_CONFIG,
			       "certfile and keyfile of rabbitmq.url belong together");
	const char *files[] = {c->info.ssl && c->verify ? c->ca : NULL, c->cert, c->key};
	for (unsigned i = 0; i < 3; i++)
		if (files[i] && access(files[i], R_OK))
			return err_errno(e, EXIT_CONFIG, "%s of rabbitmq.url", files[i]);
	return true;
}

static bool
url_read(struct connector *c, const struct source_setup *setup, struct err *e)
{
	const char *source = setup->source->name.s;
	static char root[] = "/";
	char secret[160];
	struct buf url = {0};

	snprintf(secret, sizeof secret, "sources.%s.rabbitmq.url", source);
	if (!setup->secret || !setup->secret(setup->secret_ctx, secret, &url)) {
		if (!setup->source->url)
			return err_set(e, EXIT_CONFIG, "%s was not given", secret);
		buf_text(&url, setup->source->url);
	}
	c->url = mem_string(buf_cstr(&url));
	c->url_len = strlen(c->url);
	explicit_bzero(url.data, url.len);
	bool fits = url.len <= URL_BYTES_MAX;
	buf_free(&url);
	char *query = strchr(c->url, '?');
	if (query)
		*query++ = 0;
	/* The text itself is not repeated: it holds a password. */
	if (!fits || amqp_parse_url(c->url, &c->info) != AMQP_STATUS_OK)
		return err_set(e, EXIT_CONFIG,
			       "rabbitmq.url is not amqp[s]://USER:PASSWORD@HOST:PORT/VHOST");
	if (!*c->info.vhost)
		c->info.vhost = root;
	return !query || options_read(c, query, e);
}

/* ---- one attempt ---- */

static bool
reply_good(amqp_rpc_reply_t reply, char *why)
{
	switch (reply.reply_type) {
	case AMQP_RESPONSE_NORMAL:
		return true;
	case AMQP_RESPONSE_SERVER_EXCEPTION:
		close_words(&reply.reply, why, SOURCE_TROUBLE_MAX);
		return false;
	case AMQP_RESPONSE_LIBRARY_EXCEPTION:
		snprintf(why, SOURCE_TROUBLE_MAX, "%s", amqp_error_string2(reply.library_error));
		return false;
	default:
		snprintf(why, SOURCE_TROUBLE_MAX, "no answer");
		return false;
	}
}

static bool
status_good(int status, const char *what, char *why)
{
	if (status == AMQP_STATUS_OK)
		return true;
	if (status == AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED)
		snprintf(why, SOURCE_TROUBLE_MAX,
			 "the broker's certificate is of another host (a host name must be in it; "
			 "an address is "
			 "not compared)");
	else
		snprintf(why, SOURCE_TROUBLE_MAX, "%s: %s", what, amqp_error_string2(status));
	return false;
}

static amqp_socket_t *
socket_make(struct connector *c, amqp_connection_state_t conn, char *why)
{
	if (!c->info.ssl)
		return amqp_tcp_socket_new(conn);
	amqp_socket_t *s = amqp_ssl_socket_new(conn);
	if (!s)
		return NULL;
	amqp_ssl_socket_set_verify_peer(s, c->verify);
	amqp_ssl_socket_set_verify_hostname(s, c->verify);
	bool good =
	    (!c->verify || status_good(amqp_ssl_socket_set_cacert(s, c->ca), c->ca, why)) &&
	    (!c->cert || status_good(amqp_ssl_socket_set_key(s, c->cert, c->key), c->cert, why)) &&
	    status_good(amqp_ssl_socket_set_ssl_versions(s, AMQP_TLSv1_2, AMQP_TLSvLATEST), "TLS",
			why);
	return good ? s : NULL;
}

/* True: go on. */
static bool
attempt_fd(struct connector *c, int fd)
{
	pthread_mutex_lock(&c->lock);
	c->fd = fd;
	bool go_on = !c->stop;
	pthread_mutex_unlock(&c->lock);
	return go_on;
}

static bool
login(struct connector *c, amqp_connection_state_t conn, char *why)
{
	/* The library puts its own capabilities beneath these: authentication_failure_close. */
	amqp_table_entry_t cancel = entry_true("consumer_cancel_notify");
	amqp_table_entry_t entries[] = {
	    {.key = amqp_cstring_bytes("connection_name"),
	     .value = {.kind = AMQP_FIELD_KIND_UTF8,
		       .value = {.bytes = amqp_cstring_bytes(c->name)}}},
	    {.key = amqp_cstring_bytes("capabilities"),
	     .value = {.kind = AMQP_FIELD_KIND_TABLE,
		       .value = {.table = {.num_entries = 1, .entries = &cancel}}}}};
	amqp_table_t properties = {.num_entries = 2, .entries = entries};

	return reply_good(amqp_login_with_properties(
			      conn, c->info.vhost, RABBIT_CHANNEL, FRAME_MAX, c->heartbeat,
			      &properties, AMQP_SASL_METHOD_PLAIN, c->info.user, c->info.password),
			  why);
}

static bool
prepare(struct connector *c, struct connected *out, char *why)
{
	amqp_connection_state_t conn = out->conn;

	amqp_channel_open(conn, RABBIT_CHANNEL);
	if (!reply_good(amqp_get_rpc_reply(conn), why))
		return false;
	amqp_basic_qos(conn, RABBIT_CHANNEL, 0, c->prefetch, false);
	if (!reply_good(amqp_get_rpc_reply(conn), why))
		return false;
	const amqp_queue_declare_ok_t *ok =
	    amqp_queue_declare(conn, RABBIT_CHANNEL, amqp_cstring_bytes(c->queue), true, false,
			       false, false, amqp_empty_table);
	if (!reply_good(amqp_get_rpc_reply(conn), why))
		return false;
	out->ready = ok->message_count;
	out->consumers = ok->consumer_count;
	return true;
}

static bool
reach(struct connector *c, struct connected *out, char *why)
{
	struct timeval connecting = {.tv_sec = CONNECT_SECONDS};
	struct timeval shaking = {.tv_sec = HANDSHAKE_SECONDS};
	unsigned silence = SILENCE_MS_MAX;

	amqp_set_handshake_timeout(out->conn, &shaking);
	amqp_set_rpc_timeout(out->conn, &shaking);
	amqp_socket_t *socket = socket_make(c, out->conn, why);
	if (!socket)
		return false;
	int status = amqp_socket_open_noblock(socket, c->info.host, c->info.port, &connecting);
	if (!status_good(status, "no connection", why))
		return false;
	int fd = amqp_get_sockfd(out->conn);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence);
	return attempt_fd(c, fd) && login(c, out->conn, why) && prepare(c, out, why);
}

static void
attempt(struct connector *c)
{
	struct connected made = {.conn = amqp_new_connection()};
	char why[SOURCE_TROUBLE_MAX] = "no memory for a connection";
	bool good = made.conn && reach(c, &made, why);
	uint64_t one = 1;

	attempt_fd(c, -1);
	if (!good && made.conn)
		amqp_destroy_connection(made.conn);
	pthread_mutex_lock(&c->lock);
	c->wanted = false;
	c->result = good ? CONNECT_DONE : CONNECT_FAILED;
	c->connected = made;
	snprintf(c->why, sizeof c->why, "%s", why);
	pthread_mutex_unlock(&c->lock);
	if (write(c->event, &one, sizeof one) < 0)
		check(errno == EAGAIN); /* it is raised already */
}

static void *
connector_main(void *arg)
{
	struct connector *c = arg;

	for (;;) {
		pthread_mutex_lock(&c->lock);
		while (!c->wanted && !c->stop)
			pthread_cond_wait(&c->wake, &c->lock);
		bool stop = c->stop;
		pthread_mutex_unlock(&c->lock);
		if (stop)
			return NULL;
		attempt(c);
	}
}

/* ---- for the driver ---- */

bool
connector_open(const struct source_setup *setup, int event, struct connector **out, struct err *e)
{
	struct connector *c = mem_zero(1, sizeof *c);
	sigset_t all, before;

	*c = (struct connector){
	    .ca = CA_BUNDLE,
	    .verify = true,
	    .heartbeat = HEARTBEAT_SECONDS,
	    .event = event,
	    .fd = -1,
	    .prefetch =
		(uint16_t)(setup->source->prefetch ? setup->source->prefetch : PREFETCH_DEFAULT)};
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	c->queue = mem_string(setup->source->queue);
	if (!url_read(c, setup, e)) {
		connector_close(c);
		return false;
	}
	snprintf(c->name, sizeof c->name, "weir %s %s", setup->model->pipeline.s,
		 setup->source->name.s);
	snprintf(c->place, sizeof c->place, "queue %s at %.255s:%d", c->queue, c->info.host,
		 c->info.port);
	/* Signals are the worker's main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	errno = pthread_create(&c->thread, NULL, connector_main, c);
	c->running = !errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!c->running) {
		err_errno(e, EXIT_UNAVAILABLE, "a thread");
		connector_close(c);
		return false;
	}
	*out = c;
	return true;
}

void
connector_want(struct connector *c)
{
	pthread_mutex_lock(&c->lock);
	check(!c->wanted && c->result == CONNECT_BUSY);
	c->wanted = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

enum connect_result
connector_take(struct connector *c, struct connected *out, char *why)
{
	pthread_mutex_lock(&c->lock);
	enum connect_result result = c->result;
	if (result == CONNECT_DONE)
		*out = c->connected;
	if (result == CONNECT_FAILED)
		snprintf(why, SOURCE_TROUBLE_MAX, "%s", c->why);
	c->result = CONNECT_BUSY;
	pthread_mutex_unlock(&c->lock);
	return result;
}

const char *
connector_place(const struct connector *c)
{
	return c->place;
}

void
connector_close(struct connector *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	if (c->running)
		pthread_join(c->thread, NULL);
	if (c->result == CONNECT_DONE)
		amqp_destroy_connection(c->connected.conn);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	if (c->url)
		explicit_bzero(c->url, c->url_len);
	free(c->url);
	free(c->queue);
	free(c);
}
