// SPDX-License-Identifier: MIT
//
// Resolvers: what a name is, whose turn it is to look one up, and connections to names.
//
// Threads: any number of tasks use one resolver; its options do not change, and the turns are a semaphore's. A lookup's
// own state is ares.c's.
#include "net/net_int.h"

#include <tare/heap.h>
#include <tare/sync.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

// HOST_BYTES: RFC 1035, and a final dot.
enum { LOOKUPS_DEFAULT = 64, TRIES_MAX = 100, SERVER_TEXT_BYTES = 64, DNS_PORT = 53, HOST_BYTES = 255 };

static struct tare_tag heap_tag = TARE_TAG("resolvers");

struct tare_resolver {
	struct net_query query;
	struct tare_sem turns;
	unsigned lookups_max;
};

// ---- making -------------------------------------------------------------------------------------------------------

// "127.0.0.1", "::1", or one of those with a port.
static int parse_server(struct tare_addr *ret, const char *text)
{
	struct tare_addr addr = {0};
	if (inet_pton(AF_INET, text, &addr.v4.sin_addr) == 1) {
		addr.v4.sin_family = AF_INET;
		addr.len = sizeof addr.v4;
	} else if (inet_pton(AF_INET6, text, &addr.v6.sin6_addr) == 1) {
		addr.v6.sin6_family = AF_INET6;
		addr.len = sizeof addr.v6;
	} else {
		int rc = text[0] != ':' ? tare_addr_parse(ret, text, NULL) : -EINVAL;
		return rc == 0 && tare_addr_port(ret) == 0 ? -EINVAL : rc;
	}
	tare_addr_set_port(&addr, DNS_PORT);
	*ret = addr;
	return 0;
}

static int parse_servers(struct net_query *query, const char *list, struct tare_error *err)
{
	for (const char *from = list;; from++) {
		size_t len = strcspn(from, ",");
		char text[SERVER_TEXT_BYTES];
		if (query->server_count == NET_SERVERS_MAX)
			return tare_error_set(err, -EINVAL, "name servers '%.200s': at most %d can be given", list,
					      NET_SERVERS_MAX);
		snprintf(text, sizeof text, "%.*s", (int)TARE_MIN(len, sizeof text), from);
		if (len >= sizeof text || parse_server(&query->servers[query->server_count++], text) < 0)
			return tare_error_set(err, -EINVAL,
					      "name servers '%.200s': '%.*s' is no address (write 127.0.0.1, "
					      "127.0.0.1:5353, ::1 or [::1]:5353, with commas between)",
					      list, (int)TARE_MIN(len, sizeof text), from);
		from += len;
		if (*from == '\0')
			return 0;
	}
}

static int check(const struct tare_resolver_options *o, struct tare_error *err)
{
	if (o->family != AF_UNSPEC && o->family != AF_INET && o->family != AF_INET6)
		return tare_error_set(err, -EINVAL, "resolver: family %d is neither AF_INET, AF_INET6 nor 0",
				      o->family);
	if (o->tries > TRIES_MAX)
		return tare_error_set(err, -EINVAL, "resolver: %u tries; at most %d", o->tries, TRIES_MAX);
	if (o->try_ns != 0 && (o->try_ns < TARE_NS_PER_MS || o->try_ns > 3600 * TARE_NS_PER_S))
		return tare_error_set(err, -EINVAL, "resolver: a try takes from 1 ms to 1 h, not %lld ns",
				      (long long)o->try_ns);
	return 0;
}

int tare_resolver_new(struct tare_resolver **ret, const struct tare_resolver_options *options, struct tare_error *err)
{
	static const struct tare_resolver_options defaults;
	const struct tare_resolver_options *o = options != NULL ? options : &defaults;
	struct net_query query = {.family = o->family, .try_ns = o->try_ns, .tries = o->tries};
	int rc = check(o, err);
	if (rc == 0 && o->servers != NULL)
		rc = parse_servers(&query, o->servers, err);
	if (rc == 0)
		rc = net_ares_init(err);
	if (rc < 0)
		return rc;
	struct tare_resolver *resolver = tare_alloc_zeroed(&heap_tag, 1, sizeof *resolver);
	if (resolver == NULL)
		return tare_error_set(err, -ENOMEM, "out of memory for a resolver");
	resolver->query = query;
	resolver->lookups_max = o->lookups_max != 0 ? o->lookups_max : LOOKUPS_DEFAULT;
	resolver->turns.units = resolver->lookups_max;
	*ret = resolver;
	return 0;
}

void tare_resolver_free(struct tare_resolver *resolver)
{
	tare_free(resolver);
}

// ---- names --------------------------------------------------------------------------------------------------------

static int bad(struct tare_error *err, const char *text, const char *why)
{
	return tare_error_set(err, -EINVAL,
			      "address '%.200s': %s (write example.org:443, 127.0.0.1:443, [::1]:443 or unix:PATH)",
			      text, why);
}

