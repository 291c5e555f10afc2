// SPDX-License-Identifier: MIT
// Socket addresses as text. Numeric but for "localhost", which is 127.0.0.1: other names are resolve.c's.
#include <tare/net.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>

static int bad(struct tare_error *err, const char *text, const char *why)
{
	return tare_error_set(err, -EINVAL,
			      "address '%s': %s (write 127.0.0.1:8080, [::1]:8080, localhost:8080, :8080 or unix:PATH)",
			      text, why);
}

static int parse_unix(struct tare_addr *ret, const char *text, struct tare_error *err)
{
	const char *path = text + strlen("unix:");
	struct tare_addr addr = {.un.sun_family = AF_UNIX, .len = sizeof addr.un};
	if (path[0] == '\0')
		return bad(err, text, "no path");
	if (strlen(path) >= sizeof addr.un.sun_path)
		return bad(err, text, "the path is too long for a socket");
	strcpy(addr.un.sun_path, path);
	*ret = addr;
	return 0;
}

int tare_addr_parse(struct tare_addr *ret, const char *text, struct tare_error *err)
{
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(ret, text, err);
	const char *colon = strrchr(text, ':');
	if (colon == NULL)
		return bad(err, text, "no port");
	uint64_t port;
	if (tare_parse_u64((struct tare_str){colon + 1, strlen(colon + 1)}, &port) < 0 || port > 65535)
		return bad(err, text, "the port is not a number between 0 and 65535");
	size_t len = (size_t)(colon - text);
	char host[64];
	if (len >= sizeof host)
		return bad(err, text, "the host is too long");
	memcpy(host, text, len);
	host[len] = '\0';
	struct tare_addr addr = {0};
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		addr.v6.sin6_family = AF_INET6;
		addr.v6.sin6_port = htons((uint16_t)port);
		addr.len = sizeof addr.v6;
		if (inet_pton(AF_INET6, host + 1, &addr.v6.sin6_addr) != 1)
			return bad(err, text, "not an IPv6 address");
	} else {
		const char *numeric = len == 0 ? "0.0.0.0" : strcasecmp(host, "localhost") == 0 ? "127.0.0.1" : host;
		addr.v4.sin_family = AF_INET;
		addr.v4.sin_port = htons((uint16_t)port);
		addr.len = sizeof addr.v4;
		if (inet_pton(AF_INET, numeric, &addr.v4.sin_addr) != 1)
			return bad(err, text, "not a numeric address, and names are not resolved");
	}
	*ret = addr;
	return 0;
}

void tare_addr_format(const struct tare_addr *addr, char *out)
{
	char host[INET6_ADDRSTRLEN] = "?";
	if (addr->sa.sa_family == AF_UNIX) {
		snprintf(out, TARE_ADDR_TEXT_BYTES, "unix:%s", addr->un.sun_path);
	} else if (addr->sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &addr->v6.sin6_addr, host, sizeof host);
		snprintf(out, TARE_ADDR_TEXT_BYTES, "[%s]:%u", host, tare_addr_port(addr));
	} else {
		inet_ntop(AF_INET, &addr->v4.sin_addr, host, sizeof host);
		snprintf(out, TARE_ADDR_TEXT_BYTES, "%s:%u", host, tare_addr_port(addr));
	}
}

bool tare_addr_is_loopback(const struct tare_addr *addr)
{
	if (addr->sa.sa_family == AF_UNIX)
		return true;
	if (addr->sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&addr->v6.sin6_addr);
	return ntohl(addr->v4.sin_addr.s_addr) >> 24 == 127;
}

uint16_t tare_addr_port(const struct tare_addr *addr)
{
	if (addr->sa.sa_family == AF_UNIX)
		return 0;
	return ntohs(addr->sa.sa_family == AF_INET6 ? addr->v6.sin6_port : addr->v4.sin_port);
}

void tare_addr_set_port(struct tare_addr *addr, uint16_t port)
{
	if (addr->sa.sa_family == AF_INET6)
		addr->v6.sin6_port = htons(port);
	else if (addr->sa.sa_family == AF_INET)
		addr->v4.sin_port = htons(port);
}
