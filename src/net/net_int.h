// SPDX-License-Identifier: MIT
// What the room net's files share: a lookup, which resolve.c asks for and ares.c makes.
#ifndef TARE_NET_INT_H
#define TARE_NET_INT_H

#include <tare/dns.h>

enum { NET_SERVERS_MAX = 8 };

struct net_query {
	struct tare_addr servers[NET_SERVERS_MAX];
	unsigned server_count; // 0: the system's
	int family;            // AF_UNSPEC: both
	unsigned tries;        // 0: the system's, as try_ns is
	int64_t try_ns;
};

// Sets up what all lookups share, once. -ENOMEM, -ENOSYS, with a text. From any thread.
TARE_MUST_USE int net_ares_init(struct tare_error *err);
// The addresses of a host, their port set, into ret; how many, at least 1. Errors as tare_resolve.
TARE_MUST_USE int net_ares_lookup(const struct net_query *query, const char *host, uint16_t port, struct tare_addr *ret,
				  size_t max, int64_t deadline_ns, struct tare_error *err);

#endif
