package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Groups knows the durable groups of channels. Errors wrap fanout.ErrNoGroup,
// fanout.ErrUnknownNamespace or fanout.ErrUnavailable.
type Groups interface {
	Groups(ctx context.Context, c fanout.Channel) ([]fanout.GroupInfo, error)
	Group(ctx context.Context, c fanout.Channel, group string) (fanout.GroupInfo, error)
	DeleteGroup(ctx context.Context, c fanout.Channel, group string) error
}

// groups serves GET /v1/channels/{channel}/groups.
func (a *api) groups(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	list, err := a.deps.Groups.Groups(ctx, x.channel)
	if err != nil {
		return readError(err)
	}
	x.begin(http.StatusOK, "groups")
	x.out = append(x.out, `{"groups":[`...)
	for i := range list {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		x.out = appendGroup(x.out, &list[i])
		x.flush()
	}
	x.out = append(x.out, `]}`...)
	x.end()
	return nil
}

// group serves GET /v1/channels/{channel}/groups/{group}.
func (a *api) group(ctx context.Context, x *exchange) error {
	c, name, err := x.group()
	if err != nil {
		return err
	}
	info, err := a.deps.Groups.Group(ctx, c, name)
	if err != nil {
		return groupError(err)
	}
	x.begin(http.StatusOK, "group")
	x.out = appendGroup(x.out, &info)
	x.end()
	return nil
}

// deleteGroup serves DELETE /v1/channels/{channel}/groups/{group}.
func (a *api) deleteGroup(ctx context.Context, x *exchange) error {
	c, name, err := x.group()
	if err != nil {
		return err
	}
	if err := a.deps.Groups.DeleteGroup(ctx, c, name); err != nil {
		return groupError(err)
	}
	x.begin(http.StatusOK, "deleted")
	x.out = append(x.out, `{"group":`...)
	x.out = append(appendString(x.out, name), '}')
	x.end()
	return nil
}

// group reads the path's channel and group.
func (x *exchange) group() (fanout.Channel, string, error) {
	if _, err := x.query(); err != nil {
		return fanout.Channel{}, "", err
	}
	name := chi.URLParam(x.r, "group")
	if bad := fanout.CheckGroup(name); bad != nil {
		return fanout.Channel{}, "", bad
	}
	return x.channel, name, nil
}

func groupError(err error) error {
	if errors.Is(err, fanout.ErrNoGroup) {
		return &problem{status: http.StatusNotFound, field: "group", message: "the channel has no such group; a group is made by its first member, and goes when it had none for the namespace's group_expire"}
	}
	return readError(err)
}

func appendGroup(b []byte, g *fanout.GroupInfo) []byte {
	b = append(b, `{"group":`...)
	b = appendString(b, g.Group)
	b = append(b, `,"created":`...)
	b = strconv.AppendInt(b, g.Created/1e6, 10)
	b = append(b, `,"pending":`...)
	b = strconv.AppendUint(b, g.Pending, 10)
	b = append(b, `,"in_flight":`...)
	b = strconv.AppendInt(b, int64(g.InFlight), 10)
	b = append(b, `,"redelivered":`...)
	b = strconv.AppendInt(b, int64(g.Redelivered), 10)
	b = append(b, `,"waiting":`...)
	b = strconv.AppendInt(b, int64(g.Waiting), 10)
	return append(b, '}')
}
