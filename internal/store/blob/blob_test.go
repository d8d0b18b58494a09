package blob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/store/blob"
	"github.com/clew-sec/clew/internal/store/parquet"
)

var (
	_ parquet.Blobs = (*blob.Folder)(nil)
	_ parquet.Blobs = (*blob.Bucket)(nil)
)

// bucket returns a bucket of an S3 server on loopback.
func bucket(t *testing.T) *blob.Bucket {
	t.Helper()
	srv := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(srv.Close)
	client := s3.New(s3.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(srv.URL), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("history")}); err != nil {
		t.Fatal(err)
	}
	return blob.NewBucket(client, "history", "clew/")
}

func folder(t *testing.T, dir string) *blob.Folder {
	t.Helper()
	f, err := blob.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func each(t *testing.T, f func(t *testing.T, b parquet.Blobs)) {
	t.Run("folder", func(t *testing.T) { f(t, folder(t, t.TempDir())) })
	t.Run("bucket", func(t *testing.T) { f(t, bucket(t)) })
}

func names(t *testing.T, b parquet.Blobs, prefix string) (names []string) {
	t.Helper()
	if err := b.List(t.Context(), prefix, func(name string, _ int64) { names = append(names, name) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestBlobs(t *testing.T) {
	each(t, func(t *testing.T, b parquet.Blobs) {
		ctx := t.Context()
		data := make([]byte, 3<<20+17)
		r := rand.NewChaCha8([32]byte{})
		r.Read(data)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(b.Put(ctx, "segments/prod%20/a.parquet", []byte("old")))
		must(b.Put(ctx, "segments/prod%20/a.parquet", data))
		must(b.Put(ctx, "segments/b", []byte("x")))
		f, err := b.Open(ctx, "segments/prod%20/a.parquet")
		must(err)
		for _, at := range [][2]int{{0, 10}, {1<<20 - 5, 10}, {0, len(data)}, {len(data) - 1, 1}, {5, 2 << 20}} {
			p := make([]byte, at[1])
			n, err := f.ReadAt(p, int64(at[0]))
			if n != len(p) || err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(p, data[at[0]:at[0]+at[1]]) {
				t.Fatalf("read %v: %d bytes, %v", at, n, err)
			}
		}
		if n, err := f.ReadAt(make([]byte, 10), int64(len(data)-4)); n != 4 || !errors.Is(err, io.EOF) {
			t.Fatalf("read past the end: %d, %v", n, err)
		}
		must(f.Close())
		must(b.Move(ctx, "segments/prod%20/a.parquet", "damaged/prod%20/a.parquet"))
		if got := names(t, b, "segments/"); !slices.Equal(got, []string{"segments/b"}) {
			t.Fatalf("segments %v", got)
		}
		if got := names(t, b, ""); !slices.Equal(got, []string{"damaged/prod%20/a.parquet", "segments/b"}) {
			t.Fatalf("all %v", got)
		}
		if _, err := b.Open(ctx, "segments/prod%20/a.parquet"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("open what was moved: %v", err)
		}
		must(b.Remove(ctx, "segments/b"))
		must(b.Remove(ctx, "segments/b"))
		if got := names(t, b, "segments/"); len(got) != 0 {
			t.Fatalf("segments %v", got)
		}
	})
}

func TestFolderForgetsInterruptedPuts(t *testing.T) {
	dir := t.TempDir()
	f := folder(t, dir)
	if err := f.Put(t.Context(), "segments/a", []byte("whole")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".tmp", "7"), []byte("ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names(t, f, ""); !slices.Equal(got, []string{"segments/a"}) {
		t.Fatalf("blobs %v", got)
	}
	folder(t, dir)
	if left, err := os.ReadDir(filepath.Join(dir, ".tmp")); err != nil || len(left) != 0 {
		t.Fatalf("temporary files %v, %v", left, err)
	}
}

func TestFolderIsNotLeft(t *testing.T) {
	dir := t.TempDir()
	f := folder(t, filepath.Join(dir, "in"))
	if err := f.Put(t.Context(), "../out", []byte("x")); err == nil {
		t.Fatal("wrote above the folder")
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(t.Context(), "../secret"); err == nil {
		t.Fatal("read above the folder")
	}
}

// TestHistory writes, finds, merges and finds again on each backend.
func TestHistory(t *testing.T) {
	each(t, func(t *testing.T, b parquet.Blobs) {
		ctx := context.Background()
		s, err := parquet.Open(ctx, parquet.Config{Blobs: b, SegmentRows: 100})
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Writer(ctx, "../prod")
		if err != nil {
			t.Fatal(err)
		}
		for seq := range uint64(12) {
			rows := []parquet.Row{{Time: int64(seq) + 1, ID: event.ID{byte(seq)}, Verb: "get", Raw: []byte("raw")}}
			if err := errors.Join(w.Append(ctx, rows, seq+1), w.Flush(ctx)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.Compact(ctx), s.Close(ctx)); err != nil {
			t.Fatal(err)
		}
		if s, err = parquet.Open(ctx, parquet.Config{Blobs: b}); err != nil {
			t.Fatal(err)
		}
		res, err := s.Query(ctx, parquet.Query{Verbs: []string{"get"}, Raw: true, Limit: 5})
		if err != nil || len(res.Rows) != 5 || res.Rows[0].Time != 12 || string(res.Rows[4].Raw) != "raw" {
			t.Fatalf("%+v, %v", res, err)
		}
		if got := names(t, b, ""); len(got) != 1 {
			t.Fatalf("blobs after the merge: %v", got)
		}
		if w, err = s.Writer(ctx, "../prod"); err != nil || w.Position() != 12 {
			t.Fatalf("position %d, %v", w.Position(), err)
		}
	})
}
