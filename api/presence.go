package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// Presence knows who is subscribed to channels, on all nodes.
type Presence interface {
	// Page returns fanout.ErrNoPresence where the namespace has none.
	Page(ctx context.Context, q fanout.PresenceQuery) (fanout.PresencePage, error)
	Has(c fanout.Channel) bool
	Channels(ctx context.Context, q fanout.ChannelsQuery) (fanout.ChannelsPage, error)
	Clients(ctx context.Context, c fanout.Channel) (n int, partial bool, err error)
}

// Tail knows where channels end.
type Tail interface {
	// Last is zero for a channel without messages.
	Last(ctx context.Context, c fanout.Channel) (fanout.Position, error)
}

// Users knows the connections of users, on all nodes.
type Users interface {
	Connections(ctx context.Context, user string) session.Connections
	DisconnectUser(ctx context.Context, user string, ev protocol.DisconnectEvent) session.Connections
}

// presenceData is the data of an answer about a channel.
type presenceData struct {
	Channel string `json:"channel"`
	// Members are absent where only the counts were asked for.
	Members *[]protocol.Member `json:"members,omitempty"`
	Clients int                `json:"clients"`
	Users   int                `json:"users"`
	Next    string             `json:"next,omitempty"`
	Partial bool               `json:"partial"`
}

// presence serves GET /v1/channels/{channel}/presence.
func (a *api) presence(ctx context.Context, x *exchange) error {
	c := x.channel
	params, err := x.query("limit", "after", "counts")
	if err != nil {
		return err
	}
	limit, err := numberOf(params, "limit", 1, protocol.MaxMembers, protocol.DefaultMembers)
	if err != nil {
		return err
	}
	q := fanout.PresenceQuery{Channel: c, Limit: int(limit), After: params.Get("after")}
	switch counts := params.Get("counts"); {
	case counts == "true" && (params.Has("limit") || params.Has("after")):
		return badInput("counts", "asks for no members, so there is no limit or after")
	case counts == "true":
		q.Limit = 0
	case params.Has("counts") && counts != "false":
		return badInput("counts", strconv.Quote(clip(counts))+" must be true or false")
	case params.Has("after") && q.After == "":
		return badInput("after", "is empty; give the next of the page before, or leave it out")
	}
	if err := a.mayRead(ctx, x, session.PresenceReads(q.Limit)); err != nil {
		return err
	}
	page, err := a.deps.Presence.Page(ctx, q)
	if err != nil {
		return readError(err)
	}
	data := presenceData{Channel: c.String(), Clients: page.Clients, Users: page.Users, Next: page.Next, Partial: page.Partial}
	if q.Limit > 0 {
		members := make([]protocol.Member, 0, len(page.Members))
		for _, m := range page.Members {
			members = append(members, session.MemberOf(m))
		}
		data.Members = &members
	}
	return x.answer("presence", data)
}

// answer writes data as JSON.
func (x *exchange) answer(message string, data any) error {
	return x.answerWith(http.StatusOK, message, data)
}

func (x *exchange) answerWith(status int, message string, data any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // as on the other wires
	if err := enc.Encode(data); err != nil {
		return err
	}
	x.begin(status, message)
	x.out = append(x.out, bytes.TrimSuffix(b.Bytes(), []byte{'\n'})...)
	x.end()
	return nil
}

// occupancyData is what there is to know of a channel.
type occupancyData struct {
	Channel string `json:"channel"`
	Clients int    `json:"clients"`
	// Users only where the namespace has presence.
	Users *int `json:"users,omitempty"`
	// Offset, Position and Time are those of the last message; without one, only the
	// offset is there, 0.
	Offset   uint64 `json:"offset"`
	Position string `json:"position,omitempty"`
	Time     int64  `json:"time,omitempty"`
	Partial  bool   `json:"partial"`
}

// channelInfo serves GET /v1/channels/{channel}.
func (a *api) channelInfo(ctx context.Context, x *exchange) error {
	c := x.channel
	if _, err := x.query(); err != nil {
		return err
	}
	if err := a.mayRead(ctx, x, 0); err != nil {
		return err
	}
	last, err := a.deps.Tail.Last(ctx, c)
	if err != nil {
		return readError(err)
	}
	data := occupancyData{Channel: c.String(), Offset: last.Offset}
	if !last.IsZero() {
		data.Position, data.Time = last.String(), last.Time/1e6
	}
	if a.deps.Presence.Has(c) {
		page, err := a.deps.Presence.Page(ctx, fanout.PresenceQuery{Channel: c})
		if err != nil {
			return readError(err)
		}
		data.Clients, data.Users, data.Partial = page.Clients, &page.Users, page.Partial
	} else if data.Clients, data.Partial, err = a.deps.Presence.Clients(ctx, c); err != nil {
		return readError(err)
	}
	return x.answer("channel", data)
}

// channelsData is the data of a page of channels.
type channelsData struct {
	Channels []fanout.Occupancy `json:"channels"`
	Next     string             `json:"next,omitempty"`
	Partial  bool               `json:"partial"`
}

// mostRounds bounds the pages that one request looks at: where the caller may see few of
// the channels, its page has fewer than it asked for, and a next.
const mostRounds = 8

