package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time, written as Go does (1h30m) or in days (90d).
type Duration time.Duration

// ParseDuration reads a Duration, which is not negative.
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 64)
		if n > math.MaxInt64/uint64(24*time.Hour) {
			err = strconv.ErrRange
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < 0 {
		return 0, errors.New("not a duration such as 30s, 12h or 90d")
	}
	return Duration(d), nil
}

// String writes whole days as such: ParseDuration reads it back.
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Bytes is a size, written as a number of bytes or with KiB, MiB, GiB or TiB.
type Bytes int64

// byteUnits from large to small, so that String takes the largest that fits.
var byteUnits = [...]struct {
	name string
	size Bytes
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// ParseBytes reads a size, which is not negative.
func ParseBytes(s string) (Bytes, error) {
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil || Bytes(n) > math.MaxInt64/u.size {
			break
		}
		return Bytes(n) * u.size, nil
	}
	return 0, errors.New("not a size such as 512MiB or 10GiB")
}

// String writes the largest unit that has no remainder.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b >= u.size && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return "0"
}

// Secret says where a secret is: file:PATH or env:NAME. The secret itself never
// stands in a Config, so that none can be printed.
type Secret string

// errInline does not quote what it found.
var errInline = errors.New("a secret does not stand here itself: write file:PATH or env:NAME")

// ParseSecret reads a reference to a secret.
func ParseSecret(s string) (Secret, error) {
	for _, scheme := range []string{"file:", "env:"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok && rest != "" {
			return Secret(s), nil
		}
	}
	return "", errInline
}

// maxSecretBytes bounds the file of a secret.
const maxSecretBytes = 64 << 10

// Read returns the secret without white space around it, "" when the reference is
// empty. An empty secret is an error.
func (s Secret) Read() (string, error) {
	if s == "" {
		return "", nil
	}
	value, err := s.read()
	if err == nil && value == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("reading secret %q: %w", string(s), err)
	}
	return value, nil
}

func (s Secret) read() (string, error) {
	if name, ok := strings.CutPrefix(string(s), "env:"); ok {
		return strings.TrimSpace(os.Getenv(name)), nil
	}
	path := strings.TrimPrefix(string(s), "file:")
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > maxSecretBytes {
		return "", fmt.Errorf("it has %d bytes, the limit is %d", info.Size(), maxSecretBytes)
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}
