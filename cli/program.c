#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "mono.h"

enum { PROGRAM_WORDS_MAX = 32, PROGRAM_LOOK_MS = 20, PROGRAM_BROKEN = 127 };

/* After fork: only what is safe there, then exec. */
NORETURN static void
program_become(const struct program_setup *s, char *const *argv, int log_fd, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	dup2(log_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	if (s->uid && (setgroups(0, NULL) || setgid(s->gid) || setuid(s->uid)))
		_exit(PROGRAM_BROKEN);
	/* A change of user forgets this, so it comes after it. */
	prctl(PR_SET_PDEATHSIG, s->end_signal);
	if (getppid() != parent)
		_exit(PROGRAM_BROKEN);
	execv(argv[0], argv);
	_exit(PROGRAM_BROKEN);
}

bool
program_start(struct program *c, const struct program_setup *s, struct err *e)
{
	char *argv[PROGRAM_WORDS_MAX];
	pid_t parent = getpid();
	unsigned n = 0;

	while (s->argv[n])
		n++;
	check(n < PROGRAM_WORDS_MAX);
	/* execv does not write to them; its type is older than const. */
	memcpy(argv, s->argv, (n + 1) * sizeof *argv);
	int log_fd = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (log_fd < 0)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot write %s", s->log);
	c->pid = fork();
	if (c->pid == 0)
		program_become(s, argv, log_fd, parent);
	bool good = c->pid > 0 || err_errno(e, EXIT_UNAVAILABLE, "cannot start %s", argv[0]);
	if (!good)
		c->pid = 0;
	close(log_fd);
	return good;
}

bool
program_ended(struct program *c, int *code)
{
	int status;

	if (!c->pid || waitpid(c->pid, &status, WNOHANG) != c->pid)
		return false;
	c->pid = 0;
	*code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return true;
}

static bool
program_wait(struct program *c, int ms, int *code)
{
	struct mono due = mono_add_ms(mono_now(), ms);

	while (!program_ended(c, code)) {
		if (mono_due(due, mono_now()))
			return false;
		poll(NULL, 0, PROGRAM_LOOK_MS);
	}
	return true;
}

int
program_stop(struct program *c, int signal, int ms)
{
	int code = 0;

	if (!c->pid)
		return 0;
	kill(c->pid, signal);
	if (!program_wait(c, ms, &code)) {
		kill(c->pid, SIGKILL);
		program_wait(c, ms, &code);
	}
	return code;
}

bool
program_run(const struct program_setup *s, int ms, struct err *e)
{
	struct program c = {0};
	int code;

	if (!program_start(&c, s, e))
		return false;
	if (!program_wait(&c, ms, &code)) {
		program_stop(&c, SIGTERM, ms);
		return err_set(e, EXIT_UNAVAILABLE, "%s did not end within %d s", s->argv[0],
			       ms / 1000);
	}
	if (code)
		return err_set(e, code > 128 || code == PROGRAM_BROKEN ? EXIT_UNAVAILABLE : code,
			       "%s ended with %d", s->argv[0], code);
	return true;
}
