/* keys: the sub-verbs, and their report. */
#include "keys.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct option_row options_keys[] = {
    {"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},
    {"passphrase-file", 0, OPTION_VALUE, "FILE",
     "the passphrase of key files, in a file of mode 0600 (default: typed)"},
    {"root-passphrase-file", 0, OPTION_VALUE, "FILE", "the same for the root, where it is another"},
    {"member", 0, OPTION_VALUE, "NAME", "init: the first member; grant role: who gets it"},
    {"role", 0, OPTION_LIST, "NAME", "init: the first role (data_science); grant member: roles"},
    {"class", 0, OPTION_LIST, "CLASS=ROLE,..",
     "policy sign: roles that open a class; grant, revoke role: CLASS"},
    {"member-key", 0, OPTION_VALUE, "FILE", "key file of who opens: a member's, or escrow's"},
    {"root-key", 0, OPTION_VALUE, "FILE", "where the root is, when not in the key directory"},
    {"audit-key", 0, OPTION_VALUE, "FILE", "audit sign: where the audit key is"},
    {"public", 0, OPTION_VALUE, "FILE", "grant member: the member's public key (member-NAME.pub)"},
    {"out", 0, OPTION_VALUE, "DIRECTORY", "member: where the key files go (default: here)"},
    {"domain", 0, OPTION_VALUE, "NAME", "erase: the token domain of the identifier"},
    {"subject-file", 0, OPTION_VALUE, "FILE", "erase: the identifier (default: from stdin)"},
    {"purpose", 0, OPTION_VALUE, "TEXT", "why; goes to the audit chain"},
    {"heads", 0, OPTION_VALUE, "FILE", "audit: signed heads of the chain, kept elsewhere"},
    {"valid", 0, OPTION_VALUE, "DAYS", "policy sign: for how long (default 366)"},
    {"renew", 0, OPTION_FLAG, NULL, "policy sign: also when nothing changed"},
    {"finish", 0, OPTION_FLAG, NULL, "rotate role: after the restart, the old key goes for good"},
    {"reseal", 0, OPTION_FLAG, NULL, "revoke: rows are sealed anew too (needs --member-key)"},
    {"if-none", 0, OPTION_FLAG, NULL, "init: where the directory has keys already, do nothing"},
    {"kdf-memory", 0, OPTION_VALUE, "MIB", "memory of a passphrase's derivation (default 256)"},
    {"yes", 'y', OPTION_FLAG, NULL, "do not ask"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

struct sub {
	const char *first, *second;  /* second NULL: one word */
	bool named;		     /* takes a name after the words */
	bool dir, warehouse, policy; /* what is opened before, in this order */
	bool (*run)(struct keys *k, struct err *e);
};

static const struct sub subs[] = {
    {"init", NULL, false, false, false, false, keys_init},
    {"rid", NULL, false, false, false, false, keys_rid},
    {"member", NULL, true, false, false, false, keys_member},
    {"policy", "sign", false, true, false, true, keys_sign},
    {"policy", "show", false, true, false, true, keys_show},
    {"policy", "root", false, true, true, true, keys_new_root},
    {"grant", "member", true, true, true, true, keys_grant_member},
    {"grant", "role", true, true, true, true, keys_grant_role},
    {"grant", "science", true, true, true, true, keys_grant_science},
    {"revoke", "member", true, true, true, true, keys_revoke_member},
    {"revoke", "role", true, true, true, true, keys_revoke_role},
    {"rotate", "data", false, false, false, false, keys_rotate_data},
    {"rotate", "role", true, true, true, true, keys_rotate_role},
    {"rotate", "sealer", false, true, true, true, keys_rotate_sealer},
    {"rotate", "token", true, true, false, false, keys_rotate_token},
    {"erase", NULL, false, true, true, true, keys_erase},
    {"verify", NULL, false, true, true, true, keys_verify},
    {"inspect", NULL, false, false, false, false, keys_inspect},
    {"audit", "verify", false, true, true, true, keys_audit_verify},
    {"audit", "sign", false, true, true, false, keys_audit_sign},
};
enum { SUBS_N = sizeof subs / sizeof *subs };

static unsigned
sub_words(const struct sub *s)
{
	return s->second ? 2 : 1;
}

static const struct sub *
sub_find(const struct args *a)
{
	for (unsigned i = 0; i < SUBS_N; i++)
		if (!strcmp(subs[i].first, a->operands[0]) &&
		    (!subs[i].second ||
		     (a->operands_n > 1 && !strcmp(subs[i].second, a->operands[1]))))
			return &subs[i];
	return NULL;
}

/* What may follow "keys FIRST", or all first words. */
static bool
sub_unknown(const struct args *a, struct err *e)
{
	char list[200] = "";
	bool known = false;

	for (unsigned i = 0; i < SUBS_N; i++)
		known |= !strcmp(subs[i].first, a->operands[0]);
	for (unsigned i = 0; i < SUBS_N; i++) {
		const char *word = known ? subs[i].second : subs[i].first;
		bool listed = known ? !strcmp(subs[i].first, a->operands[0])
				    : !i || strcmp(subs[i].first, subs[i - 1].first) != 0;
		size_t at = strlen(list);
		if (listed && word)
			snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", word);
	}
	return err_set(e, EXIT_USAGE, "\"keys %.40s%s%.40s\" is unknown; known: %s", a->operands[0],
		       known && a->operands_n > 1 ? " " : "",
		       known && a->operands_n > 1 ? a->operands[1] : "", list);
}

const char *
keys_operand(const struct keys *k, unsigned i)
{
	const struct sub *s = sub_find(&k->c->args);
	unsigned at = sub_words(s) + i;

	return s->named && at < k->c->args.operands_n ? k->c->args.operands[at] : NULL;
}

static bool
sub_prepare(struct keys *k, const struct sub *s, struct err *e)
{
	return (!s->dir || keys_dir_open(k, e)) && (!s->warehouse || keys_connect(k, e)) &&
	       (!s->policy || keys_policy_read(k, e));
}

static void
report_json(struct keys *k, struct buf *out)
{
	const struct args *a = &k->c->args;
	const struct sub *s = sub_find(a);

	buf_printf(out, "{\"keys\":\"%s%s%s\"", s->first, s->second ? " " : "",
		   s->second ? s->second : "");
	buf_add(out, k->data.data, k->data.len);
	buf_text(out, ",\"did\":[");
	buf_add(out, k->did.data, k->did.len);
	buf_text(out, "],\"not\":[");
	buf_add(out, k->not_done.data, k->not_done.len);
	buf_text(out, "],\"next\":");
	cli_json(out, k->next);
	buf_text(out, "}\n");
}

static int
report(struct keys *k, int code)
{
	struct buf out = {0};

	if (k->c->json) {
		report_json(k, &out);
	} else {
		buf_add(&out, k->text.data, k->text.len);
		if (*k->next)
			buf_printf(&out, "next: %s\n", k->next);
	}
	return cli_finish(k->c, &out, code);
}

static void
keys_close(struct keys *k)
{
	if (k->dir >= 0)
		close(k->dir);
	pg_close(k->pg);
	policy_free(&k->policy);
	secret_free(k->passphrase);
	secret_free(k->root_passphrase);
	buf_free(&k->did);
	buf_free(&k->not_done);
	buf_free(&k->data);
	buf_free(&k->text);
	model_free(k->m);
}

/* What a failure leaves behind is in the report already; then the failure
 * itself. */
static int
sub_fail(struct keys *k, const struct err *e)
{
	if (!k->c->json && k->text.len) {
		struct err ignored;
		if (!cli_print(&k->text, &ignored))
			cli_say("weir keys: %s", ignored.text);
	}
	return cli_fail(k->c, e, "%s", *k->next ? k->next : "`weir help keys` lists its verbs");
}

static int
sub_run(struct keys *k, const struct sub *s)
{
	struct err e = {0};

	if (!secret_open(false, &e) || !sub_prepare(k, s, &e) || !s->run(k, &e))
		return sub_fail(k, &e);
	return report(k, k->code);
}

int
keys_run(struct cli *c)
{
	struct keys k = {.c = c, .dir = -1};
	struct err e;
	int code;

	const struct sub *s = sub_find(&c->args);
	if (!s) {
		sub_unknown(&c->args, &e);
		return cli_fail(c, &e, "`weir help keys` says what each does");
	}
	unsigned at = sub_words(s) + s->named;
	if (s->named && c->args.operands_n < at) {
		err_set(&e, EXIT_USAGE, "which one? A name is missing");
		return cli_fail(c, &e, "weir keys %s%s%s NAME [PIPELINE]", s->first,
				s->second ? " " : "", s->second ? s->second : "");
	}
	if (c->args.operands_n > at + 1) {
		err_set(&e, EXIT_USAGE, "\"%.80s\" is one operand too many",
			c->args.operands[at + 1]);
		return cli_fail(c, &e, "`weir help keys`");
	}
	if (s->run != keys_inspect && s->run != keys_member) {
		k.file = cli_pipeline(c, at);
		if (!cli_model(c, k.file, &k.m, &code))
			return code;
	}
	code = sub_run(&k, s);
	keys_close(&k);
	return code;
}
