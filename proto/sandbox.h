/*
 * sandbox: what a worker gives up once its descriptors are open and before its first thread: own
 * uid (where the supervisor is root), no_new_privs, no core dumps, not dumpable, rlimits, seccomp,
 * Landlock. seccomp and Landlock bind the calling thread and its later children, hence the order.
 * Everything here follows from the role's row in roles.def; what cannot be had on this kernel is
 * reported, not hidden.
 *
 * A sanitizer build (WEIR_ASAN) stays dumpable and may ptrace, because LeakSanitizer stops its
 * threads so, and may read everywhere, because a report names lines; the report says
 * SECCOMP_SANITIZER.
 */
#ifndef PROTO_SANDBOX_H
#define PROTO_SANDBOX_H

#include "ctl.h"
#include "roles.h"

enum { SANDBOX_FILES_MAX = 4096 }; /* RLIMIT_NOFILE of a worker, if the hard limit allows it */

/* READY's and the board's `seccomp`. */
enum { SECCOMP_OFF, SECCOMP_ON, SECCOMP_SANITIZER };

struct sandbox_report {
	enum separation separation; /* the strongest that holds against workers of other roles */
	uint8_t seccomp;	    /* SECCOMP_* */
	uint8_t landlock;	    /* ABI version in force, 0: none */
};

struct sandbox_setup {
	enum role role;
	bool peers;		     /* NEED_PEERS: there are some to ask */
	const char *pipe_dir;	     /* where this worker may make sockets; NULL: nowhere */
	const char *const *readable; /* files it may still open beside the system's (certificates
	                                that its login names); ends in NULL, may be NULL */
	/* what of the rest it may open; NEED_FILES and NULL: everything, as far as its user may */
	const char *const *sources;
	const char *const *writable; /* directories in which it may make, write, rename and remove
	                                files; ends in NULL, may be NULL */
};

/*
 * False: a step that this system offers failed, or the process has more than one thread; the worker
 * must not go on.
 */
MUSTCHECK bool sandbox_enter(const struct sandbox_setup *setup, struct sandbox_report *report,
			     struct err *e);

const char *separation_name(enum separation s); /* "none", "uid", "landlock" */

#endif
