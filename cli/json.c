#include "cli.h"
#include "jsontext.h"

void
cli_json_n(struct buf *b, const char *s, size_t n)
{
	jsontext_n(b, s, n);
}

void
cli_json(struct buf *b, const char *s)
{
	jsontext(b, s);
}
