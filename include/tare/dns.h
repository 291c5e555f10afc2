// SPDX-License-Identifier: MIT
//
// dns: names of hosts. A task waits for its addresses, or for a connection to one of them, and its worker goes on.
//
// A name is looked up as the system's configuration has it: /etc/hosts, /etc/resolv.conf with its name servers, search
// domains and options, and the order of the two from /etc/nsswitch.conf. The files are read anew for each lookup, on a
// spare thread (<tare/block.h>). The environment's CARES_HOSTS names a file in place of /etc/hosts; LOCALDOMAIN and
// RES_OPTIONS do as resolv.conf(5) says. Nothing is cached: that is the name server's business.
//
// Called from tasks but for tare_resolver_new, tare_resolver_free and tare_resolve_check. A lookup that waits returns
// -ECANCELED or -ETIMEDOUT when its task's scope is cancelled, and leaves nothing behind then. It allocates (some 80
// KiB until it ends, by c-ares) and holds one socket for each name server it asks. Where Tare was built without c-ares,
// names are -ENOSYS.
#ifndef TARE_DNS_H
#define TARE_DNS_H

#include <tare/base.h>
#include <tare/net.h>

// ---- resolvers ----------------------------------------------------------------------------------------------------

// How names are looked up, and how many at once. Any number of tasks use one at the same time.
struct tare_resolver;

struct tare_resolver_options {
	// "127.0.0.1:5353,[::1]:53,192.0.2.1": the name servers in place of those of /etc/resolv.conf, port 53 unless
	// one is given; NULL: those.
	const char *servers;
	int family;           // AF_INET or AF_INET6: such addresses alone; 0: both
	unsigned lookups_max; // at once, others wait for their turn; 0: 64
	// How long the first try at a name server may take (1 ms to an hour; it doubles with each round of the
	// servers), and how often each is tried (at most 100). 0: what /etc/resolv.conf says in the words of c-ares,
	// whose version 1.18 has `options retrans:MILLISECONDS retry:N` and not `timeout:` and `attempts:`; else 5 s
	// and 4 times.
	int64_t try_ns;
	unsigned tries;
};

// From any thread, also while no runtime runs. options may be NULL. -EINVAL for options that are out of bounds,
// -ENOMEM; with a text.
TARE_MUST_USE int tare_resolver_new(struct tare_resolver **ret, const struct tare_resolver_options *options,
				    struct tare_error *err);
// No lookup may be under way. NULL is fine.
void tare_resolver_free(struct tare_resolver *resolver);

// ---- lookups ------------------------------------------------------------------------------------------------------

// The addresses of "example.org:443" into ret, at most max (at least 1, asserted), the one to try first in front (RFC
// 6724); how many. What tare_addr_parse reads ("127.0.0.1:443", "[::1]:443", "localhost:443", "unix:PATH") is its own
// only address and takes no lookup. Errors, each with a text:
//
//   -EINVAL        no address and no name
//   -ENOENT        there is no such host
//   -ENODATA       it has no address, or none of the family asked for
//   -EREMOTEIO     the name servers failed
//   -EACCES        the name servers refuse to answer
//   -ECONNREFUSED  no name server could be reached
//   -ETIMEDOUT     the deadline passed, or no server answered in time
//   -ECANCELED     the scope was cancelled
//   -EBADMSG       an answer that can't be read
//   -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM, -ENOSYS
TARE_MUST_USE int tare_resolve(struct tare_resolver *resolver, const char *text, struct tare_addr *ret, size_t max,
			       int64_t deadline_ns, struct tare_error *err);

// Whether tare_resolve would take the text: 0, or -EINVAL with a text. From any thread; nothing is looked up.
TARE_MUST_USE int tare_resolve_check(const char *text, struct tare_error *err);

enum { TARE_DIAL_ADDRS_MAX = 16 };

// tare_resolve, then tare_stream_dial on one address after the other (16 at most) until one takes the connection. Each
// may take an equal part of what is left until the deadline; with TARE_NEVER as long as the kernel tries. The errors of
// both: if no address answers, that of the first, and the text names it. On failure there is nothing to close.
TARE_MUST_USE int tare_dial(struct tare_stream *stream, struct tare_resolver *resolver, const char *text,
			    int64_t deadline_ns, struct tare_error *err);

#endif
