/*
 * places: what ingest of a pipeline that seals, and relay, may open beside the system's own files:
 * where file sources lie, and files that settings of brokers name (certificates, key tables), as
 * far as this role sees them. Everywhere else lie key files and logins of other roles, and the
 * user may be the same.
 *
 * A source's directory that is not there yet is replaced by its nearest ancestor that is.
 */
#ifndef WORKERS_LIB_PLACES_H
#define WORKERS_LIB_PLACES_H

#include "skel.h"

struct places {
	char **list; /* ends in NULL; owned */
	unsigned n;
};

/* Secrets are read for paths that they name; the exchange counts. Free: places_free. */
void places_of_sources(struct worker *w, struct places *out);
void places_free(struct places *p);

#endif
