// SPDX-License-Identifier: MIT

// The service behind net/http: the server that a Go program has.
//
// What is allocated a request is net/http's own, some 16 objects and 2 KiB: the Request, its URL, target and headers, a context, the
// goroutine that watches the connection, the response and its map of headers, and a clone of that map. The handler adds
// none on the opt path: header values are made once, the path and the query are read in place, and Content-Length is left to
// net/http, which has a way without an allocation while the body is small.

package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const headBytesMax = 8 << 10

// Up to this net/http counts the body itself, and sends it with the head.
const bodyCountedMax = 2048

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.takeAnswer()
	a.heard = time.Since(epoch)
	path, query := r.URL.Path, r.URL.RawQuery
	if r.RequestURI[0] == '/' { // as it was sent
		path, query, _ = strings.Cut(r.RequestURI, "?")
	}
	s.respond(a, r.Method, path, query)
	header := w.Header()
	if a.allow != "" {
		header["Allow"] = []string{a.allow}
	}
	if a.kind != nil {
		header["Content-Type"] = a.kind.header
	}
	if a.size > bodyCountedMax {
		header["Content-Length"] = []string{strconv.Itoa(a.size)}
	}
	if a.status != http.StatusOK {
		w.WriteHeader(a.status)
	}
	if a.text != "" {
		_, _ = io.WriteString(w, a.text) // a client that has gone is net/http's matter
	} else if a.kind != nil {
		_, _ = w.Write(a.buf)
	}
	a.shard.record(a.status, 1, time.Since(epoch)-a.heard)
	s.giveAnswer(a)
}

func (s *service) newNetHTTP() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.options.headTimeout,
		IdleTimeout:       s.options.idleTimeout,
		WriteTimeout:      s.options.writeTimeout,
		MaxHeaderBytes:    headBytesMax,
		ErrorLog:          log.New(os.Stderr, "svc: ", 0),
	}
}

// server is what serves lookups: http.Server, or rawServer.
type server interface {
	// Serve answers until Shutdown, and returns http.ErrServerClosed then.
	Serve(net.Listener) error
	// Shutdown waits until the connections have ended, idle ones at once.
	Shutdown(context.Context) error
}
