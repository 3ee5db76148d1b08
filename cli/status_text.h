/*
 * status_text: the JSON of a supervisor's /status as a page for people. What is not there is
 * shown as -; the JSON may come from another version.
 */
#ifndef CLI_STATUS_TEXT_H
#define CLI_STATUS_TEXT_H

#include "buf.h"
#include "err.h"

MUSTCHECK bool status_text(const char *json, size_t n, struct buf *out, struct err *e);

#endif
