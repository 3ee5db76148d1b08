/*
 * conf_yaml: the text of a pipeline file becomes a tree. The only module that knows libfyaml. Its
 * events are read one by one, so nothing recurses on the input. What YAML has and a pipeline file
 * does not (anchors, aliases, tags, several documents, keys that are no texts) is refused here.
 */
#include "conf_tree.h"

#include <libfyaml.h>
#include <stdio.h>
#include <string.h>

struct reader {
	struct conf_tree *t;
	struct fy_parser *parser;
	struct conf_node *open; /* the map or list that takes the next node; NULL at the root */
	unsigned depth;
	char *key; /* read and waiting for its value */
	uint32_t key_at;
	bool key_twice; /* the key stood there before: its value is read and dropped */
	bool stop;	/* an error after which going on makes no sense */
};

/* Length of the UTF-8 sequence at s, 0 when it is none. Shortest forms only, no surrogates. */
static size_t
utf8_length(const uint8_t *s, size_t n)
{
	size_t len = s[0] < 0x80   ? 1
		     : s[0] < 0xc2 ? 0
		     : s[0] < 0xe0 ? 2
		     : s[0] < 0xf0 ? 3
		     : s[0] < 0xf5 ? 4
				   : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return len;
}

/* Text that may go to the parser, and be shown: UTF-8 without control characters. */
static bool
text_check(struct conf_tree *t)
{
	uint8_t *s = (uint8_t *)t->text;
	size_t bad = SIZE_MAX;

	for (size_t i = 0; i < t->len;) {
		size_t n = utf8_length(s + i, t->len - i);
		bool control = n == 1 && (s[i] < 0x20 || s[i] == 0x7f) && s[i] != '\n' &&
			       s[i] != '\t' && s[i] != '\r';
		if (n == 0 || control) {
			if (bad == SIZE_MAX) {
				bad = i;
				conf_error_at(t, (uint32_t)i, 1, NULL,
					      control
						  ? "the file has a control character (0x%02x) here"
						  : "the file is not UTF-8: byte 0x%02x here",
					      s[i]);
			}
			s[i] = '?';
			n = 1;
		}
		i += n;
	}
	return bad == SIZE_MAX;
}

static void
stop_at(struct reader *r, struct fy_token *token, const char *what)
{
	const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;

	conf_error_at(r->t, mark ? (uint32_t)mark->input_pos : 0, 1, NULL, "%s", what);
	r->stop = true;
}

static void
node_place(const struct reader *r, struct conf_node *n, struct fy_token *token)
{
	const struct fy_mark *begin = token ? fy_token_start_mark(token) : NULL;
	const struct fy_mark *end = token ? fy_token_end_mark(token) : NULL;

	n->at = begin ? (uint32_t)begin->input_pos : r->key_at;
	n->end = end ? (uint32_t)end->input_pos : n->at;
	if (n->end > r->t->len)
		n->end = (uint32_t)r->t->len;
	if (n->at > n->end)
		n->at = n->end;
}

/* Hangs a new node where it belongs. */
static void
node_put(struct reader *r, struct conf_node *n)
{
	if (!r->open) {
		r->t->root = n;
		return;
	}
	if (r->open->kind == CONF_MAP) {
		n->key = r->key;
		n->key_at = r->key_at;
		r->key = NULL;
	}
	if (r->key_twice) {
		/* Kept out of the tree, but its parent is known, so that its own end is found. */
		n->parent = r->open;
		r->key_twice = false;
		return;
	}
	conf_node_add(r->open, n);
}

static bool
room(struct reader *r, struct fy_token *token)
{
	if (r->t->nodes >= CONF_NODES_MAX || (r->open && r->open->members >= CONF_MEMBERS_MAX)) {
		stop_at(r, token, "there are too many keys or items here");
		return false;
	}
	return true;
}

static void
key_read(struct reader *r, struct fy_token *token, const char *text, size_t n)
{
	const struct fy_mark *mark = fy_token_start_mark(token);
	struct conf_node *first;

	r->key_at = mark ? (uint32_t)mark->input_pos : 0;
	r->key = conf_string(r->t, text, n);
	first = conf_get(r->open, r->key);
	if (!first)
		return;
	unsigned line = 1;
	for (uint32_t i = 0; i < first->key_at; i++)
		line += r->t->text[i] == '\n';
	conf_error_at(r->t, r->key_at, (uint32_t)n, NULL,
		      "key %s stands here twice, first in line %u", conf_quote(r->t, text, n),
		      line);
	r->key_twice = true;
}

