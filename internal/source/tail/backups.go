package tail

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// behind returns the rotated files that are not fully read: the one that pos is in
// and those after it, oldest first. When pos is in none they are those changed
// after then; none for a zero time.
func (t *Tail) behind(then time.Time) ([]string, error) {
	backups, err := t.backups()
	if err != nil {
		return nil, err
	}
	for i, path := range slices.Backward(backups) {
		s, err := resume(path.name, t.pos)
		if err == nil && s != nil {
			s.close()
			return names(backups[i:]), nil
		}
	}
	if then.IsZero() {
		return nil, nil
	}
	return names(slices.DeleteFunc(backups, func(b backup) bool { return !b.at.After(then) })), nil
}

// backup is a rotated file.
type backup struct {
	name string
	at   time.Time // of its last change
}

func names(backups []backup) []string {
	var out []string
	for _, b := range backups {
		out = append(out, b.name)
	}
	return out
}

// backups returns the rotated files beside Path, oldest first.
func (t *Tail) backups() ([]backup, error) {
	dir := filepath.Dir(t.Path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for rotated files in %q: %w", dir, err)
	}
	var found []backup
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode()&fs.ModeType == 0 && rotatedName(filepath.Base(t.Path), e.Name()) {
			found = append(found, backup{filepath.Join(dir, e.Name()), info.ModTime()})
		}
	}
	slices.SortStableFunc(found, func(a, b backup) int { return a.at.Compare(b.at) })
	return found, nil
}

// rotatedName reports whether name is one that base is rotated to: audit.log.1,
// audit.log-20260101, the API server's audit-2026-01-01T00-00-00.000.log, any of
// them compressed.
func rotatedName(base, name string) bool {
	name = strings.TrimSuffix(name, ".gz")
	if rest, ok := strings.CutPrefix(name, base); ok {
		return len(rest) > 1 && (rest[0] == '.' || rest[0] == '-') && rest[1] >= '0' && rest[1] <= '9'
	}
	ext := filepath.Ext(base)
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(base, ext)+"-")
	return ok && strings.HasSuffix(rest, ext) && rest[0] >= '0' && rest[0] <= '9'
}
