package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	apiPrefix  = "$JS.API."
	apiTimeout = 5 * time.Second // of one request; a server may also not answer at all
	batchBytes = 1 << 20         // of one batch
	batchMost  = 256             // messages of one batch
)

// Headers that the server adds.
const (
	hdrSequence  = "Nats-Sequence"
	hdrTime      = "Nats-Time-Stamp"
	hdrSubject   = "Nats-Subject"
	hdrPrevious  = "Nats-Last-Sequence"
	hdrPending   = "Nats-Num-Pending"
	hdrUpTo      = "Nats-UpTo-Sequence"
	hdrStatus    = "Status"
	statusEnd    = "204"
	statusNone   = "404"
	statusNoOne  = "503"
	statusBusy   = "429"
	statusTooFew = "413"
)

// getRequest is a request to read stored messages.
type getRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	Next      string     `json:"next_by_subj,omitempty"`
	Last      string     `json:"last_by_subj,omitempty"`
	MultiLast []string   `json:"multi_last,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	Start     *time.Time `json:"start_time,omitempty"`
}

// stored is one message as the log has it.
type stored struct {
	subject string
	seq     uint64
	time    int64 // Unix nanoseconds
	header  nats.Header
	data    []byte
	pending uint64 // messages of a batch's filter after this one
}

// batch is the answer to a batch request.
type batch struct {
	list    []stored
	pending uint64 // messages of the filter after the last of the list
	upTo    uint64 // multi_last only: the stream's last sequence
}

// Errors of one request, before they are wrapped.
var (
	errNoAnswer  = errors.New("broker: connection lost before the answer")
	errNoOne     = errors.New("broker: no server answers for the stream")
	errMalformed = errors.New("broker: malformed answer")
	errTooMany   = errors.New("broker: too many results")
)

// getCall collects the answers to one direct get.
type getCall struct {
	multi bool // a batch: ends with a status
	done  chan struct{}
	once  sync.Once

	// Owned by the link's callback until done is closed.
	out batch
	err error
}

func (c *getCall) reply(m *nats.Msg) (last bool) {
	if status := m.Header[hdrStatus]; len(status) > 0 {
		c.end(c.status(status[0], m))
		return true
	}
	s, err := parseStored(m)
	if err != nil {
		c.end(err)
		return true
	}
	c.out.list = append(c.out.list, s)
	if !c.multi {
		c.end(nil)
	}
	return !c.multi
}

func (c *getCall) status(status string, m *nats.Msg) error {
	switch status {
	case statusEnd:
		c.out.pending = parseUint(m.Header, hdrPending)
		c.out.upTo = parseUint(m.Header, hdrUpTo)
		return nil
	case statusNone:
		return nil
	case statusNoOne:
		return errNoOne
	case statusTooFew:
		return errTooMany
	}
	return fmt.Errorf("%w: status %s %s", errMalformed, status, m.Header.Get("Description"))
}

func (c *getCall) fail() { c.end(errNoAnswer) }

func (c *getCall) end(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.done)
	})
}

// direct sends a direct get, which any replica may answer, and waits for all of
// its answers. An empty list means that nothing was found.
func (b *Broker) direct(ctx context.Context, s *stream, req getRequest) (batch, error) {
	c := &getCall{multi: req.Batch > 0 || len(req.MultiLast) > 0, done: make(chan struct{})}
	out, err := b.send(ctx, b.replayMux(s), apiPrefix+"DIRECT.GET."+s.name, req, c)
	if err != nil {
		return batch{}, unavailable("read "+s.name, err)
	}
	return out, nil
}

func (b *Broker) send(ctx context.Context, m *mux, subject string, req any, c *getCall) (batch, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return batch{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	id, reply := m.add(c)
	if err := m.link.nc.PublishRequest(subject, reply, body); err != nil {
		m.remove(id)
		return batch{}, err
	}
	select {
	case <-c.done:
		if c.err != nil {
			return batch{}, c.err // an answer may still be arriving: out is not ours
		}
		return c.out, nil
	case <-ctx.Done():
		m.remove(id)
		return batch{}, ctx.Err()
	}
}

// replayMux spreads the streams over the replay connections: a server answers
// the requests of one connection one after the other.
func (b *Broker) replayMux(s *stream) *mux {
	return b.replay[s.partition%len(b.replay)]
}

// get reads one message, from the stream's leader. Found is false if there is none.
func (b *Broker) get(ctx context.Context, s *stream, req getRequest) (msg stored, found bool, err error) {
	if s.facts.Load().replicated {
		return b.leaderGet(ctx, s, req)
	}
	out, err := b.direct(ctx, s, req)
	if err != nil || len(out.list) == 0 {
		return stored{}, false, err
	}
	return out.list[0], true, nil
}

// leaderGet reads one message through the API that only the leader answers.
func (b *Broker) leaderGet(ctx context.Context, s *stream, req getRequest) (msg stored, found bool, err error) {
	msg, e, err := b.readLeading(ctx, s.name, req)
	switch {
	case err != nil:
		return stored{}, false, unavailable("read "+s.name, err)
	case e == nil:
		return msg, true, nil
	case e.ErrCode == codeNoMessage:
		return stored{}, false, nil
	}
	b.noticeMissing(s, e)
	return stored{}, false, unavailable("read "+s.name, e)
}

// readLeading asks a stream's leader for one message, or why there is none.
func (b *Broker) readLeading(ctx context.Context, name string, req getRequest) (stored, *apiError, error) {
	var answer struct {
		Error   *apiError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := b.api(ctx, "STREAM.MSG.GET."+name, req, &answer); err != nil || answer.Error != nil {
		return stored{}, answer.Error, err
	}
	m := answer.Message
	var header nats.Header
	if len(m.Header) > 0 {
		var err error
		if header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return stored{}, nil, err
		}
	}
	return stored{subject: m.Subject, seq: m.Seq, time: m.Time.UnixNano(), header: header, data: m.Data}, nil, nil
}

// api asks the JetStream API over the control link.
func (b *Broker) api(ctx context.Context, subject string, req, answer any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	reply, err := b.ctl.nc.RequestWithContext(ctx, apiPrefix+subject, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(reply.Data, answer)
}

// streamInfo is the part of a stream's information that is of use here.
type streamInfo struct {
	Error   *apiError `json:"error"`
	Total   int       `json:"total"` // subjects, of which one page is given
	Created time.Time `json:"created"`
	Config  struct {
		PerSubject int64             `json:"max_msgs_per_subject"`
		MaxBytes   int64             `json:"max_bytes"`
		MaxMessage int32             `json:"max_msg_size"`
		MaxAge     time.Duration     `json:"max_age"`
		Replicas   int               `json:"num_replicas"`
		Metadata   map[string]string `json:"metadata"`
	} `json:"config"`
	State struct {
		Messages  uint64            `json:"messages"`
		Bytes     int64             `json:"bytes"`
		First     uint64            `json:"first_seq"`
		FirstTime time.Time         `json:"first_ts"`
		Last      uint64            `json:"last_seq"`
		LastTime  time.Time         `json:"last_ts"`
		Subjects  map[string]uint64 `json:"subjects"`
		Distinct  uint64            `json:"num_subjects"`
	} `json:"state"`
	Cluster struct {
		Name   string `json:"name"`
		Leader string `json:"leader"`
	} `json:"cluster"`
}

// end is the last sequence and its time: the stream's creation where nothing was
// ever stored.
func (i *streamInfo) end() (seq uint64, time int64) {
	if i.State.Last == 0 || i.State.LastTime.UnixNano() <= 0 {
		return i.State.Last, i.Created.UnixNano()
	}
	return i.State.Last, i.State.LastTime.UnixNano()
}

// retention is how long a message is kept: its maximum age, or less where the
// stream is more than half full and its byte limit evicts sooner at the rate at
// which it was filled. 0 is unlimited.
func (i *streamInfo) retention() time.Duration {
	age, most := i.Config.MaxAge, i.Config.MaxBytes
	if most <= 0 || i.State.Bytes < most/2 {
		return age
	}
	span := float64(i.State.LastTime.Sub(i.State.FirstTime)) * float64(most) / float64(i.State.Bytes)
	if byBytes := max(time.Duration(span), time.Millisecond); age == 0 || byBytes < age {
		return byBytes
	}
	return age
}

type infoRequest struct {
	Filter string `json:"subjects_filter,omitempty"`
	Offset int    `json:"offset,omitempty"`
}

// info asks the leader about a stream; with a filter also for the number of
// messages of each subject that it matches.
func (b *Broker) info(ctx context.Context, s *stream, filter string) (*streamInfo, error) {
	var subjects map[string]uint64
	for {
		info := &streamInfo{}
		if err := b.api(ctx, "STREAM.INFO."+s.name, infoRequest{Filter: filter, Offset: len(subjects)}, info); err != nil {
			return nil, unavailable("look at "+s.name, err)
		}
		if info.Error != nil {
			b.noticeMissing(s, info.Error)
			return nil, unavailable("look at "+s.name, info.Error)
		}
		page := len(info.State.Subjects)
		if subjects == nil {
			subjects = info.State.Subjects
		} else {
			maps.Copy(subjects, info.State.Subjects)
		}
		if page == 0 || len(subjects) >= info.Total {
			info.State.Subjects = subjects
			return info, nil
		}
	}
}

// noticeMissing has the keeper look where a stream that should be there is not.
func (b *Broker) noticeMissing(s *stream, e *apiError) {
	if e.ErrCode == codeStreamNotFound {
		b.keep.mend(s)
	}
}

func parseStored(m *nats.Msg) (stored, error) {
	s := stored{header: m.Header, data: m.Data, pending: parseUint(m.Header, hdrPending)}
	s.subject = last(m.Header, hdrSubject)
	s.seq = parseUint(m.Header, hdrSequence)
	t, err := time.Parse(time.RFC3339Nano, last(m.Header, hdrTime))
	if err != nil || s.seq == 0 || s.subject == "" {
		return stored{}, fmt.Errorf("%w: headers %v", errMalformed, m.Header)
	}
	s.time = t.UnixNano()
	return s, nil
}

// last returns the last value of a header: the server appends its own to what
// the message already had.
func last(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// parseUint returns 0 where the header is absent or no number.
func parseUint(h nats.Header, key string) uint64 {
	text := last(h, key)
	if text == "" {
		return 0 // without the allocation of an error
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
