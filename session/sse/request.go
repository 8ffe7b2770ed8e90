package sse

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// maxChannels of one connection.
const maxChannels = 32

// subscription is one channel of a request.
type subscription struct {
	request fanout.SubscribeRequest
	refine  *protocol.SubscribeCommand // only what it leaves out is of use; shared
	hash    string
}

// parseRequest reads the channels of a request, or takes those that its token names, where
// they start and what they leave out. further are the parameters that it does not read.
func parseRequest(r *http.Request, named []string, further ...string) ([]subscription, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, session.BadRequest("query", "is not a valid query string: %v", err)
	}
	if err := checkNames(query, further); err != nil {
		return nil, err
	}
	names := query["channel"]
	if len(names) == 0 {
		names = named
	}
	if len(names) == 0 && slices.Contains(further, "timeout") && query.Get("timeout") == "0" {
		return nil, nil // a poll for nothing: is the node there, and the token good?
	}
	channels, err := parseChannels(names)
	if err != nil {
		return nil, err
	}
	start, resume, err := parseStart(r, query, len(channels))
	if err != nil {
		return nil, err
	}
	each, err := parseEach(r, query["position"], len(names), len(channels))
	if err != nil {
		return nil, err
	}
	refine, err := parseRefine(query)
	if err != nil {
		return nil, err
	}
	subs := make([]subscription, len(channels))
	for i, c := range channels {
		req := fanout.SubscribeRequest{Token: uint64(i) + 1, Channel: c, Start: start}
		if each != nil {
			resume = each[i]
		}
		if at := resume.of(c); len(at) > 0 {
			req.Start = fanout.Start{Positions: at}
		}
		subs[i].request, subs[i].refine = req, refine
		if len(channels) > 1 {
			subs[i].hash = channelHash(c)
		}
	}
	return subs, nil
}

// parseRefine reads what the channels leave out.
func parseRefine(query url.Values) (*protocol.SubscribeCommand, error) {
	cmd := &protocol.SubscribeCommand{Filter: query.Get("filter"), Conflate: query.Get("conflate")}
	var err error
	if cmd.MaxRate, err = number(query, "max_rate"); err != nil {
		return nil, err
	}
	switch {
	case query.Has("max_rate") && cmd.MaxRate == 0:
		return nil, session.BadRequest("max_rate", "is 0, must be from 1 to %d messages a second", protocol.MaxRate)
	case query.Has("filter") && cmd.Filter == "":
		return nil, session.BadRequest("filter", "is empty; write an expression, or leave it out")
	case query.Has("conflate") && cmd.Conflate == "":
		return nil, session.BadRequest("conflate", "is empty; write key or last, or leave it out")
	}
	return cmd, nil
}

// refine gives the requests what they leave out. Call release when they were handed
// over, or will not be.
func refine(r *session.Registry, subs []subscription) (release func(), err error) {
	all := make([]func(), 0, len(subs))
	release = func() {
		for _, f := range all {
			f()
		}
	}
	for i := range subs {
		one, err := r.Refine(&subs[i].request, subs[i].refine)
		if err != nil {
			release()
			return nil, err
		}
		all = append(all, one)
	}
	return release, nil
}

// subscribe asks a client for all channels, up to the first that it refuses at once.
func subscribe(client session.Subscriber, subs []subscription) error {
	for _, sub := range subs {
		if err := client.Subscribe(sub.request); err != nil {
			return err
		}
	}
	return nil
}

// replays reports whether caught_up will follow.
func (s *subscription) replays() bool {
	start := s.request.Start
	return len(start.Positions) > 0 || start.Last != 0 || start.Since != 0 || s.request.Conflate.By != fanout.ConflateNone
}

