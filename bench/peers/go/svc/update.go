// SPDX-License-Identifier: MIT

// PUT /record?key=N on the admin address: one record is replaced by the document in the body, which is the one that
// /lookup?key=N answers with.
//
// A document is whole: every field but id, which the key says already, has to be there, once, and no other. encoding/json's structs
// would take other cases of a name, a field twice and a missing one, so its tokens are looked at one by one.

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

const updateBytesMax = 1 << 20

var errNoRecord = errors.New("no record")

func (s *service) serveUpdate(w http.ResponseWriter, r *http.Request) {
	a := newAnswer()
	key, err := readUpdate(s, w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		a.finish(a.start(http.StatusNoContent, nil))
		s.updatesDone.Add(1)
	case errors.Is(err, errNoRecord):
		a.problem(http.StatusNotFound, "key %d is not in the index; its keys run from %d to %d", key, s.index.keyMin, s.index.keyMax)
	case errors.As(err, &tooLarge):
		a.problem(http.StatusRequestEntityTooLarge, "the body is larger than the limit")
	default:
		a.problem(http.StatusBadRequest, "%s", err.Error())
	}
	if err != nil {
		s.updatesRefused.Add(1)
	}
	a.send(w)
}

func readUpdate(s *service, w http.ResponseWriter, r *http.Request) (key uint64, err error) {
	text, found := strings.CutPrefix(r.URL.RawQuery, "key=")
	if !found {
		return 0, errors.New("key is missing; say PUT /record?key=N")
	}
	if strings.Contains(text, "&") {
		return 0, errors.New("there is more than a key; say PUT /record?key=N")
	}
	if key, err = parseKey(text); err != nil {
		return 0, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, updateBytesMax))
	if err != nil {
		return key, err
	}
	record, err := readDocument(key, body)
	if err != nil {
		return key, err
	}
	if !s.index.replace(record) {
		return key, errNoRecord
	}
	return key, nil
}

// Fields, in the order in which they are looked for.
var fieldNames = []string{"bid_micros", "budget_micros", "spend_micros", "impressions", "clicks", "hot", "active", "category", "payload"}

func readDocument(key uint64, body []byte) (*Rec, error) {
	if len(body) == 0 {
		return nil, errors.New("the body is empty; send the record as /lookup gives it")
	}
	if !utf8.Valid(body) {
		return nil, errors.New("the body is not JSON: it is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	notJSON := func(err error) error { return fmt.Errorf("the body is not JSON: %w", err) }
	if token, err := decoder.Token(); err != nil {
		return nil, notJSON(err)
	} else if token != json.Delim('{') {
		return nil, errors.New("the body should be a JSON object with a record's fields")
	}
	record, seen := &Rec{packed: packed{ID: key}}, map[string]bool{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		value, err := decoder.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		field, _ := name.(string) // of an object nothing else is
		if _, nested := value.(json.Delim); nested {
			return nil, errors.New("a record's fields are numbers, booleans and strings, nothing nested")
		}
		if seen[field] {
			return nil, fmt.Errorf("the body is not JSON: field '%s' is there twice", echo(field))
		}
		seen[field] = true
		if err := record.setField(field, value); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("the body is not JSON: something follows its end")
	}
	for _, name := range fieldNames {
		if !seen[name] {
			return nil, fmt.Errorf("field '%s' is missing; a record is replaced as a whole", name)
		}
	}
	return record, nil
}

func (r *Rec) setField(name string, value json.Token) (err error) {
	unsigned := func(to *uint64) error {
		number, err := wholeNumber(name, value)
		if err == nil && number < 0 {
			err = fmt.Errorf("field '%s' should not be negative", name)
		}
		if err == nil {
			*to = uint64(number)
		}
		return err
	}
	switch name {
	case "id":
		var id uint64
		if err = unsigned(&id); err == nil && id != r.ID {
			err = fmt.Errorf("field 'id' is %d, but the key is %d", id, r.ID)
		}
	case "bid_micros":
		r.BidMicros, err = wholeNumber(name, value)
	case "budget_micros":
		r.BudgetMicros, err = wholeNumber(name, value)
	case "spend_micros":
		r.SpendMicros, err = wholeNumber(name, value)
	case "impressions":
		err = unsigned(&r.Impressions)
	case "clicks":
		err = unsigned(&r.Clicks)
	case "hot":
		r.Hot, err = boolean(name, value)
	case "active":
		r.Active, err = boolean(name, value)
	case "category":
		r.category, err = text(name, "should be a string", value)
		if err == nil && (r.category == "" || len(r.category) > categoryMax || strings.ContainsFunc(r.category, isSpecial)) {
			err = fmt.Errorf("category should be 1 to %d bytes of printable ASCII, without '\"' and '\\'", categoryMax)
		}
	case "payload":
		var encoded string
		if encoded, err = text(name, "should be a string in base64", value); err != nil {
			return err
		}
		var payload []byte
		payload, err = base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil || strings.ContainsAny(encoded, "\r\n") { // which the package passes over
			err = errors.New("field 'payload' is not base64 (the standard alphabet, padded with '=')")
		}
		r.payload = viewText(payload)
	default:
		err = fmt.Errorf("field '%s' is unknown", echo(name))
	}
	return err
}

func wholeNumber(name string, value json.Token) (int64, error) {
	if number, is := value.(json.Number); is {
		if whole, err := number.Int64(); err == nil {
			return whole, nil
		}
	}
	return 0, fmt.Errorf("field '%s' should be a whole number", name)
}

func boolean(name string, value json.Token) (bool, error) {
	if is, ok := value.(bool); ok {
		return is, nil
	}
	return false, fmt.Errorf("field '%s' should be true or false", name)
}

func text(name, should string, value json.Token) (string, error) {
	if is, ok := value.(string); ok {
		return is, nil
	}
	return "", fmt.Errorf("field '%s' %s", name, should)
}
