// SPDX-License-Identifier: MIT

// What is answered, whoever speaks HTTP: paths and methods, the query, and the opt path's documents.
//
// An answer is made in a buffer that comes from a sync.Pool and goes back when its bytes are written, or right in what a connection of
// the raw server will write; the opt path allocates nothing of its own. Bodies are those of `tare svc`, byte for byte.

package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"peers/rtstats"
)

// kind is a content type: as text, and as net/http's headers hold it, made once.
type kind struct {
	text   string
	header []string
}

func newKind(text string) *kind {
	return &kind{text, []string{text}}
}

var (
	kindJSON    = newKind("application/json")
	kindBin     = newKind("application/octet-stream")
	kindProblem = newKind("application/problem+json")
	kindText    = newKind("text/plain; charset=utf-8")
)

// epoch is what times are told from: one clock is read for that, where time.Now reads two.
var epoch = time.Now()

// answer is one request's, until it is written.
type answer struct {
	shard  *shard
	conn   *rawConn      // puts a head before the body; nil: net/http sends it
	heard  time.Duration // when the request was, from epoch
	status int
	kind   *kind  // nil: it has no body
	allow  string // of 405 and OPTIONS
	buf    []byte // the body and what stands before it
	at     int    // where in buf the body begins
	size   int    // of the body
	text   string // with net/http: the body instead of buf
}

const (
	answerBytes    = 512       // what a record mostly takes
	answerBytesMax = 64 * 1024 // a buffer that has grown further is left to the collector
)

func newAnswer() *answer {
	return &answer{buf: make([]byte, 0, answerBytes)}
}

type service struct {
	options  *options
	index    *index
	pooled   bool
	naive    bool
	answers  sync.Pool // each with a shard of its own
	counters counters
	draining atomic.Bool
	marks    *rtstats.MarkWatch

	updatesDone, updatesRefused atomic.Uint64
}

func newService(o *options, x *index) *service {
	s := &service{options: o, index: x, pooled: o.pool == "on", naive: o.path == "naive", marks: rtstats.NewMarkWatch()}
	s.answers.New = func() any {
		a := newAnswer()
		a.shard = s.counters.shard()
		return a
	}
	if o.fixes&fixLog != 0 {
		for i := range s.counters.shards {
			s.counters.shards[i].recent.prepare()
		}
	}
	return s
}

func (s *service) takeAnswer() *answer {
	if s.pooled {
		return s.answers.Get().(*answer)
	}
	a := newAnswer()
	a.shard = s.counters.anyShard()
	return a
}

// giveAnswer is called when nothing points into the answer's buffer any more.
func (s *service) giveAnswer(a *answer) {
	if s.pooled && cap(a.buf) <= answerBytesMax {
		a.buf, a.allow, a.text = a.buf[:0], "", ""
		s.answers.Put(a)
	}
}

// start says what is answered, and gives the bytes to append the body to; finish takes them back.
func (a *answer) start(status int, kind *kind) []byte {
	a.status, a.kind = status, kind
	out := a.buf
	if a.conn != nil {
		out = a.conn.appendHead(out, a)
	}
	a.at = len(out)
	return out
}

func (a *answer) finish(out []byte) {
	a.buf, a.size = out, len(out)-a.at
	if a.conn != nil && a.kind != nil {
		putLength(out[:a.at], a.size)
	}
}

// finishText is finish with a body that is a string, which net/http takes too.
func (a *answer) finishText(out []byte, text string) {
	if a.conn != nil {
		a.finish(append(out, text...))
	} else {
		a.text, a.size = text, len(text)
	}
}

// problem is RFC 9457's.
func (a *answer) problem(status int, format string, args ...any) {
	title := statusText(status)
	body := append(a.start(status, kindProblem), `{"type":"about:blank","title":"`...)
	body = append(body, title...)
	body = append(body, `","status":`...)
	body = strconv.AppendInt(body, int64(status), 10)
	body = append(body, `,"detail":"`...)
	for _, c := range fmt.Appendf(nil, format, args...) {
		switch {
		case c == '"' || c == '\\':
			body = append(body, '\\', c)
		case c < ' ':
			body = fmt.Appendf(body, `\u%04x`, c)
		default:
			body = append(body, c)
		}
	}
	a.finish(append(body, "\"}\n"...))
}

func statusText(status int) string {
	switch status {
	case 200:
		return "OK"
	case 204:
		return "No Content"
	case 400:
		return "Bad Request"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 413:
		return "Content Too Large"
	case 408:
		return "Request Timeout"
	case 431:
		return "Request Header Fields Too Large"
	case 501:
		return "Not Implemented"
	case 503:
		return "Service Unavailable"
	case 505:
		return "HTTP Version Not Supported"
	}
	return "Unknown"
}

// respond answers the public address's requests. path and query stand as the client sent them.
func (s *service) respond(a *answer, method, path, query string) {
	switch path {
	case "/lookup", "/healthz":
	default:
		a.problem(404, "no such path: %s", path[:min(len(path), 200)])
		return
	}
	switch method {
	case "GET", "HEAD":
	case "OPTIONS":
		a.allow = "GET, HEAD, OPTIONS"
		a.finish(a.start(204, nil))
		return
	default:
		a.allow = "GET, HEAD, OPTIONS"
		a.problem(405, "this path takes the methods that Allow names")
		return
	}
	if path == "/healthz" {
		s.health(a)
		return
	}
	s.lookup(a, query)
}

func (s *service) health(a *answer) {
	if s.draining.Load() {
		a.problem(503, "the service is draining; send new requests elsewhere")
		return
	}
	a.finish(append(a.start(200, kindText), "ok\n"...))
}

