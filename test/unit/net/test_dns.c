// SPDX-License-Identifier: MIT
// Goal: names become addresses, or the error that tells why not, whatever the name server does; who gives up leaves
// nothing behind; a connection finds the address that answers.
// Method: a name server of our own, on loopback sockets in the same runtime, that treats each name of .test its own
// way. The outside network is not asked: the environment names the hosts file and the search domain.
#include "in_task.h"

#include <tare/dns.h>
#include <tare/sync.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static struct tare_error err;

// ---- texts that need no network -----------------------------------------------------------------------------------

static int literals_main(void *arg)
{
	(void)arg;
	static const char *const literals[] = {"127.0.0.1:80", "[::1]:443", "localhost:7", ":8", "unix:/tmp/x"};
	static const char *const shown[] = {"127.0.0.1:80", "[::1]:443", "127.0.0.1:7", "0.0.0.0:8", "unix:/tmp/x"};
	struct tare_resolver *resolver;
	struct tare_addr addr;
	char text[TARE_ADDR_TEXT_BYTES];
	CHECK(tare_resolver_new(&resolver, &(struct tare_resolver_options){.servers = "192.0.2.1"}, &err) == 0);
	for (size_t i = 0; i < TARE_ARRAY_LEN(literals); i++) {
		CHECK(tare_resolve(resolver, literals[i], &addr, 1, 0, &err) == 1); // though the deadline has passed
		tare_addr_format(&addr, text);
		CHECK(strcmp(text, shown[i]) == 0);
	}
	static const char *const wrong[] = {
	    "example.org", "example.org:x", "example.org:65536", "exa mple:1", "a..b:0x1",
	    "127.1:80",    "1.2.3.256:80",  "[::1:80",           "::1",        "[example]:80",
	    "*:80",        "unix:",         ".example.org:80",   "a%b:80",     "b\xc3\xbc:80"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(wrong); i++) {
		err.text[0] = '\0';
		CHECK(tare_resolve(resolver, wrong[i], &addr, 1, TARE_NEVER, &err) == -EINVAL && err.text[0] != '\0');
	}
	char longest[300];
	memset(longest, 'x', sizeof longest);
	strcpy(longest + 260, ":80");
	CHECK(tare_resolve(resolver, longest, &addr, 1, TARE_NEVER, &err) == -EINVAL);
	tare_resolver_free(resolver);
	CHECK(tare_resolver_new(&resolver, &(struct tare_resolver_options){.family = AF_INET6}, &err) == 0);
	CHECK(tare_resolve(resolver, "127.0.0.1:80", &addr, 1, TARE_NEVER, &err) == -ENODATA);
	CHECK(tare_resolve(resolver, "[::1]:80", &addr, 1, TARE_NEVER, &err) == 1);
	tare_resolver_free(resolver);
	return 0;
}

TEST(numeric_addresses_take_no_lookup_and_what_is_neither_is_told)
{
	run_in_task(1, literals_main);
}

TEST(options_out_of_bounds_are_told)
{
	static const struct tare_resolver_options wrong[] = {
	    {.servers = ""},
	    {.servers = "127.0.0.1,"},
	    {.servers = "ns.example.org"},
	    {.servers = "127.0.0.1:0"},
	    {.servers = "unix:/tmp/x"},
	    {.servers = "127.0.0.1:99999"},
	    {.servers = "::1,::1,::1,::1,::1,::1,::1,::1,::1"},
	    {.family = AF_UNIX},
	    {.try_ns = -1},
	    {.try_ns = 1000},
	    {.tries = 101},
	};
	struct tare_resolver *resolver;
	for (size_t i = 0; i < TARE_ARRAY_LEN(wrong); i++) {
		err.text[0] = '\0';
		assert_int_equal(tare_resolver_new(&resolver, &wrong[i], &err), -EINVAL);
		assert_true(err.text[0] != '\0');
	}
	const struct tare_resolver_options right = {.servers = "127.0.0.1,[::1]:53,::1,192.0.2.1:5353"};
	assert_int_equal(tare_resolver_new(&resolver, &right, &err), 0);
	tare_resolver_free(resolver);
	tare_resolver_free(NULL);
}

#ifndef TARE_SIM // the rest needs the kernel's datagrams
// ---- the name server ----------------------------------------------------------------------------------------------

