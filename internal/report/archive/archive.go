// Package archive is the form in which one trace leaves clew: a signed zip with the
// trace as people read it, the state that scores it again, and the records that it
// rests on.
//
//	manifest.json      what this is, the hash of every other file, the signer's key
//	signature.ed25519  of manifest.json, 64 bytes
//	trace.json         the trace as `clew replay -o json` writes one
//	trace.state        what trace.Tracer.Restore reads
//	records.jsonl      the records, secrets redacted, one a line, oldest first
package archive

import (
	"archive/zip"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/trace"
)

// Format is the version of the form that this package writes and reads.
const Format = "clew-trace/1"

// The files of an archive.
const (
	manifestFile  = "manifest.json"
	signatureFile = "signature.ed25519"
	traceFile     = "trace.json"
	stateFile     = "trace.state"
	recordsFile   = "records.jsonl"
)

// Bounds of what is read.
const (
	maxManifest = 64 << 10
	maxFile     = 256 << 20
)

// ErrForged says that an archive is not what its signer signed.
var ErrForged = errors.New("the archive was changed after it was signed")

// Manifest says what an archive holds.
type Manifest struct {
	Format      string            `json:"format"`
	Trace       trace.TraceID     `json:"trace"`
	Cluster     string            `json:"cluster"`
	Score       trace.Points      `json:"score"`
	Alert       bool              `json:"alert"`
	Clew        string            `json:"clew"` // version that wrote it
	Created     time.Time         `json:"created"`
	Files       map[string]string `json:"files"`       // name → SHA-256, hexadecimal
	PublicKey   []byte            `json:"publicKey"`   // Ed25519
	Fingerprint string            `json:"fingerprint"` // of PublicKey, see Fingerprint
}

// Archive is the content of one.
type Archive struct {
	Manifest Manifest // Files, PublicKey and Fingerprint are Write's to set
	Trace    report.Trace
	State    []byte
	Records  [][]byte // raw, without newlines
}

// Fingerprint names a public key: the SHA-256 of it in hexadecimal.
func Fingerprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}

// Write writes an archive signed with key. The same archive gives the same bytes.
func Write(w io.Writer, a *Archive, key ed25519.PrivateKey) error {
	t, err := json.MarshalIndent(&a.Trace, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the trace: %w", err)
	}
	files := map[string][]byte{traceFile: t, stateFile: a.State, recordsFile: lines(a.Records)}
	m := a.Manifest
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return errors.New("signing the archive: the key has no public half")
	}
	m.Format, m.PublicKey, m.Fingerprint, m.Files = Format, public, Fingerprint(public), map[string]string{}
	for name, content := range files {
		m.Files[name] = hashOf(content)
	}
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	files[manifestFile], files[signatureFile] = manifest, ed25519.Sign(key, manifest)
	return writeZip(w, files, m.Created)
}

func writeZip(w io.Writer, files map[string][]byte, at time.Time) error {
	z := zip.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: at})
		if err == nil {
			_, err = f.Write(files[name])
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	return nil
}

func lines(records [][]byte) []byte {
	var b bytes.Buffer
	for _, r := range records {
		b.Write(bytes.ReplaceAll(bytes.TrimSpace(r), []byte("\n"), []byte(" "))) // JSON: a newline is only space
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Is reports whether the first bytes of a file are those of an archive's container.
func Is(head []byte) bool { return bytes.HasPrefix(head, []byte("PK\x03\x04")) }

// Open reads an archive and verifies hashes and signature. Whether the key that
// signed it is one to believe, Manifest.Fingerprint tells, is the caller's to judge.
// The error wraps ErrForged when the content is not what was signed.
func Open(r io.ReaderAt, size int64) (*Archive, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	a := &Archive{}
	if err := a.verify(z); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, want := range a.Manifest.Files {
		b, err := readFile(z, name, maxFile)
		if err != nil {
			return nil, err
		}
		if hashOf(b) != want {
			return nil, fmt.Errorf("%s: %w", name, ErrForged)
		}
		files[name] = b
	}
	if err := json.Unmarshal(files[traceFile], &a.Trace); err != nil {
		return nil, fmt.Errorf("reading the trace: %w", err)
	}
	a.State = files[stateFile]
	for line := range bytes.Lines(files[recordsFile]) {
		a.Records = append(a.Records, bytes.TrimSuffix(line, []byte("\n")))
	}
	return a, a.agrees()
}

// verify reads the manifest and holds it against its signature and the names in z.
func (a *Archive) verify(z *zip.Reader) error {
	manifest, err := readFile(z, manifestFile, maxManifest)
	if err != nil {
		return err
	}
	signature, err := readFile(z, signatureFile, ed25519.SignatureSize)
	if err != nil {
		return err
	}
	m := &a.Manifest
	if err := json.Unmarshal(manifest, m); err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	if m.Format != Format {
		return fmt.Errorf("the archive is of format %q, this clew reads %q", m.Format, Format)
	}
	if len(m.PublicKey) != ed25519.PublicKeySize || Fingerprint(m.PublicKey) != m.Fingerprint || !ed25519.Verify(m.PublicKey, manifest, signature) {
		return fmt.Errorf("the signature is wrong: %w", ErrForged)
	}
	want := append(slices.Collect(maps.Keys(m.Files)), manifestFile, signatureFile)
	var got []string
	for _, f := range z.File {
		got = append(got, f.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("it holds %q, its manifest names %q: %w", got, want, ErrForged)
	}
	return nil
}

func readFile(z *zip.Reader, name string, limit int64) ([]byte, error) {
	f, err := z.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the archive has no %s: %w", name, err)
	}
	defer func() { _ = f.Close() }() // read only
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, nil
}

// Restore returns the trace as its state scores it.
func (a *Archive) Restore() (trace.Trace, error) {
	tr := trace.New(trace.Config{})
	if err := tr.Restore(bytes.NewReader(a.State)); err != nil {
		return trace.Trace{}, fmt.Errorf("restoring the trace: %w", err)
	}
	all := tr.Traces()
	if len(all) != 1 {
		return trace.Trace{}, fmt.Errorf("restoring the trace: %d traces in it, want one", len(all))
	}
	return all[0], nil
}

// agrees reports where manifest and trace contradict each other.
func (a *Archive) agrees() error {
	if t := &a.Trace; t.ID != a.Manifest.Trace || t.Score != a.Manifest.Score || t.Alert != a.Manifest.Alert {
		return fmt.Errorf("the manifest is for trace %s with score %s, trace.json is %s with %s", a.Manifest.Trace, a.Manifest.Score, t.ID, t.Score)
	}
	return nil
}

// Evidence returns the events that a trace's flags rest on, each once, and the
// times of the first and the last.
func Evidence(t *trace.Trace) (ids []event.ID, first, last int64) {
	seen := map[event.ID]bool{}
	first, last = t.First, t.Last
	for i := range t.Kinds {
		for _, e := range t.Kinds[i].Evidence {
			first, last = min(first, e.Time), max(last, e.Time)
			if !seen[e.Event] {
				seen[e.Event] = true
				ids = append(ids, e.Event)
			}
		}
	}
	return ids, first, last
}
