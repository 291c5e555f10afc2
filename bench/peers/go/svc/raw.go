// SPDX-License-Identifier: MIT

// The service behind a loop of its own: HTTP/1.1 as far as its two paths need it, one goroutine a connection.
//
// It is what Go is without net/http, and no floor of what Go can do: the connections are package net's, on the runtime's poller. A
// read is tried first; it mostly finds nothing (EAGAIN), the goroutine waits, and reads again when epoll has told a processor of it.
// A program that asked epoll itself would save that system call and the switch, and would give up goroutines for it.
//
// Requests are parsed where they were read, answers to what is buffered (a pipeline) leave in one write, and a request allocates
// nothing. What it leaves out, as a service behind a proxy may: chunked bodies (501), TLS and HTTP/2. It is as strict
// as net/http with heads: names are tokens, values hold no control bytes, HTTP/1.1 names one host.
//
//	Serve ──accept──> serve: ──> fill: read ──> answer each whole request ──> flush: write ──> fill …
//
// Deadlines are moved only when they are off by a second: setting one costs as much as parsing a request.

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	readBytes       = 4096 // a connection's buffer, until a head is longer
	outBytesMax     = 64 << 10
	bodyBytesMax    = 64 << 10 // of a request: read and dropped; a connection with more is closed
	deadlineSlack   = time.Second
	lingerTime      = 500 * time.Millisecond
	acceptRetryWait = 10 * time.Millisecond
	drainLook       = time.Millisecond // what has arrived when the server drains is answered
)

type rawServer struct {
	service  *service
	draining atomic.Bool // stored under mu
	date     atomic.Pointer[dateLine]

	mu       sync.Mutex
	listener net.Listener
	conns    map[*rawConn]struct{}
	running  sync.WaitGroup
}

type dateLine struct {
	second int64
	text   string
}

type rawConn struct {
	server *rawServer
	conn   net.Conn
	in     []byte // in[at:end] is read and not yet answered
	at     int
	end    int
	out    []byte
	heard  time.Time // when the last read returned
	begun  time.Time // when the head that is not whole yet began; zero: there is none

	readDeadline, writeDeadline time.Time

	// Of the answers in out.
	shard   *shard
	answers [6]int
}

func newRaw(s *service) *rawServer {
	return &rawServer{service: s, conns: map[*rawConn]struct{}{}}
}

// Serve is as http.Server's.
func (r *rawServer) Serve(listener net.Listener) error {
	r.mu.Lock()
	r.listener = listener
	r.mu.Unlock()
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			if !r.begin(conn) {
				conn.Close()
				return http.ErrServerClosed
			}
		case r.draining.Load():
			return http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default: // no descriptors, or a client that has gone
			time.Sleep(acceptRetryWait)
		}
	}
}

