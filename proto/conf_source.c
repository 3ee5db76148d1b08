/*
 * conf_source: sources of a pipeline file: where events come from, and their fields.
 */
#include "conf_tree.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"

static char *
text_of(const struct conf_node *map, const char *key)
{
	struct conf_node *n = conf_good(map, key);

	return n && n->kind == CONF_SCALAR ? mem_string(n->text) : NULL;
}

int
conf_word(const struct conf_node *map, const char *key, int none)
{
	struct conf_node *n = conf_good(map, key);
	union option_value v;
	char why[256];

	if (!n || n->kind != CONF_SCALAR || !option_read(n->option, n->text, n->len, &v, why))
		return none;
	return (int)v.integer;
}

int64_t
conf_integer(const struct conf_node *map, const char *key, int64_t none)
{
	struct conf_node *n = conf_good(map, key);
	union option_value v;
	char why[256];

	if (!n || n->kind != CONF_SCALAR || !option_read(n->option, n->text, n->len, &v, why))
		return none;
	return v.integer;
}

bool
conf_boolean(const struct conf_node *map, const char *key)
{
	struct conf_node *n = conf_good(map, key);

	return n && n->kind == CONF_SCALAR && strcmp(n->text, "true") == 0;
}

enum value_type
conf_type(const struct conf_node *map)
{
	struct conf_node *n = conf_good(map, "type");
	enum value_type t;

	if (!n || n->kind != CONF_SCALAR)
		return VALUE_NULL;
	t = value_type_find(n->text, n->len);
	return t == VALUE_TYPE_MAX ? VALUE_NULL : t;
}

int
conf_field(struct conf_build *b, int source, struct conf_node *n, const char *name, uint32_t skip)
{
	const struct source *s = &b->m->sources[source];
	struct nearest near = {.word = name};

	for (unsigned i = 0; i < s->fields_n; i++) {
		if (strcmp(s->fields[i].name.s, name) == 0)
			return (int)i;
		nearest_try(&near, s->fields[i].name.s);
	}
	n->bad = true;
	conf_error_at(b->t, conf_scalar_at(b->t, n, skip), (uint32_t)strlen(name), near.best,
		      "source \"%s\" has no field %s", s->name.s,
		      conf_quote(b->t, name, strlen(name)));
	return -1;
}

/* ---- fields ---- */

static bool
path_is(const char *s)
{
	bool start = true;

	for (; *s; s++) {
		if (*s == '.' && start)
			return false;
		start = *s == '.';
	}
	return !start;
}

struct field *
conf_field_new(struct source *s, const char *name)
{
	struct field *f = &s->fields[s->fields_n++];

	*f = (struct field){.class = -1, .domain = -1, .token_of = -1};
	name_set(&f->name, name);
	snprintf(f->path, sizeof f->path, "%s", f->name.s);
	return f;
}

static void
field_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct field *f = conf_field_new(s, n->key);

	struct conf_node *path = conf_good(n, "path");
	struct conf_node *form = conf_good(n, "form");

	f->type = n->option && !n->bad ? conf_type(n) : VALUE_NULL;
	snprintf(f->path, sizeof f->path, "%s",
		 path && path->kind == CONF_SCALAR ? path->text : f->name.s);
	if (path && !path_is(f->path))
		conf_error(b->t, path, "\"path\" must be keys joined by single dots");
	f->form = (enum time_form)conf_word(n, "form", TIME_RFC3339);
	if (form && f->type != VALUE_TIMESTAMP && f->type != VALUE_NULL)
		conf_error_key(b->t, form, "\"form\" is for timestamps; this field is %s",
			       value_type_name(f->type));
	conf_seal_field(b, s, n);
}

static void
derive_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_scope scope = {.b = b,
				   .kind = SCOPE_SOURCE,
				   .source = (int)(s - b->m->sources),
				   .fields = s->fields_n,
				   .open = true};
	struct field *f;

	for (unsigned i = 0; i < s->fields_n; i++) {
		if (strcmp(s->fields[i].name.s, n->key) == 0)
			conf_error_key(b->t, n, "\"%s\" is the name of a declared field", n->key);
	}
	struct expr *x =
	    n->option && !n->bad ? conf_compile(&scope, n, 0, n->len, VALUE_NULL) : NULL;
	f = conf_field_new(s, n->key);
	f->derive = x;
	f->derive_text = n->text;
	f->type = x ? expr_type(x) : VALUE_NULL;
	if (x)
		conf_derive_check(b, n, x);
	if (x && f->type == VALUE_NULL)
		conf_error(b->t, n, "null alone has no type: write cast(null as TYPE)");
}

