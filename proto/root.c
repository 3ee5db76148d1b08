#include "root.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
digit(uint8_t c, uint8_t *out)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	*out = at ? (uint8_t)((unsigned)(at - digits) & 15U) : 0;
	return at != NULL;
}

bool
root_parse(const void *p, size_t n, uint8_t out[static ROOT_BYTES])
{
	const uint8_t *at = p;
	uint8_t high, low;

	if (n == ROOT_BYTES) {
		memcpy(out, p, n);
		return true;
	}
	while (n && (at[n - 1] == '\n' || at[n - 1] == '\r'))
		n--;
	if (n != 2 * ROOT_BYTES)
		return false;
	for (size_t i = 0; i < ROOT_BYTES; i++) {
		if (!digit(at[2 * i], &high) || !digit(at[2 * i + 1], &low))
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool
root_read(const char *path, uint8_t out[static ROOT_BYTES], struct err *e)
{
	uint8_t bytes[ROOT_FILE_MAX];
	struct stat st;

	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, EXIT_CONFIG, "the policy's root: cannot read \"%s\"", path);
	bool regular = !fstat(fd, &st) && S_ISREG(st.st_mode);
	ssize_t n = regular ? read(fd, bytes, sizeof bytes) : -1;
	close(fd);
	return (n > 0 && root_parse(bytes, (size_t)n, out)) ||
	       err_set(e, EXIT_CONFIG, "\"%s\" holds no public key of a policy's root", path);
}
