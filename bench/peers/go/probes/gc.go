// SPDX-License-Identifier: MIT

package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"peers/rtstats"
)

// tree is 64 bytes: two pointers, and what is not looked into.
type tree struct {
	left, right *tree
	rest        [6]uint64
}

const (
	treeBytes = 64
	batch     = 1000
)

var live *tree

// grow makes a balanced tree of so many nodes.
func grow(nodes uint64) *tree {
	if nodes == 0 {
		return nil
	}
	left := (nodes - 1) / 2
	return &tree{left: grow(left), right: grow(nodes - 1 - left)}
}

// newTree is on the heap and kept nowhere. A store to a global would go through the write barrier while the collector marks, and the
// C probe keeps its garbage nowhere either.
//
//go:noinline
func newTree() *tree { return new(tree) }

func makeGarbage(count int) {
	for range count {
		newTree()
	}
}

// ---- limits

// runLimitSpiral: how much of the program's work is left at a memory limit the closer it comes to what is live. Go's limiter is to hold
// the collector at half of the CPU time, beside what idle processors mark, and there is no way to have it off: the heap may then pass
// the limit; gc_percent and mapped_percent say what came of it. It steps in when collecting
// has taken a second's CPU time of each processor more than that: each limit is kept for a while before it is measured.
func runLimitSpiral(r *result) error {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	roomy := 0.0 // objects a second at the first
	for _, percent := range []uint64{200, 110, 105, 101} {
		live = nil
		debug.SetMemoryLimit(math.MaxInt64)
		debug.FreeOSMemory()
		live = grow(r.args["live"] / treeBytes)
		debug.FreeOSMemory()
		rate := atLimit(r, percent)
		if roomy == 0 {
			roomy = rate
		}
		r.figure(rate/roomy*100, "p%d_limiter_throughput_percent", percent)
	}
	live = nil
	return nil
}

// makeGarbageFor is how many in so many milliseconds, and in how many seconds.
func makeGarbageFor(milliseconds uint64) (made uint64, seconds float64) {
	began := time.Now()
	for time.Since(began) < time.Duration(milliseconds)*time.Millisecond {
		makeGarbage(batch)
		made += batch
	}
	return made, time.Since(began).Seconds()
}

// atLimit is the objects a second.
func atLimit(r *result, percent uint64) (rate float64) {
	live := rtstats.Read().MappedBytes
	limit := live / 100 * percent
	debug.SetMemoryLimit(int64(limit))
	limited := rtstats.LimiterCycle()
	makeGarbageFor(r.args["settle"])
	before := rtstats.Read()
	made, seconds := makeGarbageFor(r.args["milliseconds"])
	after := rtstats.Read()
	rate = float64(made) / seconds
	cpu, idle := seconds*float64(runtime.GOMAXPROCS(0)), after.Idle-before.Idle
	share := (after.GC - before.GC - idle) / cpu * 100
	r.figure(float64(live), "live_bytes")
	r.figure(rate, "p%d_limiter_objects_per_second", percent)
	r.figure(share, "p%d_limiter_gc_percent", percent)
	r.figure(idle/cpu*100, "p%d_limiter_idle_percent", percent)
	r.figure(float64(after.Cycles-before.Cycles)/seconds, "p%d_limiter_collections_per_second", percent)
	r.figure(float64(after.MappedBytes)/float64(limit)*100, "p%d_limiter_mapped_percent", percent)
	r.figure(number(rtstats.LimiterCycle() > limited), "p%d_limiter_stepped_in", percent)
	r.point("throughput_limiter", float64(percent), rate)
	r.point("gc_percent_limiter", float64(percent), share)
	return rate
}

// ---- generations

const leastLive = 2 // MiB

// headroomPercent is GOGC for a heap that may have so much more than what is live. The runtime's least heap is 4 MiB times that: where
// little is live, so many percent would make it larger than both together.
func headroomPercent(headroom, live uint64) int {
	const leastHeap = 4 // MiB, at 100 percent
	return int(max(min(headroom*100/live, (live+headroom)*100/leastHeap), 1))
}

// runGenerations: garbage that dies young beside a live heap that is larger each time. The collector has no generations: each cycle
// marks all that is live, so that the same garbage costs more the less headroom there is beside it.
func runGenerations(r *result) error {
	headroom := max(r.args["headroom"]>>20, 1)
	for mib := uint64(leastLive); mib <= r.args["live"]>>20; mib *= 4 {
		churn(r, "live", mib, 100)
		churn(r, "headroom", mib, headroomPercent(headroom, mib))
	}
	pool := sync.Pool{New: func() any { return new(tree) }}
	r.figure(timeOf(20, func(n int) {
		for range n {
			pool.Put(pool.Get())
		}
	}), "pool_ns")
	return nil
}

func churn(r *result, name string, mib uint64, percent int) {
	defer debug.SetGCPercent(debug.SetGCPercent(percent))
	live = nil
	live = grow(mib << 20 / treeBytes)
	runtime.GC()
	objects := float64(r.args["objects"])
	before, began := rtstats.Read(), rtstats.CPUTime()
	for made := uint64(0); made < r.args["objects"]; made += batch {
		makeGarbage(batch)
	}
	ns := float64(rtstats.CPUTime() - began)
	after := rtstats.Read()
	if mib == leastLive {
		r.figure(ns/objects, "%s_least_ns", name)
	}
	r.figure(ns/objects, "%s_most_ns", name) // the last one's stays
	r.figure(ns/objects, "%s%d_ns", name, mib)
	r.figure((after.GC-before.GC)*1e9/objects, "%s%d_gc_ns", name, mib)
	r.figure(float64(after.GoalBytes), "%s%d_heap_bytes", name, mib)
	r.figure(float64(after.Cycles-before.Cycles), "%s%d_collections", name, mib)
	r.point(name, float64(mib), ns/objects)
	live = nil
}
