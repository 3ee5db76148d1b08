/* answer: another supervisor's /status, read with distrust. */
#include "peers.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define AGE_S_MAX  1e12
#define NUMBER_MAX INT64_C(9007199254740991) /* every reader of JSON can hold it */

/* What stands in a terminal or a log as it is: the rest becomes a question mark. */
static void
text_take(const json_t *o, const char *key, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(o, key));
	size_t n = 0;

	for (; s && s[n] && n < size - 1; n++)
		out[n] = s[n] >= 0x20 && s[n] < 0x7f ? s[n] : '?';
	out[n] = '\0';
}

static double
seconds_take(const json_t *o, const char *key)
{
	double v = json_number_value(json_object_get(o, key));

	return isfinite(v) && v > 0 ? fmin(v, AGE_S_MAX) : 0;
}

static uint64_t
number_take(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v < 0 ? 0 : v > NUMBER_MAX ? (uint64_t)NUMBER_MAX : (uint64_t)v;
}

static void
add(uint64_t *sum, uint64_t n)
{
	*sum = *sum + n > (uint64_t)NUMBER_MAX ? (uint64_t)NUMBER_MAX : *sum + n;
}

static void
sources_take(const json_t *sources, struct peer_answer *a)
{
	const json_t *s;
	size_t i;

	json_array_foreach(sources, i, s)
	{
		add(&a->events, number_take(s, "events"));
		add(&a->committed, number_take(s, "committed"));
		add(&a->backlog, number_take(s, "backlog"));
		add(&a->dead, number_take(s, "dead"));
	}
}

/* A role that we do not know is a newer version's. */
static void
roles_take(const json_t *root, struct peer_answer *a)
{
	const json_t *roles = json_object_get(root, "roles"), *r;
	size_t i;

	a->whole = json_is_null(json_object_get(root, "only"));
	json_array_foreach(roles, i, r)
	{
		const char *name = json_string_value(r);
		enum role role = name ? role_find(name) : ROLE_MAX;
		if (role != ROLE_MAX)
			a->roles |= 1u << role;
	}
}

static void
reasons_take(const json_t *unready, struct peer_answer *a)
{
	const json_t *u;
	size_t i;

	json_array_foreach(unready, i, u)
	{
		if (a->reasons_n == PEER_REASONS_MAX)
			return;
		struct peer_reason *r = &a->reasons[a->reasons_n++];
		text_take(u, "dependency", r->dependency, sizeof r->dependency);
		text_take(u, "role", r->role, sizeof r->role);
		text_take(u, "why", r->why, sizeof r->why);
	}
}

/* The parser descends by calls: what is deeper than any status is not given to it. */
static bool
deep(const uint8_t *text, size_t n)
{
	bool string = false;
	int depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (string && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			string = !string;
		else if (!string && (text[i] == '{' || text[i] == '['))
			depth++;
		else if (!string && (text[i] == '}' || text[i] == ']'))
			depth--;
		if (depth > PEER_DEPTH_MAX)
			return true;
	}
	return false;
}

static bool
refused(struct peer_answer *a, const char *why)
{
	snprintf(a->why, sizeof a->why, "%s", why);
	return false;
}

static bool
root_take(const json_t *root, const char *pipeline, struct peer_answer *a)
{
	char of[NAME_BYTES_MAX + 1];

	text_take(root, "pipeline", of, sizeof of);
	if (!json_is_object(root) || !*of)
		return refused(a, "its answer is no status of Weir");
	if (strcmp(of, pipeline) != 0) {
		snprintf(a->why, sizeof a->why, "it is of another pipeline: %s", of);
		return false;
	}
	text_take(root, "instance", a->instance, sizeof a->instance);
	text_take(root, "separation", a->separation, sizeof a->separation);
	a->ready = json_is_true(json_object_get(root, "ready"));
	a->draining = json_is_true(json_object_get(root, "draining"));
	a->generation = (uint32_t)number_take(root, "generation");
	a->uptime_s = seconds_take(root, "uptime_seconds");
	a->oldest_s = seconds_take(root, "oldest_uncommitted_seconds");
	roles_take(root, a);
	reasons_take(json_object_get(root, "unready"), a);
	sources_take(json_object_get(root, "sources"), a);
	return true;
}

bool
peer_answer_read(const char *pipeline, const uint8_t *text, size_t n, struct peer_answer *a)
{
	json_error_t where;

	if (deep(text, n))
		return refused(a, "its answer is nested too deeply");
	json_t *root = json_loadb((const char *)text, n, 0, &where);
	if (!root)
		return refused(a, "its answer is not JSON");
	bool good = root_take(root, pipeline, a);
	json_decref(root);
	return good;
}
