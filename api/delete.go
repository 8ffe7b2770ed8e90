package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// deleteMessage serves DELETE /v1/channels/{channel}/messages/{offset}.
func (a *api) deleteMessage(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	c := x.channel
	offset, err := offsetOf(chi.URLParam(x.r, "offset"))
	if err != nil {
		return err
	}
	receipt, err := a.deps.Purger.Delete(ctx, c, offset)
	if err != nil {
		return deleteError(err)
	}
	text := "deleted"
	if receipt.Duplicate {
		text = "deleted before"
	}
	x.begin(http.StatusOK, text)
	x.out = appendReceipt(x.out, c, receipt)
	x.end()
	return nil
}

func offsetOf(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < 1 || n > protocol.MaxID || s[0] == '0' {
		return 0, badInput("offset", strconv.Quote(clip(s))+" must be the offset of a message, a whole number from 1")
	}
	return n, nil
}

// deleteError says of a deletion what is true of it, and not of a message.
func deleteError(err error) error {
	switch {
	case errors.Is(err, fanout.ErrNoMessage):
		return &problem{status: http.StatusNotFound, field: "offset", message: "the channel has no message at that offset: it never had, or the message is deleted, evicted or expired"}
	case errors.Is(publishError(err), fanout.ErrOutcomeUnknown):
		return &problem{status: http.StatusGatewayTimeout, retryAfter: time.Second, message: "the message may or may not be deleted; delete it again, which does no harm"}
	}
	return err
}
