// SPDX-License-Identifier: MIT

// The snapshot of `tare gen`, mapped and looked over. src/index/index_int.h describes the file:
//
//	0          4096         …             …           …            end of file
//	| header   | categories | 0 | records | 0 | slots | 0 | payloads |
//
// All that a lookup relies on is checked, in one pass from front to back that touches no payload: places, bounds, run
// lengths. The checksums are not: XXH3 is not in the standard library, and `tare loadindex FILE` verifies every byte.

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"syscall"
	"unsafe"
)

const (
	snapshotMagic   = "TARESNAP"
	snapshotVersion = 1
	snapshotOrder   = 0x01020304
	snapshotAlign   = 4096
	runMax          = 1024
	categoryMax     = 64

	populateBytes    = 64 << 20
	madvPopulateRead = 22 // MADV_POPULATE_READ, which package syscall doesn't have
)

const (
	categories = iota
	records
	slots
	payloads
	sections
)

var sectionNames = [sections]string{"categories", "records", "slots", "payloads"}

type sectionEntry struct {
	Name     [16]byte
	Offset   uint64
	Bytes    uint64
	Checksum uint64
}

// header is read where it stands, in this machine's byte order: its mark says whether that is the file's.
type header struct {
	Magic       [8]byte
	Version     uint32
	ByteOrder   uint32
	Bytes       uint64
	Seed        uint64
	Records     uint64
	Slots       uint64
	Categories  uint32
	RecordBytes uint32
	Align       uint32
	Sections    uint32
	Entries     [sections]sectionEntry
}

// packed is a record as it stands in the file: one cache line, and nothing in it for a collector to follow.
type packed struct {
	ID                                   uint64
	BidMicros, BudgetMicros, SpendMicros int64
	Impressions, Clicks                  uint64
	PayloadOffset                        uint64
	PayloadLen                           uint32
	Category                             uint16
	Hot, Active                          bool
}

const packedBytes = int(unsafe.Sizeof(packed{}))

// snapshot has slices of the mapped file; nobody may write to them.
type snapshot struct {
	path           string
	data           []byte
	header         *header
	categories     []string
	records        []packed
	slots          []uint64
	payloads       []byte
	keyMin, keyMax uint64
}

// openSnapshot maps a file and checks it. It stays mapped until close.
func openSnapshot(path string) (*snapshot, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file; give a snapshot made by 'tare gen'", path)
	}
	s := &snapshot{path: path}
	if info.Size() < snapshotAlign {
		return nil, s.refuse("header", 0, "not a snapshot: it has %d bytes, fewer than a header", info.Size())
	}
	s.data, err = syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("%s: can't be mapped: %w", path, err)
	}
	populate(s.data)
	if err := s.check(); err != nil {
		s.close()
		return nil, err
	}
	settle(s.data)
	return s, nil
}

// settle has a lookup that misses read one page, where memory did not hold all of the file, and not a huge page or what the disk's
// read-ahead says around it. `tare svc` does the same. Only speed depends on it.
func settle(data []byte) {
	present := make([]byte, (len(data)+os.Getpagesize()-1)/os.Getpagesize())
	_, _, errno := syscall.Syscall(syscall.SYS_MINCORE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)),
		uintptr(unsafe.Pointer(&present[0])))
	if errno != 0 || !slices.ContainsFunc(present, func(page byte) bool { return page&1 == 0 }) {
		return
	}
	_ = syscall.Madvise(data, syscall.MADV_NOHUGEPAGE)
	_ = syscall.Madvise(data, syscall.MADV_RANDOM)
}

// populate reads the file and fills the page table, as `tare svc` does, so that lookups fault no more: of a file larger than memory too,
// whose last part is what stays. Only speed depends on it, so nothing is said when the kernel refuses, as before Linux 5.14.
func populate(data []byte) {
	_ = syscall.Madvise(data, syscall.MADV_HUGEPAGE)
	for piece := range slices.Chunk(data, populateBytes) {
		err := syscall.Madvise(piece, madvPopulateRead)
		for err == syscall.EINTR || err == syscall.EAGAIN {
			err = syscall.Madvise(piece, madvPopulateRead)
		}
	}
}

