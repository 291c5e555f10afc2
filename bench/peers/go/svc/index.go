// SPDX-License-Identifier: MIT

// Records in memory, in three layouts that answer alike:
//
//	map      maps of *Rec by key: two objects a record, three without interning; the collector follows every pointer
//	flat     the snapshot's records, slots and payloads as slices without pointers: four objects in all, none looked into
//	offheap  the same slices over the mapped file: nothing of it is the collector's
//
// A layout is chosen at the start. A Rec is never written once it can be found: putting a record puts another in its place, in layout
// map in the map itself, so that the old one is the collector's. The other two can't be written to, and have maps beside them for
// what was put; lookups look there only once something was.
// Maps are in parts, each with a lock for readers and writers: a lookup pays two atomic additions, and waits for an update of the
// same part alone, while that stores a pointer.

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Rec is a record: fields in the order in which they take the least room, 104 bytes.
type Rec struct {
	ID                                   uint64
	BidMicros, BudgetMicros, SpendMicros int64
	Impressions, Clicks                  uint64
	Category                             string
	Payload                              []byte
	Hot, Active                          bool
}

const (
	recMapBits  = 6
	recMapParts = 1 << recMapBits
)

// recMap is a map of records by key.
type recMap [recMapParts]struct {
	mu    sync.RWMutex
	byKey map[uint64]*Rec
	_     [32]byte // a cache line each
}

func recMapPart(key uint64) uint64 {
	return hash(key) >> (64 - recMapBits)
}

func (m *recMap) get(key uint64) *Rec {
	part := &m[recMapPart(key)]
	part.mu.RLock()
	r := part.byKey[key]
	part.mu.RUnlock()
	return r
}

func (m *recMap) put(r *Rec) {
	part := &m[recMapPart(r.ID)]
	part.mu.Lock()
	if part.byKey == nil {
		part.byKey = map[uint64]*Rec{}
	}
	part.byKey[r.ID] = r
	part.mu.Unlock()
}

type index struct {
	all *recMap // layout map; otherwise nil

	// The other two. slots has a power of two; a slot is the hash's upper half and the record's position + 1, or 0.
	records    []packed
	slots      []uint64
	payloads   []byte
	categories []string

	put      atomic.Bool // there are records in replaced
	replaced recMap

	layout         string
	bytes          uint64 // of the snapshot
	count          int
	keyMin, keyMax uint64
	loadTime       time.Duration
}

// find is the record of a key, or nil. scratch is where layouts without a Rec of their own put it together.
func (x *index) find(key uint64, scratch *Rec) *Rec {
	if x.all != nil {
		return x.all.get(key)
	}
	if x.put.Load() {
		if r := x.replaced.get(key); r != nil {
			return r
		}
	}
	h := hash(key)
	mask := uint64(len(x.slots) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		slot := x.slots[at]
		if slot == 0 {
			return nil
		}
		if slot>>32 == h>>32 {
			if p := &x.records[uint32(slot)-1]; p.ID == key {
				x.unpack(p, scratch)
				return scratch
			}
		}
	}
}

// replace puts a record in place of the one of its key. False: there is none. Of updates of one key at once either may be the last.
func (x *index) replace(r *Rec) bool {
	if x.find(r.ID, new(Rec)) == nil {
		return false
	}
	if x.all != nil {
		x.all.put(r)
		return true
	}
	x.replaced.put(r)
	x.put.Store(true)
	return true
}

func (x *index) unpack(p *packed, r *Rec) {
	*r = Rec{
		ID:           p.ID,
		BidMicros:    p.BidMicros,
		BudgetMicros: p.BudgetMicros,
		SpendMicros:  p.SpendMicros,
		Impressions:  p.Impressions,
		Clicks:       p.Clicks,
		Category:     x.categories[p.Category],
		Payload:      x.payloads[p.PayloadOffset : p.PayloadOffset+uint64(p.PayloadLen)],
		Hot:          p.Hot,
		Active:       p.Active,
	}
}

// load lays out a snapshot. What is copied does not keep the file mapped.
func load(path, layout string, intern bool) (*index, error) {
	start := time.Now()
	s, err := openSnapshot(path)
	if err != nil {
		return nil, err
	}
	x := &index{
		records:    s.records,
		slots:      s.slots,
		payloads:   s.payloads,
		categories: s.categories,
		layout:     layout,
		bytes:      uint64(len(s.data)),
		count:      len(s.records),
		keyMin:     s.keyMin,
		keyMax:     s.keyMax,
	}
	switch layout {
	case "offheap":
		x.loadTime = time.Since(start)
		return x, nil // its slices point into the mapping
	case "flat":
		x.records, x.slots, x.payloads = slices.Clone(s.records), slices.Clone(s.slots), bytes.Clone(s.payloads)
		x.cloneCategories()
	case "map":
		x.cloneCategories()
		if err := x.fillMap(intern); err != nil {
			return nil, err
		}
		x.records, x.slots, x.payloads = nil, nil, nil
	}
	s.close()
	x.loadTime = time.Since(start)
	return x, nil
}

func (x *index) cloneCategories() {
	own := make([]string, len(x.categories))
	for i, category := range x.categories {
		own[i] = strings.Clone(category)
	}
	x.categories = own
}

func (x *index) fillMap(intern bool) error {
	all := new(recMap)
	var counts [recMapParts]int
	for i := range x.records {
		counts[recMapPart(x.records[i].ID)]++
	}
	for i, count := range counts {
		all[i].byKey = make(map[uint64]*Rec, count)
	}
	for i := range x.records {
		r := new(Rec)
		x.unpack(&x.records[i], r)
		r.Payload = bytes.Clone(r.Payload)
		if !intern {
			r.Category = strings.Clone(r.Category)
		}
		all[recMapPart(r.ID)].byKey[r.ID] = r // nobody else has it yet
	}
	different := 0
	for i := range all {
		different += len(all[i].byKey)
	}
	if different != len(x.records) {
		return fmt.Errorf("%d of %d records have an id that another has; regenerate the snapshot with 'tare gen'",
			len(x.records)-different, len(x.records))
	}
	x.all = all
	return nil
}
