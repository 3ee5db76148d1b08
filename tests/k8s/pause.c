/* pause: the first process of every pod. It holds the pod's namespaces, and buries orphans where they are shared. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void
end(int sig)
{
	(void)sig;
	_exit(0);
}

static void
bury(int sig)
{
	(void)sig;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

int
main(void)
{
	signal(SIGINT, end);
	signal(SIGTERM, end);
	signal(SIGCHLD, bury);
	for (;;)
		pause();
}
