/*
 * conf_peers: where other supervisors' status may be.
 */
#include "conf_tree.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

static const char scheme[] = "http://";

/* A name or a number; [..] around one of IPv6. What else a URL may hold has no meaning here. */
static bool
host_is(const char *s, size_t n)
{
	bool six = n > 2 && s[0] == '[' && s[n - 1] == ']';

	for (size_t i = six; i < n - six; i++) {
		if (!isalnum((unsigned char)s[i]) && !strchr(six ? ":." : ".-_", s[i]))
			return false;
	}
	return n > 0;
}

static bool
port_is(const char *s, size_t n)
{
	long port = 0;

	if (n >= sizeof((struct peer_name *)0)->port)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)s[i]))
			return false;
		port = port * 10 + (s[i] - '0');
	}
	return port > 0 && port <= 65535;
}

static bool
peer_read(const char *text, struct peer_name *out)
{
	if (strncmp(text, scheme, sizeof scheme - 1) != 0)
		return false;
	const char *host = text + sizeof scheme - 1, *colon = strrchr(host, ':');
	size_t n = strlen(text), port_n = colon ? strlen(colon + 1) : 0;
	if (port_n && text[n - 1] == '/') {
		port_n--;
		n--;
	}
	if (!colon || n >= sizeof out->url || !host_is(host, (size_t)(colon - host)) ||
	    !port_is(colon + 1, port_n))
		return false;
	size_t host_n = (size_t)(colon - host);
	if (*host == '[') {
		host++;
		host_n -= 2;
	}
	if (host_n >= sizeof out->host)
		return false;
	snprintf(out->url, sizeof out->url, "%.*s", (int)n, text);
	snprintf(out->host, sizeof out->host, "%.*s", (int)host_n, host);
	snprintf(out->port, sizeof out->port, "%.*s", (int)port_n, colon + 1);
	return true;
}

void
conf_peers(struct conf_build *b)
{
	struct conf_node *list = conf_good(b->t->root, "peers");
	struct model *m = b->m;

	if (!list || list->kind != CONF_LIST)
		return;
	if (list->members > PEERS_MAX) {
		conf_error_key(b->t, list, "a pipeline has at most %d peers, this one %u",
			       PEERS_MAX, list->members);
		return;
	}
	m->peers = mem_zero(list->members, sizeof *m->peers);
	for (struct conf_node *n = list->first; n; n = n->next) {
		struct peer_name *p = &m->peers[m->peers_n];
		if (n->bad || n->kind != CONF_SCALAR)
			continue;
		if (!peer_read(n->text, p)) {
			conf_error(b->t, n, "a peer must be http://HOST:PORT");
			continue;
		}
		for (unsigned i = 0; i < m->peers_n; i++) {
			if (!strcmp(m->peers[i].url, p->url))
				conf_error(b->t, n, "\"%s\" stands here twice", p->url);
		}
		m->peers_n++;
	}
}
