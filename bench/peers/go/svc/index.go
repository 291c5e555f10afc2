// SPDX-License-Identifier: MIT

// Records in memory, in three layouts that answer alike:
//
//	map      map[uint64]*Rec: two objects a record, three without interning; the collector follows every pointer
//	flat     the snapshot's records, slots and payloads as slices without pointers: four objects in all, none looked into
//	offheap  the same slices over the mapped file: nothing of it is the collector's
//
// A layout is chosen at the start and does not change: goroutines read it without a lock. Records that were put since stand beside
// it, in maps that are never written but replaced, one of many at a time: a lookup finds the old record or the new one, whole, and
// never waits; the old one is the collector's.

package main

import (
	"bytes"
	"fmt"
	"maps"
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

type index struct {
	byKey map[uint64]*Rec // layout map; otherwise nil

	// The other two. slots has a power of two; a slot is the hash's upper half and the record's position + 1, or 0.
	records    []packed
	slots      []uint64
	payloads   []byte
	categories []string

	put      atomic.Bool // there are records in replaced
	putting  sync.Mutex  // one update at a time
	replaced [putShards]atomic.Pointer[map[uint64]*Rec]

	layout         string
	bytes          uint64 // of the snapshot
	count          int
	keyMin, keyMax uint64
	loadTime       time.Duration
}

const (
	putShardBits = 12
	putShards    = 1 << putShardBits
)

func (x *index) replacedShard(key uint64) *atomic.Pointer[map[uint64]*Rec] {
	return &x.replaced[hash(key)>>(64-putShardBits)]
}

// find is the record of a key, or nil. scratch is where layouts without a Rec of their own put it together.
func (x *index) find(key uint64, scratch *Rec) *Rec {
	if x.put.Load() {
		if shard := x.replacedShard(key).Load(); shard != nil {
			if r := (*shard)[key]; r != nil {
				return r
			}
		}
	}
	if x.byKey != nil {
		return x.byKey[key]
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

// replace puts a record in place of the one of its key. False: there is none.
func (x *index) replace(r *Rec) bool {
	x.putting.Lock()
	defer x.putting.Unlock()
	if x.find(r.ID, new(Rec)) == nil {
		return false
	}
	shard := x.replacedShard(r.ID)
	next := map[uint64]*Rec{}
	if old := shard.Load(); old != nil {
		next = maps.Clone(*old)
	}
	next[r.ID] = r
	shard.Store(&next)
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
	byKey := make(map[uint64]*Rec, len(x.records))
	for i := range x.records {
		r := new(Rec)
		x.unpack(&x.records[i], r)
		r.Payload = bytes.Clone(r.Payload)
		if !intern {
			r.Category = strings.Clone(r.Category)
		}
		byKey[r.ID] = r
	}
	if len(byKey) != len(x.records) {
		return fmt.Errorf("%d of %d records have an id that another has; regenerate the snapshot with 'tare gen'",
			len(x.records)-len(byKey), len(x.records))
	}
	x.byKey = byKey
	return nil
}
