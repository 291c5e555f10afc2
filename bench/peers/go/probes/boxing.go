// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"math/bits"

	"peers/access"
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
	kind    = "json" // a constant would stand in a box that the compiler made
	status  = 200
	fields  = [10]uint64{1 << 11, 1 << 20, 1 << 30, 1 << 40, 1 << 15, 6000, 1 << 17, 1 << 33, 1 << 19, 1 << 10} // numbers below 256 share boxes
)

const firstKey = 1000 // past the numbers that share boxes

// parseDigits reads a number out of either form of a text, and checks what Tare's parser checks.
func parseDigits[Text string | []byte](text Text) (n uint64, ok bool) {
	for i := range len(text) {
		digit := uint64(text[i]) - '0'
		high, low := bits.Mul64(n, 10)
		sum, carry := bits.Add64(low, digit, 0)
		if digit > 9 || high != 0 || carry != 0 {
			return 0, false
		}
		n = sum
	}
	return n, len(text) > 0
}

// runBoxing: texts that are copied to change what they are called, and values that carry their type, against slices and numbers
// where they stand. The pairs are those of the C probe, with as many boxes, and the access line is the service's; where Go's compiler
// saves a copy that is not kept, the text is kept, as a request's parameters are.
func runBoxing(r *result) error {
	oneProcessor()
	text := string(payload)
	cases := []struct {
		name string
		work func(n int)
	}{
		{"string_copy", func(n int) {
			for range n {
				sinkString = string(query[4:14])
				if number, ok := parseDigits(sinkString); ok {
					sinkNumber += number
				}
			}
		}},
		{"string_slice", func(n int) {
			for range n {
				if number, ok := parseDigits(query[4:14]); ok {
					sinkNumber += number
				}
			}
		}},
		{"bytes_copy", func(n int) {
			out := answer[:0]
			for range n {
				sinkBytes = []byte(text)
				out = append(out[:0], sinkBytes...)
			}
			answer = out
		}},
		{"bytes_view", func(n int) {
			out := answer[:0]
			for range n {
				out = append(out[:0], text...)
			}
			answer = out
		}},
		{"format_boxed", func(n int) {
			for i := firstKey; i < firstKey+n; i++ {
				sinkString = fmt.Sprintf(access.Format, int64(i/1_000_000), int64(i%1_000_000), uint64(i), kind, status, len(payload))
			}
		}},
		{"format_typed", func(n int) {
			out := line[:0]
			for i := firstKey; i < firstKey+n; i++ {
				out = access.Append(out[:0], int64(i/1_000_000), int64(i%1_000_000), uint64(i), kind, status, len(payload))
			}
			line = out
		}},
		{"value_boxed", func(n int) {
			sum := uint64(0)
			for i := range n {
				for k := range fields {
					sinkValues[k] = fields[k] + uint64(i)
				}
				for _, value := range sinkValues[:] {
					if number, is := value.(uint64); is {
						sum += number
					}
				}
			}
			sinkNumber = sum
		}},
		{"value_typed", func(n int) {
			sum := uint64(0)
			for i := range n {
				for k := range fields {
					sum += fields[k] + uint64(i)
				}
			}
			sinkNumber = sum
		}},
	}
	const counted = 100_000 // the runtime counts small objects by spans, of up to 1024
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