func (s *service) lookup(a *answer, query string) {
	q, err := parseQuery(query)
	if err != nil {
		a.shard.refused.Add(1)
		a.problem(400, "%s", err.Error())
		return
	}
	record, category, payload := s.index.find(q.key)
	if record == nil {
		a.shard.misses.Add(1)
		a.problem(404, "key %d is not in the index; its keys run from %d to %d", q.key, s.index.keyMin, s.index.keyMax)
		return
	}
	a.shard.hits.Add(1)
	if s.naive {
		s.answerNaive(a, q, record, category, payload)
		return
	}
	if q.bin {
		a.finish(appendBin(a.start(200, kindBin), record, category, payload))
	} else {
		a.finish(appendJSON(a.start(200, kindJSON), record, category, payload))
	}
}

// ---- the query

type lookupQuery struct {
	key uint64
	bin bool
}

// parseQuery reads "key=N&fmt=json|bin" in place. A parameter that is not known is refused, as `format=bin` must not be
// answered with JSON.
func parseQuery(query string) (q lookupQuery, err error) {
	var hasKey, hasFormat bool
	for query != "" {
		var name, value string
		name, query, _ = strings.Cut(query, "&")
		name, value, _ = strings.Cut(name, "=")
		seen := &hasKey
		switch name {
		case "key":
			q.key, err = parseKey(value)
		case "fmt":
			seen = &hasFormat
			q.bin, err = parseFormat(value)
		default:
			return q, fmt.Errorf("parameter '%s' is unknown; give key=N and, if you like, fmt=json or fmt=bin", echo(name))
		}
		if *seen {
			return q, fmt.Errorf("parameter '%s' is given twice; give it once", name)
		}
		if *seen = true; err != nil {
			return q, err
		}
	}
	if !hasKey {
		return q, errNoKey
	}
	return q, nil
}

var (
	errNoKey    = errors.New("key is missing; ask for /lookup?key=N")
	errEmptyKey = errors.New("key is empty; give a decimal number, as in key=42")
)

func parseKey(value string) (uint64, error) {
	if value == "" {
		return 0, errEmptyKey
	}
	key, tooLarge := uint64(0), len(value) > 20
	for i := range len(value) {
		digit := uint64(value[i] - '0')
		if digit > 9 {
			return 0, fmt.Errorf("key '%s' is not a decimal number; give digits only, as in key=42", echo(value))
		}
		tooLarge = tooLarge || key > math.MaxUint64/10 || key*10 > math.MaxUint64-digit
		key = key*10 + digit
	}
	if tooLarge {
		return 0, fmt.Errorf("key '%s' is too large; give a number of at most %d", echo(value), uint64(math.MaxUint64))
	}
	return key, nil
}

func parseFormat(value string) (bin bool, err error) {
	switch value {
	case "json":
		return false, nil
	case "bin":
		return true, nil
	}
	return false, fmt.Errorf("fmt '%s' is unknown; give fmt=json or fmt=bin", echo(value))
}

// echo is a part of what the client sent, short and printable, for an error's text.
func echo(text string) string {
	const most = 40
	shown := []byte(text[:min(len(text), most)])
	for i, c := range shown {
		if c < ' ' || c > '~' {
			shown[i] = '?'
		}
	}
	if len(text) > most {
		return string(shown) + "..."
	}
	return string(shown)
}

// ---- documents

func appendJSON(out []byte, r *packed, category, payload string) []byte {
	out = append(out, `{"id":`...)
	out = strconv.AppendUint(out, r.ID, 10)
	out = append(out, `,"bid_micros":`...)
	out = strconv.AppendInt(out, r.BidMicros, 10)
	out = append(out, `,"budget_micros":`...)
	out = strconv.AppendInt(out, r.BudgetMicros, 10)
	out = append(out, `,"spend_micros":`...)
	out = strconv.AppendInt(out, r.SpendMicros, 10)
	out = append(out, `,"impressions":`...)
	out = strconv.AppendUint(out, r.Impressions, 10)
	out = append(out, `,"clicks":`...)
	out = strconv.AppendUint(out, r.Clicks, 10)
	out = append(out, `,"hot":`...)
	out = strconv.AppendBool(out, r.Hot)
	out = append(out, `,"active":`...)
	out = strconv.AppendBool(out, r.Active)
	out = append(out, `,"category":"`...)
	out = append(out, category...) // which needs no escape
	out = append(out, `","payload":"`...)
	out = base64.StdEncoding.AppendEncode(out, viewBytes(payload))
	return append(out, `"}`...)
}

// The binary document's head; src/cmd/svc/lookup_json.c draws it.
const (
	binVersion   = 1
	binHeadBytes = 64
	binHot       = 1
	binActive    = 2
)

func binFlags(r *packed) uint16 {
	flags := uint16(0)
	if r.Hot {
		flags |= binHot
	}
	if r.Active {
		flags |= binActive
	}
	return flags
}

func appendBin(out []byte, r *packed, category, payload string) []byte {
	le := binary.LittleEndian
	out = le.AppendUint32(out, uint32(binHeadBytes+len(category)+len(payload)))
	out = le.AppendUint16(out, binVersion)
	out = le.AppendUint16(out, binFlags(r))
	out = le.AppendUint64(out, r.ID)
	out = le.AppendUint64(out, uint64(r.BidMicros))
	out = le.AppendUint64(out, uint64(r.BudgetMicros))
	out = le.AppendUint64(out, uint64(r.SpendMicros))
	out = le.AppendUint64(out, r.Impressions)
	out = le.AppendUint64(out, r.Clicks)
	out = le.AppendUint32(out, uint32(len(category)))
	out = le.AppendUint32(out, uint32(len(payload)))
	out = append(out, category...)
	return append(out, payload...)
}
