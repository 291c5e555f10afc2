// SPDX-License-Identifier: MIT
//
// Sharded counters: the reading side; adding is inline in the public header.
//
// Threads: any. A reader sums the shards one after another, so it sees a state between the first and the last load.
#include <tare/stat.h>

long long tare_counter_read(const struct tare_counter *counter)
{
	long long sum = 0;
	for (size_t i = 0; i < TARE_COUNTER_SHARDS; i++)
		sum += atomic_load_explicit(&counter->shard[i].value, memory_order_relaxed);
	return sum;
}
