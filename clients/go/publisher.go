package rivulet

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// PublisherOptions configure a Publisher. The zero value is ready to use.
type PublisherOptions struct {
	// URLs of further nodes. After a failure the next one is tried, in turn.
	URLs []string
	// Token is sent with every request: an API key or a JWT.
	Token string
	// TokenFunc gives the token instead, anew for every request.
	TokenFunc func(ctx context.Context) (string, error)
	// Client does the requests; nil is one with a timeout of 30 s.
	Client *http.Client
	// Backoff between attempts.
	Backoff Backoff
	// DedupeWindow: see Options.DedupeWindow.
	DedupeWindow time.Duration
}

// Publisher publishes over the HTTP API, without a connection kept open: for back
// ends that do not subscribe. It runs no goroutine. Safe for concurrent use.
type Publisher struct {
	opts  Options // Token, TokenFunc, Backoff and DedupeWindow of it
	http  *http.Client
	bases []string
	node  atomic.Uint32 // index of the node in use
}

// NewPublisher prepares a publisher to the node at url, such as
// "http://127.0.0.1:8080".
func NewPublisher(url string, opts PublisherOptions) (*Publisher, error) {
	p := &Publisher{
		opts: Options{Token: opts.Token, TokenFunc: opts.TokenFunc, Backoff: opts.Backoff, DedupeWindow: opts.DedupeWindow}.withDefaults(),
		http: opts.Client,
	}
	if p.http == nil {
		p.http = &http.Client{Timeout: 30 * time.Second}
	}
	for _, raw := range append([]string{url}, opts.URLs...) {
		base, err := nodeURL(raw, false, "")
		if err != nil {
			return nil, err
		}
		p.bases = append(p.bases, base)
	}
	return p, nil
}

// wireMessage is one message in a request.
type wireMessage struct {
	Channel        string            `json:"channel,omitempty"`
	Data           json.RawMessage   `json:"data,omitempty"`
	DataBase64     *string           `json:"data_base64,omitempty"`
	IdempotencyKey string            `json:"idempotency_key"`
	Headers        map[string]string `json:"headers,omitempty"`
	TTL            int64             `json:"ttl,omitempty"`
	DeliverAt      int64             `json:"deliver_at,omitempty"`
	Delay          int64             `json:"delay,omitempty"`
	ExpectedOffset *uint64           `json:"expected_offset,omitempty"`
	Exclude        string            `json:"exclude,omitempty"`
	ConflationKey  string            `json:"conflation_key,omitempty"`
	Updates        uint64            `json:"updates,omitempty"`
}

func newWireMessage(channel string, data any, opts PublishOptions) (wireMessage, error) {
	raw, b, err := encodeData(data)
	if err != nil {
		return wireMessage{}, err
	}
	var b64 *string
	if b != nil {
		b64 = new(base64.StdEncoding.EncodeToString(b))
	}
	key := opts.IdempotencyKey
	if key == "" {
		key = rand.Text()
	}
	var c protocol.PublishCommand
	if err := opts.put(&c); err != nil {
		return wireMessage{}, err
	}
	return wireMessage{
		Channel: channel, Data: raw, DataBase64: b64, IdempotencyKey: key, Headers: opts.Headers,
		TTL: c.TTL, DeliverAt: c.DeliverAt, Delay: c.Delay, ExpectedOffset: c.ExpectedOffset,
		Exclude: c.Exclude, ConflationKey: c.ConflationKey, Updates: c.Updates,
	}, nil
}

// requestBody writes a request. Data stays byte for byte what Client.Publish would
// send: the same key with other bytes is a conflict.
func requestBody(request any) ([]byte, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	err := enc.Encode(request)
	return body.Bytes(), err
}

// wireReceipt is what the API says of a stored message.
type wireReceipt struct{ protocol.PublishedEvent }

func (r *wireReceipt) published(key string) Published { return published(&r.PublishedEvent, key) }

// Publish stores one message: Client.Publish over HTTP, with the same promises and
// errors.
func (p *Publisher) Publish(ctx context.Context, channel string, data any, opts PublishOptions) (Published, error) {
	m, err := newWireMessage("", data, opts)
	if err != nil {
		return Published{}, err
	}
	body, err := requestBody(m)
	if err != nil {
		return Published{}, fmt.Errorf("rivulet: publish: %w", err)
	}
	a := p.attempts(m.IdempotencyKey)
	for {
		var receipt struct {
			Data wireReceipt `json:"data"`
		}
		err := p.post(ctx, "/v1/channels/"+url.PathEscape(channel)+"/messages", body, &a, func(resp *http.Response, raw []byte) error {
			return decodeAnswer(resp, raw, &receipt)
		})
		if err == nil {
			return receipt.Data.published(m.IdempotencyKey), nil
		}
		if err := a.again(ctx, err); err != nil {
			return Published{}, err
		}
	}
}

func (p *Publisher) attempts(key string) attempts {
	return attempts{key: key, window: p.opts.DedupeWindow, backoff: p.opts.Backoff}
}

// Outgoing is one message of a batch.
type Outgoing struct {
	Channel string
	Data    any
	PublishOptions
}

// Outcome is what became of one message of a batch: Published, or why not.
type Outcome struct {
	Published
	Err error
}

// MaxBatch bounds the messages of one PublishBatch.
const MaxBatch = 1000

