// SPDX-License-Identifier: MIT

// Package access has the access line of `tare svc`'s naive path (src/cmd/svc/access.c), for the service and the probes: the format
// that everyday code gives fmt.Sprintf, and the same line put together without it.
package access

import "strconv"

// Format takes what Append does: seconds and microseconds, the key, "json" or "bin", the status, and how many bytes were answered.
const Format = "%d.%06d GET /lookup key=%d fmt=%s %d %d"

// Append appends a line. There are fewer than a million microseconds.
func Append(line []byte, seconds, micros int64, key uint64, format string, status, size int) []byte {
	line = strconv.AppendInt(line, seconds, 10)
	line = append(line, ".000000"...)
	for at := len(line) - 1; micros > 0; at-- {
		line[at] += byte(micros % 10)
		micros /= 10
	}
	line = append(line, " GET /lookup key="...)
	line = strconv.AppendUint(line, key, 10)
	line = append(line, " fmt="...)
	line = append(line, format...)
	line = append(line, ' ')
	line = strconv.AppendInt(line, int64(status), 10)
	line = append(line, ' ')
	return strconv.AppendInt(line, int64(size), 10)
}
