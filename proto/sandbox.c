#include "sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

#ifdef WEIR_ASAN
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

const char *
separation_name(enum separation s)
{
	static const char *const names[SEPARATION_MAX] = {
	    [SEPARATION_NONE] = "none",
	    [SEPARATION_LANDLOCK] = "landlock",
	    [SEPARATION_UID] = "uid",
	    [SEPARATION_BOTH] = "uid+landlock",
	};

	return (unsigned)s < SEPARATION_MAX ? names[s] : "?";
}

/* ---- identity: own uid, common gid, nothing regained ---- */

static bool
identity_enter(const struct role_row *role, bool *own_uid, struct err *e)
{
	uid_t uid = WEIR_UID_BASE + role->uid_offset;

	*own_uid = false;
	if (geteuid() != 0)
		return true;
	if (setgroups(0, NULL) != 0 || setresgid(WEIR_GID, WEIR_GID, WEIR_GID) != 0 ||
	    setresuid(uid, uid, uid) != 0) {
		if (errno != EPERM)
			return err_errno(e, EXIT_PERMISSION, "cannot become uid %u", uid);
		log_warn("root without the capability to change uid: workers share one");
		return true;
	}
	*own_uid = true;
	return true;
}

static bool
limits_enter(struct err *e)
{
	struct rlimit core = {0, 0}, files;

	if (setrlimit(RLIMIT_CORE, &core) != 0 || getrlimit(RLIMIT_NOFILE, &files) != 0)
		return err_errno(e, EXIT_BUG, "rlimits");
	if (files.rlim_max > SANDBOX_FILES_MAX)
		files.rlim_max = SANDBOX_FILES_MAX;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) != 0)
		return err_errno(e, EXIT_BUG, "rlimit of open files");
	/*
	 * exec makes a process dumpable again, and a change of uid makes it undumpable: said
	 * outright.
	 */
	if (prctl(PR_SET_DUMPABLE, SANITIZED, 0, 0, 0) != 0)
		return err_errno(e, EXIT_BUG, "cannot become undumpable");
	/* A change of uid has cleared the parent-death signal. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		return err_errno(e, EXIT_BUG, "parent-death signal");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_errno(e, EXIT_BUG, "no_new_privs");
	return true;
}

/* ---- paths: Landlock ---- */

enum {
	PATH_READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	PATH_SOCKETS = PATH_READ | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE,
	PATH_DEVICE = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE,
	PATH_TRUNCATE = 1 << 14, /* since ABI 3; newer than Debian 12's header */
	PATH_FILES = PATH_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
		     LANDLOCK_ACCESS_FS_REMOVE_FILE,
	PATH_ALL_ABI1 = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1,
};

/* What every worker may read: libraries, time zones, name resolution, CA certificates; and /etc. */
static const char *const system_paths[] = {"/usr",
					   "/lib",
					   "/lib64",
					   "/proc",
					   "/dev/urandom",
					   "/sys/devices/system/cpu",
					   "/sys/fs/cgroup",
					   "/run/systemd/resolve",
					   "/run/resolvconf",
					   "/run/NetworkManager",
					   NULL};

static bool
path_allow(int ruleset, const char *path, uint64_t access, struct err *e)
{
	struct landlock_path_beneath_attr beneath = {.allowed_access = access};
	struct stat st;

	beneath.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (beneath.parent_fd < 0)
		return true; /* what is not there need not be allowed */
	if (fstat(beneath.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
		beneath.allowed_access &= PATH_DEVICE; /* the others are rights of directories */
	long r = syscall(__NR_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
	if (r != 0)
		err_errno(e, EXIT_BUG, "landlock rule for %s", path);
	close(beneath.parent_fd);
	return r == 0;
}

/*
 * /etc/weir is where keys, logins and credentials lie, in a container always. Where workers share
 * one user, that user may read them, so the rest of /etc is allowed name by name; what is put in
 * the place of one of these is read by workers that are born later.
 */
static bool
etc_allow(int ruleset, bool own_uid, struct err *e)
{
	static const char etc[] = "/etc", ours[] = "weir";
	DIR *dir = own_uid || access("/etc/weir", F_OK) != 0 ? NULL : opendir(etc);
	struct dirent *entry;
	bool good = true;

	if (!dir)
		return path_allow(ruleset, etc, PATH_READ, e);
	while (good && (entry = readdir(dir))) {
		char path[sizeof etc + 1 + sizeof entry->d_name];
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    !strcmp(entry->d_name, ours))
			continue;
		snprintf(path, sizeof path, "%s/%s", etc, entry->d_name);
		good = path_allow(ruleset, path, PATH_READ, e);
	}
	closedir(dir);
	return good;
}

static bool
paths_allow(int ruleset, const struct sandbox_setup *setup, bool own_uid, struct err *e)
{
	unsigned needs = role_rows[setup->role].needs;

	if (!etc_allow(ruleset, own_uid, e))
		return false;

	for (const char *const *path = system_paths; *path; path++)
		if (!path_allow(ruleset, *path, PATH_READ, e))
			return false;
	for (const char *const *path = setup->readable; path && *path; path++)
		if (!path_allow(ruleset, *path, PATH_READ, e))
			return false;
	for (const char *const *path = setup->writable; path && *path; path++)
		if (!path_allow(ruleset, *path, PATH_FILES, e))
			return false;
	if (!path_allow(ruleset, "/dev/null", PATH_DEVICE, e))
		return false;
	if ((needs & NEED_NET) && !path_allow(ruleset, "/run/secrets", PATH_READ, e))
		return false;
	bool anywhere = (needs & NEED_FILES) && !setup->sources;
	if ((SANITIZED || anywhere) && !path_allow(ruleset, "/", PATH_READ, e))
		return false;
	for (const char *const *path = setup->sources; path && *path; path++)
		if (!path_allow(ruleset, *path, PATH_READ, e))
			return false;
	return !setup->pipe_dir || path_allow(ruleset, setup->pipe_dir, PATH_SOCKETS, e);
}

static bool
landlock_enter(const struct sandbox_setup *setup, bool own_uid, uint8_t *abi_out, struct err *e)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = PATH_ALL_ABI1};
	long abi = syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	*abi_out = 0;
	if (abi <= 0)
		return true; /* this kernel has none, or it is off */
	if (abi >= 2)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= PATH_TRUNCATE;
	int ruleset = (int)syscall(__NR_landlock_create_ruleset, &attr, sizeof attr, 0);
	if (ruleset < 0)
		return err_errno(e, EXIT_BUG, "landlock ruleset");
	bool done = paths_allow(ruleset, setup, own_uid, e);
	if (done && syscall(__NR_landlock_restrict_self, ruleset, 0) != 0)
		done = err_errno(e, EXIT_BUG, "landlock");
	close(ruleset);
	if (done)
		*abi_out = (uint8_t)abi;
	return done;
}