enum { QTYPE_A = 1, QTYPE_CNAME = 5, QTYPE_AAAA = 28, RCODE_NXDOMAIN = 3, MESSAGE_BYTES = 4096, TC = 0x02 };

struct message {
	unsigned char bytes[MESSAGE_BYTES];
	size_t len;
	struct tare_addr from;
	char name[256];
	int type;
};

// Static: see tare_fd on storage.
static struct tare_udp server_udp;
static struct tare_listener server_listener;
static struct tare_stream server_stream;
static struct tare_addr server_addr;
static struct tare_mutex held_lock;
static struct message held;          // the last query for late.test, not answered; guarded by held_lock
static struct tare_event query_seen; // one that is not answered has come
static unsigned dropped;             // of lost.test
static atomic_uint queries;

static void put16(struct message *m, unsigned value)
{
	m->bytes[m->len++] = (unsigned char)(value >> 8);
	m->bytes[m->len++] = (unsigned char)value;
}

// "a.b" from the question, which is kept as it is.
static bool read_question(struct message *m)
{
	size_t at = 12, out = 0;
	while (at < m->len && m->bytes[at] != 0) {
		size_t n = m->bytes[at++];
		if (at + n >= m->len || out + n + 2 > sizeof m->name)
			return false;
		memcpy(m->name + out, m->bytes + at, n);
		out += n;
		m->name[out++] = '.';
		at += n;
	}
	if (out == 0 || at + 5 > m->len)
		return false;
	m->name[out - 1] = '\0';
	m->type = m->bytes[at + 1] << 8 | m->bytes[at + 2];
	m->len = at + 5;
	return true;
}

static void begin_answer(struct message *m, int rcode)
{
	m->bytes[2] = 0x81; // an answer, recursion desired
	m->bytes[3] = (unsigned char)(0x80 | rcode);
	memset(m->bytes + 6, 0, 6);
}

static void add_record(struct message *m, int type, const void *data, size_t len)
{
	put16(m, 0xc00c); // the question's name
	put16(m, (unsigned)type);
	put16(m, 1);
	put16(m, 0);
	put16(m, 60);
	put16(m, (unsigned)len);
	memcpy(m->bytes + m->len, data, len);
	m->len += len;
	m->bytes[7]++;
}

static void add_addr(struct message *m, const char *text)
{
	unsigned char addr[16];
	bool v6 = strchr(text, ':') != NULL;
	CHECK(inet_pton(v6 ? AF_INET6 : AF_INET, text, addr) == 1);
	if (m->type == (v6 ? QTYPE_AAAA : QTYPE_A))
		add_record(m, m->type, addr, v6 ? 16 : 4);
}

static const struct {
	const char *name;
	int rcode;
	const char *addrs[4];
} zone[] = {
    {"four.test", 0, {"192.0.2.4"}},
    {"six.test", 0, {"2001:db8::6"}},
    {"both.test", 0, {"127.0.0.1", "::1"}},
    {"inner.search.test", 0, {"192.0.2.7"}},
    {"empty.test", 0, {NULL}},
    {"fail.test", 2, {NULL}},
    {"refused.test", 5, {NULL}},
    {"big.test", 0, {"192.0.2.8", "192.0.2.9"}},
    {"bigfail.test", 2, {NULL}},
    {"lost.test", 0, {"192.0.2.10"}},
    {"garbage.test", 0, {"192.0.2.11"}},
    {"late.test", 0, {"192.0.2.12"}},
    {"dial.test", 0, {"127.0.0.2", "127.0.0.1"}},
    {"shut.test", 0, {"127.0.0.2", "127.0.0.3"}},
};

