/*
 * What the supervisor takes out of the keys directory for each role, and what it refuses; and when
 * it tells workers that a peer was born.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/keyring.h"
#include "supervisor/peer.h"

static char dir[] = "/tmp/weir-keyring-XXXXXX";

static struct model model;

static void
command(const char *fmt, const char *name)
{
	char text[256], whole[300];

	snprintf(text, sizeof text, fmt, name);
	snprintf(whole, sizeof whole, "cd %s && { %s; }", dir, text);
	assert_int_equal(system(whole), 0);
}

static void
file_make(const char *name, mode_t mode)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* A directory with everything in it. */
static int
ring_make(void **state)
{
	(void)state;
	if (access(dir, F_OK) != 0 && !mkdtemp(dir))
		return -1;
	command("rm -rf * .??*%s", "");
	file_make("policy", 0644);
	file_make("sealer.key", 0600);
	file_make("token-person-1.key", 0600);
	file_make("token-person-2.key", 0400);
	file_make("token-staff-1.key", 0600);
	file_make("role-data_science-1.key", 0600);
	file_make("root.key", 0600);
	file_make("escrow.key", 0600);
	file_make("member-ana.key", 0600);
	memset(&model, 0, sizeof model);
	model.keys_dir = dir;
	model.classes_n = 1;
	model.domains_n = 2;
	snprintf(model.domains[0].name.s, sizeof model.domains[0].name.s, "person");
	snprintf(model.domains[1].name.s, sizeof model.domains[1].name.s, "staff");
	return 0;
}

static int
ring_remove(void **state)
{
	char text[sizeof dir + 16];

	(void)state;
	snprintf(text, sizeof text, "rm -rf %s", dir);
	return system(text);
}

static int
names_compare(const void *a, const void *b)
{
	return strcmp(((const struct gathered *)a)->name, ((const struct gathered *)b)->name);
}

/* The names that a role gets, sorted, with blanks between; or the code it is refused with. */
static int
ring(enum role role, char *names, size_t size, struct err *e)
{
	static struct gathered out[GATHERED_MAX];
	int n = 0;

	*e = (struct err){0};
	names[0] = '\0';
	bool good = keyring_open(&model, role, out, &n, e);
	qsort(out, (size_t)n, sizeof *out, names_compare);
	for (int i = 0; i < n; i++) {
		char c;
		snprintf(names + strlen(names), size - strlen(names), "%s%s", i ? " " : "",
			 out[i].name);
		assert_int_equal(out[i].kind, CTL_FD_KEY);
		assert_int_equal(pread(out[i].fd, &c, 1, 0), 1);
		assert_true(fcntl(out[i].fd, F_GETFD) & FD_CLOEXEC);
		close(out[i].fd);
	}
	return good ? 0 : e->code;
}

static void
gives(enum role role, const char *expected)
{
	char names[1024];
	struct err e;

	assert_int_equal(ring(role, names, sizeof names, &e), 0);
	assert_string_equal(names, expected);
}

static void
refuses(enum role role, int code, const char *word)
{
	char names[1024];
	struct err e;

	assert_int_equal(ring(role, names, sizeof names, &e), code);
	if (!strstr(e.text, word))
		fail_msg("\"%s\" does not say \"%s\"", e.text, word);
}

static void
test_each_role_gets_its_files_and_no_other(void **state)
{
	(void)state;
	gives(ROLE_KEEPER, "policy sealer.key");
	gives(ROLE_INGEST, "policy token-person-1.key token-person-2.key token-staff-1.key");
	gives(ROLE_SCIENCE, "policy role-data_science-1.key");
	for (int r = 0; r < ROLE_MAX; r++)
		if (r != ROLE_KEEPER && r != ROLE_INGEST && r != ROLE_SCIENCE)
			gives((enum role)r, "");
	model.classes_n = model.domains_n = 0; /* nothing is sealed: nothing is asked for */
	gives(ROLE_INGEST, "");
	gives(ROLE_KEEPER, "");
}

static void
test_what_is_missing_is_named(void **state)
{
	(void)state;
	command("rm %s", "sealer.key");
	refuses(ROLE_KEEPER, EXIT_CONFIG, "sealer.key is missing; `weir keys init`");
	command("rm %s", "token-staff-1.key");
	refuses(ROLE_INGEST, EXIT_CONFIG, "token-staff-<epoch>.key is missing");
	file_make("token-staff-x.key", 0600); /* no epoch */
	refuses(ROLE_INGEST, EXIT_CONFIG, "token-staff-<epoch>.key is missing");
	command("rm %s", "role-data_science-1.key");
	refuses(ROLE_SCIENCE, EXIT_CONFIG, "role-<name>-<epoch>.key is missing");
	file_make("role-data_science-2.key", 0600);
	gives(ROLE_SCIENCE, "policy role-data_science-2.key");
	model.keys_role = (char[]){"auditors"};
	refuses(ROLE_SCIENCE, EXIT_CONFIG, "role-auditors-<epoch>.key is missing");
	command("rm %s", "policy");
	refuses(ROLE_SCIENCE, EXIT_CONFIG, "policy is missing");
	command("cd .. && rm -r %s", dir);
	refuses(ROLE_KEEPER, EXIT_CONFIG, "directory of keys");
	model.keys_dir = NULL;
	refuses(ROLE_KEEPER, EXIT_CONFIG, "keys:");
	assert_int_equal(mkdir(dir, 0700), 0);
}

