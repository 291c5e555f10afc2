// SPDX-License-Identifier: MIT

// net42 answers "42" through net/http: what a Go programmer writes first. GOMAXPROCS is the runtime's own, so it
// follows the CPU affinity it was started with.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address and port; port 0 picks one")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatalf("net42: %v", err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	body := []byte("42")
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(body)
	})))
}