static void answer(struct message *m)
{
	begin_answer(m, RCODE_NXDOMAIN);
	for (size_t i = 0; i < TARE_ARRAY_LEN(zone); i++) {
		if (strcasecmp(m->name, zone[i].name) != 0)
			continue;
		begin_answer(m, zone[i].rcode);
		for (size_t k = 0; k < TARE_ARRAY_LEN(zone[i].addrs) && zone[i].addrs[k] != NULL; k++)
			add_addr(m, zone[i].addrs[k]);
	}
	unsigned number;
	char text[32];
	if (sscanf(m->name, "n%u.test", &number) == 1) {
		begin_answer(m, 0);
		snprintf(text, sizeof text, "10.0.%u.%u", number / 256, number % 256);
		add_addr(m, text);
	} else if (strcmp(m->name, "many.test") == 0) {
		begin_answer(m, 0);
		for (unsigned i = 0; i < 20; i++) {
			snprintf(text, sizeof text, "10.1.0.%u", i);
			add_addr(m, text);
		}
	} else if (strcmp(m->name, "alias.test") == 0) {
		begin_answer(m, 0);
		add_record(m, QTYPE_CNAME, "\4four\4test", 11);
		if (m->type == QTYPE_A) { // of the name in the record before
			size_t alias = m->len - 11;
			add_addr(m, "192.0.2.4");
			m->bytes[m->len - 16] = (unsigned char)(0xc0 | alias >> 8);
			m->bytes[m->len - 15] = (unsigned char)alias;
		}
	} else if (strcmp(m->name, "broken.test") == 0) {
		begin_answer(m, 0);
		add_addr(m, m->type == QTYPE_A ? "192.0.2.13" : "::2");
		m->len -= 3;
	}
}

static void send_back(const struct message *m)
{
	(void)!tare_udp_send(&server_udp, m->bytes, m->len, &m->from, TARE_NEVER);
}

static void hold(const struct message *m)
{
	tare_mutex_lock(&held_lock);
	held = *m;
	tare_mutex_unlock(&held_lock);
}

static void answer_late(void)
{
	static struct message m;
	tare_mutex_lock(&held_lock);
	m = held;
	tare_mutex_unlock(&held_lock);
	answer(&m);
	send_back(&m);
}

static void send_garbage(const struct message *m)
{
	struct message other = *m;
	(void)!tare_udp_send(&server_udp, "", 0, &m->from, TARE_NEVER);
	(void)!tare_udp_send(&server_udp, m->bytes, 5, &m->from, TARE_NEVER);
	other.bytes[0] ^= 0xff; // of another query
	other.bytes[3] = 0x80 | RCODE_NXDOMAIN;
	send_back(&other);
	other.bytes[0] ^= 0xff;
	other.bytes[13] ^= 0x03; // another question
	send_back(&other);
	memset(other.bytes + 12, 0xff, 400);
	other.len = 412;
	send_back(&other);
}

static int serve_udp(void *arg)
{
	static struct message m;
	(void)arg;
	for (;;) {
		ssize_t n = tare_udp_recv(&server_udp, m.bytes, sizeof m.bytes, &m.from, TARE_NEVER);
		if (n == -ECANCELED)
			return 0;
		m.len = n < 0 ? 0 : (size_t)n;
		if (!read_question(&m))
			continue; // ECONNREFUSED: who asked is gone
		atomic_fetch_add(&queries, 1);
		if (strcmp(m.name, "late.test") == 0)
			hold(&m);
		if (strcmp(m.name, "never.test") == 0 || strcmp(m.name, "late.test") == 0) {
			tare_event_wake(&query_seen);
			continue;
		}
		if (strcmp(m.name, "lost.test") == 0 && dropped++ < 2)
			continue;
		for (int i = 0; i < 20 && strcmp(m.name, "garbage.test") == 0; i++)
			send_garbage(&m); // more than is read at one go
		size_t question = m.len;
		answer(&m);
		if (strncmp(m.name, "big", 3) == 0) {
			begin_answer(&m, 0);
			m.len = question;
			m.bytes[2] |= TC;
		}
		send_back(&m);
	}
}

static ssize_t read_all(void *to, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = tare_stream_read(&server_stream, (char *)to + at, len - at, TARE_NEVER);
		if (n <= 0)
			return -1;
		at += (size_t)n;
	}
	return (ssize_t)len;
}

// In two pieces, and cut within the length, so that the reader has to come back.
static bool serve_tcp_query(void)
{
	static struct message m;
	static unsigned char out[MESSAGE_BYTES + 2];
	if (read_all(out, 2) < 0 || read_all(m.bytes, m.len = (size_t)(out[0] << 8 | out[1])) < 0 || !read_question(&m))
		return false;
	answer(&m);
	out[0] = (unsigned char)(m.len >> 8);
	out[1] = (unsigned char)m.len;
	memcpy(out + 2, m.bytes, m.len);
	if (tare_stream_write(&server_stream, out, 1, TARE_NEVER) < 0)
		return false;
	tare_yield();
	return tare_stream_write(&server_stream, out + 1, m.len + 1, TARE_NEVER) == 0;
}

