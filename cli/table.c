#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "mem.h"

enum { GRID_COLUMNS_MAX = 24, GRID_CELL_MAX = 512 };

struct grid {
	unsigned columns, cells_n, cells_cap;
	char **cells; /* the first row is the heads; owned */
};

static void
grid_add(struct grid *g, const char *text)
{
	if (g->cells_n == g->cells_cap) {
		g->cells_cap = g->cells_cap ? g->cells_cap * 2 : 64;
		g->cells = mem_resize(g->cells, g->cells_cap, sizeof *g->cells);
	}
	g->cells[g->cells_n++] = mem_string(text);
}

struct grid *
grid_new(const char *const *heads, unsigned columns)
{
	struct grid *g = mem_zero(1, sizeof *g);

	check(columns && columns <= GRID_COLUMNS_MAX);
	g->columns = columns;
	for (unsigned i = 0; i < columns; i++)
		grid_add(g, heads[i]);
	return g;
}

void
grid_cell(struct grid *g, const char *fmt, ...)
{
	char text[GRID_CELL_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	/* A cell stays a cell, and a terminal stays sane. */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	grid_add(g, text);
}

/* Characters, not bytes: continuation bytes do not count. */
static unsigned
text_width(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void
grid_print(const struct grid *g, const char *indent, struct buf *out)
{
	unsigned width[GRID_COLUMNS_MAX] = {0};

	for (unsigned i = 0; i < g->cells_n; i++) {
		unsigned w = text_width(g->cells[i]);
		if (w > width[i % g->columns])
			width[i % g->columns] = w;
	}
	for (unsigned i = 0; i < g->cells_n; i++) {
		unsigned column = i % g->columns;
		if (!column)
			buf_text(out, indent);
		buf_text(out, g->cells[i]);
		if (column == g->columns - 1)
			buf_byte(out, '\n');
		else
			buf_printf(out, "%*s", (int)(width[column] - text_width(g->cells[i]) + 2),
				   "");
	}
}

void
grid_free(struct grid *g)
{
	if (!g)
		return;
	for (unsigned i = 0; i < g->cells_n; i++)
		free(g->cells[i]);
	free(g->cells);
	free(g);
}