static void
fields_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *fields = conf_map_of(conf_get(n, "fields"));
	struct conf_node *derive = conf_map_of(conf_get(n, "derive"));
	unsigned made = conf_fields_made(n);
	unsigned count = (fields ? fields->members : 0) + (derive ? derive->members : 0) + made;

	if (count > FIELDS_MAX) {
		conf_error_key(b->t, fields ? fields : derive,
			       "a source has at most %d fields, this one %u%s", FIELDS_MAX, count,
			       made ? " (tokens are fields too)" : "");
		return;
	}
	if (fields && !fields->members)
		conf_error_key(b->t, fields, "a source needs at least one field");
	s->fields = mem_zero(count, sizeof *s->fields);
	for (struct conf_node *f = fields ? fields->first : NULL; f; f = f->next)
		field_read(b, s, f);
	for (struct conf_node *f = derive ? derive->first : NULL; f; f = f->next)
		derive_read(b, s, f);
	conf_unknown_fields(b, s, n);
	conf_paths_check(b, s, n);
}

/* A field of a source that a key of it names, of the type that it must have. */
static int
field_of(struct conf_build *b, struct source *s, struct conf_node *n, enum value_type a,
	 enum value_type or, const char *what)
{
	int i = conf_field(b, (int)(s - b->m->sources), n, n->text, 0);
	enum value_type t = i < 0 ? VALUE_NULL : s->fields[i].type;

	if (i >= 0 && !conf_clear(b, n, &s->fields[i], what))
		return -1;
	if (i < 0 || t == a || t == or || t == VALUE_NULL)
		return i;
	conf_error(b->t, n, "\"%s\" must be a field of type %s%s%s; \"%s\" is %s", n->key,
		   value_type_name(a), a == or ? "" : " or ", a == or ? "" : value_type_name(or),
		   s->fields[i].name.s, value_type_name(t));
	return -1;
}

static void
time_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *time = conf_good(n, "time");

	s->time = TIME_NONE;
	s->time_field = -1;
	if (!time || time->kind != CONF_SCALAR || strcmp(time->text, "none") == 0)
		return;
	if (strcmp(time->text, "broker") != 0) {
		s->time = TIME_OF_FIELD;
		s->time_field =
		    field_of(b, s, time, VALUE_TIMESTAMP, VALUE_TIMESTAMP, "the time of an event");
		return;
	}
	s->time = TIME_OF_BROKER;
	if (s->kind == SOURCE_FILE)
		conf_error(b->t, time, "a file has no broker: name a timestamp field, or `none`");
}

/* ---- where from ---- */

static void
kafka_read(struct source *s, struct conf_node *n)
{
	struct conf_node *properties = conf_map_of(conf_get(n, "properties"));

	s->brokers = text_of(n, "brokers");
	s->topic = text_of(n, "topic");
	s->from_latest = conf_word(n, "from", 0) == 1;
	if (!properties)
		return;
	s->properties = mem_zero(properties->members, sizeof *s->properties);
	for (struct conf_node *p = properties->first; p; p = p->next) {
		if (p->bad || p->kind != CONF_SCALAR)
			continue;
		s->properties[s->properties_n++] = (struct property){
		    .key = mem_string(p->key),
		    .value = option_is_reference(p->text) ? NULL : mem_string(p->text)};
	}
}

static void
rabbit_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *url = conf_good(n, "url");
	struct conf_node *identity = conf_good(n, "identity");

	s->queue = text_of(n, "queue");
	s->prefetch = (unsigned)conf_integer(n, "prefetch", 0);
	if (url && url->kind == CONF_SCALAR && !option_is_reference(url->text)) {
		s->url = mem_string(url->text);
		if (strncmp(s->url, "amqp://", 7) != 0 && strncmp(s->url, "amqps://", 8) != 0)
			conf_error(b->t, url,
				   "\"url\" must begin with amqp:// or amqps://, or be file:PATH "
				   "or env:NAME");
	}
	if (!identity || identity->kind != CONF_SCALAR)
		return;
	if (strcmp(identity->text, "message-id") == 0) {
		s->identity = IDENTITY_MESSAGE_ID;
	} else if (strcmp(identity->text, "body") == 0) {
		s->identity = IDENTITY_BODY;
	} else {
		s->identity = IDENTITY_PATH;
		snprintf(s->identity_path, sizeof s->identity_path, "%s", identity->text);
		if (!path_is(identity->text))
			conf_error(
			    b->t, identity,
			    "\"identity\" must be message-id, body, or keys joined by single dots");
	}
}

