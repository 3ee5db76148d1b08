/* null: a worker that does nothing: what the supervisor and the skeleton do by themselves. */
#include "skel.h"

static bool
null_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	(void)e;
	*next = mono_add_ms(now, CTL_STATS_MS);
	skel_progress(w);
	return true;
}

int
main(int argc, char **argv)
{
	static const struct worker_ops ops = {.role = ROLE_NULL, .tick = null_tick};

	return skel_main(argc, argv, &ops);
}