static enum conf_style
style_of(struct fy_token *token)
{
	switch (fy_token_scalar_style(token)) {
	case FYSS_SINGLE_QUOTED:
		return CONF_SINGLE;
	case FYSS_DOUBLE_QUOTED:
		return CONF_DOUBLE;
	case FYSS_LITERAL:
		return CONF_LITERAL;
	case FYSS_FOLDED:
		return CONF_FOLDED;
	default:
		return CONF_PLAIN;
	}
}

/*
 * The text of a scalar, by chunks: asking for it whole fails (and leaks, in 0.7.12) where the
 * parser misjudged its length. False when the parser cannot tell it.
 */
static bool
token_text(struct fy_token *token, struct buf *out)
{
	struct fy_token_iter *iter = fy_token_iter_create(token);
	const struct fy_iter_chunk *chunk = NULL;
	int failed = 0;

	if (!iter)
		return false;
	while (out->len <= CONF_TEXT_MAX &&
	       (chunk = fy_token_iter_chunk_next(iter, chunk, &failed)) != NULL)
		buf_add(out, chunk->str, chunk->len);
	fy_token_iter_destroy(iter);
	return failed == 0;
}

static void
text_place(struct reader *r, struct fy_token *token, const char *text, size_t n)
{
	if (r->open && r->open->kind == CONF_MAP && !r->key) {
		key_read(r, token, text, n);
		return;
	}
	if (!room(r, token))
		return;
	struct conf_node *node = conf_node_new(r->t, CONF_SCALAR);
	node->style = style_of(token);
	node_place(r, node, token);
	conf_node_text(r->t, node, text, n);
	node->replaced = false;
	node_put(r, node);
}

static void
scalar_read(struct reader *r, struct fy_token *token)
{
	struct buf text = {0};

	if (!token_text(token, &text))
		stop_at(r, token, "the YAML parser cannot read this text");
	else if (text.len > CONF_TEXT_MAX)
		stop_at(r, token, "this text is too long");
	else if (text.len &&
		 memchr(text.data, 0, text.len)) /* an escape in double quotes can bring one */
		stop_at(r, token, "this text has a NUL character");
	else
		text_place(r, token, buf_cstr(&text), text.len);
	buf_free(&text);
}

static void
open_read(struct reader *r, enum conf_kind kind, struct fy_token *token)
{
	if (r->open && r->open->kind == CONF_MAP && !r->key) {
		stop_at(r, token, "a key must be a text");
		return;
	}
	if (++r->depth > CONF_DEPTH_MAX) {
		stop_at(r, token, "the file is nested too deeply here");
		return;
	}
	if (!room(r, token))
		return;
	struct conf_node *node = conf_node_new(r->t, kind);
	node_place(r, node, token);
	node_put(r, node);
	if (!node->parent)
		node->parent = r->open;
	r->open = node;
}

static void
close_read(struct reader *r)
{
	if (r->open)
		r->open = r->open->parent;
	r->depth--;
}

/* Anchors and tags hang on any kind of node. */
static bool
plain_node(struct reader *r, struct fy_token *anchor, struct fy_token *tag)
{
	if (anchor)
		stop_at(r, anchor,
			"anchors (&name) are not part of a pipeline file: write the value out");
	else if (tag)
		stop_at(
		    r, tag,
		    "tags (!name) are not part of a pipeline file: the type follows from the key");
	return !anchor && !tag;
}

static void
event_read(struct reader *r, const struct fy_event *e)
{
	switch (e->type) {
	case FYET_SCALAR:
		if (plain_node(r, e->scalar.anchor, e->scalar.tag))
			scalar_read(r, e->scalar.value);
		break;
	case FYET_MAPPING_START:
		if (plain_node(r, e->mapping_start.anchor, e->mapping_start.tag))
			open_read(r, CONF_MAP, e->mapping_start.mapping_start);
		break;
	case FYET_SEQUENCE_START:
		if (plain_node(r, e->sequence_start.anchor, e->sequence_start.tag))
			open_read(r, CONF_LIST, e->sequence_start.sequence_start);
		break;
	case FYET_MAPPING_END:
	case FYET_SEQUENCE_END:
		close_read(r);
		break;
	case FYET_ALIAS:
		stop_at(r, e->alias.anchor,
			"aliases (*name) are not part of a pipeline file: write the value out");
		break;
	case FYET_DOCUMENT_START:
		if (r->t->root)
			stop_at(r, e->document_start.document_start,
				"a second document begins here: one file, one pipeline");
		break;
	default:
		break;
	}
}

