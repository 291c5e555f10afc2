// SPDX-License-Identifier: MIT
// A mistake that is made on purpose, in a child: what it saw, or how it was stopped.
//
// Caught is only what something stopped on purpose and with words: an abort behind a message, or a sanitizer's end
// behind its report. Whatever else ends a child (a bad access, a kill, an exit code that nobody gave) is a crash:
// that the mistake came to light then is luck, and what it had changed before is not known.
#include "cmd/lab/probe.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(TARE_ASAN) || defined(TARE_TSAN)
#include <sanitizer/common_interface_defs.h>

// At the end of a report, whatever exit code or signal the sanitizer's options ask for.
static void after_report(void)
{
	_exit(LAB_PROBE_CAUGHT);
}
#endif

static void prepare(int to)
{
	// A sanitizer takes these for its own and reports them; here they are to be what they are.
	static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	for (size_t i = 0; i < TARE_ARRAY_LEN(signals); i++)
		(void)signal(signals[i], SIG_DFL);
#if defined(TARE_ASAN) || defined(TARE_TSAN)
	__sanitizer_set_death_callback(after_report);
#endif
	if (dup2(to, STDERR_FILENO) < 0)
		_exit(LAB_PROBE_NO_MEMORY);
}

// The first line is all that is kept, but it is read to its end.
static void listen_to(int from, char *said, size_t cap)
{
	char buf[512];
	size_t len = 0;
	for (ssize_t n; (n = read(from, buf, sizeof buf)) > 0;) {
		size_t more = TARE_MIN((size_t)n, cap - 1 - len);
		memcpy(said + len, buf, more);
		len += more;
	}
	said[len] = '\0';
	size_t skip = strspn(said, "=\n"); // a sanitizer's rule
	memmove(said, said + skip, len + 1 - skip);
	said[strcspn(said, "\n")] = '\0';
}

static enum lab_probe_found judge(int status, const char *said)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	if (code == LAB_PROBE_CAUGHT || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
		return said[0] != '\0' ? LAB_PROBE_CAUGHT : LAB_PROBE_CRASHED;
	bool told = code == LAB_PROBE_NOTHING || code == LAB_PROBE_CORRUPTED || code == LAB_PROBE_REFUSED ||
		    code == LAB_PROBE_NO_MEMORY;
	return told ? (enum lab_probe_found)code : LAB_PROBE_CRASHED;
}

int lab_probe_in_child(int (*fn)(void), struct lab_probe_outcome *ret, struct tare_error *err)
{
	int ends[2], status = 0;
	if (pipe(ends) < 0)
		return tare_error_set(err, -errno, "no pipe: %s", strerror(errno));
	pid_t pid = lab_probe_fork();
	if (pid == 0) {
		prepare(ends[1]);
		_exit(fn());
	}
	int rc = pid < 0 ? -errno : 0;
	close(ends[1]);
	if (pid > 0)
		listen_to(ends[0], ret->said, sizeof ret->said);
	close(ends[0]);
	if (pid > 0 && waitpid(pid, &status, 0) < 0)
		rc = -errno;
	if (rc < 0)
		return tare_error_set(err, rc, "no child: %s", strerror(-rc));
	ret->status = status;
	ret->found = judge(status, ret->said);
	return ret->found == LAB_PROBE_NO_MEMORY ? tare_error_set(err, -ENOMEM, "out of memory") : 0;
}

void lab_probe_outcome(json_t *out, const char *name, const char *corrupted, const struct lab_probe_outcome *outcome)
{
	enum lab_probe_found found = outcome->found;
	lab_probe_figure(out, found == LAB_PROBE_CAUGHT || found == LAB_PROBE_REFUSED, "%s_caught", name);
	if (found != LAB_PROBE_CRASHED)
		lab_probe_figure(out, found == LAB_PROBE_CORRUPTED, "%s_corrupted", name);
	if (found == LAB_PROBE_CORRUPTED)
		lab_probe_text(out, name, "corrupted: %s", corrupted);
	else if (found == LAB_PROBE_CAUGHT)
		lab_probe_text(out, name, "caught: %s", outcome->said);
	else if (found == LAB_PROBE_CRASHED && WIFSIGNALED(outcome->status))
		lab_probe_text(out, name, "ended by signal %d, which nothing caught on purpose",
			       WTERMSIG(outcome->status));
	else if (found == LAB_PROBE_CRASHED)
		lab_probe_text(out, name, "ended with exit code %d, which nothing caught on purpose",
			       WEXITSTATUS(outcome->status));
	else
		lab_probe_text(out, name, "%s", found == LAB_PROBE_REFUSED ? "refused: -ESTALE" : "nothing was seen");
}