static void
file_source_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *path = conf_good(n, "path");

	s->path = text_of(n, "path");
	s->follow = conf_boolean(n, "follow");
	if (!s->path)
		return;
	const char *slash = strrchr(s->path, '/');
	size_t glob = strcspn(s->path, "*?[");
	if (slash && glob < (size_t)(slash - s->path))
		conf_error(b->t, path,
			   "a pattern is possible in the last component of a path only");
}

static void
kind_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *kafka = conf_map_of(conf_get(n, "kafka"));
	struct conf_node *rabbit = conf_map_of(conf_get(n, "rabbitmq"));
	struct conf_node *file = conf_map_of(conf_get(n, "file"));

	s->kind = kafka	   ? SOURCE_KAFKA
		  : rabbit ? SOURCE_RABBITMQ
		  : file   ? SOURCE_FILE
			   : SOURCE_KIND_MAX;
	if (kafka)
		kafka_read(s, kafka);
	if (rabbit)
		rabbit_read(b, s, rabbit);
	if (file)
		file_source_read(b, s, file);
}

static void
label_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *cluster = conf_good(n, "cluster");
	const char *name = cluster && cluster->kind == CONF_SCALAR ? cluster->text : "";

	for (const char *c = name; *c; c++) {
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c)) {
			conf_error(b->t, cluster,
				   "\"cluster\" may have letters, digits, dots, _ and - only");
			break;
		}
	}
	if (*name && s->kind != SOURCE_KAFKA && s->kind != SOURCE_KIND_MAX)
		conf_error_key(b->t, cluster, "\"cluster\" is for Kafka sources");
	snprintf(s->label, sizeof s->label, "%s@%s#%lld", s->name.s, name,
		 (long long)conf_integer(n, "generation", 1));
}

static void
source_read(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *key;

	name_set(&s->name, n->key);
	if (strcmp(n->key, "process") == 0)
		conf_error_key(b->t, n,
			       "a source cannot be called \"process\": that is a grain of facts");
	s->kind = SOURCE_KIND_MAX;
	s->key_field = s->sequence_field = s->time_field = -1;
	s->subject_field = s->unknown_field = -1;
	if (n->kind != CONF_MAP || !n->option)
		return;
	kind_read(b, s, n);
	label_read(b, s, n);
	fields_read(b, s, n);
	time_read(b, s, n);
	key = conf_good(n, "sequence");
	if (key && key->kind == CONF_SCALAR)
		s->sequence_field =
		    field_of(b, s, key, VALUE_INTEGER, VALUE_INTEGER, "what orders events");
	key = conf_get(n, "reference");
	s->reference = key != NULL;
	if (key && !key->bad && key->kind == CONF_SCALAR)
		s->key_field =
		    field_of(b, s, key, VALUE_TEXT, VALUE_INTEGER, "the key of a member");
	key = conf_good(n, "subject");
	if (key && key->kind == CONF_SCALAR)
		conf_subject(b, s, key);
}

void
conf_sources(struct conf_build *b)
{
	struct conf_node *sources = conf_map_of(conf_get(b->t->root, "sources"));
	struct model *m = b->m;
	struct conf_node *queue = NULL;

	if (!sources)
		return;
	if (!sources->members)
		conf_error_key(b->t, sources, "a pipeline needs at least one source");
	if (sources->members > SOURCES_MAX) {
		conf_error_key(b->t, sources, "a pipeline has at most %d sources, this one %u",
			       SOURCES_MAX, sources->members);
		return;
	}
	/* One more for the exchange: messages point at names in here, so it never moves. */
	m->sources = mem_zero(sources->members + 1, sizeof *m->sources);
	for (struct conf_node *n = sources->first; n; n = n->next) {
		struct source *s = &m->sources[m->sources_n++];
		source_read(b, s, n);
		if (s->kind == SOURCE_RABBITMQ && !queue)
			queue = n;
	}
	if (queue && !conf_get(b->t->root, "rid_key") &&
	    option_seen(option_child(b->t->root->option, "rid_key"), b->t->role))
		conf_error_key(b->t, queue,
			       "a queue needs `rid_key: file:PATH` at the top of the file: the key "
			       "from which the "
			       "identities of its messages are made (`weir apply` creates it)");
	conf_classes(b);
}
