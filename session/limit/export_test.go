package limit

// StageAt is stageAt.
func StageAt(was Stage, percent uint64) Stage { return stageAt(was, percent) }

// SetMemory has the limiter measure what read says, against ceiling.
func (l *Limiter) SetMemory(ceiling uint64, read func() uint64) {
	l.memory.ceiling, l.memory.read = ceiling, read
}