static void
test_rights_of_others_are_refused(void **state)
{
	(void)state;
	command("chmod 640 %s", "sealer.key");
	refuses(ROLE_KEEPER, EXIT_PERMISSION, "mode 0640); chmod 600");
	command("chmod 601 %s", "sealer.key");
	refuses(ROLE_KEEPER, EXIT_PERMISSION, "0601");
	command("chmod 660 %s", "token-person-2.key");
	refuses(ROLE_INGEST, EXIT_PERMISSION, "token-person-2.key");
	command("chmod 604 %s", "role-data_science-1.key");
	refuses(ROLE_SCIENCE, EXIT_PERMISSION, "role-data_science-1.key");
	command("chmod 440 %s", "sealer.key"); /* ours, or we are root */
	refuses(ROLE_KEEPER, EXIT_PERMISSION, "mode 0440); chmod 600");
	command("mkdir ..1 && mv %s ..1", "sealer.key");
	command("ln -s ..1 ..data && ln -s ..data/sealer.key %s", "sealer.key");
	refuses(ROLE_KEEPER, EXIT_PERMISSION, "mode 0440"); /* of the file, not of the link */
	command("chmod 600 ..1/%s", "sealer.key");
	gives(ROLE_KEEPER, "policy sealer.key");
	command("rm ..1/%s", "sealer.key");
	refuses(ROLE_KEEPER, EXIT_CONFIG, "sealer.key is missing");
	command("rm %s && ln -s sealer.key sealer.key", "sealer.key");
	refuses(ROLE_KEEPER, EXIT_PERMISSION, "symbolic links");
	command("rm sealer.key && mkdir %s", "sealer.key");
	refuses(ROLE_KEEPER, EXIT_PERMISSION, "no file");
	command("rmdir sealer.key && mkfifo -m 600 %s", "sealer.key");
	refuses(ROLE_KEEPER, EXIT_PERMISSION, "no file"); /* and does not wait for a writer */
	command("rm sealer.key policy && mkdir %s", "policy");
	refuses(ROLE_SCIENCE, EXIT_PERMISSION, "policy is no file");
}

static void
test_too_many_files_are_refused(void **state)
{
	(void)state;
	command("for i in $(seq 3 60); do cp token-person-1.key token-person-$i.key; done%s", "");
	refuses(ROLE_INGEST, EXIT_CONFIG, "old epochs");
	gives(ROLE_KEEPER, "policy sealer.key");
}

/* ---- when a peer is told ---- */

enum { INGEST_0, INGEST_1, KEEPER, LOAD, CHILDREN };

static void
children_make(struct child c[CHILDREN])
{
	static const enum role roles[CHILDREN] = {ROLE_INGEST, ROLE_INGEST, ROLE_KEEPER, ROLE_LOAD};

	memset(c, 0, CHILDREN * sizeof *c);
	for (int i = 0; i < CHILDREN; i++) {
		c[i].role = roles[i];
		c[i].state = CHILD_UP;
		c[i].generation = 1;
		c[i].row.births = 1;
	}
}

static void
told(const struct child *c, struct peering *last, uint32_t incarnation, uint32_t generation)
{
	assert_true(peer_due(ROLE_KEEPER, c, CHILDREN, last));
	assert_int_equal(last->incarnation, incarnation);
	assert_int_equal(last->generation, generation);
	assert_false(peer_due(ROLE_KEEPER, c, CHILDREN, last)); /* once */
}

static void
test_peers_are_told_when_both_are_up(void **state)
{
	static struct child c[CHILDREN];
	struct peering last = {0};

	(void)state;
	assert_int_equal(peer_partners(ROLE_KEEPER), 1u << ROLE_INGEST);
	assert_int_equal(peer_partners(ROLE_INGEST), 0);
	assert_int_equal(peer_partners(ROLE_TASK), 0);
	children_make(c);
	for (int i = 0; i < KEEPER + 1; i++)
		for (int s = 0; s < CHILD_STATE_MAX; s++) {
			c[i].state = (enum child_state)s;
			if (s != CHILD_UP)
				assert_false(peer_due(ROLE_KEEPER, c, CHILDREN, &last));
			c[i].state = CHILD_UP;
		}
	told(c, &last, 1, 1);
	c[KEEPER].row.births = 2; /* born again alone */
	c[KEEPER].state = CHILD_READY;
	assert_false(peer_due(ROLE_KEEPER, c, CHILDREN, &last));
	c[KEEPER].state = CHILD_UP;
	told(c, &last, 2, 1);
	c[LOAD].row.births = 9; /* no peer */
	assert_false(peer_due(ROLE_KEEPER, c, CHILDREN, &last));
	c[INGEST_0].generation = c[INGEST_1].generation = 2;
	told(c, &last, 2, 2);
	/* A bounded run: one ingest has finished, and the keeper is born again. */
	c[INGEST_1].state = CHILD_DOWN;
	c[INGEST_1].done = true;
	c[KEEPER].row.births = 3;
	told(c, &last, 3, 2);
	c[INGEST_0].state = CHILD_DOWN;
	c[INGEST_0].done = true;
	c[KEEPER].row.births = 4;
	assert_false(peer_due(ROLE_KEEPER, c, CHILDREN, &last)); /* nobody is left to tell */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_each_role_gets_its_files_and_no_other, ring_make),
	    cmocka_unit_test_setup(test_what_is_missing_is_named, ring_make),
	    cmocka_unit_test_setup(test_rights_of_others_are_refused, ring_make),
	    cmocka_unit_test_setup(test_too_many_files_are_refused, ring_make),
	    cmocka_unit_test(test_peers_are_told_when_both_are_up),
	};

	return cmocka_run_group_tests(tests, NULL, ring_remove);
}
