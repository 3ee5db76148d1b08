/*
 * open: who opens sealed values at the command line: a key, the signed policy, two connections of
 * the reader's own login, and the release. Shared by open, dead open and dead replay.
 */
#ifndef CLI_OPEN_H
#define CLI_OPEN_H

#include "keys.h"
#include "release.h"

struct opener {
	struct keys k; /* its file, model, policy and passphrase */
	struct key *holder;
	const struct key *keys[1];
	struct pg *reader, *asker; /* reader: rows; asker: the release's */
	struct release *release;
};

/*
 * Reads the pipeline file, the policy, the key (--member-key) and connects: by --dsn-file or --dsn
 * (env:NAME or file:PATH), else, where owner is set, as the owner, else as libpq's environment
 * says. --purpose is needed. A failure has been told when this is false, with *code set.
 */
MUSTCHECK bool opener_open(struct opener *o, struct cli *c, unsigned pipeline_at, bool owner,
			   int *code);
void opener_close(struct opener *o);

/* Opened data goes to a terminal only when it is asked for: --show. EXIT_USAGE. */
MUSTCHECK bool opener_shows(const struct cli *c, struct err *e);

/* Rows that the commands that open have in common. */
#define OPENER_OPTIONS                                                                             \
	{"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},                              \
	    {"member-key", 0, OPTION_VALUE, "FILE", "key file of who opens"},                      \
	    {"passphrase-file", 0, OPTION_VALUE, "FILE",                                           \
	     "its passphrase, in a file of mode 0600 (default: typed)"},                           \
	    {"root", 0, OPTION_VALUE, "FILE",                                                      \
	     "the root's public key (default: root.pub of the key directory)"},                    \
	    {"purpose", 0, OPTION_VALUE, "TEXT", "why; goes to the audit chain"},                  \
	    {"dsn-file", 0, OPTION_VALUE, "FILE",                                                  \
	     "the DSN of the own login, in a file of mode 0600"},                                  \
	    {"dsn", 0, OPTION_VALUE, "REF", "the same as env:NAME or file:PATH"},                  \
	{                                                                                          \
		"show", 0, OPTION_FLAG, NULL, "also to a terminal"                                 \
	}

#endif
