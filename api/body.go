package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// readBody reads the request's JSON text of at most limit bytes into x.body.
func (a *api) readBody(x *exchange, limit int64) error {
	if err := checkBodyHeaders(x.r.Header); err != nil {
		return err
	}
	size := x.r.ContentLength
	switch {
	case size > limit:
		return bodyTooLarge(limit)
	case size < 0: // unknown beforehand
		size = limit
	}
	// Memory is taken only as far as all bodies together stay within the budget; the
	// sender was authenticated before.
	x.reserved = size
	if a.bodyBytes.Add(size) > a.cfg.BodyBudget {
		return &problem{
			status: http.StatusServiceUnavailable, retryAfter: time.Second,
			message: "too many bytes are being published at once; nothing was stored, send it again after Retry-After",
		}
	}
	body := http.MaxBytesReader(x.w, x.r.Body, limit)
	var err error
	if x.body, err = readAll(x.body, body, x.r.ContentLength); err != nil {
		return bodyError(err, limit)
	}
	return nil
}

// readAll reads src to its end into the memory of buf, grown as needed; expect is
// the number of bytes, if known, else below 0.
func readAll(buf []byte, src io.Reader, expect int64) ([]byte, error) {
	buf = buf[:0]
	if need := expect + 1; need > int64(cap(buf)) { // one more, to see the end without growing
		buf = make([]byte, 0, need)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

func bodyError(err error, limit int64) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return bodyTooLarge(limit)
	}
	if e, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && e.Timeout() {
		return &problem{status: http.StatusRequestTimeout, field: "body", message: "body: did not arrive in time; nothing was stored"}
	}
	return &problem{status: http.StatusBadRequest, field: "body", message: "body: could not be read to its end; nothing was stored"}
}

func bodyTooLarge(limit int64) error {
	return &problem{status: http.StatusRequestEntityTooLarge, field: "body", message: "body: has more than " + strconv.FormatInt(limit, 10) + " bytes"}
}

func checkBodyHeaders(h http.Header) error {
	if encoding := h.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return &problem{status: http.StatusUnsupportedMediaType, field: "Content-Encoding", message: "Content-Encoding: must be absent; send the JSON text as it is"}
	}
	value := h.Get("Content-Type")
	if value == "application/json" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(value)
	charset, given := params["charset"]
	if err != nil || kind != "application/json" || given && charset != "utf-8" && charset != "UTF-8" {
		return &problem{
			status: http.StatusUnsupportedMediaType, field: "Content-Type",
			message: "Content-Type: must be application/json; with curl, add -H 'Content-Type: application/json'",
		}
	}
	return nil
}