// close unmaps the file. Nothing may point into it any more.
func (s *snapshot) close() {
	_ = syscall.Munmap(s.data) // fails for no address that Mmap gave
	s.data = nil
}

func (s *snapshot) refuse(section string, offset uint64, format string, args ...any) error {
	return fmt.Errorf("%s: section '%s' at offset %d: %s; regenerate it with 'tare gen'", s.path, section, offset,
		fmt.Sprintf(format, args...))
}

func (s *snapshot) check() error {
	for _, step := range []func() error{s.checkHeader, s.checkPlaces, s.checkCategories, s.checkSlots, s.checkRecords} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshot) checkHeader() error {
	h := (*header)(unsafe.Pointer(unsafe.SliceData(s.data)))
	s.header = h
	switch {
	case string(h.Magic[:]) != snapshotMagic:
		return s.refuse("header", 0, "not a snapshot: it does not begin with '%s'", snapshotMagic)
	case h.ByteOrder != snapshotOrder:
		return s.refuse("header", 0, "byte order mark is %08x, not %08x: it is another machine's, or damaged", h.ByteOrder,
			snapshotOrder)
	case h.Version != snapshotVersion:
		return s.refuse("header", 0, "version is %d, and this program reads version %d", h.Version, snapshotVersion)
	case h.RecordBytes != uint32(packedBytes) || h.Align != snapshotAlign || h.Sections != sections:
		return s.refuse("header", 0, "%d bytes a record, alignment %d, %d sections: should be %d, %d, %d", h.RecordBytes,
			h.Align, h.Sections, packedBytes, snapshotAlign, sections)
	case h.Records == 0 || h.Records > math.MaxUint32-1:
		return s.refuse("header", 0, "%d records: should be 1 to %d", h.Records, math.MaxUint32-1)
	case h.Slots < 8 || h.Slots&(h.Slots-1) != 0 || h.Slots > 1<<33 || h.Slots/2 < h.Records:
		return s.refuse("header", 0, "%d slots: should be a power of two of at least twice the %d records", h.Slots,
			h.Records)
	case h.Categories == 0 || h.Categories > math.MaxUint16:
		return s.refuse("header", 0, "%d categories: should be 1 to %d", h.Categories, math.MaxUint16)
	}
	return nil
}

// checkPlaces relies on the counts: none of their products overflows.
func (s *snapshot) checkPlaces() error {
	h, size, end := s.header, uint64(len(s.data)), uint64(snapshotAlign)
	least := [sections]uint64{(uint64(h.Categories) + 1) * 4, h.Records * uint64(packedBytes), h.Slots * 8, 0}
	most := [sections]uint64{1 << 56, least[records], least[slots], 1 << 56}
	for i, entry := range h.Entries {
		offset := (end + snapshotAlign - 1) &^ (snapshotAlign - 1)
		if entry.Offset != offset {
			return s.refuse(sectionNames[i], entry.Offset, "it should begin at offset %d", offset)
		}
		if entry.Bytes < least[i] || entry.Bytes > most[i] {
			return s.refuse(sectionNames[i], entry.Offset, "%d bytes do not fit the header's counts", entry.Bytes)
		}
		if end = entry.Offset + entry.Bytes; end > size {
			return s.refuse(sectionNames[i], entry.Offset, "truncated: it ends at offset %d, and the file at %d", end, size)
		}
	}
	if end != size || h.Bytes != size {
		return s.refuse("header", 0, "the file has %d bytes, where its sections end at %d and the header tells of %d", size,
			end, h.Bytes)
	}
	s.records = view[packed](s.section(records), h.Records)
	s.slots = view[uint64](s.section(slots), h.Slots)
	s.payloads = s.section(payloads)
	return nil
}

func (s *snapshot) section(i int) []byte {
	entry := s.header.Entries[i]
	return s.data[entry.Offset : entry.Offset+entry.Bytes : entry.Offset+entry.Bytes]
}

