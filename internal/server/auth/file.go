package auth

import (
	"bufio"
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
// where an ingest role is written ingest:<source>, the hash is what Hash returned,
// and the name may have spaces. Empty lines and those that begin with # are not
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
	if err := r.check(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// Hash returns the id and the hash of a token, as a tokens file has them.
func Hash(token string) (id, hashed string, err error) {
	id, secret, err := split(token)
	if err != nil {
		return "", "", err
	}
	return id, hash(secret), nil
}
