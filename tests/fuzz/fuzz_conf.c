/*
 * Any bytes as a pipeline file: a model or a report, never a crash; and what is valid prints as
 * text that reads back, whole and for each role.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "conf.h"
#include "log.h"

static void
slices_read(const struct model *m)
{
	for (enum role r = 0; r <= ROLE_MAX; r++) {
		struct conf_report report = {0};
		struct buf text = {0};
		struct model *slice;
		conf_print_slice(m, r, &text);
		check(conf_read_text("slice.yaml", buf_cstr(&text), text.len, &slice, &report) ||
		      r == ROLE_MAX);
		model_free(slice);
		conf_report_free(&report);
		buf_free(&text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct conf_report report = {0};
	struct model *m;

	if (conf_read_text("fuzz.yaml", n ? (const char *)data : "", n, &m, &report)) {
		check(report.errors == 0);
		/* Of a slice no other role's can be made. */
		if (!memmem(data, n, "slice", 5))
			slices_read(m);
	} else {
		check(report.errors > 0 && report.text.len > 0 && !m);
	}
	model_free(m);
	conf_report_free(&report);
	return 0;
}
