package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
)

// loadTLS reads the files of --ca, --cert and --cert-key; nil is Go's default.
func (f *clientFlags) loadTLS() (*tls.Config, error) {
	if f.ca == "" && f.cert == "" && f.certKey == "" {
		return nil, nil //nolint:nilnil // the default, which is no error
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		text, err := readFile("--ca", f.ca, maxKeyFile)
		if err != nil {
			return nil, usagef("%w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, usagef("--ca: %s has no certificate in PEM", f.ca)
		}
	}
	switch {
	case f.cert == "" && f.certKey == "":
		return config, nil
	case f.cert == "" || f.certKey == "":
		return nil, usagef("--cert and --cert-key go together: the certificate and its private key, both in PEM")
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.certKey)
	if err != nil {
		if _, missing := errors.AsType[*os.PathError](err); missing {
			return nil, usagef("--cert, --cert-key: %w", err)
		}
		return nil, usagef("--cert, --cert-key: %s and %s are not a certificate and its key: %w", f.cert, f.certKey, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// transport is what requests go through.
func (f *clientFlags) transport() http.RoundTripper {
	base, ok := http.DefaultTransport.(*http.Transport)
	if f.tls == nil || !ok {
		return http.DefaultTransport
	}
	own := base.Clone()
	own.TLSClientConfig = f.tls
	return own
}

// lastingError is a failure that no further attempt can mend, such as of a TLS handshake.
type lastingError struct {
	err  error
	hint string
}

func (e *lastingError) Error() string { return e.err.Error() + "; " + e.hint }
func (e *lastingError) Unwrap() error { return e.err }

// lastingTLS returns what is wrong with the certificates of a connection that failed with
// err, nil if it failed otherwise and may come to be.
func lastingTLS(err error) *lastingError {
	bad, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case unverified:
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](bad.Err); unknown {
			return &lastingError{err, "if the node's certificate is of an authority of your own, give that with --ca FILE, in PEM"}
		}
		return &lastingError{err, "the node needs another certificate, or --url another name"}
	case isOp && op.Op == "remote error":
		return &lastingError{err, "the node refuses the handshake; give a certificate that it takes with --cert FILE and --cert-key FILE"}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return &lastingError{fmt.Errorf("the node speaks no TLS there: %w", err), "write http:// in --url, or the address of its TLS listener"}
	}
	return nil
}

// stopKey is where the context of a request has what ends the command.
type stopKey struct{}

// stoppable is a context that a request made with it can end for good, see patience;
// context.Cause says why.
func stoppable(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	return context.WithValue(ctx, stopKey{}, stop), stop
}

// stopped is why a request has ended ctx, which is of stoppable; nil if none has.
func stopped(ctx context.Context) error {
	if e, ok := errors.AsType[*lastingError](context.Cause(ctx)); ok {
		return e
	}
	return nil
}