// PublishBatch stores up to MaxBatch messages of any channels with one request and
// returns one outcome for each, in order. What fails for now is sent again with
// the same keys, until ctx ends; then messages of the batch that were stored at
// the first attempt have lower offsets than those of the second. The error tells
// of a batch that could not be sent at all; where single messages failed it is
// nil.
func (p *Publisher) PublishBatch(ctx context.Context, batch []Outgoing) ([]Outcome, error) {
	if len(batch) > MaxBatch {
		return nil, invalid("messages", fmt.Sprintf("%d messages are in the batch, at most %d are allowed", len(batch), MaxBatch))
	}
	outcomes := make([]Outcome, len(batch))
	messages := make([]wireMessage, len(batch))
	left := make([]int, 0, len(batch)) // indexes of what is still to be stored
	for i, o := range batch {
		m, err := newWireMessage(o.Channel, o.Data, o.PublishOptions)
		if err != nil {
			return nil, doing(err, "message %d of the batch", i)
		}
		messages[i] = m
		left = append(left, i)
	}
	a := p.attempts("")
	for len(left) > 0 {
		err := p.postBatch(ctx, messages, &left, outcomes, &a)
		if err == nil {
			break
		}
		if err := a.again(ctx, err); err != nil {
			for _, i := range left {
				outcomes[i].IdempotencyKey, outcomes[i].Err = messages[i].IdempotencyKey, batchError(err, messages[i].IdempotencyKey)
			}
			break
		}
	}
	return outcomes, nil
}

func batchError(err error, key string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	e = new(*e)
	e.IdempotencyKey = key
	return e
}

// wireResult is one entry of a batch's answer.
type wireResult struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    struct {
		wireReceipt
		Field string `json:"field"`
	} `json:"data"`
}

// postBatch sends the messages at the indexes in left and leaves there those to be
// sent again, for the reason returned.
func (p *Publisher) postBatch(ctx context.Context, messages []wireMessage, left *[]int, outcomes []Outcome, a *attempts) error {
	var request struct {
		Messages []wireMessage `json:"messages"`
	}
	for _, i := range *left {
		request.Messages = append(request.Messages, messages[i])
	}
	body, err := requestBody(request)
	if err != nil {
		return &endError{fmt.Errorf("rivulet: publish batch: %w", err)}
	}
	return p.post(ctx, "/v1/messages", body, a, func(resp *http.Response, raw []byte) error {
		var answer struct {
			Data struct {
				Results []wireResult `json:"results"`
			} `json:"data"`
		}
		if json.Unmarshal(raw, &answer) != nil || len(answer.Data.Results) != len(request.Messages) {
			if err := decodeAnswer(resp, raw, &answer); err != nil {
				return err
			}
			return fmt.Errorf("rivulet: %d results for %d messages", len(answer.Data.Results), len(request.Messages))
		}
		var again error
		var rest []int
		for n, i := range *left {
			r, key := &answer.Data.Results[n], messages[i].IdempotencyKey
			if r.Code < 300 {
				outcomes[i] = Outcome{Published: r.Data.published(key)}
				continue
			}
			e := &Error{
				Code: protocol.Code(4000 + r.Code), Message: r.Message, Field: r.Data.Field,
				RetryAfter: retryAfterHeader(resp.Header), IdempotencyKey: key,
			}
			e.Temporary, e.Remedy = e.Code.Temporary(), answerRemedy(e.Code, e.Field)
			outcomes[i] = Outcome{Published: Published{IdempotencyKey: key}, Err: e}
			if e.Temporary {
				rest, again = append(rest, i), worse(again, e)
			}
		}
		*left = rest
		return again
	})
}

// worse prefers the error that leaves the outcome open.
func worse(a error, b *Error) error {
	if a == nil || b.Code == protocol.ErrorOutcomeUnknown || b.Code == protocol.ErrorTimeout {
		return b
	}
	return a
}

// mostReceipts bounds an answer.
const mostReceipts = 4 << 20

// post does one request and lets read judge the answer.
func (p *Publisher) post(ctx context.Context, path string, body []byte, a *attempts, read func(*http.Response, []byte) error) error {
	if err := a.expired(); err != nil {
		return &endError{err}
	}
	token, err := p.opts.token(ctx)
	if err != nil {
		return err
	}
	node := p.node.Load()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.bases[int(node)%len(p.bases)]+path, bytes.NewReader(body))
	if err != nil {
		return &endError{fmt.Errorf("rivulet: publish: %w", err)}
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	began := time.Now()
	resp, err := p.http.Do(req)
	var raw []byte
	if err == nil {
		raw, err = io.ReadAll(io.LimitReader(resp.Body, mostReceipts))
		resp.Body.Close()
	}
	if err == nil {
		err = read(resp, raw)
	}
	if err != nil {
		if e, answered := errors.AsType[*Error](err); !answered || e.Temporary {
			p.node.CompareAndSwap(node, node+1)
		}
		if !neverSent(err) {
			a.noteUnknown(began, err)
		}
	}
	return err
}

// neverSent reports whether err tells that no connection was made.
func neverSent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// decodeAnswer reads the answer into v, or returns it as an error.
func decodeAnswer(resp *http.Response, raw []byte, v any) error {
	if resp.StatusCode >= 300 {
		resp.Body = io.NopCloser(bytes.NewReader(raw))
		return answerError(resp)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("rivulet: answer of the node: %w", err)
	}
	return nil
}
