package agent

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/clew-sec/clew/internal/sensor"
)

// object appends the fields of a JSON object; it allocates nothing but what
// the buffer grows by.
type object []byte

func (o *object) key(k string) {
	if n := len(*o); n > 0 && (*o)[n-1] != '{' {
		*o = append(*o, ',')
	}
	*o = append(append(append(*o, '"'), k...), `":`...)
}

func (o *object) number(k string, n uint64) {
	o.key(k)
	*o = strconv.AppendUint(*o, n, 10)
}

func (o *object) signed(k string, n int64) {
	o.key(k)
	*o = strconv.AppendInt(*o, n, 10)
}

func (o *object) text(k string, s []byte) {
	if len(s) == 0 {
		return
	}
	o.key(k)
	*o = appendString(*o, s)
}

func (o *object) end(k string, a netip.AddrPort) {
	if !a.IsValid() {
		return
	}
	o.key(k)
	*o = append(a.AppendTo(append(*o, '"')), '"')
}

// list appends the NUL-separated strings of s as an array.
func (o *object) list(k string, s []byte) {
	if len(s) == 0 {
		return
	}
	o.key(k)
	*o = append(*o, '[')
	first := true
	for a := range bytes.SplitSeq(bytes.TrimSuffix(s, []byte{0}), []byte{0}) {
		if !first {
			*o = append(*o, ',')
		}
		first = false
		*o = appendString(*o, a)
	}
	*o = append(*o, ']')
}

// appendString appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(b, s []byte) []byte {
	b = append(b, '"')
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r >= 0x7f && r < 0xa0: // a terminal obeys C1 controls too
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
		s = s[n:]
	}
	return append(b, '"')
}

func (o *object) spaces(s sensor.Namespaces) {
	o.number("pid_ns", uint64(s.PID))
	o.number("mnt_ns", uint64(s.Mount))
	o.number("net_ns", uint64(s.Net))
	o.number("user_ns", uint64(s.User))
}

// appendJSON appends a record as one JSON object.
func (v *view) appendJSON(b []byte, r *sensor.Record) []byte {
	o := object(append(b, '{'))
	o.key("time")
	o = append(v.boot.Add(time.Duration(r.Time)).UTC().AppendFormat(append(o, '"'), time.RFC3339Nano), '"')
	o.text("kind", []byte(r.Kind.String()))
	o.text("op", []byte(r.Op.String()))
	o.text("boot", []byte(v.bootID))
	o.number("pid", uint64(r.PID))
	o.number("start", r.Start)
	o.number("tid", uint64(r.TID))
	o.number("uid", uint64(r.UID))
	o.number("gid", uint64(r.GID))
	o.text("comm", r.Comm)
	v.parentJSON(&o, r)
	v.cgroupJSON(&o, r.Cgroup)
	bodyJSON(&o, r)
	if r.Flags != 0 {
		o.key("flags")
		o = append(o, '[')
		r.Flags.Names(func(n string) {
			if o[len(o)-1] != '[' {
				o = append(o, ',')
			}
			o = append(append(append(o, '"'), n...), '"')
		})
		o = append(o, ']')
	}
	return append(o, '}')
}

func (v *view) parentJSON(o *object, r *sensor.Record) {
	p := v.processes.Of(sensor.ProcessID{PID: r.PID, Start: r.Start})
	if p == nil || p.Parent.PID == 0 {
		return
	}
	o.number("parent_pid", uint64(p.Parent.PID))
	o.number("parent_start", p.Parent.Start)
	o.key("parent_original")
	*o = strconv.AppendBool(*o, p.Original)
}

func (v *view) cgroupJSON(o *object, id uint64) {
	o.number("cgroup_id", id)
	path, ref, _ := v.cgroups.Lookup(id)
	o.text("cgroup", []byte(path))
	o.text("container", []byte(ref.Container))
	o.text("pod", []byte(ref.PodUID))
	o.text("runtime", []byte(ref.Runtime))
}

