// SPDX-License-Identifier: MIT

// heap measures what Go's collected heap costs: making objects, marking, pauses and latency while it is changed,
// binary-trees. One JSON line a figure; the names and the methods are those of bench/gc.c.
//
//	heap alloc|mark|churn|trees WORKERS [OBJECTS or DEPTH]
//	heap limit WORKERS LIVE_MIB MS PERCENT    as bench/gc_limit.c
package main

import (
	"fmt"
	"math"
	"math/rand"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	markings     = 5
	payloadBytes = 200
	churnPercent = 50
	allocCount   = 20_000_000
	treeMin      = 4
)

var workers, size int

type leaf struct {
	next *leaf
	rest [3]uint64
}

type record struct {
	key     uint64
	payload *[payloadBytes]byte
	next    *record
}

func print(name string, value float64) {
	fmt.Printf("{\"name\": %q, \"value\": %.2f}\n", name, value)
}

// read sums metrics.
func read(names ...string) float64 {
	samples := make([]metrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	sum := 0.0
	for _, sample := range samples {
		if sample.Value.Kind() == metrics.KindBad {
			fmt.Fprintf(os.Stderr, "heap: this Go has no metric %s: give one from 1.20 on\n", sample.Name)
			os.Exit(1)
		}
		sum += sample.Value.Float64()
	}
	return sum
}

func markSeconds() float64 {
	return read("/cpu/classes/gc/mark/assist:cpu-seconds", "/cpu/classes/gc/mark/dedicated:cpu-seconds",
		"/cpu/classes/gc/mark/idle:cpu-seconds")
}

func onEach(fn func(worker int)) {
	var wg sync.WaitGroup
	for i := 0; i < workers; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			fn(i)
		}(i)
	}
	wg.Wait()
}

// ---- making

var sinks [64]struct {
	leaf *leaf
	_    [56]byte
}

func runAlloc() {
	ns := make([]float64, workers)
	onEach(func(worker int) {
		sink := &sinks[worker].leaf
		since := time.Now()
		for i := 0; i < allocCount; i++ {
			*sink = &leaf{}
		}
		ns[worker] = float64(time.Since(since)) / allocCount
	})
	sum := 0.0
	for _, each := range ns {
		sum += each
	}
	print("alloc_32", sum/float64(workers))
}

// ---- the map

// newPayload writes to it, so that its memory is there: a page that nobody has touched is counted by neither side's
// resident size.
func newPayload() *[payloadBytes]byte {
	payload := new([payloadBytes]byte)
	payload[0] = 1
	return payload
}

func makeMap(records int) []*record {
	buckets := make([]*record, records)
	rng := rand.New(rand.NewSource(1))
	for i := 0; i < records; i++ {
		bucket := &buckets[rng.Intn(records)]
		*bucket = &record{key: uint64(i), payload: newPayload(), next: *bucket}
	}
	return buckets
}

func measureMarking() (cpu, wall float64) {
	type figure struct{ cpu, wall float64 }
	var figures []figure
	for i := 0; i < markings; i++ {
		before, since := markSeconds(), time.Now()
		runtime.GC()
		figures = append(figures, figure{wall: float64(time.Since(since))})
		figures[len(figures)-1].cpu = (markSeconds() - before) * 1e9
	}
	sort.Slice(figures, func(i, j int) bool { return figures[i].wall < figures[j].wall })
	return figures[markings/2].cpu, figures[markings/2].wall
}

func runMark() {
	records := size / 2
	buckets := makeMap(records)
	runtime.GC()
	cpu, wall := measureMarking()
	print("map_cpu", cpu/float64(size))
	print("map_wall", wall/float64(size))
	runtime.KeepAlive(buckets)
	buckets = nil
	runtime.GC()
	flat := make([]byte, records*(24+payloadBytes))
	for i := range flat {
		flat[i] = 1
	}
	cpu, wall = measureMarking()
	print("flat_cpu", cpu/float64(records))
	print("flat_wall_ms", wall/1e6)
	runtime.KeepAlive(flat)
}

// ---- churn

