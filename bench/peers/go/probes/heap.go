// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"peers/rtstats"
)

// ---- packing

// Fields as they come to mind: each bool in a hole of eight bytes.
type mispacked struct {
	ID           uint64
	Hot          bool
	BidMicros    int64
	Active       bool
	BudgetMicros int64
	Category     string
	SpendMicros  int64
	Impressions  uint64
	Payload      []byte
	Clicks       uint64
}

// The same fields, the widest first.
type reordered struct {
	Category                             string
	Payload                              []byte
	ID                                   uint64
	BidMicros, BudgetMicros, SpendMicros int64
	Impressions, Clicks                  uint64
	Hot, Active                          bool
}

// An offset and a dictionary's number instead of the string and the slice: nothing to follow.
type packed struct {
	ID                                   uint64
	BidMicros, BudgetMicros, SpendMicros int64
	Impressions, Clicks                  uint64
	PayloadOffset                        uint64
	PayloadLen                           uint32
	Category                             uint16
	Hot, Active                          bool
}

const keepBytes = 8 // of the table of objects, which is not counted

func runPacking(r *result) error {
	category, payload := string(make([]byte, 32)), make([]byte, 32)
	count := int(r.args["records"])
	packing(r, "mispacked", count, func(m *mispacked) { m.Category, m.Payload = category, payload })
	packing(r, "reordered", count, func(m *reordered) { m.Category, m.Payload = category, payload })
	packing(r, "packed", count, func(m *packed) { m.Category = 1 })
	return nil
}

// packing measures objects of a struct, each of its own, then all in one array. fill points all to the same texts, so that
// marking is of the structs.
func packing[T any](r *result, name string, count int, fill func(*T)) {
	var zero T
	r.figure(float64(unsafe.Sizeof(zero)), "%s_bytes", name)
	objects := func() any {
		table := make([]*T, count)
		for i := range table {
			table[i] = new(T)
			fill(table[i])
		}
		return table
	}
	array := func() any {
		all := make([]T, count)
		for i := range all {
			fill(&all[i])
		}
		return all
	}
	measure := func(way string, make func() any, table float64) {
		runtime.GC()
		before := rtstats.Read()
		made := make()
		mark, _ := marking()
		after := rtstats.Read()
		bytes := float64(after.MarkedBytes) - float64(before.MarkedBytes) - table
		r.figure(bytes, "%s_%s_heap_bytes", name, way)
		r.figure(bytes/float64(count), "%s_%s_each_bytes", name, way)
		r.figure(mark, "%s_%s_mark_ms", name, way)
		runtime.KeepAlive(made)
	}
	measure("objects", objects, float64(count)*keepBytes)
	measure("array", array, 0)
}

// ---- layouts

const (
	categoryCount = 1000
	payloadMin    = 32
	payloadMax    = 95
	recordBytes   = 150 // of a snapshot: 64, a payload, and slots
)

// records makes payloads as long as a snapshot's, and calls put with each.
func eachRecord(count int, put func(i, payloadLen, category int)) {
	for i := range count {
		put(i, payloadMin+i*2654435761%(payloadMax-payloadMin+1), i*40503%categoryCount)
	}
}

// runLayouts: the service's records in each layout, and what a collection has to look at. flat_pointers is a slice of the records
// that the map has, strings and slices in them: one object, and as many pointers.
func runLayouts(r *result) error {
	count := int(r.args["records"])
	if count == 0 {
		count = max(1, int(r.args["size"]/recordBytes))
	}
	r.figure(float64(count), "records")
	categories := make([]string, categoryCount)
	for i := range categories {
		categories[i] = fmt.Sprintf("category-%03d", i)
	}
	measureLayout(r, "map", func() any {
		index := make(map[uint64]*reordered, count)
		eachRecord(count, func(i, payloadLen, category int) {
			index[uint64(i)] = &reordered{ID: uint64(i), Category: categories[category], Payload: make([]byte, payloadLen)}
		})
		return index
	})
	measureLayout(r, "flat_pointers", func() any {
		records, index := make([]reordered, count), make(map[uint64]uint32, count)
		eachRecord(count, func(i, payloadLen, category int) {
			records[i] = reordered{ID: uint64(i), Category: categories[category], Payload: make([]byte, payloadLen)}
			index[uint64(i)] = uint32(i)
		})
		return []any{records, index}
	})
	flat := func(records []packed, payloads []byte, slots []uint64) {
		at := uint64(0)
		eachRecord(count, func(i, payloadLen, category int) {
			records[i] = packed{ID: uint64(i), Category: uint16(category), PayloadOffset: at, PayloadLen: uint32(payloadLen)}
			payloads[at] = 1
			at += uint64(payloadLen)
			slots[i] = uint64(i) + 1
		})
	}
	payloadBytes := 0
	eachRecord(count, func(_, payloadLen, _ int) { payloadBytes += payloadLen })
	measureLayout(r, "flat", func() any {
		records, payloads, slots := make([]packed, count), make([]byte, payloadBytes), make([]uint64, 2*count)
		flat(records, payloads, slots)
		return []any{records, payloads, slots}
	})
	bytes := count*int(unsafe.Sizeof(packed{})) + 16*count + payloadBytes
	data, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("no memory for %d bytes off the heap: %w", bytes, err)
	}
	defer syscall.Munmap(data)
	measureLayout(r, "offheap", func() any {
		records := unsafe.Slice((*packed)(unsafe.Pointer(&data[0])), count)
		slots := unsafe.Slice((*uint64)(unsafe.Pointer(&data[count*int(unsafe.Sizeof(packed{}))])), 2*count)
		flat(records, data[len(data)-payloadBytes:], slots)
		return []any{records, slots}
	})
	return nil
}

func measureLayout(r *result, name string, make func() any) {
	runtime.GC()
	base := rtstats.Read()
	made := make()
	runtime.GC()
	laidOut := rtstats.Read()
	mark, wall := marking()
	after := rtstats.Read()
	pauses := rtstats.Since(after.Pauses, laidOut.Pauses)
	r.figure(mark, "%s_mark_ms", name)
	r.figure(wall, "%s_collect_ms", name)
	r.figure(rtstats.Quantile(pauses, 0.99)*1e6, "%s_pause_p99_us", name)
	r.figure(rtstats.Max(pauses)*1e6, "%s_pause_max_us", name)
	r.figure(float64(after.MarkedBytes)-float64(base.MarkedBytes), "%s_heap_bytes", name)
	r.figure(max(0, float64(after.Objects)-float64(base.Objects)), "%s_objects", name)
	runtime.KeepAlive(made)
}
