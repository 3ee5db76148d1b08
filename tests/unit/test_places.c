/* What ingest of a pipeline that seals may open, and that it cannot open anything else. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"
#include "places.h"
#include "sandbox.h"

static char dir[] = "/tmp/weir-places-XXXXXX";

static void
file_make(const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	assert_true(fd >= 0);
	close(fd);
}

static int
dirs_make(void **state)
{
	static const char *const names[] = {"in", "in/deep", "keys"};
	char path[128];

	(void)state;
	if (!mkdtemp(dir) || chmod(dir, 0755) != 0)
		return -1;
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		if (mkdir(path, 0755) != 0)
			return -1;
	}
	file_make("in/a.ndjson");
	file_make("in/deep/b.ndjson");
	file_make("keys/role-x-1.key");
	file_make("ca.pem");
	return 0;
}

static int
dirs_remove(void **state)
{
	char command[sizeof dir + 16];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

/* A worker with one file source at dir/path and settings that name files. */
static void
worker_make(struct worker *w, struct model *m, struct source sources[3], const char *path)
{
	static char place[128], url[256];
	static char location[] = "ssl.ca.location", id[] = "client.id", weir[] = "weir";
	static char password[] = "sasl.password", key[] = "ssl.key.location", table[] = "/x/key";
	static struct property exchange[2] = {{key, table}, {id, weir}};
	static struct property properties[3] = {{location, NULL}, {id, weir}, {password, NULL}};
	static char ca[128];

	memset(w, 0, sizeof *w);
	memset(m, 0, sizeof *m);
	memset(sources, 0, 3 * sizeof *sources);
	snprintf(place, sizeof place, "%s/%s", dir, path);
	snprintf(ca, sizeof ca, "%s/ca.pem", dir);
	snprintf(url, sizeof url, "amqps://u:p@h/?cacertfile=/x/ca&certfile=/x/c&keyfile=/x/k");
	properties[0].value = ca;
	sources[0] = (struct source){.kind = SOURCE_FILE, .path = place};
	sources[1] =
	    (struct source){.kind = SOURCE_KAFKA, .properties = properties, .properties_n = 3};
	sources[2] = (struct source){.kind = SOURCE_RABBITMQ, .url = url};
	m->sources = sources;
	m->sources_n = 3;
	m->classes_n = 1;
	m->exchange.properties = exchange;
	m->exchange.properties_n = 2;
	w->model = m;
}

static void
first_is(const char *path, const char *expected)
{
	struct worker w;
	struct model m;
	struct source sources[3];
	struct places p;
	char whole[128];

	worker_make(&w, &m, sources, path);
	places_of_sources(&w, &p);
	snprintf(whole, sizeof whole, "%s%s", dir, expected);
	assert_int_equal(p.n, 6);
	assert_string_equal(p.list[0], whole);
	snprintf(whole, sizeof whole, "%s/ca.pem", dir);
	assert_string_equal(p.list[1], whole);
	assert_string_equal(p.list[2], "/x/ca");
	assert_string_equal(p.list[3], "/x/c");
	assert_string_equal(p.list[4], "/x/k");
	assert_string_equal(p.list[5], "/x/key");
	assert_null(p.list[6]);
	places_free(&p);
	assert_int_equal(p.n, 0);
}

static void
test_sources_and_what_their_settings_name(void **state)
{
	(void)state;
	first_is("in", "/in");
	first_is("in/*.ndjson", "/in");
	first_is("in/a.ndjson", "/in");
	first_is("in/deep/none.ndjson", "/in/deep");
	first_is("later/*.ndjson", ""); /* the nearest that is there */
	first_is("later/much/*.ndjson", "");
}

static int
opens(const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_RDONLY);
	if (fd >= 0)
		close(fd);
	return fd >= 0 ? 0 : errno;
}

/* In a child: the sandbox does not end. 0: as it must be, 77: no Landlock here. */
static int
sandboxed(void)
{
	struct worker w;
	struct model m;
	struct source sources[3];
	struct places p;
	struct sandbox_report report;
	struct err e;

	worker_make(&w, &m, sources, "in/*.ndjson");
	places_of_sources(&w, &p);
	struct sandbox_setup setup = {.role = ROLE_INGEST, .sources = (const char *const *)p.list};
	bool entered = sandbox_enter(&setup, &report, &e);
	places_free(&p);
	if (!entered)
		return 1;
	if (!report.landlock || report.seccomp == SECCOMP_SANITIZER)
		return 77;
	if (opens("in/a.ndjson") || opens("in/deep/b.ndjson") || opens("ca.pem"))
		return 2;
	return opens("keys/role-x-1.key") == EACCES ? 0 : 3;
}

static void
test_keys_are_out_of_reach(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(sandboxed());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* In a child, as status: whether an internet socket can be had. 77: no seccomp here. */
static int
connects(bool peers)
{
	struct sandbox_setup setup = {.role = ROLE_STATUS, .peers = peers};
	struct sandbox_report report;
	struct err e;

	if (!sandbox_enter(&setup, &report, &e))
		return 1;
	if (report.seccomp == SECCOMP_OFF)
		return 77;
	int local = socket(AF_UNIX, SOCK_STREAM, 0), far = socket(AF_INET, SOCK_STREAM, 0);
	if (local < 0)
		return 2;
	return far >= 0 ? 10 : errno == EACCES ? 11 : 3;
}

static void
test_status_connects_to_peers_alone(void **state)
{
	(void)state;
	for (int peers = 0; peers < 2; peers++) {
		int status;
		pid_t pid = fork();

		if (pid == 0)
			_exit(connects(peers));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(WEXITSTATUS(status), peers ? 10 : 11);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sources_and_what_their_settings_name),
	    cmocka_unit_test(test_keys_are_out_of_reach),
	    cmocka_unit_test(test_status_connects_to_peers_alone),
	};

	log_open("test_places");
	return cmocka_run_group_tests(tests, dirs_make, dirs_remove);
}
