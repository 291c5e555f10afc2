// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"strconv"

	"peers/rtstats"
)

// snapshotHeap is a reading whose own garbage is not in the next one's: what a reading makes is made before it reads.
func snapshotHeap() rtstats.Stats {
	return rtstats.Read()
}

var (
	query   = []byte("key=1234567890&fmt=json")
	payload = make([]byte, 300)
	answer  = make([]byte, 0, 512)
	line    = make([]byte, 0, 256)
	fields  = [10]uint64{11, 1 << 20, 1 << 30, 1 << 40, 5, 6000, 7, 1 << 33, 9, 10}
)

// parseDigits reads a number where it stands.
func parseDigits(digits []byte) (n uint64) {
	for _, c := range digits {
		n = n*10 + uint64(c-'0')
	}
	return n
}

// runBoxing: texts that are copied to change what they are called, and values that carry their type, against slices and numbers
// where they stand. The pairs are those of the C probe; where Go's compiler saves a copy that is not kept, the text is kept, as a
// request's parameters are.
func runBoxing(r *result) error {
	text := string(payload)
	cases := []struct {
		name string
		work func(n int)
	}{
		{"string_copy", func(n int) {
			for range n {
				sinkString = string(query[4:14])
				number, _ := strconv.ParseUint(sinkString, 10, 64)
				sinkNumber += number
			}
		}},
		{"string_slice", func(n int) {
			for range n {
				sinkNumber += parseDigits(query[4:14])
			}
		}},
		{"bytes_copy", func(n int) {
			for range n {
				sinkBytes = []byte(text)
				answer = append(answer[:0], sinkBytes...)
			}
		}},
		{"bytes_view", func(n int) {
			for range n {
				answer = append(answer[:0], text...)
			}
		}},
		{"format_boxed", func(n int) {
			for i := range n {
				sinkString = fmt.Sprintf("%s %s key=%d status=%d bytes=%d", "GET", "/lookup", fields[3]+uint64(i), 200, len(payload))
			}
		}},
		{"format_typed", func(n int) {
			for i := range n {
				out := append(line[:0], "GET /lookup key="...)
				out = strconv.AppendUint(out, fields[3]+uint64(i), 10)
				out = append(out, " status="...)
				out = strconv.AppendInt(out, 200, 10)
				out = append(out, " bytes="...)
				line = strconv.AppendInt(out, int64(len(payload)), 10)
			}
		}},
		{"value_boxed", func(n int) {
			for i := range n {
				values := make([]any, len(fields))
				for k, field := range fields {
					values[k] = field + uint64(i)
				}
				sinkAny = values
				for _, value := range values {
					if number, is := value.(uint64); is {
						sinkNumber += number
					}
				}
			}
		}},
		{"value_typed", func(n int) {
			for i := range n {
				for _, field := range fields {
					sinkNumber += field + uint64(i)
				}
			}
		}},
	}
	const counted = 1000
	for _, c := range cases {
		r.figure(timeOf(r.args["milliseconds"], c.work), "%s_ns", c.name)
		idle, before := snapshotHeap(), snapshotHeap()
		c.work(counted)
		after := snapshotHeap()
		own := before.AllocObjects - idle.AllocObjects // a reading's
		ownBytes := before.AllocBytes - idle.AllocBytes
		r.figure(perOperation(after.AllocObjects-before.AllocObjects, own, counted), "%s_allocs", c.name)
		r.figure(perOperation(after.AllocBytes-before.AllocBytes, ownBytes, counted), "%s_bytes", c.name)
	}
	return nil
}

func perOperation(made, own, operations uint64) float64 {
	return float64(made-min(own, made)) / float64(operations)
}
