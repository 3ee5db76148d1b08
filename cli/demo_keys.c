/* demo: the keys of its pipeline, made as a person makes them, in a directory that goes with it. */
#include "demo.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keyhash.h"
#include "start.h"

enum { KEYS_MS = 60000, PASSPHRASE_BYTES = 16 };

bool
demo_self(char *path, size_t n, struct err *e)
{
	ssize_t len = readlink("/proc/self/exe", path, n - 1);

	if (len <= 0)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot read /proc/self/exe");
	path[len] = 0;
	return true;
}

bool
demo_secret_write(const char *path, const char *text, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot write %s", path);
	bool good = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ||
		    err_errno(e, EXIT_UNAVAILABLE, "cannot write %s", path);
	close(fd);
	return good;
}

static bool
weir_run(const struct demo_keys *k, const char *const *words, struct err *e)
{
	char weir[START_PATH_MAX];
	const char *argv[16] = {weir};
	unsigned n = 1;

	if (!demo_self(weir, sizeof weir, e))
		return false;
	while (*words && n < sizeof argv / sizeof *argv - 1)
		argv[n++] = *words++;
	argv[n] = NULL;
	const struct program_setup setup = {.argv = argv, .log = k->log, .end_signal = SIGTERM};
	return program_run(&setup, KEYS_MS, e);
}

bool
demo_keys_make(const struct demo_keys *k, struct err *e)
{
	uint8_t bytes[PASSPHRASE_BYTES];
	char passphrase[2 * PASSPHRASE_BYTES + 1], file[DEMO_PATH_MAX + 32];

	random_bytes(bytes, sizeof bytes);
	for (unsigned i = 0; i < sizeof bytes; i++)
		snprintf(passphrase + 2 * i, 3, "%02x", bytes[i]);
	snprintf(file, sizeof file, "%s/passphrase", k->dir);
	bool good = demo_secret_write(file, passphrase, e);
	explicit_bzero(passphrase, sizeof passphrase);
	const char *const init[] = {"keys",	    "init", k->pipeline_file,	 "--member", "ana",
				    "--kdf-memory", "64",   "--passphrase-file", file,	     NULL};
	const char *const sign[] = {
	    "keys", "policy", "sign", k->pipeline_file, "--yes", "--passphrase-file", file, NULL};
	return good && weir_run(k, init, e) && weir_run(k, sign, e);
}
