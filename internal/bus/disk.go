package bus

// disk is the one an embedded log lies on. Its zero value, of a log that lies
// elsewhere, always has room.
type disk struct {
	dir  string
	min  int64                           // bytes that messages leave free
	free func(dir string) (int64, error) // of the disk; tests replace it
}

// check returns an error that wraps source.ErrUnavailable when need bytes more would
// leave less than floor free. JetStream should not meet the full disk: it stops storing.
func (d *disk) check(need int, floor int64) error {
	if d.dir == "" {
		return nil
	}
	free, err := d.free(d.dir)
	if err != nil {
		return unavailable("asking how much of the disk is free: %w", err)
	}
	if free < floor+int64(need) {
		return unavailable("disk has %d MiB free, needs %d MiB", free>>20, (floor+int64(need)+1<<20-1)>>20)
	}
	return nil
}

// stateFloor is what state and snapshots leave free.
func (d *disk) stateFloor() int64 { return d.min / 4 }
