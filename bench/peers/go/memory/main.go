// SPDX-License-Identifier: MIT

// memory measures what it costs in Go to have an object for a moment: from the collected heap, from a sync.Pool, on the
// stack; small ones and large ones. One JSON line a figure; the names and the methods are those of bench/memory.c.
//
//	memory pairs|kib|sizes|crowds|all ...
//
// Figures in "ns" are medians of 9 repetitions of some 20 ms. The collector runs as it does for any Go program.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync"

	"peers/figures"
)

const (
	repetitions = 9
	kib         = 1024
	crowd       = 1000
	page        = 4096
)

// What is stored here is on the heap.
var sink []byte
var sum uint64

func measure(name string, work func(n int)) {
	figures.Work(name, repetitions, 1000, 1, work)
}

func newPool(bytes int) *sync.Pool {
	return &sync.Pool{New: func() any {
		b := make([]byte, bytes)
		return &b
	}}
}

func touch(b []byte) {
	for i := 0; i < len(b); i += page {
		b[i] = 1
	}
	b[len(b)-1] = 1
}

// The compiler makes a call of the runtime's of it.
func zero(b []byte) {
	for i := range b {
		b[i] = 0
	}
}

func fillAndSum(b []byte, value byte) {
	for i := range b { // the compiler makes no memset of it; a doubling copy is one
		if i == 16 {
			break
		}
		b[i] = value
	}
	for done := 16; done < len(b); done *= 2 {
		copy(b[done:], b[:done])
	}
	var s uint64
	for i := 0; i < len(b); i += 8 {
		s += binary.LittleEndian.Uint64(b[i:])
	}
	sum += s
}

func pairs() {
	pool := newPool(kib)
	work := func(n int) {
		for i := 0; i < n; i++ {
			b := pool.Get().(*[]byte)
			pool.Put(b)
		}
	}
	measure("pool_pair", work)
	if runtime.GOMAXPROCS(0) > 1 {
		measure("pool_pair_2", func(n int) {
			var done sync.WaitGroup
			done.Add(2)
			for i := 0; i < 2; i++ {
				go func() {
					work(n)
					done.Done()
				}()
			}
			done.Wait()
		})
	}
}

func kibs() {
	measure("managed_1k", func(n int) {
		for i := 0; i < n; i++ {
			b := make([]byte, kib)
			sink = b
			fillAndSum(b, byte(i))
		}
	})
	pool := newPool(kib)
	measure("pooled_1k", func(n int) {
		for i := 0; i < n; i++ {
			b := pool.Get().(*[]byte)
			fillAndSum(*b, byte(i))
			pool.Put(b)
		}
	})
	measure("stack_1k", func(n int) {
		for i := 0; i < n; i++ {
			var b [kib]byte
			fillAndSum(b[:], byte(i))
		}
	})
}

// A function a size: an array's is part of its type.
func stack16(n int) {
	for i := 0; i < n; i++ {
		var b [16]byte
		touch(b[:])
		sum += uint64(b[8])
	}
}

func stack64(n int) {
	for i := 0; i < n; i++ {
		var b [64]byte
		touch(b[:])
		sum += uint64(b[32])
	}
}

func stack256(n int) {
	for i := 0; i < n; i++ {
		var b [256]byte
		touch(b[:])
		sum += uint64(b[128])
	}
}

func stack1024(n int) {
	for i := 0; i < n; i++ {
		var b [1024]byte
		touch(b[:])
		sum += uint64(b[512])
	}
}

func stack4096(n int) {
	for i := 0; i < n; i++ {
		var b [4096]byte
		touch(b[:])
		sum += uint64(b[2048])
	}
}

func stack16384(n int) {
	for i := 0; i < n; i++ {
		var b [16384]byte
		touch(b[:])
		sum += uint64(b[8192])
	}
}

func stack65536(n int) {
	for i := 0; i < n; i++ {
		var b [65536]byte
		touch(b[:])
		sum += uint64(b[32768])
	}
}

var stacks = map[int]func(n int){16: stack16, 64: stack64, 256: stack256, 1024: stack1024, 4096: stack4096, 16384: stack16384, 65536: stack65536}

func sizes() {
	for bytes := 16; bytes <= 1<<20; bytes *= 4 {
		measure(fmt.Sprintf("heap_%d", bytes), func(n int) {
			for i := 0; i < n; i++ {
				b := make([]byte, bytes)
				sink = b
				touch(b)
			}
		})
		if work, small := stacks[bytes]; small {
			measure(fmt.Sprintf("stack_zeroed_%d", bytes), work)
		}
		pool := newPool(bytes)
		measure(fmt.Sprintf("pool_%d", bytes), func(n int) {
			for i := 0; i < n; i++ {
				b := pool.Get().(*[]byte)
				touch(*b)
				pool.Put(b)
			}
		})
		measure(fmt.Sprintf("pool_reset_%d", bytes), func(n int) {
			for i := 0; i < n; i++ {
				b := pool.Get().(*[]byte)
				touch(*b)
				zero(*b)
				pool.Put(b)
			}
		})
	}
}

func crowds() {
	for bytes := 16; bytes <= 64*kib; bytes *= 4 {
		var all [crowd][]byte
		measure(fmt.Sprintf("heap_crowd_%d", bytes), func(n int) {
			for round := 0; round < n/crowd+1; round++ {
				for i := range all {
					all[i] = make([]byte, bytes)
					touch(all[i])
				}
				sink = all[crowd-1]
			}
		})
		pool := newPool(bytes)
		var taken [crowd]*[]byte
		measure(fmt.Sprintf("pool_crowd_%d", bytes), func(n int) {
			for round := 0; round < n/crowd+1; round++ {
				for i := range taken {
					taken[i] = pool.Get().(*[]byte)
					touch(*taken[i])
				}
				for i := range taken {
					pool.Put(taken[i])
				}
			}
		})
	}
}

func main() {
	benches := []struct {
		name string
		run  func()
	}{{"pairs", pairs}, {"kib", kibs}, {"sizes", sizes}, {"crowds", crowds}}
	for _, name := range os.Args[1:] {
		found := false
		for _, bench := range benches {
			if name == "all" || name == bench.name {
				bench.run()
				found = true
			}
		}
		if !found {
			fmt.Fprintln(os.Stderr, "usage: memory pairs|kib|sizes|crowds|all ...")
			os.Exit(2)
		}
	}
}