// checkNames refuses what it does not know: a caller who misspells ?last must not
// be given something else.
func checkNames(query url.Values, further []string) error {
	known := []string{"channel", "last", "since", "position", "filter", "conflate", "max_rate", "token", "resume"}
	known = append(known, further...)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(known, name) {
			return session.BadRequest(fmt.Sprintf("%.32s", strings.ToValidUTF8(name, "?")),
				"is not a known parameter; the parameters are %s", strings.Join(known, ", "))
		}
		if name != "channel" && name != "position" && len(query[name]) > 1 {
			return session.BadRequest(name, "is given more than once")
		}
	}
	return nil
}

func parseChannels(names []string) ([]fanout.Channel, error) {
	if len(names) == 0 {
		return nil, session.BadRequest("channel", "is missing; write for example ?channel=chat:lobby")
	}
	var channels []fanout.Channel
	hashes := map[string]fanout.Channel{}
	for _, name := range names {
		c, err := fanout.ParsePattern(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(channels, c) {
			continue
		}
		hash := channelHash(c)
		if other, clash := hashes[hash]; clash {
			return nil, session.BadRequest("channel", "%s and %s cannot be told apart in a resume token; use two connections", c, other)
		}
		hashes[hash] = c
		channels = append(channels, c)
		if len(channels) > maxChannels {
			return nil, session.BadRequest("channel", "is given more than %d times; use a pattern or further connections", maxChannels)
		}
	}
	if len(channels) > 1 && slices.ContainsFunc(channels, fanout.Channel.IsPattern) {
		return nil, session.BadRequest("channel", "a pattern needs a connection of its own")
	}
	return channels, nil
}

// parseStart reads where the channels start: resume where a token names them,
// start otherwise.
func parseStart(r *http.Request, query url.Values, channels int) (start fanout.Start, resume token, err error) {
	cmd := protocol.SubscribeCommand{Channel: "x"} // only its start is of use
	if cmd.Last, err = number(query, "last"); err != nil {
		return start, resume, err
	}
	since, err := number(query, "since")
	if err != nil {
		return start, resume, session.BadRequest("since", "%.32q must be a Unix time in milliseconds", query.Get("since"))
	}
	cmd.Since = int64(since)
	if query.Has("last") && cmd.Last == 0 {
		return start, resume, session.BadRequest("last", "is 0, must be from 1 to %d", fanout.MaxLast)
	}
	req, err := session.ParseSubscribe(&cmd)
	if err != nil {
		return start, resume, err
	}
	// The header goes first: a browser that comes back repeats its URL as it was.
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		resume, err = parseToken("Last-Event-ID", id, channels)
		return req.Start, resume, err
	}
	if len(query["position"]) > 1 {
		return req.Start, resume, nil // parseEach reads them
	}
	position := query.Get("position")
	if position != "" && (cmd.Last != 0 || cmd.Since != 0) {
		return start, resume, session.BadRequest("position", "give at most one of position, last and since")
	}
	resume, err = parseToken("position", position, channels)
	return req.Start, resume, err
}

// parseEach reads the positions of a request that gives one for each of its names, in
// their order; nil if it does not. An empty one is where the parameters say.
func parseEach(r *http.Request, positions []string, names, channels int) ([]token, error) {
	if len(positions) < 2 || r.Header.Get("Last-Event-ID") != "" {
		return nil, nil
	}
	if len(positions) != names || names != channels {
		return nil, session.BadRequest("position", "is given %d times, and channel %d times: give a resume token for all, or a position for each of the channels, which must differ", len(positions), names)
	}
	each := make([]token, channels)
	for i, position := range positions {
		var err error
		if each[i], err = parseToken("position", position, 1); err != nil {
			return nil, err
		}
	}
	return each, nil
}

func number(query url.Values, name string) (int, error) {
	s := query.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, session.BadRequest(name, "%.32q is not a whole number", s)
	}
	return n, nil
}

// authorise checks that the claims cover every channel.
func authorise(claims auth.Claims, subs []subscription) error {
	for _, s := range subs {
		if c := s.request.Channel; !claims.Allows(auth.Subscribe, c.String()) {
			return session.Lacking(claims, "channel", auth.Subscribe, c)
		}
	}
	return nil
}
