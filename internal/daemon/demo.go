package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

// The demonstration.
const (
	demoSource  = "demo"
	demoTakes   = 90 * time.Second // to play everything
	demoSpacing = 2 * time.Minute  // between two recordings, in their time
	demoBatch   = 20               // records sent at once
)

// stamp is a time as records hold it. Its replacement has the same length.
var stamp = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// scene is one recorded event.
type scene struct {
	at  time.Time
	raw []byte
}

// Play sends the recordings below fsys to sink, one after the other and much faster
// than they were made: all of it takes a minute and a half. Their times are moved so
// that the last event happens when it is sent.
func Play(fsys fs.FS) func(ctx context.Context, sink source.Sink, cluster string) error {
	return func(ctx context.Context, sink source.Sink, cluster string) error {
		scenes, err := readScenes(fsys)
		if err != nil || len(scenes) == 0 {
			return err
		}
		first, last := scenes[0].at, scenes[len(scenes)-1].at
		move := time.Now().Add(demoTakes).Sub(last)
		speed := float64(last.Sub(first)) / float64(demoTakes)
		began := time.Now()
		for part := range slices.Chunk(scenes, demoBatch) {
			due := began.Add(time.Duration(float64(part[len(part)-1].at.Sub(first)) / speed))
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
				return nil
			}
			b := source.Batch{Source: demoSource, Cluster: cluster, ReceivedNanos: part[len(part)-1].at.Add(move).UnixNano()}
			for _, s := range part {
				b.Records = append(b.Records, source.Record{Format: file.K8sAudit, Raw: moved(s.raw, move)})
			}
			if err := sink.Accept(ctx, b); err != nil {
				return fmt.Errorf("sending the demonstration: %w", err)
			}
		}
		return nil
	}
}

// readScenes reads all recordings and puts them one behind the other.
func readScenes(fsys fs.FS) ([]scene, error) {
	names, err := fs.Glob(fsys, "*/*/*.gz")
	if err != nil {
		return nil, fmt.Errorf("listing recordings: %w", err)
	}
	var all []scene
	var end time.Time
	for _, name := range names {
		one, err := readRecording(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("reading recording %q: %w", name, err)
		}
		if len(one) == 0 {
			continue
		}
		slices.SortStableFunc(one, func(a, b scene) int { return a.at.Compare(b.at) })
		if !end.IsZero() {
			by := end.Add(demoSpacing).Sub(one[0].at)
			for i := range one {
				one[i] = scene{one[i].at.Add(by), moved(one[i].raw, by)}
			}
		}
		end = one[len(one)-1].at
		all = append(all, one...)
	}
	return all, nil
}

func readRecording(fsys fs.FS, name string) ([]scene, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	var out []scene
	unread := source.NewMeter(name, "recording", "")
	err = source.Split(file.NewReader(name, bytes.NewReader(b)), unread, func(rec source.Record) error {
		if at := stamp.Find(after(rec.Raw, `"stageTimestamp":"`)); rec.Format == file.K8sAudit && at != nil {
			t, err := time.Parse(time.RFC3339Nano, string(at))
			if err != nil {
				return err
			}
			out = append(out, scene{t, bytes.Clone(rec.Raw)})
		}
		return nil
	})
	return out, err
}

// after returns what stands behind key.
func after(b []byte, key string) []byte {
	if i := bytes.Index(b, []byte(key)); i >= 0 {
		return b[i+len(key):]
	}
	return nil
}

// moved returns a record with each time in it moved on.
func moved(raw []byte, by time.Duration) []byte {
	return stamp.ReplaceAllFunc(raw, func(s []byte) []byte {
		t, err := time.Parse(time.RFC3339Nano, string(s))
		if err != nil { // no time after all
			return s
		}
		layout := "2006-01-02T15:04:05"
		if n := len(s) - len(layout) - 1; n > 0 {
			layout += "." + "000000000"[:n-1]
		}
		return []byte(t.Add(by).UTC().Format(layout) + "Z")
	})
}