// hist has the buckets of bench/gc.c's histograms, or finer: 128 to a doubling.
type hist struct {
	counts [64 * 128]uint64
	count  uint64
	max    int64
}

func (h *hist) record(ns int64) {
	exponent, at := 0, ns
	for at >= 128 {
		at >>= 1
		exponent++
	}
	h.counts[exponent*128+int(at)]++
	h.count++
	if ns > h.max {
		h.max = ns
	}
}

func (h *hist) merge(other *hist) {
	for i, count := range other.counts {
		h.counts[i] += count
	}
	h.count += other.count
	if other.max > h.max {
		h.max = other.max
	}
}

func (h *hist) quantile(q float64) float64 {
	below, want := uint64(0), uint64(math.Ceil(q*float64(h.count)))
	for i, count := range h.counts {
		below += count
		if below >= want {
			return math.Min(float64((uint64(i%128)+1)<<(i/128)-1), float64(h.max))
		}
	}
	return float64(h.max)
}

func replace(bucket **record) {
	count := 0
	for at := *bucket; at != nil; at = at.next {
		count++
	}
	var fresh *record
	for i := 0; i < count; i++ {
		fresh = &record{payload: newPayload(), next: fresh}
	}
	*bucket = fresh
}

// A histogram of the runtime's: the value at or below which a part of the counts is, and the largest.
func pauses() (p50, p99, most, count float64) {
	samples := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(samples)
	if samples[0].Value.Kind() == metrics.KindBad { // before 1.22
		samples[0].Name = "/gc/pauses:seconds"
		metrics.Read(samples)
	}
	h := samples[0].Value.Float64Histogram()
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	below := uint64(0)
	for i, n := range h.Counts {
		if n == 0 {
			continue
		}
		below += n
		upper := h.Buckets[i+1]
		if p50 == 0 && float64(below) >= 0.5*float64(total) {
			p50 = upper
		}
		if p99 == 0 && float64(below) >= 0.99*float64(total) {
			p99 = upper
		}
		most = upper
	}
	return p50 * 1e9, p99 * 1e9, most * 1e9, float64(total)
}

func runChurn() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(churnPercent)
	}
	records := size / 2
	buckets := makeMap(records)
	ops := make([]*hist, workers)
	since := time.Now()
	onEach(func(worker int) {
		h := new(hist)
		ops[worker] = h
		own := buckets[records/workers*worker : records/workers*(worker+1)]
		rng := rand.New(rand.NewSource(int64(worker) + 1))
		at := time.Now()
		for i := 0; i < 3*records/workers; i++ {
			replace(&own[rng.Intn(len(own))])
			now := time.Now()
			h.record(int64(now.Sub(at)))
			at = now
		}
	})
	wall := float64(time.Since(since))
	for _, other := range ops[1:] {
		ops[0].merge(other)
	}
	print("churn_ns", wall*float64(workers)/float64(ops[0].count))
	print("op_p50", ops[0].quantile(0.5))
	print("op_p99", ops[0].quantile(0.99))
	print("op_p999", ops[0].quantile(0.999))
	print("op_max", float64(ops[0].max))
	p50, p99, most, count := pauses()
	print("pause_p50", p50)
	print("pause_p99", p99)
	print("pause_max", most)
	print("pauses", count)
	print("gc_percent", 100*read("/cpu/classes/gc/total:cpu-seconds")/read("/cpu/classes/total:cpu-seconds"))
	var stats debug.GCStats
	debug.ReadGCStats(&stats)
	print("cycles", float64(stats.NumGC))
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	print("churn_mib", float64(usage.Maxrss)/1024)
	runtime.KeepAlive(buckets)
}

// ---- a memory limit

type wide struct {
	left, right *wide
	rest        [6]uint64
}

func makeWide(nodes int) *wide {
	if nodes == 0 {
		return nil
	}
	left := (nodes - 1) / 2
	return &wide{left: makeWide(left), right: makeWide(nodes - 1 - left)}
}

// used is what counts against the limit.
func used() float64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return float64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

