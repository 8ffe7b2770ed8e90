package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// mostAnswer bounds what is read of an answer: more than the node's largest page.
const mostAnswer = 64 << 20

// requestTimeout bounds one request.
const requestTimeout = 30 * time.Second

// node is a node's HTTP API, for what the client library does not do.
type node struct {
	base  string
	token string
	http  *http.Client
}

// connect reads what the command was told of the node.
func (f *clientFlags) connect(environ []string) (*node, error) {
	if err := f.resolve(environ); err != nil {
		return nil, err
	}
	return f.node(), nil
}

// node is the node of flags that are resolved.
func (f *clientFlags) node() *node {
	base := strings.TrimRight(f.url, "/")
	for from, to := range map[string]string{"ws://": "http://", "wss://": "https://"} {
		if rest, ok := strings.CutPrefix(base, from); ok {
			base = to + rest
		}
	}
	return &node{base: base, token: f.token, http: &http.Client{Timeout: requestTimeout, Transport: f.transport()}}
}

// refusedError is an answer that is not 2xx.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the node answered %d: %s", e.status, e.text)
}

// ask makes one request and decodes the data of its answer, unless data is nil. path
// is escaped.
func (n *node) ask(ctx context.Context, method, path string, query url.Values, body, data any) error {
	target := n.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, in)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if n.token != "" {
		req.Header.Set("Authorization", "Bearer "+n.token)
	}
	res, err := n.http.Do(req)
	if err != nil {
		if lasting := lastingTLS(err); lasting != nil {
			err = lasting
		}
		if lasting, ok := errors.AsType[*lastingError](err); ok {
			err = lasting // without the request, which is no news
		}
		return fmt.Errorf("the node cannot be reached: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	var answer struct {
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("the node answered %d with something else than JSON; is --url a rivulet node?", res.StatusCode)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return &refusedError{res.StatusCode, withField(answer.Message, answer.Data)}
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(answer.Data, data)
}

// withField is what a node says of bad input, beginning with the field that it is about.
func withField(message string, data json.RawMessage) string {
	var at struct{ Field string }
	if err := json.Unmarshal(data, &at); err != nil || at.Field == "" || strings.Contains(message, at.Field) {
		return message
	}
	return at.Field + ": " + message
}

// messagesPath is the path of a channel's messages.
func messagesPath(channel string) string {
	return "/v1/channels/" + url.PathEscape(channel) + "/messages"
}

// printLine prints one value as a line of JSON.
func printLine(out io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := out.Write(b.Bytes())
	return err
}
