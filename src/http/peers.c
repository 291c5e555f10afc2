// SPDX-License-Identifier: MIT
//
// How many connections each address has: an open-addressing table, linear probing, at most half full, sized once from
// the limit of connections in all.
//
// Threads: any, under one spinlock: once an accept and once a close, and only where the limit is set.
// An IPv6 address counts by its /64: one customer holds at least that many addresses.
#include "http/http_int.h"

#include <errno.h>

static struct tare_tag heap_tag = TARE_TAG("http server");

struct entry {
	struct http_peer peer;
	uint32_t count; // 0: free
};

struct http_peers {
	struct tare_spin spin;
	unsigned per_address_max;
	size_t mask;
	struct entry entries[];
};

int http_peers_new(struct http_peers **ret, unsigned connections_max, unsigned per_address_max)
{
	size_t size = 16;
	while (size < 2 * (size_t)connections_max)
		size *= 2;
	struct http_peers *peers = tare_alloc_zeroed(&heap_tag, 1, sizeof *peers + size * sizeof(struct entry));
	if (peers == NULL)
		return -ENOMEM;
	peers->per_address_max = per_address_max;
	peers->mask = size - 1;
	*ret = peers;
	return 0;
}

void http_peers_free(struct http_peers *peers)
{
	tare_free(peers);
}

struct http_peer http_peer_of(const struct tare_addr *addr)
{
	struct http_peer peer = {{0, addr->sa.sa_family}};
	if (addr->sa.sa_family == AF_INET6)
		memcpy(&peer.words[0], &addr->v6.sin6_addr, 8);
	else if (addr->sa.sa_family == AF_INET)
		peer.words[0] = addr->v4.sin_addr.s_addr;
	return peer;
}

static size_t home_of(const struct http_peers *peers, const struct http_peer *peer)
{
	uint64_t h = (peer->words[0] ^ peer->words[1] << 32) * UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)(h >> 32) & peers->mask;
}

// The entry of that address, or the free one where it would go. There is always a free one: the table is at most half
// full.
static struct entry *find(struct http_peers *peers, const struct http_peer *wanted)
{
	for (size_t i = home_of(peers, wanted);; i = (i + 1) & peers->mask) {
		struct entry *entry = &peers->entries[i];
		if (entry->count == 0 || memcmp(&entry->peer, wanted, sizeof *wanted) == 0)
			return entry;
	}
}

int http_peers_enter(struct http_peers *peers, const struct http_peer *peer)
{
	tare_spin_lock(&peers->spin);
	struct entry *entry = find(peers, peer);
	bool full = entry->count >= peers->per_address_max;
	if (!full) {
		entry->peer = *peer;
		entry->count++;
	}
	tare_spin_unlock(&peers->spin);
	return full ? -EAGAIN : 0;
}

// Closes the gap that a removed entry leaves: whatever stands behind it and may move forward does.
static void remove_at(struct http_peers *peers, size_t gap)
{
	for (size_t i = (gap + 1) & peers->mask; peers->entries[i].count != 0; i = (i + 1) & peers->mask) {
		size_t home = home_of(peers, &peers->entries[i].peer);
		if (((i - home) & peers->mask) < ((i - gap) & peers->mask))
			continue;
		peers->entries[gap] = peers->entries[i];
		gap = i;
	}
	peers->entries[gap] = (struct entry){0};
}

void http_peers_leave(struct http_peers *peers, const struct http_peer *peer)
{
	tare_spin_lock(&peers->spin);
	struct entry *entry = find(peers, peer);
	TARE_ASSERT(entry->count > 0);
	if (--entry->count == 0)
		remove_at(peers, (size_t)(entry - peers->entries));
	tare_spin_unlock(&peers->spin);
}
