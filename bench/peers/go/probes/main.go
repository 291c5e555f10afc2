// SPDX-License-Identifier: MIT

// probes has the twins of `tare lab --probe`: experiments that need no service, each in a process of its own.
//
//	probes NAME [KEY=VALUE]...     prints {"probe":…,"figures":{…},"series":{…},"texts":{…}}
//	probes help                    lists them
//
// Names, keys and figures are those of the C probes, as far as Go has the thing; a figure's name ends with its unit.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"peers/rtstats"
)

// key is what a probe's work is made of; quick is its value with quick=1, for tests.
type key struct {
	name, help   string
	value, quick uint64
}

type probe struct {
	name, about string
	keys        []key
	run         func(p *result) error
}

var probes = []probe{
	{"boxing", "strings and bytes, boxed values against typed ones: ns, allocations and bytes an operation",
		[]key{{"milliseconds", "a repetition, of six and more", 50, 1}}, runBoxing},
	{"container", "a heap in a cgroup with a memory limit, with GOMEMLIMIT set from it and without",
		[]key{{"live", "heap; the limit is half as much again and 16M", 64 << 20, 32 << 20}, {"milliseconds", "that each process lives", 3000, 300}}, runContainer},
	{"generations", "garbage that dies young beside a growing live heap, and the same from a pool",
		[]key{{"live", "the most; from 2M on, four times as much each time", 128 << 20, 8 << 20},
			{"headroom", "that the heap may grow past what is live", 16 << 20, 2 << 20},
			{"objects", "of garbage, 64 bytes each", 10_000_000, 100_000}, {"workers", "threads", 2, 2}}, runGenerations},
	{"layouts", "records as a map of objects, slices, or off the heap: what collecting takes",
		[]key{{"size", "of the records", 256 << 20, 4 << 20}, {"records", "how many; 0: as many as the size has", 0, 0}, {"workers", "threads", 2, 2}}, runLayouts},
	{"limit-spiral", "a memory limit at 200, 110, 105 and 101 % of what is live",
		[]key{{"live", "heap", 32 << 20, 2 << 20}, {"settle", "milliseconds at each limit before it is measured", 1500, 10},
			{"milliseconds", "that are measured", 800, 50}, {"workers", "threads; one goroutine makes garbage", 1, 1}}, runLimitSpiral},
	{"pacer", "the next collection's trigger and CPU time, reckoned from the last ones' lines",
		[]key{{"live", "heap at the start", 64 << 20, 8 << 20}, {"cycles", "to predict", 20, 6}, {"keep", "one object in so many stays", 64, 64},
			{"gogc", "percent", 100, 100}, {"workers", "threads", 2, 2}, {"child", "1: does the work", 0, 0}}, runPacer},
	{"packing", "a struct's fields reordered, and offsets for pointers: size, heap and marking",
		[]key{{"records", "of each struct", 1_000_000, 20_000}, {"workers", "threads", 2, 2}}, runPacking},
	{"pool-footguns", "mistakes with a sync.Pool: what they corrupt", nil, runFootguns},
	{"pool-sizes", "objects for a moment, from the heap and from a sync.Pool, by size",
		[]key{{"milliseconds", "a repetition, of six and more", 10, 1}, {"largest", "object; sizes begin at 16 bytes and double", 1 << 20, 4096},
			{"live", "beside which objects are collected in the second series", 64 << 20, 4 << 20}}, runPoolSizes},
	{"regions", "a request's parts from a region that a pool keeps, and from the heap",
		[]key{{"live", "of the heap", 64 << 20, 2 << 20}, {"requests", "of each kind", 200_000, 5000}, {"parts", "a request", 20, 20},
			{"workers", "threads", 2, 2}}, runRegions},
	{"release", "memory after a spike, by how it is given back",
		[]key{{"spike", "bytes", 256 << 20, 16 << 20}, {"milliseconds", "to watch the scavenger", 3000, 100}, {"child", "1: does the work", 0, 0}}, runRelease},
}

// result is what a probe prints, and what it was asked for.
type result struct {
	Probe   string                  `json:"probe"`
	Figures map[string]float64      `json:"figures"`
	Series  map[string][][2]float64 `json:"series"`
	Texts   map[string]string       `json:"texts"`
	args    map[string]uint64
	quick   bool
}

func (r *result) figure(value float64, format string, args ...any) {
	r.Figures[fmt.Sprintf(format, args...)] = value
}

