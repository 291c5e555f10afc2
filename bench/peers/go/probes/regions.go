// SPDX-License-Identifier: MIT

package main

import (
	"runtime"
	"sync"
	"unsafe"

	"peers/rtstats"
)

// part is one of a request's: written and read once. Its bytes stand behind it, as in the C probe.
type part struct {
	next *part
	size int
}

func (p *part) data() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))), p.size)
}

// slice is a part whose bytes are elsewhere.
type slice struct {
	next *slice
	data []byte
}

const (
	partSizes = 256
	sizeStep  = 97  // sizes of every kind about once, neighbours far apart: the C probe's
	dataMax   = 240 // bytes of a part
)

var pattern [dataMax]byte // what parts are filled with

// ---- where parts come from

// region is what a request's parts are cut from: reset as a whole, kept by a pool. Bytes and parts are apart, since what the
// collector looks into must have its type; so it is two objects to it, however many parts there are.
type region struct {
	parts []slice
	bytes []byte
}

func (r *region) newPart(size int) *slice {
	if len(r.parts) == cap(r.parts) || cap(r.bytes)-len(r.bytes) < size {
		return &slice{data: make([]byte, size)} // does not fit
	}
	from := len(r.bytes)
	r.bytes = r.bytes[:from+size]
	r.parts = append(r.parts, slice{data: r.bytes[from : from+size : from+size]})
	return &r.parts[len(r.parts)-1]
}

// reset forgets the parts. What still points to one sees the next request's.
func (r *region) reset() {
	r.parts, r.bytes = r.parts[:0], r.bytes[:0]
}

// sized is a part with room for its bytes behind it: one object.
type sized[Room any] struct {
	part
	room Room
}

func newSized[Room any](size int) *part {
	s := new(sized[Room])
	s.size = size
	return &s.part
}

// sizedParts are for up to 16 bytes, 32, and so on.
var sizedParts = [dataMax / 16]func(size int) *part{
	newSized[[16]byte], newSized[[32]byte], newSized[[48]byte], newSized[[64]byte], newSized[[80]byte],
	newSized[[96]byte], newSized[[112]byte], newSized[[128]byte], newSized[[144]byte], newSized[[160]byte],
	newSized[[176]byte], newSized[[192]byte], newSized[[208]byte], newSized[[224]byte], newSized[[240]byte],
}

// ---- requests

// regions makes requests of so many parts each.
type regions struct {
	parts int
	sizes [partSizes]int
	pool  sync.Pool // of regions
}

// put fills a part and puts it before the others.
func put(p, first *part) *part {
	copy(p.data(), pattern[:])
	p.next = first
	return p
}

func putSlice(s, first *slice) *slice {
	copy(s.data, pattern[:])
	s.next = first
	return s
}

// sum reads a request's parts.
func sum(first *part) (bytes uint64) {
	for p := first; p != nil; p = p.next {
		bytes += uint64(p.size)
	}
	return bytes
}

func sumSlices(first *slice) (bytes uint64) {
	for s := first; s != nil; s = s.next {
		bytes += uint64(len(s.data))
	}
	return bytes
}

func (r *regions) fromRegion(at int) uint64 {
	own := r.pool.Get().(*region)
	var first *slice
	for i := range r.parts {
		first = putSlice(own.newPart(r.sizes[(at+i)%partSizes]), first)
	}
	bytes := sumSlices(first)
	own.reset()
	r.pool.Put(own)
	return bytes
}

// fromHeap makes each part one object, as the C probe does.
func (r *regions) fromHeap(at int) uint64 {
	var first *part
	for i := range r.parts {
		size := r.sizes[(at+i)%partSizes]
		first = put(sizedParts[max(0, size-1)/16](size), first)
	}
	return sum(first)
}

// fromHeapApart makes it as it is mostly written: the part, and its bytes.
func (r *regions) fromHeapApart(at int) uint64 {
	var first *slice
	for i := range r.parts {
		first = putSlice(&slice{data: make([]byte, r.sizes[(at+i)%partSizes])}, first)
	}
	return sumSlices(first)
}

// runRegions: what a request makes and drops, from the collected heap beside a live one, and from a region that is given back as a
// whole. Go's own arenas need a toolchain built for an experiment that is on hold (GOEXPERIMENT=arenas), so a pooled slab
// stands for them.
func runRegions(r *result) error {
	requests := int(r.args["requests"])
	work := &regions{parts: int(r.args["parts"])}
	for i := range work.sizes {
		work.sizes[i] = i * sizeStep % (dataMax + 1)
	}
	work.pool.New = func() any {
		return &region{parts: make([]slice, 0, work.parts), bytes: make([]byte, 0, work.parts*dataMax)}
	}
	live = grow(r.args["live"] / treeBytes)
	measure := func(name string, one func(at int) uint64) {
		runtime.GC() // each begins where the others do
		before, began := rtstats.Read(), rtstats.CPUTime()
		for at := range requests {
			sinkNumber += one(at)
		}
		ns := float64(rtstats.CPUTime() - began)
		after := rtstats.Read()
		r.figure(ns/float64(requests), "%s_ns", name)
		r.figure(float64(after.AllocObjects-before.AllocObjects)/float64(requests), "%s_heap_calls", name)
		r.figure((after.GC-before.GC)*1e9/float64(requests), "%s_gc_ns", name)
		r.figure(float64(after.Cycles-before.Cycles), "%s_collections", name)
	}
	measure("region", work.fromRegion)
	measure("collected", work.fromHeap)
	measure("collected_apart", work.fromHeapApart)
	r.figure(float64(rtstats.Read().MarkedBytes), "live_bytes")
	live = nil
	stale(r)
	return nil
}

// stale is what it costs in safety: a request keeps a pointer past its region's reset, and the next request's part lies there. The
// region is this probe's own and checks nothing, so there is no figure of what is caught.
func stale(r *result) {
	region := &region{parts: make([]slice, 0, 1), bytes: make([]byte, 0, 64)}
	old := region.newPart(8)
	old.data[0] = 1
	kept := old.data
	region.reset()
	region.newPart(8).data[0] = 2
	corrupted := kept[0] == 2
	r.figure(number(corrupted), "stale_corrupted")
	if corrupted {
		r.text("stale", "corrupted: the next request's bytes were seen")
	} else {
		r.text("stale", "nothing was seen")
	}
}
