// SPDX-License-Identifier: MIT
// Tutorial, step 6: a table that is read and changed at once without a lock, on the collected heap.
// docs/tutorial/06-versions.md explains it piece by piece.
#include <tare/gc.h>
#include <tare/rt.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { READERS = 4, KEYS = 1000 };

// A tree that never changes: a change makes a new one, which shares with the old one all that is the same.
struct node {
	struct node *left, *right;
	uint64_t key, value, sum; // sum: of the values in and below this node
};
static const uint32_t node_pointers[] = {offsetof(struct node, left), offsetof(struct node, right)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);

static struct node *current; // a root: the version that readers begin with
static uint64_t changes;
static atomic_bool done;

static uint64_t sum_of(const struct node *node)
{
	return node != NULL ? node->sum : 0;
}

// The version that has `amount` more at that key. Only the nodes on the way there are new. NULL: out of memory.
static struct node *with_added(const struct node *old, uint64_t key, uint64_t amount)
{
	struct node *node = tare_gc_new(&node_type);
	if (node == NULL)
		return NULL;
	node->key = key;
	if (old != NULL)
		tare_gc_copy(node, old, &node_type, 1);
	if (key == node->key) {
		node->value += amount;
	} else {
		struct node **side = key < node->key ? &node->left : &node->right;
		struct node *below = with_added(*side, key, amount);
		if (below == NULL)
			return NULL;
		tare_gc_store(side, below);
	}
	node->sum = node->value + sum_of(node->left) + sum_of(node->right);
	return node;
}

static int writer(void *arg)
{
	(void)arg;
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (uint64_t i = 0; i < changes; i++) {
		struct node *next = with_added(current, tare_rng_below(&rng, KEYS), 1);
		if (next == NULL)
			return -ENOMEM;
		tare_gc_store(&current, next); // whoever looks from here on sees this version
		tare_breathe(tare_now_ns());
	}
	atomic_store(&done, true);
	return 0;
}

static uint64_t add_up(const struct node *node)
{
	return node != NULL ? node->value + add_up(node->left) + add_up(node->right) : 0;
}

// Looks at one version after the other, each whole and unchanged for as long as it is looked at.
static int reader(void *arg)
{
	uint64_t *looks = arg;
	while (!atomic_load(&done)) {
		const struct node *version = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
		if (add_up(version) != sum_of(version))
			return -EBADMSG;
		(*looks)++;
		tare_yield();
	}
	return 0;
}

static int run(void *arg)
{
	struct tare_error *err = arg;
	struct tare_gc_root root;
	struct tare_scope scope;
	struct tare_gc_stats stats;
	uint64_t looks[READERS] = {0}, sum = 0;
	int rc = tare_gc_open(NULL, err);
	if (rc < 0)
		return rc;
	tare_gc_root_add(&root, &current, 1);
	rc = tare_scope_open(&scope, TARE_NEVER, TARE_SCOPE_FAIL_FAST);
	for (int i = 0; i < READERS && rc == 0; i++)
		rc = tare_scope_go(&scope, reader, &looks[i]);
	if (rc == 0)
		rc = tare_scope_go(&scope, writer, NULL);
	atomic_store(&done, rc < 0); // what was started has to end
	int result = tare_scope_join(&scope);
	for (int i = 0; i < READERS; i++)
		sum += looks[i];
	tare_gc_stats_read(&stats);
	if (rc == 0 && result == 0)
		printf("%" PRIu64 " versions, %" PRIu64 " looks at one, all whole\n"
		       "%" PRIu64 " MiB of nodes made, %" PRIu64 " MiB there now, %" PRIu64 " collections\n",
		       sum_of(current), sum, stats.bytes_made >> 20, stats.heap_bytes >> 20, stats.cycles);
	tare_gc_close();
	return rc < 0 ? rc : result;
}

int main(int argc, char **argv)
{
	struct tare_error err = {""};
	int result = 0;
	if (argc != 2 || tare_parse_u64((struct tare_str){argv[1], strlen(argv[1])}, &changes) < 0) {
		fprintf(stderr, "usage: versions CHANGES (such as: versions 1000000)\n");
		return 2;
	}
	int rc = tare_run(NULL, run, &err, &result, &err);
	rc = rc < 0 ? rc : result;
	if (rc < 0) {
		fprintf(stderr, "versions: %s\n", err.text[0] != '\0' ? err.text : strerror(-rc));
		return 1;
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
