package bus

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

// noise does not compress.
func noise(n int) []byte {
	rng := rand.NewChaCha8([32]byte{byte(n)})
	b := make([]byte, n)
	_, _ = rng.Read(b)
	return b
}

func records(raw ...[]byte) source.Batch {
	b := source.Batch{Source: "s", Cluster: "c", ReceivedNanos: -5}
	for i, r := range raw {
		b.Records = append(b.Records, file.Record{Raw: r, Format: file.Format(i % 5)})
	}
	return b
}

func TestCodecRoundTrip(t *testing.T) {
	c := &packer{}
	for _, b := range []source.Batch{
		records([]byte("x")),
		records([]byte{}, []byte{}),
		records(bytes.Repeat([]byte("ab"), 127), []byte("c")),
		records(bytes.Repeat([]byte("ab"), 128)),
		records(noise(3<<20), bytes.Repeat([]byte("ab"), 1<<20), noise(5)),
	} {
		got, tick, err := decode(c.encode(b).data)
		if err != nil || tick {
			t.Fatal(err, tick)
		}
		if !reflect.DeepEqual(b, got) {
			t.Errorf("%d records became another batch", len(b.Records))
		}
	}
}

func TestDecodedRecordsCannotGrowIntoEachOther(t *testing.T) {
	c := &packer{}
	b, _, err := decode(c.encode(records([]byte("one"), []byte("two"))).data)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(b.Records[0].Raw, "XXX"...)
	if string(b.Records[1].Raw) != "two" {
		t.Errorf("second record became %q", b.Records[1].Raw)
	}
}

func TestBatchesAreSplit(t *testing.T) {
	c := &packer{}
	for name, tt := range map[string]struct {
		batch    source.Batch
		limit    int
		messages int
	}{
		"small":                     {records([]byte("a"), []byte("b")), 1 << 20, 1},
		"much that compresses":      {records(make([]byte, softRaw), make([]byte, 1)), 1 << 20, 2},
		"noise":                     {records(noise(softMessage/2+1), noise(softMessage/2+2)), 1 << 20, 2},
		"one long record":           {records(noise(2*softMessage), []byte("x")), 2 << 20, 2},
		"the server takes less":     {records(noise(600), noise(601), noise(602), noise(603)), 1000, 4},
		"a record as long as bound": {records(make([]byte, 16<<20)), 1 << 20, 1},
	} {
		t.Run(name, func(t *testing.T) {
			messages, err := c.messages(tt.batch, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(messages) != tt.messages {
				t.Errorf("%d messages, want %d", len(messages), tt.messages)
			}
			got := tt.batch
			got.Records = nil
			for _, m := range messages {
				if len(m.data) > tt.limit {
					t.Errorf("a message has %d bytes", len(m.data))
				}
				part, _, err := decode(m.data)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(part, m.batch) {
					t.Error("what stays at hand is not what is stored")
				}
				got.Records = append(got.Records, part.Records...)
			}
			if !reflect.DeepEqual(tt.batch, got) {
				t.Error("the parts are not the whole")
			}
		})
	}
}

func TestTooLargeNamesTheRecord(t *testing.T) {
	_, err := new(packer).messages(records([]byte("a"), []byte("b"), noise(2000), []byte("d")), 1000)
	var tooLarge *source.TooLargeError
	if !errors.As(err, &tooLarge) || *tooLarge != (source.TooLargeError{Record: 2, Bytes: 2000, Max: 1000}) {
		t.Errorf("%v", err)
	}
}

// frameOf returns a message that declares n bytes in one record and has frame behind.
func frameOf(n uint64, frame []byte) []byte {
	msg := appendHeader(nil, source.Batch{Source: "s", Cluster: "c", Records: make([]file.Record, 1)}, kindRecords)
	msg = append(msg, 1)
	for ; n >= 0x80; n >>= 7 {
		msg = append(msg, byte(n)|0x80)
	}
	return seal(append(append(msg, byte(n)), frame...))
}

// turned returns msg with one bit turned.
func turned(msg []byte, at int) []byte {
	msg = bytes.Clone(msg)
	msg[at] ^= 1
	return msg
}

func TestDecodeRefuses(t *testing.T) {
	c := &packer{}
	bomb := s2.Encode(nil, make([]byte, 2*maxRaw))
	small := s2.Encode(nil, []byte("abc"))
	good := c.encode(records([]byte("abc"), noise(1000))).data
	for name, msg := range map[string][]byte{
		"nothing":                 nil,
		"not ours":                []byte("hello, world"),
		"a newer version":         append([]byte("clw\x02"), good[4:]...),
		"an unknown kind":         seal(append(bytes.Clone(good[:8]), append([]byte{7}, good[9:]...)...)),
		"a bomb":                  frameOf(2*maxRaw, bomb),
		"a bomb that declares 3":  frameOf(3, bomb),
		"a bomb that claims 3":    frameOf(3, append([]byte{3}, bomb[4:]...)),
		"a flipped bit of a name": turned(good, 10),
		"less than declared":      frameOf(60, small),
		"more than declared":      frameOf(2, small),
		"far more than it has":    frameOf(maxRaw, small),
		"two frames":              frameOf(3, append(bytes.Clone(small), small...)),
		"no frame":                frameOf(3, nil),
		"a flipped bit":           turned(good, len(good)-100),
		"cut":                     good[:len(good)-1],
		"a tick with records":     seal(append(encodeTick("c", 1), 0)),
	} {
		if b, _, err := decode(msg); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v, %d records", name, err, len(b.Records))
		}
	}
}

func FuzzDecode(f *testing.F) {
	c := &packer{}
	f.Add(c.encode(records([]byte(`{"a":1}`), noise(300))).data)
	f.Add(c.encode(records(make([]byte, 1<<16))).data)
	f.Add(encodeTick("c", 1))
	f.Add(frameOf(maxRaw, s2.Encode(nil, []byte("abc"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= len(magic)+4 {
			data = seal(bytes.Clone(data)) // else hardly one would be looked at
		}
		b, tick, err := decode(data)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Errorf("%v", err)
			}
			return
		}
		total := 0
		for _, r := range b.Records {
			total += len(r.Raw)
		}
		if total > maxRaw || len(b.Records) > len(data) {
			t.Errorf("%d bytes in %d records of %d bytes", total, len(b.Records), len(data))
		}
		if tick {
			return
		}
		again, _, err := decode(c.encode(b).data)
		if err != nil || !reflect.DeepEqual(b, again) {
			t.Errorf("encoded again it is another one: %v", err)
		}
	})
}
