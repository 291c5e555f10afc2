// SPDX-License-Identifier: MIT

// What operators read: /healthz, /debug/allocs, /debug/recent, /metrics, /debug/pprof/*.
//
// Numbers are read while requests run. Reading them stops nothing: they are from runtime/metrics.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"unsafe"

	"peers/rtstats"
)

func (s *service) adminMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		a := newAnswer()
		s.health(a)
		a.send(w)
	})
	mux.HandleFunc("PUT /record", s.serveUpdate)
	mux.HandleFunc("GET /debug/allocs", s.serveAllocs)
	mux.HandleFunc("GET /debug/recent", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = kindText.header
		_, _ = io.WriteString(w, s.counters.recent())
	})
	mux.HandleFunc("GET /metrics", s.serveMetrics)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a := newAnswer()
		a.problem(http.StatusNotFound, "no such path: %s", r.URL.Path[:min(len(r.URL.Path), 200)])
		a.send(w)
	})
	return mux
}

func (a *answer) send(w http.ResponseWriter) {
	if a.kind != nil {
		w.Header()["Content-Type"] = a.kind.header
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.buf) // a client that has gone is net/http's matter
}

// ---- /debug/allocs

// The names of `tare svc`'s, where Go has the thing. Counters are since the process began; sizes are bytes.
type allocs struct {
	Path          string  `json:"path"`
	LiveHeap      uint64  `json:"live_heap"` // objects, reachable or not yet swept
	TotalAlloc    uint64  `json:"total_alloc"`
	GCCycles      uint64  `json:"gc_cycles"`
	GCCPUFraction float64 `json:"gc_cpu_fraction"` // of GOMAXPROCS processors' time
	PauseP99      float64 `json:"pause_p99_ms"`
	NextGC        uint64  `json:"next_gc"`
	Collector     string  `json:"collector"`
	HeapAllocs    uint64  `json:"heap_allocs"` // objects
	HeapFrees     uint64  `json:"heap_frees"`
	PausesMax     float64 `json:"pauses_max_ms"`
	GCCPUSeconds  float64 `json:"gc_cpu_seconds"`
	CPUSeconds    float64 `json:"cpu_seconds"` // the process's, user and system
	RSS           uint64  `json:"rss_bytes"`
	RSSAnonymous  uint64  `json:"rss_anonymous_bytes"`
	Requests      uint64  `json:"requests"`

	GC struct {
		HeapBytes   uint64  `json:"heap_bytes"`
		MarkedBytes uint64  `json:"marked_bytes"`
		MappedBytes uint64  `json:"mapped_bytes"`
		IdleBytes   uint64  `json:"idle_bytes"` // of those, whole free spans
		BytesMade   uint64  `json:"bytes_made"`
		ObjectsMade uint64  `json:"objects_made"`
		Objects     uint64  `json:"objects"`
		Background  float64 `json:"background_seconds"`
		Assist      float64 `json:"assist_seconds"`
		Idle        float64 `json:"idle_seconds"`
		Pause       float64 `json:"pause_seconds"`
		LastMark    float64 `json:"last_mark_seconds"` // CPU time
		PauseMax    float64 `json:"pause_max_ms"`
		WaitP99     float64 `json:"wait_p99_ms"` // until all processors had stopped for a pause, which begins with that
		Percent     int64   `json:"percent"`     // GOGC in force; -1: off
		LimitBytes  *uint64 `json:"limit_bytes"` // GOMEMLIMIT in force; null: none
	} `json:"gc"`
	Pauses struct {
		Count   uint64  `json:"count"`
		Buckets buckets `json:"buckets"`
		Waits   buckets `json:"waits"`
	} `json:"pauses"`
	Durations struct { // of requests
		P50  float64 `json:"p50_us"`
		P99  float64 `json:"p99_us"`
		P999 float64 `json:"p999_us"`
	} `json:"request"`
	Lookups struct {
		Hits    uint64 `json:"hits"`
		Misses  uint64 `json:"misses"`
		Refused uint64 `json:"refused"`
	} `json:"lookups"`
	Updates struct {
		Done    uint64 `json:"done"`
		Refused uint64 `json:"refused"`
	} `json:"updates"`
	Index struct {
		Records uint64 `json:"records"`
		Bytes   uint64 `json:"bytes"`
		Mapped  bool   `json:"mapped"`
		Struct  struct {
			Rec    uint64 `json:"rec_bytes"`
			Packed uint64 `json:"packed_bytes"`
		} `json:"record_struct"`
	} `json:"index"`
	Layout struct {
		Name string `json:"name"`
		Heap string `json:"heap"`
	} `json:"layout"`
	Workers int               `json:"workers"`
	Go      string            `json:"go"`
	Build   map[string]string `json:"build"` // as `go version -m` tells it: GOAMD64, -pgo, …
	Knobs   map[string]any    `json:"knobs"`
}

