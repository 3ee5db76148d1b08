/* demo: a private PostgreSQL, in a directory of its own, without a port. */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keyhash.h"
#include "mono.h"

enum { INITDB_MS = 60000, READY_MS = 30000, STOP_MS = 10000, LOOK_MS = 50, PASSWORD_DIGITS = 32 };

static bool
bin_find(struct demo_server *s, struct err *e)
{
	static const char *const versions[] = {"15", "16", "17", "18"};
	char path[DEMO_PATH_MAX + 16];

	for (unsigned i = 0; i < sizeof versions / sizeof *versions; i++) {
		snprintf(s->bin, sizeof s->bin, "/usr/lib/postgresql/%s/bin", versions[i]);
		snprintf(path, sizeof path, "%s/initdb", s->bin);
		if (!access(path, X_OK))
			return true;
	}
	return err_set(
	    e, EXIT_UNAVAILABLE,
	    "PostgreSQL is not installed: there is no /usr/lib/postgresql/15/bin/initdb");
}

/* PostgreSQL refuses to run as root. */
static bool
user_find(struct demo_server *s, struct err *e)
{
	if (geteuid())
		return true;
	const struct passwd *p = getpwnam("postgres");
	if (!p)
		return err_set(e, EXIT_UNAVAILABLE,
			       "there is no user postgres to run PostgreSQL as");
	s->uid = p->pw_uid;
	s->gid = p->pw_gid;
	return true;
}

static bool
directory(const struct demo_server *s, char *path, size_t n, const char *dir, const char *name,
	  mode_t mode, struct err *e)
{
	snprintf(path, n, "%s/%s", dir, name);
	if (mkdir(path, mode) || chmod(path, mode) || (s->uid && chown(path, s->uid, s->gid)))
		return err_errno(e, EXIT_UNAVAILABLE, "cannot make %s", path);
	return true;
}

static bool
text_write(const struct demo_server *s, const char *path, const char *text, int flags,
	   struct err *e)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);

	if (fd < 0)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot write %s", path);
	bool good = write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
		    (!s->uid || !fchown(fd, s->uid, s->gid));
	if (!good)
		err_errno(e, EXIT_UNAVAILABLE, "cannot write %s", path);
	close(fd);
	return good;
}

static bool
cluster_make(struct demo_server *s, const char *password, struct err *e)
{
	char initdb[DEMO_PATH_MAX + 16], file[DEMO_PATH_MAX + 16];
	const char *const argv[] = {initdb,
				    "-D",
				    s->data,
				    "-U",
				    "owner",
				    "-A",
				    "scram-sha-256",
				    "--pwfile",
				    file,
				    "-E",
				    "UTF8",
				    "--locale=C.UTF-8",
				    "--no-sync",
				    "--no-instructions",
				    NULL};
	const struct program_setup setup = {
	    .argv = argv, .log = s->log, .uid = s->uid, .gid = s->gid, .end_signal = SIGKILL};

	snprintf(initdb, sizeof initdb, "%s/initdb", s->bin);
	snprintf(file, sizeof file, "%s.password", s->data);
	if (!text_write(s, file, password, O_CREAT | O_EXCL, e))
		return false;
	bool good = program_run(&setup, INITDB_MS, e);
	unlink(file);
	if (!good)
		return false;
	char conf[DEMO_PATH_MAX + 32], text[2 * DEMO_PATH_MAX];
	snprintf(conf, sizeof conf, "%s/postgresql.conf", s->data);
	snprintf(
	    text, sizeof text,
	    "\nlisten_addresses = ''\nunix_socket_directories = '%s'\nmax_connections = 60\n"
	    "shared_buffers = 64MB\nmax_wal_size = 1GB\ntimezone = 'UTC'\nlog_timezone = 'UTC'\n",
	    s->socket);
	return text_write(s, conf, text, O_APPEND, e);
}

static bool
server_wait(struct demo_server *s, const char *dsn, struct pg **pg, struct err *e)
{
	struct mono due = mono_add_ms(mono_now(), READY_MS);
	int code;

	while (!pg_connect(dsn, "weir demo", NULL, READY_MS, pg, e)) {
		if (program_ended(&s->child, &code))
			return err_set(e, EXIT_UNAVAILABLE, "PostgreSQL ended with %d at its start",
				       code);
		if (mono_due(due, mono_now()))
			return false;
		poll(NULL, 0, LOOK_MS);
	}
	return true;
}

static bool
server_run(struct demo_server *s, const char *password, struct err *e)
{
	char postgres[DEMO_PATH_MAX + 16], dsn[DEMO_DSN_MAX];
	const char *const argv[] = {postgres, "-D", s->data, NULL};
	const struct program_setup setup = {
	    .argv = argv, .log = s->log, .uid = s->uid, .gid = s->gid, .end_signal = SIGQUIT};
	struct pg *pg = NULL;

	snprintf(postgres, sizeof postgres, "%s/postgres", s->bin);
	snprintf(dsn, sizeof dsn, "postgresql://owner:%s@/postgres?host=%s", password, s->socket);
	snprintf(s->dsn, sizeof s->dsn, "postgresql://owner:%s@/warehouse?host=%s", password,
		 s->socket);
	if (!program_start(&s->child, &setup, e) || !server_wait(s, dsn, &pg, e))
		return false;
	bool good = pg_script(pg, "CREATE DATABASE warehouse", e);
	pg_close(pg);
	return good;
}

bool
demo_server_start(struct demo_server *s, const char *dir, struct err *e)
{
	uint8_t bytes[PASSWORD_DIGITS / 2];
	char password[PASSWORD_DIGITS + 1];

	*s = (struct demo_server){0};
	random_bytes(bytes, sizeof bytes);
	for (unsigned i = 0; i < sizeof bytes; i++)
		snprintf(password + 2 * i, 3, "%02x", bytes[i]);
	if (!bin_find(s, e) || !user_find(s, e))
		return false;
	char top[DEMO_PATH_MAX];
	if (!directory(s, top, sizeof top, dir, "postgresql", 0755, e) ||
	    !directory(s, s->data, sizeof s->data, top, "data", 0700, e) ||
	    !directory(s, s->socket, sizeof s->socket, dir, "socket", 0755, e))
		return false;
	snprintf(s->log, sizeof s->log, "%s/postgresql.log", dir);
	if (!text_write(s, s->log, "", O_CREAT, e))
		return false;
	return cluster_make(s, password, e) && server_run(s, password, e);
}

void
demo_server_stop(struct demo_server *s)
{
	program_stop(&s->child, SIGINT, STOP_MS);
}
