package sensor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
)

// Sensor is the loaded and attached sensor. Run has one caller at a time; all
// else may be called beside it.
type Sensor struct {
	kernel *kernel
	hooks  []Hook
	maps   map[string]*ebpf.Map
	specs  [2]*ebpf.CollectionSpec
	consts constants
	links  []link.Link
	late   map[string]*ebpf.Program // programs attached when they are run
	reader *ringbuf.Reader
	bad    atomic.Uint64
}

// Open loads the programs, attaches each by the best way that this kernel takes
// and starts to collect. A hook that cannot be attached is left out and told by
// Hooks. Errors: ErrPrivilege, ErrPlatform, or no hook at all could be attached.
func Open(opt Options) (*Sensor, error) {
	if os.Geteuid() != 0 {
		return nil, ErrPrivilege
	}
	// Kernels before 5.11 count maps as locked memory; on others a failure means nothing.
	limitErr := rlimit.RemoveMemlock()
	k, err := readKernel(opt.ExternalBTF)
	if err != nil {
		return nil, err
	}
	s := &Sensor{kernel: k, late: map[string]*ebpf.Program{}, consts: constants{selfTGID: uint32(os.Getpid()), cgroupV1: k.memoryV1, ring: 8 << 20}}
	if opt.RingBytes != 0 {
		s.consts.ring = uint32(opt.RingBytes)
	}
	if err := s.open(opt); err != nil {
		return nil, errors.Join(err, limitErr, s.Close())
	}
	return s, nil
}

func (s *Sensor) open(opt Options) error {
	if err := s.makeMaps(); err != nil {
		return err
	}
	paths := opt.Paths
	if paths.Prefixes == nil && paths.Tails == nil {
		paths = DefaultPaths()
	}
	if err := s.watch(paths); err != nil {
		return err
	}
	var err error
	if s.reader, err = ringbuf.NewReader(s.maps["events"]); err != nil {
		return fmt.Errorf("opening the ring: %w", err)
	}
	for _, p := range plans() {
		s.hooks = append(s.hooks, s.attach(p, opt.Tiers))
	}
	withoutSyscall(s.hooks)
	return s.anyHook()
}

// anyHook returns the first reason when not one of the hooks that tell events
// is attached.
func (s *Sensor) anyHook() error {
	for _, h := range s.hooks {
		if h.Tier != TierNone && h.Tier != TierProc {
			return nil
		}
	}
	return fmt.Errorf("attaching the sensor: %s", s.hooks[0].Refused[0].Reason)
}

// makeMaps creates the maps once; the programs of both objects share them.
func (s *Sensor) makeMaps() error {
	for i, load := range []func() (*ebpf.CollectionSpec, error){loadWithBTF, loadWithoutBTF} {
		spec, err := load()
		if err != nil {
			return fmt.Errorf("reading the sensor's object: %w", err)
		}
		spec.Maps["events"].MaxEntries = s.consts.ring
		s.specs[i] = spec
	}
	spec := s.specs[objectWithBTF].Copy()
	spec.Programs, spec.Variables = nil, nil
	delete(spec.Maps, ".rodata")
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return fmt.Errorf("creating the sensor's maps: %w", privilege(err))
	}
	s.maps = c.Maps
	return nil
}

func privilege(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return errors.Join(ErrPrivilege, err)
	}
	return err
}

func (s *Sensor) watch(p Paths) error {
	for prefix, w := range p.Prefixes {
		if err := s.maps["watched"].Put(prefixKey(prefix), uint32(w)); err != nil {
			return fmt.Errorf("watching %q: %w", prefix, err)
		}
	}
	for tail, w := range p.Tails {
		if err := s.maps["watched_tails"].Put(tailKey(tail), uint32(w)); err != nil {
			return fmt.Errorf("watching files called %q: %w", tail, err)
		}
	}
	return nil
}

// attach tries a hook's ways in order.
func (s *Sensor) attach(p plan, allowed []Tier) Hook {
	h := Hook{Name: p.name, Sees: p.sees, Tier: TierNone}
	for _, w := range p.ways {
		err := s.try(p, w, allowed)
		if err == nil {
			h.Tier = w.tier
			if w.tier == TierFunction && p.taken != nil {
				p.taken(&s.consts)
			}
			return h
		}
		h.Refused = append(h.Refused, Attempt{w.tier, reason(err)})
	}
	return h
}

