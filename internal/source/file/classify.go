package file

import (
	"bytes"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// memberKey is a key of a record's outermost object that helps to tell what
// the record is. keyNone is every other key.
type memberKey uint8

// The keys. Those from keyRecords to keyValue open a list of records when their value is
// an array; those from keyDetail on may hold a record inside.
const (
	keyNone memberKey = iota
	keyAuditID
	keyStage
	keyVerb
	keyRequestURI
	keyEventVersion
	keyEventName
	keyEventSource
	keyEventID
	keyDigest
	keyProtoPayload
	keyLogName
	keyInsertID
	keyOperation
	keyCategory
	keyResourceID
	keyTime
	keyTimeGenerated
	keyType

	keyRecords
	keyItems
	keyLogEvents
	keyEvents
	keyEntries
	keyValue

	keyDetail
	keyLog
	keyMessage
	keyTrailEvent
	keyEvent
	keyRaw
)

func (k memberKey) list() bool  { return k >= keyRecords && k <= keyValue }
func (k memberKey) wraps() bool { return k >= keyDetail }

// keyOf returns what a key says. Keys written with escapes are not recognised:
// no producer of these records writes them so. It is one long switch, which the
// compiler makes a search by length and bytes: keys of foreign records come here.
func keyOf(k []byte) memberKey {
	switch string(k) {
	case "auditID":
		return keyAuditID
	case "stage":
		return keyStage
	case "verb":
		return keyVerb
	case "requestURI":
		return keyRequestURI
	case "eventVersion":
		return keyEventVersion
	case "eventName":
		return keyEventName
	case "eventSource":
		return keyEventSource
	case "eventID":
		return keyEventID
	case "digestS3Object":
		return keyDigest
	case "protoPayload":
		return keyProtoPayload
	case "logName":
		return keyLogName
	case "insertId":
		return keyInsertID
	case "operationName", "OperationName", "OperationNameValue":
		return keyOperation
	case "category", "Category", "CategoryValue":
		return keyCategory
	case "resourceId", "ResourceId", "_ResourceId":
		return keyResourceID
	case "time", "eventTimestamp":
		return keyTime
	case "TimeGenerated":
		return keyTimeGenerated
	case "Type":
		return keyType
	case "Records", "records":
		return keyRecords
	case "items":
		return keyItems
	case "logEvents":
		return keyLogEvents
	case "events", "Events":
		return keyEvents
	case "entries":
		return keyEntries
	case "value":
		return keyValue
	case "detail":
		return keyDetail
	case "log", "line":
		return keyLog
	case "message", "Message", "@message", "MESSAGE":
		return keyMessage
	case "CloudTrailEvent":
		return keyTrailEvent
	case "event":
		return keyEvent
	case "_raw":
		return keyRaw
	}
	return keyNone
}

// keySet holds the keys of an object, one bit each.
type keySet uint64

func (s keySet) has(k memberKey) bool { return s>>k&1 != 0 }

func (s keySet) any(ks ...memberKey) bool {
	return slices.ContainsFunc(ks, s.has)
}

// format returns the kind of record an object with these keys is, 0 when it is
// none that is known.
func (s keySet) format() Format {
	switch {
	case s.has(keyAuditID) && s.any(keyStage, keyVerb, keyRequestURI):
		return K8sAudit
	case s.has(keyEventVersion) && s.any(keyEventName, keyEventID), s.has(keyEventName) && s.has(keyEventSource), s.has(keyDigest):
		return CloudTrail
	case s.has(keyProtoPayload), s.has(keyLogName) && s.has(keyInsertID):
		return GCPAudit
	case s.has(keyOperation) && s.any(keyCategory, keyResourceID, keyTime), s.has(keyTimeGenerated) && s.any(keyType, keyCategory, keyOperation):
		return AzureRecord
	}
	return 0
}

// prefixLen is how much of a record quick looks at.
const prefixLen = 64

var (
	auditPrefix = []byte(`{"kind":"Event","apiVersion":"audit.k8s.io/`)
	levelPrefix = []byte(`{"level":"`)
	auditKey    = []byte(`","auditID":"`)
	trailPrefix = []byte(`{"eventVersion":"`)
	identityKey = []byte(`"userIdentity":`)
)

// quick tells the kind of a record by its first bytes, as the API server and
// CloudTrail write them, and 0 when these do not tell.
func quick(b []byte) Format {
	if len(b) < prefixLen {
		return 0
	}
	switch b = b[:prefixLen]; {
	case bytes.HasPrefix(b, auditPrefix):
		return K8sAudit
	case bytes.HasPrefix(b, levelPrefix) && bytes.Contains(b, auditKey):
		return K8sAudit
	case bytes.HasPrefix(b, trailPrefix) && bytes.Contains(b, identityKey):
		return CloudTrail
	}
	return 0
}

// maxWraps bounds how often a record may be wrapped in another.
const maxWraps = 3

// found is the record inside a wrapper.
type found struct {
	raw    []byte
	format Format
	text   bool // no record, and the wrapped value is not even JSON: another program's log line
}

// unwrap looks for a record inside the object b, which s has scanned.
func unwrap(b []byte, s *scanner, depth int) found {
	var out found
	for _, at := range s.wraps[:s.nwraps] {
		in := b[at:]
		if in[0] == '"' {
			end, closed := stringEnd(in, 1)
			if !closed {
				continue
			}
			in = bytes.TrimSpace(unescape(in[1:end]))
		}
		if len(in) == 0 || in[0] != '{' {
			out.text = true
			continue
		}
		if f := classify(in, depth+1); f.format != 0 {
			return f
		}
	}
	return out
}

// classify tells what the object at the beginning of b is, looking into wrappers.
func classify(b []byte, depth int) found {
	var s scanner
	end, o := s.scan(b, 0)
	if o != scanDone {
		return found{}
	}
	b = b[:end:end]
	if f := s.keys.format(); f != 0 {
		return found{raw: b, format: f}
	}
	if depth >= maxWraps {
		return found{}
	}
	return unwrap(b, &s, depth)
}

// unescape returns the text of a JSON string. It copies only when there is an
// escape; a broken escape stands for itself.
func unescape(src []byte) []byte {
	i := bytes.IndexByte(src, '\\')
	if i < 0 {
		return src
	}
	out := make([]byte, 0, len(src))
	for {
		out = append(out, src[:i]...)
		src = src[i:]
		if len(src) < 2 {
			return append(out, src...)
		}
		n := 2
		switch c := src[1]; c {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'u':
			var r rune
			r, n = escapedRune(src)
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
		src = src[n:]
		if i = bytes.IndexByte(src, '\\'); i < 0 {
			return append(out, src...)
		}
	}
}

// escapedRune reads the \uXXXX, or the surrogate pair of two, that src begins
// with and returns how many bytes it is long.
func escapedRune(src []byte) (rune, int) {
	r, ok := hex4(src[2:])
	if !ok {
		return utf8.RuneError, 2
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(src) >= 12 && src[6] == '\\' && src[7] == 'u' {
		if low, ok := hex4(src[8:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12
			}
		}
	}
	return utf8.RuneError, 6
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = (c | 0x20) - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
