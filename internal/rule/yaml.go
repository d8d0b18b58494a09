package rule

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The limits of one file. Anchors are expanded, so nodes are counted after that.
// The parser takes quadratic time on long mappings: at the limit, a second.
const (
	maxFileBytes = 128 << 10
	maxNodes     = 20000
	maxDepth     = 64
)

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	mappingNode
	sequenceNode
)

// node is a YAML node with anchors and merge keys resolved and its place kept.
type node struct {
	kind   nodeKind
	tag    ast.NodeType // of a scalar
	value  string       // of a scalar
	json   string       // a scalar's JSON
	line   int
	column int
	broken bool // a problem of it is reported
	block  bool // a literal or folded block scalar
	keys   []*node
	items  []*node // values of keys, or elements
}

// loader turns the parser's tree into nodes.
type loader struct {
	src     *source
	anchors map[string]*node
	count   int
	full    bool // the limits were passed, and that was reported
}

// parseYAML reads one document. It returns nil when the text has syntax errors,
// which it reports.
func parseYAML(src *source) *node {
	if len(src.text) > maxFileBytes {
		src.errorf(src.at(0, 0), "the file has %d bytes, the limit is %d", len(src.text), maxFileBytes)
		return nil
	}
	if line := tooDeep(src.text); line > 0 {
		src.errorf(src.at(line, 1), "nested more than %d deep", maxDepth)
		return nil
	}
	file, err := parser.ParseBytes([]byte(src.text), 0)
	if err != nil {
		src.syntaxError(err)
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		src.errorf(src.at(0, 0), "the file is empty")
		return nil
	}
	if len(file.Docs) > 1 {
		src.errorf(src.tokenAt(file.Docs[1].Start), "a second document: one rule a file")
		return nil
	}
	l := &loader{src: src, anchors: map[string]*node{}}
	return l.load(file.Docs[0].Body, 0)
}

// tooDeep returns the line at which flow or inline nesting passes what a rule
// needs, 0 when none does. The parser takes quadratic time on such input, so
// this looks before it, and counts brackets in strings too; brackets that are
// open over several lines may be more, as strings need not balance.
func tooDeep(text string) int {
	const overLines, inline = 1000, 512
	open := 0
	for n, line := range strings.Split(text, "\n") {
		depth, marks := 0, 0
		for i := range len(line) {
			switch line[i] {
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			case '-', '?':
				marks++
			}
			if depth > maxDepth || open+depth > overLines || marks > inline {
				return n + 1
			}
		}
		open = max(open+depth, 0)
	}
	return 0
}

func (s *source) syntaxError(err error) {
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil {
		s.errorf(s.tokenAt(ye.GetToken()), "YAML: %s", ye.GetMessage())
		return
	}
	s.errorf(s.at(1, 1), "YAML: %s", firstLine(err.Error()))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (s *source) tokenAt(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return s.at(1, 1)
	}
	return s.at(max(t.Position.Line, 1), max(t.Position.Column, 1))
}

func (l *loader) load(n ast.Node, depth int) *node {
	pos := l.src.tokenAt(n.GetToken())
	l.count++
	if l.count > maxNodes || depth > maxDepth {
		if !l.full {
			l.src.errorf(pos, "more than %d nodes or %d levels, anchors expanded", maxNodes, maxDepth)
		}
		l.full = true
		return l.broken(n, pos)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return l.mapping(n, pos, depth)
	case *ast.SequenceNode:
		out := &node{kind: sequenceNode, line: pos.Line, column: pos.Column}
		for _, v := range n.Values {
			out.items = append(out.items, l.load(v, depth+1))
		}
		return out
	case *ast.AnchorNode:
		v := l.load(n.Value, depth+1)
		l.anchors[n.Name.GetToken().Value] = v
		return v
	case *ast.AliasNode:
		return l.alias(n, pos)
	case *ast.TagNode:
		l.src.errorf(pos, "tags are not allowed")
		return l.broken(n, pos)
	default:
		return l.scalar(n, pos)
	}
}