/* A tab in the indentation at or just below the error is what the parser stumbled over. */
static bool
tab_report(struct conf_tree *t, size_t pos)
{
	size_t i = pos;

	while (i > 0 && t->text[i - 1] != '\n')
		i--;
	for (int lines = 0; lines < 3 && i < t->len; lines++) {
		while (i < t->len && t->text[i] == ' ')
			i++;
		if (i < t->len && t->text[i] == '\t') {
			conf_error_at(
			    t, (uint32_t)i, 1, NULL,
			    "not valid YAML: indented with a tab; YAML takes spaces only");
			return true;
		}
		while (i < t->len && t->text[i++] != '\n')
			;
	}
	return false;
}

/* Where the parser says that an error is: by its token, else by line and column. */
static size_t
diag_place(const struct conf_tree *t, const struct fy_diag_error *x)
{
	const struct fy_mark *mark = x->fyt ? fy_token_start_mark(x->fyt) : NULL;
	size_t pos = mark ? mark->input_pos : 0;

	for (int line = 1; !mark && line < x->line && pos < t->len; pos++)
		line += t->text[pos] == '\n';
	if (!mark && x->column > 1)
		pos += (size_t)x->column - 1;
	return pos < t->len ? pos : t->len;
}

/* The parser's own words for what it could not read; the first error is the one that counts. */
static void
syntax_report(struct conf_tree *t, struct fy_diag *diag)
{
	void *at = NULL;
	struct fy_diag_error *x;

	while ((x = fy_diag_errors_iterate(diag, &at)) != NULL) {
		if (x->type != FYET_ERROR || !x->msg)
			continue;
		size_t pos = diag_place(t, x);
		if (!tab_report(t, pos))
			conf_error_at(t, (uint32_t)pos, 1, NULL, "not valid YAML: %s", x->msg);
		return;
	}
	conf_error_at(t, 0, 1, NULL, "not valid YAML");
}

static struct fy_diag *
diag_new(void)
{
	struct fy_diag_cfg cfg;

	fy_diag_cfg_default(&cfg);
	cfg.fp = NULL;
	cfg.colorize = false;
	struct fy_diag *diag = fy_diag_create(&cfg);
	if (diag)
		fy_diag_set_collect_errors(diag, true);
	return diag;
}

static bool
events_read(struct reader *r, struct fy_diag *diag)
{
	struct fy_event *e;
	bool ended = false;

	while (!r->stop && !ended && (e = fy_parser_parse(r->parser)) != NULL) {
		event_read(r, e);
		ended = e->type == FYET_STREAM_END;
		fy_parser_event_free(r->parser, e);
	}
	if (!r->stop && (!ended || fy_parser_get_stream_error(r->parser))) {
		syntax_report(r->t, diag);
		return false;
	}
	return !r->stop;
}

bool
conf_yaml_read(struct conf_tree *t)
{
	struct reader r = {.t = t};
	bool fine = false;

	if (t->len > CONF_BYTES_MAX) {
		conf_error_at(t, 0, 1, NULL, "the file is larger than %d KiB",
			      CONF_BYTES_MAX / 1024);
		return false;
	}
	if (!text_check(t))
		return false;
	struct fy_diag *diag = diag_new();
	struct fy_parse_cfg cfg = {
	    .flags = FYPCF_QUIET | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE, .diag = diag};
	r.parser = diag ? fy_parser_create(&cfg) : NULL;
	if (r.parser && fy_parser_set_string(r.parser, t->text, t->len) == 0)
		fine = events_read(&r, diag);
	else
		conf_error_at(t, 0, 1, NULL, "the YAML parser could not be started");
	if (fine && (!t->root || t->root->kind != CONF_MAP)) {
		conf_error_at(t, t->root ? t->root->at : 0, 1, NULL,
			      "a pipeline file is a map of keys; it begins with `pipeline: NAME`");
		fine = false;
	}
	if (r.parser)
		fy_parser_destroy(r.parser);
	if (diag)
		fy_diag_destroy(diag);
	return fine;
}