func readCount(name string) uint64 {
	samples := []metrics.Sample{{Name: name}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}

var wideSinks [64]struct {
	wide *wide
	_    [56]byte
}

func runLimit(span time.Duration, percent int) {
	const batch, look = 1000, 5 * time.Millisecond
	tree := makeWide(size << 20 / 64)
	debug.FreeOSMemory()
	live := used()
	of := live
	if percent > 0 {
		of = live / 100 * float64(percent)
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(int64(of))
	}
	var made [64]struct {
		count int
		used  float64
		_     [48]byte
	}
	cycles, gc := readCount("/gc/cycles/total:gc-cycles"), read("/cpu/classes/gc/total:cpu-seconds")
	all, since := read("/cpu/classes/total:cpu-seconds"), time.Now()
	onEach(func(worker int) {
		own, sink, looked := &made[worker], &wideSinks[worker].wide, since
		for now := since; now.Sub(since) < span; now = time.Now() {
			for i := 0; i < batch; i++ {
				*sink = &wide{}
			}
			own.count += batch
			if now.Sub(looked) >= look {
				own.used = math.Max(own.used, used())
				looked = now
			}
		}
	})
	seconds, sum, most := time.Since(since).Seconds(), 0, 0.0
	for _, own := range made {
		sum += own.count
		most = math.Max(most, own.used)
	}
	print("limit_made", float64(sum)/seconds)
	print("limit_cycles", float64(readCount("/gc/cycles/total:gc-cycles")-cycles)/seconds)
	limited := readCount("/gc/limiter/last-enabled:gc-cycle") > cycles
	// The classes of CPU time are reckoned when a collection ends: these are from the one before the start to the last one.
	print("limit_gc", 100*(read("/cpu/classes/gc/total:cpu-seconds")-gc)/math.Max(read("/cpu/classes/total:cpu-seconds")-all, 1e-9))
	print("limit_used", 100*most/of)
	if limited {
		print("limit_limited", 1)
	} else {
		print("limit_limited", 0)
	}
	runtime.KeepAlive(tree)
}

// ---- binary-trees

type node struct{ left, right *node }

func makeTree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{makeTree(depth - 1), makeTree(depth - 1)}
}

func (n *node) check() int {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.check() + n.right.check()
}

func expect(depth, trees, check int) {
	if want := trees * (2<<depth - 1); check != want {
		fmt.Fprintf(os.Stderr, "heap: %d trees of depth %d: check %d, wanted %d\n", trees, depth, check, want)
		os.Exit(1)
	}
}

func runTrees() {
	since := time.Now()
	expect(size+1, 1, makeTree(size+1).check())
	longLived := makeTree(size)
	var wg sync.WaitGroup
	for depth := treeMin; depth <= size; depth += 2 {
		wg.Add(1)
		go func(depth int) {
			defer wg.Done()
			trees, check := 1<<(size-depth+treeMin), 0
			for i := 0; i < trees; i++ {
				check += makeTree(depth).check()
			}
			expect(depth, trees, check)
		}(depth)
	}
	wg.Wait()
	expect(size, 1, longLived.check())
	wall := time.Since(since)
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	print("trees_wall", float64(wall)/1e6)
	print("trees_cpu", float64(usage.Utime.Nano()+usage.Stime.Nano())/1e6)
	print("trees_mib", float64(usage.Maxrss)/1024)
}

func main() {
	number := func(at int) int {
		if at >= len(os.Args) {
			return 0
		}
		value, _ := strconv.Atoi(os.Args[at])
		return value
	}
	limit := func() { runLimit(time.Duration(number(4))*time.Millisecond, number(5)) }
	groups := map[string]func(){"limit": limit, "alloc": runAlloc, "mark": runMark, "churn": runChurn, "trees": runTrees}
	if len(os.Args) < 3 || groups[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "heap: give alloc|mark|churn|trees WORKERS [OBJECTS or DEPTH], limit WORKERS LIVE_MIB MS PERCENT")
		os.Exit(1)
	}
	workers, size = number(2), number(3)
	runtime.GOMAXPROCS(workers)
	groups[os.Args[1]]()
}
