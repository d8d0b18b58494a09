package file

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Stdin is the name that stands for standard input.
const Stdin = "-"

// Expand replaces each directory in args by the files below it, in lexical
// order, and keeps everything else. Hidden files and directories inside a
// directory are skipped, and so is what is neither a regular file nor a link
// to one. What cannot be read below a directory (a link to nothing, a closed
// directory) stays in the list, for its reader to report while the rest is read.
// A path of args that cannot be read is an error, and so is a directory without a
// file: nothing read is no good news.
func Expand(args []string) ([]string, error) {
	var out []string
	for _, arg := range args {
		if arg == Stdin {
			out = append(out, arg)
			continue
		}
		info, err := os.Stat(arg)
		if err != nil {
			return nil, fmt.Errorf("reading input: %w", err)
		}
		if !info.IsDir() {
			out = append(out, arg)
			continue
		}
		before := len(out)
		if out, err = appendTree(out, arg); err != nil {
			return nil, fmt.Errorf("reading directory %q: %w", arg, err)
		}
		if len(out) == before {
			return nil, fmt.Errorf("reading directory %q: there is no file in it", arg)
		}
	}
	return out, nil
}

// appendTree appends the files below root. WalkDir visits in lexical order.
func appendTree(out []string, root string) ([]string, error) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		hidden := path != root && strings.HasPrefix(filepath.Base(path), ".")
		switch {
		case err != nil && path == root:
			return err
		case err != nil: // cannot be listed, or listed on: whoever opens it reports it
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.IsDir() || hidden || irregular(path):
			return nil
		}
		out = append(out, path)
		return nil //nolint:nilerr // the walk goes on past what cannot be listed
	})
	return out, err
}

// irregular reports whether path, followed if it is a link, is there and no
// regular file.
func irregular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.Mode().IsRegular()
}