// buckets of a histogram are [lower edge in seconds, upper edge, count], those that have any: so that a window's quantile can be had of
// two readings.
type buckets [][3]float64

func bucketsOf(h *metrics.Float64Histogram) buckets {
	all := buckets{}
	for i, n := range h.Counts {
		if n > 0 {
			lower, upper := rtstats.Edges(h, i)
			all = append(all, [3]float64{lower, upper, float64(n)})
		}
	}
	return all
}

var buildSettings = func() map[string]string {
	settings := map[string]string{}
	if info, known := debug.ReadBuildInfo(); known {
		for _, setting := range info.Settings {
			settings[setting.Key] = setting.Value
		}
	}
	return settings
}()

func (s *service) allocs() *allocs {
	r, t := rtstats.Read(), s.counters.read()
	a := &allocs{
		Path:          s.options.path,
		LiveHeap:      r.HeapBytes,
		TotalAlloc:    r.AllocBytes,
		GCCycles:      r.Cycles,
		GCCPUFraction: r.GCShare(),
		PauseP99:      rtstats.Quantile(r.Pauses, 0.99) * 1e3,
		NextGC:        r.GoalBytes,
		Collector:     "go",
		HeapAllocs:    r.AllocObjects,
		HeapFrees:     r.FreedObjects,
		PausesMax:     rtstats.Max(r.Pauses) * 1e3,
		GCCPUSeconds:  r.GC,
		CPUSeconds:    rtstats.CPUSeconds(),
		Requests:      t.requests,
		Workers:       runtime.GOMAXPROCS(0),
		Go:            runtime.Version(),
		Build:         buildSettings,
		Knobs:         s.options.knobs(),
	}
	a.RSS, a.RSSAnonymous = rtstats.ResidentBytes()
	a.GC.HeapBytes, a.GC.MarkedBytes, a.GC.MappedBytes = r.HeapBytes, r.MarkedBytes, r.MappedBytes
	a.GC.IdleBytes = r.IdleBytes
	a.GC.BytesMade, a.GC.ObjectsMade, a.GC.Objects = r.AllocBytes, r.AllocObjects, r.Objects
	a.GC.Background, a.GC.Assist, a.GC.Idle, a.GC.Pause = r.Dedicated, r.Assist, r.Idle, r.GCPause
	a.GC.LastMark, a.GC.PauseMax = s.marks.Last(), a.PausesMax
	a.GC.Percent = r.Percent
	if r.LimitBytes < math.MaxInt64 {
		a.GC.LimitBytes = &r.LimitBytes
	}
	a.Pauses.Count, a.Pauses.Buckets = rtstats.Count(r.Pauses), bucketsOf(r.Pauses)
	a.GC.WaitP99, a.Pauses.Waits = rtstats.Quantile(r.Stopping, 0.99)*1e3, bucketsOf(r.Stopping)
	a.Durations.P50, a.Durations.P99, a.Durations.P999 = t.quantile(0.5)*1e6, t.quantile(0.99)*1e6, t.quantile(0.999)*1e6
	a.Lookups.Hits, a.Lookups.Misses, a.Lookups.Refused = t.hits, t.misses, t.refused
	a.Updates.Done, a.Updates.Refused = s.updatesDone.Load(), s.updatesRefused.Load()
	a.Index.Records, a.Index.Bytes, a.Index.Mapped = uint64(s.index.count), s.index.bytes, s.index.layout == "offheap"
	a.Index.Struct.Rec, a.Index.Struct.Packed = uint64(unsafe.Sizeof(Rec{})), uint64(packedBytes)
	a.Layout.Name, a.Layout.Heap = s.index.layout, "go"
	return a
}