// view is a section as a slice of n values. It begins on a page, so it is aligned.
func view[T any](section []byte, n uint64) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(section))), n)
}

func (s *snapshot) checkCategories() error {
	at, count := s.header.Entries[categories].Offset, uint64(s.header.Categories)
	section := s.section(categories)
	offsets, text := view[uint32](section, count+1), section[(count+1)*4:]
	if offsets[0] != 0 || uint64(offsets[count]) != uint64(len(text)) {
		return s.refuse("categories", at, "its entries do not fill its %d bytes of text", len(text))
	}
	s.categories = make([]string, count)
	for i := range s.categories {
		from, to := offsets[i], offsets[i+1]
		if to <= from || to-from > categoryMax || uint64(to) > uint64(len(text)) {
			return s.refuse("categories", at, "entry %d is not 1 to %d bytes within the section", i, categoryMax)
		}
		s.categories[i] = unsafe.String(&text[from], to-from)
	}
	if i := bytes.IndexFunc(text, isSpecial); i >= 0 {
		return s.refuse("categories", at, "byte %d of its text is not plain printable ASCII", i)
	}
	return nil
}

// isSpecial: no category has such a character, so that it stands in JSON as it is.
func isSpecial(c rune) bool {
	return c < ' ' || c > '~' || c == '"' || c == '\\'
}

// checkSlots: every slot points at a record, as many are taken as there are records, and every run ends soon, the one
// around the end included.
func (s *snapshot) checkSlots() error {
	at := s.header.Entries[slots].Offset
	taken, run, longest, first := 0, 0, 0, 0
	for i, slot := range s.slots {
		if slot == 0 {
			if taken == i {
				first = run
			}
			run = 0
			continue
		}
		if position := uint32(slot) - 1; uint64(position) >= s.header.Records { // wraps for 0
			return s.refuse("slots", at, "slot %d points outside the %d records", i, s.header.Records)
		}
		taken++
		run++
		longest = max(longest, run)
	}
	longest = max(longest, run+first)
	if uint64(taken) != s.header.Records {
		return s.refuse("slots", at, "%d slots are taken for %d records", taken, s.header.Records)
	}
	if longest > runMax {
		return s.refuse("slots", at, "%d taken slots stand in a row: should be at most %d", longest, runMax)
	}
	return nil
}

func (s *snapshot) checkRecords() error {
	at, end := s.header.Entries[records].Offset, uint64(0)
	raw := s.section(records)
	s.keyMin = math.MaxUint64
	for i := range s.records {
		// Before the record is read as one: a bool that is neither 0 nor 1 is none.
		if flags := raw[i*packedBytes+packedBytes-2:]; flags[0] > 1 || flags[1] > 1 {
			return s.refuse("records", at, "record %d: 'hot' and 'active' should be 0 or 1", i)
		}
		r := &s.records[i]
		if uint32(r.Category) >= s.header.Categories {
			return s.refuse("records", at, "record %d: category %d is not in the dictionary of %d", i, r.Category,
				s.header.Categories)
		}
		if r.PayloadOffset != end || uint64(r.PayloadLen) > uint64(len(s.payloads))-end {
			return s.refuse("records", at, "record %d: its payload should begin at %d of the section and end within it", i,
				end)
		}
		end += uint64(r.PayloadLen)
		s.keyMin, s.keyMax = min(s.keyMin, r.ID), max(s.keyMax, r.ID)
	}
	if end != uint64(len(s.payloads)) {
		return s.refuse("payloads", s.header.Entries[payloads].Offset, "%d of its %d bytes belong to no record",
			uint64(len(s.payloads))-end, len(s.payloads))
	}
	return nil
}

// hash is the snapshot's, of src/index/index_int.h.
func hash(key uint64) uint64 {
	key ^= key >> 32
	key *= 0xd6e8feb86659fd93
	key ^= key >> 29
	key *= 0xa0761d6478bd642f
	return key ^ key>>32
}