func (l *loader) alias(n *ast.AliasNode, pos Position) *node {
	name := n.Value.GetToken().Value
	v, ok := l.anchors[name]
	if !ok {
		l.src.errorf(pos, "alias %q names no anchor above it", name)
		return l.broken(n, pos)
	}
	l.count += v.size()
	return v
}

// size counts the nodes below n, which may share parts.
func (n *node) size() int {
	total := 1
	for _, c := range n.items {
		if total > maxNodes {
			break
		}
		total += c.size()
	}
	return total
}

func (l *loader) mapping(n *ast.MappingNode, pos Position, depth int) *node {
	out := &node{kind: mappingNode, line: pos.Line, column: pos.Column}
	if !n.IsFlowStyle && len(n.Values) > 0 {
		p := l.src.tokenAt(n.Values[0].Key.GetToken())
		out.line, out.column = p.Line, p.Column
	}
	var merged []*node
	seen := make(map[string]bool, len(n.Values))
	for _, v := range n.Values {
		key := l.src.tokenAt(v.Key.GetToken())
		val := l.load(v.Value, depth+1)
		switch k := v.Key.(type) {
		case *ast.MergeKeyNode:
			merged = append(merged, val)
		case *ast.MappingKeyNode:
			l.src.errorf(key, "complex keys are not allowed")
		default:
			kn := l.scalar(k, key)
			if seen[kn.value] {
				l.src.errorf(key, "key %q stands here twice", kn.value)
				continue
			}
			seen[kn.value] = true
			out.keys, out.items = append(out.keys, kn), append(out.items, val)
		}
	}
	for _, m := range merged {
		out.merge(m)
	}
	return out
}

// merge adds the keys of a "<<" mapping (or a sequence of them) that out does
// not have itself.
func (n *node) merge(m *node) {
	if m.kind == sequenceNode {
		for _, i := range m.items {
			n.merge(i)
		}
		return
	}
	for i, k := range m.keys {
		if n.get(k.value) == nil {
			n.keys, n.items = append(n.keys, k), append(n.items, m.items[i])
		}
	}
}

func (n *node) get(key string) *node {
	for i, k := range n.keys {
		if k.value == key {
			return n.items[i]
		}
	}
	return nil
}

func (l *loader) broken(n ast.Node, pos Position) *node {
	out := l.scalar(n, pos)
	out.broken = true
	return out
}

func (l *loader) scalar(n ast.Node, pos Position) *node {
	out := &node{line: pos.Line, column: pos.Column, tag: n.Type()}
	if t := n.GetToken(); t != nil {
		out.value = t.Value
	}
	switch n := n.(type) {
	case *ast.LiteralNode:
		out.tag, out.block, out.value = ast.StringType, true, n.Value.Value
	case *ast.StringNode:
		out.value = n.Value
	}
	out.json = out.scalarJSON(n)
	return out
}

func (n *node) scalarJSON(a ast.Node) string {
	switch a := a.(type) {
	case *ast.NullNode:
		return "null"
	case *ast.BoolNode:
		return strconv.FormatBool(a.Value)
	case *ast.IntegerNode:
		if b, err := json.Marshal(a.Value); err == nil {
			return string(b)
		}
	case *ast.FloatNode:
		if b, err := json.Marshal(a.Value); err == nil {
			return string(b)
		}
	}
	b, err := json.Marshal(n.value)
	if err != nil {
		return "null"
	}
	return string(b)
}

// appendJSON writes the node as JSON, keys in the file's order.
func (n *node) appendJSON(dst []byte) []byte {
	switch n.kind {
	case mappingNode:
		dst = append(dst, '{')
		for i, k := range n.keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			key, _ := json.Marshal(k.value) // a string always marshals
			dst = append(append(dst, key...), ':')
			dst = n.items[i].appendJSON(dst)
		}
		return append(dst, '}')
	case sequenceNode:
		dst = append(dst, '[')
		for i, v := range n.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.appendJSON(dst)
		}
		return append(dst, ']')
	default:
		return append(dst, n.json...)
	}
}
