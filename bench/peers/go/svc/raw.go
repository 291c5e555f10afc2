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
// A connection has one answer, in whose buffer the answers to a pipeline stand behind each other until they are written; a body's
// length is written before it when it is known.
// Deadlines are moved only when they are off by a second: setting one costs as much as parsing a request. Times are from epoch.

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
	draining atomic.Bool            // stored under mu
	date     atomic.Pointer[string] // the line, of this second
	ended    chan struct{}          // closed by Shutdown

	mu       sync.Mutex
	listener net.Listener
	conns    map[*rawConn]struct{}
	running  sync.WaitGroup
}

type rawConn struct {
	server *rawServer
	conn   net.Conn
	in     []byte // in[at:end] is read and not yet answered
	at     int
	end    int
	heard  time.Duration // when the last read returned
	begun  time.Duration // when the head that is not whole yet began; 0: there is none

	readDeadline, writeDeadline time.Duration // 0: none

	own      answer // of the requests in turn; its buf is what will be written
	minor    int    // of HTTP/1, of the request that is answered
	close    bool   // after that
	statuses [6]int // by their first digit, of the answers in own.buf
}

func newRaw(s *service) *rawServer {
	r := &rawServer{service: s, ended: make(chan struct{}), conns: map[*rawConn]struct{}{}}
	r.setDate(time.Now())
	return r
}

// Serve is as http.Server's.
func (r *rawServer) Serve(listener net.Listener) error {
	r.mu.Lock()
	r.listener = listener
	r.mu.Unlock()
	go r.keepDate()
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
	c.own.conn, c.own.shard = c, r.service.counters.shard()
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
	if !r.draining.Swap(true) {
		close(r.ended)
	}
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

func (r *rawServer) setDate(now time.Time) {
	line := "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"
	r.date.Store(&line)
}

// keepDate sets it as each second begins, until Shutdown.
func (r *rawServer) keepDate() {
	for {
		select {
		case <-time.After(time.Second - time.Duration(time.Now().Nanosecond())):
			r.setDate(time.Now())
		case <-r.ended:
			return
		}
	}
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
			if c.begun == 0 {
				c.begun = c.heard
			}
			return true
		}
		c.begun = 0
		c.at += used
		if req.body > bodyBytesMax {
			req.close = true
		}
		req.close = req.close || c.server.draining.Load() && c.at == c.end
		c.answer(&req)
		if req.close {
			return false
		}
		if req.body > 0 && !c.skip(req.body) || len(c.own.buf) >= outBytesMax && !c.flush() {
			return false
		}
	}
	return true
}

func (c *rawConn) answer(req *request) {
	s, a := c.server.service, &c.own
	a.heard, a.allow = c.heard, ""
	c.minor, c.close = req.minor, req.close
	if s.pooled {
		s.respond(a, req.method, req.path, req.query)
	} else {
		made := newAnswer()
		made.shard, made.heard = a.shard, a.heard
		s.respond(made, req.method, req.path, req.query)
		a.allow = made.allow
		a.finish(append(append(a.start(made.status, made.kind), made.buf...), made.text...))
	}
	if req.method == http.MethodHead {
		a.buf = a.buf[:a.at]
	}
	c.statuses[a.status/100]++
}

func (c *rawConn) refuse(bad *badRequest) bool {
	c.minor, c.close, c.own.allow = 1, true, ""
	c.own.problem(bad.status, "%s", bad.rule)
	c.statuses[bad.status/100]++
	return false
}

// appendHead appends an answer's head. The length comes last, so that putLength finds it.
func (c *rawConn) appendHead(out []byte, a *answer) []byte {
	if a.status == http.StatusOK {
		out = append(out, "HTTP/1.1 200 OK\r\n"...)
	} else {
		out = append(out, "HTTP/1.1 "...)
		out = strconv.AppendInt(out, int64(a.status), 10)
		out = append(out, ' ')
		out = append(out, statusText(a.status)...)
		out = append(out, "\r\n"...)
	}
	out = append(out, *c.server.date.Load()...)
	if a.allow != "" {
		out = append(out, "Allow: "...)
		out = append(out, a.allow...)
		out = append(out, "\r\n"...)
	}
	if c.close {
		out = append(out, "Connection: close\r\n"...)
	} else if c.minor == 0 {
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	if a.kind != nil {
		out = append(out, "Content-Type: "...)
		out = append(out, a.kind.text...)
		out = append(out, "\r\nContent-Length:"+lengthRoom+"\r\n"...)
	}
	return append(out, "\r\n"...)
}

// lengthRoom holds the digits of any length; blanks before a value mean nothing.
const lengthRoom = "           "

// putLength writes a body's length at the end of a head.
func putLength(head []byte, length int) {
	for at := len(head) - len("0\r\n\r\n"); ; at-- {
		head[at] = '0' + byte(length%10)
		if length /= 10; length == 0 {
			return
		}
	}
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
		c.heard = time.Since(epoch)
		c.end += n
		switch {
		case n > 0:
			return true
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case c.readDeadline == 0 || c.heard < c.readDeadline:
			continue // Shutdown woke it
		case c.end == 0:
			return false
		}
		c.refuse(errHeadLate)
		if c.flush() {
			c.linger()
		}
		return false
	}
}

// instant is what net.Conn's deadlines are set to.
func instant(deadline time.Duration) time.Time {
	if deadline == 0 {
		return time.Time{}
	}
	return epoch.Add(deadline)
}

// isOff says whether a deadline that was set is another than the wanted one by more than is passed over.
func isOff(set, want time.Duration) bool {
	return want < set || want > set+deadlineSlack || set == 0 && want > 0
}

// setReadDeadline: for the rest of a head that has begun, or for the next one.
func (c *rawConn) setReadDeadline() {
	o := c.server.service.options
	now := c.heard
	if now == 0 {
		now = time.Since(epoch)
	}
	want := time.Duration(0)
	switch {
	case c.end > 0 && o.headTimeout > 0:
		want = c.begun + o.headTimeout
	case c.end == 0 && o.idleTimeout > 0:
		want = now + o.idleTimeout
	}
	if isOff(c.readDeadline, want) {
		_ = c.conn.SetReadDeadline(instant(want))
		c.readDeadline = want
	}
	// Looked at after the deadline is set: either this sees that the server drains, or Shutdown's deadline comes after ours.
	if !c.server.draining.Load() {
		return
	}
	if c.end == 0 {
		want = time.Since(epoch) + drainLook
	}
	_ = c.conn.SetReadDeadline(instant(want))
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
	a := &c.own
	if len(a.buf) == 0 {
		return true
	}
	if timeout := c.server.service.options.writeTimeout; timeout > 0 {
		if want := c.heard + timeout; isOff(c.writeDeadline, want) {
			_ = c.conn.SetWriteDeadline(instant(want + deadlineSlack))
			c.writeDeadline = want
		}
	}
	_, err := c.conn.Write(a.buf)
	took := time.Since(epoch) - c.heard
	for class, n := range c.statuses {
		if n > 0 {
			a.shard.record(class*100, n, took)
		}
	}
	c.statuses = [6]int{}
	if cap(a.buf) > outBytesMax {
		a.buf = nil
	} else {
		a.buf = a.buf[:0]
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
