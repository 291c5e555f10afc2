// SPDX-License-Identifier: MIT

package main

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"peers/rtstats"
)

// part is one of a request's: written and read once.
type part struct {
	next *part
	data []byte
}

const (
	partSizes = 256
	partMax   = 256 // bytes, with a header of 16
)

// region is what a request's parts are cut from: reset as a whole, kept by a pool. Bytes and parts are apart, since what the
// collector looks into must have its type; so it is two objects to it, however many parts there are.
type region struct {
	parts []part
	bytes []byte
}

func (r *region) newPart(size int) *part {
	if len(r.parts) == cap(r.parts) || cap(r.bytes)-len(r.bytes) < size {
		return &part{data: make([]byte, size)} // does not fit
	}
	from := len(r.bytes)
	r.bytes = r.bytes[:from+size]
	r.parts = append(r.parts, part{data: r.bytes[from : from+size : from+size]})
	return &r.parts[len(r.parts)-1]
}

// reset forgets the parts. What still points to one sees the next request's.
func (r *region) reset() {
	clear(r.parts)
	r.parts, r.bytes = r.parts[:0], r.bytes[:0]
}

// runRegions: what a request makes and drops, from the collected heap beside a live one, and from a region that is given back as a
// whole. Go's own arenas need a toolchain built for an experiment that is on hold (GOEXPERIMENT=arenas), so a pooled slab
// stands for them.
func runRegions(r *result) error {
	parts, requests := int(r.args["parts"]), int(r.args["requests"])
	random := rand.New(rand.NewPCG(1, 1))
	var sizes [partSizes]int
	for i := range sizes {
		sizes[i] = random.IntN(partMax - 16 + 1)
	}
	live = grow(r.args["live"] / treeBytes)
	runtime.GC()
	pool := sync.Pool{New: func() any {
		return &region{parts: make([]part, 0, parts), bytes: make([]byte, 0, parts*partMax)}
	}}
	request := func(at int, newPart func(size int) *part) {
		var first *part
		for i := range parts {
			size := sizes[(at*parts+i)%partSizes]
			p := newPart(size)
			for k := range p.data {
				p.data[k] = byte(size)
			}
			p.next, first = first, p
		}
		for p := first; p != nil; p = p.next {
			sinkNumber += uint64(len(p.data))
		}
	}
	measure := func(name string, one func(at int)) {
		before, began := rtstats.Read(), time.Now()
		for at := range requests {
			one(at)
		}
		ns := float64(time.Since(began))
		after := rtstats.Read()
		r.figure(ns/float64(requests), "%s_ns", name)
		r.figure(float64(after.AllocObjects-before.AllocObjects)/float64(requests), "%s_heap_calls", name)
		r.figure((after.GC-before.GC)*1e9/float64(requests), "%s_gc_ns", name)
		r.figure(float64(after.Cycles-before.Cycles), "%s_collections", name)
	}
	measure("region", func(at int) {
		region := pool.Get().(*region)
		request(at, region.newPart)
		region.reset()
		pool.Put(region)
	})
	measure("collected", func(at int) {
		request(at, func(size int) *part { return &part{data: make([]byte, size)} })
	})
	r.figure(float64(rtstats.Read().MarkedBytes), "live_bytes")
	live = nil
	stale(r)
	return nil
}

// stale is what it costs in safety: a request keeps a pointer past its region's reset, and the next request's part lies there.
func stale(r *result) {
	region := &region{parts: make([]part, 0, 1), bytes: make([]byte, 0, 64)}
	old := region.newPart(8)
	old.data[0] = 1
	kept := old.data
	region.reset()
	region.newPart(8).data[0] = 2
	r.figure(number(kept[0] == 2), "stale_corrupted")
	r.figure(0, "stale_caught")
	r.text("stale", "%s", map[bool]string{true: "corrupted: the next request's bytes were seen", false: "the old bytes were still there"}[kept[0] == 2])
}
