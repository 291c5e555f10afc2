// SPDX-License-Identifier: MIT

// The naive path: a record as a document, the way most services do it. Nothing here is slowed down on purpose; every step is
// what a reviewer would let pass in code that nobody had measured. Each of its five sites can be mended by itself
// (--naive-fix), and then does what the opt path does there:
//
//	copy    the record is copied, with its strings, so that nobody can change the index's
//	base64  the payload is made a string of base64, a field as any other
//	tree    the document is a struct that encoding/json (encoding/binary) goes through by reflection
//	text    it is written into a buffer of its own, made a string, and copied once more to be sent
//	log     the access line is fmt.Sprintf's, which boxes what it formats

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"peers/access"
)

// document is what encoding/json is given; its fields' order is the document's. Bytes it makes base64 of.
type document[Payload string | []byte] struct {
	ID           uint64  `json:"id"`
	BidMicros    int64   `json:"bid_micros"`
	BudgetMicros int64   `json:"budget_micros"`
	SpendMicros  int64   `json:"spend_micros"`
	Impressions  uint64  `json:"impressions"`
	Clicks       uint64  `json:"clicks"`
	Hot          bool    `json:"hot"`
	Active       bool    `json:"active"`
	Category     string  `json:"category"`
	Payload      Payload `json:"payload"`
}

type binHead struct {
	Length                               uint32
	Version, Flags                       uint16
	ID                                   uint64
	BidMicros, BudgetMicros, SpendMicros int64
	Impressions, Clicks                  uint64
	CategoryBytes, PayloadBytes          uint32
}

func cloneRec(r *Rec) *Rec {
	clone := *r
	clone.Category = strings.Clone(r.Category)
	clone.Payload = bytes.Clone(r.Payload)
	return &clone
}

func (s *service) answerNaive(a *answer, kind *kind, rec *Rec, q lookupQuery) {
	fixed := s.options.fixes
	if fixed&fixCopy == 0 {
		rec = cloneRec(rec)
	}
	var out []byte
	if fixed&fixText != 0 {
		out = a.buf
	} else if fixed&fixTree != 0 {
		out = make([]byte, 0, answerBytes) // who writes fields one by one knows how many there are
	}
	if q.bin {
		out = naiveBin(out, rec, fixed)
	} else {
		out = naiveJSON(out, rec, fixed)
	}
	if fixed&fixText == 0 {
		text := string(out)
		a.status, a.kind, a.body = 200, kind, []byte(text)
	} else {
		a.done(200, kind, out)
	}
	format := "json"
	if q.bin {
		format = "bin"
	}
	seconds, micros := a.begun.Unix(), int64(a.begun.Nanosecond()/1000)
	if fixed&fixLog == 0 {
		s.recent.add(fmt.Sprintf(access.Format, seconds, micros, rec.ID, format, a.status, len(a.body)))
	} else {
		s.recent.addFormatted(seconds, micros, rec.ID, format, a.status, len(a.body))
	}
}

func naiveJSON(out []byte, rec *Rec, fixed fixes) []byte {
	text := ""
	if fixed&fixBase64 == 0 {
		text = base64.StdEncoding.EncodeToString(rec.Payload)
	}
	if fixed&fixTree != 0 {
		if fixed&fixBase64 != 0 {
			return appendJSON(out, rec, rec.Category, rec.Payload)
		}
		out = appendJSON(out, rec, rec.Category, nil)
		return append(append(out[:len(out)-2], text...), `"}`...)
	}
	if fixed&fixBase64 == 0 {
		return encode(out, rec, text)
	}
	return encode(out, rec, rec.Payload)
}

func encode[Payload string | []byte](out []byte, rec *Rec, payload Payload) []byte {
	buffer := bytes.NewBuffer(out)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(document[Payload]{
		ID:           rec.ID,
		BidMicros:    rec.BidMicros,
		BudgetMicros: rec.BudgetMicros,
		SpendMicros:  rec.SpendMicros,
		Impressions:  rec.Impressions,
		Clicks:       rec.Clicks,
		Hot:          rec.Hot,
		Active:       rec.Active,
		Category:     rec.Category,
		Payload:      payload,
	})
	if err != nil {
		panic(err) // no value of these types is one that it refuses
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}

func naiveBin(out []byte, rec *Rec, fixed fixes) []byte {
	if fixed&fixTree != 0 {
		return appendBin(out, rec, rec.Category, rec.Payload)
	}
	buffer := bytes.NewBuffer(out)
	head := binHead{
		Length:        uint32(binHeadBytes + len(rec.Category) + len(rec.Payload)),
		Version:       binVersion,
		Flags:         binFlags(rec),
		ID:            rec.ID,
		BidMicros:     rec.BidMicros,
		BudgetMicros:  rec.BudgetMicros,
		SpendMicros:   rec.SpendMicros,
		Impressions:   rec.Impressions,
		Clicks:        rec.Clicks,
		CategoryBytes: uint32(len(rec.Category)),
		PayloadBytes:  uint32(len(rec.Payload)),
	}
	if err := binary.Write(buffer, binary.LittleEndian, head); err != nil {
		panic(err) // a buffer takes all, and the struct's size is fixed
	}
	buffer.WriteString(rec.Category)
	buffer.Write(rec.Payload)
	return buffer.Bytes()
}

// ---- the access log

const (
	recentLines = 256 // as `tare svc` keeps
	lineBytes   = 128 // what one mostly takes
)

// recent is the last lines of the access log; /debug/recent shows them.
type recent struct {
	mu    sync.Mutex
	next  int
	lines [recentLines]string
	slots [recentLines][]byte // instead of lines, with the log mended
}

// prepare gives each slot room, so that a mended log never allocates but for a line that is longer.
func (r *recent) prepare() {
	room := make([]byte, recentLines*lineBytes)
	for i := range r.slots {
		r.slots[i] = room[i*lineBytes : i*lineBytes : (i+1)*lineBytes]
	}
}

func (r *recent) add(line string) {
	r.mu.Lock()
	r.lines[r.next%recentLines] = line
	r.next++
	r.mu.Unlock()
}

func (r *recent) addFormatted(seconds, micros int64, key uint64, format string, status, bytes int) {
	r.mu.Lock()
	slot := &r.slots[r.next%recentLines]
	*slot = access.Append((*slot)[:0], seconds, micros, key, format, status, bytes)
	r.next++
	r.mu.Unlock()
}

// appendTo appends the lines, the oldest first.
func (r *recent) appendTo(out []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := max(0, r.next-recentLines); i < r.next; i++ {
		out = append(out, r.lines[i%recentLines]...)
		out = append(out, r.slots[i%recentLines]...)
		out = append(out, '\n')
	}
	return out
}
