package session

import (
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Filters compiles the expressions of subscriptions. The filter it returns has one
// user, who is to release it. Errors are *fanout.InputError with field "filter", or
// fanout.ErrTooManyFilters.
type Filters interface {
	Compile(expression string) (*fanout.Filter, error)
}

// ParseConflation reads what a subscribe command says of conflation; of nothing said it
// is none.
func ParseConflation(cmd *protocol.SubscribeCommand) (fanout.Conflation, error) {
	c := fanout.Conflation{MaxRate: cmd.MaxRate}
	switch cmd.Conflate {
	case "":
	case protocol.ConflateKey:
		c.By = fanout.ConflateKey
	case protocol.ConflateLast:
		c.By = fanout.ConflateLast
	default:
		return c, BadRequest("conflate", "is %.16q, must be %s or %s", cmd.Conflate, protocol.ConflateKey, protocol.ConflateLast)
	}
	switch {
	case cmd.MaxRate < 0 || cmd.MaxRate > protocol.MaxRate:
		return c, BadRequest("max_rate", "is %d, must be from 1 to %d messages a second", cmd.MaxRate, protocol.MaxRate)
	case cmd.MaxRate > 0 && c.By == fanout.ConflateNone:
		return c, BadRequest("max_rate", "needs conflate: what is above the rate is left out only where something newer outdates it")
	}
	return c, nil
}

// Refine gives a request what the command leaves out of its channel: by a filter, and
// by conflation, its own or the namespace's. Call release when the request was handed
// over, or will not be.
func (r *Registry) Refine(req *fanout.SubscribeRequest, cmd *protocol.SubscribeCommand) (release func(), err error) {
	if req.Conflate, err = ParseConflation(cmd); err != nil {
		return nil, err
	}
	if req.Start.Last > 0 || req.Start.Since > 0 {
		if err := r.services.Limits.History(req.Start.Last); err != nil {
			return nil, err
		}
	}
	if req.Conflate.By == fanout.ConflateNone && !cmd.Durable && cmd.Group == "" {
		req.Conflate = r.cfg.Conflate[req.Channel.Namespace()]
	}
	if cmd.Filter == "" {
		return func() {}, nil
	}
	if r.services.Filters == nil {
		return nil, refuse(protocol.ErrorNotSupported, "filter", "this node has no filters")
	}
	if req.Filter, err = r.services.Filters.Compile(cmd.Filter); err != nil {
		return nil, err
	}
	return req.Filter.Release, nil
}
