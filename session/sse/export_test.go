package sse

import (
	"net/http"

	"github.com/rivulet-rt/rivulet/fanout"
)

// ParseRequestForTest gives what the request subscribes to.
func ParseRequestForTest(r *http.Request) ([]fanout.SubscribeRequest, error) {
	subs, err := parseRequest(r)
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
