/*
 * weir: the command line. The table below is all there is to know of the verbs; each is one file.
 */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "outcome.h"

const struct verb verbs[] = {
    {"validate", validate_run, 0, 4, "[PIPELINE...]", "check a pipeline file: all errors at once",
     "Needs no server. What validates starts: up, run, plan and apply read the file the same way.\n"
     "Exit codes: 0 valid, 78 not valid.",
     options_validate},
    {"plan", plan_run, 0, 1, "[PIPELINE]", "show what apply would do to the warehouse",
     "Connects as the owner (warehouse.postgresql.dsn) and changes nothing.\n"
     "  +  would be created    ~  would be changed    !  refused until it is named\n"
     "Exit codes: 0 there is something to apply, 99 nothing to do, 78 refused, 77 the login was\n"
     "refused, 69 no database.",
     options_plan},
    {"apply", apply_run, 0, 1, "[PIPELINE]", "create and change schemas, logins, tables and grants",
     "Does what plan shows, in one transaction. A login file that is there gives its login the\n"
     "password, and is never written over; where there is none, a new password and its file.\n"
     "Only adds: what would destroy data is refused unless named with\n"
     "--allow-destructive. Applying twice changes nothing: \"nothing to do\", exit 0.",
     options_apply},
    {"check", check_run, 0, 1, "[PIPELINE]",
     "compare rights, logins, keys and policy with the file",
     "Names each right, role, membership, login file, key file and policy that is missing or is\n"
     "there without need, with the line that settles it. Changes nothing.\n"
     "Exit codes: 0 as it should be, 78 something is not, 99 nothing was applied yet, 77 the "
     "login\n"
     "was refused, 69 no database.",
     options_pipeline},
    {"up", up_run, 0, 1, "[PIPELINE]", "run the pipeline until it is told to stop",
     "Validates, then becomes the supervisor. SIGTERM or Ctrl-C drains and exits 0.", options_up},
    {"run", run_run, 0, 1, "[PIPELINE]", "run the pipeline over what is there now, then end",
     "Reads each source to the end it has at the start, commits, prints one JSON line\n"
     "(events by source, processes, rows by table, dead letters, seconds) and ends.\n"
     "`processes` is how many were begun in this run.\n"
     "Exit codes: 0 done, 1 done with dead letters, 65 too many dead letters, or an input that\n"
     "cannot be used, 69 a dependency stayed down, 75 held by another instance.",
     options_run},
    {"status", status_run, 0, 1, "[PIPELINE]", "what the running pipeline is doing",
     "Asks the running supervisor (found through the database, or --url) and the database.\n"
     "Exit codes: 0 running and ready, 75 running and not ready, 99 not running; where no\n"
     "supervisor answers and the database cannot be asked: 69, 77 or 78, as plan.",
     options_status},
    {"explain", explain_run, 1, 2, "ID [PIPELINE]",
     "one process: its folds, and why it is still open",
     "Reads the stored state of the process as the owner. Values of fields are shown here,\n"
     "and nowhere in logs. Exit codes: 0 found, 99 no process of that ID.",
     options_pipeline},
    {"dead", dead_run, 1, 3,
     "list [PIPELINE] | show RID [PIPELINE] | open RID [PIPELINE] | replay RID|--all [PIPELINE]",
     "events and rows that could not be processed",
     "list: newest first, with source, position, stage and reason. show: one of them; the\n"
     "beginning of a RID is enough. open: the event itself, where a pipeline that seals has kept\n"
     "it, with a member key and an audit row (--member-key, --purpose). replay, with the same: "
     "sends such events through the running\n"
     "pipeline again; those that are processed now are dead letters no more.\n"
     "Exit codes: 0 there are some, 99 there are none; replay: 0 all were processed, 1 some are\n"
     "dead again, 75 the pipeline does not run here.",
     options_dead},
    {"logins", logins_run, 1, 2, "init [PIPELINE]",
     "the login files of a pipeline, made without its database",
     "init: one file for each of Weir's logins (load.login, ...), with a new random password;\n"
     "mode 0600, the directory 0700. A file that is there is kept, and said. `weir apply` then\n"
     "gives the logins these passwords: so Secrets of Kubernetes can be made before the database.\n"
     "Exit codes: 0 done, 77 a file or directory is refused, 78 a file of another login.",
     options_logins},
    {"keys", keys_run, 1, 4,
     "init | rid | member NAME | policy sign|show|root | grant member|role|science NAME |\n"
     "          revoke member|role NAME | rotate data|sealer | rotate role|token NAME | erase |\n"
     "          verify | inspect | audit verify|sign   [PIPELINE]",
     "keys, the signed policy, who can open what, erasure, the audit chain",
     "init     makes all keys of a pipeline in the directory that `keys:` names, the first role "
     "and\n"
     "         its first member, and says what to move away. Never overwrites.\n"
     "rid      makes the key of queue identities alone (rid_key:), where there is none; init does\n"
     "         it, too, and so does apply where it may write there.\n"
     "member   makes a person's own key file, and the public key that a grant asks for.\n"
     "policy   sign: shows what changes in who can read what, then signs it with the root, one\n"
     "         serial higher; `weir apply` puts it in force. show: in words. root: a new root.\n"
     "grant    member: a role's secret is sealed to one more person. role: a role opens one more\n"
     "         class (--class). science: the role's secret for the science worker. Somebody who\n"
     "         can open must be present (--member-key); no row is touched.\n"
     "revoke   takes it away again, and says what that does not achieve. --reseal: and every\n"
     "         value of development_schema that it opened is sealed anew, under new data keys;\n"
     "         who stays opens (--member-key). May be killed and repeated.\n"
     "rotate   data: new data keys now. sealer: another key that signs envelopes. role, token: a\n"
     "         new epoch.\n"
     "erase    a person, by the identifier in --subject-file or on stdin, never in argv: what is\n"
     "         sealed for the person never opens again.\n"
     "verify   signatures, recipients, missing wraps; with --member-key also every commitment.\n"
     "inspect  what the bytes on stdin say without any key (digits, or as they are).\n"
     "audit    verify: names the first bad row of the chain; --heads compares with signed heads.\n"
     "         sign: appends a signed head to --heads FILE, to be kept elsewhere.\n"
     "A passphrase is typed, or in --passphrase-file; never in argv or the environment.\n"
     "Exit codes: 0 done, 65 verify found something, 77 a key or permission is refused, 78 the\n"
     "pipeline file or the key directory.",
     options_keys},
    {"open", open_run, 1, 2, "QUERY | TABLE [PIPELINE]  or  file FILE",
     "rows with their sealed values opened, by the audited release",
     "Reads as your own login (--dsn-file, --dsn, or libpq's environment) and opens with your own\n"
     "member key; TABLE is one of development_schema. Every batch of rows leaves an audit row\n"
     "that says who, when and why. file: opens a hand-over file.\n"
     "A value that does not open is {\"$sealed\":\"erased\"}, or another reason; in CSV <erased>.\n"
     "Opened data goes to a terminal only with --show.\n"
     "Exit codes: 0 done, 1 some values did not open (erased ones do not count), 65 a file is not\n"
     "whole or changed, 77 the key or the login is refused.",
     options_open},
    {"handoff", handoff_run, 2, 3, "run NAME [PIPELINE]", "make one hand-over to data science now",
     "Starts the science worker alone: it runs the hand-over's query, opens the rows by the\n"
     "audited release and writes a file sealed to each recipient. Refused (77) unless the signed\n"
     "policy lists the hand-over with this query, these fields and these recipients.\n"
     "Prints one JSON line; `weir open file` opens the file.",
     options_handoff},
    {"demo", demo_run, 0, 0, "", "see the main job on this machine, in about 20 seconds",
     "Starts a private PostgreSQL in a temporary directory, lets a generator append live loan\n"
     "events to three files, runs the example pipeline on them and shows what came of it.\n"
     "Needs the Debian package postgresql-15. Leaves nothing behind.\n"
     "--feed writes the same events to the topics, queues and files of a pipeline that runs\n"
     "elsewhere (docker-compose.yml), and prints how many; it needs no database.",
     options_demo},
    {"help", help_run, 0, 3, "[VERB | options]",
     "help for a verb, or every key of the pipeline file",
     "`weir help options` lists every key of the pipeline file; --reference prints the same as\n"
     "the reference page.",
     options_help},
    {"version", version_run, 0, 0, "", "print the version", "", NULL},
};
const unsigned verbs_n = sizeof verbs / sizeof *verbs;

