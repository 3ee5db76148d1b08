/* keeper: its lifecycle. */
#include "skel.h"

static bool
keeper_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	(void)w;
	(void)e;
	*next = mono_add_ms(now, CTL_STATS_MS);
	return true;
}

int
main(int argc, char **argv)
{
	static const struct worker_ops ops = {.role = ROLE_KEEPER, .tick = keeper_tick};

	return skel_main(argc, argv, &ops);
}
