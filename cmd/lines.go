package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
)

// Bounds of what `rivulet publish` reads and sends at once.
const (
	maxLine    = 8 << 20   // more than any namespace accepts
	batchBytes = 512 << 10 // keeps one request short, so that a retry is cheap
)

// line is one line of the input that is not empty.
type line struct {
	number int // from 1
	text   []byte
}

var errLineTooLong = errors.New("the line is over 8 MiB")

// lineReader reads lines in batches: as many as are there, without waiting for
// more once it has one.
type lineReader struct {
	in     *bufio.Reader
	most   int // lines in one batch
	number int
	read   int64 // bytes so far
}

func newLineReader(ctx context.Context, in io.Reader, most int) *lineReader {
	return &lineReader{most: most, in: bufio.NewReaderSize(&interruptibleReader{ctx: ctx, in: in}, batchBytes)}
}

// next returns at least one line, or the error that ended the input, io.EOF as a
// rule. errLineTooLong is about the line after the last one returned.
func (r *lineReader) next() ([]line, error) {
	var batch []line
	size := 0
	for len(batch) < r.most && size < batchBytes {
		if len(batch) > 0 && !r.lineIsThere() {
			break
		}
		text, err := r.line()
		if err != nil && (!errors.Is(err, io.EOF) || len(text) == 0) {
			return batch, err
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			batch = append(batch, line{r.number, text})
			size += len(text)
		}
		if err != nil {
			return batch, err
		}
	}
	return batch, nil
}

func (r *lineReader) lineIsThere() bool {
	ahead, err := r.in.Peek(r.in.Buffered())
	return err == nil && bytes.IndexByte(ahead, '\n') >= 0
}

// line reads one line into memory of its own.
func (r *lineReader) line() ([]byte, error) {
	r.number++
	var text []byte
	for {
		part, err := r.in.ReadSlice('\n')
		r.read += int64(len(part))
		if len(text)+len(part) > maxLine {
			return nil, errLineTooLong
		}
		text = append(text, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

// interruptibleReader returns from Read when ctx ends, though the input, a
// terminal or a pipe, cannot be interrupted.
type interruptibleReader struct {
	ctx  context.Context //nolint:containedctx // of one command's input, ended with it
	in   io.Reader
	buf  []byte
	done chan int // size 1, so that a read nobody waits for can end
	err  error    // of the read, set before done
}

func (r *interruptibleReader) Read(p []byte) (int, error) {
	if r.done == nil {
		r.done = make(chan int, 1)
		r.buf = make([]byte, batchBytes)
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	// Nobody can wait for this goroutine where the input never returns: it ends with
	// the input or the process. There is at most one, as no read follows ctx's end.
	go func() {
		n, err := r.in.Read(r.buf[:min(len(p), len(r.buf))])
		r.err = err
		r.done <- n
	}()
	select {
	case n := <-r.done:
		return copy(p, r.buf[:n]), r.err
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
}