const struct verb *
verb_find(const char *name)
{
	for (unsigned i = 0; i < verbs_n; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

const char *
verb_nearest(const char *name)
{
	const char *best = NULL;
	unsigned least = ~0u;

	for (unsigned i = 0; i < verbs_n; i++) {
		unsigned d = near_distance(name, verbs[i].name);
		if (d < least && near_enough(name, verbs[i].name, d)) {
			least = d;
			best = verbs[i].name;
		}
	}
	return best;
}

int
version_run(struct cli *c)
{
	struct buf b = {0};

	buf_printf(&b, c->json ? "{\"version\":\"%s\"}\n" : "weir %s\n", WEIR_VERSION);
	return cli_finish(c, &b, EXIT_DONE);
}

/* Where the verb stands in argv; options may come before it. 0: nowhere. */
static int
verb_at(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-o") || !strcmp(argv[i], "--output"))
			i++;
		else if (argv[i][0] != '-')
			return i;
	}
	return 0;
}

static int
verbless(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--version")) {
			puts("weir " WEIR_VERSION);
			return EXIT_DONE;
		}
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			help_print();
			return EXIT_DONE;
		}
	}
	if (argc > 1)
		cli_say("weir: no verb given, only \"%s\"", argv[1]);
	else
		cli_say("weir: what shall be done? No verb was given.");
	cli_say("  next: `weir help` lists the verbs; `weir demo` shows Weir at work");
	return EXIT_USAGE;
}

