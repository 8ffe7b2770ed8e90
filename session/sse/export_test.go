package sse

import (
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/socket"
)

// SinkForTest is the sink of a connection with the given channels, and its buffer.
func SinkForTest(r *session.Registry, requests []fanout.SubscribeRequest) (fanout.Sink, *session.Outbound) {
	var subs []subscription
	for _, req := range requests {
		subs = append(subs, subscription{request: req, hash: channelHash(req.Channel)})
	}
	s := newStream(r, slog.New(slog.DiscardHandler), auth.Claims{}, netip.Addr{}, subs)
	return s, &s.out
}

// ParseRequestForTest gives what the request subscribes to.
func ParseRequestForTest(r *http.Request) ([]fanout.SubscribeRequest, error) {
	subs, err := parseRequest(r, nil)
	var out []fanout.SubscribeRequest
	for _, s := range subs {
		out = append(out, s.request)
	}
	return out, err
}

// TokenForTest is the token of channels that stand at the given positions.
func TokenForTest(subs []fanout.SubscribeRequest) string {
	var places []place
	for _, s := range subs {
		p := place{channel: s.Channel}
		if len(subs) > 1 {
			p.hash = channelHash(s.Channel)
		}
		p.advance(s.Start.Positions)
		places = append(places, p)
	}
	return string(appendToken(nil, places))
}

// EndedForTest ends the connection of SinkForTest as its driver d does, having given it
// a place.
func EndedForTest(r *session.Registry, sink fanout.Sink, d socket.Driver) error {
	s := sink.(*stream)
	slot, err := r.Admit(session.SSE)
	if err != nil {
		return err
	}
	s.slot, s.driver = slot, d
	s.Ended(nil)
	return nil
}

// CloseForTest ends the subscriptions of SinkForTest.
func CloseForTest(sink fanout.Sink) { sink.(*stream).client.Close() }

// PollForTest is the sink of a poll, and what answers it.
func PollForTest(r *session.Registry, requests []fanout.SubscribeRequest) (fanout.Sink, func() (full bool, body string)) {
	var subs []subscription
	for _, req := range requests {
		subs = append(subs, subscription{request: req, hash: channelHash(req.Channel)})
	}
	s := newPoll(r, auth.Claims{}, subs)
	return s, func() (bool, string) {
		s.client.Close()
		select {
		case <-s.news:
			return true, string(s.body())
		default:
			return false, string(s.body())
		}
	}
}