func (r *result) point(series string, x, y float64) {
	r.Series[series] = append(r.Series[series], [2]float64{x, y})
}

func (r *result) text(name, format string, args ...any) {
	r.Texts[name] = fmt.Sprintf(format, args...)
}

func main() {
	err := errors.New("give a probe's name; 'probes help' lists them")
	if len(os.Args) > 1 {
		err = run(os.Args[1], os.Args[2:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "probes: %v\n", err)
		os.Exit(1)
	}
}

func run(name string, texts []string) error {
	if name == "help" {
		help()
		return nil
	}
	i := slices.IndexFunc(probes, func(p probe) bool { return p.name == name })
	if i < 0 {
		return fmt.Errorf("there is no '%s'; 'probes help' lists them", name)
	}
	r := &result{Probe: name, Figures: map[string]float64{}, Series: map[string][][2]float64{}, Texts: map[string]string{}}
	if err := r.readArgs(probes[i].keys, texts); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.text("build", "%s", runtime.Version())
	if workers := r.args["workers"]; workers > 0 {
		runtime.GOMAXPROCS(int(workers))
	}
	if err := probes[i].run(r); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if r.args["child"] != 0 || os.Getenv(containedEnv) != "" {
		return nil // its output was the trace, or its own
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func help() {
	fmt.Println("usage: probes NAME [KEY=VALUE]...\n\nEach takes quick=1 too: little work, to see that it runs.")
	for _, p := range probes {
		fmt.Printf("\n  %-14s %s\n", p.name, p.about)
		for _, k := range p.keys {
			fmt.Printf("    %s=%d  %s\n", k.name, k.value, k.help)
		}
	}
}

func (r *result) readArgs(keys []key, texts []string) error {
	r.args = map[string]uint64{}
	r.quick = slices.Contains(texts, "quick=1")
	for _, k := range keys {
		r.args[k.name] = k.value
		if r.quick {
			r.args[k.name] = k.quick
		}
	}
	for _, text := range texts {
		name, value, found := strings.Cut(text, "=")
		if text == "quick=0" || text == "quick=1" {
			continue
		}
		if _, known := r.args[name]; !found || !known {
			return fmt.Errorf("'%s' is unknown; give KEY=VALUE as 'probes help' lists them", text)
		}
		number, err := parseSize(value)
		if err != nil {
			return fmt.Errorf("%s=%s is not allowed; give a number, or a size such as 32M", name, value)
		}
		r.args[name] = number
	}
	return nil
}

func parseSize(text string) (uint64, error) {
	shift := 0
	if text != "" {
		if i := strings.IndexByte("KMGT", text[len(text)-1]); i >= 0 {
			text, shift = text[:len(text)-1], 10*(i+1)
		}
	}
	number, err := strconv.ParseUint(text, 10, 62-shift)
	return number << shift, err
}

// ---- measuring

const (
	repetitions = 5
	collections = 5
)

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return 0
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}

// timeOf is the nanoseconds of one of work's n, of the process's CPU time: the median of repetitions of about so long.
func timeOf(milliseconds uint64, work func(n int)) float64 {
	n := 16
	for ; ; n *= 2 {
		began := rtstats.CPUTime()
		work(n)
		if rtstats.CPUTime()-began >= time.Duration(milliseconds)*time.Millisecond {
			break
		}
	}
	each := make([]float64, repetitions)
	for i := range each {
		began := rtstats.CPUTime()
		work(n)
		each[i] = float64(rtstats.CPUTime()-began) / float64(n)
	}
	return median(each)
}

// marking is what whole collections take: the CPU time of marking, and the wall's. Medians, milliseconds.
func marking() (markMS, wallMS float64) {
	runtime.GC() // sweeps what the last one left
	mark, wall := make([]float64, collections), make([]float64, collections)
	for i := range mark {
		before, began := rtstats.Read(), time.Now()
		runtime.GC()
		wall[i] = time.Since(began).Seconds() * 1e3
		after := rtstats.Read()
		mark[i] = (after.MarkSeconds() - before.MarkSeconds()) * 1e3
	}
	return median(mark), median(wall)
}

// oneProcessor is for what the C probe does on one worker: the collector's part is then the same thread's, and no idle processor marks.
func oneProcessor() {
	runtime.GOMAXPROCS(1)
}

// What is stored here is on the heap.
var (
	sinkBytes  []byte
	sinkString string
	sinkNumber uint64
	sinkValues [10]any
)
