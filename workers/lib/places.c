#include "places.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "mem.h"

static void
place_add(struct places *p, const char *path, size_t n)
{
	p->list = mem_resize(p->list, p->n + 2, sizeof *p->list);
	p->list[p->n++] = mem_string_n(path, n);
	p->list[p->n] = NULL;
}

/* Cuts the last component off; "/" stays. */
static void
parent(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		memcpy(path, "/", 2);
	else
		*slash = '\0';
}

/* path: a directory, a file in one, or a glob in its last component. */
static void
source_add(struct places *p, const struct source *s)
{
	char *path = mem_string_n(s->path, strlen(s->path));
	struct stat st;
	bool missing = false;

	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		parent(path);
	while (strcmp(path, "/") != 0 && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))) {
		missing = true;
		parent(path);
	}
	if (missing)
		log_warn("source %s: its directory is not there yet; until a start that finds it, "
			 "ingest may read whatever this user may under %s",
			 s->name.s, path);
	place_add(p, path, strlen(path));
	free(path);
}

/* Options of an AMQP URL: ...?cacertfile=/path&keyfile=/path */
static void
url_add(struct places *p, const char *url, size_t n)
{
	static const char mark[] = "file=/";
	const char *end = url + n, *at = url;

	while (at < end && (at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)) != NULL) {
		const char *path = at + sizeof mark - 2, *stop = path;
		while (stop < end && *stop != '&' && *stop != '\n')
			stop++;
		place_add(p, path, (size_t)(stop - path));
		at = stop;
	}
}

/* A secret is a property's value or a URL. */
static void
secrets_add(struct places *p, struct worker *w)
{
	for (unsigned i = 0; i < w->secrets_n; i++) {
		struct buf text = {0};
		struct err e;
		if (skel_secret(w, w->secrets[i].name, &text, &e)) {
			if (text.len && text.data[0] == '/')
				place_add(p, (const char *)text.data, text.len);
			url_add(p, (const char *)text.data, text.len);
		}
		if (text.data)
			explicit_bzero(text.data, text.cap);
		buf_free(&text);
	}
}

static void
properties_add(struct places *p, const struct property *properties, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *value = properties[i].value;
		if (value && value[0] == '/')
			place_add(p, value, strlen(value));
	}
}

void
places_of_sources(struct worker *w, struct places *out)
{
	const struct exchange *x = &w->model->exchange;

	*out = (struct places){0};
	for (unsigned i = 0; i < w->model->sources_n; i++) {
		const struct source *s = &w->model->sources[i];
		if (s->kind == SOURCE_FILE && s->path)
			source_add(out, s);
		if (s->url)
			url_add(out, s->url, strlen(s->url));
		properties_add(out, s->properties, s->properties_n);
	}
	properties_add(out, x->properties, x->properties_n);
	secrets_add(out, w);
}

void
places_free(struct places *p)
{
	for (unsigned i = 0; i < p->n; i++)
		free(p->list[i]);
	free(p->list);
	*p = (struct places){0};
}
