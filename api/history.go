package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// history serves GET /v1/channels/{channel}/messages.
func (a *api) history(ctx context.Context, x *exchange) error {
	q, err := x.historyQuery()
	if err != nil {
		return err
	}
	if err := a.mayRead(ctx, x, q.Limit); err != nil {
		return err
	}
	page, err := a.deps.History.History(ctx, q)
	if err != nil {
		return readError(err)
	}
	x.begin(http.StatusOK, "history")
	x.out = append(x.out, `{"channel":`...)
	x.out = appendString(x.out, q.Channel.String())
	x.out = append(x.out, `,"messages":[`...)
	for i, m := range page.Messages {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		event := session.MessageEvent(m)
		x.out = protocol.AppendMessage(x.out, &event)
		x.flush()
	}
	x.out = append(x.out, `],"position":"`...)
	x.out = append(x.out, page.Position.String()...)
	x.out = append(x.out, `","more":`...)
	x.out = strconv.AppendBool(x.out, page.More)
	x.out = append(x.out, `,"recovered":`...)
	x.out = strconv.AppendBool(x.out, page.Recovered)
	if page.Reason != "" {
		x.out = append(x.out, `,"reason":`...)
		x.out = appendString(x.out, page.Reason)
	}
	x.out = append(x.out, '}')
	x.end()
	return nil
}

func (x *exchange) historyQuery() (fanout.HistoryQuery, error) {
	q := fanout.HistoryQuery{Channel: x.channel, Limit: protocol.DefaultHistory}
	params, err := x.query("after", "before", "since", "limit", "order", "fold")
	if err != nil {
		return q, err
	}
	if q.After, err = positionOf(params, "after"); err != nil {
		return q, err
	}
	if q.Before, err = positionOf(params, "before"); err != nil {
		return q, err
	}
	since, err := sinceOf(params)
	if err != nil {
		return q, err
	}
	if since > 0 && !q.After.IsZero() {
		return q, badInput("since", "cannot be given together with after")
	}
	q.Since = since * int64(time.Millisecond)
	limit, err := numberOf(params, "limit", 1, protocol.MaxHistory, protocol.DefaultHistory)
	if err != nil {
		return q, err
	}
	q.Limit = int(limit)
	switch order := params.Get("order"); {
	case order == "desc":
		q.Desc = true
	case params.Has("order") && order != "asc":
		return q, badInput("order", strconv.Quote(clip(order))+" must be asc or desc")
	}
	switch fold := params.Get("fold"); {
	case fold == protocol.FoldLatest:
		q.Fold = true
	case params.Has("fold"):
		return q, badInput("fold", strconv.Quote(clip(fold))+" must be latest")
	}
	return q, nil
}

func positionOf(params url.Values, name string) (fanout.Position, error) {
	if !params.Has(name) {
		return fanout.Position{}, nil
	}
	p, err := fanout.ParsePosition(params.Get(name))
	if e, ok := errors.AsType[*fanout.InputError](err); ok {
		return p, badInput(name, e.Problem)
	}
	return p, err
}

// sinceOf reads since, 0 where it is not given.
func sinceOf(params url.Values) (int64, error) {
	since, err := numberOf(params, "since", 0, math.MaxInt64/int64(time.Millisecond), 0)
	if err != nil {
		return 0, badInput("since", strconv.Quote(clip(params.Get("since")))+" must be a Unix time in milliseconds, as now is "+
			strconv.FormatInt(time.Now().UnixMilli(), 10))
	}
	return since, nil
}

func numberOf(params url.Values, name string, least, most, otherwise int64) (int64, error) {
	if !params.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(params.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, badInput(name, strconv.Quote(clip(params.Get(name)))+" must be a whole number from "+
			strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10))
	}
	return n, nil
}

// parseQuery refuses what it does not know: a caller who asks for ?offset=10 must
// not be given something else.
func parseQuery(raw string, names []string) (url.Values, error) {
	params, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badInput("query", "is not well-formed; escape each name and value")
	}
	for name, values := range params {
		switch {
		case name == "token":
			return nil, badInput("token", "must not be in the URL, which logs and proxies keep; send Authorization: Bearer <token>")
		case !slices.Contains(names, name) && len(names) == 0:
			return nil, badInput(clip(name), "is not a known parameter; there are none here")
		case !slices.Contains(names, name):
			return nil, badInput(clip(name), "is not a known parameter; the parameters are "+strings.Join(names, ", "))
		case len(values) > 1:
			return nil, badInput(name, "is given more than once")
		}
	}
	return params, nil
}

// purge serves DELETE /v1/channels/{channel}/messages.
func (a *api) purge(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	receipt, err := a.deps.Purger.Purge(ctx, x.channel)
	if err != nil {
		return purgeError(err)
	}
	x.begin(http.StatusOK, "purged")
	x.out = appendReceipt(x.out, x.channel, receipt)
	x.end()
	return nil
}
