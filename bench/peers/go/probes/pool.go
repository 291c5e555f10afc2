// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"runtime"
	"sync"

	"peers/rtstats"
)

const page = 4096

func touch(b []byte) {
	for i := 0; i < len(b); i += page {
		b[i] = 1
	}
	b[len(b)-1] = 1
}

// runPoolSizes: what it costs to have an object for a moment, by its size. A collected object's price is its making, clearing and
// its part of collections; a pooled one's the pool's bookkeeping, and clearing it where who takes it needs zeros. A collection costs
// what it finds live: "collected" is beside nothing, its best case, "collected_with_live" beside linked objects.
func runPoolSizes(r *result) error {
	oneProcessor()
	var wins, winsOverReset, winsWithLive lead
	var resets []float64
	for size := 16; size <= int(r.args["largest"]); size *= 2 {
		one := func(name string, work func(n int)) float64 {
			ns := timeOf(r.args["milliseconds"], work)
			r.figure(ns, "%s_%d_ns", name, size)
			r.point(name, float64(size), ns)
			return ns
		}
		collected := one("collected", func(n int) { makeAndTouch(n, size) })
		pool := sync.Pool{New: func() any {
			b := make([]byte, size)
			return &b
		}}
		pooled := one("pool", func(n int) {
			for range n {
				b := pool.Get().(*[]byte)
				touch(*b)
				pool.Put(b)
			}
		})
		reset := one("pool_reset", func(n int) {
			for range n {
				b := pool.Get().(*[]byte)
				clear(*b)
				touch(*b)
				pool.Put(b)
			}
		})
		wins.note(size, collected, pooled)
		winsOverReset.note(size, collected, reset)
		resets = append(resets, reset)
	}
	tinyStruct(r)
	live = grow(r.args["live"] / treeBytes)
	runtime.GC()
	r.figure(float64(rtstats.Read().MarkedBytes), "live_bytes")
	for i, reset := range resets { // a pool's times do not depend on what is live
		size := 16 << i
		winsWithLive.note(size, withLive(r, size), reset)
	}
	live = nil
	r.figure(float64(wins.upTo), "collected_wins_up_to_bytes")
	r.figure(float64(winsOverReset.upTo), "collected_wins_over_reset_up_to_bytes")
	r.figure(float64(winsWithLive.upTo), "collected_with_live_wins_over_reset_up_to_bytes")
	return nil
}

func makeAndTouch(n, size int) {
	for range n {
		b := make([]byte, size)
		sinkBytes = b
		touch(b)
	}
}

// withLive is the time of an object over a stretch of so many collections that none is missed: the heap grows by what is live in between.
func withLive(r *result, size int) float64 {
	times := 8
	if r.quick {
		times = 2
	}
	n := int(r.args["live"])*times/size + 1
	runtime.GC() // each begins where the others do
	began := rtstats.CPUTime()
	makeAndTouch(n, size)
	ns := float64(rtstats.CPUTime()-began) / float64(n)
	r.figure(ns, "collected_with_live_%d_ns", size)
	r.point("collected_with_live", float64(size), ns)
	return ns
}

const clearly = 1.05 // by which one has to be dearer than the other: less is no difference

// lead is up to which size the heap wins over a pool. The first size at which it does not ends that, whatever a larger one says.
type lead struct {
	upTo int
	lost bool
}

func (l *lead) note(size int, own, pool float64) {
	l.lost = l.lost || pool <= own*clearly
	if !l.lost {
		l.upTo = size
	}
}

type tiny struct{ a, b int64 }

// newTiny is on the heap and kept nowhere.
//
//go:noinline
func newTiny(a, b int64) *tiny { return &tiny{a, b} }