static int serve_tcp(void *arg)
{
	(void)arg;
	for (;;) {
		struct tare_addr peer;
		int fd = tare_accept(&server_listener, &peer, TARE_NEVER);
		if (fd < 0)
			return 0;
		CHECK(tare_stream_open(&server_stream, fd) == 0);
		while (serve_tcp_query())
			continue;
		tare_stream_close(&server_stream);
	}
}

// ---- a test's frame -----------------------------------------------------------------------------------------------

static char server_text[TARE_ADDR_TEXT_BYTES];

static struct tare_resolver *new_resolver(struct tare_resolver_options options)
{
	struct tare_resolver *resolver = NULL;
	if (options.servers == NULL)
		options.servers = server_text;
	CHECK(tare_resolver_new(&resolver, &options, &err) == 0);
	return resolver;
}

static int count_fds(void)
{
	int count = 0;
	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

// One port for both, which some other program may have for the one of them.
static bool server_open(void)
{
	for (int i = 0; i < 50; i++) {
		CHECK(tare_addr_parse(&server_addr, "127.0.0.1:0", &err) == 0);
		CHECK(tare_udp_open(&server_udp, &server_addr, &err) == 0);
		if (tare_listen(&server_listener, &server_addr, 16, false, &err) == 0)
			return true;
		tare_udp_close(&server_udp);
	}
	return false;
}

static void (*test_body)(void);

static int framed_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	dropped = 0;
	query_seen = (struct tare_event){0};
	int before = count_fds();
	CHECK(server_open());
	tare_addr_format(&server_addr, server_text);
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	CHECK(tare_scope_go(&scope, serve_udp, NULL) == 0);
	CHECK(tare_scope_go(&scope, serve_tcp, NULL) == 0);
	test_body();
	CHECK(tare_scope_close(&scope) == 0);
	tare_udp_close(&server_udp);
	tare_listener_close(&server_listener);
	if (strcmp(getenv("TARE_IO") != NULL ? getenv("TARE_IO") : "", "uring") != 0)
		CHECK(count_fds() == before); // a ring closes a little later
	return 0;
}

static void run_framed(void (*body)(void))
{
	char hosts_path[] = "/tmp/tare-hosts-XXXXXX";
	test_body = body;
	int fd = mkstemp(hosts_path);
	assert_true(fd >= 0 && dprintf(fd, "192.0.2.99 filed.test filed\n192.0.2.99 filed.test\n::9 filed.test\n") > 0);
	close(fd);
	setenv("CARES_HOSTS", hosts_path, 1);
	setenv("LOCALDOMAIN", "search.test", 1);
	setenv("RES_OPTIONS", "ndots:1", 1);
	for (int workers = 1; workers <= 2; workers++)
		run_in_task(workers, framed_main);
	unlink(hosts_path);
}

static int resolve(struct tare_resolver *resolver, const char *name, struct tare_addr *ret, size_t max)
{
	char text[300];
	err.text[0] = '\0';
	snprintf(text, sizeof text, "%s:80", name);
	int rc = tare_resolve(resolver, text, ret, max, TARE_NEVER, &err);
	CHECK(rc > 0 || (err.text[0] != '\0' && strstr(err.text, name) != NULL));
	return rc;
}

static bool is_addr(const struct tare_addr *addr, const char *text)
{
	char shown[TARE_ADDR_TEXT_BYTES];
	tare_addr_format(addr, shown);
	return strcmp(shown, text) == 0;
}

static bool found(struct tare_resolver *resolver, const char *name, const char *text)
{
	struct tare_addr addr[4];
	return resolve(resolver, name, addr, 4) == 1 && is_addr(&addr[0], text);
}

// ---- what is found ------------------------------------------------------------------------------------------------

