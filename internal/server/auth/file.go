package auth

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxFileTokens bounds a tokens file.
const maxFileTokens = 1000

// ReadFile reads a tokens file: one token a line as
//
//	role id hash name
//
// where an ingest role is written ingest:<source>, Line writes such a
// line, and the name may have spaces. Empty lines and those that begin with # are not
// read. Errors name the line and quote nothing of it.
func ReadFile(path string) ([]Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the tokens: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	var out []Record
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		r, err := parseLine(text)
		if err == nil && seen[r.ID] {
			err = fmt.Errorf("the id stands here twice")
		}
		if err == nil && len(out) == maxFileTokens {
			err = fmt.Errorf("more than %d tokens", maxFileTokens)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the tokens: %s:%d: %w", path, n, err)
		}
		seen[r.ID] = true
		out = append(out, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the tokens: %w", err)
	}
	return out, nil
}

func parseLine(text string) (Record, error) {
	f := strings.Fields(text)
	if len(f) < 4 {
		return Record{}, fmt.Errorf("a line is role, id, hash and name")
	}
	role, source, _ := strings.Cut(f[0], ":")
	r := Record{ID: f[1], Name: strings.Join(f[3:], " "), Role: Role(role), Source: source, Hash: f[2]}
	if _, _, ok := parseHash(r.Hash); !ok {
		return Record{}, fmt.Errorf("the third word is no hash as `clew token hash` prints")
	}
	if !idPattern.MatchString(r.ID) || r.Role == Setup {
		return Record{}, fmt.Errorf("no such id or role")
	}
	return r, errors.Join(reserved(r.ID), r.check())
}

// Line returns a record as a tokens file has it.
func (r *Record) Line() string {
	role := string(r.Role)
	if r.Source != "" {
		role += ":" + r.Source
	}
	return strings.Join([]string{role, r.ID, r.Hash, r.Name}, " ")
}
