package parquet

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

const (
	segmentsFolder = "segments/"
	damagedFolder  = "damaged/"
	// maxCluster bounds an escaped cluster name; file systems allow 255 bytes.
	maxCluster = 200
)

// segmentName is all that a segment's name says. Blobs are called
// segments/<cluster>/<the rest>; a damaged one is moved to damaged/ under the same
// name.
type segmentName struct {
	cluster          string
	first, last      uint64 // sequences of the log's messages, both included
	minTime, maxTime int64  // event times, nanoseconds since 1970 UTC, both included
	rows             int    // 0: keeps the position of a cluster whose rows are gone
	generation       int    // 0 from the log; a merge is one above its inputs
	index            int    // bytes at the end of the file that hold filters, page index and footer
	checksum         uint32 // CRC-32C of those bytes
}

func (n segmentName) String() string {
	return fmt.Sprintf("%s/s%d_%d_t%d_%d_n%d_g%d_i%d_%08x.parquet", escape(n.cluster), n.first, n.last, n.minTime, n.maxTime, n.rows, n.generation, n.index, n.checksum)
}

// parseName reads a name without its folder. ok is false for any name that
// String does not write.
func parseName(s string) (n segmentName, ok bool) {
	folder, file, found := strings.Cut(s, "/")
	file, suffix := strings.CutSuffix(file, ".parquet")
	parts := strings.Split(file, "_")
	if !found || !suffix || len(parts) != 8 || len(s) > maxCluster+200 {
		return n, false
	}
	for i, prefix := range [...]string{"s", "", "t", "", "n", "g", "i", ""} {
		var has bool
		if parts[i], has = strings.CutPrefix(parts[i], prefix); !has {
			return n, false
		}
	}
	n, ok = parseNumbers(parts)
	n.cluster = unescape(folder)
	return n, ok && n.valid() && n.String() == s
}

func parseNumbers(p []string) (n segmentName, ok bool) {
	var errs [8]error
	var sum uint64
	n.first, errs[0] = strconv.ParseUint(p[0], 10, 64)
	n.last, errs[1] = strconv.ParseUint(p[1], 10, 64)
	n.minTime, errs[2] = strconv.ParseInt(p[2], 10, 64)
	n.maxTime, errs[3] = strconv.ParseInt(p[3], 10, 64)
	n.rows, errs[4] = strconv.Atoi(p[4])
	n.generation, errs[5] = strconv.Atoi(p[5])
	n.index, errs[6] = strconv.Atoi(p[6])
	sum, errs[7] = strconv.ParseUint(p[7], 16, 32)
	n.checksum = uint32(sum)
	return n, errs == [8]error{}
}

func (n segmentName) valid() bool {
	return n.first <= n.last && n.minTime <= n.maxTime && n.rows >= 0 && n.generation >= 0 && n.index >= 12 && checkCluster(n.cluster) == nil
}

// checkCluster says whether a cluster's name can be part of a segment's.
func checkCluster(cluster string) error {
	if n := len(escape(cluster)); cluster == "" || n > maxCluster {
		return fmt.Errorf("cluster name of %d bytes: want 1 to %d once escaped", n, maxCluster)
	}
	return nil
}

// escape makes a cluster's name one path element: letters, digits, "-", and "." but
// not in front stand for themselves, other bytes are "%" and two hex digits. No
// result is "." or ".." or holds a separator.
func escape(cluster string) string {
	var b strings.Builder
	for i := range len(cluster) {
		c := cluster[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteString(hex.EncodeToString([]byte{c}))
		}
	}
	return b.String()
}

// unescape undoes escape, and gives "" for what it does not write.
func unescape(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return ""
		}
		c, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return ""
		}
		b = append(b, c...)
		i += 2
	}
	return string(b)
}