func (s *service) serveAllocs(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = kindJSON.header
	_ = json.NewEncoder(w).Encode(s.allocs()) // a client that has gone is net/http's matter
}

// ---- /metrics

// The bounds of `tare svc`'s histogram of requests, seconds.
var durationBounds = func() (bounds []float64) {
	for exponent := -6; exponent < 1; exponent++ {
		for _, step := range []float64{1, 2, 5} {
			bounds = append(bounds, step*math.Pow10(exponent))
		}
	}
	return append(bounds, 10)
}()

// The runtime's, under the names that Prometheus's Go client gives them.
var runtimeMetrics = []string{
	"/cpu/classes/gc/mark/assist:cpu-seconds",
	"/cpu/classes/gc/mark/dedicated:cpu-seconds",
	"/cpu/classes/gc/mark/idle:cpu-seconds",
	"/cpu/classes/gc/pause:cpu-seconds",
	"/cpu/classes/gc/total:cpu-seconds",
	"/cpu/classes/idle:cpu-seconds",
	"/cpu/classes/total:cpu-seconds",
	"/cpu/classes/user:cpu-seconds",
	"/gc/cycles/total:gc-cycles",
	"/gc/heap/allocs:bytes",
	"/gc/heap/allocs:objects",
	"/gc/heap/frees:bytes",
	"/gc/heap/goal:bytes",
	"/gc/heap/live:bytes",
	"/gc/heap/objects:objects",
	"/gc/limiter/last-enabled:gc-cycle",
	"/memory/classes/heap/objects:bytes",
	"/memory/classes/heap/released:bytes",
	"/memory/classes/total:bytes",
	"/sched/gomaxprocs:threads",
	"/sched/goroutines:goroutines",
	"/sched/latencies:seconds",
	"/sched/pauses/stopping/gc:seconds",
	"/sched/pauses/total/gc:seconds",
}

var metricDescriptions = func() map[string]metrics.Description {
	all := map[string]metrics.Description{}
	for _, d := range metrics.All() {
		all[d.Name] = d
	}
	return all
}()

// exposition is Prometheus's text format.
type exposition struct {
	strings.Builder
}

func (e *exposition) head(name, kind, help string) {
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, strings.ReplaceAll(help, "\n", " "), name, kind)
}

func (e *exposition) row(name, labels string, value float64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(e, "%s%s %s\n", name, labels, strconv.FormatFloat(value, 'g', -1, 64))
}

func (e *exposition) one(name, kind, help string, value float64) {
	e.head(name, kind, help)
	e.row(name, "", value)
}

func (s *service) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	e := new(exposition)
	t := s.counters.read()
	e.requests(t)
	e.head("tare_lookups_total", "counter", "Lookups by result.")
	e.row("tare_lookups_total", `result="hit"`, float64(t.hits))
	e.row("tare_lookups_total", `result="miss"`, float64(t.misses))
	e.row("tare_lookups_total", `result="refused"`, float64(t.refused))
	e.head("tare_updates_total", "counter", "Records put, by result.")
	e.row("tare_updates_total", `result="done"`, float64(s.updatesDone.Load()))
	e.row("tare_updates_total", `result="refused"`, float64(s.updatesRefused.Load()))
	e.one("tare_index_records", "gauge", "Records served.", float64(s.index.count))
	e.one("tare_index_bytes", "gauge", "Bytes of the snapshot.", float64(s.index.bytes))
	e.one("tare_index_load_seconds", "gauge", "Time to load and check it.", s.index.loadTime.Seconds())
	all, _ := rtstats.ResidentBytes()
	e.one("process_resident_memory_bytes", "gauge", "Resident memory.", float64(all))
	e.one("process_cpu_seconds_total", "counter", "User and system time.", rtstats.CPUSeconds())
	e.head("go_info", "gauge", "The Go that built it, and the knobs.")
	e.row("go_info", fmt.Sprintf("version=%q,server=%q,path=%q,naive_fix=%q,layout=%q,pool=%q,intern=%q,gogc=%q,gomemlimit=%q",
		runtime.Version(), s.options.server, s.options.path, s.options.fixes.String(), s.options.layout, s.options.pool,
		s.options.intern, s.options.gogc, s.options.gomemlimit), 1)
	stats := rtstats.Read()
	e.one("go_gc_cpu_fraction", "gauge", "The collector's part of the processors' time since the start.", stats.GCShare())
	e.runtime()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = io.WriteString(w, e.String())
}

