// SPDX-License-Identifier: MIT
// Goal: what is reachable stays, whole; what is not comes to be free. Method: small shapes with known answers, and mutators
// that change a graph beside a model of it.
#include "in_task.h"

#include <tare/chan.h>
#include <tare/gc.h>
#include <tare/sync.h>

struct node {
	struct node *left, *right;
	uint64_t value;
};
static const uint32_t node_pointers[] = {offsetof(struct node, left), offsetof(struct node, right)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);

static uint64_t live_bytes(void)
{
	struct tare_gc_stats stats;
	tare_gc_stats_read(&stats);
	return stats.marked_bytes;
}

static struct node *tree(unsigned depth)
{
	struct node *node = tare_gc_new(&node_type);
	CHECK(node != NULL && node->left == NULL && node->right == NULL && node->value == 0);
	node->value = depth;
	if (depth > 0) {
		tare_gc_store(&node->left, tree(depth - 1));
		tare_gc_store(&node->right, tree(depth - 1));
	}
	return node;
}

static uint64_t count(const struct node *node)
{
	return node == NULL ? 0 : 1 + count(node->left) + count(node->right);
}

// Overwrites what calls left below this frame.
__attribute__((noinline)) static void clean_stack(void)
{
	volatile char junk[8192];
	for (size_t i = 0; i < sizeof junk; i++)
		junk[i] = 0;
}

__attribute__((noinline)) static void make_garbage(void)
{
	for (int i = 0; i < 100; i++)
		CHECK(count(tree(8)) == 511);
}

static int trees_main(void *arg)
{
	(void)arg;
	CHECK(tare_gc_open(NULL, NULL) == 0);
	struct node *kept = tree(10);
	make_garbage();
	clean_stack();
	tare_gc_collect();
	CHECK(count(kept) == 2047);
	uint64_t live = live_bytes();
	CHECK(live >= 2047 * 32 && live < 2047 * 32 + 511 * 32 * 2 + 3 * 8192);
	make_garbage();
	tare_gc_collect();
	CHECK(count(kept) == 2047);
	tare_gc_close();
	return 0;
}

TEST(what_is_reachable_stays_and_the_rest_goes)
{
	run_in_task(1, trees_main);
	run_in_task(2, trees_main);
}
