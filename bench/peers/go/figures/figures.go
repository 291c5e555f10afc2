// SPDX-License-Identifier: MIT

// Package figures times what the other programs here do, and prints a figure as one JSON line: nanoseconds an operation, the
// median of some repetitions, and how many operations a repetition did.
package figures

import (
	"fmt"
	"sort"
	"time"
)

const repetition = 20 * time.Millisecond

// Print prints a figure; extra is more of its line, with a comma before it, or empty.
func Print(name string, ns float64, ops int, extra string) {
	fmt.Printf("{\"name\": %q, \"ns\": %.2f, \"ops\": %d%s}\n", name, ns, ops, extra)
}

// median sorts the values.
func median(values []float64) float64 {
	sort.Float64s(values)
	return values[len(values)/2]
}

// Work times work(n), which does perN*n operations, for an n that takes some 20 ms: the first, or twice as many, and so on.
func Work(name string, repetitions, first, perN int, work func(n int)) {
	n := first
	for {
		start := time.Now()
		work(n)
		if time.Since(start) >= repetition {
			break
		}
		n *= 2
	}
	Program(name, repetitions, n*perN, "", func() { work(n) })
}

// Program times a whole program that does a given number of operations.
func Program(name string, runs, ops int, extra string, program func()) {
	var each []float64
	for i := 0; i < runs; i++ {
		start := time.Now()
		program()
		each = append(each, float64(time.Since(start))/float64(ops))
	}
	Print(name, median(each), ops, extra)
}
