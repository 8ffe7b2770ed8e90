package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
)

// SenderForTest makes requests as the engine does, to servers whose certificates roots have
// signed.
func SenderForTest(h *Hook, roots *x509.CertPool) (send func(context.Context) error, done func()) {
	s := newSender(h)
	s.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return func(ctx context.Context) error { return s.send(ctx, [][]byte{[]byte(`{}`)}, 1).err }, s.close
}
