package wire

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
)

// flushed is the end of an empty stored block, which RFC 7692 leaves out at the
// end of a message. What follows it is an empty last block, so that the reader ends.
const flushed, last = "\x00\x00\xff\xff", "\x01\x00\x00\xff\xff"

// Deflate compresses one message on its own, as level says, or into blocks that
// are not compressed with flate.NoCompression.
func Deflate(payload []byte, level int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		panic(err) // a level that does not exist
	}
	_, err = w.Write(payload)
	if err = errors.Join(err, w.Flush()); err != nil {
		panic(err) // a buffer takes everything
	}
	return bytes.TrimSuffix(b.Bytes(), []byte(flushed))
}

// Inflate is the reverse of Deflate; it fails if there is more than limit.
func Inflate(compressed []byte, limit int) ([]byte, error) {
	r := flate.NewReader(io.MultiReader(bytes.NewReader(compressed), bytes.NewReader([]byte(flushed+last))))
	payload, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: inflate: %w", ErrViolation, err)
	case len(payload) > limit:
		return nil, fmt.Errorf("%w: over %d bytes when inflated", ErrViolation, limit)
	}
	return payload, nil
}
