package session

import (
	"sync/atomic"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// What answers to the node cost, in limit.CommandCost.
const (
	// answerCost is that of an answer that tells the node something: there are as many as
	// messages that it has sent. One that tells it nothing costs as much as any command.
	answerCost = 1
	// progressCost is that of an in_progress, which can be said of one message for ever,
	// and is written to the log: each message needs one in half its ack_wait.
	progressCost = limit.CommandCost / 20
	// pongCost is that of a pong, which one ping in many seconds asks for.
	pongCost = limit.CommandCost / 10
)

// debt is what answers cost that told the node nothing, beside what was counted when they
// came. It is paid by the next answer.
type debt struct{ owed atomic.Int64 }

func (d *debt) add() { d.owed.Add(limit.CommandCost - answerCost) }

func (d *debt) take() int64 {
	if d.owed.Load() == 0 {
		return 0
	}
	return d.owed.Swap(0)
}

// isAnswer reports whether cmd says what became of a message.
func isAnswer(cmd *protocol.Command) bool {
	return cmd.Ack != nil || cmd.Nak != nil || cmd.InProgress != nil
}

// mayAnswer counts an answer, with what others before it owe.
func (s *Session) mayAnswer(cmd *protocol.Command) bool {
	owed := int64(limit.CommandCost - answerCost) // where there is nothing to answer
	d := s.debt()
	if d != nil {
		owed = d.take()
	}
	passed := s.count(cmd.ID, costOf(cmd)+owed)
	if !passed && d != nil {
		d.owed.Add(owed)
	}
	return passed
}

// debt is of the connection's answers, nil where it has nothing that they could be to. For
// the reading side.
func (s *Session) debt() *debt {
	if s.seats != nil {
		return &s.seats.debt
	}
	if d := s.durable.Load(); d != nil {
		return &d.debt
	}
	return nil
}

// vain notes that an answer was refused with err, unless that is the node's fault.
func (d *debt) vain(err error) {
	if d != nil && err != nil && !ErrorEvent(err).Temporary {
		d.add()
	}
}
