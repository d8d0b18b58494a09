package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

// A message is
//
//	"clw" version                            1 byte each
//	checksum                                 4 bytes, little endian: CRC-32C of what follows
//	kind                                     1 byte
//	len source, len cluster                  uvarint length and bytes
//	received                                 8 bytes, little endian
//	count                                    uvarint
//	count times: format, length              1 byte, uvarint
//	all records, one behind the other        one S2 block
//
// The lengths stand before the block, so that a reader knows what it will hold
// before it decompresses anything. S2 takes a quarter of the time of zstd's fastest
// level and 1.5 times the room, which a log that is trimmed all the time has.
const (
	magic = "clw\x01"

	kindRecords = 0
	kindTick    = 1

	// maxName bounds the names of sources and clusters, in bytes.
	maxName = 255

	// maxRaw is how much one message may hold, decompressed.
	maxRaw = 64 << 20

	// softRaw is where a message is full, so that decoding one stays cheap; one
	// record alone may be longer.
	softRaw = 1 << 20

	// softMessage is where a stored message is too long to be handled well and is
	// split, unless it is one record (NATS is measured best at 64-512 KiB).
	softMessage = 512 << 10

	// keptBlock is the longest buffer that a packer keeps for the next message: there
	// is a packer for each source.
	keptBlock = 2 << 20
)

var errMalformed = errors.New("malformed message")

// packed is a message and the batch in it. The batch's records are its own.
type packed struct {
	data  []byte
	batch source.Batch
}

// packer makes messages. It serves one goroutine at a time.
type packer struct{ block []byte }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// messages returns b as few messages, none longer than limit bytes and none above
// the soft bounds that could be split. The error is a *source.TooLargeError.
func (p *packer) messages(b source.Batch, limit int) ([]packed, error) {
	var all []packed
	for from := 0; from < len(b.Records); {
		to, raw := from, 0
		for to < len(b.Records) && (to == from || raw+len(b.Records[to].Raw) <= softRaw) {
			raw += len(b.Records[to].Raw)
			to++
		}
		var err error
		if all, err = p.split(all, b, from, to, limit); err != nil {
			return nil, err
		}
		from = to
	}
	return all, nil
}

// split appends records from to to of b, halved until each half fits.
func (p *packer) split(all []packed, b source.Batch, from, to, limit int) ([]packed, error) {
	part := b
	part.Records = b.Records[from:to]
	msg := p.encode(part)
	if len(msg.data) <= min(limit, softMessage) {
		return append(all, msg), nil
	}
	if to-from == 1 {
		if len(msg.data) > limit {
			return nil, &source.TooLargeError{Record: from, Bytes: len(b.Records[from].Raw), Max: limit}
		}
		return append(all, msg), nil
	}
	middle := (from + to) / 2
	all, err := p.split(all, b, from, middle, limit)
	if err != nil {
		return nil, err
	}
	return p.split(all, b, middle, to, limit)
}

// encode returns the message of b.
func (p *packer) encode(b source.Batch) packed {
	parts := make([][]byte, len(b.Records))
	for i := range b.Records {
		parts[i] = b.Records[i].Raw
	}
	raw := bytes.Join(parts, nil)
	block := s2.Encode(p.room(s2.MaxEncodedLen(len(raw))), raw)
	msg := appendHeader(make([]byte, 0, len(block)+6*len(parts)+512), b, kindRecords)
	records := make([]file.Record, len(parts))
	at := 0
	for i, part := range parts {
		records[i] = file.Record{Format: b.Records[i].Format, Raw: raw[at : at+len(part) : at+len(part)]}
		at += len(part)
		msg = append(msg, byte(records[i].Format))
		msg = binary.AppendUvarint(msg, uint64(len(part)))
	}
	b.Records = records
	return packed{seal(append(msg, block...)), b}
}

// room returns a buffer of n bytes at least, for the message in work.
func (p *packer) room(n int) []byte {
	if n > keptBlock {
		return make([]byte, n)
	}
	if len(p.block) < n {
		p.block = make([]byte, n)
	}
	return p.block
}