// reason is err in one line: a verifier's error carries its log, and EPERM a
// hint at locked memory, of which there is enough. The kernel refuses function
// hooks with EPERM when it has no BPF trampoline.
func reason(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	first, _, _ = strings.Cut(first, " (MEMLOCK")
	return first
}

func (s *Sensor) try(p plan, w way, allowed []Tier) error {
	if allowed != nil && !slices.Contains(allowed, w.tier) {
		return errors.New("not asked for")
	}
	if w.usable != nil {
		if err := w.usable(s.kernel); err != nil {
			return err
		}
	}
	if w.object == noObject {
		return nil
	}
	c, err := s.load(w)
	if err != nil {
		return err
	}
	if p.late {
		s.late[w.programs[0]] = c.Programs[w.programs[0]]
		return nil
	}
	return s.link(w, c)
}

// load loads a way's programs into the kernel.
func (s *Sensor) load(w way) (*ebpf.Collection, error) {
	spec := s.specs[w.object].Copy()
	for name := range spec.Programs {
		if !slices.Contains(w.programs, name) {
			delete(spec.Programs, name)
		}
	}
	for name := range spec.Maps {
		if s.maps[name] == nil && name != ".rodata" {
			delete(spec.Maps, name)
		}
	}
	if err := s.consts.set(spec); err != nil {
		return nil, err
	}
	opt := ebpf.CollectionOptions{MapReplacements: s.maps}
	if s.kernel.external {
		opt.Programs.KernelTypes = s.kernel.types
	}
	c, err := ebpf.NewCollectionWithOptions(spec, opt)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", strings.Join(w.programs, ", "), err)
	}
	return c, nil
}

// link attaches all of a way's programs, or none.
func (s *Sensor) link(w way, c *ebpf.Collection) error {
	defer c.Close() // links hold the programs
	var links []link.Link
	for _, name := range w.programs {
		l, err := s.attachProgram(s.specs[w.object].Programs[name], c.Programs[name])
		if err != nil {
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
			return fmt.Errorf("attaching %s: %w", name, err)
		}
		links = append(links, l)
	}
	s.links = append(s.links, links...)
	return nil
}

func (s *Sensor) attachProgram(spec *ebpf.ProgramSpec, p *ebpf.Program) (link.Link, error) {
	switch spec.Type {
	case ebpf.RawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: spec.AttachTo, Program: p})
	case ebpf.LSM:
		return link.AttachLSM(link.LSMOptions{Program: p})
	case ebpf.CGroupSockAddr, ebpf.CGroupSKB:
		return link.AttachCgroup(link.CgroupOptions{Path: s.kernel.unified, Attach: spec.AttachType, Program: p})
	default:
		return link.AttachTracing(link.TracingOptions{Program: p})
	}
}

// set writes the constants into a copy of an object.
func (c *constants) set(spec *ebpf.CollectionSpec) error {
	values := map[string]any{
		"self_tgid": c.selfTGID, "cgroup_v1": flag(c.cgroupV1), "wake_bytes": uint32(wakeBytes), "room": roomsOf(c.ring),
		"ops64": c.table(calls64), "ops32": c.table(calls32),
	}
	for name, v := range values {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

func (c *constants) table(calls map[Op][]int) [512]uint8 {
	t := callTable(calls)
	for n, op := range t {
		if Op(op) == OpOpen && c.openByFunction {
			t[n] = 0
		}
	}
	return t
}

func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// Hooks returns what became of each hook, in a fixed order.
func (s *Sensor) Hooks() []Hook { return slices.Clone(s.hooks) }

// CgroupRoot returns where the hierarchy is mounted whose cgroups records name,
// "" when it is not: ids are unique within one hierarchy only.
func (s *Sensor) CgroupRoot() string { return s.kernel.cgroups }

// Close detaches everything. Run has returned before it is called.
func (s *Sensor) Close() error {
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	for _, p := range s.late {
		errs = append(errs, p.Close())
	}
	for _, m := range s.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
