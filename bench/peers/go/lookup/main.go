// SPDX-License-Identifier: MIT

// lookup answers GET /lookup?key=N with a record as JSON: the work of `tare svc`, as a Go programmer writes it first.
// net/http, a map of pointers, encoding/json, a problem+json error; nothing tuned, nothing slowed down.
// The records are made in the process from -seed: the same shape and size as a snapshot's, not the same values.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"net"
	"net/http"
	"strconv"
)

// Rec is the record of the service, field for field.
type Rec struct {
	ID           uint64 `json:"id"`
	BidMicros    int64  `json:"bid_micros"`
	BudgetMicros int64  `json:"budget_micros"`
	SpendMicros  int64  `json:"spend_micros"`
	Impressions  uint64 `json:"impressions"`
	Clicks       uint64 `json:"clicks"`
	Hot          bool   `json:"hot"`
	Active       bool   `json:"active"`
	Category     string `json:"category"`
	Payload      []byte `json:"payload"`
}

type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func fail(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(problem{http.StatusText(status), status, detail})
}

// generate makes count records whose ids are first, first+1, … and whose payloads are payloadMin to payloadMax bytes.
func generate(count, first uint64, payloadMin, payloadMax int, seed int64) map[uint64]*Rec {
	rng := rand.New(rand.NewSource(seed))
	categories := make([]string, 1000)
	for i := range categories {
		categories[i] = fmt.Sprintf("category-%03d", i)
	}
	index := make(map[uint64]*Rec, count)
	for id := first; id < first+count; id++ {
		rec := &Rec{
			ID:           id,
			BidMicros:    rng.Int63n(10_000_000),
			BudgetMicros: rng.Int63n(1_000_000_000_000),
			Impressions:  uint64(rng.Int63n(100_000_000)),
			Hot:          rng.Intn(10) == 0,
			Active:       rng.Intn(10) != 0,
			Category:     categories[rng.Intn(len(categories))],
			Payload:      make([]byte, payloadMin+rng.Intn(payloadMax-payloadMin+1)),
		}
		rec.SpendMicros = rng.Int63n(rec.BudgetMicros + 1)
		rec.Clicks = rec.Impressions / uint64(20+rng.Intn(1000))
		rng.Read(rec.Payload)
		index[id] = rec
	}
	return index
}

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address and port; port 0 picks one")
	count := flag.Uint64("records", 460_352, "records to hold")
	first := flag.Uint64("first", 0, "the first record's id; the others follow it")
	payloadMin := flag.Int("payload-min", 32, "bytes of the smallest payload")
	payloadMax := flag.Int("payload-max", 95, "bytes of the largest payload")
	seed := flag.Int64("seed", 1, "what the records are made from")
	flag.Parse()
	if *payloadMin < 0 || *payloadMax < *payloadMin {
		log.Fatalf("lookup: -payload-min %d and -payload-max %d: need 0 <= min <= max", *payloadMin, *payloadMax)
	}
	index := generate(*count, *first, *payloadMin, *payloadMax, *seed)

	mux := http.NewServeMux()
	mux.HandleFunc("/lookup", func(w http.ResponseWriter, r *http.Request) {
		key, err := strconv.ParseUint(r.URL.Query().Get("key"), 10, 64)
		if err != nil {
			fail(w, http.StatusBadRequest, "key: an unsigned decimal number is needed")
			return
		}
		rec, ok := index[key]
		if !ok {
			fail(w, http.StatusNotFound, fmt.Sprintf("no record has key %d", key))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(rec)
	})
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatalf("lookup: %v", err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(http.Serve(listener, mux))
}
