package sensor

import "net/netip"

// AppendQuestion appends the name that a DNS message asks for to dst, without
// a final dot, and returns it with the type asked for. ok is false when the
// message has no readable question. Bytes that are no letters, digits, '-' or
// '_' become '?': names are chosen by attackers and end up on terminals.
func AppendQuestion(dst, message []byte) (name []byte, qtype uint16, ok bool) {
	if len(message) < 12 || message[4] == 0 && message[5] == 0 {
		return dst, 0, false
	}
	start, at := len(dst), 12
	for {
		if at >= len(message) {
			return dst[:start], 0, false
		}
		n := int(message[at])
		at++
		if n == 0 {
			break
		}
		if n > 63 || at+n > len(message) { // a question has no pointers
			return dst[:start], 0, false
		}
		if len(dst) > start {
			dst = append(dst, '.')
		}
		for _, c := range message[at : at+n] {
			dst = append(dst, nameByte(c))
		}
		at += n
	}
	if at+4 > len(message) {
		return dst[:start], 0, false
	}
	return dst, uint16(message[at])<<8 | uint16(message[at+1]), true
}

func nameByte(c byte) byte {
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		return c
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	}
	return '?'
}

// Answers calls each with the addresses of a DNS answer, as far as the message
// was kept. It returns the response code, -1 for what is no answer.
func Answers(message []byte, each func(netip.Addr)) int {
	if len(message) < 12 || message[2]&0x80 == 0 {
		return -1
	}
	code := int(message[3] & 0x0f)
	questions, answers := be16(message, 4), be16(message, 6)
	at := 12
	for range questions {
		if at = skipName(message, at); at < 0 {
			return code
		}
		at += 4
	}
	for range answers {
		if at = skipName(message, at); at < 0 || at+10 > len(message) {
			return code
		}
		kind, size := be16(message, at), be16(message, at+8)
		at += 10
		if at+size > len(message) {
			return code
		}
		switch data := message[at : at+size]; {
		case kind == 1 && size == 4:
			each(netip.AddrFrom4([4]byte(data)))
		case kind == 28 && size == 16:
			each(netip.AddrFrom16([16]byte(data)))
		}
		at += size
	}
	return code
}

// skipName returns the offset after the name at that offset, -1 when the
// message ends before.
func skipName(m []byte, at int) int {
	for at < len(m) {
		switch n := int(m[at]); {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			return at + 2
		case n > 63:
			return -1
		default:
			at += 1 + n
		}
	}
	return -1
}

func be16(b []byte, at int) int { return int(b[at])<<8 | int(b[at+1]) }
