#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

enum { EXEC_FAILED = 127 };

static const char *const state_names[CHILD_STATE_MAX] = {
    [CHILD_DOWN] = "down",     [CHILD_BORN] = "born", [CHILD_CONFIGURED] = "configured",
    [CHILD_READY] = "ready",   [CHILD_UP] = "up",     [CHILD_ENDED] = "ended",
    [CHILD_KILLED] = "killed",
};

const char *
child_state_name(enum child_state s)
{
	return state_names[s];
}

bool
child_is_data(const struct child *c)
{
	return role_rows[c->role].kind == ROLE_KIND_DATA;
}

/* A second descriptor of the page that cannot write: SCM_RIGHTS would hand the writable one on as
 * it is. */
static int
read_only(int fd, struct err *e)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int copy = open(path, O_RDONLY | O_CLOEXEC);
	if (copy < 0)
		err_errno(e, EXIT_BUG, "cannot open a metric page again");
	return copy;
}

bool
child_init(struct child *c, enum role role, unsigned index, struct err *e)
{
	*c = (struct child){.role = role, .index = index, .sock = -1, .page_read_fd = -1};
	snprintf(c->subject, sizeof c->subject, "%s.%u", role_name(role), index);
	c->row.role = (uint16_t)role;
	c->row.index = (uint16_t)index;
	c->page_fd = metric_page_create(role, index, e);
	if (c->page_fd < 0)
		return false;
	c->page = metric_page_map(c->page_fd, false, e);
	if (c->page)
		c->page_read_fd = read_only(c->page_fd, e);
	if (c->page_read_fd >= 0)
		return true;
	child_free(c);
	return false;
}

void
child_free(struct child *c)
{
	metric_page_unmap(c->page);
	c->page = NULL;
	if (c->page_fd >= 0)
		close(c->page_fd);
	if (c->page_read_fd >= 0)
		close(c->page_read_fd);
	if (c->sock >= 0)
		close(c->sock);
	c->page_fd = c->page_read_fd = c->sock = -1;
}

/* In the new process, between fork and exec: nothing but system calls. */
static void
become(int sock, const char *path, char *const *argv, char *const *envp)
{
	static const char failed[] = "cannot execute a worker: ";
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int null = open("/dev/null", O_RDONLY);
	/* sock may itself be 3: dup2 would then leave close-on-exec set. */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(EXEC_FAILED);
	if (sock == CTL_SOCKET ? fcntl(sock, F_SETFD, 0) < 0 : dup2(sock, CTL_SOCKET) < 0)
		_exit(EXEC_FAILED);
	close_range(CTL_SOCKET + 1, ~0u, 0);
	execve(path, argv, envp);
	ssize_t ignored = write(STDERR_FILENO, failed, sizeof failed - 1);
	ignored = write(STDERR_FILENO, path, strlen(path));
	ignored = write(STDERR_FILENO, "\n", 1);
	(void)ignored;
	_exit(EXEC_FAILED);
}

static void
process_started(struct child *c, pid_t pid, int sock, uint32_t generation)
{
	struct mono now = mono_now();

	c->pid = pid;
	c->sock = sock;
	c->generation = generation;
	c->ready = c->going = c->done = false;
	c->born = c->heard = c->moved = now;
	c->progress = c->queued = 0;
	c->wait = WAIT_NOTHING;
	c->why[0] = '\0';
	c->row.pid = pid;
	c->row.births++;
	c->row.up_since_wall_us = wall_now_us();
	c->row.ready_since_wall_us = 0;
	c->row.separation = c->row.seccomp = c->row.landlock = 0;
}

bool
child_spawn(struct child *c, const char *path, char *const *envp, uint32_t generation,
	    struct err *e)
{
	int pair[2];
	char index[16];
	char *argv[] = {(char *)(uintptr_t)role_name(c->role), index, NULL};

	snprintf(index, sizeof index, "%u", c->index);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return err_errno(e, EXIT_BUG, "%s: control channel", c->subject);
	pid_t pid = fork();
	if (pid == 0)
		become(pair[1], path, argv, envp);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return err_errno(e, EXIT_UNAVAILABLE, "%s: fork", c->subject);
	}
	process_started(c, pid, pair[0], generation);
	return true;
}

void
child_kill(struct child *c)
{
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
}

/* The newest last; the oldest makes room. */
static void
death_keep(struct board_row *row, int64_t at_wall_us, int code, int signal)
{
	if (row->deaths_n == BOARD_DEATHS_MAX) {
		memmove(row->deaths, row->deaths + 1, sizeof row->deaths - sizeof row->deaths[0]);
		row->deaths_n--;
	}
	row->deaths[row->deaths_n].at_wall_us = at_wall_us;
	row->deaths[row->deaths_n].code = code;
	row->deaths[row->deaths_n++].signal = signal;
}

static void
cost_add(struct child *c, const struct rusage *used)
{
	uint64_t peak = (uint64_t)used->ru_maxrss * 1024;

	c->cpu_us += (used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000000 +
		     used->ru_utime.tv_usec + used->ru_stime.tv_usec;
	if (peak > c->peak_rss_bytes)
		c->peak_rss_bytes = peak;
}

void
child_reaped(struct child *c, int status, const struct rusage *used, int64_t now_wall_us)
{
	int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;

	if (signal)
		snprintf(c->death, sizeof c->death, "signal %d (%s)", signal, strsignal(signal));
	else
		snprintf(c->death, sizeof c->death, "exit %d", code);
	if (signal || code || !c->done)
		death_keep(&c->row, now_wall_us, code, signal);
	cost_add(c, used);
	if (c->sock >= 0)
		close(c->sock);
	c->sock = -1;
	c->pid = 0;
	c->going = false;
	c->wait = WAIT_NOTHING;
	c->why[0] = '\0';
	c->row.pid = 0;
	c->row.up_since_wall_us = c->row.ready_since_wall_us = 0;
}

const char *
child_hang(const struct child *c, struct mono now)
{
	struct vital v = {.state = c->state,
			  .silent_ms = mono_since_ms(c->heard, now),
			  .age_ms =
			      mono_since_ms(c->state == CHILD_ENDED ? c->bye_at : c->born, now),
			  .still_ms = mono_since_ms(c->moved, now),
			  .queued = c->queued > 0,
			  .waiting = c->wait != WAIT_NOTHING};

	return policy_hang(&v);
}
