//go:build linux

package raw

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// errAnswer: what came is no answer that the publisher understands.
var errAnswer = errors.New("raw: unexpected answer")

// ErrRefused is an answer which says that nothing was stored: the same may be sent
// again. After any other that is not 201 a message may be stored.
var ErrRefused = errors.New("raw: publish refused")

// Publisher is one keep-alive HTTP connection, with one request at a time.
type Publisher struct {
	// Keep sets Position to where the last message was stored.
	Keep     bool
	Position string

	conn  *Conn
	done  func(err error)
	ended bool
}

// NewPublisher begins to connect.
func NewPublisher(l *Loop, to netip.AddrPort) (*Publisher, error) {
	return NewPeerPublisher(l, Peer{To: to})
}

// NewPeerPublisher is NewPublisher to and from certain addresses. Host and Token
// belong to the requests.
func NewPeerPublisher(l *Loop, to Peer) (*Publisher, error) {
	p := &Publisher{}
	c, err := l.DialPeer(to, nil, p)
	if err != nil {
		return nil, err
	}
	p.conn = c
	return p, nil
}

// Busy reports whether a request is under way.
func (p *Publisher) Busy() bool { return p.done != nil }

// Publish sends a request and calls done when it was answered: with nil for 201.
// The publisher must not be busy.
func (p *Publisher) Publish(req *Request, done func(err error)) {
	p.done = done
	p.conn.Write(req.bytes)
}

// Closed implements Handler.
func (p *Publisher) Closed(_ *Conn, err error) {
	p.ended = true
	p.finish(fmt.Errorf("publish: %w", err))
}

// Ended reports whether the connection is gone: another publisher is needed.
func (p *Publisher) Ended() bool { return p.ended }

func (p *Publisher) finish(err error) {
	if done := p.done; done != nil {
		p.done = nil
		done(err)
	}
}

// Data implements Handler.
func (p *Publisher) Data(c *Conn, b []byte) (used int) {
	status, body, size, err := parseAnswer(b)
	switch {
	case err != nil:
		c.fail(err)
		return len(b)
	case size == 0:
		return 0
	case status == 503 || status >= 400 && status < 500 && status != 408:
		p.finish(fmt.Errorf("%w: %w", ErrRefused, refusedAnswer(status, body)))
	case status != 201:
		p.finish(fmt.Errorf("raw: publish, and it is not known whether the message was stored: %w", refusedAnswer(status, body)))
	default:
		if p.Keep {
			p.Position = position(body)
		}
		p.finish(nil)
	}
	return size
}

// parseAnswer finds the answer at the beginning of b; size is 0 while it is not
// complete.
func parseAnswer(b []byte) (status int, body []byte, size int, err error) {
	head, rest, complete := bytes.Cut(b, []byte("\r\n\r\n"))
	if !complete {
		return 0, nil, 0, nil
	}
	const version = "HTTP/1.1 "
	if !bytes.HasPrefix(head, []byte(version)) || len(head) < len(version)+3 {
		return 0, nil, 0, fmt.Errorf("%w: %.100q", errAnswer, head)
	}
	code, _ := digits(head[len(version) : len(version)+3])
	value, found := after(head, "\r\nContent-Length: ")
	length, _ := digits(value)
	if !found || length > readBuffer {
		status, _, _ := bytes.Cut(head, []byte("\r\n"))
		return 0, nil, 0, fmt.Errorf("%w: %.100q, and no length that it has", errAnswer, status)
	}
	if uint64(len(rest)) < length {
		return 0, nil, 0, nil
	}
	return int(code), rest[:length], len(head) + 4 + int(length), nil
}

// Request is a POST that is sent again and again, with another stamp each time.
type Request struct {
	bytes []byte
	data  int // where its data begins
}

// NewRequest makes a request that publishes data, which must begin with room for
// a stamp, on a channel whose name needs no escape in a URL.
func NewRequest(channel string, data []byte) *Request { return NewPeerRequest(Peer{}, channel, data) }

// NewPeerRequest is NewRequest with the peer's Host and Token.
func NewPeerRequest(p Peer, channel string, data []byte) *Request {
	return newRequest(p, channel, data, "}")
}

// NewKeyedRequest is NewRequest with a conflation key, which needs no escape.
func NewKeyedRequest(channel, key string, data []byte) *Request {
	return newRequest(Peer{}, channel, data, `,"conflation_key":"`+key+`"}`)
}

func newRequest(p Peer, channel string, data []byte, behind string) *Request {
	const before = `{"data":`
	head := append([]byte("POST /v1/channels/"+channel+"/messages HTTP/1.1\r\nHost: "), p.host()...)
	head = p.authorization(append(head, "\r\n"...))
	head = append(head, "Content-Type: application/json\r\nContent-Length: "...)
	head = strconv.AppendInt(head, int64(len(before)+len(data)+len(behind)), 10)
	head = append(head, "\r\n\r\n"+before...)
	return &Request{bytes: append(append(head, data...), behind...), data: len(head)}
}

func (p Peer) host() string {
	if p.Host == "" {
		return "localhost"
	}
	return p.Host
}

func (p Peer) authorization(b []byte) []byte {
	if p.Token == "" {
		return b
	}
	b = append(append(b, "Authorization: Bearer "...), p.Token...)
	return append(b, "\r\n"...)
}

// Stamp writes the number and the time into the data.
func (r *Request) Stamp(n uint64, sent int64) { Stamp(r.bytes[r.data:], n, sent) }