static int
verb_unknown(const char *name)
{
	const char *near = verb_nearest(name);

	if (near)
		cli_say("weir: unknown verb \"%.40s\"; did you mean \"%s\"?", name, near);
	else
		cli_say("weir: unknown verb \"%.40s\"", name);
	cli_say("  next: `weir help` lists the verbs");
	return EXIT_USAGE;
}

/* Of the one command that this process is, for its signal handler. */
static const char *stopped_path;

/* Its result file says so; then as without us, but for a first process, which no signal ends. */
static void
on_stop(int n)
{
	if (stopped_path)
		outcome_stopped(stopped_path, n);
	if (getpid() == 1)
		_exit(128 + n);
	raise(n); /* its own way again: SA_RESETHAND */
}

static void
stop_take(void)
{
	const struct sigaction stop = {.sa_handler = on_stop,
				       .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
}

/*
 * The result file is found before all options are read: what is wrong with them stands in it, too.
 */
static bool
result_begin(struct cli *c, int argc, char **argv, struct err *e)
{
	static const char word[] = "--" OUTCOME_OPTION;
	const char *path = NULL;
	bool has = false;

	for (const struct option_row *o = c->verb->options; o && o->name; o++)
		has |= !strcmp(o->name, OUTCOME_OPTION);
	for (int i = 0; has && i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (!strncmp(argv[i], word, sizeof word - 1) && argv[i][sizeof word - 1] == '=')
			path = argv[i] + sizeof word;
		else if (!strcmp(argv[i], word) && i + 1 < argc)
			path = argv[i + 1];
	}
	if (!path || !outcome_open(path, e))
		return !path;
	c->result_file = stopped_path = path;
	stop_take();
	return true;
}

static int
verb_run(struct cli *c, int argc, char **argv)
{
	const struct verb *v = c->verb;
	struct err e;

	for (int i = 0; i < argc;
	     i++) /* before reading: a failure to read is told in its form, too */
		c->json |= !strcmp(argv[i], "-ojson") || !strcmp(argv[i], "--output=json") ||
			   (i && !strcmp(argv[i], "json") &&
			    (!strcmp(argv[i - 1], "-o") || !strcmp(argv[i - 1], "--output")));
	if (!result_begin(c, argc, argv, &e))
		return cli_fail(c, &e,
				"a file that this user may write, in a directory that is there");
	if (!args_read(&c->args, v->options, v->operands_max, argc, argv, &e))
		return cli_fail(c, &e, "`weir help %s` shows its options", v->name);
	c->no_input = args_flag(&c->args, "no-input");
	if (args_flag(&c->args, "help")) {
		help_verb_print(v);
		return EXIT_DONE;
	}
	if (c->args.operands_n < v->operands_min) {
		err_set(&e, EXIT_USAGE, "an operand is missing");
		return cli_fail(c, &e, "weir %s %s", v->name, v->operands);
	}
	return v->run(c);
}

/*
 * The first process of a container dies of no signal that it does not handle: without this a stop
 * of `weir apply` would last until the kill. Verbs that end in an orderly way set their own.
 */
static void
first_process(void)
{
	if (getpid() == 1)
		stop_take();
}

int
main(int argc, char **argv)
{
	struct cli c = {0};
	int at = verb_at(argc, argv);

	log_open("weir");
	signal(SIGPIPE, SIG_IGN);
	first_process();
	if (!at)
		log_exit(verbless(argc, argv));
	c.verb = verb_find(argv[at]);
	if (!c.verb)
		log_exit(verb_unknown(argv[at]));
	/* The verb's own word goes; what stood before it and after it are its arguments. */
	for (int i = at; i > 1; i--)
		argv[i] = argv[i - 1];
	log_exit(verb_run(&c, argc - 2, argv + 2));
}
