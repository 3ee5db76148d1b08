/* plan: the list and how it is shown; the verb. */
#include "plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "owner.h"

enum { WORDS_MAX = 600 };

const struct option_row options_plan[] = {
    {"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},
    {"allow-destructive", 0, OPTION_LIST, "TABLE.COLUMN",
     "change the type of this column, or drop it (TABLE alone: drop the table); may be repeated"},
    {"sql", 0, OPTION_FLAG, NULL, "print the SQL, too"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

static struct change *
change_add(struct plan *p, enum change_kind kind, char mark, struct buf *sql, const char *words)
{
	check(p->n < PLAN_CHANGES_MAX);
	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 64;
		p->changes = mem_resize(p->changes, p->cap, sizeof *p->changes);
	}
	struct change *c = &p->changes[p->n++];
	*c = (struct change){.kind = kind, .mark = mark, .words = mem_string(words)};
	if (sql && sql->len)
		c->sql = mem_string(buf_cstr(sql));
	if (sql)
		buf_free(sql);
	if (kind == CHANGE_REFUSED)
		p->refused++;
	else if (kind == CHANGE_NOTE)
		p->notes++;
	else
		p->todo++;
	return c;
}

void
plan_add(struct plan *p, char mark, struct buf *sql, const char *fmt, ...)
{
	char words[WORDS_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	change_add(p, CHANGE_SQL, mark, sql, words);
}

struct change *
plan_add_kind(struct plan *p, enum change_kind kind, char mark, struct buf *sql, const char *fmt,
	      ...)
{
	char words[WORDS_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	return change_add(p, kind, mark, sql, words);
}

void
plan_role_refuse(struct plan *p, const char *what, const char *name)
{
	if (p->role_refused)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "%s %s: the owner may not create roles, as above", what, name);
	else
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "%s %s: the owner may not create roles; as administrator: ALTER "
			      "ROLE %s CREATEROLE",
			      what, name, buf_cstr(&p->owner));
	p->role_refused = true;
}

bool
plan_ask(struct plan *p, const char *sql, const char *const *params, bool *yes, struct err *e)
{
	struct pg_result *r;

	if (!owner_query(p->pg, sql, params, &r, e))
		return false;
	*yes = pg_rows(r) && !pg_is_null(r, 0, 0) && *pg_text(r, 0, 0) == 't';
	pg_result_free(r);
	return true;
}

bool
plan_allowed(const struct plan *p, const char *table, const char *column)
{
	const char *const *names;
	unsigned n = args_list(&p->cli->args, "allow-destructive", &names);
	char full[2 * NAME_BYTES_MAX + 3];
	static const char schema[] = "analytical_schema.";

	snprintf(full, sizeof full, "%s%s%s", table, column ? "." : "", column ? column : "");
	for (unsigned i = 0; i < n; i++) {
		const char *name = names[i];
		if (!strncmp(name, schema, sizeof schema - 1))
			name += sizeof schema - 1;
		if (!strcmp(name, full))
			return true;
	}
	return false;
}

static bool
owner_read(struct plan *p, struct err *e)
{
	struct pg_result *r;

	if (!pg_exec(p->pg,
		     "SELECT rolsuper, rolsuper OR rolcreaterole,"
		     " has_database_privilege(current_database(), 'CREATE'),"
		     " to_regclass('admin_schema.migration') IS NOT NULL,"
		     " current_user, current_database()"
		     " FROM pg_roles WHERE rolname = current_user",
		     &r, e))
		return false;
	check(pg_rows(r) == 1);
	p->superuser = *pg_text(r, 0, 0) == 't';
	p->may_create_role = *pg_text(r, 0, 1) == 't';
	p->may_create_schema = *pg_text(r, 0, 2) == 't';
	p->admin_there = *pg_text(r, 0, 3) == 't';
	pg_quote_name(&p->owner, pg_text(r, 0, 4));
	pg_quote_name(&p->database, pg_text(r, 0, 5));
	pg_result_free(r);
	return true;
}

bool
plan_make(struct plan *p, struct err *e)
{
	return owner_read(p, e) && plan_admin(p, e) && plan_logins(p, e) && plan_pipeline(p, e) &&
	       plan_policy(p, e) && plan_role_keys(p, e) && plan_grants_to_come(p, e) &&
	       plan_tables(p, e) && plan_rows(p, e) && plan_grants(p, e) && plan_exchange(p, e);
}

void
plan_drop(struct plan *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		free(p->changes[i].words);
		free(p->changes[i].sql);
	}
	free(p->changes);
	pg_result_free(p->columns);
	pg_result_free(p->comments);
	buf_free(&p->owner);
	buf_free(&p->database);
	*p = (struct plan){0};
}

void
plan_print(const struct plan *p, bool sql, struct buf *out)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct change *c = &p->changes[i];
		buf_printf(out, "  %c %s\n", c->mark, c->words);
		if (sql && c->sql)
			buf_printf(out, "%s;\n", c->sql);
	}
}

void
plan_json(const struct plan *p, const char *outcome, struct buf *out)
{
	buf_text(out, "{\"pipeline\":");
	cli_json(out, p->model->pipeline.s);
	buf_printf(out, ",\"outcome\":\"%s\",\"changes\":%u,\"refused\":%u,\"items\":[", outcome,
		   p->todo, p->refused);
	for (unsigned i = 0; i < p->n; i++) {
		const struct change *c = &p->changes[i];
		buf_printf(out, "%s{\"mark\":\"%c\",\"what\":", i ? "," : "", c->mark);
		cli_json(out, c->words);
		if (c->sql) {
			buf_text(out, ",\"sql\":");
			cli_json(out, c->sql);
		}
		buf_byte(out, '}');
	}
	buf_text(out, "]}\n");
}

/* The whole of `weir plan` once there is a connection. */
static int
plan_show(const struct cli *c, const struct model *m, struct pg *pg)
{
	struct plan p = {.cli = c, .model = m, .pg = pg};
	struct buf out = {0};
	struct err e;

	if (!pg_script(pg, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &e) ||
	    !plan_make(&p, &e)) {
		plan_drop(&p);
		return cli_fail(c, &e,
				"weir plan needs to read the catalogue and admin_schema as "
				"their owner");
	}
	int code = p.refused ? EXIT_CONFIG : p.todo ? EXIT_DONE : EXIT_NOTHING;
	if (c->json)
		plan_json(&p, p.refused ? "refused" : p.todo ? "changes" : "nothing", &out);
	else
		plan_print(&p, args_flag(&c->args, "sql"), &out);
	if (p.refused)
		cli_say("%u refused (!); nothing can be applied until that is settled", p.refused);
	else if (p.todo)
		cli_say("%u change%s; `weir apply %s` makes %s", p.todo, p.todo == 1 ? "" : "s",
			m->path, p.todo == 1 ? "it" : "them");
	else
		cli_say("nothing to do: the warehouse fits %s", m->path);
	plan_drop(&p);
	return cli_finish(c, &out, code);
}

int
plan_run(struct cli *c)
{
	struct model *m;
	struct pg *pg;
	int code;

	if (!cli_model(c, cli_pipeline(c, 0), &m, &code))
		return code;
	if (owner_connect(c, m, &pg, &code)) {
		code = plan_show(c, m, pg);
		pg_close(pg);
	}
	model_free(m);
	return code;
}
