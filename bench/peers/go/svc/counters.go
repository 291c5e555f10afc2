// SPDX-License-Identifier: MIT

// Counters, a histogram of requests and the access log, in shards so that processors do not contend for a line.

package main

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Buckets of durations: 32 to a doubling, so that a value is known to 3 %.
const (
	histBits    = 5
	histBuckets = 36 << histBits // up to 68 s; what is longer is counted as that
	shardCount  = 16             // a power of two
)

type shard struct {
	hits, misses, refused atomic.Uint64
	classes               [6]atomic.Uint64 // by the first digit of a status
	nanoseconds           atomic.Uint64
	durations             [histBuckets]atomic.Uint64
	recent                recent
	_                     [64]byte
}

type counters struct {
	shards [shardCount]shard
	given  atomic.Uint32
}

// shard is the next one in turn, for who keeps it: a connection, or a pooled answer, which mostly stays with a processor.
func (c *counters) shard() *shard {
	return &c.shards[c.given.Add(1)%shardCount]
}

// anyShard is one at random, for a single request: many take one at once, and a counter would be theirs to contend for.
func (c *counters) anyShard() *shard {
	return &c.shards[rand.Uint32()%shardCount]
}

func bucketOf(ns uint64) int {
	if ns < 1<<histBits {
		return int(ns)
	}
	exponent := bits.Len64(ns) - 1 - histBits
	return min((exponent+1)<<histBits+int(ns>>exponent)&(1<<histBits-1), histBuckets-1)
}

// bucketEnd is the first value past a bucket.
func bucketEnd(i int) uint64 {
	i++
	if i < 1<<histBits {
		return uint64(i)
	}
	return uint64(1<<histBits+i&(1<<histBits-1)) << (i>>histBits - 1)
}

func (s *shard) record(status, answers int, took time.Duration) {
	ns := uint64(max(0, took))
	s.classes[status/100].Add(uint64(answers))
	s.nanoseconds.Add(ns * uint64(answers))
	s.durations[bucketOf(ns)].Add(uint64(answers))
}

// totals is the shards' sum: each number is right, no two are of the same instant.
type totals struct {
	hits, misses, refused uint64
	classes               [6]uint64
	seconds               float64
	durations             [histBuckets]uint64
	requests              uint64
}

func (c *counters) read() *totals {
	t := new(totals)
	ns := uint64(0)
	for i := range c.shards {
		s := &c.shards[i]
		t.hits += s.hits.Load()
		t.misses += s.misses.Load()
		t.refused += s.refused.Load()
		ns += s.nanoseconds.Load()
		for class := range s.classes {
			t.classes[class] += s.classes[class].Load()
		}
		for bucket := range s.durations {
			t.durations[bucket] += s.durations[bucket].Load()
		}
	}
	t.seconds = float64(ns) / 1e9
	for _, n := range t.durations {
		t.requests += n
	}
	return t
}

// quantile is the end of the bucket in which the value stands, in seconds.
func (t *totals) quantile(q float64) float64 {
	want, below := uint64(math.Ceil(q*float64(t.requests))), uint64(0)
	for i, n := range t.durations {
		if below += n; n > 0 && below >= want {
			return float64(bucketEnd(i)) / 1e9
		}
	}
	return 0
}

// atMost is how many took at most so long, to a bucket.
func (t *totals) atMost(seconds float64) uint64 {
	below := uint64(0)
	for i, n := range t.durations {
		if float64(bucketEnd(i)-1)/1e9 > seconds {
			break
		}
		below += n
	}
	return below
}
