#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"

int
loop_signals(struct err *e)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaction(SIGPIPE, &ignore, NULL);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
		err_errno(e, EXIT_BUG, "signals");
		return -1;
	}
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		err_errno(e, EXIT_BUG, "signals");
	return fd;
}

static void
signals_take(struct fleet *f, int signals)
{
	struct signalfd_siginfo info;

	/* Children are reaped below in any case: several SIGCHLD may have become one. */
	while (read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		/* The kernel's own SIGHUP says that the terminal is gone: that still means stop. */
		if (info.ssi_signo == SIGHUP && info.ssi_code != SI_KERNEL) {
			fleet_renew(f);
			continue;
		}
		if (!f->asked)
			log_info("asked to stop: draining");
		notify("STOPPING=1");
		fleet_stop(f, info.ssi_signo == SIGINT);
	}
}

/* The polled channels, in the order of the children; a slot without one has fd -1. */
static void
channels_fill(const struct fleet *f, struct pollfd *fds)
{
	for (unsigned i = 0; i < f->n; i++)
		fds[i] = (struct pollfd){.fd = f->children[i].sock, .events = POLLIN};
}

void
loop_run(struct fleet *f, int signals, struct progress *progress)
{
	struct pollfd fds[1 + BOARD_ROWS_MAX] = {{.fd = signals, .events = POLLIN}};
	bool told = false;

	fleet_begin(f);
	while (!fleet_over(f)) {
		struct mono next = fleet_tick(f, mono_now());
		if (fleet_over(f))
			break;
		if (progress)
			progress_show(progress, f, mono_now());
		if (!told && f->phase == PHASE_RUNNING) {
			told = true;
			notify("READY=1");
		}
		channels_fill(f, fds + 1);
		if (poll(fds, 1 + f->n, mono_poll_ms(next, mono_now())) < 0 && errno != EINTR)
			panic("poll: errno %d", errno);
		for (unsigned i = 0; i < f->n; i++)
			if (fds[1 + i].revents)
				fleet_read(f, i);
		if (fds[0].revents) {
			signals_take(f, signals);
			fleet_reap(f);
		}
	}
	if (progress)
		progress_end(progress);
}
