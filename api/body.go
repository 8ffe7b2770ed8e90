package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
)

// firstChunk is the memory taken at first for a body of unknown length.
const firstChunk = 16 << 10

// readBody reads the request's JSON text of at most limit bytes into x.body.
func (a *api) readBody(x *exchange, limit int64) error {
	if err := checkBodyHeaders(x.r.Header); err != nil {
		return err
	}
	size := x.r.ContentLength
	if size > limit {
		return bodyTooLarge(limit)
	}
	if size < 0 {
		size = firstChunk
	}
	if err := a.grow(x, size); err != nil {
		return err
	}
	body := http.MaxBytesReader(x.w, x.r.Body, limit)
	for {
		n, err := body.Read(x.body[len(x.body):cap(x.body)])
		x.body = x.body[:len(x.body)+n]
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return bodyError(err, limit)
		}
		if len(x.body) == cap(x.body) {
			if err := a.grow(x, min(2*int64(len(x.body)), limit)); err != nil {
				return err
			}
		}
	}
}

// grow gives x.body room for size bytes, as far as all bodies together stay within the
// budget, and the caller's within a share of it. Who takes of it was authenticated before.
func (a *api) grow(x *exchange, size int64) error {
	if err := a.bodies.grow(x, size); err != nil {
		return err
	}
	if size >= int64(cap(x.body)) { // one more than size, to see the end without growing
		x.body = append(make([]byte, 0, size+1), x.body...)
	}
	return nil
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
