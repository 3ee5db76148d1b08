#include "part.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define BIT(r)		(1u << ROLE_##r)

#define FIRST_NAMESPACE 0xEFFFFFFCu /* inode of the machine's own namespace of processes */

enum {
	SOURCES_SIDE = BIT(INGEST) | BIT(KEEPER),
	LANES_DATA = BIT(RELAY) | BIT(CORRELATE) | BIT(TRANSFORM) | BIT(LOAD),
	LANES_SIDE = LANES_DATA | BIT(TASK),
};

bool
part_parse(const char *list, uint32_t *roles, struct err *e)
{
	char name[32];

	*roles = 0;
	while (*list) {
		size_t n = strcspn(list, ",");
		snprintf(name, sizeof name, "%.*s", (int)n, list);
		enum role r = role_find(name);
		if (!strcmp(name, PART_LANES))
			*roles |= LANES_SIDE;
		else if (r == ROLE_MAX || r == ROLE_SUPERVISOR)
			return err_set(e, EXIT_USAGE, "--only: no role \"%s\"", name);
		else
			*roles |= 1u << r;
		list += n + (list[n] == ',');
	}
	return true;
}

/* The roles of this mask that are there in part, and not whole. */
static bool
broken(uint32_t roles, uint32_t whole)
{
	return (roles & whole) && (roles & whole) != whole;
}

bool
part_check(const struct model *m, uint32_t roles, bool bounded, struct err *e)
{
	const uint32_t data = (LANES_DATA & ~(uint32_t)BIT(RELAY)) | BIT(INGEST);

	if (!model_exchange(m)) {
		if (broken(roles, data))
			return err_set(e, EXIT_USAGE,
				       "--only: ingest and lanes live together, unless the "
				       "pipeline file has an exchange between them");
		return true;
	}
	if (bounded && (roles & (data | BIT(RELAY))))
		return err_set(e, EXIT_USAGE,
			       "a pipeline with an exchange has no end to run to: `weir up`");
	if (broken(roles, LANES_DATA))
		return err_set(e, EXIT_USAGE,
			       "--only: relay, correlate, transform and load live together "
			       "(\"" PART_LANES "\")");
	if ((roles & BIT(INGEST)) && !(roles & BIT(KEEPER)))
		return err_set(e, EXIT_USAGE,
			       "--only: with an exchange ingest needs the keeper beside it");
	return true;
}

unsigned
part_many(const struct model *m, enum role role)
{
	switch (role_rows[role].per) {
	case ROLE_PER_ONE:
		return 1;
	case ROLE_PER_INGESTS:
		return m->ingests;
	case ROLE_PER_LANES:
		return m->lanes;
	case ROLE_PER_KEEPS:
		return m->classes_n > 0 || model_exchange(m);
	case ROLE_PER_HANDS:
		return m->handoffs_n > 0;
	case ROLE_PER_EXCHANGES:
		return model_exchange(m);
	case ROLE_PER_MAX:
		break;
	}
	panic("role %d: no such number", role);
}

bool
part_whole(const struct model *m, uint32_t roles, uint32_t *has)
{
	bool whole = true;

	*has = 0;
	for (int r = 0; r < ROLE_MAX; r++) {
		bool there = role_rows[r].kind != ROLE_KIND_PARENT && part_many(m, (enum role)r);
		if (there && (roles & 1u << r))
			*has |= 1u << r;
		else if (there && r != ROLE_NULL)
			whole = false;
	}
	return whole;
}

bool
part_apart(void)
{
	struct stat first;

	/* The machine's own first process is in the namespace that every kernel begins with. */
	return getpid() == 1 && stat("/proc/self/ns/pid", &first) == 0 &&
	       first.st_ino != FIRST_NAMESPACE;
}

unsigned
part_count(const struct model *m, enum role role, enum role of, unsigned many)
{
	uint32_t here = 1u << role, there = 1u << of;
	bool apart = ((here & SOURCES_SIDE) && (there & LANES_SIDE)) ||
		     ((here & LANES_SIDE) && (there & SOURCES_SIDE));

	return model_exchange(m) && apart ? 0 : many;
}
