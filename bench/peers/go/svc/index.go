// SPDX-License-Identifier: MIT

// Records in memory, in three layouts that answer alike:
//
//	map      *Rec by key: two objects a record, three without interning; the collector follows every pointer
//	flat     the snapshot's records, slots and payloads without pointers: four objects in all, none looked into
//	offheap  the same over the mapped file: nothing of it is the collector's
//
// A layout is chosen at the start. A Rec is never written once it can be found: putting a record puts another in its place, in layout
// map where lookups find it, so that the old one is the collector's. The other two can't be written to, and have a map beside them
// for what was put; lookups look there only once something was.
// Keys are never added. So layout map is a map that is never written, of numbers that the collector need not look at, and pointers
// beside it that are loaded and stored: no lookup waits for an update.

package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Rec is a record of its own: 96 bytes, which is a size class. Where its texts stand in the file means nothing in it.
type Rec struct {
	packed
	category, payload string
}

func (r *Rec) parts() (p *packed, category, payload string) {
	return &r.packed, r.category, r.payload
}

type index struct {
	// Layout map; otherwise nil.
	places map[uint64]uint32 // in recs, by key
	recs   []atomic.Pointer[Rec]

	// The other two. slots has a power of two; a slot is the hash's upper half and the record's position + 1, or 0.
	records    []packed
	slots      []uint64
	payloads   string
	categories []string

	put      atomic.Bool // there are records in replaced
	replaced sync.Map    // *Rec by key

	layout         string
	bytes          uint64 // of the snapshot
	count          int
	keyMin, keyMax uint64
	loadTime       time.Duration
}

// find is the record of a key, or nil.
func (x *index) find(key uint64) (p *packed, category, payload string) {
	if x.recs != nil {
		if place, found := x.places[key]; found {
			return x.recs[place].Load().parts()
		}
		return nil, "", ""
	}
	if x.put.Load() {
		if r, found := x.replaced.Load(key); found {
			return r.(*Rec).parts()
		}
	}
	h := hash(key)
	mask := uint64(len(x.slots) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		slot := x.slots[at]
		if slot == 0 {
			return nil, "", ""
		}
		if slot>>32 == h>>32 {
			if p := &x.records[uint32(slot)-1]; p.ID == key {
				return x.partsOf(p)
			}
		}
	}
}

func (x *index) partsOf(p *packed) (_ *packed, category, payload string) {
	return p, x.categories[p.Category], x.payloads[p.PayloadOffset : p.PayloadOffset+uint64(p.PayloadLen)]
}

// replace puts a record in place of the one of its key. False: there is none. Of updates of one key at once either may be the last.
func (x *index) replace(r *Rec) bool {
	if x.recs != nil {
		place, found := x.places[r.ID]
		if found {
			x.recs[place].Store(r)
		}
		return found
	}
	if p, _, _ := x.find(r.ID); p == nil {
		return false
	}
	x.replaced.Store(r.ID, r)
	x.put.Store(true)
	return true
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
		payloads:   viewText(s.payloads),
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
		x.records, x.slots, x.payloads = slices.Clone(s.records), slices.Clone(s.slots), string(s.payloads)
		x.cloneCategories()
	case "map":
		x.cloneCategories()
		if err := x.fillMap(intern); err != nil {
			return nil, err
		}
		x.records, x.slots, x.payloads = nil, nil, ""
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
	x.places = make(map[uint64]uint32, len(x.records))
	x.recs = make([]atomic.Pointer[Rec], len(x.records))
	for i := range x.records {
		p, category, payload := x.partsOf(&x.records[i])
		if !intern {
			category = strings.Clone(category)
		}
		x.places[p.ID] = uint32(i)
		x.recs[i].Store(&Rec{*p, category, strings.Clone(payload)})
	}
	if different := len(x.places); different != len(x.records) {
		return fmt.Errorf("%d of %d records have an id that another has; regenerate the snapshot with 'tare gen'",
			len(x.records)-different, len(x.records))
	}
	return nil
}

// viewText is bytes that nobody writes any more, as a string.
func viewText(data []byte) string {
	return unsafe.String(unsafe.SliceData(data), len(data))
}

// viewBytes is a string where bytes are asked for; nobody may write to them.
func viewBytes(text string) []byte {
	if text == "" {
		return []byte{} // an empty string's address may be nil, and that slice is null in JSON
	}
	return unsafe.Slice(unsafe.StringData(text), len(text))
}