// begin serves a connection. False: Shutdown has begun, which waits for those that began before it and no others.
func (r *rawServer) begin(conn net.Conn) bool {
	c := &rawConn{server: r, conn: conn, in: make([]byte, readBytes)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining.Load() {
		return false
	}
	r.conns[c] = struct{}{}
	r.running.Go(c.serve)
	return true
}

// Shutdown ends connections when they have nothing to answer, and waits for that.
func (r *rawServer) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	r.draining.Store(true)
	if r.listener != nil {
		r.listener.Close()
	}
	for c := range r.conns {
		_ = c.conn.SetReadDeadline(time.Now()) // wakes it; it looks at draining
	}
	r.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		r.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *rawServer) dateAt(now time.Time) string {
	second := now.Unix()
	line := r.date.Load()
	if line == nil || line.second != second {
		line = &dateLine{second, "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
		r.date.Store(line)
	}
	return line.text
}

// ---- a connection

func (c *rawConn) serve() {
	defer func() {
		c.conn.Close()
		c.server.mu.Lock()
		delete(c.server.conns, c)
		c.server.mu.Unlock()
	}()
	for c.fill() {
		c.shard = c.server.service.counters.shard()
		goOn := c.answerBuffered()
		if !c.flush() {
			return
		}
		if !goOn {
			c.linger()
			return
		}
	}
}

// answerBuffered answers each whole request that was read. False: the connection is to be closed.
func (c *rawConn) answerBuffered() bool {
	for c.at < c.end {
		var req request
		used, bad := req.parse(c.in[c.at:c.end])
		switch {
		case bad != nil:
			return c.refuse(bad)
		case used == 0 && c.end-c.at >= headBytesMax:
			return c.refuse(errHeadLong)
		case used == 0:
			if c.begun.IsZero() {
				c.begun = c.heard
			}
			return true
		}
		c.begun = time.Time{}
		c.at += used
		if req.body > bodyBytesMax {
			req.close = true
		}
		req.close = req.close || c.server.draining.Load() && c.at == c.end
		c.answer(&req)
		if req.close {
			return false
		}
		if req.body > 0 && !c.skip(req.body) || len(c.out) >= outBytesMax && !c.flush() {
			return false
		}
	}
	return true
}

func (c *rawConn) answer(req *request) {
	s := c.server.service
	a := s.takeAnswer()
	a.begun = c.heard
	s.respond(a, req.method, req.path, req.query)
	c.put(a, req)
	s.giveAnswer(a)
}

func (c *rawConn) refuse(bad *badRequest) bool {
	a := newAnswer()
	a.problem(bad.status, "%s", bad.rule)
	c.put(a, &request{close: true, minor: 1})
	return false
}

// put appends an answer to what will be written.
func (c *rawConn) put(a *answer, req *request) {
	out := c.out
	if a.status == http.StatusOK {
		out = append(out, "HTTP/1.1 200 OK\r\n"...)
	} else {
		out = append(out, "HTTP/1.1 "...)
		out = strconv.AppendInt(out, int64(a.status), 10)
		out = append(out, ' ')
		out = append(out, statusText(a.status)...)
		out = append(out, "\r\n"...)
	}
	out = append(out, c.server.dateAt(c.heard)...)
	if a.allow != "" {
		out = append(out, "Allow: "...)
		out = append(out, a.allow...)
		out = append(out, "\r\n"...)
	}
	if a.kind != nil {
		out = append(out, "Content-Type: "...)
		out = append(out, a.kind.text...)
		out = append(out, "\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(a.body)), 10)
		out = append(out, "\r\n"...)
	}
	if req.close {
		out = append(out, "Connection: close\r\n"...)
	} else if req.minor == 0 {
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	out = append(out, "\r\n"...)
	if a.kind != nil && req.method != http.MethodHead {
		out = append(out, a.body...)
	}
	c.out = out
	c.answers[a.status/100]++
}

// fill reads once. False: the connection has ended, or is to.
func (c *rawConn) fill() bool {
	if c.at > 0 {
		c.end = copy(c.in, c.in[c.at:c.end])
		c.at = 0
	}
	if c.end == len(c.in) {
		c.in = append(c.in, make([]byte, len(c.in))...)
	}
	for {
		c.setReadDeadline()
		n, err := c.conn.Read(c.in[c.end:])
		c.heard = time.Now()
		c.end += n
		switch {
		case n > 0:
			return true
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case c.readDeadline.IsZero() || c.heard.Before(c.readDeadline):
			continue // Shutdown woke it
		case c.end == 0:
			return false
		}
		c.shard = c.server.service.counters.shard()
		c.refuse(errHeadLate)
		if c.flush() {
			c.linger()
		}
		return false
	}
}

// setReadDeadline: for the rest of a head that has begun, or for the next one.
func (c *rawConn) setReadDeadline() {
	o := c.server.service.options
	now := c.heard
	if now.IsZero() {
		now = time.Now()
	}
	var want time.Time
	switch {
	case c.end > 0 && o.headTimeout > 0:
		want = c.begun.Add(o.headTimeout)
	case c.end == 0 && o.idleTimeout > 0:
		want = now.Add(o.idleTimeout)
	}
	if d := want.Sub(c.readDeadline); d < 0 || d > deadlineSlack {
		_ = c.conn.SetReadDeadline(want)
		c.readDeadline = want
	}
	// Looked at after the deadline is set: either this sees that the server drains, or Shutdown's deadline comes after ours.
	if !c.server.draining.Load() {
		return
	}
	if c.end == 0 {
		want = time.Now().Add(drainLook)
	}
	_ = c.conn.SetReadDeadline(want)
	c.readDeadline = want
}

// skip drops a request's body.
func (c *rawConn) skip(length int) bool {
	buffered := min(length, c.end-c.at)
	c.at += buffered
	if length -= buffered; length == 0 {
		return true
	}
	if !c.flush() {
		return false
	}
	n, err := io.CopyN(io.Discard, c.conn, int64(length))
	return err == nil && n == int64(length)
}

// flush writes the answers and counts them, from when their requests were read until they were written.
func (c *rawConn) flush() bool {
	if len(c.out) == 0 {
		return true
	}
	if timeout := c.server.service.options.writeTimeout; timeout > 0 {
		if want := c.heard.Add(timeout); want.Sub(c.writeDeadline) > deadlineSlack {
			_ = c.conn.SetWriteDeadline(want.Add(deadlineSlack))
			c.writeDeadline = want
		}
	}
	_, err := c.conn.Write(c.out)
	took := time.Since(c.heard)
	for class, n := range c.answers {
		if n > 0 {
			c.shard.record(class*100, n, took)
		}
	}
	c.answers = [6]int{}
	if cap(c.out) > outBytesMax {
		c.out = nil
	} else {
		c.out = c.out[:0]
	}
	return err == nil
}

// linger lets the client read the last answer: closing with unread bytes would reset the connection under it.
func (c *rawConn) linger() {
	if tcp, is := c.conn.(*net.TCPConn); is && tcp.CloseWrite() == nil {
		_ = tcp.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, tcp, bodyBytesMax)
	}
}

// ---- a head

// request is a head's parts; its texts stand in the connection's buffer.
type request struct {
	method, path, query string
	minor               int // of HTTP/1
	body                int // Content-Length
	close               bool
}

type badRequest struct {
	status int
	rule   string
}

var (
	errHeadLong    = &badRequest{431, "the request head is too long"}
	errHeadLate    = &badRequest{408, "the request head did not arrive in time"}
	errRequestLine = &badRequest{400, "the request line is not 'METHOD target HTTP/1.x'"}
	errVersion     = &badRequest{505, "the version is not HTTP/1.0 or HTTP/1.1"}
	errHeader      = &badRequest{400, "a header is not 'name: value'"}
	errHost        = &badRequest{400, "HTTP/1.1 asks for one Host header"}
	errLength      = &badRequest{400, "Content-Length is not one number"}
	errCoding      = &badRequest{501, "bodies with a transfer coding are not taken"}
)

var headEnd = []byte("\r\n\r\n")

// parse reads the head at the front of data; 0: it is not whole.
func (r *request) parse(data []byte) (used int, bad *badRequest) {
	end := bytes.Index(data, headEnd)
	if end < 0 {
		return 0, nil
	}
	if end+len(headEnd) > headBytesMax {
		return 0, errHeadLong
	}
	head := unsafe.String(&data[0], end+2) // each line with its end
	line, rest, _ := strings.Cut(head, "\r\n")
	if bad := r.parseLine(line); bad != nil {
		return 0, bad
	}
	hosts, lengths, keepAlive := 0, 0, false
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, found := strings.Cut(line, ":")
		if !found || !isToken(name) || !isPrintable(value) {
			return 0, errHeader
		}
		value = strings.Trim(value, " \t")
		switch len(name) {
		case len("Host"):
			if strings.EqualFold(name, "Host") {
				hosts++
			}
		case len("Connection"):
			if strings.EqualFold(name, "Connection") {
				r.close = r.close || hasToken(value, "close")
				keepAlive = keepAlive || hasToken(value, "keep-alive")
			}
		case len("Content-Length"):
			if strings.EqualFold(name, "Content-Length") {
				length, err := strconv.ParseUint(value, 10, 31)
				if lengths++; err != nil || lengths > 1 {
					return 0, errLength
				}
				r.body = int(length)
			}
		case len("Transfer-Encoding"):
			if strings.EqualFold(name, "Transfer-Encoding") {
				return 0, errCoding
			}
		}
	}
	if hosts > 1 || r.minor == 1 && hosts != 1 {
		return 0, errHost
	}
	r.close = r.close || r.minor == 0 && !keepAlive
	return end + len(headEnd), nil
}

func (r *request) parseLine(line string) *badRequest {
	method, rest, found := strings.Cut(line, " ")
	target, version, more := strings.Cut(rest, " ")
	if !found || !more || !isToken(method) || target == "" {
		return errRequestLine
	}
	switch version {
	case "HTTP/1.1":
		r.minor = 1
	case "HTTP/1.0":
	default:
		if strings.HasPrefix(version, "HTTP/") {
			return errVersion
		}
		return errRequestLine
	}
	for i := range len(target) {
		if target[i] <= ' ' || target[i] >= 0x7f {
			return errRequestLine
		}
	}
	if target[0] != '/' { // as proxies are asked: http://host/path
		if _, after, absolute := strings.Cut(target, "://"); absolute {
			if slash := strings.IndexByte(after, '/'); slash >= 0 {
				target = after[slash:]
			} else {
				target = "/"
			}
		}
	}
	r.method = method
	r.path, r.query, _ = strings.Cut(target, "?")
	return nil
}

// tokenBytes are those of RFC 9110's tokens.
var tokenBytes = func() (table [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		table[c] = true
	}
	return table
}()

func isToken(text string) bool {
	for i := range len(text) {
		if !tokenBytes[text[i]] {
			return false
		}
	}
	return text != ""
}

func isPrintable(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// hasToken looks in a list with commas.
func hasToken(list, token string) bool {
	for list != "" {
		var item string
		item, list, _ = strings.Cut(list, ",")
		if strings.EqualFold(strings.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}
