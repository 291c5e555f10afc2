// SPDX-License-Identifier: MIT

// The naive path: a record as a document, the way most services do it. Nothing here is slowed down on purpose; every step is
// what a reviewer would let pass in code that nobody had measured. Each of its five sites can be mended by itself
// (--naive-fix), and then does what the opt path does there:
//
//	copy    the record is copied, with its strings, so that nobody can change the index's
//	base64  the payload is made a string of base64, a field as any other
//	tree    the document is a struct that encoding/json (encoding/binary) goes through by reflection
//	text    it is written into a buffer of its own, and made a string to be sent
//	log     the access line is fmt.Sprintf's, which boxes what it formats

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
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

func cloneRec(r *packed, category, payload string) *Rec {
	return &Rec{*r, strings.Clone(category), strings.Clone(payload)}
}

func (s *service) answerNaive(a *answer, q lookupQuery, r *packed, category, payload string) {
	fixed := s.options.fixes
	if fixed&fixCopy == 0 {
		r, category, payload = cloneRec(r, category, payload).parts()
	}
	kind, format := kindJSON, "json"
	if q.bin {
		kind, format = kindBin, "bin"
	}
	if fixed&fixText != 0 {
		a.finish(naiveBody(a.start(200, kind), q.bin, r, category, payload, fixed))
	} else {
		var out []byte
		if fixed&fixTree != 0 {
			out = make([]byte, 0, answerBytes) // who writes fields one by one knows how many there are
		}
		text := string(naiveBody(out, q.bin, r, category, payload, fixed))
		a.finishText(a.start(200, kind), text)
	}
	heard := epoch.Add(a.heard)
	seconds, micros := heard.Unix(), int64(heard.Nanosecond()/1000)
	if fixed&fixLog == 0 {
		a.shard.recent.add(fmt.Sprintf(access.Format, seconds, micros, r.ID, format, a.status, a.size))
	} else {
		a.shard.recent.addFormatted(seconds, micros, r.ID, format, a.status, a.size)
	}
}

func naiveBody(out []byte, bin bool, r *packed, category, payload string, fixed fixes) []byte {
	if bin {
		return naiveBin(out, r, category, payload, fixed)
	}
	return naiveJSON(out, r, category, payload, fixed)
}

func naiveJSON(out []byte, r *packed, category, payload string, fixed fixes) []byte {
	text := ""
	if fixed&fixBase64 == 0 {
		text = base64.StdEncoding.EncodeToString(viewBytes(payload))
	}
	if fixed&fixTree != 0 {
		if fixed&fixBase64 != 0 {
			return appendJSON(out, r, category, payload)
		}
		out = appendJSON(out, r, category, "")
		return append(append(out[:len(out)-2], text...), `"}`...)
	}
	if fixed&fixBase64 == 0 {
		return encode(out, r, category, text)
	}
	return encode(out, r, category, viewBytes(payload))
}

func encode[Payload string | []byte](out []byte, r *packed, category string, payload Payload) []byte {
	buffer := bytes.NewBuffer(out)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(document[Payload]{
		ID:           r.ID,
		BidMicros:    r.BidMicros,
		BudgetMicros: r.BudgetMicros,
		SpendMicros:  r.SpendMicros,
		Impressions:  r.Impressions,
		Clicks:       r.Clicks,
		Hot:          r.Hot,
		Active:       r.Active,
		Category:     category,
		Payload:      payload,
	})
	if err != nil {
		panic(err) // no value of these types is one that it refuses
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}

func naiveBin(out []byte, r *packed, category, payload string, fixed fixes) []byte {
	if fixed&fixTree != 0 {
		return appendBin(out, r, category, payload)
	}
	buffer := bytes.NewBuffer(out)
	head := binHead{
		Length:        uint32(binHeadBytes + len(category) + len(payload)),
		Version:       binVersion,
		Flags:         binFlags(r),
		ID:            r.ID,
		BidMicros:     r.BidMicros,
		BudgetMicros:  r.BudgetMicros,
		SpendMicros:   r.SpendMicros,
		Impressions:   r.Impressions,
		Clicks:        r.Clicks,
		CategoryBytes: uint32(len(category)),
		PayloadBytes:  uint32(len(payload)),
	}
	if err := binary.Write(buffer, binary.LittleEndian, head); err != nil {
		panic(err) // a buffer takes all, and the struct's size is fixed
	}
	buffer.WriteString(category)
	buffer.WriteString(payload)
	return buffer.Bytes()
}

// ---- the access log

const (
	recentLines = 64  // of a shard
	lineBytes   = 128 // what one mostly takes
)

// recent is the last lines of the access log, of one shard, so that processors mostly don't wait for each other; /debug/recent shows all.
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

func (r *recent) addFormatted(seconds, micros int64, key uint64, format string, status, size int) {
	r.mu.Lock()
	slot := &r.slots[r.next%recentLines]
	*slot = access.Append((*slot)[:0], seconds, micros, key, format, status, size)
	r.next++
	r.mu.Unlock()
}

func (r *recent) appendTo(lines []string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range min(r.next, recentLines) {
		lines = append(lines, r.lines[i]+string(r.slots[i])+"\n")
	}
	return lines
}

// recent is all shards' lines, the oldest first.
func (c *counters) recent() string {
	var lines []string
	for i := range c.shards {
		lines = c.shards[i].recent.appendTo(lines)
	}
	slices.Sort(lines) // each begins with its time
	return strings.Join(lines, "")
}