func bodyJSON(o *object, r *sensor.Record) {
	switch r.Kind {
	case sensor.KindFork:
		o.number("child", uint64(r.Fork.Child))
		o.number("child_start", r.Fork.ChildStart)
		o.spaces(r.Fork.ChildSpaces)
	case sensor.KindExec:
		execJSON(o, &r.Exec)
	case sensor.KindExit:
		o.number("code", uint64(r.Exit.Code))
		o.number("signal", uint64(r.Exit.Signal))
	case sensor.KindCred:
		o.signed("result", int64(r.Cred.Result))
		o.number("euid", uint64(r.Cred.EUID))
		o.number("egid", uint64(r.Cred.EGID))
		o.number("caps_effective", r.Cred.Effective)
		o.number("caps_permitted", r.Cred.Permitted)
	case sensor.KindPriv:
		o.signed("result", r.Priv.Result)
		o.key("args")
		*o = append(*o, '[')
		for i, a := range r.Priv.Args {
			if i > 0 {
				*o = append(*o, ',')
			}
			*o = strconv.AppendUint(*o, a, 10)
		}
		*o = append(*o, ']')
		o.list("strings", r.Priv.Strings)
		o.spaces(r.Priv.Spaces)
	case sensor.KindNet:
		netJSON(o, &r.Net)
	case sensor.KindDNS:
		dnsJSON(o, &r.DNS)
	case sensor.KindFile:
		o.text("path", r.File.Path)
		o.number("inode", r.File.Inode)
		o.number("dev", uint64(r.File.Dev))
		o.number("generation", uint64(r.File.Generation))
		o.number("open_flags", uint64(r.File.OpenFlags))
	case sensor.KindName:
		o.text("path", r.Name.Path)
		o.text("to", r.Name.To)
		o.number("arg", uint64(r.Name.Arg))
	case sensor.KindCgroup:
		o.number("made_id", r.Made.ID)
		o.text("path", r.Made.Path)
	}
}

func execJSON(o *object, e *sensor.ExecBody) {
	o.text("exe", e.Exe)
	o.text("filename", e.Filename)
	o.list("args", e.Args)
	o.text("cwd", e.Cwd)
	o.number("ns_pid", uint64(e.NSPID))
	o.spaces(e.Spaces)
	o.number("euid", uint64(e.EUID))
	o.number("egid", uint64(e.EGID))
	o.number("caps_effective", e.Effective)
	o.number("caps_permitted", e.Permitted)
	o.number("tty", uint64(e.TTY))
	o.number("inode", e.Inode)
	o.number("dev", uint64(e.Dev))
	o.number("generation", uint64(e.Generation))
	o.number("mode", uint64(e.Mode))
}

func netJSON(o *object, n *sensor.NetBody) {
	o.signed("result", int64(n.Result))
	o.signed("fd", int64(n.FD))
	o.number("net_ns", uint64(n.NetNS))
	o.number("family", uint64(n.Family))
	o.text("protocol", []byte(protocol(n.Proto)))
	o.end("local", n.Local)
	o.end("peer", n.Peer)
	o.end("asked", n.Asked)
	o.text("path", n.Path)
}

func dnsJSON(o *object, d *sensor.DNSBody) {
	if name, kind, ok := sensor.AppendQuestion(nil, d.Message); ok {
		o.text("name", name)
		o.number("type", uint64(kind))
	}
	o.end("local", d.Local)
	o.text("server", []byte(d.Peer.String()))
	o.key("answers")
	*o = append(*o, '[')
	code := sensor.Answers(d.Message, func(a netip.Addr) {
		if (*o)[len(*o)-1] != '[' {
			*o = append(*o, ',')
		}
		*o = append(a.AppendTo(append(*o, '"')), '"')
	})
	*o = append(*o, ']')
	if code >= 0 {
		o.number("code", uint64(code))
	}
}
