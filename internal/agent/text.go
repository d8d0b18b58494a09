package agent

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"github.com/clew-sec/clew/internal/sensor"
)

// appendText appends a record as one readable line without its end. What
// programs chose is quoted where it could move the cursor or look like another
// field.
func (v *view) appendText(b []byte, r *sensor.Record) []byte {
	b = v.boot.Add(time.Duration(r.Time)).AppendFormat(b, "15:04:05.000000 ")
	b = append(b, r.Kind.String()...)
	if op := r.Op.String(); op != "" {
		b = append(append(b, '/'), op...)
	}
	b = appendProcess(append(b, ' '), r.Comm, r.PID)
	b = v.appendParent(b, r)
	b = append(b, " uid="...)
	b = strconv.AppendUint(b, uint64(r.UID), 10)
	b = v.appendContainer(b, r.Cgroup)
	b = append(b, ' ')
	b = appendBody(b, r)
	r.Flags.Names(func(n string) { b = append(append(append(b, " ["...), n...), ']') })
	return b
}

func appendProcess(b, comm []byte, pid uint32) []byte {
	b = appendWord(b, comm)
	b = append(b, '[')
	b = strconv.AppendUint(b, uint64(pid), 10)
	return append(b, ']')
}

// appendParent shows the original parent; '?' marks one that is only known
// from a later look.
func (v *view) appendParent(b []byte, r *sensor.Record) []byte {
	p := v.processes.Of(sensor.ProcessID{PID: r.PID, Start: r.Start})
	if p == nil || p.Parent.PID == 0 {
		return b
	}
	b = append(b, '<')
	if !p.Original {
		b = append(b, '?')
	}
	var comm []byte
	if parent := v.processes.Of(p.Parent); parent != nil {
		comm = []byte(parent.Comm)
	}
	return appendProcess(b, comm, p.Parent.PID)
}

func (v *view) appendContainer(b []byte, id uint64) []byte {
	_, ref, _ := v.cgroups.Lookup(id)
	if ref.Container != "" {
		b = append(append(b, " container="...), ref.Container[:12]...)
	}
	if ref.PodUID != "" {
		b = append(append(b, " pod="...), ref.PodUID...)
	}
	return b
}

func appendBody(b []byte, r *sensor.Record) []byte {
	switch r.Kind {
	case sensor.KindFork:
		b = append(b, "child="...)
		return strconv.AppendUint(b, uint64(r.Fork.Child), 10)
	case sensor.KindExec:
		b = append(appendWord(b, r.Exec.Exe), ':')
		for a := range bytes.SplitSeq(bytes.TrimSuffix(r.Exec.Args, []byte{0}), []byte{0}) {
			b = appendWord(append(b, ' '), a)
		}
		return b
	case sensor.KindExit:
		if r.Exit.Signal != 0 {
			return strconv.AppendUint(append(b, "signal="...), uint64(r.Exit.Signal), 10)
		}
		return strconv.AppendUint(append(b, "code="...), uint64(r.Exit.Code), 10)
	case sensor.KindCred:
		return appendCred(b, r)
	case sensor.KindPriv:
		return appendPriv(b, r)
	case sensor.KindNet:
		return appendNet(b, &r.Net)
	case sensor.KindDNS:
		return appendDNS(b, &r.DNS)
	case sensor.KindFile:
		return append(append(appendWord(b, r.File.Path), ' '), openMode(r.File.OpenFlags)...)
	case sensor.KindName:
		b = appendWord(b, r.Name.Path)
		if len(r.Name.To) > 0 {
			b = appendWord(append(b, " -> "...), r.Name.To)
		}
		return b
	case sensor.KindCgroup:
		return appendWord(b, r.Made.Path)
	}
	return b
}

func appendCred(b []byte, r *sensor.Record) []byte {
	b = strconv.AppendInt(append(b, "result="...), int64(r.Cred.Result), 10)
	b = strconv.AppendUint(append(b, " euid="...), uint64(r.Cred.EUID), 10)
	b = strconv.AppendUint(append(b, " egid="...), uint64(r.Cred.EGID), 10)
	return strconv.AppendUint(append(b, " caps="...), r.Cred.Effective, 16)
}

func appendPriv(b []byte, r *sensor.Record) []byte {
	b = strconv.AppendInt(append(b, "result="...), r.Priv.Result, 10)
	for _, a := range r.Priv.Args[:3] {
		b = strconv.AppendUint(append(b, " 0x"...), a, 16)
	}
	if len(r.Priv.Strings) == 0 {
		return b
	}
	for s := range bytes.SplitSeq(bytes.TrimSuffix(r.Priv.Strings, []byte{0}), []byte{0}) {
		b = appendWord(append(b, ' '), s)
	}
	return b
}

func appendNet(b []byte, n *sensor.NetBody) []byte {
	if len(n.Path) > 0 {
		b = appendWord(append(b, "unix "...), n.Path)
	} else {
		b = append(append(b, protocol(n.Proto)...), ' ')
		b = appendEnd(b, n.Local)
		peer := n.Peer
		if n.Asked.IsValid() {
			peer = n.Asked
		}
		if peer.IsValid() && peer.Port() != 0 {
			b = appendEnd(append(b, " > "...), peer)
		}
	}
	return strconv.AppendInt(append(b, " result="...), int64(n.Result), 10)
}

func appendEnd(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, '-')
	}
	return a.AppendTo(b)
}

func protocol(p uint16) string {
	switch p {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmp6"
	}
	return "proto" + strconv.Itoa(int(p))
}

func appendDNS(b []byte, d *sensor.DNSBody) []byte {
	name, kind, ok := sensor.AppendQuestion(b, d.Message)
	if !ok {
		return append(b, "unreadable"...)
	}
	b = strconv.AppendUint(append(name, " type="...), uint64(kind), 10)
	code := sensor.Answers(d.Message, func(a netip.Addr) { b = a.AppendTo(append(b, ' ')) })
	if code > 0 {
		b = strconv.AppendInt(append(b, " code="...), int64(code), 10)
	}
	b = append(b, " server="...)
	return d.Peer.AppendTo(b)
}

// openMode names the access of O_* flags as the kernel numbers them on x86-64
// and arm64.
func openMode(flags uint32) string {
	mode := [...]string{"read", "write", "read-write", "read-write"}[flags&3]
	if flags&0o1000 != 0 {
		return mode + ",truncate"
	}
	return mode
}

// appendWord appends s as it is when it is plain, quoted otherwise.
func appendWord(b, s []byte) []byte {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return strconv.AppendQuoteToASCII(b, string(s))
		}
	}
	if len(s) == 0 {
		return append(b, `""`...)
	}
	return append(b, s...)
}
