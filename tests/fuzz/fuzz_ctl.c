/* Control frames as they come up from a worker, or down from a supervisor: any bytes of the right size. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What passed is used as the supervisor and the skeleton use it: indexes and texts stay inside. */
static void
use(const struct ctl_frame *f)
{
	size_t all =
	    strlen(ctl_name((enum ctl_type)f->type)) + strlen(role_name((enum role)f->role));

	switch ((enum ctl_type)f->type) {
	case CTL_CONFIG:
		all += strlen(f->config.dir) + strlen(f->config.instance);
		break;
	case CTL_FD:
		all += strlen(f->fd.name) + strlen(role_name((enum role)f->fd.of_role));
		break;
	case CTL_STATS:
		all += strlen(f->stats.why);
		break;
	case CTL_BYE:
		all += strlen(f->bye.why);
		break;
	default:
		break;
	}
	if (all > 2 * CTL_BYTES)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct ctl_frame f;
	struct err e;

	memset(&f, 0, sizeof f);
	memcpy(&f, data, n < sizeof f ? n : sizeof f);
	bool up = ctl_check(&f, true, &e);
	bool down = ctl_check(&f, false, &e);
	if (up && down)
		abort();
	if (up || down)
		use(&f);
	return 0;
}
