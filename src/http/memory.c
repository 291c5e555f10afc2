// SPDX-License-Identifier: MIT
//
// A request's arena: made when a handler first asks, in the connection's buffers; emptied after each answer; gone
// before the buffers return to their pool. A handler that needs little makes no heap call, and what a large request
// took stays no longer than the connection has something to do.
//
// Invariants
//   1. Between two requests x->has_arena is false and conn->arena, if there is one, is empty.
//   2. Nothing of an arena is in buffers that nobody has taken.
//   3. A handler that does not ask touches nothing of this but conn->arena.
//
// Threads: the connection's task. http_arena_end of a task that was cut off: when no task is left. Its cleanups may
// refer to its stack, which is gone: dropped.
// Rejected: keeping arenas with free buffers (a pool may give unused objects' memory back, and a burst's arenas would
// hold theirs for as long as nobody takes those buffers).
#include "http/http_int.h"

struct tare_arena *tare_http_arena(struct tare_http_exchange *x)
{
	struct http_conn *conn = x->conn;
	if (conn->arena == NULL) {
		const struct tare_arena_options options = {
		    .name = "http_request",
		    .block_bytes = sizeof x->out->buffers->arena_block,
		    .limit_bytes = conn->server->options.limits.arena_bytes_max,
		    .keep_bytes = HTTP_ARENA_KEEP_BYTES,
		    .storage = x->out->buffers->arena_block,
		};
		int rc = tare_arena_new(&conn->arena, &options);
		TARE_ASSERT(rc == 0); // of storage
	}
	x->has_arena = true;
	return conn->arena;
}

void http_arena_reset(struct tare_http_exchange *x)
{
	tare_arena_reset(x->conn->arena);
	x->has_arena = false;
}

void http_arena_end(struct http_conn *conn, bool cut)
{
	if (cut)
		tare_arena_cleanups_drop(conn->arena);
	tare_arena_free(conn->arena);
	conn->arena = NULL;
}
