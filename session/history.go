package session

import (
	"context"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// history reads a page beside the reading of commands, one page at a time.
func history(ctx context.Context, s *Session, cmd *protocol.Command) error {
	q, err := ParseHistory(cmd.History)
	if err != nil {
		return err
	}
	if !s.allows(auth.History, q.Channel) {
		return s.lacking("channel", auth.History, q.Channel)
	}
	pages := s.queue().pages
	pages <- struct{}{}
	s.work.Go(func() {
		defer func() { <-pages }()
		s.readHistory(ctx, cmd.ID, q)
	})
	return nil
}

func (s *Session) readHistory(ctx context.Context, id uint64, q fanout.HistoryQuery) {
	ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
	defer cancel()
	if err := s.mayRead(ctx, q.Limit); err != nil {
		s.reply(id, err)
		return
	}
	page, err := s.registry.services.History.History(ctx, q)
	if err != nil {
		s.refuse(id, ReadErrorEvent(err), err)
		return
	}
	if s.out.WaitRoom() {
		s.push(&protocol.Event{ID: id, History: HistoryEvent(q.Channel, page, s.registry.cfg.HardBuffer/2)})
	}
}

// ParseHistory checks the fields of a history command.
func ParseHistory(cmd *protocol.HistoryCommand) (fanout.HistoryQuery, error) {
	q := fanout.HistoryQuery{Limit: cmd.Limit}
	c, err := fanout.ParseChannel(cmd.Channel)
	if err != nil {
		return q, err
	}
	q.Channel = c
	if cmd.Limit == 0 {
		q.Limit = protocol.DefaultHistory
	}
	switch {
	case q.Limit < 1 || q.Limit > fanout.MaxLast:
		return q, BadRequest("limit", "is %d, must be from 1 to %d", cmd.Limit, fanout.MaxLast)
	case cmd.Order != "" && cmd.Order != "asc" && cmd.Order != "desc":
		return q, BadRequest("order", "is %.16q, must be asc or desc", cmd.Order)
	case cmd.Since < 0 || cmd.Since > maxMillis:
		return q, BadRequest("since", "is %d, must be a Unix time in milliseconds", cmd.Since)
	case cmd.Since != 0 && cmd.After != "":
		return q, BadRequest("since", "give at most one of after and since")
	case cmd.Fold != "" && cmd.Fold != protocol.FoldLatest:
		return q, BadRequest("fold", "is %.16q, must be latest", cmd.Fold)
	}
	q.Fold = cmd.Fold != ""
	q.Desc = cmd.Order == "desc"
	q.Since = cmd.Since * int64(time.Millisecond)
	if q.After, err = position("after", cmd.After); err != nil {
		return q, err
	}
	q.Before, err = position("before", cmd.Before)
	return q, err
}

func position(field, s string) (fanout.Position, error) {
	if s == "" {
		return fanout.Position{}, nil
	}
	p, err := fanout.ParsePosition(s)
	if err != nil {
		return p, BadRequest(field, "%s", ErrorEvent(err).Message)
	}
	return p, nil
}

// HistoryEvent is a page as the wire has it, cut to about most bytes of messages
// but one at least; what is cut off is in the next page.
func HistoryEvent(c fanout.Channel, page fanout.HistoryPage, most int) *protocol.HistoryEvent {
	ev := &protocol.HistoryEvent{
		Channel: c.String(), Position: page.Position.String(), More: page.More,
		Recovered: page.Recovered, Reason: page.Reason, Messages: []protocol.MessageEvent{},
	}
	for i, m := range page.Messages {
		if most -= m.Size(); most < 0 && i > 0 {
			ev.Position, ev.More = page.PlaceOf(i-1).String(), true
			break
		}
		ev.Messages = append(ev.Messages, MessageEvent(m))
	}
	return ev
}
