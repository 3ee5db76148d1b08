/* sandbox: what of /etc the workers of one user may read, tried in a child with an /etc of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

enum { NOBODY = 65534, NOT_HERE = 77 };

static bool
file_make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* A mount namespace with an empty /etc, in which are a login of Weir's and a file of the system. */
static bool
etc_make(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0)
		return false;
	/* In a chroot / is no mount, and then nothing is shared there. */
	(void)mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return mount("none", "/etc", "tmpfs", 0, "mode=755") == 0 &&
	       mkdir("/etc/weir", 0755) == 0 && mkdir("/etc/ssl", 0755) == 0 &&
	       file_make("/etc/weir/load.login") && file_make("/etc/ssl/cert.pem") &&
	       file_make("/etc/hosts");
}

static int
opens(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int
in_child(void)
{
	const struct sandbox_setup setup = {.role = ROLE_LOAD};
	struct sandbox_report report;
	struct err e;

	if (!etc_make() || setresuid(NOBODY, NOBODY, NOBODY) != 0)
		return NOT_HERE;
	if (opens("/etc/weir/load.login"))
		return 1;
	if (!sandbox_enter(&setup, &report, &e))
		return 2;
	if (!report.landlock || report.seccomp == SECCOMP_SANITIZER)
		return NOT_HERE;
	if (opens("/etc/hosts") || opens("/etc/ssl/cert.pem"))
		return 3;
	return opens("/etc/weir/load.login") == EACCES ? 0 : 4;
}

static void
test_logins_in_etc_are_out_of_reach(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(in_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NOT_HERE)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_logins_in_etc_are_out_of_reach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
