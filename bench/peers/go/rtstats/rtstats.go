// SPDX-License-Identifier: MIT

// Package rtstats reads what the Go runtime and the kernel tell of this process: heap, collector, pauses, CPU time.
//
// All of it is from runtime/metrics, which stops nothing (runtime.ReadMemStats does), from getrusage and /proc.
package rtstats

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Stats is one reading. Times are seconds, sizes bytes, counters since the process began.
type Stats struct {
	HeapBytes    uint64 // objects, reachable or not yet swept
	MarkedBytes  uint64 // objects that the last cycle found reachable
	MappedBytes  uint64 // all that the runtime has mapped and not given back
	IdleBytes    uint64 // of that, whole free spans
	GoalBytes    uint64 // the heap at which the next cycle is to have ended
	Objects      uint64
	AllocBytes   uint64
	AllocObjects uint64 // those that the tiny allocator put together count one by one
	FreedObjects uint64
	Cycles       uint64
	Percent      int64  // GOGC in force; -1: off
	LimitBytes   uint64 // GOMEMLIMIT in force; math.MaxInt64: none

	// CPU time of the collector and of GOMAXPROCS processors, idle ones too. What assists took is added when a cycle ends.
	GC, Assist, Dedicated, Idle, GCPause float64
	Total, User                          float64

	// Every stop of the world for the collector, two a cycle; from when it was asked for until all goroutines ran again.
	Pauses *metrics.Float64Histogram
	// Of each the part until all processors had stopped.
	Stopping *metrics.Float64Histogram
}

// Read takes a reading.
func Read() Stats {
	var s Stats
	var tiny, released, percent uint64
	counts := []struct {
		name string
		to   *uint64
	}{
		{"/memory/classes/heap/objects:bytes", &s.HeapBytes},
		{"/gc/heap/live:bytes", &s.MarkedBytes},
		{"/gc/heap/goal:bytes", &s.GoalBytes},
		{"/gc/heap/objects:objects", &s.Objects},
		{"/gc/heap/allocs:bytes", &s.AllocBytes},
		{"/gc/heap/allocs:objects", &s.AllocObjects},
		{"/gc/heap/tiny/allocs:objects", &tiny},
		{"/gc/heap/frees:objects", &s.FreedObjects},
		{"/gc/cycles/total:gc-cycles", &s.Cycles},
		{"/gc/gogc:percent", &percent},
		{"/gc/gomemlimit:bytes", &s.LimitBytes},
		{"/memory/classes/total:bytes", &s.MappedBytes},
		{"/memory/classes/heap/free:bytes", &s.IdleBytes},
		{"/memory/classes/heap/released:bytes", &released},
	}
	seconds := []struct {
		name string
		to   *float64
	}{
		{"/cpu/classes/gc/total:cpu-seconds", &s.GC},
		{"/cpu/classes/gc/mark/assist:cpu-seconds", &s.Assist},
		{"/cpu/classes/gc/mark/dedicated:cpu-seconds", &s.Dedicated},
		{"/cpu/classes/gc/mark/idle:cpu-seconds", &s.Idle},
		{"/cpu/classes/gc/pause:cpu-seconds", &s.GCPause},
		{"/cpu/classes/total:cpu-seconds", &s.Total},
		{"/cpu/classes/user:cpu-seconds", &s.User},
	}
	samples := make([]metrics.Sample, 0, len(counts)+len(seconds)+2)
	for _, c := range counts {
		samples = append(samples, metrics.Sample{Name: c.name})
	}
	for _, c := range seconds {
		samples = append(samples, metrics.Sample{Name: c.name})
	}
	samples = append(samples, metrics.Sample{Name: "/sched/pauses/total/gc:seconds"}, metrics.Sample{Name: "/sched/pauses/stopping/gc:seconds"})
	metrics.Read(samples)
	for i, c := range counts {
		*c.to = samples[i].Value.Uint64()
	}
	for i, c := range seconds {
		*c.to = samples[len(counts)+i].Value.Float64()
	}
	s.Pauses = samples[len(samples)-2].Value.Float64Histogram()
	s.Stopping = samples[len(samples)-1].Value.Float64Histogram()
	s.Percent = int64(percent) // off is -1, as unsigned
	s.MappedBytes -= released
	s.AllocObjects += tiny
	s.FreedObjects += tiny
	return s
}

// GCShare is the collector's part of the processors' time, as runtime.MemStats.GCCPUFraction has it.
func (s *Stats) GCShare() float64 {
	if s.Total <= 0 {
		return 0
	}
	return s.GC / s.Total
}

