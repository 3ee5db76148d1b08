#include "pg.h"

#include <stdio.h>
#include <string.h>

/* What is said of a refused row. The server's own words are not: they quote the value. */
static const struct {
	const char *sqlstate, *words;
} refusals[] = {
    {"22001", "text too long"},
    {"22003", "number out of range"},
    {"22007", "invalid date or time"},
    {"22008", "date or time out of range"},
    {"22021", "invalid character"},
    {"22P02", "invalid text of a value"},
    {"22P03", "invalid binary form of a value"},
    {"22P05", "character has no equivalent"},
    {"23502", "null in a column that must not be null"},
    {"23503", "refers to a row that does not exist"},
    {"23505", "key exists already"},
    {"23514", "check constraint violated"},
};

const char *
pg_refusal(const char *sqlstate)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (strcmp(refusals[i].sqlstate, sqlstate) == 0)
			return refusals[i].words;
	return strncmp(sqlstate, "23", 2) == 0 ? "constraint violated" : "value refused";
}

enum pg_fault
pg_fault(const char sqlstate[static SQLSTATE_BYTES + 1])
{
	static const char bad_row[][3] = {"22", "23"};
	static const char retry[][3] = {"08", "40", "53", "55", "57", "58"};

	for (size_t i = 0; i < sizeof(bad_row) / sizeof(bad_row[0]); i++)
		if (memcmp(sqlstate, bad_row[i], 2) == 0)
			return PG_BAD_ROW;
	/* Inside 55, prepared transactions or a wrong state of ours will not get better by waiting.
	 */
	if (memcmp(sqlstate, "55P02", SQLSTATE_BYTES) == 0)
		return PG_STOP;
	/* A standby: after a failover the name leads to the new primary soon. */
	if (memcmp(sqlstate, SQLSTATE_READ_ONLY, SQLSTATE_BYTES) == 0)
		return PG_RETRY;
	for (size_t i = 0; i < sizeof(retry) / sizeof(retry[0]); i++)
		if (memcmp(sqlstate, retry[i], 2) == 0)
			return PG_RETRY;
	return PG_STOP;
}

int
pg_exit_code(const char sqlstate[static SQLSTATE_BYTES + 1])
{
	if (memcmp(sqlstate, "28", 2) == 0 || memcmp(sqlstate, "42501", SQLSTATE_BYTES) == 0)
		return EXIT_PERMISSION;
	switch (pg_fault(sqlstate)) {
	case PG_BAD_ROW:
		return EXIT_DATA;
	case PG_RETRY:
		return EXIT_UNAVAILABLE;
	case PG_STOP:
		break;
	}
	return EXIT_CONFIG;
}

static void
quote(struct buf *b, const char *s, uint8_t mark)
{
	buf_byte(b, mark);
	for (; *s; s++) {
		if ((uint8_t)*s == mark)
			buf_byte(b, mark);
		buf_byte(b, (uint8_t)*s);
	}
	buf_byte(b, mark);
}

void
pg_quote_name(struct buf *b, const char *name)
{
	quote(b, name, '"');
}

void
pg_quote_text(struct buf *b, const char *text)
{
	/* E'' where a backslash stands, so that standard_conforming_strings does not matter. */
	if (strchr(text, '\\') == NULL) {
		quote(b, text, '\'');
		return;
	}
	buf_text(b, " E'");
	for (const char *s = text; *s; s++) {
		if (*s == '\'' || *s == '\\')
			buf_byte(b, (uint8_t)*s);
		buf_byte(b, (uint8_t)*s);
	}
	buf_byte(b, '\'');
}