static void finds(void)
{
	struct tare_addr addrs[32];
	struct tare_resolver *resolver = new_resolver((struct tare_resolver_options){.try_ns = 50 * TARE_NS_PER_MS});
	CHECK(found(resolver, "four.test", "192.0.2.4:80"));
	CHECK(found(resolver, "FOUR.test.", "192.0.2.4:80"));
	CHECK(found(resolver, "six.test", "[2001:db8::6]:80"));
	CHECK(found(resolver, "alias.test", "192.0.2.4:80"));
	CHECK(found(resolver, "inner", "192.0.2.7:80"));      // by the search domain
	CHECK(found(resolver, "lost.test", "192.0.2.10:80")); // asked again
	CHECK(found(resolver, "garbage.test", "192.0.2.11:80"));
	CHECK(resolve(resolver, "both.test", addrs, 32) == 2);
	CHECK(addrs[0].sa.sa_family != addrs[1].sa.sa_family); // which is first depends on the machine
	CHECK(resolve(resolver, "many.test", addrs, 32) == 20 && is_addr(&addrs[19], "10.1.0.19:80"));
	CHECK(resolve(resolver, "many.test", addrs, 7) == 7 && is_addr(&addrs[6], "10.1.0.6:80"));
	CHECK(resolve(resolver, "big.test", addrs, 32) == 2 && is_addr(&addrs[1], "192.0.2.9:80")); // over TCP
	tare_resolver_free(resolver);
	resolver = new_resolver((struct tare_resolver_options){.family = AF_INET});
	CHECK(found(resolver, "both.test", "127.0.0.1:80"));
	CHECK(resolve(resolver, "six.test", addrs, 4) == -ENODATA && strstr(err.text, "IPv4") != NULL);
	tare_resolver_free(resolver);
	resolver = new_resolver((struct tare_resolver_options){.family = AF_INET6});
	CHECK(found(resolver, "both.test", "[::1]:80"));
	tare_resolver_free(resolver);
}

TEST(names_are_found_in_both_families_over_udp_and_tcp)
{
	run_framed(finds);
}

static void finds_in_file(void)
{
	struct tare_addr addrs[4];
	struct tare_resolver *resolver = new_resolver((struct tare_resolver_options){0});
	unsigned before = atomic_load(&queries);
	CHECK(resolve(resolver, "filed.test", addrs, 4) == 2); // each once
	CHECK(found(resolver, "filed", "192.0.2.99:80"));
	CHECK(atomic_load(&queries) == before);
	tare_resolver_free(resolver);
}

TEST(the_file_of_hosts_comes_first)
{
	run_framed(finds_in_file);
}

// ---- what is not --------------------------------------------------------------------------------------------------

static void fails(void)
{
	struct tare_addr addr;
	char label[80];
	struct tare_resolver *resolver = new_resolver((struct tare_resolver_options){.tries = 2});
	CHECK(resolve(resolver, "none.test", &addr, 1) == -ENOENT);
	CHECK(resolve(resolver, "empty.test", &addr, 1) == -ENODATA);
	CHECK(resolve(resolver, "fail.test", &addr, 1) == -EREMOTEIO);
	CHECK(resolve(resolver, "bigfail.test", &addr, 1) == -EREMOTEIO); // as said over TCP
	CHECK(resolve(resolver, "refused.test", &addr, 1) == -EACCES);
	CHECK(resolve(resolver, "broken.test", &addr, 1) == -EBADMSG);
	memset(label, 'x', 70);
	strcpy(label + 70, ".test.");
	CHECK(resolve(resolver, label, &addr, 1) == -EINVAL); // a part of a name has at most 63 letters
	tare_resolver_free(resolver);
	resolver = new_resolver((struct tare_resolver_options){.tries = 2, .try_ns = TARE_NS_PER_MS});
	CHECK(resolve(resolver, "never.test.", &addr, 1) == -ETIMEDOUT && strstr(err.text, "server") != NULL);
	tare_resolver_free(resolver);
}

TEST(why_a_name_is_not_found_is_told)
{
	run_framed(fails);
}

static void asks_the_next(void)
{
	struct tare_addr addr, dead = server_addr;
	char text[2 * TARE_ADDR_TEXT_BYTES];
	tare_addr_set_port(&dead, 0);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(bind(fd, &dead.sa, dead.len) == 0 && getsockname(fd, &dead.sa, &dead.len) == 0);
	close(fd); // nobody is there any more
	tare_addr_format(&dead, text);
	struct tare_resolver *resolver = new_resolver((struct tare_resolver_options){.servers = text});
	CHECK(resolve(resolver, "four.test", &addr, 1) == -ECONNREFUSED);
	tare_resolver_free(resolver);
	strcat(strcat(text, ","), server_text);
	resolver = new_resolver((struct tare_resolver_options){.servers = text});
	CHECK(found(resolver, "four.test", "192.0.2.4:80"));
	tare_resolver_free(resolver);
}

