package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// Sessions are the durable sessions that the log keeps. Errors wrap fanout.ErrNoSession
// or fanout.ErrUnavailable.
type Sessions interface {
	// List returns a page of a user's sessions, or of all where user is "".
	List(ctx context.Context, user string, after uint64, limit int) (list []*fanout.SessionRecord, next uint64, err error)
	Get(ctx context.Context, id fanout.SessionID) (*fanout.SessionRecord, error)
	// Lag is how many messages lie after a position.
	Lag(ctx context.Context, c fanout.Channel, after fanout.Position) (uint64, error)
}

// SessionControl changes durable sessions. Errors are likewise.
type SessionControl interface {
	Reset(ctx context.Context, id fanout.SessionID, to []fanout.SessionChannel) (*fanout.SessionRecord, error)
	Delete(ctx context.Context, id fanout.SessionID) error
	// StartOf and At find the position to reset to.
	StartOf(ctx context.Context, c fanout.Channel, start fanout.Start) (fanout.Position, error)
	At(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Position, error)
}

const (
	mostSessionsPage    = 1000
	defaultSessionsPage = 100
	maxResetBody        = 4 << 10
)

// sessionJSON is a durable session as it is shown.
type sessionJSON struct {
	User      string               `json:"user"`
	Session   string               `json:"session"`
	Connected bool                 `json:"connected"`
	Node      string               `json:"node,omitempty"`
	Client    string               `json:"client,omitempty"`
	Created   int64                `json:"created"`
	Seen      int64                `json:"seen"`
	Expires   int64                `json:"expires"`
	Channels  []sessionChannelJSON `json:"channels"`
}

type sessionChannelJSON struct {
	Channel string `json:"channel"`
	// The rest is given of one session, not in lists.
	Position string  `json:"position,omitempty"`
	Offset   *uint64 `json:"offset,omitempty"`
	Lag      *uint64 `json:"lag,omitempty"`
}

func showSession(r *fanout.SessionRecord) sessionJSON {
	s := sessionJSON{
		User: r.ID.User, Session: r.ID.Name, Connected: r.Node != "", Node: r.Node, Client: r.Client,
		Created: r.Created.UnixMilli(), Seen: r.Seen.UnixMilli(), Expires: r.Expires().UnixMilli(), Channels: []sessionChannelJSON{},
	}
	for _, k := range r.Channels {
		s.Channels = append(s.Channels, sessionChannelJSON{Channel: k.Channel.String()})
	}
	return s
}

// sessionID reads the path's user and session; the session is "" where the path has none.
func (x *exchange) sessionID() (id fanout.SessionID, err error) {
	for name, to := range map[string]*string{"user": &id.User, "session": &id.Name} {
		if *to, err = url.PathUnescape(chi.URLParam(x.r, name)); err != nil {
			return id, &problem{status: http.StatusBadRequest, field: name, message: "the path has a broken % escape"}
		}
	}
	if len(id.User) > auth.MaxSubjectBytes {
		return id, badInput("user", "is over "+strconv.Itoa(auth.MaxSubjectBytes)+" bytes")
	}
	if chi.URLParam(x.r, "session") == "" {
		return id, nil
	}
	if err := session.CheckSessionName(id.Name); err != nil {
		return id, badInput("session", session.ErrorEvent(err).Message)
	}
	return id, nil
}

// listSessions serves GET /v1/sessions and GET /v1/users/{user}/sessions.
func (a *api) listSessions(ctx context.Context, x *exchange) error {
	params, err := x.query("limit", "after")
	if err != nil {
		return err
	}
	id, err := x.sessionID()
	if err != nil {
		return err
	}
	limit, err := numberOf(params, "limit", 1, mostSessionsPage, defaultSessionsPage)
	if err != nil {
		return err
	}
	after, err := numberOf(params, "after", 0, 1<<53, 0)
	if err != nil {
		return err
	}
	list, next, err := a.deps.Sessions.List(ctx, id.User, uint64(after), int(limit))
	if err != nil {
		return readError(err)
	}
	page := struct {
		Sessions []sessionJSON `json:"sessions"`
		Next     uint64        `json:"next,omitempty"`
	}{Sessions: []sessionJSON{}, Next: next}
	for _, r := range list {
		page.Sessions = append(page.Sessions, showSession(r))
	}
	return x.answer("sessions", page)
}

// showOneSession serves GET /v1/users/{user}/sessions/{session}.
func (a *api) showOneSession(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	id, err := x.sessionID()
	if err != nil {
		return err
	}
	r, err := a.deps.Sessions.Get(ctx, id)
	if err != nil {
		return readError(err)
	}
	return a.answerSession(ctx, x, r)
}

