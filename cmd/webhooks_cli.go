package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/auth/signature"
	"github.com/rivulet-rt/rivulet/broker/webhook"
)

func newWebhooks(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "List and test webhooks, or receive them",
		Long: `Looks after webhooks: the services that nodes tell of what happens in channels. They
are configured under webhooks in the node's configuration; see docs/webhooks.md.`,
		Args: commandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newWebhooksList(s), newWebhooksTest(s), newWebhooksListen(s))
	return cmd
}

func newWebhooksList(s Streams) *cobra.Command {
	var client clientFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the webhooks, and how they are doing",
		Long: `Lists the webhooks of a node, how many events wait for each, its last error and when it
is tried again. The token needs the action manage on "*:>".`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := client.resolve(s.Environ); err != nil {
				return err
			}
			return listWebhooks(cmd.Context(), &client, s.Out)
		},
	}
	client.add(cmd)
	return cmd
}

func listWebhooks(ctx context.Context, client *clientFlags, out io.Writer) error {
	var page struct{ Webhooks []webhook.Status }
	if err := client.node().ask(ctx, http.MethodGet, "/v1/webhooks", nil, nil, &page); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "WEBHOOK\tSTATE\tLAG\tNEXT RETRY\tURL\tLAST ERROR")
	for _, w := range page.Webhooks {
		retry := "-"
		if w.NextRetry > 0 {
			retry = moment(w.NextRetry)
		}
		failure := "-"
		if w.LastError != "" {
			failure = moment(w.LastErrorAt) + " " + w.LastError
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", w.Name, w.State, w.Lag, retry, w.URL, failure)
	}
	return table.Flush()
}

func newWebhooksTest(s Streams) *cobra.Command {
	var client clientFlags
	cmd := &cobra.Command{
		Use: "test NAME", Short: "Have a node send a signed test event",
		Long: `Has the node send an event of the type "test" to the webhook at once, signed like any
other, and tells how the receiver took it. The token needs the action manage on "*:>".`,
		Args: arguments(1, 1, "the name of a webhook"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client.resolve(s.Environ); err != nil {
				return err
			}
			var r struct {
				ID     string
				Status int
				Error  string
				TookMS int64 `json:"took_ms"`
			}
			if err := client.node().ask(cmd.Context(), http.MethodPost, "/v1/webhooks/"+url.PathEscape(args[0])+"/test", nil, nil, &r); err != nil {
				return err
			}
			if r.Error != "" {
				return fmt.Errorf("event %s was not taken after %d ms: %s", r.ID, r.TookMS, r.Error)
			}
			fmt.Fprintf(s.Out, "event %s was taken with %d after %d ms\n", r.ID, r.Status, r.TookMS)
			return nil
		},
	}
	client.add(cmd)
	return cmd
}

// listenFlags are what `rivulet webhooks listen` was told.
type listenFlags struct {
	address    string
	secret     string
	secretFile string
	status     int
	count      int
}

// mostWebhookBody is what the receiver reads of a request; a node sends about 1 MiB, or
// one event.
const mostWebhookBody = 16 << 20

// signatureTolerance is how old a signature may be.
const signatureTolerance = 5 * time.Minute

func newWebhooksListen(s Streams) *cobra.Command {
	f := listenFlags{address: "127.0.0.1:9000", status: http.StatusOK}
	cmd := &cobra.Command{
		Use: "listen", Short: "Receive webhooks and print their events, for trying out",
		Long: `Runs a small receiver: it checks the signature of each request, prints every event as
one line of JSON, and answers with --status. What is signed wrongly is answered with
401 and not printed.`,
		Example: `  rivulet webhooks listen --secret-file hook.secret
  rivulet webhooks listen --secret-file hook.secret --status 503   # to see it retried`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.address, "listen", f.address, "`address` to listen on")
	fs.StringVar(&f.secret, "secret", "", "the webhook's `secret`")
	fs.StringVar(&f.secretFile, "secret-file", "", "`file` with it, which other users' ps cannot see")
	fs.IntVar(&f.status, "status", f.status, "HTTP `status` to answer with")
	fs.IntVar(&f.count, "count", 0, "stop after so many `events`; 0 goes on")
	return cmd
}

func (f *listenFlags) run(ctx context.Context, s Streams) error {
	secret := []byte(f.secret)
	switch {
	case f.secretFile != "" && f.secret != "":
		return usagef("--secret and --secret-file exclude each other")
	case f.secretFile != "":
		text, err := os.ReadFile(f.secretFile)
		if err != nil {
			return fmt.Errorf("--secret-file: %w", err)
		}
		secret = bytes.TrimRight(text, "\r\n")
	case f.secret == "":
		return usagef("set --secret or --secret-file: the same as in the configuration of the webhook")
	}
	if f.status < 200 || f.status > 599 {
		return usagef("--status %d: must be from 200 to 599", f.status)
	}
	listener, err := listen(ctx, f.address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fmt.Fprintf(s.Err, "listening on http://%s\n", listener.Addr())
	return serveReceiver(ctx, listener, &webhookReceiver{secret: secret, status: f.status, left: f.count, out: s.Out, err: s.Err, done: cancel})
}

func serveReceiver(ctx context.Context, listener net.Listener, r *webhookReceiver) error {
	server := &http.Server{Handler: r, ReadHeaderTimeout: readHeaderTimeout}
	stop := context.AfterFunc(ctx, func() {
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(wait) // what is under way then is cut by the end of the process
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return nil
}

// webhookReceiver prints what it receives.
type webhookReceiver struct {
	secret []byte
	status int
	done   func() // ends the command

	mu       sync.Mutex // guards the following
	out, err io.Writer
	left     int // events until the end; 0 goes on
}

func (r *webhookReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, mostWebhookBody))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	if err := signature.Verify(r.secret, body, req.Header.Get(signature.Header), time.Now(), signatureTolerance); err != nil {
		r.complain(err)
		http.Error(w, strings.TrimPrefix(err.Error(), "webhook: "), http.StatusUnauthorized)
		return
	}
	var in struct{ Events []json.RawMessage }
	if err := json.Unmarshal(body, &in); err != nil {
		http.Error(w, "the body is not JSON", http.StatusBadRequest)
		return
	}
	r.print(in.Events)
	w.WriteHeader(r.status)
}

func (r *webhookReceiver) complain(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(r.err, "refused:", err)
}

func (r *webhookReceiver) print(events []json.RawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		fmt.Fprintf(r.out, "%s\n", e)
	}
	if r.left > 0 {
		if r.left -= len(events); r.left <= 0 {
			r.done()
		}
	}
}
