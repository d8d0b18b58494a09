package jsonscan

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// valid reports whether a Scanner takes b for one JSON value.
func valid(b []byte) (bool, error) {
	var s Scanner
	s.Reset(b)
	s.Skip()
	err := s.End()
	return err == nil, err
}

var documents = []string{
	`null`, `true`, `false`, `0`, `-0`, `12`, `-1.5e+10`, `1E-2`, `""`, `"plain text of some length"`, `"esc \" \\ \/ \b\f\n\r\t \u00e9 \ud83d\ude00"`,
	`[]`, `{}`, `[1,2,3]`, `[[],[[]],{}]`, `{"a":1}`, `{"a":{"b":[1,{"c":null}]},"d":"e"}`, " \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { } } \n",
	"\"\xff\xfe not utf-8\"", `{"":""}`, `"12345678"`, `"1234567\u0041"`, `"\ud800"`, `"\udc00\ud800x"`,
}

var malformed = []string{
	``, ` `, `nul`, `nulL`, `truex`, `01`, `-`, `1.`, `1e`, `1e+`, `.5`, `+1`, `"`, `"a`, `"a\`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"a\nb\"", "\"\x00\"",
	`[`, `[1`, `[1,`, `[1,]`, `[,]`, `[1 2]`, `[}`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a" 1}`, `{a:1}`, `{"a":1]`, `{1:2}`,
	`{}{}`, `1 2`, `]`, `}`, `,`, `:`, "\x00", "{\"a\":1\x01}", "\ufeff{}", `{"a":1,"b"}`, `[tru]`, `{"a":[}`,
}

func TestSkipAgreesWithEncodingJSON(t *testing.T) {
	for _, doc := range append(append([]string(nil), documents...), malformed...) {
		got, err := valid([]byte(doc))
		if want := json.Valid([]byte(doc)); got != want {
			t.Errorf("%q: accepted = %v (%v), want %v", doc, got, err, want)
		}
		var syntax *SyntaxError
		if err != nil && (!errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(doc) || syntax.Msg == "") {
			t.Errorf("%q: error %v has no place in the input", doc, err)
		}
	}
}

func TestTruncationIsAnError(t *testing.T) {
	doc := `{"a":[1,-2.5e3,true,false,null,"x\u00e9\n"],"bb":{"c":{"d":[[],{}]}},"long key of more than eight":"value"}`
	for cut := range len(doc) {
		if ok, _ := valid([]byte(doc[:cut])); ok {
			t.Errorf("accepted when cut at %d: %s", cut, doc[:cut])
		}
		if err := walk([]byte(doc[:cut])); err == nil {
			t.Errorf("walked when cut at %d: %s", cut, doc[:cut])
		}
	}
	if err := walk([]byte(doc)); err != nil {
		t.Errorf("walking the whole: %v", err)
	}
}

// walk visits every value with the methods a decoder uses.
func walk(b []byte) error {
	var s Scanner
	s.Reset(b)
	walkValue(&s)
	return s.End()
}

func walkValue(s *Scanner) {
	switch s.Kind() {
	case Object:
		for more := s.Object(); more; more = s.NextKey() {
			_ = s.KeyString()
			walkValue(s)
		}
	case Array:
		for more := s.Array(); more; more = s.NextElem() {
			walkValue(s)
		}
	case String:
		var v string
		s.Str(&v)
	case Number:
		var v int
		s.Int(&v)
	case Bool:
		var v bool
		s.Bool(&v)
	default:
		s.Skip()
	}
}

func TestNestingIsBounded(t *testing.T) {
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	objects := func(n int) []byte { return []byte(strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n)) }
	for _, build := range []func(int) []byte{deep, objects} {
		for _, check := range []func([]byte) error{walk, func(b []byte) error { _, err := valid(b); return err }} {
			if err := check(build(MaxDepth)); err != nil {
				t.Errorf("%d levels: %v", MaxDepth, err)
			}
			var syntax *SyntaxError
			if err := check(build(MaxDepth + 1)); !errors.As(err, &syntax) || syntax.Msg != "nested too deeply" {
				t.Errorf("%d levels: %v, want an error about nesting", MaxDepth+1, err)
			}
		}
	}
	// What is entered by hand counts for what is skipped inside.
	var s Scanner
	s.Reset(deep(MaxDepth + 1))
	s.Array()
	if s.Skip(); s.Err() == nil {
		t.Error("Skip below an entered array forgot its depth")
	}
	if ok, _ := valid([]byte(strings.Repeat("[", 1<<20))); ok {
		t.Error("a million open arrays were accepted")
	}
}

func TestValues(t *testing.T) {
	type values struct {
		Text  string
		Flag  bool
		Count int
		List  []string
		Raw   string
		Keys  []string
	}
	for _, tc := range []struct {
		name, doc string
		want      values
	}{
		{"all kinds", `{"text":"a\tb","flag":true,"count":-42,"list":["x","\u0079"],"raw":[1, 2]}`,
			values{"a\tb", true, -42, []string{"x", "y"}, "[1, 2]", []string{"text", "flag", "count", "list", "raw"}}},
		{"other kinds leave the destination alone", `{"text":1,"flag":"true","count":"7","list":"x","raw":null}`,
			values{Text: "before", Count: 5, Raw: "null", Keys: []string{"text", "flag", "count", "list", "raw"}}},
		{"null leaves the destination alone", `{"text":null,"flag":null,"count":null,"list":null}`,
			values{Text: "before", Count: 5, Keys: []string{"text", "flag", "count", "list"}}},
		{"integers only", `{"count":1.5}`, values{Text: "before", Count: 5, Keys: []string{"count"}}},
		{"integers that fit", `{"count":92233720368547758070}`, values{Text: "before", Count: 5, Keys: []string{"count"}}},
		{"strings of a list only", `{"list":["a",1,null,["b"],"c"]}`, values{Text: "before", Count: 5, List: []string{"a", "c"}, Keys: []string{"list"}}},
		{"last of repeated keys", `{"text":"a","text":"b"}`, values{Text: "b", Count: 5, Keys: []string{"text", "text"}}},
		{"escaped key", `{"te\u0078t":"a"}`, values{Text: "a", Count: 5, Keys: []string{"text"}}},
		{"no object", `[1]`, values{Text: "before", Count: 5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := values{Text: "before", Count: 5}
			var s Scanner
			s.Reset([]byte(tc.doc))
			for more := s.Object(); more; more = s.NextKey() {
				got.Keys = append(got.Keys, s.KeyString())
				switch string(s.Key()) {
				case "text":
					s.Str(&got.Text)
				case "flag":
					s.Bool(&got.Flag)
				case "count":
					s.Int(&got.Count)
				case "list":
					got.List = s.Strs(got.List[:0])
				case "raw":
					got.Raw = string(s.Raw())
				default:
					s.Skip()
				}
			}
			if err := s.End(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestArenaStringsStay(t *testing.T) {
	var a Arena
	var got []string
	long := strings.Repeat("long ", arenaChunk/4)
	for i := range 5000 {
		got = append(got, a.Join("key", "=", strings.Repeat("v", i%40)), a.Copy([]byte("copy")))
	}
	got = append(got, a.Copy([]byte(long)))
	for i := range 5000 {
		if want := "key=" + strings.Repeat("v", i%40); got[2*i] != want || got[2*i+1] != "copy" {
			t.Fatalf("string %d = %q, %q", i, got[2*i], got[2*i+1])
		}
	}
	if got[len(got)-1] != long {
		t.Error("a text longer than a chunk was damaged")
	}
}

func TestErrorsStick(t *testing.T) {
	var s Scanner
	s.Reset([]byte(`{"a":x,"b":1}`))
	keys := 0
	for more := s.Object(); more; more = s.NextKey() {
		keys++
		s.Skip()
	}
	if want := (&SyntaxError{Offset: 5, Msg: "unexpected character, want a value"}).Error(); keys != 1 || s.End() == nil || s.End().Error() != want {
		t.Errorf("%d keys, error %v, want one key and %q", keys, s.End(), want)
	}
	if s.Raw() != nil || s.Since(0) != nil {
		t.Error("bytes were returned after an error")
	}
}

func FuzzScan(f *testing.F) {
	for _, doc := range append(append([]string(nil), documents...), malformed...) {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := valid(b)
		want := json.Valid(b)
		var syntax *SyntaxError
		if errors.As(err, &syntax) && syntax.Msg == "nested too deeply" {
			return // encoding/json has another limit
		}
		if got != want {
			t.Fatalf("%q: skipped = %v (%v), json.Valid = %v", b, got, err, want)
		}
		if walked := walk(b); (walked == nil) != want {
			t.Fatalf("%q: walked with %v, json.Valid = %v", b, walked, want)
		}
		var text string
		if !utf8.Valid(b) || json.Unmarshal(b, &text) != nil || string(b) == "null" {
			return
		}
		var s Scanner
		var mine string
		s.Reset(b)
		if s.Str(&mine); s.Kind() == Invalid && mine != text {
			t.Fatalf("%q: read %q, want %q", b, mine, text)
		}
	})
}
