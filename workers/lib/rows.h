/*
 * rows: which columns a table has, in which order: the one answer for plan/apply (DDL), transform
 * (what it packs) and load (COPY and merge). Built from the model; no SQL here.
 *
 * Process fact:
 *   key, columns..., references..., status, missing, first_event_at, closed_at, events, revision,
 *   loaded_at, batch
 * Transaction fact:
 *   rid, key (process key), event_at, columns..., references..., loaded_at, batch
 * Dimension:
 *   <name>_key, natural key, columns..., inferred, version_at, version_rid, loaded_at, batch
 * Calendar:
 *   <name>_key, date, and what ddl_calendar.c adds; filled by apply, never by load. Its key is the
 *   day as yyyymmdd (2011-10-01: 20111001), so that SQL can fill it; a reference to a day outside
 *     of
 *   the table's from..to is invalid (-2)
 *
 * Raw events (development_schema): a row for each decoded event
 *   rid, event_at, sid, columns... (the source's fields; a sealed one carried, wire.h), loaded_at,
 *   batch
 * Sealed folds of a process (development_schema):
 *   key, columns... (carried), revision, loaded_at, batch
 *
 * loaded_at and batch are the database's and load's own: not in ROWS frames.
 */
#ifndef WORKERS_LIB_ROWS_H
#define WORKERS_LIB_ROWS_H

#include "model.h"

enum row_column_role {
	ROW_KEY, /* process key */
	ROW_RID, /* from row.rid, not from values */
	ROW_EVENT_AT,
	ROW_COLUMN,    /* of = index into table.columns */
	ROW_REFERENCE, /* of = index into table.references; bigint */
	ROW_STATUS,
	ROW_MISSING, /* text[]; from row.missing, not from values */
	ROW_FIRST_EVENT_AT,
	ROW_CLOSED_AT,
	ROW_EVENTS,
	ROW_REVISION,
	ROW_SURROGATE,
	ROW_NATURAL,
	ROW_INFERRED,
	ROW_VERSION_AT,
	ROW_VERSION_RID, /* from row.rid */
	ROW_SID,	 /* from row.sid */
	ROW_LOADED_AT,	 /* not sent */
	ROW_BATCH,	 /* not sent */
};

struct row_column {
	enum row_column_role role;
	unsigned of;
	const char *name; /* borrowed from the model or constant */
	enum value_type type;
	const char *comment; /* or NULL */
	bool volatile_;	     /* loaded_at, batch, revision: not part of equality */
	int value;	     /* index into row.values, or -1 (rid, missing, loaded_at, batch) */
};

enum { ROW_COLUMNS_MAX = COLUMNS_MAX + REFERENCES_MAX + 16 };

/* Fills columns[ROW_COLUMNS_MAX]; returns how many. values_n: how many values a row carries. */
unsigned row_columns(const struct model *m, unsigned table, struct row_column *columns,
		     unsigned *values_n);

#endif
