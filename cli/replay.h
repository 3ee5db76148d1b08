/*
 * replay: the client's end of ingest's socket for dead letters that are sent again (the form of its
 * frames: docs/internals.md). A bounded number of events is under way; answers come in any order.
 */
#ifndef CLI_REPLAY_H
#define CLI_REPLAY_H

#include "err.h"
#include "value.h"

enum { REPLAY_UNDER_WAY_MAX = 128, REPLAY_ANSWER_MS_MAX = 120000 };

enum replay_answer { REPLAY_ANSWER_COMMITTED, REPLAY_ANSWER_DEAD, REPLAY_ANSWER_REFUSED };

typedef void (*replay_told)(void *of, const uint8_t rid[static RID_BYTES], enum replay_answer what,
			    const char *text);

struct replay_link;

/* EXIT_TRY_LATER: the pipeline does not run on this machine, or not for this user. */
MUSTCHECK bool replay_link_open(const char *pipeline, replay_told told, void *of,
				struct replay_link **out, struct err *e);
/* Waits for an answer where too many are under way. */
MUSTCHECK bool replay_link_send(struct replay_link *l, const char *label, size_t label_len,
				const uint8_t rid[static RID_BYTES], const void *event, size_t n,
				struct err *e);
MUSTCHECK bool replay_link_wait(struct replay_link *l, struct err *e); /* until all are answered */
void replay_link_close(struct replay_link *l);			       /* NULL is fine */

#endif
