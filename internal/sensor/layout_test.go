package sensor

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestLayoutIsThatOfTheHeader compares what Decode assumes with what the C
// compiler was made to assert.
func TestLayoutIsThatOfTheHeader(t *testing.T) {
	text, err := os.ReadFile("../../bpf/record.h")
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"hdr": headerSize, "fork_rec": forkSize, "exec_rec": execSize, "exit_rec": exitSize, "cred_rec": credSize,
		"priv_rec": privSize, "net_rec": netSize, "dns_rec": dnsSize, "file_rec": fileSize, "name_rec": nameSize, "cgroup_rec": cgroupSize} {
		if want := fmt.Sprintf("_Static_assert(sizeof(struct %s) == %d,", name, size); !strings.Contains(string(text), want) {
			t.Errorf("bpf/record.h does not have %q", want)
		}
	}
	for name, n := range map[string]int{"K_MAX": int(kindEnd), "OP_MAX": int(opEnd)} {
		if want := fmt.Sprintf("_Static_assert(%s == %d,", name, n); !strings.Contains(string(text), want) {
			t.Errorf("bpf/record.h does not have %q", want)
		}
	}
}

// TestActsStandInTheHeadersOrder compares the numbers of single acts.
func TestActsStandInTheHeadersOrder(t *testing.T) {
	text, err := os.ReadFile("../../bpf/record.h")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "enum op {")
	list, _, _ = strings.Cut(list, "};")
	var names []string
	for line := range strings.Lines(list) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "/*")
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	for name, op := range map[string]Op{"OP_NONE": OpNone, "OP_CAPSET": OpCapset, "OP_SETNS": OpSetNS, "OP_MEMFD": OpMemfd, "OP_RAW_SOCKET": OpRawSocket,
		"OP_CONNECT": OpConnect, "OP_SOCKETCALL": OpSocketcall, "OP_OPEN": OpOpen, "OP_FCHMODAT": OpFchmodat, "OP_DNS_ANSWER": OpDNSAnswer, "OP_MAX": opEnd} {
		if int(op) >= len(names) || names[op] != name {
			t.Errorf("act %d is not %s in bpf/record.h", op, name)
		}
	}
}
