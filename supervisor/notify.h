/* notify: the service manager's socket ($NOTIFY_SOCKET), when there is one. Failure is nobody's
 * problem. */
#ifndef SUPERVISOR_NOTIFY_H
#define SUPERVISOR_NOTIFY_H

void notify(const char *state); /* "READY=1", "STOPPING=1" */

#endif
