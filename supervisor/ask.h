/* ask: questions about the fleet as it is at this moment; nothing is changed. */
#ifndef SUPERVISOR_ASK_H
#define SUPERVISOR_ASK_H

#include "fleet.h"

/* Of every data worker. */
bool ask_data_ready(const struct fleet *f);
bool ask_data_down(const struct fleet *f);
bool ask_data_steady(const struct fleet *f); /* up, and waiting for nothing would have been told */

bool ask_all_down(const struct fleet *f);

/* The worker of the one hand-over that this supervisor was started for. */
bool ask_errand(const struct fleet *f, const struct child *c);

/* A bounded run's work is done: data workers and errand have ended as they should. */
bool ask_finished(const struct fleet *f);

/* BYE 0 is right: everything was read, or the worker was told to finish. */
bool ask_may_end(const struct fleet *f, const struct child *c);

/*
 * It waits for something outside, or for a keeper that does not stay alive. Lanes that are being
 * taken over are no such thing: load says what it waits for.
 */
bool ask_waits_outside(const struct fleet *f, const struct child *c);

uint64_t ask_batches(const struct fleet *f); /* committed, in all */

#endif