TEST(the_next_server_is_asked_when_one_is_not_there)
{
	run_framed(asks_the_next);
}

// ---- giving up ----------------------------------------------------------------------------------------------------

struct asking {
	struct tare_resolver *resolver;
	const char *text;
	int64_t deadline_ns;
	int result;
	struct tare_error err;
};

static int ask(void *arg)
{
	struct asking *asking = arg;
	struct tare_addr addr;
	asking->result = tare_resolve(asking->resolver, asking->text, &addr, 1, asking->deadline_ns, &asking->err);
	return 0;
}

// One family, so that a lookup is one query.
static void gives_up(void)
{
	struct tare_resolver *resolver = new_resolver((struct tare_resolver_options){.family = AF_INET});
	struct asking asking = {.resolver = resolver, .text = "late.test.:80"};
	struct tare_scope scope;
	asking.deadline_ns = tare_now_ns() + 5 * TARE_NS_PER_MS;
	(void)ask(&asking);
	CHECK(asking.result == -ETIMEDOUT && strstr(asking.err.text, "deadline") != NULL);
	tare_event_wait(&query_seen);
	answer_late(); // nobody is there any more
	for (int deadline = 0; deadline < 2; deadline++) {
		asking.deadline_ns = TARE_NEVER;
		CHECK(tare_scope_open(&scope, deadline ? tare_now_ns() + 5 * TARE_NS_PER_MS : TARE_NEVER, 0) == 0);
		CHECK(tare_scope_go(&scope, ask, &asking) == 0);
		if (!deadline) {
			tare_event_wait(&query_seen);
			tare_scope_cancel(&scope);
		}
		CHECK(tare_scope_join(&scope) == 0);
		CHECK(asking.result == (deadline ? -ETIMEDOUT : -ECANCELED));
	}
	answer_late();
	CHECK(found(resolver, "four.test", "192.0.2.4:80"));
	tare_resolver_free(resolver);
}

TEST(deadlines_and_cancelling_end_a_lookup_and_late_answers_find_nobody)
{
	run_framed(gives_up);
}

static void waits_its_turn(void)
{
	struct tare_resolver *resolver =
	    new_resolver((struct tare_resolver_options){.family = AF_INET, .lookups_max = 1});
	struct asking first = {.resolver = resolver, .text = "never.test.:80", .deadline_ns = TARE_NEVER};
	struct asking second = {.resolver = resolver, .text = "four.test.:80"};
	struct tare_scope scope;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	CHECK(tare_scope_go(&scope, ask, &first) == 0);
	tare_event_wait(&query_seen);
	second.deadline_ns = tare_now_ns() + 5 * TARE_NS_PER_MS;
	(void)ask(&second);
	CHECK(second.result == -ETIMEDOUT && strstr(second.err.text, "other lookups") != NULL);
	CHECK(tare_scope_close(&scope) == 0 && first.result == -ECANCELED);
	second.deadline_ns = TARE_NEVER;
	(void)ask(&second);
	CHECK(second.result == 1);
	tare_resolver_free(resolver);
}

TEST(no_more_lookups_at_once_than_allowed)
{
	run_framed(waits_its_turn);
}

enum { ASKERS = 300 };
static struct tare_resolver *shared;

static int ask_own(void *arg)
{
	unsigned number = (unsigned)(uintptr_t)arg;
	char text[32], expected[32];
	struct tare_addr addrs[2];
	struct tare_error own;
	snprintf(text, sizeof text, "n%u.test.:%u", number, number);
	snprintf(expected, sizeof expected, "10.0.%u.%u:%u", number / 256, number % 256, number);
	int rc = tare_resolve(shared, text, addrs, 2, TARE_NEVER, &own);
	CHECK(rc == 1 && is_addr(&addrs[0], expected));
	return 0;
}

static int ask_and_leave(void *arg)
{
	struct tare_addr addr;
	struct tare_error own;
	int64_t deadline_ns = tare_now_ns() + (int64_t)(uintptr_t)arg * 20 * TARE_NS_PER_US;
	int rc = tare_resolve(shared, "four.test.:1", &addr, 1, deadline_ns, &own);
	CHECK(rc == 1 || rc == -ETIMEDOUT);
	return 0;
}

