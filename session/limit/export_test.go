package limit

// StageAt is stageAt.
func StageAt(was Stage, percent uint64) Stage { return stageAt(was, percent) }

// SetMemory has the limiter measure what read says, and how many collections there were,
// against ceiling, and call collect to have one made.
func (l *Limiter) SetMemory(ceiling uint64, read func() (needed, collections uint64), collect func()) {
	l.memory.ceiling, l.memory.read, l.memory.collect = ceiling, read, collect
}

// NeededNow is needed.
func NeededNow() (bytes, collections uint64) { return needed() }