// seal writes the checksum into msg.
func seal(msg []byte) []byte {
	binary.LittleEndian.PutUint32(msg[len(magic):], crc32.Checksum(msg[len(magic)+crc32.Size:], castagnoli))
	return msg
}

// encodeTick returns the message that carries nothing but a time.
func encodeTick(cluster string, atNanos int64) []byte {
	return seal(appendHeader(nil, source.Batch{Cluster: cluster, ReceivedNanos: atNanos}, kindTick))
}

func appendHeader(msg []byte, b source.Batch, kind byte) []byte {
	msg = append(msg, magic...)
	msg = append(msg, 0, 0, 0, 0, kind) // seal knows the checksum
	msg = binary.AppendUvarint(msg, uint64(len(b.Source)))
	msg = append(msg, b.Source...)
	msg = binary.AppendUvarint(msg, uint64(len(b.Cluster)))
	msg = append(msg, b.Cluster...)
	msg = binary.LittleEndian.AppendUint64(msg, uint64(b.ReceivedNanos))
	return binary.AppendUvarint(msg, uint64(len(b.Records)))
}

// decode reads a message. Its records share one new buffer; their positions are
// not set. It takes no more memory than a small multiple of len(data) and maxRaw.
func decode(data []byte) (b source.Batch, tick bool, err error) {
	h := header{rest: data}
	if !bytes.HasPrefix(data, []byte(magic)) {
		return b, false, fmt.Errorf("%w: it does not begin as one", errMalformed)
	}
	h.take(len(magic))
	if sum := h.uint32(); h.bad || sum != crc32.Checksum(h.rest, castagnoli) {
		return b, false, fmt.Errorf("%w: checksum", errMalformed)
	}
	kind := h.byte()
	b.Source = string(h.take(h.length(maxName)))
	b.Cluster = string(h.take(h.length(maxName)))
	b.ReceivedNanos = int64(h.uint64())
	count := h.length(len(h.rest) / 2) // a record has two bytes at least
	switch {
	case h.bad || kind > kindTick || kind == kindTick && (count > 0 || len(h.rest) > 0):
		return source.Batch{}, false, fmt.Errorf("%w: header", errMalformed)
	case kind == kindTick:
		return b, true, nil
	}
	b.Records = make([]file.Record, count)
	lengths := h // read twice: the sum first, the records when the buffer is there
	total := 0
	for range count {
		h.byte()
		total += h.length(maxRaw - total)
	}
	if h.bad {
		return source.Batch{}, false, fmt.Errorf("%w: lengths", errMalformed)
	}
	raw, err := decompress(h.rest, total)
	if err != nil {
		return source.Batch{}, false, err
	}
	for i := range b.Records {
		b.Records[i].Format = file.Format(lengths.byte())
		n := lengths.length(maxRaw)
		b.Records[i].Raw, raw = raw[:n:n], raw[n:]
	}
	return b, false, nil
}

// decompress returns the total bytes that block must hold.
func decompress(block []byte, total int) ([]byte, error) {
	if n, err := s2.DecodedLen(block); err != nil || n != total {
		return nil, fmt.Errorf("%w: the block's size is not that of its records", errMalformed)
	}
	raw, err := s2.Decode(make([]byte, total), block)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return raw, nil
}

// header reads from rest and remembers in bad that something was missing.
type header struct {
	rest []byte
	bad  bool
}

func (h *header) take(n int) []byte {
	if n > len(h.rest) {
		h.bad, h.rest = true, nil
		return nil
	}
	var b []byte
	b, h.rest = h.rest[:n], h.rest[n:]
	return b
}

func (h *header) byte() byte {
	if b := h.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (h *header) uint32() uint32 {
	if b := h.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (h *header) uint64() uint64 {
	if b := h.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// length reads a length of at most limit.
func (h *header) length(limit int) int {
	v, n := binary.Uvarint(h.rest)
	if n <= 0 || v > uint64(max(limit, 0)) {
		h.bad, h.rest = true, nil
		return 0
	}
	h.rest = h.rest[n:]
	return int(v)
}
