#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf_tree.h"
#include "mem.h"

/* Directory of a path, as it is written; "." for a bare name. */
static char *
directory_of(struct conf_tree *t, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *cwd;

	if (path[0] == '/')
		return conf_string(t, path, slash == path ? 1 : (size_t)(slash - path));
	cwd = getcwd(NULL, 0);
	char *dir = slash ? conf_printf(t, "%s/%.*s", cwd ? cwd : ".", (int)(slash - path), path)
			  : conf_printf(t, "%s", cwd ? cwd : ".");
	free(cwd);
	return dir;
}

/* The text without the mark that some editors put before it. */
static struct conf_tree *
tree_of(const char *name, const char *text, size_t n)
{
	bool mark = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
	struct conf_tree *t = conf_tree_new(name, mark ? text + 3 : text, mark ? n - 3 : n);

	t->dir = directory_of(t, name);
	return t;
}

/* A slice says of itself whose it is. The key is checked like any other afterwards. */
static void
slice_find(struct conf_tree *t)
{
	struct conf_node *n = conf_get(t->root, "slice");

	if (n && n->kind == CONF_SCALAR)
		t->role = role_find(n->text);
}

static bool
tree_read(struct conf_tree *t, bool file, struct model **out, struct conf_report *report)
{
	struct model *m = mem_zero(1, sizeof *m);

	*out = NULL;
	m->tree = t;
	if (conf_yaml_read(t)) {
		slice_find(t);
		if (file && conf_get(t->root, "slice"))
			conf_error_key(t, conf_get(t->root, "slice"),
				       "\"slice\" is written by Weir alone: remove it");
		conf_check(t);
		conf_model(t, m);
	}
	if (t->errors_n == 0) {
		*out = m;
		return true;
	}
	conf_report_write(t, report);
	model_free(m);
	return false;
}

bool
conf_read_text(const char *name, const char *text, size_t n, struct model **out,
	       struct conf_report *report)
{
	return tree_read(tree_of(name, text, n), false, out, report);
}

/* Reads at most one byte more than a pipeline file may have, so that a longer one is noticed. */
static bool
file_read(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0)
		return false;
	while (out->len <= CONF_BYTES_MAX) {
		buf_reserve(out, 65536);
		n = read(fd, out->data + out->len, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		out->len += (size_t)n;
	}
	int saved = errno;
	close(fd);
	errno = saved;
	return n >= 0;
}

bool
conf_read_file(const char *path, struct model **out, struct conf_report *report)
{
	struct buf text = {0};
	struct conf_tree *t;
	bool fine;

	*out = NULL;
	if (!file_read(path, &text)) {
		t = conf_tree_new(path, "", 0);
		conf_error_at(t, 0, 1, NULL, "cannot be read: %s", strerror(errno));
		conf_report_write(t, report);
		conf_tree_free(t);
		buf_free(&text);
		return false;
	}
	t = tree_of(path, buf_cstr(&text), text.len);
	buf_free(&text);
	fine = tree_read(t, true, out, report);
	return fine;
}