func (e *exposition) requests(t *totals) {
	const server = `server="public"`
	e.head("http_requests_total", "counter", "Requests answered, by the first digit of their status.")
	for class := 2; class <= 5; class++ {
		e.row("http_requests_total", fmt.Sprintf(`%s,code="%dxx"`, server, class), float64(t.classes[class]))
	}
	const name = "http_request_duration_seconds"
	e.head(name, "histogram", "With net/http: from the handler's start to its end; raw: from the read to the end of the write.")
	for _, bound := range durationBounds {
		le := strconv.FormatFloat(bound, 'g', 6, 64)
		e.row(name+"_bucket", fmt.Sprintf(`%s,le="%s"`, server, le), float64(t.atMost(bound)))
	}
	e.row(name+"_bucket", server+`,le="+Inf"`, float64(t.requests))
	e.row(name+"_sum", server, t.seconds)
	e.row(name+"_count", server, float64(t.requests))
	e.head("http_request_duration_quantile_seconds", "gauge", "Of all requests since the start, to 3 %.")
	for _, q := range []float64{0.5, 0.99, 0.999} {
		e.row("http_request_duration_quantile_seconds", fmt.Sprintf(`%s,quantile="%g"`, server, q), t.quantile(q))
	}
}

func (e *exposition) runtime() {
	samples := make([]metrics.Sample, len(runtimeMetrics))
	for i, name := range runtimeMetrics {
		samples[i].Name = name
	}
	metrics.Read(samples)
	for _, sample := range samples {
		d := metricDescriptions[sample.Name]
		// /gc/heap/allocs:bytes is go_gc_heap_allocs_bytes_total
		name := "go_" + strings.NewReplacer("/", "_", ":", "_", "-", "_").Replace(sample.Name[1:])
		kind := "gauge"
		if d.Cumulative && sample.Value.Kind() != metrics.KindFloat64Histogram {
			name, kind = name+"_total", "counter"
		}
		help, _, _ := strings.Cut(d.Description, ". ")
		switch sample.Value.Kind() {
		case metrics.KindUint64:
			e.one(name, kind, help, float64(sample.Value.Uint64()))
		case metrics.KindFloat64:
			e.one(name, kind, help, sample.Value.Float64())
		case metrics.KindFloat64Histogram:
			e.histogram(name, help, sample.Value.Float64Histogram())
		case metrics.KindBad: // this Go has no such metric
		}
	}
}

// histogram has a row a doubling, always the same ones; the runtime's own buckets are more than a reader of them wants. The
// runtime keeps no sum of the values: that of the buckets' middles stands for it.
func (e *exposition) histogram(name, help string, h *metrics.Float64Histogram) {
	const least, most = 100e-9, 10
	e.head(name, "histogram", help)
	below, sum, last := uint64(0), 0.0, least/2
	for i, n := range h.Counts {
		lower, upper := rtstats.Edges(h, i)
		below += n
		sum += float64(n) * (lower + upper) / 2
		if upper >= 2*last && upper <= most {
			e.row(name+"_bucket", `le="`+strconv.FormatFloat(upper, 'g', -1, 64)+`"`, float64(below))
			last = upper
		}
	}
	e.row(name+"_bucket", `le="+Inf"`, float64(below))
	e.row(name+"_sum", "", sum)
	e.row(name+"_count", "", float64(below))
}