// channels serves GET /v1/channels.
func (a *api) channels(ctx context.Context, x *exchange) error {
	params, err := x.query("prefix", "limit", "after")
	if err != nil {
		return err
	}
	limit, err := numberOf(params, "limit", 1, fanout.MaxChannels, protocol.DefaultMembers)
	if err != nil {
		return err
	}
	q := fanout.ChannelsQuery{Prefix: params.Get("prefix"), After: params.Get("after"), Limit: int(limit)}
	for _, name := range []string{"prefix", "after"} {
		if value := params.Get(name); len(value) > maxChannelBytes || !utf8.ValidString(value) {
			return badInput(name, "must be the beginning of a channel's name, of at most "+strconv.Itoa(maxChannelBytes)+" bytes")
		}
	}
	if err := a.mayRead(ctx, x, session.PresenceReads(int(limit))); err != nil {
		return err
	}
	data := channelsData{Channels: []fanout.Occupancy{}}
	for range mostRounds {
		page, err := a.deps.Presence.Channels(ctx, q)
		if err != nil {
			return readError(err)
		}
		data.Partial = data.Partial || page.Partial
		data.Next = ""
		for i, o := range page.Channels {
			if x.claims.Allows(auth.Presence, o.Channel) {
				data.Channels = append(data.Channels, o)
			}
			q.After = o.Channel
			if page.More || i+1 < len(page.Channels) {
				data.Next = q.After
			} else {
				data.Next = ""
			}
			if len(data.Channels) == int(limit) {
				return x.answer("channels", data)
			}
		}
		if data.Next == "" {
			break
		}
	}
	return x.answer("channels", data)
}

// maxChannelBytes is the length of the longest canonical name.
const maxChannelBytes = 233

// userData is the data of an answer about a user.
type userData struct {
	User        string               `json:"user"`
	Connections []session.Connection `json:"connections"`
	More        bool                 `json:"more"`
	Partial     bool                 `json:"partial"`
}

func (x *exchange) answerUser(message, user string, c session.Connections) error {
	data := userData{User: user, Connections: c.List, More: c.More, Partial: c.Partial}
	if data.Connections == nil {
		data.Connections = []session.Connection{}
	}
	return x.answer(message, data)
}

// connections serves GET /v1/users/{user}/connections.
func (a *api) connections(ctx context.Context, x *exchange) error {
	user, err := x.user()
	if err != nil {
		return err
	}
	if _, err := x.query(); err != nil {
		return err
	}
	return x.answerUser("connections", user, a.deps.Users.Connections(ctx, user))
}

// disconnect serves DELETE /v1/users/{user}/connections.
func (a *api) disconnect(ctx context.Context, x *exchange) error {
	user, err := x.user()
	if err != nil {
		return err
	}
	params, err := x.query("code", "reason")
	if err != nil {
		return err
	}
	ev := protocol.DisconnectEvent{Code: protocol.CloseForbidden, Reason: params.Get("reason")}
	if params.Has("code") {
		if ev.Code, err = closeCode(params.Get("code")); err != nil {
			return err
		}
	}
	switch {
	case len(ev.Reason) > maxCloseReason || !utf8.ValidString(ev.Reason) || strings.ContainsFunc(ev.Reason, func(r rune) bool { return r < ' ' }):
		return badInput("reason", "must be UTF-8 of at most "+strconv.Itoa(maxCloseReason)+" bytes without control characters")
	case ev.Reason == "":
		ev.Reason = closeReason(ev.Code)
	}
	ev.Reconnect = ev.Code.Reconnect()
	return x.answerUser("disconnected", user, a.deps.Users.DisconnectUser(ctx, user, ev))
}

// maxCloseReason is what a close frame has room for.
const maxCloseReason = 123

// closeCode reads a close code that an application may ask for.
func closeCode(s string) (protocol.Code, error) {
	for _, c := range []protocol.Code{protocol.CloseOverloaded, protocol.CloseTokenExpired, protocol.CloseUnauthorized, protocol.CloseForbidden} {
		if s == strconv.Itoa(int(c)) {
			return c, nil
		}
	}
	return 0, badInput("code", strconv.Quote(clip(s))+" must be 4003 (come back), 4006 (come back with a fresh token), 4201 (the token is not valid) or 4202 (stay away)")
}

// closeReason is what a client is told where the application gives no reason: what the
// code stands for, unless that is about something that did not happen.
func closeReason(c protocol.Code) string {
	switch c {
	case protocol.CloseOverloaded:
		return "disconnected by an administrator, come back"
	case protocol.CloseForbidden:
		return "disconnected by an administrator"
	}
	return c.Reason()
}

// user reads the path's user.
func (x *exchange) user() (string, error) {
	user, err := url.PathUnescape(chi.URLParam(x.r, "user"))
	switch {
	case err != nil:
		return "", &problem{status: http.StatusBadRequest, field: "user", message: "the path has a broken % escape"}
	case user == "" || len(user) > auth.MaxSubjectBytes || !utf8.ValidString(user):
		return "", badInput("user", "must be 1 to "+strconv.Itoa(auth.MaxSubjectBytes)+" bytes of UTF-8")
	}
	return user, nil
}