// answerSession shows a session with its positions and how far it lags.
func (a *api) answerSession(ctx context.Context, x *exchange, r *fanout.SessionRecord) error {
	s := showSession(r)
	for i, k := range r.Channels {
		lag, err := a.deps.Sessions.Lag(ctx, k.Channel, k.Position)
		if errors.Is(err, fanout.ErrUnknownNamespace) {
			continue // it is no longer configured
		}
		if err != nil {
			return readError(err)
		}
		c := &s.Channels[i]
		c.Lag = &lag
		if !k.Position.IsZero() {
			c.Position, c.Offset = k.Position.String(), &k.Position.Offset
		}
	}
	return x.answer("session", s)
}

// deleteSession serves DELETE /v1/users/{user}/sessions/{session}.
func (a *api) deleteSession(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	id, err := x.sessionID()
	if err != nil {
		return err
	}
	if err := a.deps.SessionControl.Delete(ctx, id); err != nil {
		return readError(err)
	}
	return x.answer("deleted", map[string]string{"user": id.User, "session": id.Name})
}

// resetJSON says where a session is put. Exactly one of Position, Offset and To is set.
type resetJSON struct {
	Channel  string  `json:"channel"` // empty is every channel, with To alone
	Position string  `json:"position"`
	Offset   *uint64 `json:"offset"`
	To       string  `json:"to"`
}

// resetSession serves POST /v1/users/{user}/sessions/{session}/reset.
func (a *api) resetSession(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	id, err := x.sessionID()
	if err != nil {
		return err
	}
	req, err := decodeReset(x.body)
	if err != nil {
		return err
	}
	r, err := a.deps.Sessions.Get(ctx, id)
	if err != nil {
		return readError(err)
	}
	to, err := a.resetTo(ctx, r, req)
	if err != nil {
		return err
	}
	x.note(slog.String("channel", req.Channel))
	if r, err = a.deps.SessionControl.Reset(ctx, id, to); err != nil {
		return readError(err)
	}
	return a.answerSession(ctx, x, r)
}

func decodeReset(body []byte) (resetJSON, error) {
	var req resetJSON
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil || dec.More() {
		return req, badInput("body", `is not like {"channel":"chat:lobby","to":"now"}; its fields are channel, position, offset and to`)
	}
	set := 0
	for _, given := range []bool{req.Position != "", req.Offset != nil, req.To != ""} {
		if given {
			set++
		}
	}
	switch {
	case set != 1:
		return req, badInput("to", `give exactly one of position, offset and to`)
	case req.To != "" && req.To != "now" && req.To != "start":
		return req, badInput("to", strconv.Quote(clip(req.To))+" must be now or start")
	case req.Channel == "" && req.To == "":
		return req, badInput("channel", "is missing; a position or an offset is of one channel")
	}
	return req, nil
}

// resetTo turns what was asked for into places of the session.
func (a *api) resetTo(ctx context.Context, r *fanout.SessionRecord, req resetJSON) ([]fanout.SessionChannel, error) {
	channels := r.Names()
	if req.Channel != "" {
		c, err := fanout.ParseChannel(req.Channel)
		if err != nil {
			return nil, err
		}
		if r.Find(c) == nil {
			return nil, &problem{status: http.StatusNotFound, field: "channel", message: "the durable session is not subscribed to " + strconv.Quote(c.String())}
		}
		channels = []fanout.Channel{c}
	}
	var to []fanout.SessionChannel
	for _, c := range channels {
		at, err := a.resetPosition(ctx, c, req)
		if err != nil {
			return nil, err
		}
		to = append(to, fanout.SessionChannel{Channel: c, Position: at})
	}
	return to, nil
}

func (a *api) resetPosition(ctx context.Context, c fanout.Channel, req resetJSON) (fanout.Position, error) {
	switch {
	case req.Position != "":
		return fanout.ParsePosition(req.Position)
	case req.Offset != nil:
		at, err := a.deps.SessionControl.At(ctx, c, *req.Offset)
		if errors.Is(err, fanout.ErrNotStored) {
			return at, badInput("offset", "no message of the channel is stored there; give a position, or to")
		}
		return at, readError(err)
	}
	start := fanout.Start{}
	if req.To == "start" {
		start.Since = int64(time.Millisecond)
	}
	at, err := a.deps.SessionControl.StartOf(ctx, c, start)
	return at, readError(err)
}