/* ---- system calls: seccomp ---- */

/* Refused to every role: other programs, other processes, the machine. */
static const int refused[] = {SCMP_SYS(execve),
			      SCMP_SYS(execveat),
			      SCMP_SYS(fork),
			      SCMP_SYS(vfork),
			      SCMP_SYS(process_vm_readv),
			      SCMP_SYS(process_vm_writev),
			      SCMP_SYS(process_madvise),
			      SCMP_SYS(pidfd_getfd),
			      SCMP_SYS(kcmp),
			      SCMP_SYS(kexec_load),
			      SCMP_SYS(kexec_file_load),
			      SCMP_SYS(bpf),
			      SCMP_SYS(perf_event_open),
			      SCMP_SYS(userfaultfd),
			      SCMP_SYS(io_uring_setup),
			      SCMP_SYS(io_uring_enter),
			      SCMP_SYS(io_uring_register),
			      SCMP_SYS(mount),
			      SCMP_SYS(umount2),
			      SCMP_SYS(move_mount),
			      SCMP_SYS(open_tree),
			      SCMP_SYS(fsopen),
			      SCMP_SYS(fsmount),
			      SCMP_SYS(fspick),
			      SCMP_SYS(mount_setattr),
			      SCMP_SYS(pivot_root),
			      SCMP_SYS(chroot),
			      SCMP_SYS(setns),
			      SCMP_SYS(unshare),
			      SCMP_SYS(init_module),
			      SCMP_SYS(finit_module),
			      SCMP_SYS(delete_module),
			      SCMP_SYS(open_by_handle_at),
			      SCMP_SYS(add_key),
			      SCMP_SYS(keyctl),
			      SCMP_SYS(request_key),
			      SCMP_SYS(swapon),
			      SCMP_SYS(swapoff),
			      SCMP_SYS(reboot),
			      SCMP_SYS(acct),
			      SCMP_SYS(quotactl),
			      SCMP_SYS(settimeofday),
			      SCMP_SYS(clock_settime),
			      SCMP_SYS(sethostname),
			      SCMP_SYS(setdomainname),
			      SCMP_SYS(personality),
			      SCMP_SYS(syslog)};

static bool
filter_fill(scmp_filter_ctx filter, bool net)
{
	int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	for (unsigned i = 0; i < sizeof refused / sizeof *refused && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
	/* glibc falls back to clone, whose flags a filter can see; only threads are made. */
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (r == 0 && !SANITIZED)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	if (r == 0 && !SANITIZED)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ptrace), 0);
	if (r == 0 && !net)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_NE, AF_UNIX));
	return r == 0;
}

static bool
seccomp_enter(const struct sandbox_setup *setup, uint8_t *on, struct err *e)
{
	unsigned needs = role_rows[setup->role].needs;
	bool net = (needs & NEED_NET) || ((needs & NEED_PEERS) && setup->peers);

	*on = SECCOMP_OFF;
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
		return true; /* a kernel built without it */
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return err_set(e, EXIT_BUG, "seccomp: no filter");
	bool done = filter_fill(filter, net);
	int r = done ? seccomp_load(filter) : 0;
	seccomp_release(filter);
	if (!done || r != 0) {
		errno = r < 0 ? -r : EINVAL;
		return err_errno(e, EXIT_BUG, "seccomp");
	}
	*on = SANITIZED ? SECCOMP_SANITIZER : SECCOMP_ON;
	return true;
}

bool
sandbox_enter(const struct sandbox_setup *setup, struct sandbox_report *report, struct err *e)
{
	const struct role_row *row = &role_rows[setup->role];
	bool own_uid;

	if (!identity_enter(row, &own_uid, e) || !limits_enter(e) ||
	    !landlock_enter(setup, own_uid, &report->landlock, e) ||
	    !seccomp_enter(setup, &report->seccomp, e))
		return false;
	if (own_uid)
		report->separation = report->landlock ? SEPARATION_BOTH : SEPARATION_UID;
	else
		report->separation = report->landlock ? SEPARATION_LANDLOCK : SEPARATION_NONE;
	return true;
}
