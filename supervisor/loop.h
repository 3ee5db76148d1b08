/* loop: the supervisor's only waiting place: control channels, signals, time. */
#ifndef SUPERVISOR_LOOP_H
#define SUPERVISOR_LOOP_H

#include "fleet.h"
#include "result.h"

/*
 * Blocks the signals it takes (SIGCHLD, SIGTERM, SIGINT, SIGHUP) and returns their descriptor, -1
 * and *e; before the first fork. The caller closes it.
 */
int loop_signals(struct err *e);

/* Runs until the fleet is over. progress NULL: none is shown. */
void loop_run(struct fleet *f, int signals, struct progress *progress);

#endif
