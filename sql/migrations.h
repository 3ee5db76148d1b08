/*
 * migrations: the numbered SQL files of this directory, compiled in by embed.sh. In order of number,
 * without gaps from 1. Each text is several statements, to be run in one transaction; constant.
 */
#ifndef SQL_MIGRATIONS_H
#define SQL_MIGRATIONS_H

struct migration {
	unsigned number;
	const char *name; /* the file's name without number and suffix: "admin" */
	const char *text;
};

extern const struct migration migrations[];
extern const unsigned migrations_n;

#endif
