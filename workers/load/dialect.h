/*
 * dialect: the SQL by which rows of each kind reach the warehouse, made once from the model. Rows
 * in the form of copy.h either go through a stage (COPY into a temporary table, then set-wise
 * steps), or straight into the table by COPY, or, when they are few, one by one through the same
 * steps with parameters. All ways write the same rows.
 */
#ifndef WORKERS_LOAD_DIALECT_H
#define WORKERS_LOAD_DIALECT_H

#include "copy.h"

enum {
	STATE_SLOTS = 8, /* admin_schema.state_0 .. state_7 */
	/* Sinks: the model's tables by their index, then these. */
	SINK_STATE = TABLES_MAX, /* + slot */
	SINK_DEAD = SINK_STATE + STATE_SLOTS,
	SINK_REPLAYED, /* dead letters that go */
	SINK_MAX,
	STEPS_MAX = 3,
	DEAD_FIELDS = 12,
	REPLAYED_FIELDS = 3,
	/* Each step in both forms, what is absent in each table, the fence, the positions. */
	STATEMENTS_MAX = SINK_MAX * STEPS_MAX * 2 + TABLES_MAX + 2,
};

enum step_kind {
	STEP_WRITE,    /* writes rows; those it does not touch are stale */
	STEP_UPGRADE,  /* writes some of them again, with more; not counted as rows missing */
	STEP_COLLIDED, /* returns nothing, unless two natural keys have one surrogate */
};

struct step {
	enum step_kind kind;
	char *staged; /* over the whole stage; NULL when the sink has none */
	char *row;    /* one row, its fields are $1, $2, ... */
};

struct sink {
	char *name; /* for messages; NULL: nothing is loaded into this one */
	unsigned fields_n;
	uint32_t oids[ROW_COLUMNS_MAX]; /* of the fields */
	char *stage; /* creates the temporary table; NULL: COPY goes straight to the table */
	char *copy;
	struct step steps[STEPS_MAX];
	unsigned steps_n;
};

struct dialect {
	const char *name;
	const char *const *settings; /* of the session, NULL-terminated "name=value" */
	/* Fills sinks[SINK_MAX]; layouts are those of the model's tables. */
	void (*sinks)(const struct model *m, const struct copy_layout *layouts, struct sink *sinks);
	/*
	 * Which of the surrogate keys $1 (bigint[]) are in no row of that dimension or calendar:
	 * appended as SQL that returns them.
	 */
	void (*absent)(const struct model *m, unsigned table, struct buf *out);
};

void sinks_free(struct sink *sinks);

extern const struct dialect dialect_postgresql;

#endif