// Letters, digits, '-', '_' and '.'. A last part of digits alone is no name but an address gone wrong, such as 127.1.
static bool is_name(const char *host, size_t len)
{
	static const char allowed[] = "0123456789-_.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	if (len == 0 || strspn(host, allowed) < len || host[0] == '.')
		return false;
	if (host[len - 1] == '.')
		len--;
	size_t digits = 0;
	while (digits < len && host[len - 1 - digits] >= '0' && host[len - 1 - digits] <= '9')
		digits++;
	return digits < len && (digits == 0 || host[len - 1 - digits] != '.');
}

static int split(const char *text, char host[HOST_BYTES], uint16_t *ret_port, struct tare_error *err)
{
	const char *colon = strrchr(text, ':');
	uint64_t port;
	if (colon == NULL)
		return bad(err, text, "no port");
	if (tare_parse_u64((struct tare_str){colon + 1, strlen(colon + 1)}, &port) < 0 || port > 65535)
		return bad(err, text, "the port is not a number between 0 and 65535");
	size_t len = (size_t)(colon - text);
	if (len >= HOST_BYTES)
		return bad(err, text, "the name is too long");
	if (!is_name(text, len))
		return bad(err, text,
			   "neither a numeric address nor a name; names of other letters have a form in xn--");
	memcpy(host, text, len);
	host[len] = '\0';
	*ret_port = (uint16_t)port;
	return 0;
}

int tare_resolve_check(const char *text, struct tare_error *err)
{
	struct tare_addr addr;
	char host[HOST_BYTES];
	uint16_t port;
	if (strncmp(text, "unix:", 5) == 0)
		return tare_addr_parse(&addr, text, err);
	return tare_addr_parse(&addr, text, NULL) == 0 ? 0 : split(text, host, &port, err);
}

static int look_up(struct tare_resolver *resolver, const char *text, struct tare_addr *ret, size_t max,
		   int64_t deadline_ns, struct tare_error *err)
{
	char host[HOST_BYTES];
	uint16_t port = 0;
	int rc = split(text, host, &port, err);
	if (rc < 0)
		return rc;
	rc = tare_sem_take_until(&resolver->turns, 1, deadline_ns);
	if (rc < 0)
		return tare_error_set(err, rc, "host '%s': waited for %u other lookups: %s", host,
				      resolver->lookups_max, strerror(-rc));
	rc = net_ares_lookup(&resolver->query, host, port, ret, max, deadline_ns, err);
	tare_sem_give(&resolver->turns, 1);
	return rc;
}

int tare_resolve(struct tare_resolver *resolver, const char *text, struct tare_addr *ret, size_t max,
		 int64_t deadline_ns, struct tare_error *err)
{
	TARE_ASSERT(max > 0);
	struct tare_addr addr;
	if (tare_addr_parse(&addr, text, NULL) < 0)
		return strncmp(text, "unix:", 5) == 0 ? tare_addr_parse(&addr, text, err)
						      : look_up(resolver, text, ret, max, deadline_ns, err);
	int family = addr.sa.sa_family;
	if (family != AF_UNIX && resolver->query.family != AF_UNSPEC && resolver->query.family != family)
		return tare_error_set(err, -ENODATA, "address '%.200s': is no IPv%d address", text,
				      family == AF_INET ? 6 : 4);
	ret[0] = addr;
	return 1;
}

// ---- connections --------------------------------------------------------------------------------------------------

static int64_t fair_part(int64_t deadline_ns, int addrs_left)
{
	int64_t now_ns = tare_now_ns();
	if (deadline_ns == TARE_NEVER || now_ns >= deadline_ns)
		return deadline_ns;
	return now_ns + (deadline_ns - now_ns) / addrs_left;
}

// What another address would not mend.
static bool is_final(int rc)
{
	return rc == -ECANCELED || rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS;
}

int tare_dial(struct tare_stream *stream, struct tare_resolver *resolver, const char *text, int64_t deadline_ns,
	      struct tare_error *err)
{
	struct tare_addr addrs[TARE_DIAL_ADDRS_MAX];
	int count = tare_resolve(resolver, text, addrs, TARE_DIAL_ADDRS_MAX, deadline_ns, err);
	if (count < 0)
		return count;
	int first = 0, failed = 0;
	for (int i = 0; i < count; i++) {
		int rc = tare_stream_dial(stream, &addrs[i], fair_part(deadline_ns, count - i));
		if (rc == 0)
			return 0;
		bool final = is_final(rc) || (rc == -ETIMEDOUT && tare_cancelled() != 0);
		if (failed == 0 || final) {
			failed = rc;
			first = i;
		}
		if (final || (rc == -ETIMEDOUT && tare_now_ns() >= deadline_ns))
			break;
	}
	char tried[TARE_ADDR_TEXT_BYTES];
	tare_addr_format(&addrs[first], tried);
	if (count == 1)
		return tare_error_set(err, failed, "can't connect to %.200s (%s): %s", text, tried, strerror(-failed));
	return tare_error_set(err, failed, "can't connect to %.200s: %s, of %d addresses: %s", text, tried, count,
			      strerror(-failed));
}