// MarkSeconds is the CPU time of marking alone.
func (s *Stats) MarkSeconds() float64 {
	return s.Assist + s.Dedicated + s.Idle
}

// Count is how many values a histogram has.
func Count(h *metrics.Float64Histogram) uint64 {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	return total
}

// Since is what came into a histogram after an earlier reading of it.
func Since(h, before *metrics.Float64Histogram) *metrics.Float64Histogram {
	d := &metrics.Float64Histogram{Counts: make([]uint64, len(h.Counts)), Buckets: h.Buckets}
	for i := range d.Counts {
		d.Counts[i] = h.Counts[i] - before.Counts[i]
	}
	return d
}

// Edges are a bucket's; the open ones at either end are as wide as nothing.
func Edges(h *metrics.Float64Histogram, i int) (lower, upper float64) {
	lower, upper = h.Buckets[i], h.Buckets[i+1]
	if math.IsInf(lower, -1) {
		lower = 0
	}
	if math.IsInf(upper, 1) {
		upper = lower
	}
	return lower, upper
}

// Quantile is the value at or below which a part q of the values is, in proportion within its bucket: the runtime's are up
// to a quarter wide, and their upper edge alone would say too much. 0 where there is no value.
func Quantile(h *metrics.Float64Histogram, q float64) float64 {
	want, below := q*float64(Count(h)), 0.0
	last := 0.0
	for i, n := range h.Counts {
		if n == 0 {
			continue
		}
		lower, upper := Edges(h, i)
		if last = upper; below+float64(n) >= want {
			return lower + (upper-lower)*max(0, want-below)/float64(n)
		}
		below += float64(n)
	}
	return last
}

// Max is the upper edge of the last bucket that has a value.
func Max(h *metrics.Float64Histogram) float64 {
	most := 0.0
	for i, n := range h.Counts {
		if n > 0 {
			_, most = Edges(h, i)
		}
	}
	return most
}

// CPUSeconds is the process's user and system time.
func CPUSeconds() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// CPUTime is the same by the kernel's clock of it, in nanoseconds: the collector's beside the program too, and nobody else's. `tare lab`'s
// probes go by the same clock.
func CPUTime() time.Duration {
	const processClock = 2 // CLOCK_PROCESS_CPUTIME_ID
	var used syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, processClock, uintptr(unsafe.Pointer(&used)), 0) // there is no process without it
	return time.Duration(used.Nano())
}

// ResidentBytes is the process's resident memory, its files' pages included; anonymous is without them. 0: not known.
func ResidentBytes() (all, anonymous uint64) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0
	}
	var size, resident, shared uint64
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared); err != nil {
		return 0, 0
	}
	page := uint64(os.Getpagesize())
	return resident * page, (resident - min(shared, resident)) * page
}

// LimiterCycle is the last cycle in which the runtime kept the collector from taking more than half of the CPU time; 0: none.
func LimiterCycle() uint64 {
	samples := []metrics.Sample{{Name: "/gc/limiter/last-enabled:gc-cycle"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}

// MarkWatch knows what marking took in the last cycle. The runtime tells only of all cycles together, so an object that nobody keeps
// is made after each: its cleanup runs when the next has ended. Cycles that follow one another at once may count as one.
type MarkWatch struct {
	last    atomic.Uint64 // of math.Float64bits, seconds
	samples [3]metrics.Sample
	before  float64
}

// NewMarkWatch begins with the next cycle.
func NewMarkWatch() *MarkWatch {
	w := new(MarkWatch)
	for i, class := range []string{"assist", "dedicated", "idle"} {
		w.samples[i].Name = "/cpu/classes/gc/mark/" + class + ":cpu-seconds"
	}
	w.before = w.all()
	w.arm()
	return w
}

// Last is the CPU time of marking in the last cycle, in seconds.
func (w *MarkWatch) Last() float64 {
	return math.Float64frombits(w.last.Load())
}

func (w *MarkWatch) all() float64 {
	metrics.Read(w.samples[:])
	sum := 0.0
	for _, sample := range w.samples {
		sum += sample.Value.Float64()
	}
	return sum
}

// arm is called by one goroutine at a time: a cleanup's, which arms the next.
func (w *MarkWatch) arm() {
	runtime.AddCleanup(new([64]byte), func(w *MarkWatch) {
		all := w.all()
		w.last.Store(math.Float64bits(all - w.before))
		w.before = all
		w.arm()
	}, w)
}