// tinyStruct is the losing case as it comes up: a small struct that somebody pooled, whose escape was its only cost; and what
// is best, not to let it escape.
func tinyStruct(r *result) {
	milliseconds := r.args["milliseconds"]
	collected := timeOf(milliseconds, func(n int) {
		for i := range n {
			newTiny(int64(i), 1)
		}
	})
	pool := sync.Pool{New: func() any { return new(tiny) }}
	pooled := timeOf(milliseconds, func(n int) {
		for i := range n {
			t := pool.Get().(*tiny)
			*t = tiny{int64(i), 1}
			pool.Put(t)
		}
	})
	stack := timeOf(milliseconds, func(n int) {
		sum := int64(0)
		for i := range n {
			t := &tiny{int64(i), 1} // does not escape
			sum += t.a
		}
		sinkNumber = uint64(sum)
	})
	r.figure(collected, "struct_collected_ns")
	r.figure(pooled, "struct_pool_ns")
	r.figure(stack, "struct_stack_ns")
	r.figure((pooled/collected-1)*100, "struct_pool_over_collected_percent")
	r.figure((pooled/stack-1)*100, "struct_pool_over_stack_percent")
}

// runFootguns makes each mistake once, on one processor, so that a pool gives back what it was given last. A sync.Pool has no checks of
// its own: what stops a mistake is the language, and a build with -race reports uses from two goroutines, of which there are none here.
func runFootguns(r *result) error {
	runtime.LockOSThread()
	runtime.GOMAXPROCS(1)
	cases := []struct {
		name, corrupted string // what was seen then
		fn              func(pool *sync.Pool) bool
	}{
		{"use_after_release", "the first owner read what the second one wrote", func(pool *sync.Pool) bool {
			mine := pool.Get().(*bytes.Buffer)
			mine.WriteString("alice")
			text := mine.Bytes() // stays behind
			pool.Put(mine)
			theirs := pool.Get().(*bytes.Buffer)
			theirs.Reset()
			theirs.WriteString("bobby")
			return string(text) == "bobby"
		}},
		{"write_after_release", "what was written after the release stood in the object when it was taken again", func(pool *sync.Pool) bool {
			mine := pool.Get().(*bytes.Buffer)
			pool.Put(mine)
			mine.WriteString("late")
			return pool.Get().(*bytes.Buffer).String() == "late"
		}},
		{"missing_reset", "the second owner read what the first one had left", func(pool *sync.Pool) bool {
			mine := pool.Get().(*bytes.Buffer)
			mine.WriteString("alice's secret")
			pool.Put(mine)
			return pool.Get().(*bytes.Buffer).String() == "alice's secret"
		}},
		// Mended: reset before Put.
		{"pool_reset", "the second owner read what the first one had left, in spite of the reset", func(pool *sync.Pool) bool {
			mine := pool.Get().(*bytes.Buffer)
			mine.WriteString("alice's secret")
			mine.Reset()
			pool.Put(mine)
			return pool.Get().(*bytes.Buffer).Len() != 0
		}},
		{"double_release", "one object was handed to two owners", func(pool *sync.Pool) bool {
			mine := pool.Get().(*bytes.Buffer)
			pool.Put(mine)
			pool.Put(mine)
			return pool.Get() == pool.Get()
		}},
		{"wrong_pool", "a pool handed out another pool's object", func(pool *sync.Pool) bool {
			other := sync.Pool{New: func() any { return new(tiny) }}
			mine := pool.Get()
			other.Put(mine)
			theirs := other.Get()
			_ = theirs.(*tiny)
			return theirs == mine
		}},
	}
	for _, c := range cases {
		var corrupted bool
		var stopped any
		// With the race detector a pool drops one in four at random, and a collection may come between.
		for try := 0; try < 32 && !corrupted && stopped == nil; try++ {
			corrupted, stopped = attempt(c.fn)
		}
		r.figure(number(corrupted), "%s_corrupted", c.name)
		r.figure(number(stopped != nil), "%s_caught", c.name)
		if corrupted {
			r.text(c.name, "corrupted: %s", c.corrupted)
		} else if stopped != nil {
			r.text(c.name, "caught: %v", stopped)
		} else {
			r.text(c.name, "nothing was seen")
		}
	}
	return nil
}

// attempt makes a mistake with a pool of its own: whether it showed, and the panic that stopped it.
func attempt(fn func(pool *sync.Pool) bool) (corrupted bool, stopped any) {
	defer func() { stopped = recover() }()
	return fn(&sync.Pool{New: func() any { return new(bytes.Buffer) }}), nil
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