static void many_at_once(void)
{
	struct tare_scope scope;
	// Datagrams that overflow the server's socket are asked for again.
	shared = new_resolver(
	    (struct tare_resolver_options){.lookups_max = 20, .try_ns = 200 * TARE_NS_PER_MS, .tries = 100});
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (uintptr_t i = 1; i <= SCALED(ASKERS); i++) {
		CHECK(tare_scope_go(&scope, ask_own, (void *)i) == 0);
		CHECK(tare_scope_go(&scope, ask_and_leave, (void *)i) == 0);
	}
	CHECK(tare_scope_join(&scope) == 0);
	tare_resolver_free(shared);
}

TEST(many_tasks_ask_at_once_and_some_leave_in_the_middle)
{
	run_framed(many_at_once);
}

// ---- connections --------------------------------------------------------------------------------------------------

static struct tare_listener listener, full;
static struct tare_stream stream, filler;

// The one listens, and the other will not take what comes: its queue is full.
static bool listen_both(void)
{
	struct tare_addr addr, full_addr;
	for (int i = 0; i < 50; i++) {
		CHECK(tare_addr_parse(&addr, "127.0.0.1:0", &err) == 0);
		CHECK(tare_listen(&listener, &addr, 16, false, &err) == 0);
		CHECK(tare_addr_parse(&full_addr, "127.0.0.2:0", &err) == 0);
		tare_addr_set_port(&full_addr, tare_addr_port(&addr));
		if (tare_listen(&full, &full_addr, 0, false, &err) == 0)
			return tare_stream_dial(&filler, &full_addr, TARE_NEVER) == 0;
		tare_listener_close(&listener);
	}
	return false;
}

static void dials_past_silence(void)
{
	struct tare_resolver *resolver = new_resolver((struct tare_resolver_options){0});
	char text[64];
	struct tare_scope scope;
	CHECK(listen_both());
	snprintf(text, sizeof text, "dial.test:%u", tare_addr_port(&listener.addr));
	CHECK(tare_dial(&stream, resolver, text, tare_now_ns() + 400 * TARE_NS_PER_MS, &err) == 0);
	tare_stream_close(&stream);
	CHECK(tare_scope_open(&scope, tare_now_ns() + 20 * TARE_NS_PER_MS, 0) == 0);
	CHECK(tare_dial(&stream, resolver, text, TARE_NEVER, &err) == -ETIMEDOUT);
	CHECK(tare_scope_join(&scope) == 0);
	tare_stream_close(&filler);
	tare_listener_close(&full);
	tare_listener_close(&listener);
	tare_resolver_free(resolver);
}

TEST(an_address_that_does_not_answer_takes_a_part_of_the_time)
{
	run_framed(dials_past_silence);
}

static void dials(void)
{
	struct tare_resolver *resolver = new_resolver((struct tare_resolver_options){0});
	struct tare_addr addr, peer;
	char text[64];
	CHECK(tare_addr_parse(&addr, "127.0.0.1:0", &err) == 0 && tare_listen(&listener, &addr, 16, false, &err) == 0);
	unsigned port = tare_addr_port(&addr);
	// The first of its addresses refuses.
	snprintf(text, sizeof text, "dial.test:%u", port);
	CHECK(tare_dial(&stream, resolver, text, TARE_NEVER, &err) == 0);
	int fd = tare_accept(&listener, &peer, TARE_NEVER);
	CHECK(fd >= 0);
	tare_fd_dismiss(fd, NULL, 0);
	tare_stream_close(&stream);
	// None of them is there.
	snprintf(text, sizeof text, "shut.test:%u", port);
	CHECK(tare_dial(&stream, resolver, text, TARE_NEVER, &err) == -ECONNREFUSED);
	CHECK(strstr(err.text, text) != NULL && strstr(err.text, "127.0.0.2") != NULL);
	CHECK(tare_dial(&stream, resolver, "none.test:1", TARE_NEVER, &err) == -ENOENT);
	snprintf(text, sizeof text, "127.0.0.2:%u", port);
	CHECK(tare_dial(&stream, resolver, text, TARE_NEVER, &err) == -ECONNREFUSED && strstr(err.text, text) != NULL);
	tare_listener_close(&listener);
	tare_resolver_free(resolver);
}

TEST(a_connection_takes_the_first_address_that_answers)
{
	run_framed(dials);
}
#endif
